"""The commands' output: tables, trees, pictures, progress."""
