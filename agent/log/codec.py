"""Evidence as the text of one column and back: columns of JSON, which the table keeps compressed.

Probabilities are kept as whole milli-nats, round(-1000 ln p), each less its parent's: within .0005 relative, a tenth of
what any table shows, and coarser than what float32 makes of another machine or batch. Scores keep 5 significant digits,
z thousandths. Encoding what was decoded gives the same text.
"""

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any

from agent.log.rows import made
from probes.behaviour import Continuation, Continuations, Neighbour, Neighbours, TokenPair
from probes.evidence import (
    Contrast,
    Evidence,
    ExpectedText,
    Experiment,
    Projection,
    ScoredToken,
    Sweep,
    SweepPoint,
    TextResult,
    TokenList,
    Tree,
    WordDefinition,
)
from probes.settings import ProbeKind, ProbeSettings, VectorSettings

Columns = Mapping[str, Any]

_MILLI = 1e-3
_SUMMARY_TOKENS = 8


@dataclass(frozen=True)
class _TokenColumns:
    """Scored tokens as they are stored, whose types are looked at in one go."""

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Form:
    """The way one kind of evidence is stored."""

    of: type[Evidence]
    columns: Callable[[Any], Columns]
    value: Callable[[int, ProbeSettings, Columns], Evidence]
    size: Callable[[Any], int]
    """Number of nodes, tokens or candidates."""
    leading: Callable[[Any], Sequence[tuple[str, float]]]
    """What a reader of the table sees first: tokens with their numbers, or the candidate that was chosen."""


def encode(evidence: Evidence) -> str:
    """All of `evidence` but its kind, feature and settings, which have columns of their own."""
    return json.dumps(FORMS[kind_of(evidence)].columns(evidence), separators=(",", ":"))


def decode(kind: ProbeKind, feature: int, settings: ProbeSettings, payload: str) -> Evidence:
    """The evidence that `encode` was given, rounded. Raises ValueError, or what a value raises that is none."""
    return FORMS[kind].value(feature, settings, json.loads(payload))


def p_value_of(payload: str) -> float | None:
    """Returns the p-value of a list of tokens, without making the tokens, which takes four times as long."""
    found = json.loads(payload).get("p_value")
    return float(found) if isinstance(found, int | float) else None


def kind_of(evidence: Evidence) -> ProbeKind:
    """The kind of probe that makes such evidence."""
    return next(kind for kind, form in FORMS.items() if isinstance(evidence, form.of))


def size_of(evidence: Evidence) -> int:
    """Nodes of a tree below its root, tokens of a list, candidates of a sweep, texts, or neighbours."""
    return FORMS[kind_of(evidence)].size(evidence)


def summary_of(evidence: Evidence) -> str:
    """The leading tokens with their numbers, for whoever reads the table by eye."""
    leading = FORMS[kind_of(evidence)].leading(evidence)[:_SUMMARY_TOKENS]
    return ", ".join(f"{token!r} {number:.3g}" for token, number in leading)


def _tree_columns(tree: Tree) -> Columns:
    return {
        "prompt": tree.prompt,
        "prompt_ids": tree.prompt_ids,
        "ghost_position": tree.ghost_position,
        "placeholder_id": tree.placeholder_id,
        "token_ids": tree.token_ids,
        "texts": [tree.texts.get(token_id) for token_id in dict.fromkeys(tree.token_ids)],
        "parents": _steps(tree.parents),
        "surprisals": _surprisals(tree.parents, dict(enumerate(tree.probabilities))),
        **({"contrast": _contrast_columns(tree.parents, tree.contrast)} if tree.contrast else {}),
    }


def _tree_value(feature: int, settings: ProbeSettings, columns: Columns) -> Tree:
    token_ids, parents = tuple(columns["token_ids"]), tuple(accumulate(columns["parents"]))
    told = zip(dict.fromkeys(token_ids), columns["texts"], strict=True)
    every = range(len(parents))
    tree = made(
        Tree,
        {
            "feature": feature,
            "settings": settings,
            **{name: columns[name] for name in ("prompt", "ghost_position", "placeholder_id")},
            "prompt_ids": tuple(columns["prompt_ids"]),
            "parents": parents,
            "token_ids": token_ids,
            "probabilities": tuple(_probabilities(parents, every, columns["surprisals"]).values()),
            "texts": {token_id: text for token_id, text in told if text is not None},
            "contrast": _contrast_value(parents, columns["contrast"]) if "contrast" in columns else None,
        },
    )
    _check_tree(tree)
    return tree


def _check_tree(tree: Tree) -> None:
    """Raises ValueError unless every node but the root hangs on an earlier one and has a text."""
    n, below = tree.n_nodes, tree.parents[1:]
    placed = min(below, default=0) >= 0 and all(map(operator.lt, below, range(1, n)))
    told = tree.texts.keys() >= {*tree.token_ids[1:]}
    sized = len(tree.token_ids) == n and (tree.contrast is None or len(tree.contrast.null) == n)
    if not (n and tree.parents[0] == -1 and placed and told and sized):
        raise ValueError(f"a tree of {n} nodes is none: a node without a parent, a text or a number")


