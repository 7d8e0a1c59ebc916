"""One split of delphi's cache -> examples and activity of its features.

A split is `FIRST_LAST.safetensors`, the features FIRST to LAST: `locations` [n, 3] (row, position, feature counted from
FIRST), `activations` [n], `tokens` [rows, context]. It is read with safetensors, a piece at a time.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from safetensors import SafetensorError, safe_open

from eval.errors import ExamplesError
from eval.readers.base import ReadRequest, RecordError, RecordFaults, Vocabulary
from eval.readers.gathering import ExampleGatherer
from eval.readers.latents import LatentEntries, activity_of, rows_to_keep
from probes.examples import Example

WINDOW = 64
"""Tokens of an example at most."""
_BEFORE_PEAK = 48
"""How many of them stand before the peak at most: what follows it, the model had not read there."""

_TENSORS = frozenset({"locations", "activations", "tokens"})
_ENTRIES_AT_ONCE = 1 << 22
_SPLIT = re.compile(r"(\d+)_(\d+)")


def take_split(file: Path, gathered: ExampleGatherer, faults: RecordFaults, vocabulary: Vocabulary) -> None:
    """All of one split. Raises RecordError where it is damaged, ExamplesError where it is another subject's."""
    try:
        with safe_open(file, framework="pt") as stored:
            _check_shapes(stored)
            tokens = _tokens(stored, file, vocabulary)
            entries = _wanted_entries(stored, _first_feature(stored, file), gathered.wanted)
    except (OSError, SafetensorError) as error:
        raise RecordError(f"it cannot be read ({error})") from error
    gathered.n_records += 1
    special = np.isin(tokens, list(vocabulary.special_ids))
    n_tokens = int(tokens.size - special.sum())
    for of_feature in _inside(entries, special).by_feature():
        with faults.at(f"{file.name}, feature {of_feature.feature[0]}"):
            _check(of_feature)
            gathered.set_activity(activity_of(of_feature, n_tokens))
            for row in rows_to_keep(of_feature, gathered.wanted.seed):
                place = int(row.row[0])
                gathered.add(_example(row, tokens[place], special[place], vocabulary))


def _inside(entries: LatentEntries, special: Bool[ndarray, "rows context"]) -> LatentEntries:
    """The entries that are not 0, on tokens that are text. Raises RecordError where some are beside all tokens."""
    rows, context = special.shape
    outside = (entries.row < 0) | (entries.row >= rows) | (entries.position < 0) | (entries.position >= context)
    if outside.any():
        raise RecordError(f"{outside.sum():,} of its entries lie outside its {rows:,} rows of {context:,} tokens")
    return entries[np.flatnonzero(~special[entries.row, entries.position] & (entries.value != 0))]


def _check_shapes(stored: Any) -> None:
    missing = _TENSORS - set(stored.keys())
    if missing:
        raise RecordError(f"it has no {', '.join(sorted(missing))}; let delphi save the tokens with the latents")
    shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in sorted(_TENSORS)}
    match shapes["activations"], shapes["locations"], shapes["tokens"]:
        case (n,), (m, 3), (_, _) if n == m:
            return
    wanted = "activations [n], locations [n, 3] and tokens [rows, context]"
    raise RecordError(f"its tensors have shapes {shapes}, not {wanted}")


def _tokens(stored: Any, file: Path, vocabulary: Vocabulary) -> Int64[ndarray, "rows context"]:
    tokens: Int64[ndarray, "rows context"] = stored.get_tensor("tokens").long().numpy()
    lowest, highest = (int(tokens.min()), int(tokens.max())) if tokens.size else (0, 0)
    if lowest < 0 or highest >= vocabulary.size:
        raise ExamplesError(
            f"{file} holds token id {lowest if lowest < 0 else highest:,}, but the subject's vocabulary has "
            f"{vocabulary.size:,}: these are examples of another subject."
        )
    return tokens


def _first_feature(stored: Any, file: Path) -> int:
    """Returns the number to add to the features of a split: its first one, unless they count from 0 (older delphi)."""
    split = _SPLIT.fullmatch(file.stem)
    if split is None:
        return 0
    first, last = int(split[1]), int(split[2])
    locations = stored.get_slice("locations")
    highest = max((int(part[:, 2].long().max()) for part in _parts(locations)), default=0)
    return first if highest <= last - first else 0


def _parts(stored: Any) -> Iterator[Any]:
    """A stored tensor in pieces of some million entries."""
    for start in range(0, stored.get_shape()[0], _ENTRIES_AT_ONCE):
        yield stored[start : start + _ENTRIES_AT_ONCE]


def _wanted_entries(stored: Any, first: int, wanted: ReadRequest) -> LatentEntries:
    """The entries of wanted features, in memory; of the others a piece at a time only."""
    places, values = stored.get_slice("locations"), stored.get_slice("activations")
    found = [np.empty((0, 3), np.int64)], [np.empty(0, np.float32)]
    for where, value in zip(_parts(places), _parts(values), strict=True):
        located = where.long().numpy() + np.array([0, 0, first])
        chosen = slice(None) if wanted.features is None else np.isin(located[:, 2], list(wanted.features))
        found[0].append(located[chosen])
        found[1].append(value.float().numpy()[chosen])
    row, position, feature = np.concatenate(found[0]).T
    return LatentEntries(feature, row, position, np.concatenate(found[1]))


def _check(entries: LatentEntries) -> None:
    """Refuses a feature with an activation that no SAE gives; its counts could not be trusted either."""
    wrong = np.flatnonzero(~(np.isfinite(entries.value) & (entries.value >= 0)))
    if len(wrong):
        first = entries[wrong[:1]]
        raise RecordError(
            f"{len(wrong):,} of its activations are negative or not finite, such as {first.value[0]} at row "
            f"{first.row[0]}, position {first.position[0]}; the feature is left out"
        )


def _example(
    row: LatentEntries, tokens: Int64[ndarray, " context"], special: Bool[ndarray, " context"], vocabulary: Vocabulary
) -> Example:
    """A window around the row's peak that stays between special tokens, for they part one text from another."""
    peak = int(row.position[0])
    before, after = np.flatnonzero(special[:peak]), np.flatnonzero(special[peak:])
    first = int(before[-1]) + 1 if len(before) else 0
    end = peak + int(after[0]) if len(after) else len(tokens)
    start = max(first, min(peak - _BEFORE_PEAK, end - WINDOW))
    end = min(end, start + WINDOW)
    values = np.zeros(len(tokens), np.float32)
    values[row.position] = row.value
    ids = tuple(tokens[start:end].tolist())
    return Example(
        feature=int(row.feature[0]),
        kind="activating",
        document=f"row {row.row[0]}",
        tokens=tuple(intern(vocabulary.text_of(token)) for token in ids),
        activations=tuple(values[start:end].tolist()),
        token_ids=ids,
        start=start,
    )
