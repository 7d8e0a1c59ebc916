"""`interpret calibrate`: what decides that a label is right, what is kept, and where probabilities then stand."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.log.calibrations import Calibration, add_calibration, calibrations_of, probabilities_of, probability_of
from agent.log.examples import begin_corpus
from agent.log.labels import add_label, labels_of
from agent.log.reviews import Review, add_review, undo_review
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run, finish_run
from agent.log.scores import add_scores, begin_scoring
from eval.calibration import fitting
from eval.calibration.applying import give_probabilities
from probes.demo.shipped import load_truth
from tests.fault_runs import Interpret, commands
from tests.full_logs import fill
from tests.logged import card, corpus_identity, identity, outcome, score, scoring_identity
from tests.serving import client

DEMO = identity(subject=card(name="demo", n_features=1536, fingerprint="d" * 64))
KNOWN = dict(sorted(load_truth().features.items())[:60])
UNKNOWN = 1535
"""A feature of no known concept."""


def confidence(feature: int) -> float:
    """Falls with the feature's place, and is wrong throughout: all that is above .1 is right."""
    return round(0.4 - 0.3 * [*KNOWN].index(feature) / 50, 6) if feature in KNOWN else 0.39


def is_right(feature: int) -> bool:
    return confidence(feature) > 0.1


def run_of(path: Path, features: Sequence[int] = (*KNOWN, UNKNOWN), who: Any = DEMO, new: bool = False) -> int:
    """Labels of demo, those right that should be, and one that abstained."""
    right = {f: KNOWN[f].name if f in KNOWN and is_right(f) else "gibberish" for f in features}
    outcomes = {f: outcome(f, label=words, confidence=confidence(f)) for f, words in right.items()}
    with RunLog.open(path) as log:
        run_id = log.begin_run(who, [*features, 0], new=new).run_id
        for said in outcomes.values():
            log.write(add_label, run_id, said)
        abstained = outcome(0, status="abstained", label="", explanation="", confidence=None, reason="unclear")
        log.write(add_label, run_id, abstained).result()
        log.write(finish_run, run_id).result()
    return run_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    run_of(path)
    return path


@pytest.fixture
def interpret(path: Path, own_folder: None, capsys: pytest.CaptureFixture[str]) -> Interpret:  # noqa: ARG001
    command = commands(capsys)
    return lambda name, *arguments: command(name, *arguments, "--log", str(path))


def calibrated(interpret: Interpret, *arguments: str) -> Mapping[str, Any]:
    ran = interpret("calibrate", *arguments, "--json")
    assert ran.status == 0, ran.err
    return dict(json.loads(ran.out))


def given(path: Path, run_id: int = 1) -> dict[int, float]:
    """The probabilities of a run's labels, by feature."""
    with RunLog.open(path, read_only=True) as log:
        found = log.read(probabilities_of, run_id)
        return {row.feature: found[row.label_id] for row in log.read(labels_of, run_id) if row.label_id in found}


