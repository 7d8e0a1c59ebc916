"""Evidence made short and safe: for prompts, for tables, for pictures. Knows no terminal and no explainer."""
