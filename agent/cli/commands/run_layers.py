"""Labels features of several SAEs of one model: a run of the log for each, one model in memory, one budget."""

from collections.abc import Sequence

from rich.text import Text

from agent.cli.commands.exit_status import ends_all
from agent.cli.commands.layers import by_layer
from agent.cli.commands.loading import SubjectLoader
from agent.cli.commands.log import print_layers
from agent.cli.commands.run import LabelRequest, labelled, print_labels, spent_words, status_words
from agent.cli.commands.token_pass import read_tokens_ahead
from agent.cli.terminal.display import console
from agent.config import RunConfig
from agent.groups import group_of
from agent.log.calls import Spent, spent_by
from agent.log.labels import labels_of
from agent.log.naming import log_option
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.shards import Shard
from probes.features import parse_addresses


def label_layers(configs: Sequence[RunConfig], spec: str, new: bool, dry: bool, shard: Shard | None) -> int:
    """Runs layer after layer, prints, and returns the exit status. Raises InterpretError."""
    saes, load = by_layer(configs), SubjectLoader()
    chosen = parse_addresses(spec, {layer: one.n_features for layer, one in saes.items()}, configs[0].seed)
    names = [f"{one.sites}, {one.n_features} features" for one in saes.values()]
    run_ids, status = list[int](), 0
    if not dry:
        read_tokens_ahead(console(), [saes[layer].config for layer in chosen], load)
    for layer, features in chosen.items():
        asked = LabelRequest(spec, new, dry, shard, features, saes=names, others=run_ids)
        result = labelled(saes[layer].config, asked, load)
        status = max(status, result.status)
        if result.run_id is not None:
            run_ids.append(result.run_id)
        if ends_all(result.stopped):
            break
    if run_ids:
        _print(configs[0], run_ids, chosen)
    return status


def _print(config: RunConfig, run_ids: Sequence[int], chosen: dict[int, list[int]]) -> None:
    """Prints labels of all layers, and what comes of them."""
    screen = console()
    with RunLog.open(config.log) as log:
        every = log.read(all_runs)
        made = [run for run in every if run.run_id in run_ids]
        group = group_of(made[-1], every)
        rows = [
            row for run in made for row in log.read(labels_of, run.run_id, features=chosen[int(run.subject["layer"])])
        ]
        if not rows:
            return
        scales = {run.run_id: float(run.subject["default_scale"]) for run in made}
        print_labels(screen, config, log, rows, scales, group.address)
        print_layers(screen, log, group)
        spent = [log.read(spent_by, run_id) for run_id in run_ids]
    cost = f" {spent_words(_sum(spent))}" if any(one.tokens or one.cost_usd for one in spent) else ""
    counted = f"{len(rows):,} features of {len(made)} layers: {status_words(rows)}.{cost}"
    where = f"{config.log}, as {group.words[0].lower()}{group.words[1:]}"
    first = group.address(rows[0].run_id, rows[0].feature)
    screen.print(
        Text(f"{counted} Everything is in {where}; for one feature: interpret show {first} {log_option(config.log)}")
    )


def _sum(spent: Sequence[Spent]) -> Spent:
    costs = [one.cost_usd for one in spent if one.cost_usd is not None]
    return Spent(
        calls=sum(one.calls for one in spent),
        tokens=sum(one.tokens for one in spent),
        cost_usd=sum(costs) if costs else None,
        most_tokens=sum(one.most_tokens for one in spent),
        most_usd=sum(one.most_usd for one in spent),
    )
