"""How likely labels are right, told from what is known of them before they are scored."""
