"""The engine that grows many definition trees at once."""