class TestTruth:
    def test_of_demo_known_concepts_decide_unless_something_else_is_said(self, interpret: Interpret) -> None:
        found = calibrated(interpret)
        assert (found["truth"], found["n"], found["n_right"]) == ("known", 60, sum(map(is_right, KNOWN)))
        assert found["groups"] == len({concept.name for concept in KNOWN.values()})
        error = found["measures"]["expected calibration error"]
        assert error["before"]["value"] > 0.4
        assert error["after"]["value"] < 0.2
        assert error["change"]["high"] < 0
        assert error["after"]["n"] == 60

    def test_what_reviewers_say_stands_as_they_left_it(self, path: Path, interpret: Interpret) -> None:
        with RunLog.open(path, read_only=True) as log:
            rows = [row for row in log.read(labels_of, 1) if row.feature in KNOWN]
            for place, row in enumerate(rows):
                verdict = ("accept", "reject", "edit")[place % 3]
                log.write_at_once(
                    add_review, row.label_id, "ann", Review(verdict=verdict, label="b" if verdict == "edit" else None)
                )
            log.write_at_once(undo_review, rows[0].label_id, "ann")
            log.write_at_once(add_review, rows[1].label_id, "bob", Review(verdict="accept"))
        found = calibrated(interpret, "--truth", "reviews")
        # 20 accepted, less the one that was taken back, and one that another reviewer accepted after all
        assert (found["n"], found["n_right"]) == (59, 20)

    def test_a_scorer_decides_by_its_control_or_by_a_least_score(self, path: Path, interpret: Interpret) -> None:
        with RunLog.open(path) as log:
            scoring = log.write(
                begin_scoring, scoring_identity(1, log.write(begin_corpus, corpus_identity()).result())
            ).result()
            for place, row in enumerate(log.read(labels_of, 1, status="labelled")):
                value, control = (0.5 + place / 200, None) if place < 5 else (0.5 + place / 200, 0.6 - place % 2 / 100)
                about = {"feature": row.feature, "label": row.label}
                log.write(add_scores, scoring, [score(row.label_id, **about, value=value)])
                if control is not None:
                    control_row = score(row.label_id, **about, variant="shuffled", value=control)
                    log.write(add_scores, scoring, [control_row]).result()
        by_control = calibrated(interpret, "--truth", "detection")
        right = sum(0.5 + place / 200 > 0.6 - place % 2 / 100 for place in range(5, 61))
        assert (by_control["n"], by_control["n_right"]) == (56, right)
        by_bar = calibrated(interpret, "--least-score", "detection:0.7")
        assert (by_bar["n"], by_bar["n_right"]) == (61, sum(0.5 + place / 200 >= 0.7 for place in range(61)))
        assert by_bar["least_score"] == 0.7

    def test_runs_are_taken_together(self, path: Path, interpret: Interpret) -> None:
        run_of(path, [*KNOWN][:30], new=True)
        assert calibrated(interpret, "1", "2", "1")["n"] == 90

    def test_a_commands_layers_are_taken_together_unless_runs_are_named(self, path: Path, interpret: Interpret) -> None:
        path.unlink()
        for layer in (2, 5):
            subject = card(name="demo", n_features=1536, layer=layer, fingerprint=f"{layer:064d}")
            run_of(path, [*KNOWN], who=identity(subject=subject, settings={"group": "a-group"}))
        both = calibrated(interpret)
        assert (both["runs"], both["n"]) == ([1, 2], 120)
        assert both["fitted_on"].startswith("120 labels of a-model, layers 2,5 (runs of ")
        assert calibrated(interpret, "2")["runs"] == [2]


