"""What each command does, one module each; `agent.cli` says what they are called and what they take."""
