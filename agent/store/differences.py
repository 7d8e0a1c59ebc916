"""Says in what two runs differ that are not one, so that whoever meant them to be one can mend it. Runs no query."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.store.rows import RunSummary

Difference = tuple[str, Any, Any]
"""What differs, as in `settings.probe.tree.cutoff`; how one has it and how the other."""

_ABSENT = "nothing"
_MOST = 3
_LONGEST = 40
"""Characters of a value."""


def differences(one: RunSummary, other: RunSummary) -> list[Difference]:
    """All that makes them two runs and no other than one; nothing where they have one identity."""
    ours, theirs = dict(_leaves("", _identity(one))), dict(_leaves("", _identity(other)))
    names = [*ours, *(name for name in theirs if name not in ours)]
    pairs = ((name, ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in names)
    return [(name, a, b) for name, a, b in pairs if a != b]


def nearest(run: RunSummary, others: Sequence[RunSummary]) -> tuple[RunSummary, list[Difference]]:
    """The run among `others`, of which there is one at least, that differs in the least, with what that is."""
    found = [(other, differences(run, other)) for other in others]
    return min(found, key=lambda pair: (len(pair[1]), -pair[0].run_id))


def difference_words(found: Sequence[Difference]) -> str:
    """The first few, and how many more there are."""
    words = [f"{name} ({_shortened(ours)}, not {_shortened(theirs)})" for name, ours, theirs in found[:_MOST]]
    more = len(found) - len(words)
    return ", ".join(words) + (f" and {more:,} more" if more > 0 else "")


def _identity(run: RunSummary) -> Mapping[str, Any]:
    subject = {name: value for name, value in run.subject.items() if name != "device"}
    return {
        "subject": subject,
        "settings": run.settings,
        "explainer": run.explainer,
        "templates": run.templates,
    }


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), item)
    else:
        yield path, value


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
