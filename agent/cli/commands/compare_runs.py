"""`interpret compare --runs 3,4`: the scores of two runs, feature by feature, on the same texts by the same judge.

Nothing is probed, scored or loaded.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import click
from rich.text import Text

from agent.cli.commands.compare_output import ComparisonOutput
from agent.cli.commands.read_log import read_log
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.errors import LogError
from agent.log.naming import log_option
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, chosen_run
from agent.log.scores import ScoreRow, ScoringRow, scores_of, scorings_of
from eval.compare.report import PairedComparison, Values, against
from eval.compare.verdict import versus_words
from probes.doors.given import shown, whole_number
from probes.errors import SettingsError

Rows = Sequence[ScoreRow]


@dataclass(frozen=True)
class RunComparison:
    """Two runs by one scorer."""

    scorer: str
    metric: str
    scorings: tuple[int, int]
    """The scorings of the first run and of the second, in this order: the latest that match."""
    n_older: int
    """Number of older pairs of scorings that match too."""
    scored: tuple[Values, Values]
    """Scores by feature, of the first run and of the second."""
    versus: PairedComparison
    """The second run's scores less the first's."""


def compare_runs(config: RunConfig, wanted: str, output: ComparisonOutput) -> int:
    """Prints how far the second run's labels are ahead; returns the exit status, 0. Raises InterpretError."""
    first_id, second_id = _two(wanted)
    if output.plot is not None:
        from eval.plots import check_picture

        check_picture(output.plot)
    with read_log(config.log) as log:
        first, second = log.read(chosen_run, first_id), log.read(chosen_run, second_id)
        _check_subjects(first, second)
        found = found_between(log, first, second, config.score.scorers, config.seed)
    if output.plot is not None and len(found) > 1:
        scorers = ", ".join(item.scorer for item in found)
        raise SettingsError(f"--plot draws one scorer, and both runs have {scorers}; choose one with --scorers.")
    if output.as_json:
        click.echo(json.dumps([asdict(item) for item in found]))
    else:
        show_found(found, first, second)
    if output.plot is not None:
        _draw(output, found[0], first, second)
    return 0


def _two(wanted: str) -> tuple[int, int]:
    first, second = [*map(whole_number, map(str.strip, wanted.split(","))), None, None][:2]
    if wanted.count(",") != 1 or first is None or second is None or first == second:
        raise SettingsError(
            f"--runs {shown(wanted)} does not name two runs; write --runs 3,4, as interpret log numbers them."
        )
    return first, second


def _check_subjects(first: RunSummary, second: RunSummary) -> None:
    if first.subject["fingerprint"] != second.subject["fingerprint"]:
        raise LogError(
            f"Runs {first.run_id} and {second.run_id} are about {first.subject['name']} and {second.subject['name']}, "
            "whose features cannot be paired; compare two runs of one subject."
        )


def found_between(
    log: RunLog, first: RunSummary, second: RunSummary, wanted: Sequence[str] | None, seed: int
) -> list[RunComparison]:
    """Returns a comparison for every common scorer, or those asked for. Raises LogError if there is none."""
    pairs: dict[str, list[tuple[tuple[int, int], Rows, Rows]]] = {}
    for one, other in _matching(log.read(scorings_of, first.run_id), log.read(scorings_of, second.run_id)):
        ours, theirs = _labels(log.read(scores_of, one)), _labels(log.read(scores_of, other))
        for scorer in ours:
            if scorer in theirs and (wanted is None or scorer in wanted):
                pairs.setdefault(scorer, []).append(((one, other), ours[scorer], theirs[scorer]))
    if not pairs:
        which = f" by {', '.join(wanted)}" if wanted else ""
        raise LogError(
            f"Runs {first.run_id} and {second.run_id} have no scores{which} on the same texts by the same judge; "
            f"interpret score {first.run_id} {log_option(log.path)} and interpret score {second.run_id} "
            f"{log_option(log.path)} make them."
        )
    return [_compared(scorer, *several[0], len(several) - 1, seed) for scorer, several in pairs.items()]


def _matching(ours: Sequence[ScoringRow], theirs: Sequence[ScoringRow]) -> Iterator[tuple[int, int]]:
    """Yields pairs of scorings on the same examples by the same judge, the latest first."""
    for one in ours:
        for other in theirs:
            if (one.corpus_id, one.judge, _texts(one.settings)) == (
                other.corpus_id,
                other.judge,
                _texts(other.settings),
            ):
                yield one.scoring_id, other.scoring_id


def _compared(
    scorer: str, scorings: tuple[int, int], ours: Rows, theirs: Rows, n_older: int, seed: int
) -> RunComparison:
    metric = next((row.metric for row in ours if row.metric), "")
    scored = _values(ours), _values(theirs)
    return RunComparison(scorer, metric, scorings, n_older, scored, against(scored[1], scored[0], seed))


def _texts(settings: object) -> object:
    """Returns those of a scoring's settings that decide which examples it rests on."""
    assert isinstance(settings, dict)
    return {name: settings.get(name) for name in ("negatives", "texts", "embedder", "seed")}


def _labels(rows: Rows) -> dict[str, list[ScoreRow]]:
    """Returns the labels' own scores on all held-out examples, by scorer, in the order of scoring."""
    found: dict[str, list[ScoreRow]] = {}
    for row in rows:
        if (row.variant, row.part) == ("label", "held_out"):
            found.setdefault(row.scorer, []).append(row)
    return found


def _values(rows: Rows) -> dict[int, float]:
    return {row.feature: row.value for row in rows if row.value is not None}


def show_found(found: Sequence[RunComparison], first: RunSummary, second: RunSummary) -> None:
    """Prints how far the second run is ahead by each scorer."""
    screen = console()
    screen.print(facts([_line(first), _line(second)]))
    screen.print()
    for item in found:
        words = versus_words(
            f"run {second.run_id}", f"run {first.run_id}", item.versus, f"{item.scorer} ({item.metric})"
        )
        screen.print(Text(words))
        screen.print(Text(_rests_on(item, first, second), style="dim"))


def _rests_on(item: RunComparison, first: RunSummary, second: RunSummary) -> str:
    (one, other), (ours, theirs) = item.scorings, (len(values) for values in item.scored)
    older = f"; the latest, beside {item.n_older:,} older" if item.n_older else ""
    return (
        f"Scored: {ours:,} features of run {first.run_id} (scoring {one}), {theirs:,} of run {second.run_id} (scoring "
        f"{other}{older}); compared on the {item.versus.difference.n:,} that both have."
    )


def _line(run: RunSummary) -> tuple[str, str]:
    labelled = f"{run.n_labelled:,} labels of {run.n_asked:,} features"
    return f"run {run.run_id}", f"{run.explainer}, {labelled}, {run.created[:16].replace('T', ' ')} UTC"


def _draw(output: ComparisonOutput, item: RunComparison, first: RunSummary, second: RunSummary) -> None:
    from eval.plots import paired_scatter, save

    assert output.plot is not None
    ours, theirs = item.scored
    both = sorted(ours.keys() & theirs.keys())
    xs, ys = [ours[f] for f in both], [theirs[f] for f in both]
    save(paired_scatter(xs, ys, f"run {first.run_id}", f"run {second.run_id}", item.scorer), output.plot)
    console().print(Text(f"Wrote {output.plot}."))
