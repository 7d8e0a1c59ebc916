"""Features as the user writes them -> indices. No torch."""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.doors.given import shortened, shown, whole_number
from probes.doors.text_files import read_text
from probes.errors import FeatureError

_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_RANDOM = re.compile(r"random:([0-9]+)")
_ADDRESS = re.compile(r"([0-9]+):(.+)")
_EXAMPLES = "write for example 7, 1,5,9-12, 0-500, all, random:50, 8:121 (of layer 8) or @FILE."


@dataclass(frozen=True)
class _Random:
    """So many features, drawn."""

    count: int


@dataclass(frozen=True)
class _Part:
    """Some features of one layer's SAE, or of every SAE."""

    layer: int | None
    what: range | _Random | None
    """None is `all`."""


def parse_features(text: str, n_features: int, seed: int = 0, layer: int | None = None) -> list[int]:
    """The features that `text` names, each once, in its order.

    Comma-separated: `7`; `0-500`, both ends included; `all`; `random:50`, drawn without repeats by `seed` and sorted;
    `@FILE`, whose lines hold any of these (`#` starts a comment). Any of them may have the SAE's `layer` and a colon in
    front. Raises FeatureError, before any long list is made.
    """
    parts = _parts(text)
    for part in parts:
        if part.layer not in (None, layer):
            here = "here one SAE is read" if layer is None else f"the SAE that is read is of layer {layer}"
            raise FeatureError(f"{shown(text)} names features of layer {part.layer}, and {here}; {_EXAMPLES}")
    return _each_once(parts, n_features, seed)


def parse_addresses(text: str, n_features: Mapping[int, int], seed: int = 0) -> dict[int, list[int]]:
    """The features that `text` names, by layer, in rising order of layers; layers without any are left out.

    As for `parse_features`; what has no layer in front is meant of every SAE. `n_features` says how many each has.
    Raises FeatureError, also for layers without an SAE.
    """
    parts = _parts(text)
    for part in parts:
        if part.layer is not None and part.layer not in n_features:
            known = ", ".join(map(str, sorted(n_features)))
            raise FeatureError(
                f"{shown(text)} names features of layer {part.layer}; SAEs are given for layers {known}."
            )
    found = {
        layer: _each_once([part for part in parts if part.layer in (None, layer)], n_features[layer], seed)
        for layer in sorted(n_features)
    }
    return {layer: features for layer, features in found.items() if features}


def parse_address(text: str) -> tuple[int | None, int]:
    """The layer, if `text` names one, and the feature of `121` or `8:121`. Raises FeatureError."""
    layer, colon, feature = text.strip().rpartition(":")
    numbers = whole_number(layer) if colon else None, whole_number(feature)
    if numbers[1] is None or (colon and numbers[0] is None):
        raise FeatureError(f"{shown(text)} is not one feature; write its number, as 121, or 8:121 for one of layer 8.")
    return numbers[0], numbers[1]


def check_features(text: str) -> None:
    """Raises FeatureError where `text` is not what `parse_features` reads, whatever the SAE."""
    _parts(text)


def _each_once(parts: Iterable[_Part], n_features: int, seed: int) -> list[int]:
    return list(dict.fromkeys(feature for part in parts for feature in _features(part.what, n_features, seed)))


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
    if match := _ADDRESS.fullmatch(word):
        return _Part(_number(match[1]), _what(match[2]))
    return _Part(None, _what(word))


def _what(word: str) -> range | _Random | None:
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


def _features(part: range | _Random | None, n_features: int, seed: int) -> Sequence[int]:
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
