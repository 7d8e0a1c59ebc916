"""What the terminal shows: readable, complete, and never a control character from outside."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from agent.cli.commands.doctor import Finding
from agent.cli.terminal.display import (
    calls_table,
    console,
    facts,
    finding,
    labels_table,
    projection_lines,
    runs_table,
    spread,
    token_line,
    token_list,
)
from agent.cli.terminal.labels import browsed_table
from agent.cli.terminal.outline import bar, tree_outline
from agent.cli.terminal.progress import progress
from agent.evidence.basis import Basis, basis_of, cited_lines
from agent.evidence.branches import Trim
from agent.evidence.digest import EvidenceLine, digest
from agent.log.calls import CallRow
from agent.log.labels import LabelRow
from agent.log.runs import RunSummary
from agent.schema import Outcome
from probes.evidence import Evidence, Projection, ScoredToken, TokenList
from probes.settings import ProbeSettings, VectorSettings
from tests.fakes import open_door, vocabulary_list
from tests.trees import DOG, NASTY, tree_of


def shown(thing: object, width: int = 200) -> str:
    """Returns what a terminal of that width would be sent, colours and all."""
    screen = Console(
        file=io.StringIO(), force_terminal=True, width=width, highlight=False, markup=False, color_system=None
    )
    screen.print(thing)
    return screen.file.getvalue()


def label(feature: int, **changes: object) -> LabelRow:
    values = {
        "label_id": feature,
        "run_id": 1,
        "feature": feature,
        "status": "labelled",
        "label": "dog",
        "explanation": "its tree says so",
        "confidence": 0.875,
        "rounds": 2,
        "reason": "",
        "evidence": (),
        "created": "2026-01-01T00:00:00.000Z",
    }
    return LabelRow(**values | changes)


def scored(tokens: Iterable[str]) -> tuple[ScoredToken, ...]:
    return tuple(ScoredToken(index, token, index / 8) for index, token in enumerate(tokens))


def test_an_outline_has_a_line_per_phrase_under_its_parent() -> None:
    lines = shown(tree_outline(DOG, Trim())).splitlines()
    assert lines[0].startswith('A typical definition of "▢" would be "   encoder, scale 3.8')
    assert [line.split()[0] for line in lines[1:6]] == ["70%", "50%", "20%", "10%", "5.0%"]
    assert lines[1].rstrip().endswith(" a kind of")
    assert lines[2].rstrip().endswith('├─ dog"')
    assert lines[3].rstrip().endswith('└─ hound"')
    assert "13 of 15 nodes drawn" in lines[6]


def test_an_outline_ranked_by_lift_says_so() -> None:
    assert "probability times lift" in shown(tree_outline(DOG, Trim(rank="lift")))
    assert "probability times lift" not in shown(tree_outline(DOG, Trim()))


def test_an_outline_of_nested_forks_draws_the_lines_that_lead_there() -> None:
    tree = tree_of([(["a", "b", "c"], 0.3), (["a", "b", "d"], 0.2), (["a", "e"], 0.3), (["f"], 0.1)])
    guides = [line[13:].rstrip() for line in shown(tree_outline(tree, Trim())).splitlines()[1:]]
    assert guides == ["a", "├─ b", "│  ├─ c", "│  └─ d", "└─ e", "f"]


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [bar(share, 4) for share in (0.0, 0.5, 1.0, 0.28125)] == ["", "██", "████", "█▏"]


@pytest.mark.parametrize("text", NASTY)
def test_nothing_from_outside_reaches_the_terminal_as_more_than_text(text: str) -> None:
    tokens = scored([text, "x"])
    things = [
        tree_outline(replace(tree_of([([text, text], 0.5), (["x", text], 0.4)]), prompt="{ghost} is"), Trim()),
        token_list(TokenList(1, ProbeSettings(), tokens)),
        token_line(TokenList(1, ProbeSettings(), tokens)),
        projection_lines(Projection(1, ProbeSettings(), tokens, tokens)),
        labels_table([label(1, label=text, reason=text)], {1: Basis()}, {1: text}),
        labels_table([label(1, status="failed", reason=text)], {}, {}),
        browsed_table([browsed(label(1, label=text, explanation=text))], None, {}),
        runs_table([run(subject={"name": text}, explainer=text)]),
        calls_table([call(model=text, error=text, answer={"action": "label", "label": text})]),
        facts([("name", text)]),
        finding(Finding("topic", text)),
    ]
    for thing in things:
        sent = shown(thing)
        assert all(line.isprintable() for line in sent.split("\n"))
        sent.encode()
    if text.isprintable():
        assert all(text in shown(thing) for thing in things)


def run(**changes: object) -> RunSummary:
    values = {
        "run_id": 3,
        "status": "finished",
        "created": "2026-01-01T12:34:56.000Z",
        "finished": None,
        "subject": {"name": "demo"},
        "settings": {},
        "templates": {},
        "explainer": "offline:rules-1",
        "features": "0-500",
        "n_asked": 501,
        "n_labelled": 400,
        "n_abstained": 100,
        "n_failed": 1,
        "n_calls": 900,
        "cost_usd": None,
    }
    return RunSummary(**values | changes)


def call(**changes: object) -> CallRow:
    values = dict.fromkeys(CallRow.__dataclass_fields__) | {
        "round": 1,
        "purpose": "explain",
        "attempt": 1,
        "provider": "offline",
        "model": "rules-1",
        "input_tokens": 0,
    }
    return CallRow(**values | changes)


def test_what_nobody_made_printable_cannot_steer_the_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    screen = console()
    table = Table("scorer")
    table.add_row("detection\x1b]0;title\x07")
    screen.print(table)
    screen.print("a judge\x9b2J\r\x08", "two\nlines")
    printed = capsys.readouterr().out
    assert "detection\\x1b]0;title" in printed
    assert "a judge\\x9b2J two\nlines\n" in printed  # rich itself leaves out bells, returns and backspaces
    assert not {"\x1b", "\x07", "\x9b", "\r", "\x08"} & {*printed}


def test_a_table_of_labels_has_evidence_and_known_concepts_beside_them() -> None:
    rows = [label(7), label(8, status="abstained", label="", reason="flat", confidence=None)]
    basis = {7: Basis("a kind of dog", 0.5, ("dog", "hound"))}
    text = shown(labels_table(rows, basis, {7: "hound"}))
    assert "known concept" in text
    first, second = text.splitlines()[1:3]
    assert first.split() == ["7", "dog", "0.88", "a", "kind", "of", "dog", "50%", "dog,", "hound", "hound"]
    assert second.split() == ["8", "(abstained)"]
    assert "known concept" not in shown(labels_table(rows, basis, {}))


def browsed(row: LabelRow) -> Any:
    """As the table of labels takes it."""
    return SimpleNamespace(label=row, probability=None, score=None, reviews=())


def test_a_label_that_is_not_there_is_explained_where_explanations_stand() -> None:
    rows = [label(8, status="abstained", label="", reason="flat", explanation="")]
    assert shown(browsed_table([*map(browsed, rows)], None, {})).splitlines()[1].split()[-1] == "flat"
    assert "(failed: no answer)" in shown(labels_table([label(1, status="failed", reason="no answer")], {}, {}))


def test_unknown_figures_are_blank_and_zeros_are_zeros() -> None:
    line = shown(calls_table([call()])).splitlines()[1]
    assert line.split() == ["1", "explain", "1", "offline:rules-1", "0"]


def test_rows_are_spread_over_the_whole_result() -> None:
    rows = [label(feature) for feature in range(501)]
    features = [row.feature for row in spread(rows, 40)]
    assert (features[0], features[-1], len(set(features))) == (0, 500, 40)
    assert max(b - a for a, b in pairwise(features)) <= 13
    assert spread(rows[:40], 40) == rows[:40]


def test_what_a_label_rests_on_is_what_it_cites_with_the_tokens_of_the_same_vector() -> None:
    decoder = ProbeSettings(vector=VectorSettings(weights="decoder", scale=3.8))
    other = tree_of([(["a", " cat", '"'], 0.9)])
    evidence = [
        DOG,
        TokenList(121, DOG.settings, scored([" dog", "dog", " hound"])),
        type(other)(**{**other.__dict__, "settings": decoder}),
        TokenList(121, decoder, scored([" cat"])),
    ]
    noun, definition = (next(line["id"] for line in lines if "hound" in line["text"]) for lines in _lines(evidence))
    for name in (noun, definition):
        cited = basis_of([name], evidence, 3.8)
        assert (cited.definition, round(cited.probability or 0, 6)) == ("a kind of hound", 0.2)
    assert cited.tokens == ("dog", "hound")
    best = basis_of([], evidence, 3.8)
    assert (best.definition, best.tokens) == ("a cat", ("cat",))
    assert basis_of([], [], 3.8) == Basis()
    lines = cited_lines(["E3.1", "E9.9", "E2.1"], digest(evidence, 3.8))
    assert [line["text"] for line in lines] == ["cat", " dog"]


def test_the_tokens_beside_a_label_are_those_that_activate_the_feature_if_it_is_known() -> None:
    nearest = TokenList(121, DOG.settings, scored([" dog", " hound"]))
    assert basis_of([], [DOG, nearest, vocabulary_list(" bark", " tail")], 3.8).tokens == ("bark", "tail")
    assert basis_of([], [DOG, nearest], 3.8).tokens == ("dog", "hound")
    of_words = vocabulary_list(" bark", " tail")
    words = replace(of_words, settings=ProbeSettings(vector=VectorSettings(weights="words", scale=3.8)))
    assert basis_of([], [DOG, nearest, words], 3.8).tokens == ("bark", "tail")


def _lines(evidence: Sequence[Evidence]) -> tuple[Sequence[EvidenceLine], Sequence[EvidenceLine]]:
    """The head nouns and the definitions of the first tree."""
    tree = digest(evidence, 3.8)[0]
    return tree["nouns"], tree["lines"]


def outcomes(n_failed: int, n_labelled: int) -> list[Outcome]:
    statuses = ["failed"] * n_failed + ["labelled"] * n_labelled
    return [Outcome(feature=index, status=status, rounds=1) for index, status in enumerate(statuses)]


def test_a_terminal_gets_a_bar_with_what_is_done_and_failed() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress(screen, 5, open_door()) as told:
        for outcome in outcomes(2, 3):
            told(outcome)
    last = screen.file.getvalue()
    assert "5/5" in last
    assert "2 failed" in last


def test_a_file_gets_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("agent.cli.terminal.progress.time.monotonic", lambda: float(next(clock)))
    screen = Console(file=io.StringIO(), width=120)
    with progress(screen, 8, open_door()) as told:
        for outcome in outcomes(1, 7):
            told(outcome)
    lines = screen.file.getvalue().splitlines()
    assert lines == [
        "3 of 8 done, 0 in flight, 1 failed, about 20 s left",
        "6 of 8 done, 0 in flight, 1 failed, about 8 s left",
    ]


def test_the_time_left_is_not_guessed_from_the_first_few(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, *range(1000, 9000, 11)])  # the first feature waits for what is measured once
    monkeypatch.setattr("agent.cli.terminal.progress.time.monotonic", lambda: float(next(clock)))
    screen = Console(file=io.StringIO(), width=120)
    with progress(screen, 60, open_door()) as told:
        for outcome in outcomes(0, 3):
            told(outcome)
    first, second, third = screen.file.getvalue().splitlines()
    assert (first, second) == ("1 of 60 done, 0 in flight, 0 failed", "2 of 60 done, 0 in flight, 0 failed")
    assert third == "3 of 60 done, 0 in flight, 0 failed, about 19418 s left"
