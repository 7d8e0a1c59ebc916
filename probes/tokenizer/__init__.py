"""The tokenizer: its special tokens and chat template, the texts of its tokens, and prompts as token ids."""
