"""`interpret compare --runs 3,4`: the scores of two runs, feature by feature, on the same texts by the same judge.

Nothing is probed, scored or loaded.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import click
from rich.text import Text

from agent.commands.compare import Output
from agent.config import RunConfig
from agent.errors import LogError
from agent.runlog import RunLog, RunSummary, ScoreRow
from agent.terminal.display import console, facts
from eval.compare.report import Values, Versus, against
from eval.compare.verdict import versus_words
from probes.errors import SettingsError


@dataclass(frozen=True)
class Found:
    """Two runs by one scorer."""

    scorer: str
    metric: str
    scored: tuple[Values, Values]
    """By feature, of the first run and of the second."""
    versus: Versus
    """The second against the first."""


def compare_runs(config: RunConfig, wanted: str, output: Output) -> int:
    """Prints how far the second run's labels are ahead; the exit status, 0. Raises InterpretError."""
    first_id, second_id = _two(wanted)
    if output.plot is not None:
        from eval.plots import check_picture

        check_picture(output.plot)
    with RunLog.open(config.log, read_only=True) as log:
        first, second = log.run(first_id), log.run(second_id)
        _check_subjects(first, second)
        found = [*_found(log, first, second, config)]
    if output.as_json:
        click.echo(json.dumps([asdict(item) for item in found]))
    else:
        _print(found, first, second)
    if output.plot is not None:
        _draw(output, found[0], first, second)
    return 0


def _two(wanted: str) -> tuple[int, int]:
    parts = [part.strip() for part in wanted.split(",")]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts) or parts[0] == parts[1]:
        raise SettingsError(
            f"--runs {wanted!r} does not name two runs; write --runs 3,4, as interpret log numbers them."
        )
    return int(parts[0]), int(parts[1])


def _check_subjects(first: RunSummary, second: RunSummary) -> None:
    if first.subject["fingerprint"] != second.subject["fingerprint"]:
        raise LogError(
            f"Runs {first.run_id} and {second.run_id} are about {first.subject['name']} and {second.subject['name']}, "
            "whose features are no pairs; compare two runs of one subject."
        )


def _found(log: RunLog, first: RunSummary, second: RunSummary, config: RunConfig) -> Iterator[Found]:
    """Every scorer that both were scored by in the same way, or those asked for. Raises LogError for none."""
    pairs = [
        (one.scoring_id, other.scoring_id)
        for one in log.scorings(first.run_id)
        for other in log.scorings(second.run_id)
        if (one.corpus_id, one.judge, _texts(one.settings)) == (other.corpus_id, other.judge, _texts(other.settings))
    ]
    seen: set[str] = set()
    for one, other in pairs:
        ours, theirs = _labels(log.scores(one)), _labels(log.scores(other))
        for scorer in ours.keys() & theirs.keys() - seen:
            if config.score.scorers is None or scorer in config.score.scorers:
                seen.add(scorer)
                metric = next((row.metric for row in ours[scorer] if row.metric), "")
                scored = _values(ours[scorer]), _values(theirs[scorer])
                yield Found(scorer, metric, scored, against(scored[1], scored[0], config.seed))
    if not seen:
        which = f" by {', '.join(config.score.scorers)}" if config.score.scorers else ""
        raise LogError(
            f"Runs {first.run_id} and {second.run_id} have no scores{which} on the same texts by the same judge; "
            f"interpret score {first.run_id} and interpret score {second.run_id} make them."
        )


def _texts(settings: object) -> object:
    """What of a scoring's settings decides on which texts it rests."""
    assert isinstance(settings, dict)
    return {name: settings.get(name) for name in ("negatives", "texts", "embedder", "seed")}


def _labels(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """The scores of the labels themselves on all held-out texts, by scorer."""
    found: dict[str, list[ScoreRow]] = {}
    for row in rows:
        if (row.variant, row.part) == ("label", "held_out"):
            found.setdefault(row.scorer, []).append(row)
    return found


def _values(rows: Sequence[ScoreRow]) -> dict[int, float]:
    return {row.feature: row.value for row in rows if row.value is not None}


def _print(found: Sequence[Found], first: RunSummary, second: RunSummary) -> None:
    screen = console()
    screen.print(facts([_line(first), _line(second)]))
    screen.print()
    for item in found:
        words = versus_words(
            f"run {second.run_id}", f"run {first.run_id}", item.versus, f"{item.scorer} ({item.metric})"
        )
        ours, theirs = (len(values) for values in item.scored)
        screen.print(Text(words))
        screen.print(
            Text(
                f"Scored: {ours:,} features of run {first.run_id}, {theirs:,} of run {second.run_id}; "
                f"compared on the {item.versus.difference.n:,} that both have.",
                style="dim",
            )
        )


def _line(run: RunSummary) -> tuple[str, str]:
    labelled = f"{run.n_labelled:,} labels of {run.n_asked:,} features"
    return f"run {run.run_id}", f"{run.explainer}, {labelled}, {run.created[:16].replace('T', ' ')} UTC"


def _draw(output: Output, item: Found, first: RunSummary, second: RunSummary) -> None:
    from eval.plots import paired_scatter, save

    assert output.plot is not None
    ours, theirs = item.scored
    both = sorted(ours.keys() & theirs.keys())
    xs, ys = [ours[f] for f in both], [theirs[f] for f in both]
    save(paired_scatter(xs, ys, f"run {first.run_id}", f"run {second.run_id}", item.scorer), output.plot)
    console().print(Text(f"Wrote {output.plot}."))
