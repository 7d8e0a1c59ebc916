"""What goes into the log and comes out of it, as values; they know nothing of SQL."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.schema import Proposal, Status
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
        resolved = self.model_dump(mode="json", exclude={"subject": {"device"}})
        canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()


@dataclass(frozen=True)
class RunRow:
    """A run that was begun or resumed."""

    run_id: int
    resumed: bool
    done: frozenset[int]
    """Every feature of the run, asked for this time or not, that was labelled or abstained on."""


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
    features: str
    """Asked for so far, as ranges: `0-500,503`."""
    n_asked: int
    n_labelled: int
    n_abstained: int
    n_failed: int
    n_calls: int
    cost_usd: float | None
    """Sum of the known costs; None where none is known."""


@dataclass(frozen=True)
class LabelRow:
    """What became of one feature in one run."""

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


@dataclass(frozen=True)
class CallRow:
    """One attempt at one question to an explainer. Unknown figures are None."""

    call_id: int
    feature: int
    round: int
    purpose: str
    item: int
    attempt: int
    provider: str
    model: str
    system: str
    prompt: str
    template: str
    template_hash: str
    response: str
    proposal: Proposal | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    duration_ms: float | None
    error: str | None
    created: str
