"""The pieces a pass adds up with: shelves of the k best, histograms whose range grows, texts of tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.collect.bottom_k import BottomK
from eval.collect.histogram import N_BINS, Histograms
from eval.collect.tally import STRATA, mixed, stratum
from eval.collect.token_text import Spelling
from probes.subject import Subject

ROW = np.dtype([("value", "i8")])


def put(shelves: BottomK, entries: list[tuple[int, float, int]]) -> None:
    """Offers entries of group, key and name; each one's row holds its name."""
    groups = np.array([group for group, _, _ in entries], dtype=np.int64)
    keys = np.array([key for _, key, _ in entries])
    names = np.array([name for _, _, name in entries], dtype=np.uint64)
    good = shelves.admits(groups, keys)
    names = names[good]
    shelves.put(groups[good], keys[good], names, lambda places: names[places].astype(ROW))


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=40, unique=True), max_size=6))
@settings(max_examples=60, deadline=None)
def test_shelves_keep_the_k_best_of_each_group_whatever_comes_when(batches: list[list[tuple[int, int]]]) -> None:
    shelves, seen = BottomK(4, 3, ROW), set()
    for batch in batches:
        put(shelves, [(group, 100.0 / name, name) for group, name in batch])
        seen |= set(batch)
    for group in range(4):
        best = sorted((name for g, name in seen if g == group), reverse=True)[:3]
        kept = shelves.get(np.array([group]))
        assert kept.names.tolist() == kept.rows["value"].tolist() == best
        assert kept.keys.tolist() == [100.0 / name for name in best]
        assert set(kept.groups.tolist()) <= {group}


def test_what_is_taken_is_gone_and_can_be_put_elsewhere() -> None:
    shelves = BottomK(3, 2, ROW)
    put(shelves, [(0, 1.0, 7), (0, 2.0, 8), (1, 3.0, 9)])
    kept = shelves.take(np.array([0, 1]))
    assert kept.names.tolist() == [7, 8, 9]
    assert len(shelves.get(np.arange(3)).keys) == 0
    shelves.put(np.full(3, 2), kept.keys, kept.names, lambda places: kept.rows[places])
    assert shelves.get(np.array([2])).rows["value"].tolist() == [7, 8]
    assert shelves.admits(np.array([0, 2, 2]), np.array([9.0, 1.5, 2.5])).tolist() == [True, True, False]


@given(st.lists(st.lists(st.floats(2.0**-20, 2.0**20, width=32), max_size=20), max_size=6))
@settings(max_examples=60, deadline=None)
def test_histograms_are_exact_however_the_range_grows(batches: list[list[float]]) -> None:
    histograms = Histograms(2)
    for batch in batches:
        histograms.add(np.ones(len(batch), dtype=np.int64), np.array(batch, dtype=np.float32))
    values = np.array([value for batch in batches for value in batch], dtype=np.float32)
    activity = histograms.activity(1, 55, n_tokens=1000)
    assert (activity.feature, activity.n_tokens, activity.n_active) == (55, 1000, len(values))
    assert histograms.activity(0, 3, 1000).counts == ()
    if len(values):
        assert activity.maximum == values.max()
        assert activity.edges[-2] <= activity.maximum < activity.edges[-1]
        assert len(activity.edges) == len(activity.counts) + 1 <= N_BINS + 1
        places = np.searchsorted(activity.edges, values, side="right") - 1
        assert list(activity.counts) == np.bincount(places, minlength=len(activity.counts)).tolist()
        assert len(activity.counts) > N_BINS / 2


def test_strata_are_tenths_of_the_range() -> None:
    peaks = np.array([10.0, 9.5, 8.5, 0.5, 1e-9])
    assert stratum(peaks, np.full(5, 10.0)).tolist() == [0, 0, 1, STRATA - 1, STRATA - 1]


def test_mixed_numbers_are_splitmix64_s() -> None:
    """The generator's first outputs for seed 0, as its authors give them."""
    states = (np.arange(3, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    assert [hex(n) for n in mixed(states)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


@pytest.mark.parametrize("text", ["a cat", "größer “old” 猫猫 🙂x", "🙂🙂", "the é"])
def test_texts_of_tokens_join_to_the_text(subject: Subject, text: str) -> None:
    ids = subject.tokenizer.encode(text, add_special_tokens=False)
    texts = Spelling(subject)(ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == text


def test_a_character_cut_in_two_shows_where_and_spoils_no_other(subject: Subject) -> None:
    ids = subject.tokenizer.encode("猫猫猫", add_special_tokens=False)
    assert len(ids) == 9
    assert "".join(Spelling(subject)(ids[1:])).replace("\ufffd", "") == "猫猫"
    assert "".join(Spelling(subject)(ids[:-1])).replace("\ufffd", "") == "猫猫"
    assert "\ufffd" in "".join(Spelling(subject)(ids[1:]))
    assert "".join(Spelling(subject)(ids[:-1])).endswith("\ufffd")
