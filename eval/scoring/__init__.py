"""A run's labels scored, beside what they must beat."""
