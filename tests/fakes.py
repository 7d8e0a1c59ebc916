"""Ordinary implementations of the loop's neighbours, with a history: probes of a few concepts, and an explainer."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec

from agent.calls.admission import Admission
from agent.calls.budget import Limits, SpendingBudget
from agent.calls.gate import Gate
from agent.config import RunConfig
from agent.llm.base import Answer, AnswerForm, Bound, CallFault, Exchange, Request, Usage
from agent.log.runs import RunRow
from agent.schema import Outcome, Proposal
from probes.errors import FeatureError, InterpretError
from probes.evidence import (
    Contrast,
    Evidence,
    Experiment,
    ProbeRequest,
    Projection,
    ScoredToken,
    TextResult,
    TokenList,
    Tree,
)
from probes.presets import SubjectCard
from probes.settings import ProbeSettings

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that is a coroutine, run in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


CARD = SubjectCard(
    name="fake",
    model="a-model",
    model_revision="local",
    sae="an-sae",
    sae_revision="local",
    hook="blocks.1.hook_resid_post",
    layer=1,
    d_model=8,
    vocab=100,
    n_features=1000,
    default_scale=2.0,
    placeholder_id=99,
    dtype="float32",
    device="cpu",
    fingerprint="0" * 64,
    neuronpedia=None,
)


class _NoWords:
    """A tokenizer without a vocabulary: nothing is measured of its base prompts."""

    chat_template = None

    def __len__(self) -> int:
        return 0

    def encode(self, _text: str, **_options: object) -> list[int]:
        return []


class _Subject:
    card = CARD
    tokenizer = _NoWords()


SUBJECT = _Subject()
"""All that a run reads of a subject whose probes are fake."""

Definitions = Mapping[str, float]
"""Texts with probabilities; the tokens are split before each space, and a last `"` is a token of its own."""

DOGS: Definitions = {'a kind of dog that barks"': 0.5, 'a kind of dog that runs"': 0.2, 'a dog in the house"': 0.2}
MIXED: Definitions = {'a fruit that grows"': 0.4, 'a tree that grows"': 0.3, 'a person who grows"': 0.1}
GENERIC: Definitions = {"a": 0.3, "the kind": 0.2, 'a person who is"': 0.05, "to be": 0.05}


def tree(definitions: Definitions, feature: int = 7, settings: ProbeSettings | None = None) -> Tree:
    """A tree of these definitions, its shared beginnings merged."""
    parents, texts, probabilities = [-1], [""], [1.0]
    node_of = {(): 0}
    for text, probability in definitions.items():
        path: tuple[str, ...] = ()
        for token in _tokens(text):
            path += (token,)
            if path not in node_of:
                node_of[path] = len(parents)
                parents.append(node_of[path[:-1]])
                texts.append(token)
                probabilities.append(0.0)
            probabilities[node_of[path]] += probability
    ids = {text: number for number, text in enumerate(dict.fromkeys(texts[1:]))}
    return Tree(
        feature=feature,
        settings=settings or ProbeSettings.parse({"vector": {"weights": "encoder"}, "tree": {"prompt": "definition"}}),
        prompt='A typical definition of "{ghost}" would be "',
        prompt_ids=(2, 3, 99, 4),
        ghost_position=2,
        placeholder_id=99,
        parents=tuple(parents),
        token_ids=(-1, *(ids[text] for text in texts[1:])),
        probabilities=tuple(probabilities),
        texts={number: text for text, number in ids.items()},
    )


def contrasted(made: Tree, p_value: float, null: float = 0.01) -> Tree:
    """The tree with nulls of that part of its own probabilities, but for its rarest nodes."""
    nulls = tuple(p * null if p < 1 else 1.0 for p in made.probabilities)
    looked_at = tuple(n if p >= 0.05 else None for n, p in zip(nulls, made.probabilities, strict=True))
    return replace(made, contrast=Contrast(looked_at, looked_at, 0.4, p_value, 99))


def vocabulary_list(*tokens: str, p_value: float | None = 0.01, **fields: Any) -> TokenList:
    """Tokens that activate a feature when read alone: the first the most, each a little more than the next."""
    found = tuple(ScoredToken(n, token, 9.0 - n / 10) for n, token in enumerate(tokens))
    settings = ProbeSettings.parse({"vector": {"weights": "vocabulary", "scale": 2.0}})
    z = tuple(8.0 - n / 10 for n in range(len(tokens)))
    return TokenList(7, settings, found, threshold=3.0, z=z, p_value=p_value, n_random=99, **fields)


def _tokens(text: str) -> Iterable[str]:
    inner = text.removesuffix('"')
    words = inner.split(" ")
    yield words[0]
    yield from (" " + word for word in words[1:])
    if inner != text:
        yield '"'


def scored(*tokens: str) -> tuple[ScoredToken, ...]:
    """Tokens with scores .01, .02, ..."""
    return tuple(ScoredToken(number, token, number / 100) for number, token in enumerate(tokens, start=1))


@dataclass
class FakeProbes:
    """Stands for `run_probes`: each feature has definitions by weights; any other weights say what `default` says."""

    definitions: Mapping[int, Mapping[str, Definitions]] = field(default_factory=dict)
    default: Definitions = field(default_factory=lambda: DOGS)
    tokens: Sequence[str] = (" dog", " puppy", " hound")
    faulty: frozenset[int] = frozenset()
    """Features whose vector cannot be made."""
    unclear: frozenset[int] = frozenset()
    """Features whose lists hardly differ from those of random directions."""
    batches: list[list[ProbeRequest]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def __call__(self, _subject: object, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        self.batches.append([*requests])
        self.threads.add(threading.get_ident())
        return [self._evidence(request) for request in requests]

    def _evidence(self, request: ProbeRequest) -> Evidence:
        feature, settings = request.feature, request.settings
        if feature in self.faulty:
            raise FeatureError(f"Feature {feature} is all zeros.")
        if request.kind == "tokens":
            if settings.vector.is_vocabulary:
                p_value = 0.1 if feature in self.unclear else 0.01
                return replace(vocabulary_list(*self.tokens, p_value=p_value), feature=feature, settings=settings)
            return TokenList(feature, settings, scored(*self.tokens))
        if request.kind == "experiment":
            results = (TextResult(text, (text.text,), (9.0 * ("dog" in text.text),)) for text in request.texts)
            return Experiment(feature, settings, tuple(results), 10.0, True)
        if request.kind == "projection":
            return Projection(feature, settings, scored(" bark"), scored(" meow"))
        definitions = self.definitions.get(feature, {}).get(settings.vector.weights, self.default)
        return replace(tree(definitions), feature=feature, settings=settings)

    def probed(self) -> list[int]:
        """The features of all requests, each as often as it was probed."""
        return [request.feature for batch in self.batches for request in batch]


@dataclass
class FakeExplainer:
    """Answers from a queue, the last answer again and again; None stands for an answer that cannot be used."""

    answers: list[Proposal | Exchange | None]
    provider: str = "fake"
    model: str = "queue"
    address: str = ""
    forms: tuple[AnswerForm, ...] = ()
    size: Bound = field(default_factory=Bound)
    requests: list[Request] = field(default_factory=list)
    asked_in: list[AnswerForm | None] = field(default_factory=list)
    closed: bool = False

    def check(self) -> str:
        return ""

    def bound(self, _request: Request) -> Bound:
        return self.size

    def cost_usd(self, _usage: Usage) -> float | None:
        return None

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        self.requests.append(request)
        self.asked_in.append(form)
        value = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(value, Proposal):
            return Answer(value, Exchange(self.provider, self.model, value.model_dump_json(), form=form))
        return Answer(None, value or faulty(CallFault.UNUSABLE, "not JSON"))

    async def close(self) -> None:
        self.closed = True


def faulty(fault: CallFault, error: str = "no luck", **changes: Any) -> Exchange:
    """Returns what comes of a request in vain."""
    return Exchange("fake", "queue", "gibberish", error=error, fault=fault, **changes)


@dataclass
class Notes:
    """An observer that keeps what it is told."""

    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[InterpretError] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)
    on_told: Callable[[Outcome], None] = lambda _: None
    admission: Admission | None = None

    def begun(self, run: RunRow, admission: Admission) -> None:
        self.runs.append(run)
        self.admission = admission

    def told(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.on_told(outcome)

    def stopping(self, reason: InterpretError) -> None:
        self.reasons.append(reason)


def open_door(concurrency: int = 4, limits: Limits | None = None) -> Admission:
    """An admission that holds nothing back but what the limits forbid."""
    return Admission(Gate(concurrency), SpendingBudget(limits or Limits()))


def config(**changes: object) -> RunConfig:
    """A run's settings, few features at a time."""
    return RunConfig.parse({"concurrency": 4, **changes})
