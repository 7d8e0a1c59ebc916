"""`interpret replay`: a run worked out again from its log, summed up in a few lines."""

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
from agent.log.runs import chosen_run
from agent.replay import Verdict, changed_templates, replay
from eval.scoring.shown_examples import CorpusExamples


def replay_run(path: Path, run_id: int) -> int:
    """Works a run out again from its log; returns the exit status, 1 if a label differs. Raises LogError."""
    with read_log(path) as log:
        run = log.read(chosen_run, run_id)
        replayed = asyncio.run(replay(log, run, CorpusExamples))
        changed = changed_templates(run)
    if not replayed:
        raise LogError(f"Run {run_id} has no label to replay; interpret log lists the runs that have.")
    screen = console()
    counts = Counter(item.verdict for item in replayed)
    unlike = sum(not item.prompts_alike for item in replayed)
    screen.print(
        facts(
            [
                ("run", f"{run.run_id}, {run.status}, explainer {run.explainer}"),
                ("calls", f"{sum(item.calls for item in replayed):,} answers taken from the log, no calls made"),
                ("labels", ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in get_args(Verdict))),
                ("prompts", _prompts_words(unlike, changed)),
            ]
        )
    )
    for item in replayed:
        for name, (stored, again) in item.differences.items():
            screen.print(Text(printable(f"feature {item.stored.feature}, {name}: was {stored!r}, is now {again!r}")))
    return int(counts["different"] > 0)


def _prompts_words(unlike: int, changed: Sequence[str]) -> str:
    words = f"{unlike:,} features would get another prompt" if unlike else "all as in the run"
    return f"{words} (templates changed since: {', '.join(changed)})" if changed else words
