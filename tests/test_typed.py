"""A text that is typed: activations at its tokens, in the terminal, as JSON and in the box on a feature's page."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from starlette.testclient import TestClient

from agent.cli.commands.activations import peak_words
from agent.cli.terminal.heat import active_tokens, shaded
from eval.collect import typed
from eval.collect.typed import TypedText, read_typed
from eval.errors import ExamplesError
from probes.errors import FeatureError
from probes.hooks.activations import residual
from probes.subject import Subject
from tests.fault_runs import Interpret
from tests.feature_log import FEATURE, PAGE, client, read, write_log
from tests.score_commands import named

TEXT = "the small dog ran"
SOMETIMES = 8
"""A feature that is active at one of its tokens; feature 5 is at none."""


def test_activations_are_the_saes_own_behind_what_stands_first(subject: Subject) -> None:
    found = read_typed(subject, 4, TEXT)
    ids = subject.tokenizer.encode(TEXT, add_special_tokens=False)
    states = residual(subject.model, torch.tensor([[1, *ids]]), subject.sae.config.hook)
    expected = subject.sae.encode(states)[0, 1:, 4]
    assert found.token_ids == tuple(ids)
    assert "".join(found.tokens) == TEXT
    assert len({a > 0 for a in found.activations}) == 2  # it activates somewhere, and not everywhere
    assert torch.allclose(torch.tensor(found.activations), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("feature", "text", "error", "sentence"),
    [
        (99, "the", FeatureError, "Feature 99 is out of range"),
        (3, "", ExamplesError, "There is no text to read; type some."),
        (3, "x\udcff", ExamplesError, "no UTF-8; type it again"),
        (3, "x" * 500, ExamplesError, "The text has 500 tokens, and 127 are read at once; shorten it."),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    subject: Subject, feature: int, text: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence.replace(".", r"\.")):
        read_typed(subject, feature, text)


def test_long_texts_are_refused_whatever_the_model_takes(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed, "MAX_TOKENS", 3)
    with pytest.raises(ExamplesError, match="2 are read at once"):
        read_typed(subject, 3, "the cat sat")


def _printed(*things: object, color: bool) -> str:
    screen = Console(file=io.StringIO(), force_terminal=color, color_system="256" if color else None, width=80)
    for thing in things:
        screen.print(thing)
    return screen.file.getvalue()


def test_shades_grow_with_activations_and_marks_stand_where_there_are_no_colours() -> None:
    tokens, activations = ["a", " b", "\x1b[2J", "c\n"], [0.0, 1.0, 4.0, -1.0]
    assert _printed(shaded(tokens, activations, coloured=False), color=False) == "a« b»«\\x1b[2J»c↵\n"
    colours = _printed(shaded(tokens, activations, coloured=True), color=True)
    assert "\x1b[30;48;5;230m b\x1b[0m" in colours
    assert "\x1b[30;48;5;208m\\x1b[2J\x1b[0m" in colours
    assert "\x1b[2J" not in colours.replace("\\x1b[2J", "")
    rows = _printed(active_tokens(tokens, activations), color=False).splitlines()
    assert [row.split() for row in rows[1:]] == [["1", "b", "1", "███"], ["2", "\\x1b[2J", "4", "█" * 12]]


def test_of_many_active_tokens_the_strongest_are_listed_in_their_order() -> None:
    activations = [float(place % 50) for place in range(100)]
    table = _printed(active_tokens([str(place) for place in range(100)], activations), color=False)
    places = [int(line.split()[0]) for line in table.splitlines()[1:]]
    assert places == [*range(30, 50), *range(80, 100)]


@pytest.mark.parametrize(
    ("activations", "maximum", "words"),
    [
        ((0.0, 0.0), 4.0, "not active at any of 2 tokens"),
        ((0.0, 2.0), None, "2; active at 1 of 2 tokens"),
        ((1.0, 2.0), 8.0, "2, 25% of the highest in the log's texts; active at 2 of 2 tokens"),
    ],
)
def test_the_peak_is_told_beside_what_is_known(activations: tuple[float, ...], maximum: float, words: str) -> None:
    assert peak_words(TypedText(3, (1, 2), ("a", "b"), activations), maximum) == words


def test_the_command_prints_what_is_read(
    interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_typed(named(tiny), 3, TEXT)
    ran = interpret("activations", "3", TEXT, *tiny, "--json")
    assert ran.status == 0, ran.err
    said = json.loads(ran.out)
    assert (said["feature"], said["maximum"]) == (3, None)
    assert [row["token_id"] for row in said["tokens"]] == [*found.token_ids]
    assert [row["activation"] for row in said["tokens"]] == pytest.approx([*found.activations])
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert json.loads(interpret("activations", "3", "-", *tiny, "--json").out) == said
    shown = interpret("activations", "3", TEXT, *tiny).out
    assert "feature 3 of" in shown
    assert shown.replace("«", "").replace("»", "").count(TEXT) == 1
    refused = interpret("activations", "3,4", TEXT, *tiny)
    assert (refused.status, refused.out) == (2, "")
    assert "'3,4' is not one feature" in refused.err


@pytest.fixture
def visitor(tmp_path: Path, subject: Subject) -> Iterator[TestClient]:
    """A browser at pages over a log about the very subject that is loaded."""
    path = tmp_path / "l.db"
    write_log(path, fingerprint=subject.card.fingerprint)
    with client(path, subject=subject) as visitor:
        yield visitor


def test_the_box_shades_the_text_by_the_loaded_subject(visitor: TestClient, subject: Subject) -> None:
    found = read_typed(subject, SOMETIMES, TEXT)
    here = PAGE.replace(f"/{FEATURE}", f"/{SOMETIMES}")
    page = read(visitor.get(here, params={"text": TEXT}).text)
    [active] = [activation for activation in found.activations if activation > 0]
    assert page.all("mark", title=f"{active:.3g}", class_="a10")
    assert f"peak {active:.3g}; each shade is a tenth of it" in page.text
    assert page.all("form", action=f"{here}#typed", method="get")
    assert "each shade is a tenth" not in read(visitor.get(here).text).text
    assert "not active on any token" in read(visitor.get(PAGE, params={"text": TEXT}).text).text


def test_line_ends_are_read_as_they_were_typed(visitor: TestClient) -> None:
    page = visitor.get(PAGE, params={"text": "the cat\r\nran"}).text
    assert "the cat↵ran" in read(page).text
    assert "\\r" not in page


def test_what_the_box_cannot_read_is_said_in_it(visitor: TestClient) -> None:
    page = visitor.get(PAGE, params={"text": "x" * 600})
    assert page.status_code == 200
    assert "The text has 600 tokens, and 127 are read at once; shorten it." in read(page.text).text


def test_hostile_texts_stay_texts(visitor: TestClient) -> None:
    evil = '</textarea><script>alert(1)</script>\u202e"\x07'
    page = visitor.get(PAGE, params={"text": evil})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert "\x07" not in page.text
    assert len(read(page.text).all("textarea", name="text")) == 1


def test_there_is_no_box_without_the_subject_that_the_run_was_about(tmp_path: Path, subject: Subject) -> None:
    write_log(tmp_path / "l.db")
    with client(tmp_path / "l.db", subject=subject) as other:
        assert 'id="typed"' not in other.get(PAGE, params={"text": TEXT}).text
    with client(tmp_path / "l.db") as without:
        assert 'id="typed"' not in without.get(PAGE, params={"text": TEXT}).text
