"""Plots: what is drawn is what was given, texts stay texts, and the same figure gives the same file."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from eval.pictures import score_figure
from eval.plots import (
    Curve,
    IntervalPanel,
    PlotPoint,
    PlotRow,
    PlotValues,
    check_picture,
    curves,
    image,
    interval_rows,
    paired_scatter,
    save,
)
from probes.errors import OutputError, SettingsError
from tests.fault_runs import commands, environment
from tests.logged import score
from tests.score_commands import label, named, tiny_options
from tests.trees import NASTY

SVG = "{http://www.w3.org/2000/svg}"
PANEL = IntervalPanel(
    "detection",
    [
        PlotRow("labels", PlotPoint(0.7, 0.6, 0.8), "n = 9", is_main=True),
        PlotRow("controls", PlotPoint(0.5)),
        PlotRow("none", None, "unscored"),
    ],
    reference=0.5,
    spread=[PlotValues("labels", [0.6, 0.7, 0.8]), PlotValues("controls", [0.5])],
)


def words(figure: Figure) -> list[str]:
    """All that is written in a picture."""
    root = ElementTree.fromstring(image(figure, "svg"))
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def places(figure: Figure, axes: int = 0) -> list[tuple[list[float], list[float]]]:
    """The coordinates of each line and dot."""
    lines = figure.axes[axes].get_lines()
    return [([*map(float, line.get_xdata())], [*map(float, line.get_ydata())]) for line in lines]  # type: ignore[arg-type]


def test_a_row_has_its_dot_and_its_interval() -> None:
    figure = interval_rows([PANEL])
    interval, dot, control, reference = places(figure)
    assert interval == ([0.6, 0.8], [0, 0])
    assert dot == ([0.7], [0])
    assert control == ([0.5], [1])
    assert reference[0] == [0.5, 0.5]
    written = words(figure)
    for said in ("labels", "controls", "none", "n = 9", "unscored", "detection", "features"):
        assert said in written


def test_histograms_count_every_value_under_its_own_name() -> None:
    _, spread = interval_rows([PANEL]).axes
    counts = {patch.get_edgecolor(): int(patch.get_data().values.sum()) for patch in spread.patches}  # type: ignore[attr-defined]
    assert sorted(counts.values()) == [1, 3]
    legend = spread.get_legend()
    assert legend is not None
    filled, outline = legend.legend_handles
    drawn = [filled.get_edgecolor(), to_rgba(outline.get_color())]  # type: ignore[union-attr]
    named = [text.get_text() for text in legend.get_texts()]
    assert [counts[colour] for colour in drawn] == [{"labels": 3, "controls": 1}[name] for name in named]


def test_pairs_and_how_many_are_ahead() -> None:
    figure = paired_scatter([0.1, 0.5, 0.9], [0.2, 0.5, 0.1], "encoder", "decoder", "AUROC")
    offsets = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert offsets.tolist() == [[0.1, 0.2], [0.5, 0.5], [0.9, 0.1]]
    assert {"encoder", "decoder", "AUROC", "1 of 3 above the line, 1 on it"} <= {*words(figure)}


def test_pairs_are_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_scatter([0.1, 0.5], [0.2], "a", "b")


def test_a_curve_has_a_gap_where_nothing_was_measured() -> None:
    figure = curves([Curve("encoder", [1, 2, 3], [PlotPoint(0.5, 0.4, 0.6), None, PlotPoint(0.7)])], "scale", "AUROC")
    interval, line = places(figure)
    assert interval == ([1, 1], [0.4, 0.6])
    assert line[0] == [1, 2, 3]
    assert np.isnan(line[1][1])
    assert {"scale", "AUROC", "encoder"} <= {*words(figure)}


@pytest.mark.parametrize("text", [*NASTY, "$\\frac{1}{2}$", "$", "犬", "x" * 100_000, "_hidden"])
@pytest.mark.parametrize("form", ["svg", "png"])
def test_any_text_may_stand_anywhere(text: str, form: str) -> None:
    values = [PlotValues(text, [0.5])]
    for figure in (
        interval_rows([IntervalPanel(text, [PlotRow(text, PlotPoint(0.5), text)], spread=values)], text),
        paired_scatter([1], [2], text, text, text),
        curves([Curve(text, [1], [PlotPoint(1)])], text, text, text),
    ):
        picture = image(figure, form)
        if form == "svg":
            assert not list(ElementTree.fromstring(picture).iter("script"))


def test_dollars_are_no_formulas() -> None:
    assert "a $x^2$ b" in words(interval_rows([PANEL], "a $x^2$ b"))


@pytest.mark.parametrize("figure", [interval_rows([]), paired_scatter([], [], "a", "b"), curves([], "a", "b")])
def test_nothing_gives_an_empty_picture(figure: Figure) -> None:
    assert image(figure, "png").startswith(b"\x89PNG")


def test_no_score_is_said() -> None:
    assert words(score_figure([], seed=0)) == ["nothing was measured"]


@pytest.mark.parametrize("ending", ["png", "svg", "SVG"])
def test_the_same_figure_gives_the_same_file(tmp_path: Path, ending: str) -> None:
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    before = dict(matplotlib.rcParams)
    for file in files:
        save(interval_rows([PANEL]), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["plot.pdf", "plot"])
def test_a_place_for_no_picture(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="No picture can be written"):
        check_picture(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="is a folder; name a file"):
        save(interval_rows([]), tmp_path / "folder.png")


def test_a_scoring_is_drawn_beside_its_controls() -> None:
    values = {"label": [0.9, 0.7, 0.8], "shuffled": [0.5, 0.4, None]}
    scores = [
        score(feature, feature=feature, variant=variant, value=value, reason=None if value else "no text")
        for variant, some in values.items()
        for feature, value in enumerate(some)
    ]
    figure = score_figure(scores, seed=0)
    written = words(figure)
    assert {"the run's label", "another feature's", "n = 3", "n = 2"} <= {*written}
    assert "detection, held-out examples: mean balanced accuracy" in written
    dots = [xs for xs, ys in places(figure) if len(xs) == 1]
    assert dots == [[pytest.approx(0.8)], [pytest.approx(0.45)]]


def test_interpret_score_draws_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    interpret, options = commands(capsys), tiny_options(tmp_path)
    label(named(options), {0: "dogs", 1: "cats"})
    with environment():
        assert interpret("examples", "--features", "0,1", "--corpus", "demo", "--tokens", "4000", *options).status == 0
        scored = interpret("score", "--plot", "scores.svg", "--texts", "4", *options)
        assert (scored.status, "Wrote scores.svg." in scored.out) == (0, True), scored.err
        assert "the run's label" in (tmp_path / "scores.svg").read_text("utf-8")
        assert interpret("score", "--plot", "scores.pdf", *options).status == 2
