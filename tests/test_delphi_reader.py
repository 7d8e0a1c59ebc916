"""delphi's cache and explanations: small ones written as delphi writes them, read back entry by entry."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from eval.errors import ExamplesError
from eval.readers import ReadResult, Vocabulary, read_examples
from eval.readers.delphi_cache import WINDOW
from probes.examples import Baseline

ROWS, CONTEXT, VOCAB = 40, 128, 1000
BOS, EOS = 0, 1
TOKENS = np.random.default_rng(3).integers(2, VOCAB, (ROWS, CONTEXT))
TOKENS[:, 0] = BOS
VOCABULARY = Vocabulary(VOCAB, lambda token: f" t{token}", frozenset({BOS, EOS}))
HOOK = "layers.3"

Entry = tuple[int, int, int, float]
"""Row, position, feature, activation."""


def write_split(folder: Path, entries: Sequence[Entry], first: int = 0, last: int = 99, **changed: Any) -> Path:
    """One split, features counted from `first`."""
    located = [(row, position, feature - first) for row, position, feature, _ in entries]
    tensors = {
        "locations": np.array(located, np.uint16).reshape(-1, 3),
        "activations": np.array([value for *_, value in entries], np.float16),
        "tokens": TOKENS.astype(np.int64),
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{first}_{last}.safetensors"
    save_file({name: tensor for name, tensor in (tensors | changed).items() if tensor is not None}, file)
    return file


def read(path: Path, **options: Any) -> ReadResult:
    return read_examples(path, **{"vocabulary": VOCABULARY, **options})


def test_a_cache_is_read_entry_by_entry(tmp_path: Path) -> None:
    entries = [(2, 60, 7, 4.0), (2, 62, 7, 1.5), (5, 3, 7, 2.0), (5, 3, 8, 9.0)]
    write_split(tmp_path / HOOK, entries)
    reading = read(tmp_path)
    assert (reading.source, reading.faults, sorted(reading.features)) == (f"delphi:{HOOK}", (), [7, 8])
    middle, early = reading.features[7].examples
    assert (middle.start, len(middle.tokens)) == (12, WINDOW)
    assert middle.token_ids == tuple(TOKENS[2, 12:76])
    assert middle.tokens == tuple(f" t{token}" for token in TOKENS[2, 12:76])
    assert {place: value for place, value in enumerate(middle.activations) if value} == {48: 4.0, 50: 1.5}
    assert (middle.kind, middle.document, middle.quantile) == ("activating", "row 2", 0)
    assert (early.start, early.document, early.quantile, early.activations[2]) == (1, "row 5", 5, 2.0)  # BOS cut off
    activity = reading.features[7].activity
    assert activity is not None
    assert (activity.n_active, activity.n_tokens, activity.maximum) == (3, ROWS * (CONTEXT - 1), 4.0)
    assert (len(activity.edges), sum(activity.counts)) == (len(activity.counts) + 1, 3)


def test_a_window_at_the_end_of_a_row_is_a_whole_one(tmp_path: Path) -> None:
    (example,) = read(write_split(tmp_path, [(0, CONTEXT - 1, 7, 1.0)])).features[7].examples
    assert (example.start, len(example.tokens), example.activations[-1]) == (CONTEXT - WINDOW, WINDOW, 1.0)


def test_special_tokens_count_for_nothing_and_part_texts(tmp_path: Path) -> None:
    tokens = TOKENS.copy()
    tokens[4, [50, 70]] = EOS
    entries = [(4, 0, 7, 99.0), (4, 50, 7, 98.0), (4, 49, 7, 0.5), (4, 60, 7, 3.0)]
    collected = read(write_split(tmp_path, entries, tokens=tokens)).features[7]
    (example,) = collected.examples
    assert (example.start, example.token_ids) == (51, tuple(tokens[4, 51:70]))
    assert collected.activity is not None
    assert (collected.activity.n_active, collected.activity.maximum) == (2, 3.0)
    assert collected.activity.n_tokens == ROWS * (CONTEXT - 1) - 2


@pytest.mark.parametrize("counted_from", ["the split's first", "0"])
def test_later_splits(tmp_path: Path, counted_from: str) -> None:
    file = write_split(tmp_path, [(1, 9, 250, 1.0), (1, 9, 299, 2.0)], first=200, last=299)
    if counted_from == "0":  # as older versions of delphi wrote them
        absolute = np.array([(1, 9, 250), (1, 9, 299)], np.int64)
        write_split(tmp_path, [(0, 0, 200, 1.0)] * 2, first=200, last=299, locations=absolute)
    assert sorted(read(file).features) == [250, 299]


def test_only_the_features_asked_for(tmp_path: Path) -> None:
    write_split(tmp_path / HOOK, [(1, 9, 7, 1.0), (1, 9, 8, 2.0)])
    write_split(tmp_path / HOOK, [(1, 9, 150, 3.0)], first=100, last=199)
    reading = read(tmp_path, features={8, 150, 3})
    assert {feature: found.examples[0].peak for feature, found in reading.features.items()} == {8: 2.0, 150: 3.0}


def test_many_windows_are_capped_by_stratum_and_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, VOCAB, (500, 16))
    peaks = rng.uniform(0.5, 10, 500).astype(np.float16)
    entries = [(row, 8, 7, float(peak)) for row, peak in enumerate(peaks)]
    file = write_split(tmp_path, entries, tokens=tokens)
    examples = read(file).features[7].examples
    kept = [example.peak for example in examples]
    assert kept[:32] == sorted(peaks.tolist(), reverse=True)[:32]
    strata = [example.quantile for example in examples[32:]]
    assert [strata.count(stratum) for stratum in range(1, 10)] == [8] * 9
    assert read(file).features[7].examples == examples
    others = read(file, seed=1).features[7].examples
    assert others[:32] == examples[:32]
    assert others != examples


def test_other_dtypes(tmp_path: Path) -> None:
    file = tmp_path / "0_99.safetensors"
    tensors = {
        "locations": torch.tensor([[2, 60, 7]], dtype=torch.uint32),
        "activations": torch.tensor([4.0], dtype=torch.bfloat16),
        "tokens": torch.from_numpy(TOKENS).to(torch.int32),
    }
    save_torch_file(tensors, file)
    assert read(file).features[7].examples[0].peak == 4.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_feature_with_impossible_activations_is_left_out(tmp_path: Path, bad: float) -> None:
    reading = read(write_split(tmp_path, [(1, 9, 7, 1.0), (2, 9, 7, bad), (1, 9, 8, 2.0)]))
    assert sorted(reading.features) == [8]
    assert f"feature 7: 1 of its activations are negative or not finite, such as {bad} at row 2" in reading.faults[0]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"tokens": None}, "it has no tokens; let delphi save the tokens"),
        ({"activations": np.ones(3, np.float16)}, "its tensors have shapes"),
        ({"locations": np.ones((1, 2), np.uint16)}, "its tensors have shapes"),
        ({"tokens": np.ones(8, np.int64)}, "its tensors have shapes"),
        ({"tokens": TOKENS[:1]}, "1 of its entries lie outside its 1 rows of 128 tokens"),
        ({"locations": np.array([[1, -3, 7]], np.int32)}, "1 of its entries lie outside"),
    ],
)
def test_a_damaged_split_is_told_and_the_others_are_kept(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    write_split(tmp_path / HOOK, [(1, 9, 7, 1.0)], **changed)
    write_split(tmp_path / HOOK, [(1, 9, 150, 3.0)], first=100, last=199)
    reading = read(tmp_path, format="delphi")
    assert list(reading.features) == [150]
    assert reading.faults[0].startswith(f"0_99.safetensors: {why}")


def test_a_truncated_split(tmp_path: Path) -> None:
    file = write_split(tmp_path / HOOK, [(1, 9, 7, 1.0)])
    file.write_bytes(file.read_bytes()[:-100])
    write_split(tmp_path / HOOK, [(1, 9, 150, 3.0)], first=100, last=199)
    reading = read(tmp_path)
    assert list(reading.features) == [150]
    assert reading.faults[0].startswith("0_99.safetensors: it cannot be read (")


def test_tokens_of_another_subject(tmp_path: Path) -> None:
    file = write_split(tmp_path, [(1, 9, 7, 1.0)])
    with pytest.raises(ExamplesError, match="the subject's vocabulary has 500: these are examples of another subject"):
        read(file, vocabulary=Vocabulary(500, str))
    with pytest.raises(ExamplesError, match="holds token ids, no texts: name the subject"):
        read(file, vocabulary=None)


def test_two_hook_points_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "latents/layers.3", [(1, 9, 7, 1.0)])
    write_split(tmp_path / "latents/layers.6", [(1, 9, 7, 1.0)])
    with pytest.raises(ExamplesError, match=r"several hook points \(layers.3, layers.6\)"):
        read(tmp_path)


def test_explanations_are_baselines(tmp_path: Path) -> None:
    write_split(tmp_path / "latents" / HOOK, [(1, 9, 7, 1.0)])
    (tmp_path / "explanations").mkdir()
    for name, text in {f"{HOOK}_latent7": "cats ", f"{HOOK}_latent8": "dogs", "layers.6_latent7": "others"}.items():
        (tmp_path / f"explanations/{name}.txt").write_text(json.dumps(text))
    (tmp_path / f"explanations/{HOOK}_latent9.txt").write_text('{"a": 1}')
    (tmp_path / "run_config.json").write_text('{"explainer_model": "llama-70b"}')
    for path in (tmp_path, tmp_path / "latents" / HOOK, tmp_path / "latents" / HOOK / "0_99.safetensors"):
        reading = read(path)
        assert reading.features[7].baselines == (Baseline(7, "cats", "delphi, llama-70b"),)
        assert [baseline.text for baseline in reading.features[8].baselines] == ["dogs"]
        assert reading.faults == (f"{HOOK}_latent9.txt, line 1: it is not a JSON string with an explanation.",)
    with pytest.raises(ExamplesError, match="several hook points"):
        read(tmp_path / "explanations")


def test_scores_beside_explanations_come_with_them(tmp_path: Path) -> None:
    """Balanced accuracy over the texts with an answer, as delphi's own summary has it."""
    (tmp_path / "run" / "explanations").mkdir(parents=True)
    explanation = tmp_path / "run" / "explanations" / f"{HOOK}_latent7.txt"
    explanation.write_text(json.dumps("dogs"))
    answers = [(True, True), (True, False), (True, None), (False, 0.2), (False, False), (False, True)]
    texts = [{"str_tokens": [" a"], "activating": there, "prediction": said} for there, said in answers]
    for name, content in (("fuzz", texts), ("detection", texts[:2])):
        folder = tmp_path / "run" / "scores" / name
        folder.mkdir(parents=True)
        (folder / f"{HOOK}_latent7.txt").write_text(json.dumps(content))
    reading = read(tmp_path / "run")
    [baseline] = reading.features[7].baselines
    [score] = baseline.scores
    assert (score["scorer"], score["metric"], score["n"]) == ("fuzzing", "balanced_accuracy", 5)
    assert score["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert any("no answers about both activating and other texts" in fault for fault in reading.faults)
