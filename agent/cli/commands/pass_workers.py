"""Opens the workers that read a corpus, where the settings ask for some, and says which."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.text import Text

from agent.cli.terminal.display import facts
from agent.config import RunConfig
from agent.pool.choice import workforce_of
from agent.pool.resident import loaded_from
from agent.pool.thread import PoolThread
from eval.collect.corpus_pass import BatchReaders
from eval.collect.worker_pass import read_by
from probes.subject import Subject


@contextmanager
def pass_workers(screen: Console, config: RunConfig, subject: Subject) -> Iterator[BatchReaders | None]:
    """Yields the workers; None where this process is to read. Raises SettingsError and WorkersError."""
    workforce = workforce_of(config, subject.card.dtype)
    if workforce is None:
        yield None
        return
    screen.print(facts([("workers", str(workforce))]))
    with PoolThread(workforce, loaded_from(subject.card), lambda words: screen.print(Text(words))) as pool:
        yield partial(read_by, pool)
