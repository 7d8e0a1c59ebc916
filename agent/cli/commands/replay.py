"""`interpret replay`: the runs of a command worked out again from their log, summed up in a few lines."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.text import Text

from agent.cli.commands.read_log import read_log
from agent.cli.terminal.display import console, facts
from agent.errors import LogError
from agent.evidence.printable import printable
from agent.groups import group_of
from agent.log.runs import all_runs, chosen_run
from agent.replay import Verdict, changed_templates, replay
from eval.scoring.shown_examples import CorpusExamples


def replay_run(path: Path, run_id: int) -> int:
    """Works a run and those of its command's other layers out again; returns the exit status, 1 if a label differs.

    Raises LogError.
    """
    with read_log(path) as log:
        group = group_of(log.read(chosen_run, run_id), log.read(all_runs))
        replayed = [item for run in group.runs for item in asyncio.run(replay(log, run, CorpusExamples))]
        changed = [*dict.fromkeys(name for run in group.runs for name in changed_templates(run))]
    if not replayed:
        has = "have" if group.is_many else "has"
        raise LogError(f"{group.words} {has} no label to replay; interpret log lists the runs that have.")
    screen = console()
    counts = Counter(item.verdict for item in replayed)
    unlike = sum(not item.prompts_alike for item in replayed)
    screen.print(
        facts(
            [
                (
                    "runs" if group.is_many else "run",
                    f"{group.numbers}, {group.status}, explainer {group.runs[0].explainer}",
                ),
                ("calls", f"{sum(item.calls for item in replayed):,} answers taken from the log, no calls made"),
                ("labels", ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in get_args(Verdict))),
                ("prompts", _prompts_words(unlike, changed)),
            ]
        )
    )
    for item in replayed:
        address = group.address(item.stored.run_id, item.stored.feature)
        for name, (stored, again) in item.differences.items():
            screen.print(Text(printable(f"feature {address}, {name}: was {stored!r}, is now {again!r}")))
    return int(counts["different"] > 0)


def _prompts_words(unlike: int, changed: Sequence[str]) -> str:
    words = f"{unlike:,} features would get another prompt" if unlike else "all as in the run"
    return f"{words} (templates changed since: {', '.join(changed)})" if changed else words
