"""Definition trees for tests, made from the phrases they should hold."""

from collections.abc import Sequence
from typing import Any

from probes.evidence import Tree
from probes.settings import ProbeSettings, VectorSettings

NASTY = (
    "[bold red]x[/]",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil\x1b\\",
    "\u202eevil",
    "a\u200bb",
    "\ud800",
    "\x9b2J",
    "</text><script>",
    '"]; n9 [x="',
    "\r\n\t\x00\x7f",
    "\\",
    "&amp;",
    "\U000e0041",
)
"""Tokens that markup, terminals, XML, DOT or UTF-8 could trip over."""


def tree_of(phrases: Sequence[tuple[Sequence[str], float]], feature: int = 121) -> Tree:
    """The tree with these token sequences as leaves, of these probabilities; a parent has the sum of its children."""
    root: dict[str, Any] = {"below": {}, "p": 1.0}
    for tokens, probability in phrases:
        node = root
        for token in tokens:
            node = node["below"].setdefault(token, {"below": {}, "p": 0.0})
            node["p"] += probability
    parents, token_ids, probabilities, ids = [-1], [-1], [1.0], dict[str, int]()
    queue = [(0, root)]
    for index, node in queue:
        for token, child in sorted(node["below"].items(), key=lambda item: -item[1]["p"]):
            queue.append((len(parents), child))
            parents.append(index)
            token_ids.append(ids.setdefault(token, len(ids)))
            probabilities.append(child["p"])
    return Tree(
        feature,
        ProbeSettings(vector=VectorSettings(weights="encoder", scale=3.8)),
        'A typical definition of "{ghost}" would be "',
        (2, 5, 3, 6),
        2,
        3,
        tuple(parents),
        tuple(token_ids),
        tuple(probabilities),
        {index: token for token, index in ids.items()},
    )


DOG = tree_of(
    [
        (["a", " kind", " of", " dog", '"'], 0.5),
        (["a", " kind", " of", " hound", '"'], 0.2),
        (["an", " animal", " that", " barks"], 0.1),
        (["the", " name", "'.", " of"], 0.05),
    ]
)
