"""Measures how long the prompts of a run's first rounds are, about: a token is four characters, as budgets count.

    python -m tests.bench.prompt_length LOG [--features 13,38,64]

LOG holds a run of these features, as `interpret --features 13,38,64 --log LOG` makes one; its latest run is read.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.evidence.digest import CHARS_PER_TOKEN
from agent.log.calls import calls_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--features", default="13,38,64", type=lambda words: [int(word) for word in words.split(",")])
    given = parser.parse_args()
    with RunLog.open(given.log, read_only=True) as log:
        for line in lengths(log, given.features):
            print(line)


def lengths(log: RunLog, features: Sequence[int]) -> Iterator[str]:
    """One line for each feature: tokens of the system prompt, of the question, and of both."""
    run_id = log.read(all_runs)[-1].run_id
    yield f"{'feature':>8} {'system':>8} {'question':>9} {'both':>6}"
    for feature in features:
        first = log.read(calls_of, run_id, feature)[0]
        system, question = (len(text) // CHARS_PER_TOKEN for text in (first.system, first.prompt))
        yield f"{feature:8} {system:8} {question:9} {system + question:6}"


if __name__ == "__main__":
    main()
