"""Reads the vocabulary once, with a progress bar."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from agent.cli.commands.examples_screen import bars
from agent.cli.commands.loading import SubjectLoader
from agent.cli.terminal.announcing import announced
from agent.config import RunConfig
from agent.pool.choice import on_first_device
from probes.ghost.token_states import Tell, read_together, token_states
from probes.settings import AUTO, VOCABULARY, WORDS
from probes.subject import Subject

_READ_OFF_TOKENS = {VOCABULARY, WORDS, AUTO}
"""Weights for which every token is read alone."""


def read_tokens(screen: Console, subject: Subject, weights: Iterable[str]) -> None:
    """Reads every token alone, if any of the weights needs that: about a minute on a CPU, then cached.

    Raises SubjectError where the model's states are not finite.
    """
    if _READ_OFF_TOKENS.intersection(weights):
        with _telling(screen, subject.card.vocab) as tell:
            token_states(subject, tell)


def read_tokens_ahead(screen: Console, configs: Sequence[RunConfig], load: SubjectLoader) -> None:
    """Reads every token alone for the SAEs of several layers at once, if their weights need that; `load` has them then.

    What is recommended for each SAE may need other weights: then each of them reads for itself in its turn.
    Raises SubjectError.
    """
    if len(configs) < 2 or configs[0].recommended or not _READ_OFF_TOKENS.intersection(configs[0].weights_plan):
        return
    subjects = load.ahead([on_first_device(config) for config in configs])
    with _telling(screen, subjects[0].card.vocab) as tell:
        read_together(subjects, tell)


@contextmanager
def _telling(screen: Console, vocab: int) -> Iterator[Tell]:
    with bars(screen) as progress:
        task = progress.add_task("reading tokens", total=vocab, rate="")

        def tell(done: int, of: int) -> None:
            if not screen.is_terminal and progress.tasks[0].completed == 0:
                screen.print(announced("reading", f"{of:,} tokens, each alone"))
            progress.update(task, completed=done, total=of)

        yield tell
