"""Features as the user writes them -> indices. No torch."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.doors.given import shortened, shown, whole_number
from probes.doors.text_files import read_text
from probes.errors import FeatureError

_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_RANDOM = re.compile(r"random:([0-9]+)")
_EXAMPLES = "write for example 7, 1,5,9-12, 0-500, all, random:50 or @FILE."


@dataclass(frozen=True)
class _Random:
    """So many features, drawn."""

    count: int


_Part = range | _Random | None
"""None is `all`."""


def parse_features(text: str, n_features: int, seed: int = 0) -> list[int]:
    """The features that `text` names, each once, in its order.

    Comma-separated: `7`; `0-500`, both ends included; `all`; `random:50`, drawn without repeats by `seed` and sorted;
    `@FILE`, whose lines hold any of these (`#` starts a comment). Raises FeatureError, before any long list is made.
    """
    return list(dict.fromkeys(feature for part in _parts(text) for feature in _features(part, n_features, seed)))


def check_features(text: str) -> None:
    """Raises FeatureError where `text` is not what `parse_features` reads, whatever the SAE."""
    _parts(text)


def _parts(text: str) -> list[_Part]:
    words = [word for word in map(str.strip, text.split(",")) if word]
    parts = [part for word in words for part in (_in_file(word[1:]) if word.startswith("@") else [_part(word)])]
    if not parts:
        raise FeatureError(f"{shown(text)} names no feature; {_EXAMPLES}")
    return parts


def _in_file(name: str) -> Iterator[_Part]:
    path = Path(name)
    text = read_text(path, "The file of features", FeatureError)
    words = [word.strip() for line in text.splitlines() for word in line.partition("#")[0].split(",")]
    for word in filter(None, words):
        if word.startswith("@"):
            raise FeatureError(f"The file of features {path} names another file; one file may not read the next.")
        yield _part(word)


def _part(word: str) -> _Part:
    if word == "all":
        return None
    if match := _RANDOM.fullmatch(word):
        if not (count := _number(match[1])):
            raise FeatureError(f"{shown(word)} names no feature; {_EXAMPLES}")
        return _Random(count)
    if match := _RANGE.fullmatch(word):
        first, last = _number(match[1]), _number(match[2])
        if first > last:
            raise FeatureError(f"Range {word} of features runs backwards; write {last}-{first}.")
        return range(first, last + 1)
    if word.isascii() and word.isdigit():
        return range(_number(word), _number(word) + 1)
    raise FeatureError(f"{shown(word)} is not a feature; {_EXAMPLES}")


def _number(digits: str) -> int:
    number = whole_number(digits)
    if number is None:
        raise FeatureError(f"{shortened(digits, 40)} is larger than any feature's number; {_EXAMPLES}")
    return number


def _features(part: _Part, n_features: int, seed: int) -> Sequence[int]:
    if part is None:
        return range(n_features)
    if isinstance(part, _Random):
        return _drawn(part.count, n_features, seed)
    check_feature(part[-1], n_features)
    return part


def _drawn(count: int, n_features: int, seed: int) -> list[int]:
    if count > n_features:
        raise FeatureError(f"random:{count} asks for more features than the {n_features} that this SAE has.")
    return sorted(random.Random(seed).sample(range(n_features), count))


def check_feature(feature: int, n_features: int) -> int:
    """`feature`, if the SAE has it; else raises FeatureError."""
    if not 0 <= feature < n_features:
        raise FeatureError(f"Feature {feature} is out of range; this SAE has features 0 to {n_features - 1}.")
    return feature
