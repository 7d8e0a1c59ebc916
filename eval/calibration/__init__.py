"""Estimates how likely labels are right from what is known of them before they are scored."""
