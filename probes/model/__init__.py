"""The language model: where it lies, whether it is what it says, and how it is loaded."""
