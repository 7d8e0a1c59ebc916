"""Texts on which features activate: one streaming pass over a corpus, its split, its negatives."""