def _contrast_columns(parents: Sequence[int], contrast: Contrast) -> Columns:
    """Of the nodes looked at, which ones, and milli-nats."""
    null, centroid = (
        {node: probability for node, probability in enumerate(column) if probability is not None}
        for column in (contrast.null, contrast.centroid)
    )
    return {
        "nodes": _steps([*null]),
        "null": _surprisals(parents, null),
        "centroid": _surprisals(parents, centroid),
        "readout": [_significant(contrast.divergence), contrast.p_value, contrast.n_random, *_chosen_among(contrast)],
    }


def _contrast_value(parents: Sequence[int], columns: Columns) -> Contrast:
    nodes = [*accumulate(columns["nodes"])]
    null, centroid = (_probabilities(parents, nodes, columns[name]) for name in ("null", "centroid"))
    every = range(len(parents))
    names = ("divergence", "p_value", "n_random", "n_candidates")
    readout = dict(zip(names, columns["readout"], strict=False))
    pair = {"null": tuple(map(null.get, every)), "centroid": tuple(map(centroid.get, every))}
    return made(Contrast, pair | readout)


def _chosen_among(contrast: Contrast) -> list[int]:
    """Nothing where nothing was chosen, as for nearly all trees."""
    return [contrast.n_candidates] if contrast.n_candidates > 1 else []


def _surprisals(parents: Sequence[int], probabilities: Mapping[int, float]) -> list[int]:
    """Milli-nats of some nodes, each less its parent's if that is one of them: whole numbers, so no error adds up."""
    totals = {node: round(-math.log(probability) / _MILLI) for node, probability in probabilities.items()}
    return [total - totals.get(parents[node], 0) for node, total in totals.items()]


def _probabilities(parents: Sequence[int], nodes: Iterable[int], surprisals: Sequence[int]) -> dict[int, float]:
    """Returns, by node, the probabilities that `_surprisals` was given; a parent comes before its children."""
    totals: dict[int, int] = {}
    for node, surprisal in zip(nodes, surprisals, strict=True):
        totals[node] = surprisal + totals.get(parents[node], 0)
    return {node: math.exp(-total * _MILLI) for node, total in totals.items()}


def _steps(numbers: Sequence[int]) -> list[int]:
    """Each number less the one before it: the parents of a tree in any usual order become mostly 0 and 1."""
    return [*numbers[:1], *(after - before for before, after in pairwise(numbers))]


def _significant(value: float) -> float:
    """The value with 5 significant digits."""
    return float(f"{value:.5g}")


def _first_level(tree: Tree) -> list[tuple[str, float]]:
    children = (node for node, parent in enumerate(tree.parents) if parent == 0)
    return [(tree.texts[tree.token_ids[node]], tree.probabilities[node]) for node in children]


def _token_columns(tokens: Iterable[ScoredToken]) -> Columns:
    tokens = tuple(tokens)
    return {
        "token_ids": [token.token_id for token in tokens],
        "tokens": [token.token for token in tokens],
        "scores": [_significant(token.score) for token in tokens],
    }


def _token_values(columns: Columns) -> tuple[ScoredToken, ...]:
    found = made(_TokenColumns, {name: tuple(columns[name]) for name in ("token_ids", "tokens", "scores")})
    rows = zip(found.token_ids, found.tokens, found.scores, strict=True)
    return tuple(ScoredToken(*row) for row in rows)


def _list_columns(listed: TokenList) -> Columns:
    if listed.p_value is None:
        return _token_columns(listed.tokens)
    names = ("threshold", "p_value", "n_random", "note")
    own = {name: getattr(listed, name) for name in names}
    if listed.definitions:
        own["definitions"] = [[one.place, one.text] for one in listed.definitions]
    return {**_token_columns(listed.tokens), "z": [round(z, 3) for z in listed.z], **own}


def _list_value(feature: int, settings: ProbeSettings, columns: Columns) -> TokenList:
    values = {
        "tokens": _token_values(columns),
        "z": tuple(columns.get("z", ())),
        "definitions": tuple(_definition(*pair) for pair in columns.get("definitions", ())),
    }
    own = {name: value for name, value in columns.items() if name not in (*values, "token_ids", "scores")}
    listed = made(TokenList, {"feature": feature, "settings": settings, **own, **values})
    if any(not 0 <= one.place < len(listed.tokens) for one in listed.definitions):
        raise ValueError(f"a list of {len(listed.tokens)} tokens has definitions of others")
    if listed.p_value is not None and len(listed.z) != len(listed.tokens):
        raise ValueError(f"a list has {len(listed.tokens)} tokens and {len(listed.z)} z")
    return listed


def _definition(place: Any, text: Any) -> WordDefinition:
    return made(WordDefinition, {"place": place, "text": text})


def _projection_value(feature: int, settings: ProbeSettings, columns: Columns) -> Projection:
    return Projection(feature, settings, _token_values(columns["top"]), _token_values(columns["bottom"]))


