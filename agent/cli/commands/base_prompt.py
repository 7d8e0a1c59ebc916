"""Finds the base prompt that reads a subject's own words best, with a progress bar, and describes it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from rich.console import Console

from agent.cli.terminal.bars import watched
from agent.config import RunConfig
from probes.ghost.base_prompt import PromptFigure, named, own_prompt, prompt_figures
from probes.ghost.word_reading import CHANCE
from probes.settings import AUTO, ProbeSettings
from probes.subject import Subject


def find_prompts(screen: Console, subject: Subject) -> None:
    """Measures the base prompts, once for a model: the figures are then at hand."""
    prompt_figures(subject, partial(watched, screen, "base prompts"))


def all_named(screen: Console, subject: Subject, settings: Iterable[ProbeSettings]) -> list[ProbeSettings]:
    """Returns the settings, each once, with the subject's own base prompt in place of `auto`."""
    settings = [*settings]
    if any(setting.tree.prompt == AUTO for setting in settings):
        find_prompts(screen, subject)
    return [*dict.fromkeys(named(subject, setting) for setting in settings)]


def prompt_lines(config: RunConfig, subject: Subject) -> Iterator[tuple[str, str]]:
    """Yields a line for the opening if the base prompt was measured and not named."""
    if config.probe.tree.prompt != AUTO:
        return
    own, figures = own_prompt(subject), prompt_figures(subject)
    yield "base prompt", own + "".join(_words(one, figures) for one in figures if one.prompt == own)


def _words(own: PromptFigure, figures: Sequence[PromptFigure]) -> str:
    is_best = own.value == max(figure.value for figure in figures)
    how = "which reads this model's own words best" if is_best else "no other reads this model's own words better"
    return f", {how}: {_figure(own)} over {len(own.shares)} words, {CHANCE:.2f} by chance"


def table_words(subject: Subject) -> str:
    """Formats the subject's own base prompt, with the figures of all base prompts."""
    own, figures = own_prompt(subject), prompt_figures(subject)
    if not figures:
        return f"{own}; the vocabulary has too few words to compare base prompts on"
    told = ", ".join(f"{figure.prompt} {_figure(figure)}" for figure in sorted(figures, key=lambda one: -one.value))
    return (
        f"{own}; how well each tells {len(figures[0].shares)} words of this model apart, {CHANCE:.2f} by chance: {told}"
    )


def _figure(figure: PromptFigure) -> str:
    low, high = figure.interval
    return f"{figure.value:.2f} [{low:.2f}, {high:.2f}]"
