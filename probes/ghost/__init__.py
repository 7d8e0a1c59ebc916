"""The vector that stands for a feature, and the token whose place it takes in a prompt."""
