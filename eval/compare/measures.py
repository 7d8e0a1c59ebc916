"""The table of measures of a setting, by name, with the meaning of each figure; without torch."""

from collections.abc import Mapping

MEASURES: Mapping[str, str] = {
    "list": "AUROC of the token list's score at separating the feature's active tokens from the other tokens of the "
    "same texts",
    "tree": "AUROC of the cosine between the tree's words and a text at detecting activating examples",
    "agreement": "proportion of the vocabulary that the token list ranks below the tree's words: .5 by chance",
    "readout": "share of trees that are further from what random directions give than those are from one another",
    "divergence": "how far the tree is from what random directions give",
}
"""What is measured."""

YES_OR_NO = frozenset({"readout"})
"""Measures whose value for a feature is 1 or 0."""
JOINT = "fit"
CHOSEN_BY = "specific"
"""The measure that settings are chosen by. By fit alone, what tells rare words from common ones does well on any
feature's texts; that is no knowledge of this feature."""

REPORTED: Mapping[str, str] = {
    CHOSEN_BY: "mean AUROC of list and tree on the feature's own examples, minus that on other "
    "features' examples; 0: nothing specific to this feature",
    JOINT: "mean of list and tree, of features that have both",
    **MEASURES,
}
"""Every measure, those that are made of others first, in the order of a report."""

UNITS: Mapping[str, str] = {
    "specific": "specificity",
    "fit": "mean AUROC of list and tree",
    "list": "AUROC of the token list",
    "tree": "AUROC of the tree",
    "agreement": "agreement of tree and list",
    "readout": "proportion of trees that stand out",
    "divergence": "divergence from the null",
}
"""What the figures are called in a sentence."""
