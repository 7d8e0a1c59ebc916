"""Evidence made short and safe: for prompts, for tables, for pictures."""
