"""Splits work among many machines: shard I of N takes every Nth feature of a run, or every Nth batch of a corpus.

A shard is no part of what a run is: its log is imported into another one as a part of the same run. The shards of a
corpus are put together when all are in one log.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from probes.doors.given import shown, whole_number
from probes.errors import SettingsError

SLURM = "slurm"
"""Stands for the task of a SLURM job array that the command runs in."""

_Item = TypeVar("_Item")
_SHARD = re.compile(r"([0-9]+)/([0-9]+)")
_FORM = f"write --shard I/N with I from 0 to N-1, as 0/4, or --shard {SLURM} in a job array."
_TASK = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Shard:
    """One of `count` equal shares."""

    index: int
    """From 0 to `count` - 1."""
    count: int

    def of(self, features: Iterable[int]) -> list[int]:
        """Returns the shard's own features in rising order, whatever the order of `features`."""
        return sorted(features)[self.index :: self.count]

    def every(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields the shard's own items, in their order."""
        return islice(items, self.index, None, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard(0, 1)
"""All there is."""


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Parses `I/N`, or `slurm` from the variables that SLURM sets. Raises SettingsError."""
    if text == SLURM:
        return _of_array(environment)
    match = _SHARD.fullmatch(text)
    index, count = (whole_number(match[1]), whole_number(match[2])) if match else (None, None)
    if index is None or count is None:
        raise SettingsError(f"Shard {shown(text)} is not understood; {_FORM}")
    if index >= count:
        raise SettingsError(f"There is no shard {text}; {_FORM}")
    return Shard(index, count)


def _of_array(environment: Mapping[str, str]) -> Shard:
    """Returns the task's place in its job array, which may begin at any number and count in steps."""
    task, count = (_number(environment, name) for name in ("ID", "COUNT"))
    first, step = (_number(environment, name, default) for name, default in (("MIN", "0"), ("STEP", "1")))
    place, rest = divmod(task - first, max(step, 1))
    if rest or not 0 <= place < count:
        raise SettingsError(
            f"Task {task} has no place in a job array of {count} that begins at {first} and counts by {step}; number "
            "the array without gaps, or name the shard as --shard I/N."
        )
    return Shard(place, count)


def _number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    text = environment.get(_TASK + name) or default
    number = whole_number(text)
    if number is None:
        told = f"is {shown(text)}, no whole number" if text else "is not set"
        raise SettingsError(
            f"--shard {SLURM} is for a task of a job array (sbatch --array=0-15), and {_TASK}{name} {told}; run it in "
            "one, or name the shard as --shard I/N."
        )
    return number
