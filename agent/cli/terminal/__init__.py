"""What the commands print: tables, trees, pictures, progress."""
