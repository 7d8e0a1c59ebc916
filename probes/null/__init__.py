"""The null distribution: the same evidence of random directions, and p-values from it."""
