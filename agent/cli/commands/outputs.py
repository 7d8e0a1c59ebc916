"""Lists the files that a command has in use, so that its output replaces none of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from agent.config import RunConfig, settings_in_use
from probes.doors.outputs import check_output

_BESIDE_A_LOG = ("", "-wal", "-shm", "-journal")


def check_outputs(config: RunConfig, settings_file: Path | None, *outputs: Path | None, folder: bool = False) -> None:
    """Raises OutputError where one of these outputs, of which None is none, is not to be written; see `check_output`.

    In use is what the settings name, and whatever else is named on the command line.
    """
    for output in outputs:
        if output is not None:
            check_output(output, [*_in_settings(config), *_named(outputs), *_settings(settings_file)], folder)


def _in_settings(config: RunConfig) -> Iterator[Path]:
    for ending in _BESIDE_A_LOG:
        yield config.log.with_name(f"{config.log.name}{ending}")
    subject, adapter = config.subject.preset, config.probe.vector.adapter
    places = [subject.model, subject.sae, config.examples.corpus, config.score.embedder, adapter and adapter.path]
    for place in places:
        yield from _paths(place or "")


def _named(outputs: tuple[Path | None, ...]) -> Iterator[Path]:
    """Returns the other files named on the command line, those of `@FILE` included."""
    context = click.get_current_context(silent=True)
    given: list[Any] = [*context.params.values()] if context else []
    for value in given:
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, str | Path) and item not in outputs:
                yield from (path for part in str(item).split(",") for path in _paths(part.strip().removeprefix("@")))


def _settings(settings_file: Path | None) -> Iterator[Path]:
    if (found := settings_in_use(settings_file)) is not None:
        yield found


def _paths(place: str) -> Iterator[Path]:
    """The files or folders here that a text may name, which may as well be anything else."""
    for text in {place, place.partition(":")[0]}:
        try:
            path = Path(text).expanduser()
            if text and path.exists():
                yield path
        except (OSError, RuntimeError, ValueError):  # too long for a name, nobody's home: no file
            continue
