"""`interpret log` and `interpret show`: which labels are listed, in which order, and what is said of them."""

import json
import re
from pathlib import Path

import pytest

from agent.log.comparisons import ComparisonIdentity, add_classes, begin_comparison
from agent.log.labels import labels_of
from agent.log.reviews import reviews_of
from agent.log.run_log import RunLog
from agent.log.scores import add_scores, begin_scoring
from agent.schema import CLASSES
from eval.compare.kinds import KINDS
from eval.compare.taxonomy import CAPTURES
from tests.fault_runs import Interpret, commands
from tests.feature_log import FEATURE, write_log
from tests.full_logs import fill, review
from tests.logged import card, identity, outcome, score, scoring_identity
from tests.score_commands import said

SURE = {3: 0.9, 5: 0.5, 7: 0.7}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three labels, two of them sorted, one judged."""
    path = tmp_path / "log.db"
    outcomes = {n: outcome(n, label=f"dogs {n}", confidence=sure) for n, sure in SURE.items()}
    run_id = fill(path, SURE, outcomes, scored=False)
    with RunLog.open(path) as log:
        id = log.write(begin_comparison, ComparisonIdentity(run_id=run_id, corpus_id=1, settings={})).result()
        log.write(add_classes, id, card().fingerprint, [(3, "other", "both")]).result()
        log.write(add_classes, id, card().fingerprint, [(3, "concept", "list only"), (5, "dead", None)]).result()
        scored_by = scoring_identity(run_id, 1).model_copy(update={"settings": {"scorers": ["detection"]}})
        scoring = log.write(begin_scoring, scored_by).result()
        for row in log.read(labels_of, run_id):
            log.write(add_scores, scoring, [score(row.label_id, feature=row.feature, value=row.feature / 10)]).result()
    review(path, run_id, 5, "reject")
    return path


@pytest.fixture
def interpret(path: Path, own_folder: None, capsys: pytest.CaptureFixture[str]) -> Interpret:  # noqa: ARG001
    command = commands(capsys)
    return lambda name, *arguments: command(name, *arguments, "--log", str(path))


def listed(interpret: Interpret, *options: str) -> list[int]:
    ran = interpret("log", "1", *options, "--json")
    assert ran.status == 0, ran.err
    return [item["feature"] for item in json.loads(ran.out)]


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ((), [3, 5, 7]),
        (("--search", "dogs 5"), [5]),
        (("--status", "abstained"), []),
        (("--reviewed", "no"), [3, 7]),
        (("--reviewed", "reject"), [5]),
        (("--class", "concept"), [3]),
        (("--class", "list only"), [3]),
        (("--class", "both"), []),
        (("--min-confidence", "0.6"), [3, 7]),
        (("--max-confidence", "0.6"), [5]),
        (("--sort", "confidence"), [5, 7, 3]),
        (("--sort", "confidence", "--descending"), [3, 7, 5]),
        (("--min-score", "0.4", "--sort", "score", "--descending"), [7, 5]),
        (("--score", "detection", "--max-score", "0.4"), [3]),
    ],
)
def test_labels_are_chosen_and_sorted_as_on_the_page(
    interpret: Interpret, options: tuple[str, ...], features: list[int]
) -> None:
    assert listed(interpret, *options) == features


def test_the_table_has_columns_for_what_is_known(interpret: Interpret) -> None:
    plain = interpret("log", "1").out
    assert plain.splitlines()[0].split()[:5] == ["feature", "label", "conf.", "review", "class"]
    scored = interpret("log", "1", "--score", "detection").out
    assert "3 dogs 3 0.90 0.30 concept, captured by list only 2 Words for dogs." in said(scored)
    assert "5 dogs 5 0.50 0.50 reject dead 2" in said(scored)


def test_a_feature_is_shown_with_its_class_and_the_comparison_it_rests_on(interpret: Interpret) -> None:
    shown = said(interpret("show", "3").out)
    assert "class concept, captured by list only, by the taxonomy of comparison 1, 20" in shown
    assert "class" not in interpret("show", "7").out


def test_a_feature_is_shown_with_what_reviewers_said(interpret: Interpret, path: Path) -> None:
    review(path, 1, 5, "edit", label="wolves", reviewer="bob", blind=True)
    shown = said(interpret("show", "5").out)
    assert "review reject, by ann, 20" in shown
    assert "review edit, wolves (blind), by bob, 20" in shown
    assert "review" not in interpret("show", "3").out


def test_how_far_reviewers_agree_is_told_below_and_blind_reviews_apart(interpret: Interpret, path: Path) -> None:
    assert "kappa" not in interpret("log", "1").out, "one reviewer agrees with nobody"
    review(path, 1, 3, "accept")
    review(path, 1, 3, "accept", reviewer="bob")
    review(path, 1, 5, "reject", reviewer="bob")
    out = interpret("log", "1").out
    assert "ann and bob, in all: the same on 2 of 2 labels, Cohen's kappa 1.00" in said(out)
    assert "blind" not in out
    for reviewer in ("ann", "bob"):
        review(path, 1, 7, "accept", reviewer=reviewer, blind=True)
    assert "ann and bob, blind: the same on 1 of 1 labels; no kappa: both gave every label" in said(
        interpret("log", "1").out
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("log", "--min-score", "0.1"), "--min-score chooses among one run's labels: interpret log RUN"),
        (("log", "--sort", "score"), "--sort chooses among one run's labels"),
        (("log", "1", "--score", "fuzzing"), "--score 'fuzzing' names none of run 1; it has detection"),
        (("log", "1", "--min-confidence", "2"), "min_confidence"),
        (("log", "1", "--class", "odd"), "'odd'"),
        (("review", "1", "--blind", "--sort", "score"), "--sort tells what --blind hides"),
        (("review", "1", "--reviewer", "ann", "--class", "both"), "Run 1 has no label to review that matches"),
    ],
)
def test_what_cannot_be_chosen_by(interpret: Interpret, arguments: tuple[str, ...], sentence: str) -> None:
    ran = interpret(*arguments)
    assert ran.status == 2
    assert sentence in said(ran.err)


def test_without_scores_or_classes_it_says_what_makes_them(interpret: Interpret, path: Path) -> None:
    fill(path, [8], who=None, scored=False, new=True)
    refused = said(interpret("log", "2", "--sort", "score").err)
    assert f"interpret score 2 --model a-model --sae an-sae --log {path} makes them" in refused
    other = fill(path, [8], who=identity(subject=card(name="odd", fingerprint="e" * 64)), scored=False)
    refused = interpret("log", str(other), "--class", "concept")
    assert "no classes of odd's features for --class; interpret taxonomy makes them" in said(refused.err)


def test_classes_are_asked_for_by_the_words_that_taxonomy_uses() -> None:
    assert (*KINDS, *CAPTURES) == CLASSES


def test_reviewing_takes_the_same_filter(interpret: Interpret, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    pressed = iter("aq")
    monkeypatch.setattr(click, "getchar", lambda: next(pressed))
    ran = interpret("review", "1", "--reviewer", "bob", "--sort", "score", "--descending", "--max-score", "0.6")
    assert ran.status == 0, ran.err
    with RunLog.open(path, read_only=True) as log:
        given = {
            row.feature: [r for r in log.read(reviews_of, [row.label_id]) if r.reviewer == "bob"]
            for row in log.read(labels_of, 1)
        }
    assert [feature for feature, found in given.items() if found] == [5]


def test_show_has_how_active_the_feature_is_and_the_example_on_which_it_is_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(tmp_path / "f.db")
    shown = commands(capsys)("show", str(FEATURE), "--run", "1", "--log", str(tmp_path / "f.db")).out
    assert re.search(r"^activity +active at 1 % of 1,000 tokens, at most \d", shown, re.MULTILINE)
    example = re.search(r"^for example +(.*)$", shown, re.MULTILINE)
    assert example is not None
    assert example[1].strip() == "see[ hound] run"
