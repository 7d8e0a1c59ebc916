"""Features as the user writes them -> indices. No torch."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

from probes.errors import FeatureError

_RANGE = re.compile(r"(\d+)-(\d+)")
_RANDOM = re.compile(r"random:(\d+)")


def parse_features(text: str, n_features: int, seed: int = 0) -> list[int]:
    """The features that `text` names, each once, in its order.

    Comma-separated: `7`; `0-500`, both ends included; `all`; `random:50`, drawn without repeats by `seed` and sorted;
    `@FILE`, whose lines hold any of these (`#` starts a comment). Raises FeatureError, before any long list is made.
    """
    features = list(dict.fromkeys(_features(text, n_features, seed)))
    if not features:
        raise FeatureError(f"{text!r} names no feature; write for example 7, 1,5,9-12, 0-500, all, random:50 or @FILE.")
    return features


def _features(text: str, n_features: int, seed: int) -> Iterator[int]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part == "all":
            yield from range(n_features)
        elif part.startswith("@"):
            for line in _lines(Path(part[1:])):
                yield from _features(line, n_features, seed)
        elif match := _RANDOM.fullmatch(part):
            yield from _drawn(int(match[1]), n_features, seed)
        elif match := _RANGE.fullmatch(part):
            yield from _range(part, int(match[1]), int(match[2]), n_features)
        else:
            yield _index(part, n_features)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FeatureError(f"The file of features {path} cannot be read: {error}.") from error
    if any(line.strip().startswith("@") for line in lines):
        raise FeatureError(f"The file of features {path} names another file; one file may not read the next.")
    return [line.partition("#")[0] for line in lines]


def _range(part: str, first: int, last: int, n_features: int) -> range:
    if first > last:
        raise FeatureError(f"Range {part} of features runs backwards; write {last}-{first}.")
    check_feature(last, n_features)
    return range(first, last + 1)


def _drawn(count: int, n_features: int, seed: int) -> list[int]:
    if count > n_features:
        raise FeatureError(f"random:{count} asks for more features than the {n_features} that this SAE has.")
    return sorted(random.Random(seed).sample(range(n_features), count))


def _index(part: str, n_features: int) -> int:
    if not part.isascii() or not part.isdigit():
        raise FeatureError(f"{part!r} is not a feature; write for example 7, 1,5,9-12, 0-500, all, random:50 or @FILE.")
    return check_feature(int(part), n_features)


def check_feature(feature: int, n_features: int) -> int:
    """`feature`, if the SAE has it; else raises FeatureError."""
    if not 0 <= feature < n_features:
        raise FeatureError(f"Feature {feature} is out of range; this SAE has features 0 to {n_features - 1}.")
    return feature
