"""The picture of a feature that is passed on: of one size, readable whatever it holds, without scores for the blind."""

from io import BytesIO
from pathlib import Path

import matplotlib.image as mpimg
import numpy as np
import pytest

from agent.drawing.card import HEIGHT, WIDTH, CardToken, PictureCard, _lines, _runs, card_png
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.web.feature.picture import card_of
from agent.web.feature.view import feature_view
from tests.feature_log import FEATURE, PAGE, client, write_log
from tests.trees import NASTY

PLAIN = PictureCard(
    "feature 5 · tiny", "dogs", ("dog", "hound"), (CardToken("the", 0.0), CardToken(" dog", 1.0)), ("active at 1 %",)
)


def pixels(png: bytes) -> np.ndarray:
    return mpimg.imread(BytesIO(png))


def blue(picture: np.ndarray) -> int:
    """Counts the pixels of shaded tokens."""
    return int((picture[..., 2] - picture[..., 0] > 0.15).sum())


def test_a_card_is_as_large_as_sites_show_and_shades_what_activates() -> None:
    picture = pixels(card_png(PLAIN))
    assert picture.shape[:2] == (HEIGHT, WIDTH)
    bare = PictureCard(PLAIN.place, PLAIN.label, PLAIN.words, (CardToken("the dog", 0.0),), PLAIN.facts)
    assert blue(picture) > 1000 > blue(pixels(card_png(bare))) == 0
    assert card_png(PLAIN) == card_png(PLAIN)


@pytest.mark.parametrize("words", [*NASTY, "", "x" * 5000, "word " * 800])
def test_any_text_is_drawn_within_the_picture(words: str) -> None:
    card = PictureCard(words, words, [words] * 8, [CardToken(words, 1.0)] * 40, [words] * 3)
    assert pixels(card_png(card)).shape[:2] == (HEIGHT, WIDTH)
    assert len(_lines(words)) <= 2
    assert all(run.line < 4 and run.column + len(run.words) <= 69 for run in _runs(card.example))


def test_an_example_is_broken_between_tokens_and_loses_none_that_has_room() -> None:
    tokens = [CardToken(f" word{number}", 0.0) for number in range(20)]
    runs = [*_runs(tokens)]
    assert [run.words.strip() for run in runs] == [token.text.strip() for token in tokens]
    assert [run.line for run in runs] == sorted(run.line for run in runs)
    first = next(run for run in runs if run.line == 1)
    assert (first.column, first.words[0]) == (0, "w")  # the space before it stays behind


def test_a_blind_reviewer_is_told_no_score(tmp_path: Path) -> None:
    write_log(tmp_path / "l.db")
    with RunLog.open(tmp_path / "l.db", read_only=True) as log:
        view = feature_view(log, log.read(chosen_run, 1), FEATURE, ())
    assert view is not None
    seen, hidden = card_of(view, "5", None, False), card_of(view, "5", None, True)
    assert (seen.label, seen.facts) == ("dogs", ["active at 1 % of 1,000 tokens", seen.facts[1]])
    assert "n 2" in seen.facts[1]
    assert hidden.facts == seen.facts[:1]
    assert seen.words
    assert max(token.shade for token in seen.example) == 1


def test_the_page_links_its_picture(tmp_path: Path) -> None:
    write_log(tmp_path / "l.db")
    with client(tmp_path / "l.db", reviewer="ann") as visitor:
        address = f"{PAGE.partition('?')[0]}/picture.png"
        assert f'href="{address}"' in visitor.get(PAGE).text
        seen = visitor.get(address)
        assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")
        assert pixels(seen.content).shape[:2] == (HEIGHT, WIDTH)
        assert visitor.get(f"{PAGE.partition('?')[0]}9999/picture.png").status_code == 404
