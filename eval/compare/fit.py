"""The measures: how well what one setting shows of a feature fits the feature's texts. No language model is asked.

All but `divergence` lie between 0 and 1, and higher is better for all. What cannot be measured is None with a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eval.compare.held_out_examples import HeldOutExamples
from eval.compare.words import WordVectors, tree_words
from eval.metrics import Estimate, auroc
from probes.evidence import ProbeRequest, Tree
from probes.ghost.vectors import has_direction, request_ghosts
from probes.settings import ProbeSettings
from probes.subject import Subject
from probes.tokens import all_scores

AGREEING_WORDS = 20
"""Of a tree, the heaviest, looked for in the token list."""

_NO_DIRECTION = "the feature has no direction by these weights"
_NO_WORDS = "the tree has no word that random directions do not give as well"


@dataclass(frozen=True)
class FitTools:
    """Tools that measuring needs besides examples and trees."""

    subject: Subject
    words: WordVectors


@dataclass(frozen=True, eq=False)
class FeatureReadout:
    """The evidence of a feature under one setting, as the measures read it."""

    scores: Float[Tensor, " vocab"]
    """Of every token, as a token list would have it: the smaller, the nearer; infinite for tokens that are in none."""
    tree: Tree
    words: Mapping[str, float]
    """Of the tree."""
    is_alive: bool


def feature_readouts(subject: Subject, trees: Sequence[Tree], setting: ProbeSettings) -> list[FeatureReadout]:
    """Returns the setting's evidence of each of the trees' features.

    The vector is the tree's own: what the setting leaves to be found for each feature, the tree says.
    """
    requests = [
        ProbeRequest("tokens", tree.feature, tree.settings.model_copy(update={"tokens": setting.tokens}))
        for tree in trees
    ]
    alive = has_direction(request_ghosts(subject, requests)).any(dim=1).tolist()
    columns = zip(all_scores(subject, requests), trees, alive, strict=True)
    return [FeatureReadout(scores, tree, tree_words(tree), lives) for scores, tree, lives in columns]


def on_texts(tools: FitTools, seen: FeatureReadout, texts: HeldOutExamples) -> dict[str, Estimate]:
    """The measures that hang on texts: the feature's own, or another's to see what comes of it by chance."""
    if not seen.is_alive:
        return dict.fromkeys(("list", "tree"), _undefined(_NO_DIRECTION))
    return {
        "list": list_fit(seen.scores, texts),
        "tree": tree_fit(tools.words, seen.words, texts),
    }


def by_itself(tools: FitTools, seen: FeatureReadout) -> dict[str, Estimate]:
    """The measures that need no texts."""
    if not seen.is_alive:
        return dict.fromkeys(("agreement", "readout", "divergence"), _undefined(_NO_DIRECTION))
    return {"agreement": agreement(tools.subject, seen.scores, seen.words), **_contrast(seen.tree)}


def list_fit(scores: Float[Tensor, " vocab"], texts: HeldOutExamples) -> Estimate:
    """AUROC over the tokens of the texts that activate the feature; ties count half. n counts tokens."""
    if reason := texts.reason or texts.no_ids:
        return _undefined(reason)
    return auroc(texts.activates, (-scores.cpu()[torch.tensor(texts.token_ids)]).tolist())


def tree_fit(vectors: WordVectors, words: Mapping[str, float], texts: HeldOutExamples) -> Estimate:
    """AUROC over the texts, by cosine with the mean of the tree's words. n counts texts; one without words is left out.

    As the embedding scorer does with a label (Paulo et al. 2024, arXiv 2410.13928). A tree that holds no word, or none
    that random directions do not give as well, tells no text from another: all tie. It is not left out, or a setting
    that says nothing of most features would be judged by the others.
    """
    if texts.reason or texts.vectors is None:
        return _undefined(texts.reason)
    if all(texts.activating):
        return _undefined("no held-out non-activating example")
    lengths = np.linalg.norm(texts.vectors, axis=1)
    usable = lengths > 0
    mean = vectors.mean(words)
    cosines = np.zeros(len(lengths))
    if mean is not None and mean.any():
        np.divide(texts.vectors @ mean, lengths * np.linalg.norm(mean), out=cosines, where=usable)
    return auroc(np.array(texts.activating)[usable].tolist(), cosines[usable].tolist())


def agreement(subject: Subject, scores: Float[Tensor, " vocab"], words: Mapping[str, float]) -> Estimate:
    """Measures how much of the vocabulary ranks behind the tree's heaviest words in the list, ties half; n counts
    words.

    The Mann-Whitney statistic of words against vocabulary, weighted as the tree weighs them; a word of several tokens
    stands where its tokens stand on average.
    """
    if not words:
        return _undefined(_NO_WORDS)
    order = scores.sort().values
    heaviest = dict(islice(words.items(), AGREEING_WORDS))
    places = [_place(subject, scores, order, word) for word in heaviest]
    return Estimate(float(np.average(places, weights=[*heaviest.values()])), None, None, len(places))


def _place(subject: Subject, scores: Float[Tensor, " vocab"], order: Float[Tensor, " vocab"], word: str) -> float:
    """Share of the vocabulary behind a word, 0 to 1."""
    ids = subject.tokenizer.encode(f" {word}", add_special_tokens=False)
    mine = scores[torch.tensor(ids, device=scores.device)]
    ahead = torch.searchsorted(order, mine) + torch.searchsorted(order, mine, right=True)
    return float((1 - ahead.cpu().double() / (2 * len(order))).mean())  # MPS has no float64


def _contrast(tree: Tree) -> dict[str, Estimate]:
    if tree.contrast is None:
        lacking = _undefined("the tree was grown without a contrast")
        return {"readout": lacking, "divergence": lacking}
    stands = Estimate(float(not tree.contrast.failed), None, None, 1)
    return {"readout": stands, "divergence": Estimate(tree.contrast.divergence, None, None, 1)}


def _undefined(reason: str) -> Estimate:
    return Estimate(None, None, None, 0, reason)