class TestKept:
    def test_labels_of_the_explainer_have_the_maps_probability_and_no_others(
        self, path: Path, interpret: Interpret
    ) -> None:
        other = run_of(path, who=identity(subject=DEMO.subject, explainer="another"))
        calibrated(interpret, "1")
        found = given(path)
        assert {*found} == {*KNOWN, UNKNOWN}
        ordered = sorted(found, key=confidence)
        assert [found[feature] for feature in ordered] == sorted(found.values())
        assert given(path, other) == {}

    def test_a_later_run_of_the_explainer_is_given_them_without_being_fitted_to(
        self, path: Path, interpret: Interpret
    ) -> None:
        calibrated(interpret)
        later = run_of(path, new=True)
        assert given(path, later) == {}
        with RunLog.open(path) as log:
            assert give_probabilities(log, [log.read(chosen_run, later)]) == 61
            assert give_probabilities(log, [log.read(chosen_run, later)]) == 61
        assert given(path, later) == given(path, 1)

    def test_another_calibration_takes_the_place_of_the_first(self, path: Path, interpret: Interpret) -> None:
        first = calibrated(interpret)
        with RunLog.open(path, read_only=True) as log:
            for place, row in enumerate(log.read(labels_of, 1, status="labelled")):
                log.write_at_once(add_review, row.label_id, "ann", Review(verdict="reject" if place % 10 else "accept"))
        before = given(path)
        second = calibrated(interpret, "--truth", "reviews")
        assert first["calibration"] != second["calibration"]
        assert max(given(path).values()) < max(before.values())
        with RunLog.open(path, read_only=True) as log:
            found = log.read(probability_of, log.read(labels_of, 1, status="labelled")[0].label_id)
            assert found is not None
            assert found.calibration.calibration_id == second["calibration"]
            assert [row.n for row in log.read(calibrations_of, DEMO.explainer)] == [61, 60]

    def test_a_label_of_which_something_is_not_known_has_none(self, path: Path) -> None:
        needs_list = {"method": "logistic", "intercept": 0, "terms": [_term("list_p")]}
        with RunLog.open(path) as log:
            log.write(add_calibration, Calibration(DEMO.explainer, "x", ["d" * 64], needs_list, 30, 15, {})).result()
            assert give_probabilities(log, [log.read(chosen_run, 1)]) == 0
        assert given(path) == {}

    def test_the_same_seed_gives_the_same(self, interpret: Interpret) -> None:
        one, two, other = (calibrated(interpret, "--seed", seed) for seed in ("1", "1", "2"))
        assert {**one, "calibration": 0} == {**two, "calibration": 0}
        assert one["measures"] != other["measures"]

    def test_another_log_brings_its_calibrations_and_probabilities(
        self, path: Path, interpret: Interpret, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        calibrated(interpret)
        target = tmp_path / "new.db"
        own = run_of(target, [*KNOWN][:5], who=identity(subject=DEMO.subject, settings={"rounds": 1}))
        for _ in range(2):
            ran = commands(capsys)("import", str(path), "--log", str(target))
            assert ran.status == 0, ran.err
            with RunLog.open(target, read_only=True) as log:
                assert len(log.read(calibrations_of, DEMO.explainer)) == 1
            assert given(target, own + 1) == given(path)
            assert given(target, own) == {feature: given(path)[feature] for feature in [*KNOWN][:5]}


def _term(column: str) -> dict[str, Any]:
    return {"column": column, "mean": 0, "scale": 1, "weight": 1}


class TestShown:
    def test_in_lists_of_labels(self, path: Path, interpret: Interpret) -> None:
        calibrated(interpret)
        found = given(path)
        listed = json.loads(interpret("log", "1", "--sort", "probability", "--descending", "--json").out)
        assert {item["feature"]: item["probability"] for item in listed} == found
        values = [item["probability"] for item in listed]
        assert values == sorted(values, reverse=True)
        least = sorted(values)[20]
        kept = json.loads(interpret("log", "1", "--min-probability", repr(least), "--json").out)
        assert {item["feature"] for item in kept} == {feature for feature, p in found.items() if p >= least}
        everything = json.loads(interpret("log", "1", "--json").out)
        assert everything[0] | {"feature": 0, "status": "abstained", "probability": None} == everything[0]
        assert "right" in interpret("log", "1").out.splitlines()[0].split()
        shown = interpret("show", str(UNKNOWN)).out
        assert f"of being right: {found[UNKNOWN]:.2f}, calibrated on 60 labels of demo" in " ".join(shown.split())

    @pytest.mark.parametrize("ending", ["csv", "jsonl", "html"])
    def test_in_exports_and_never_the_stated_confidence(
        self, path: Path, interpret: Interpret, tmp_path: Path, ending: str
    ) -> None:
        before, after = (tmp_path / f"{name}.{ending}" for name in ("before", "after"))
        interpret("export", "1", "--to", str(before))
        calibrated(interpret)
        interpret("export", "1", "--to", str(after))
        found = given(path)
        if ending == "html":
            assert "right with probability" not in before.read_text("utf-8")
            assert f"right with probability {found[UNKNOWN]:.2f}" in after.read_text("utf-8")
            return
        rows = {place: _rows(place, ending) for place in (before, after)}
        assert {row["probability"] for row in rows[before]} <= {"", None}
        written = {int(row["feature"]): float(row["probability"]) for row in rows[after] if row["probability"]}
        assert written == pytest.approx(found)

    def test_on_pages_but_not_to_blind_reviewers(self, path: Path, interpret: Interpret) -> None:
        with RunLog.open(path, read_only=True) as log:
            places = ["/runs/1/labels", f"/runs/1/features/{UNKNOWN}"]
            column, words = 'class="probability', "probability right"
            before = [client(log).get(place).text for place in places]
            assert column not in before[0]
            assert words not in before[1]
            calibrated(interpret)
            browser = client(log)
            after = [browser.get(place).text for place in places]
            assert column in after[0]
            assert f"{words} {given(path)[UNKNOWN]:.2f}" in after[1]
            fewer = browser.get(f"{places[0]}?min_probability=0.6&sort=-probability").text
            assert fewer.count("<tr id=") == sum(p >= 0.6 for p in given(path).values()) < 61
            browser.cookies.set("interpret_blind", "1")
            hidden = [browser.get(place).text for place in places]
            assert column not in hidden[0]
            assert words not in hidden[1]

    def test_as_tables_and_pictures(self, interpret: Interpret, tmp_path: Path) -> None:
        pictures = [tmp_path / "c.png", tmp_path / "c.svg"]
        for picture in pictures:
            ran = interpret("calibrate", "--plot", str(picture))
            assert ran.status == 0, ran.err
        out = " ".join(ran.out.split())
        assert "60 labels of demo" in out
        assert "by known concepts" in out
        assert "perfect probabilities would show an expected calibration error of" in out
        assert "61 of the 61 labels in 1 run of this log" in out
        assert pictures[0].read_bytes().startswith(b"\x89PNG")
        svg = pictures[1].read_text("utf-8")
        assert "calibrated, out of fold" in svg
        assert "coverage" in svg


def _rows(place: Path, ending: str) -> list[dict[str, Any]]:
    text = place.read_text("utf-8")
    return [*csv.DictReader(text.splitlines())] if ending == "csv" else [*map(json.loads, text.splitlines())]


class TestRefused:
    def refused(self, interpret: Interpret, *arguments: str) -> str:
        ran = interpret(*arguments)
        assert (ran.status, ran.out) == (2, "")
        [line] = ran.err.splitlines()
        return line

    def test_too_few_labels(self, path: Path, interpret: Interpret) -> None:
        few = run_of(path, [*KNOWN][:29], new=True)
        line = self.refused(interpret, "calibrate", str(few))
        assert "Only 29 labels" in line
        assert "at least 30" in line
        assert given(path) == {}

    def test_labels_of_one_kind(self, path: Path, interpret: Interpret) -> None:
        all_right = run_of(path, [feature for feature in KNOWN if is_right(feature)], new=True)
        assert "labels are right, by known concepts" in self.refused(interpret, "calibrate", str(all_right))

    def test_nothing_reviewed_or_scored(self, interpret: Interpret) -> None:
        assert "Only 0 labels" in self.refused(interpret, "calibrate", "--truth", "reviews")
        assert "has no scores by detecton; it has none" in self.refused(interpret, "calibrate", "--truth", "detecton")

    def test_runs_of_two_explainers(self, path: Path, interpret: Interpret) -> None:
        run_of(path, who=identity(subject=DEMO.subject, explainer="another"))
        assert "2 explainers, another, offline" in self.refused(interpret, "calibrate", "1", "2")

    def test_known_concepts_of_another_subject(self, path: Path, interpret: Interpret) -> None:
        other = fill(path, [1], scored=False)
        assert "is about tiny" in self.refused(interpret, "calibrate", str(other), "--truth", "known")
        assert "by reviews" in self.refused(interpret, "calibrate", str(other))

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--least-score", "detection"), "write SCORER:X"),
            (("--least-score", "detection:nan"), "write SCORER:X"),
            (("--truth", "known", "--least-score", "detection:0.8"), "both define what is right; leave one out"),
            (("--plot", "picture.txt"), "ends in none of .png, .svg"),
            (("7",), "has no run 7"),
        ],
    )
    def test_options_that_do_not_fit(self, interpret: Interpret, arguments: tuple[str, ...], words: str) -> None:
        assert words in self.refused(interpret, "calibrate", *arguments)

    def test_a_log_that_is_not_there_is_not_made(self, own_folder: None, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG002
        assert "There is no log at none.db" in self.refused(commands(capsys), "calibrate", "--log", "none.db")
        assert not Path("none.db").exists()

    def test_a_filter_by_what_was_never_told(self, interpret: Interpret) -> None:
        line = self.refused(interpret, "log", "1", "--min-probability", "0.5")
        assert "interpret calibrate gives them" in line
        assert "Setting" in self.refused(interpret, "log", "1", "--min-probability", "1.5")

    def test_without_scikit_learn(self, interpret: Interpret, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fitting, "find_spec", lambda name: None)  # noqa: ARG005
        assert "sae-interpret[calibrate]" in self.refused(interpret, "calibrate")
