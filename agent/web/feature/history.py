"""The history of a feature's label: each round's evidence, answer and changed settings, and its calls.

Everything returned is safe to print.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.evidence.printable import printable
from agent.log.calls import CallRow
from agent.loop import PROPOSING


@dataclass(frozen=True)
class CallLine:
    """A call in a list."""

    call_id: int
    purpose: str
    attempt: int
    model: str
    tokens: str
    cost: str
    took: str
    error: str


@dataclass(frozen=True)
class HistoryRound:
    """One round of evidence and answer."""

    number: int
    saw: tuple[str, ...]
    action: str
    """`label`, `probe`, `abstain`, or empty where there was no usable answer."""
    label: str
    confidence: str
    n_tests: int
    """Number of texts that it had run."""
    asked: str
    """The settings that it asked for."""
    reason: str
    calls: tuple[CallLine, ...]


def rounds_of(saw: Mapping[int, tuple[str, ...]], calls: Sequence[CallRow]) -> list[HistoryRound]:
    """Returns every round that was probed or asked about, without the judge's calls."""
    loop = [call for call in calls if call.scoring_id is None]
    numbers = sorted({*saw, *(call.round for call in loop)})
    return [_round(number, saw.get(number, ()), [call for call in loop if call.round == number]) for number in numbers]


def judging_calls(calls: Sequence[CallRow]) -> list[CallLine]:
    """Returns the calls of scorers about the feature's label and its controls."""
    return [_line(call) for call in calls if call.scoring_id is not None]


def cost_words(call: CallRow) -> str:
    """Formats the known costs in dollars."""
    return "cost unknown" if call.cost_usd is None else f"${call.cost_usd:,.4f}"


def token_words(call: CallRow) -> str:
    """Formats the known numbers of input and output tokens."""
    if call.input_tokens is None or call.output_tokens is None:
        return "tokens unknown"
    return f"{call.input_tokens:,} + {call.output_tokens:,} tokens"


def time_words(call: CallRow) -> str:
    """Formats a duration."""
    if call.duration_ms is None:
        return "time unknown"
    return f"{call.duration_ms:,.0f} ms" if call.duration_ms < 10_000 else f"{call.duration_ms / 1000:,.1f} s"


def _round(number: int, saw: tuple[str, ...], calls: Sequence[CallRow]) -> HistoryRound:
    answers = [call.answer for call in calls if call.purpose in PROPOSING and call.answer is not None]
    said: Mapping[str, Any] = answers[-1] if answers else {}
    confidence = said.get("confidence")
    return HistoryRound(
        number=number,
        saw=saw,
        action=str(said.get("action") or ""),
        label=printable(str(said.get("label") or "")),
        confidence=f"{confidence:.2f}" if isinstance(confidence, float) and said.get("action") == "label" else "",
        n_tests=len(tests) if isinstance(tests := said.get("tests"), list) else 0,
        asked=_settings_words(said.get("settings")),
        reason=printable(str(said.get("reason") or said.get("explanation") or "")),
        calls=tuple(map(_line, calls)),
    )


def _settings_words(settings: Any) -> str:
    asked = settings if isinstance(settings, Mapping) else {}
    return ", ".join(printable(f"{name} {value}") for name, value in asked.items() if value is not None)


def _line(call: CallRow) -> CallLine:
    return CallLine(
        call_id=call.call_id,
        purpose=printable(call.purpose),
        attempt=call.attempt,
        model=printable(f"{call.provider}:{call.resolved_model or call.model}"),
        tokens=token_words(call),
        cost=cost_words(call),
        took=time_words(call),
        error=printable(call.error or ""),
    )
