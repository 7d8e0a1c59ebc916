"""Values to put into a log, for tests; what a test does not care about has a default."""

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from agent.config import RunConfig
from agent.llm.base import Answer, Bound, CallFault, Exchange, Request
from agent.llm.offline import MODEL, Offline
from agent.log.calls import Dispatch, begin_call, end_call
from agent.log.examples import CorpusIdentity
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity
from agent.log.scores import ScoreRow, ScoringIdentity
from agent.run_spec import RunSpec
from agent.schema import Outcome, Proposal
from probes.evidence import Projection, ScoredToken, TokenList, Tree
from probes.examples import Activity, Baseline, Example, FeatureExamples
from probes.presets import SubjectCard
from probes.settings import ProbeSettings, VectorSettings
from tests.fakes import SUBJECT

BOUND = Bound(tokens=5000, cost_usd=0.05)
SETTINGS = ProbeSettings(vector=VectorSettings(weights="decoder", scale=3.8, pca=(0.1, 0.2)))


def card(**changes: Any) -> SubjectCard:
    values = {
        "name": "tiny",
        "model": "a-model",
        "model_revision": "local",
        "sae": "an-sae",
        "sae_revision": "local",
        "hook": "blocks.2.hook_resid_post",
        "layer": 2,
        "d_model": 16,
        "vocab": 100,
        "n_features": 600,
        "default_scale": 3.8,
        "placeholder_id": 7,
        "dtype": "float32",
        "device": "cpu",
        "fingerprint": "f" * 64,
        "neuronpedia": None,
    }
    return SubjectCard(**{**values, **changes})


def identity(settings: Mapping[str, Any] | None = None, **changes: Any) -> RunIdentity:
    """Returns the identity that a run of the embedded explainer has, with these changes."""
    made = _run_identity()
    return made.model_copy(update={"subject": card(), "settings": {**made.settings, **(settings or {})}, **changes})


RULES = f"offline:{MODEL}"
"""The explainer of runs that name no other."""


@cache
def _run_identity() -> RunIdentity:
    return RunSpec(RunConfig(), SUBJECT, Offline()).identity  # type: ignore[arg-type]


def request(feature: int = 5, **changes: Any) -> Request:
    values = {
        "round": 1,
        "purpose": "explain",
        "item": 0,
        "system": "You read evidence.",
        "prompt": f"Evidence of feature {feature}.",
        "template": "explain",
        "template_hash": "aa11",
        "context": {},
    }
    return Request(feature=feature, **{**values, **changes})


def answer(response: str = "a dog", **changes: Any) -> Answer:
    proposal = Proposal(action="label", label="dog", explanation="It is about dogs.", confidence=0.7, evidence=("t1",))
    return Answer(proposal, Exchange("offline", "rules-1", response, **changes))


def failure(error: str = "HTTP 529: overloaded", fault: CallFault = CallFault.TRANSIENT, **changes: Any) -> Answer:
    return Answer(None, Exchange("offline", "rules-1", "", error=error, fault=fault, **changes))


def add_call(log: RunLog, run_id: int, asked: Request, told: Answer, bound: Bound = BOUND) -> None:
    """A request with what came of it."""
    dispatch = Dispatch(told.exchange.provider, told.exchange.model, told.exchange.form, bound)
    log.write(end_call, log.write(begin_call, run_id, asked, dispatch).result(), told).result()


def outcome(feature: int = 5, **changes: Any) -> Outcome:
    values = {"status": "labelled", "label": "dogs", "explanation": "Words for dogs.", "confidence": 0.7, "rounds": 2}
    return Outcome(feature=feature, **{**values, "evidence": ("t1", "d3"), **changes})


def tokens(*texts: str) -> tuple[ScoredToken, ...]:
    return tuple(ScoredToken(index, text, 0.125 * (index + 1)) for index, text in enumerate(texts))


def token_list(*texts: str, feature: int = 5) -> TokenList:
    return TokenList(feature, SETTINGS, tokens(*texts))


def projection(feature: int = 5) -> Projection:
    return Projection(feature, SETTINGS, tokens(" dog", " cat"), tokens(" of"))


def grown_tree(n_nodes: int, feature: int = 5, seed: int = 0) -> Tree:
    """A tree of `n_nodes` below its root; as in real definitions, a few of its tokens are common and many are rare."""
    dice = random.Random(seed)
    words = [" " + "".join(dice.choices("etaoinshrdlucmfwypvbgk", k=dice.randint(1, 9))) for _ in range(2000)]
    chosen = dice.choices(range(2000), [1 / (rank + 1) for rank in range(2000)], k=n_nodes)
    ids = [dice.randrange(256_000) for _ in words]
    parents, probabilities = [-1], [1.0]
    while len(parents) <= n_nodes:
        parent = len(parents) // 4
        parents.append(parent)
        probabilities.append(probabilities[parent] * dice.uniform(0.05, 0.95))
    return Tree(
        feature=feature,
        settings=SETTINGS,
        prompt='A typical definition of "{ghost}" would be "',
        prompt_ids=(2, 10, 7, 11),
        ghost_position=2,
        placeholder_id=7,
        parents=tuple(parents),
        token_ids=(-1, *(ids[word] for word in chosen)),
        probabilities=tuple(probabilities),
        texts={ids[word]: words[word] for word in chosen},
    )


def corpus_identity(**changes: Any) -> CorpusIdentity:
    return CorpusIdentity(**{"subject": card(), "source": "demo", "settings": {"n_tokens": 1000}, "seed": 0, **changes})


def scoring_identity(run_id: int, corpus_id: int) -> ScoringIdentity:
    return ScoringIdentity(run_id=run_id, corpus_id=corpus_id, judge="fake:queue", settings={}, templates={})


def score(label_id: int, **changes: Any) -> ScoreRow:
    values: dict[str, Any] = {
        "feature": 5,
        "scorer": "detection",
        "variant": "label",
        "part": "held_out",
        "label": "dogs",
        "metric": "balanced accuracy",
        "value": 0.5,
        "reason": None,
        "low": None,
        "high": None,
        "n": 0,
        "extra": {},
        "items": [],
    }
    return ScoreRow(label_id=label_id, **values | changes)


def collected(feature: int) -> FeatureExamples:
    """Two examples, one of them of a neighbour, in documents d0 and d1."""
    activity = Activity(feature, 1000, 10, 2.5, (0.0, 1.25, 2.5), (7, 3))
    activates = Example(feature, "activating", "d0", ("a", " dog"), (0.0, 2.5), (4, 9), 7, quantile=0)
    other = Example(feature, "neighbour", "d1", (" half \ud83d", "\0"), (0.5, 0.0), None, 0, neighbour=8)
    return FeatureExamples(feature, activity, [activates, other], [Baseline(feature, "dogs", "someone")])
