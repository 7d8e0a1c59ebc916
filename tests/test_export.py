"""`interpret export`: each form holds what the log says, whatever the texts are."""

import base64
import csv
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import agent.cli.commands.export
from agent.cli.commands.export import ExportRequest, export_run
from agent.evidence.printable import printable
from agent.export.csv_table import harmless
from agent.log.comparisons import ComparisonIdentity, add_classes, begin_comparison
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.examples import add_collected
from agent.log.labels import labels_of
from agent.log.reviews import undo_review
from agent.log.run_log import RunLog
from agent.log.scores import add_scores, begin_scoring
from eval.errors import ExportError
from probes.errors import InterpretError, OutputError
from probes.examples import Activity, Example, FeatureExamples
from tests.fakes import DOGS, tree
from tests.fault_runs import Interpret, commands, environment
from tests.full_logs import fill, review, scores_of
from tests.logged import RULES, card, identity, outcome, score, scoring_identity, token_list
from tests.test_agreement import contrasted
from tests.trees import NASTY

HOSTILE = [
    "".join(NASTY),
    *NASTY,
    "=HYPERLINK(1)",
    "</style></td><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "a" * 100_000,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "interpret.db"


@pytest.fixture
def log(path: Path) -> Path:
    """Three features: reviewed, abstained and failed; the first scored twice."""
    run_id = fill(
        path,
        [3, 5, 7],
        {
            5: outcome(5, status="abstained", label="", explanation="", confidence=None, reason="unclear"),
            7: outcome(7, status="failed", label="", explanation="", confidence=None, reason="overloaded"),
        },
    )
    with RunLog.open(path) as log:
        again = log.write(
            begin_scoring, scoring_identity(run_id, 1).model_copy(update={"judge": "fake:later"})
        ).result()
        [row] = log.read(labels_of, run_id, features=[3])
        [later, *_] = scores_of(row.label_id, 3, row.label)
        log.write(add_scores, again, [later.__class__(**vars(later) | {"value": 0.9})]).result()
    review(path, run_id, 3, "accept")
    review(path, run_id, 3, "edit", label="hounds", note="all of them bark")
    return path


def exported(log: Path, name: str, form: str | None = None, **wanted: Any) -> Path:
    target = log.parent / name
    export_run(log, None, target, form, ExportRequest(**wanted))
    return target


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


class TestJsonl:
    def test_a_line_holds_all_that_is_known(self, log: Path) -> None:
        dogs, unclear, failed = lines(exported(log, "out.jsonl"))
        assert {key: dogs[key] for key in ("run", "subject", "feature", "status", "label", "confidence", "rounds")} == {
            **{"run": 1, "subject": "tiny", "feature": 3, "status": "labelled", "label": "dogs 3"},
            **{"confidence": 0.7, "rounds": 2},
        }
        assert (dogs["explainer"], dogs["explanation"], dogs["verdict"]) == (RULES, "Words for dogs.", "edit")
        assert [(said["verdict"], said["label"], said["note"]) for said in dogs["reviews"]] == [
            ("accept", None, None),
            ("edit", "hounds", "all of them bark"),
        ]
        assert (unclear["status"], unclear["reason"], unclear["verdict"], unclear["reviews"]) == (
            *("abstained", "unclear", None),
            [],
        )
        assert (failed["status"], failed["reason"], failed["confidence"]) == ("failed", "overloaded", None)
        assert "reviewed_label" not in dogs

    def test_every_score_of_every_scoring_is_there_with_its_controls(self, log: Path) -> None:
        dogs, *_ = lines(exported(log, "out.jsonl"))
        shown = [(s["scoring"], s["judge"], s["variant"], s["part"], s["value"], s["n"]) for s in dogs["scores"]]
        assert shown == [
            (2, "fake:later", "label", "held_out", 0.9, 20),
            (1, "fake:queue", "label", "held_out", 0.7, 20),
            (1, "fake:queue", "shuffled", "held_out", 0.5, 20),
            (1, "fake:queue", "label", "new_words", None, 0),
        ]
        whole = dogs["scores"][1]
        assert (whole["low"], whole["high"], whole["extra"]) == (0.5, 0.9, {"recall": 0.5})
        assert dogs["scores"][3]["reason"] == "no text of new words"

    def test_hostile_texts_come_back_to_the_character(self, path: Path) -> None:
        fill(path, range(len(HOSTILE)), {n: outcome(n, label=text, explanation=text) for n, text in enumerate(HOSTILE)})
        found = lines(exported(path, "out.jsonl"))
        assert [line["label"] for line in found] == [line["explanation"] for line in found] == HOSTILE


class TestCsv:
    def test_one_row_for_each_feature_its_scores_side_by_side(self, log: Path) -> None:
        dogs, unclear, failed = table(exported(log, "out.csv"))
        assert (dogs["feature"], dogs["label"], dogs["verdict"], dogs["reviewer_label"]) == (
            "3",
            "dogs 3",
            "edit",
            "hounds",
        )
        assert (unclear["status"], unclear["confidence"], unclear["verdict"]) == ("abstained", "", "")
        assert failed["reason"] == "overloaded"

    def test_of_each_scorer_the_latest_scoring_is_shown(self, log: Path) -> None:
        dogs, unclear, _ = table(exported(log, "out.csv"))
        assert (dogs["detection_label"], dogs["detection_label_low"], dogs["detection_label_n"]) == ("0.9", "0.5", "20")
        assert (unclear["detection_label"], dogs["detection_shuffled"]) == ("", "")

    def test_flags_and_notes_are_there_whoever_gave_the_verdict(self, log: Path) -> None:
        review(log, 1, 3, "flag", reviewer="bob")
        review(log, 1, 3, "flag", reviewer="bob", note="dogs or\nwolves?")
        review(log, 1, 5, "note", note="a hard one")
        review(log, 1, 5, "flag")
        with RunLog.open(log) as opened:
            [unclear] = opened.read(labels_of, 1, features=[5])
            assert opened.write_at_once(undo_review, unclear.label_id, "ann")
        dogs, unclear_row, failed = table(exported(log, "out.csv"))
        assert (dogs["verdict"], dogs["flags"]) == ("edit", "bob")
        assert dogs["notes"] == r"ann: all of them bark | bob: dogs or\nwolves?"
        assert (unclear_row["verdict"], unclear_row["flags"], unclear_row["notes"]) == ("", "", "ann: a hard one")
        assert (failed["flags"], failed["notes"]) == ("", "")
        rows = pyarrow.parquet.read_table(exported(log, "out.parquet")).to_pylist()
        assert (rows[0]["flags"], rows[0]["notes"]) == ("bob", "ann: all of them bark | bob: dogs or\nwolves?")
        assert (rows[2]["flags"], rows[2]["notes"]) == (None, None)

    def test_the_class_of_a_feature_is_told(self, log: Path) -> None:
        with RunLog.open(log) as opened:
            id = opened.write(begin_comparison, ComparisonIdentity(run_id=1, corpus_id=1, settings={})).result()
            opened.write(add_classes, id, card().fingerprint, [(3, "concept", "both"), (5, "dead", None)]).result()
        dogs, unclear, failed = table(exported(log, "out.csv"))
        assert [(row["kind"], row["captured_by"]) for row in (dogs, unclear, failed)] == [
            ("concept", "both"),
            ("dead", ""),
            ("", ""),
        ]
        [line, *_] = lines(exported(log, "out.jsonl"))
        assert (line["kind"], line["captured_by"]) == ("concept", "both")

    def test_controls_and_reasons_have_columns(self, path: Path) -> None:
        fill(path, [3])
        [dogs] = table(exported(path, "out.csv"))
        assert (dogs["detection_shuffled"], dogs["detection_shuffled_high"]) == ("0.5", "0.7")
        assert (dogs["detection_new_words_label"], dogs["detection_new_words_label_reason"]) == (
            "",
            "no text of new words",
        )

    @pytest.mark.parametrize(
        "sign", ["=", "+", "-", "@", "\t=", "\r=", "＝", "＋", "－", "＠", "  =", "=cmd|' /C calc'!A0"]
    )
    def test_nothing_is_a_formula(self, sign: str) -> None:
        cell = harmless(f"{sign}1+1")
        assert isinstance(cell, str)
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r"))

    def test_numbers_and_ordinary_words_are_left_alone(self) -> None:
        assert [harmless(cell) for cell in (-1.5, 7, None, "dogs, cats", "a-b")] == [-1.5, 7, None, "dogs, cats", "a-b"]

    def test_hostile_texts_are_on_one_line_and_printable(self, path: Path) -> None:
        fill(path, range(len(HOSTILE)), {n: outcome(n, label=text) for n, text in enumerate(HOSTILE)})
        file = exported(path, "out.csv")
        assert len(file.read_bytes().splitlines()) == 1 + len(HOSTILE)
        assert [row["label"].removeprefix("'") for row in table(file)] == [printable(text) for text in HOSTILE]


class TestParquet:
    def test_columns_have_their_types(self, log: Path) -> None:
        found = pyarrow.parquet.read_table(exported(log, "out.parquet"))
        types = {name: str(found.schema.field(name).type) for name in found.column_names}
        for name, kind in {
            **{"run": "int64", "feature": "int64", "rounds": "int64", "confidence": "double", "label": "string"},
            **{"detection_label": "double", "detection_label_n": "int64", "detection_label_reason": "string"},
            **{"verdict": "string", "flags": "string", "notes": "string"},
        }.items():
            assert types[name] == kind, name
        rows = found.to_pylist()
        assert [row["confidence"] for row in rows] == [0.7, None, None]
        assert [row["detection_label"] for row in rows] == [0.9, None, None]
        assert found.column_names == list(table(exported(log, "out.csv"))[0])

    def test_texts_are_as_they_were_but_for_lone_surrogates(self, path: Path) -> None:
        fill(path, range(len(HOSTILE)), {n: outcome(n, label=text) for n, text in enumerate(HOSTILE)})
        found = pyarrow.parquet.read_table(exported(path, "out.parquet")).column("label").to_pylist()
        assert found == [text.encode("utf-8", "backslashreplace").decode() for text in HOSTILE]


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += "\n" if tag in ("td", "p", "li") else ""
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


class TestHtml:
    def test_a_page_says_what_is_known(self, log: Path) -> None:
        page = Page(exported(log, "out.html"))
        words = " ".join(page.text.split())
        for said in ("Labels of tiny, run 1", "dogs 3", "no label: abstained", "a kind of dog that barks", "unclear"):
            assert said in words
        assert "detection (balanced accuracy) the run's label 0.90 [0.50, 0.90] n = 20" in words
        assert "active on 1.0% of 1,000 tokens" in words
        assert {"svg", "mark", "table", "article"} <= set(page.tags)

    def test_it_needs_nothing_else_and_runs_its_own_script_alone(self, log: Path) -> None:
        file = exported(log, "out.html")
        page, plain = Page(file), file.read_text("utf-8")
        assert not {"link", "iframe", "object", "embed", "base", "form", "audio", "video"} & set(page.tags)
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        places = [value or "" for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
        assert places
        assert all(place.startswith("#") for place in places)
        (script,) = re.findall(r"<script>(.*?)</script>", plain, re.DOTALL)
        allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; img-src data:" in plain

    def test_a_feature_has_its_best_tree_and_its_scores_beside_controls(self, log: Path) -> None:
        with RunLog.open(log) as opened:
            far = contrasted(tree(DOGS, 3), 1e-9, divergence=2.0)
            opened.write(add_evidence, evidence_rows(1, 3, 2, [replace(far, prompt="the best {ghost}")])).result()
        page = exported(log, "out.html").read_text("utf-8")
        dogs = page[page.index("<details>") : page.index("</details>")]
        assert dogs.count("the best") == 2, "in the title and as a heading of its picture"
        assert '<circle class="own"' in dogs
        assert "<title>the label 0.90</title>" in dogs
        assert "0.90, n = 20" in dogs
        heads = page[page.index("<thead>") : page.index("</thead>")]
        assert re.findall(r"<button>(?:<bdi>)?(.*?)<", heads) == [
            *("feature", "label", "confidence", "detection", "class", "review"),
        ]

    def test_controls_of_the_scoring_that_is_shown_stand_beside_it(self, path: Path) -> None:
        fill(path, [3])
        assert '<circle class="control"' in exported(path, "out.html").read_text("utf-8")
        assert "<title>another feature&#39;s 0.50</title>" in exported(path, "again.html").read_text("utf-8")

    def test_a_scoring_that_was_imported_later_is_not_the_latest(self, path: Path) -> None:
        fill(path, [3], scored=False)
        other = path.with_name("other.db")
        shutil.copy(path, other)
        for log_path, value, embedder in ((other, 0.11, "x"), (path, 0.99, "y")):
            with RunLog.open(log_path) as log:
                identity = scoring_identity(1, 1).model_copy(update={"settings": {"embedder": embedder}})
                scoring = log.write(begin_scoring, identity).result()
                log.write(add_scores, scoring, [score(1, value=value)]).result()
        RunLog.merge(path, [other])
        [row] = csv.DictReader(exported(path, "out.csv").read_text("utf-8").splitlines())
        assert row["detection_label"] == "0.99"
        page = exported(path, "out.html").read_text("utf-8")
        assert "<title>the label 0.99</title>" in page
        assert "<title>the label 0.11</title>" not in page

    def test_hostile_texts_show_as_text(self, path: Path) -> None:
        for n, text in enumerate(HOSTILE):
            run_id = fill(path, [n], {n: outcome(n, label=text, explanation=text)}, scored=False)
        with RunLog.open(path) as log:
            log.write(add_evidence, evidence_rows(run_id, 0, 2, [token_list(*HOSTILE, feature=0)])).result()
            tokens = tuple(HOSTILE)
            activates = Example(0, "activating", "d0", tokens, tuple([1.0] * len(tokens)))
            found = FeatureExamples(0, Activity(0, 1000, 10, 1.0, (0.0, 1.0), (10,)), [activates])
            log.write(add_collected, 1, found, {"d0": "shown"}).result()
        review(path, run_id, 1, "edit", label="</bdi><script>", note="<!-- ")
        file = exported(path, "out.html")
        page, plain = Page(file), file.read_bytes()
        assert not {"img", "bold"} & set(page.tags)
        assert page.tags.count("script") == 1
        assert all(character.isprintable() or character == "\n" for character in page.text)
        assert b"\0" not in plain
        for text in HOSTILE:
            assert printable(text[:20]) in page.text
        assert page.tags.count("article") == len(HOSTILE)
        assert len(plain) < 400_000

    def test_nothing_scored_is_no_picture(self, path: Path) -> None:
        fill(path, [3], scored=False)
        assert "Means over features" not in exported(path, "out.html").read_text("utf-8")


ABOUT = {"source": "a-model/6-res", "method_name": "a-method", "model_name": "a-writer"}


class TestNeuronpedia:
    def batch(self, log: Path, **wanted: Any) -> dict[str, Any]:
        folder = exported(log, "batches", "neuronpedia", **ABOUT | wanted)
        [file] = folder.iterdir()
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def test_a_batch_is_what_the_server_asks_for(self, log: Path) -> None:
        batch = self.batch(log)
        assert (batch["modelId"], batch["source"]) == ("a-model", "6-res")
        dogs, unclear, failed = batch["features"]
        assert (dogs["index"], dogs["density"]) == (3, 0.01)
        assert dogs["topLogits"] == [{"token": " dog", "value": 0.125}, {"token": " cat", "value": 0.25}]
        assert dogs["bottomLogits"] == [{"token": " of", "value": 0.125}]
        [said] = dogs["explanations"]
        assert (said["text"], said["methodName"], said["modelName"]) == ("dogs 3", "a-method", "a-writer")
        assert unclear["explanations"] == failed["explanations"] == []
        [activates] = dogs["activations"]
        assert (activates["tokens"], activates["values"]) == (["a", " dog"], [0.0, 2.5])
        assert (activates["quantileMin"], activates["quantileMax"]) == (2.25, 2.5)

    def test_scores_go_with_the_words_they_measured(self, log: Path) -> None:
        scores = self.batch(log)["features"][0]["explanations"][0]["scores"]
        assert [(score["value"], score["explanationScoreModelName"]) for score in scores] == [
            (0.9, "fake:later"),
            (0.7, "fake:queue"),
        ]
        assert json.loads(scores[0]["jsonDetails"])["n"] == 20

    def test_a_reviewers_words_take_the_machines_place_without_its_scores(self, log: Path) -> None:
        [said] = self.batch(log, reviewed=True)["features"][0]["explanations"]
        assert (said["text"], said["scores"]) == ("hounds", [])

    def test_a_rejected_label_is_not_uploaded(self, log: Path) -> None:
        review(log, 1, 3, "reject")
        assert self.batch(log, reviewed=True)["features"][0]["explanations"] == []

    def test_no_request_is_too_large(self, path: Path) -> None:
        fill(path, range(130), {4: outcome(4, label="é" * 600)}, scored=False)
        folder = exported(path, "batches", "neuronpedia", **ABOUT)
        batches = [json.loads((folder / f"batch-{n}.json").read_text())["features"] for n in range(2)]
        assert [len(features) for features in batches] == [128, 2]
        assert len(batches[0][4]["explanations"][0]["text"]) == 512
        assert [feature["index"] for features in batches for feature in features] == list(range(130))

    def test_no_server_chokes_on_half_characters(self, path: Path) -> None:
        fill(path, [0], {0: outcome(0, label="a\ud83db\0c")}, scored=False)
        text = self.batch(path)["features"][0]["explanations"][0]["text"]
        assert text == "a\ufffdb\ufffdc"

    def test_the_place_of_a_preset_is_known(self, path: Path) -> None:
        fill(path, [0], who=identity(subject=card(neuronpedia="https://neuronpedia.org/gemma-2b/6-res-jb")))
        batch = self.batch(path, source=None)
        assert (batch["modelId"], batch["source"]) == ("gemma-2b", "6-res-jb")

    @pytest.mark.parametrize(
        ("wanted", "sentence"),
        [
            ({"source": None}, "--source MODEL/SOURCE"),
            ({"source": "a"}, "--source"),
            ({"method_name": None}, "--method-name"),
        ],
    )
    def test_what_it_must_be_told(self, log: Path, wanted: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ExportError, match=sentence):
            self.batch(log, **wanted)

    def test_batches_of_another_export_are_not_mixed_in(self, log: Path) -> None:
        self.batch(log)
        with pytest.raises(ExportError, match="holds batches already"):
            self.batch(log)


class TestChoosing:
    def test_by_status_and_feature(self, log: Path) -> None:
        assert [line["feature"] for line in lines(exported(log, "a.jsonl", status="abstained"))] == [5]
        assert [line["feature"] for line in lines(exported(log, "b.jsonl", features="4-7"))] == [5, 7]

    @pytest.mark.parametrize(
        ("verdict", "said", "reviewed"),
        [
            ("accept", {}, "dogs 3"),
            ("edit", {"label": "wolves"}, "wolves"),
            ("reject", {}, None),
            ("flag", {}, "hounds"),
        ],
    )
    def test_reviewed_labels_stand_in_a_column_of_their_own(
        self, log: Path, verdict: str, said: dict[str, str], reviewed: str | None
    ) -> None:
        review(log, 1, 3, verdict, **said)
        [dogs, *_] = lines(exported(log, "out.jsonl", reviewed=True))
        assert (dogs["label"], dogs["reviewed_label"]) == ("dogs 3", reviewed)
        [row, *_] = table(exported(log, "out.csv", reviewed=True))
        assert (row["label"], row["reviewed_label"]) == ("dogs 3", reviewed or "")
        assert "reviewed_label" in pyarrow.parquet.read_table(exported(log, "out.parquet", reviewed=True)).column_names

    def test_what_was_taken_back_does_not_count(self, log: Path) -> None:
        with RunLog.open(log) as opened:
            [row] = opened.read(labels_of, 1, features=[3])
            assert opened.write_at_once(undo_review, row.label_id, "ann")
        [dogs, *_] = lines(exported(log, "out.jsonl", reviewed=True))
        assert (dogs["verdict"], dogs["reviewed_label"]) == ("accept", "dogs 3")

    def test_a_page_shows_the_reviewed_label_and_the_machines(self, log: Path) -> None:
        page = Page(exported(log, "out.html", reviewed=True))
        assert "hounds" in page.text
        assert "the machine's label: dogs 3" in " ".join(page.text.split())

    def test_the_latest_run_unless_one_is_named(self, log: Path) -> None:
        fill(log, [8], who=identity(explainer="another"))
        assert [line["run"] for line in lines(exported(log, "out.jsonl"))] == [2]
        export_run(log, 1, log.with_name("first.jsonl"), None, ExportRequest())
        assert {line["run"] for line in lines(log.with_name("first.jsonl"))} == {1}


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "form", "wanted", "sentence"),
        [
            ("out.xls", None, {}, "names no form of export"),
            ("out", None, {}, "names no form of export"),
            ("out.csv", "xml", {}, "no export format 'xml'"),
            ("nowhere/out.csv", None, {}, "there is no folder"),
            ("out.csv", None, {"features": "400"}, "no label of that kind"),
            ("out.csv", None, {"features": "9999"}, "out of range"),
            ("out.csv", None, {"features": "a"}, "'a'"),
        ],
    )
    def test_one_sentence_and_no_file(
        self, log: Path, name: str, form: str | None, wanted: dict[str, str], sentence: str
    ) -> None:
        before = sorted(log.parent.iterdir())
        with pytest.raises(InterpretError, match=sentence):
            exported(log, name, form, **wanted)
        assert sorted(log.parent.iterdir()) == before

    def test_a_place_that_cannot_be_written(self, log: Path) -> None:
        log.with_name("out.csv").mkdir()
        with pytest.raises(OutputError, match="is a folder; name a file"):
            exported(log, "out.csv")
        log.with_name("batches").touch()
        with pytest.raises(ExportError, match="No folder can be made"):
            exported(log, "batches", "neuronpedia", **ABOUT)

    def test_what_was_there_stands_until_the_new_file_is_whole(
        self, log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = exported(log, "out.jsonl")
        before = file.read_bytes()

        def break_off(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(agent.cli.commands.export, "reviews_of", break_off)
        with pytest.raises(KeyboardInterrupt):
            exported(log, "out.jsonl")
        assert file.read_bytes() == before
        assert not list(log.parent.glob("*.part"))

    def test_parquet_without_pyarrow(self, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(ExportError, match=r"sae-interpret\[parquet\]"):
            exported(log, "out.parquet")


@pytest.fixture
def interpret(capsys: pytest.CaptureFixture[str]) -> Iterator[Interpret]:
    with environment():
        yield commands(capsys)


def test_on_the_command_line(interpret: Interpret, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    said = interpret("export", "1", "--to", str(target), "--log", str(log), "--status", "labelled", "--reviewed")
    assert (said.status, len(table(target))) == (0, 1)
    assert f"Wrote 1 feature of run 1 to {target}." in said.out
    assert interpret("export", "--to", str(tmp_path / "out.txt"), "--log", str(log)).status == 2
    assert interpret("export", "7", "--to", str(target), "--log", str(log)).status == 2
    assert interpret("export").status == 2


@pytest.mark.parametrize("option", ["--source", "--method-name", "--model-name"])
def test_what_is_for_neuronpedia_alone_is_refused_elsewhere(interpret: Interpret, log: Path, option: str) -> None:
    target = log.with_name("out.csv")
    ran = interpret("export", "--to", str(target), "--log", str(log), option, "a/b")
    assert ran.status == 2
    assert f"{option} is for --format neuronpedia, and csv has no place for it" in ran.err
    assert not target.exists()
