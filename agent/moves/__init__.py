"""Moves of an explainer: from an answer to what is probed next, and from a last answer to a label and its senses."""
