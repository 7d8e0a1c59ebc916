"""Reads the vocabulary once, with a progress bar."""

from collections.abc import Iterable

from rich.console import Console

from agent.cli.commands.examples_screen import bars
from probes.ghost.token_states import token_states
from probes.settings import AUTO, VOCABULARY
from probes.subject import Subject


def read_tokens(screen: Console, subject: Subject, weights: Iterable[str]) -> None:
    """Reads every token alone, if any of the weights needs that: about a minute on a CPU, then cached.

    Raises SubjectError where the model's states are not finite.
    """
    if not {VOCABULARY, AUTO}.intersection(weights):
        return
    with bars(screen) as progress:
        task = progress.add_task("reading tokens", total=subject.card.vocab, rate="")
        token_states(subject, lambda done, of: progress.update(task, completed=done, total=of))