def _sweep_columns(sweep: Sweep) -> Columns:
    return {
        "criterion": sweep.criterion,
        "points": [asdict(point) | {"vector": point.vector.model_dump(mode="json")} for point in sweep.points],
        "chosen": sweep.chosen,
        "prompts": sweep.prompts,
        "agreement": sweep.agreement,
        **({} if sweep.p_value is None else {"p_value": sweep.p_value}),
    }


def _sweep_value(feature: int, settings: ProbeSettings, columns: Columns) -> Sweep:
    points = (
        made(SweepPoint, point | {"vector": VectorSettings.parse(point["vector"])}) for point in columns["points"]
    )
    lists = {"points": tuple(points), "prompts": tuple(columns["prompts"])}
    sweep = made(Sweep, {"feature": feature, "settings": settings, **columns, **lists})
    if not 0 <= sweep.chosen < len(sweep.points):
        raise ValueError(f"a sweep of {len(sweep.points)} candidates chose number {sweep.chosen}")
    return sweep


def _chosen(sweep: Sweep) -> list[tuple[str, float]]:
    """The candidate with its score; nothing where none could be scored."""
    best = sweep.best
    scored = [] if best.score is None else [best.score]
    return [(f"{best.vector.weights} at {best.vector.distance:.4g}", score) for score in scored]


def _experiment_columns(experiment: Experiment) -> Columns:
    results = experiment.results
    return {
        "texts": [result.asked.text for result in results],
        "expected": [result.asked.activates for result in results],
        "hypotheses": [result.asked.hypothesis for result in results],
        "tokens": [result.tokens for result in results],
        "activations": [[_significant(value) for value in result.activations] for result in results],
        "maximum": [float(f"{experiment.maximum:.7g}"), experiment.is_of_texts],
    }


def _experiment_value(feature: int, settings: ProbeSettings, columns: Columns) -> Experiment:
    asked = map(ExpectedText, columns["texts"], columns["expected"], columns["hypotheses"])
    lines = zip(asked, map(tuple, columns["tokens"]), map(tuple, columns["activations"]), strict=True)
    return Experiment(feature, settings, tuple(TextResult(*line) for line in lines), *columns["maximum"])


def _peaks(experiment: Experiment) -> list[tuple[str, float]]:
    return [(result.asked.text, result.peak or 0.0) for result in experiment.results]


def _neighbours_columns(found: Neighbours) -> Columns:
    return {"neighbours": [_rounded(asdict(neighbour)) for neighbour in found.neighbours]}


def _rounded(value: Any) -> Any:
    """The value with 4 decimals, as far as numbers are in it: cosines and proportions."""
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def _neighbours_value(feature: int, settings: ProbeSettings, columns: Columns) -> Neighbours:
    return Neighbours(feature, settings, tuple(map(_neighbour_value, columns["neighbours"])))


def _neighbour_value(columns: Columns) -> Neighbour:
    lists = {name: tuple(made(TokenPair, pair) for pair in columns[name]) for name in ("own", "shared", "other")}
    return made(Neighbour, {**columns, **lists})


def _continuations_columns(found: Continuations) -> Columns:
    return {
        "amount": float(f"{found.amount:.7g}"),
        "is_of_texts": found.is_of_texts,
        "other": found.other,
        "lines": [[line.opening, line.text, line.beside] for line in found.lines],
        "reason": found.reason,
    }


def _continuations_value(feature: int, settings: ProbeSettings, columns: Columns) -> Continuations:
    names = ("opening", "text", "beside")
    lines = tuple(made(Continuation, dict(zip(names, line, strict=True))) for line in columns["lines"])
    return made(Continuations, {**columns, "feature": feature, "settings": settings, "lines": lines})


def _numbered(tokens: Iterable[ScoredToken]) -> list[tuple[str, float]]:
    return [(token.token, token.score) for token in tokens]


FORMS: dict[ProbeKind, Form] = {
    "tree": Form(Tree, _tree_columns, _tree_value, lambda tree: len(tree.parents) - 1, _first_level),
    "tokens": Form(
        TokenList,
        _list_columns,
        _list_value,
        lambda listed: len(listed.tokens),
        lambda listed: _numbered(listed.tokens),
    ),
    "projection": Form(
        Projection,
        lambda projected: {"top": _token_columns(projected.top), "bottom": _token_columns(projected.bottom)},
        _projection_value,
        lambda projected: len(projected.top) + len(projected.bottom),
        lambda projected: _numbered(projected.top),
    ),
    "experiment": Form(
        Experiment, _experiment_columns, _experiment_value, lambda experiment: len(experiment.results), _peaks
    ),
    "neighbours": Form(
        Neighbours,
        _neighbours_columns,
        _neighbours_value,
        lambda found: len(found.neighbours),
        lambda found: [(f"feature {one.feature}", one.cosine) for one in found.neighbours],
    ),
    "continuations": Form(
        Continuations,
        _continuations_columns,
        _continuations_value,
        lambda found: len(found.lines),
        lambda found: [(line.text, found.amount) for line in found.lines],
    ),
    "sweep": Form(Sweep, _sweep_columns, _sweep_value, lambda sweep: len(sweep.points), _chosen),
}
