"""Other tools' example files: small ones written by the formats' description are read back field by field."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.evidence.shown_examples import cut, key_of, shown_example
from eval.errors import ExamplesError
from eval.readers import READERS, format_of, read_examples
from eval.readers.spelling import spelled_out
from probes.examples import Baseline
from tests.example_files import BARS, SAE, TEXT, api_record, lines, np_text, only, plain, write


def export(folder: Path) -> Path:
    """A public export of two features."""
    feature = {**SAE, "index": "5", **BARS, "pos_str": ["▁cat"], "vector": [0.1, 0.2]}
    rare = {**feature, "index": 6, "frac_nonzero": 0.0, "freq_hist_data_bar_heights": [2, 0, 0], "maxActApprox": 1.8}
    dead = {**feature, "index": 7, "frac_nonzero": 0, "freq_hist_data_bar_heights": [0, 0, 0], "maxActApprox": 0}
    explained = {**SAE, "index": "5", "authorId": "u", "description": " cats ", "typeName": "oai_token-act-pair"}
    write(folder / "features/batch-0.jsonl.gz", lines([feature, rare, dead]))
    write(folder / "activations/batch-0.jsonl.gz", lines([np_text(), np_text(values=[0, 0, 0, 0])]))
    write(folder / "activations/batch-1.jsonl", lines([np_text(6, values=[0, 1.25, 0, 0])]))
    write(folder / "explanations/batch-0.jsonl.gz", lines([{**explained, "explanationModelName": "gpt-4o-mini"}]))
    write(folder / "model.jsonl", lines([{"id": "gemma-x", "layers": 18}]))
    return folder


def test_an_export_is_read_field_by_field(tmp_path: Path) -> None:
    reading = read_examples(export(tmp_path))
    assert (reading.source, reading.faults, reading.n_records) == ("neuronpedia:gemma-x/6-res-jb", (), 7)
    cats = reading.features[5]
    active, non_activating = cats.examples
    assert active.tokens == (" a", " cat", "s", ".")
    assert active.activations == (0, 3.5, 0.25, 0)
    assert (active.feature, active.kind, active.text, active.peak) == (5, "activating", " a cats.", 3.5)
    assert (active.quantile, active.token_ids, active.start) == (1, None, 1)  # 3.5 of 3.9: the second tenth
    assert (non_activating.kind, non_activating.quantile) == ("random", None)
    assert non_activating.document == active.document  # the same text is the same document
    assert cats.baselines == (Baseline(5, "cats", "oai_token-act-pair, gpt-4o-mini"),)


def test_the_texts_of_a_document_have_places_of_their_own(tmp_path: Path) -> None:
    long = [f" w{n}" for n in range(100)]
    texts = [["a", " cat"], long, ["<s>", "one", " cat"], ["a", " cat"]]
    records = [plain(f, tokens=t, activations=[0] * (len(t) - 1) + [1.0], document="d") for f in (5, 6) for t in texts]
    reading = read_examples(write(tmp_path / "a.jsonl", lines(records)))
    five, six = ([key_of(cut(e)) for e in reading.features[f].examples] for f in (5, 6))
    assert five == six == ["d:1", "d:39", "d:103", "d:1"]  # the long one is cut to its last 64 tokens


def test_activity_comes_from_the_bars(tmp_path: Path) -> None:
    reading = read_examples(export(tmp_path))
    activity = reading.features[5].activity
    assert activity is not None
    assert (activity.n_active, activity.n_tokens, activity.maximum) == (12, 1000, 3.9)
    assert (activity.edges, activity.counts) == ((1.0, 2.0, 3.0, 4.0), (7, 0, 5))
    rare, dead = reading.features[6].activity, reading.features[7].activity
    assert rare is not None
    assert (rare.n_active, rare.n_tokens) == (2, 1000)  # the share was rounded to 0, the source's tokens are known
    assert dead is not None
    assert (dead.n_active, dead.n_tokens, dead.maximum, dead.counts) == (0, 1000, 0, ())


@pytest.mark.parametrize(
    "bars",
    [
        {"freq_hist_data_bar_heights": [0.5, 0.25, 0.25]},
        {"freq_hist_data_bar_heights": [7, 5]},
        {"freq_hist_data_bar_values": [3, 2, 1]},
        {"freq_hist_data_bar_values": [1.5, None, 3.5]},
        {"frac_nonzero": float("nan")},
        {"frac_nonzero": 1.5},
    ],
)
def test_bars_that_tell_nothing_give_no_activity(tmp_path: Path, bars: dict[str, Any]) -> None:
    reading = read_examples(write(tmp_path / "f.jsonl", lines([{**SAE, "index": 5, **BARS, **bars}, np_text()])))
    assert reading.features[5].activity is None
    (fault,) = reading.faults
    assert fault.startswith("f.jsonl, line 1: how often the feature activates is unknown")


def test_any_part_of_an_export_is_enough(tmp_path: Path) -> None:
    export(tmp_path)
    assert only(tmp_path / "explanations").examples == ()
    assert len(read_examples(tmp_path / "activations").features) == 2
    assert read_examples(tmp_path / "features").features[5].activity is not None


@pytest.mark.parametrize("form", ["one", "list", "named", "indented"])
def test_records_of_the_api(tmp_path: Path, form: str) -> None:
    record = api_record()
    content: Any = {"one": record, "list": [record], "named": {"cats": record}, "indented": record}[form]
    file = write(tmp_path / "record.json", json.dumps(content, indent=2 if form == "indented" else None).encode())
    cats = only(file)
    assert [example.text for example in cats.examples] == [" a cats."] * 2
    assert [example.document[:8] for example in cats.examples] == ["pile:17", "text:" + cats.examples[1].document[5:8]]
    assert cats.activity is not None
    assert cats.baselines == (Baseline(5, "cats", "gpt-4o"),)


def test_faults_inside_a_record_leave_the_rest_of_it(tmp_path: Path) -> None:
    broken = api_record(activations=[{"tokens": ["a"]}, TEXT], explanations=[{"description": " "}])
    reading = read_examples(write(tmp_path / "r.json", json.dumps([broken]).encode()))
    assert len(reading.features[5].examples) == 1
    assert reading.faults == (
        "r.json, record 1 (line 1), item 1 of `activations`: it has no `values`.",
        "r.json, record 1 (line 1), item 1 of `explanations`: `description` is no text, or an empty one.",
    )


def test_records_of_two_saes_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", lines([np_text(), np_text(layer="10-res-jb")]))
    with pytest.raises(ExamplesError, match=r"more than one SAE \(gemma-x/6-res-jb, gemma-x/10-res-jb\)"):
        read_examples(file)


@pytest.mark.parametrize("layer", [["6"], {"a": 1}, "", "x" * 1000, 1.5])
def test_a_source_s_name_is_a_short_text(tmp_path: Path, layer: Any) -> None:
    reading = read_examples(write(tmp_path / "a.jsonl", lines([np_text(layer=layer), np_text()])))
    assert reading.source == "neuronpedia:gemma-x/6-res-jb"
    assert reading.faults[0].startswith("a.jsonl, line 1: `layer` is ")
    assert len(reading.faults[0]) < 120


def test_saedashboard_is_read_field_by_field(tmp_path: Path) -> None:
    text = {"bin_min": -1, "bin_max": 3.5, "bin_contains": -1, **TEXT}
    feature = {"feature_index": 5, **BARS, "maxActApprox": None, "activations": [text]}
    batch = {"model_id": "gemma-x", "layer": 6, "sae_set": "res-jb", "features": [feature, {"feature_index": 9}]}
    write(tmp_path / "batch-3.json", json.dumps(batch).encode())
    write(tmp_path / "skipped_indexes.json", json.dumps({"skipped_indexes": [1, 2]}).encode())
    reading = read_examples(tmp_path)
    assert reading.source == "saedashboard:gemma-x/6/res-jb"
    assert reading.faults == ("batch-3.json, record 5 (line 1): it has no `activations`.",)
    (example,) = reading.features[5].examples
    assert (example.text, example.activations, example.quantile) == (" a cats.", (0, 3.5, 0.25, 0), 1)
    activity = reading.features[5].activity
    assert activity is not None
    assert (activity.n_tokens, activity.n_active, activity.maximum) == (1000, 12, 4.0)


def test_a_batch_of_saedashboard_without_names(tmp_path: Path) -> None:
    feature = {"feature_index": 5, **BARS, "activations": [TEXT]}
    batch = {"model_id": "", "layer": [6], "features": [feature]}
    reading = read_examples(write(tmp_path / "batch-3.json", json.dumps(batch).encode()))
    assert (reading.source, list(reading.features)) == ("saedashboard", [5])
    assert reading.faults == ("batch-3.json, record 2 (line 1): `layer` is [6], which is no name.",)


def test_plain_jsonl_is_read_field_by_field(tmp_path: Path) -> None:
    negative = plain(activations=[0, 0], kind="similar", document=7)
    reading = read_examples(write(tmp_path / "mine.jsonl", lines([plain(document="d1"), negative, plain(8)])))
    active, similar = reading.features[5].examples
    assert (active.tokens, active.activations, active.document) == (("a", " cat"), (0, 3.5), "d1")
    assert (active.kind, active.quantile) == ("activating", 0)
    assert (similar.kind, similar.document, similar.quantile) == ("similar", "7", None)
    assert (reading.source, sorted(reading.features), reading.features[5].activity) == (
        "jsonl:mine.jsonl",
        [5, 8],
        None,
    )


def test_only_the_features_asked_for(tmp_path: Path) -> None:
    assert list(read_examples(export(tmp_path), features=[5]).features) == [5]
    reading = read_examples(write(tmp_path / "m.jsonl", lines([plain(8)])), features={5})
    assert (reading.features, reading.n_records) == ({}, 1)


FAULTS: list[tuple[Any, str]] = [
    (plain(activations=[0]), "it has 2 tokens but 1 activations"),
    (plain(activations=[0, float("nan")]), "the activation of token 1 is nan, not a finite number"),
    (plain(activations=[float("-inf"), 0]), "the activation of token 0 is -inf, not a finite number"),
    (plain(activations=[0, None]), "the activation of token 1 is None"),
    (plain(activations=[0, True]), "the activation of token 1 is True"),
    (plain(activations=[0, 10**400]), "not a finite number"),
    (plain(activations=[0, "3"]), "the activation of token 1 is '3'"),
    (plain(activations=[3, -0.5]), "the activation of token 1 is -0.5: an SAE's activations are never negative"),
    (plain(activations=3.5), "`activations` is 3.5, not a list"),
    (plain(tokens=[]), "`tokens` is .*, not a list with at least one"),
    (plain(tokens=["a", 7]), "item 1 of `tokens` is 7, not a text"),
    (plain(tokens=["<bos>"], activations=[9]), "no token but one that marks the start"),
    (plain(tokens=None), "it has no `tokens`"),
    ({"tokens": ["a"]}, "it has no `feature` and no `activations`"),
    ({"feature": 5, "text": "a cat"}, "it has a `text` alone"),
    (plain(feature=-1), "`feature` is -1, which is no feature's index"),
    (plain(feature=True), "which is no feature's index"),
    (plain(feature="٣"), "which is no feature's index"),  # a digit to Python, not to anyone who writes indices
    (plain(kind="negative"), "`kind` is 'negative', not one of activating, random"),
    (plain(kind="random"), "it is called random, but the feature activates in it"),
    (plain(kind="activating", activations=[0, 0]), "called activating, but the feature never activates"),
    (plain(document=["d"]), "`document` is neither a text nor a number"),
    (["a"], "is not an object with fields"),
    (b'{"feature": 5, "tok', "it is not JSON"),
    (b"[" * 200_000, "nested too deeply"),
    (b"1" * 5000, "its JSON cannot be read"),
    (b'{"feature": 5, "tokens": ["\xff"]}', "byte 28 is not UTF-8"),
    (plain(tokens=["\ud800", "b"]), "half of a character"),
    (plain(document="\udfff"), "half of a character"),
    (plain(tokens=["\ude00\ud83d", "b"]), "half of a character"),
]


@pytest.mark.parametrize(("bad", "why"), FAULTS)
def test_a_bad_line_is_told_and_the_rest_is_kept(tmp_path: Path, bad: Any, why: str) -> None:
    file = write(tmp_path / "m.jsonl", lines([plain(), bad, b"", plain()]))
    reading = read_examples(file, "jsonl")
    assert len(reading.features[5].examples) == 2
    (fault,) = reading.faults
    assert fault.startswith("m.jsonl, line 2: ")
    assert re.search(why, fault), fault


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script> & <b>",
        "\x00\x1b[2J\r\n\u202e\u2028",
        '", "kind": "random", "x": "',
        "{{ feature }} {% raw %}",
        "\U0001f408",
    ],
)
@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_hostile_content_survives_as_data(tmp_path: Path, text: str, name: str) -> None:
    record = plain(tokens=[text, "b"], kind="activating")
    (example,) = only(write(tmp_path / name, lines([record])), format="jsonl").examples
    assert example.tokens == (text, "b")
    assert re.fullmatch("text:[0-9a-f]{16}", example.document)


def test_strata_are_tenths_of_the_feature_s_range(tmp_path: Path) -> None:
    peaks = [10.0, 9.5, 8.9, 5.0, 0.5, 1e-9]
    file = write(tmp_path / "m.jsonl", lines(plain(activations=[0, peak]) for peak in peaks))
    assert [example.quantile for example in only(file).examples] == [0, 0, 1, 5, 9, 9]


@pytest.mark.parametrize(
    ("tokens", "texts"),
    [
        (["▁a", "▁▁cat", "<0xF0>", "<0x9F>", "<0x90>", "<0x88>", "Ġ"], [" a", "  cat", "", "", "", "🐈", "Ġ"]),
        (["▁a", "<0xF0>", "s"], [" a", "", "�s"]),
        (["A", "Ġcat", "ĊĊ", "âĢ", "Ļ", "s", "<|im_end|>"], ["A", " cat", "\n\n", "", "’", "s", "<|im_end|>"]),
        (["Ġ日", "Ġa", "â"], ["Ġ日", " a", "�"]),
        ([" a", "▁b", "Ġc"], [" a", "▁b", "Ġc"]),
        (["A", "\n", "ĠB"], ["A", "\n", " B"]),
        (["Ċ", "a"], ["Ċ", "a"]),
    ],
)
def test_the_spelling_of_tokens(tokens: list[str], texts: list[str]) -> None:
    assert list(spelled_out(tokens)) == texts


def test_a_token_that_starts_a_text_is_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "m.jsonl", lines([plain(tokens=["<bos>", "▁a"], activations=[99, 0.5])]))
    (example,) = only(file).examples
    assert (example.tokens, example.activations, example.start) == ((" a",), (0.5,), 0)


def test_only_a_text_that_is_known_to_begin_its_document_has_its_first_token(tmp_path: Path) -> None:
    records = [plain(f, tokens=t, activations=[0] * (len(t) - 2) + [1.0, 0]) for f, t in TEXTS_BY_FEATURE.items()]
    found = read_examples(write(tmp_path / "m.jsonl", lines(records))).features
    places = {f: shown_example(found[f].examples[0], 1.0)["place"] for f in TEXTS_BY_FEATURE}
    assert places == {5: "", 6: "first token of the document"}


TEXTS_BY_FEATURE = {5: [" went", " home"], 6: ["<bos>", "The", " cat"]}


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.jsonl", lines([np_text()]), "neuronpedia"),
        ("a.json", json.dumps({"x": api_record()}).encode(), "neuronpedia"),
        ("a.json.gz", json.dumps([np_text()]).encode(), "neuronpedia"),
        ("batch-0.json", json.dumps({"features": [{"feature_index": 1}]}).encode(), "saedashboard"),
        ("a.jsonl", lines([plain()]), "jsonl"),
        ("a.jsonl", lines([{"feature": 1, "text": "a"}]), "jsonl"),
        ("layers.3_latent7.txt", b'"cats"', "delphi"),
    ],
)
def test_the_format_is_found_from_the_files(tmp_path: Path, name: str, content: bytes, format: str) -> None:
    file = write(tmp_path / "some" / name, content)
    assert format_of(file) == format_of(tmp_path) == format
    assert format in READERS


@pytest.mark.parametrize("content", [b"", b"once upon a time", b'{"modelId": 3}', b"\x1f\x8bbroken", b"\xff\xfe"])
def test_a_format_that_cannot_be_found(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ExamplesError, match="cannot be told from its files; name it, one of neuronpedia, saedashboard"):
        read_examples(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="is empty"):
        read_examples(tmp_path)
    with pytest.raises(ExamplesError, match="There is no file or folder"):
        read_examples(tmp_path / "nowhere", "jsonl")
    with pytest.raises(ExamplesError, match="Format 'csv' is unknown; choose among: neuronpedia"):
        read_examples(tmp_path, "csv")
    file = write(tmp_path / "a.jsonl", lines([{"feature": 1, "text": "a"}]))
    with pytest.raises(ExamplesError, match=r"read as jsonl:a.jsonl\. The first fault: a.jsonl, line 1: "):
        read_examples(file)


def test_explanations_of_neuronpedia_come_with_their_scores(tmp_path: Path) -> None:
    details = '{"metric": "balanced_accuracy", "n": 40}'
    scores = [
        {"value": 0.75, "explanationScoreTypeName": "eleuther_fuzz", "jsonDetails": details},
        {"value": 0.5, "explanationScoreTypeName": "sae-interpret_simulation", "jsonDetails": "[" * 5},
        {"value": "nan", "explanationScoreTypeName": "recall_alt"},
        {"value": 1, "explanationScoreTypeName": ""},
        7,
    ]
    explained = {"description": "dogs", "typeName": "t", "explanationModelName": "m", "scores": scores}
    record = {"modelId": "a", "layer": "6-res", "index": "3", "activations": [], "explanations": [explained]}
    (tmp_path / "3.json").write_text(json.dumps(record))
    [baseline] = read_examples(tmp_path / "3.json").features[3].baselines
    assert [*baseline.scores] == [
        {"scorer": "fuzzing", "metric": "balanced_accuracy", "value": 0.75, "n": 40},
        {"scorer": "simulation", "metric": "", "value": 0.5, "n": 0},
    ]
