"""Texts on which features fire: one streaming pass over a corpus, its split, its negatives."""
