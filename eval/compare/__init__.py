"""Settings compared across features: how well what they show fits the texts on which each feature activates."""
