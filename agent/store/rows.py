"""The rows of the log as values, on the way in and out; without SQL."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.llm.base import AnswerForm, Bound, CallFault
from agent.schema import SenseResult, Status
from probes.presets import SubjectCard
from probes.settings import Value


class RunIdentity(Value):
    """Everything that decides what a run finds; two runs that agree in it are one run."""

    subject: SubjectCard
    settings: dict[str, Any]
    """Probe settings resolved, rounds, the plan of evidence."""
    explainer: str
    templates: dict[str, str]
    """Name of each prompt template to the hash of its text."""

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON. The device is left out: the same run may go on elsewhere."""
        return hash_of(self.model_dump(mode="json", exclude={"subject": {"device"}}))


class CorpusIdentity(Value):
    """Everything that decides which examples a corpus gives."""

    subject: SubjectCard
    source: str
    settings: dict[str, Any]
    """How it was read, and under `content` what its files held."""
    seed: int

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON, less the device."""
        return hash_of(self.model_dump(mode="json", exclude={"subject": {"device"}}))


class ScoringIdentity(Value):
    """Everything that decides how a run's labels are scored. Its run and corpus go by their numbers in one log."""

    run_id: int
    corpus_id: int | None
    judge: str
    settings: dict[str, Any]
    """Scorers are no part of them: each adds its scores to those of the others."""
    templates: dict[str, str]
    """Those behind every scorer; each scorer's own stands beside its scores."""

    def hash(self, corpus: str | None) -> str:
        """sha256 of the canonical JSON, the corpus by its identity: what one log numbers 1 another numbers 7."""
        how = self.model_dump(mode="json", exclude={"run_id", "corpus_id"})
        return hash_of({**how, "corpus": corpus})


def hash_of(value: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class CorpusRow:
    """A corpus that examples came from."""

    corpus_id: int
    identity: str
    """What it is by in any log."""
    subject_name: str
    fingerprint: str
    source: str
    settings: Mapping[str, Any]
    n_tokens: int | None
    l0: float | None
    explained_variance: float | None
    seed: int
    created: str
    n_features: int
    """Features whose examples it has."""


@dataclass(frozen=True)
class ScoringRow:
    """A way in which a run's labels were scored."""

    scoring_id: int
    corpus_id: int | None
    """None where no scorer needed its texts."""
    judge: str
    settings: Mapping[str, Any]
    created: str


@dataclass(frozen=True)
class ScoreRow:
    """A score of a label or of a control. `value` is None exactly where `reason` says why."""

    label_id: int
    feature: int
    scorer: str
    variant: str
    part: str
    label: str
    metric: str
    value: float | None
    reason: str | None
    low: float | None
    high: float | None
    n: int
    extra: Mapping[str, float | None]
    items: Sequence[Mapping[str, Any]]
    template_hash: str = ""
    """Of the scorer's question; empty for one that asks none."""


@dataclass(frozen=True)
class RunRow:
    """A run that was begun or resumed."""

    run_id: int
    resumed: bool
    done: frozenset[int]
    """Every feature of the run, asked for this time or not, that was labelled or abstained on, or probed by a run that
    asks nobody."""


@dataclass(frozen=True)
class RunSummary:
    """One run, at a glance."""

    run_id: int
    status: str
    """`finished`, or `unfinished`: still running or cut off."""
    created: str
    """UTC, ISO 8601, as all times here."""
    finished: str | None
    subject: Mapping[str, Any]
    """The subject's card as it was stored."""
    settings: Mapping[str, Any]
    explainer: str
    templates: Mapping[str, str]
    """Name to hash."""
    features: str
    """Asked for so far, as ranges: `0-500,503`."""
    n_asked: int
    n_labelled: int
    n_abstained: int
    n_failed: int
    n_calls: int
    cost_usd: float | None
    """Sum of the known costs; None where none is known."""
    n_probed: int = 0
    """Features that a run which asks nobody has evidence on; 0 for any other run."""


@dataclass(frozen=True)
class LabelRow:
    """The label of one feature in one run."""

    label_id: int
    run_id: int
    feature: int
    status: Status
    label: str
    explanation: str
    confidence: float | None
    rounds: int
    reason: str
    evidence: tuple[str, ...]
    created: str
    senses: tuple[SenseResult, ...] = ()
    activates_on: str = ""
    promotes: str = ""


@dataclass(frozen=True)
class Dispatch:
    """To whom a request goes, and the most that it can use."""

    provider: str
    model: str
    form: AnswerForm | None
    bound: Bound
    question: str | None = None
    """sha256 of all that decides the answer; None where that is not kept."""


@dataclass(frozen=True)
class Spent:
    """The tokens and dollars of a run's calls so far, by every invocation of it."""

    calls: int
    tokens: int
    """That servers told of."""
    cost_usd: float | None
    """Sum of the known costs; None where none is known."""
    most_tokens: int
    """With the most that the calls can have used whose figures are unknown."""
    most_usd: float
    """Likewise, of the calls that have a price."""


@dataclass(frozen=True)
class CallRow:
    """One request to an explainer. Unknown figures are None."""

    call_id: int
    feature: int
    round: int
    purpose: str
    item: int
    attempt: int
    provider: str
    model: str
    form: AnswerForm | None
    system: str
    prompt: str
    template: str
    template_hash: str
    response: str
    answer: Mapping[str, Any] | None
    """As parsed; None where `error` says why."""
    resolved_model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cost_usd: float | None
    reserved_tokens: int
    reserved_usd: float | None
    duration_ms: float | None
    fault: CallFault | None
    error: str | None
    created: str
    scoring_id: int | None
    batch_id: int | None = None
    """The batch it was sent in."""
    cached: bool = False
    """Whether an earlier call's answer to the same question answered it, at no cost."""
