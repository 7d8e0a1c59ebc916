"""`interpret examples --shard I/N`: one part of a pass over a corpus, and all parts put together.

A shard is kept apart from examples until all are there, so that a part never passes for the whole corpus.
"""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from agent.cli.commands.example_subjects import SubjectFeatures, collect_settings, embed_of
from agent.cli.commands.examples_screen import ExamplesScreen, bars, fault_lines
from agent.cli.commands.pass_workers import pass_workers
from agent.cli.terminal.display import facts
from agent.cli.terminal.shards import apart_words, numbers_words
from agent.log.corpus_shards import (
    ShardedPass,
    add_shard,
    drop_shards,
    features_of_shard,
    pool_of,
    sharded_passes,
    unfinished_shards,
)
from agent.log.rows import as_ranges
from agent.log.run_log import RunLog
from agent.shards import Shard
from eval.collect.corpora import CorpusFaults, documents
from eval.collect.corpus_pass import SILENT, Collection
from eval.collect.examples import FeatureHarvest
from eval.collect.shards import PassShard, put_together, read_shards
from eval.errors import ExamplesError


def keep_shard(screen: Console, log: RunLog, works: Sequence[SubjectFeatures], shard: Shard) -> None:
    """Reads one shard for several SAEs of one model, stores it, and tells of it. Raises ExamplesError."""
    config, wanted = works[0].config, works[0].config.examples
    works = [work for work in works if shard.index not in _numbers(_pass_in(log, work, shard.count))]
    if not works:
        screen.print(Text(f"Nothing left to do: shard {shard} is in the log."))
        return
    faults = CorpusFaults()
    texts = documents(wanted.corpus, faults, wanted.text_key, config.seed)
    with bars(screen) as progress:
        shown = ExamplesScreen(screen, progress, wanted.tokens // shard.count, lambda: False)
        read = [(work.subject, work.features) for work in works]
        if len(works) == 1:
            with pass_workers(screen, config, works[0].subject) as workers:
                found = read_shards(read, texts, collect_settings(config), shard, shown, workers)
        else:
            found = read_shards(read, texts, collect_settings(config), shard, shown)
    for work, part in zip(works, found, strict=True):
        place, kept = (shard.index, shard.count), [*part.features.values()]
        log.write(add_shard, work.identity, work.features, place, part.figures, part.pool, kept).result()
    n_tokens = found[0].figures.n_tokens
    screen.print(facts([("read", f"{n_tokens:,} tokens, shard {shard}"), *fault_lines(faults.sentences, faults.n)]))
    screen.print(
        Text(
            f"When all {shard.count:,} shards are read: interpret import SHARDS --log ALL; then this command without "
            "--shard and with --log ALL puts them together."
        )
    )


def whole_pass(screen: Console, log: RunLog, work: SubjectFeatures) -> ShardedPass | None:
    """Returns the shards that together are the pass that is asked for; None if the log has none of them.

    Raises ExamplesError if some are missing. Those of other settings are named and stay as they are.
    """
    passes = [
        one
        for one in sharded_passes(log.read(unfinished_shards))
        if one.shards[0].fingerprint == work.subject.card.fingerprint
    ]
    mine = [one for one in passes if _is_asked_for(one, work)]
    for one in mine:
        if not one.missing:
            return one
    if mine:
        [first, *_] = mine
        raise ExamplesError(
            f"The log has {numbers_words(_numbers(first))} of {first.n_shards:,} shards of these examples and lacks "
            f"{numbers_words(first.missing)}: read what is missing with --shard and import it, or name another log "
            "with --log for a pass of its own."
        )
    asked = {"features": as_ranges(work.features), **work.identity.model_dump(mode="json", include=_DECISIVE)}
    screen.print(facts([("apart", apart_words(one, asked)) for one in passes]))
    return None


def assembled(log: RunLog, work: SubjectFeatures, whole: ShardedPass) -> tuple[Collection, Iterator[FeatureHarvest]]:
    """Returns what one pass over the corpus gives, out of its shards in the log. Raises ExamplesError and LogError."""
    parts = [
        PassShard(row.figures, log.read(pool_of, row.shard_id), log.read(features_of_shard, row.shard_id))
        for row in whole.shards
    ]
    return put_together(
        work.subject, work.features, parts, collect_settings(work.config), SILENT, embed_of(work.config)
    )


def forget(log: RunLog, whole: ShardedPass) -> None:
    """Removes the shards, which the log has as examples now."""
    log.write(drop_shards, [row.shard_id for row in whole.shards]).result()


_DECISIVE = {"source", "settings", "seed"}
"""Of what a corpus is, beside its subject."""


def _pass_in(log: RunLog, work: SubjectFeatures, count: int) -> ShardedPass | None:
    passes = sharded_passes(log.read(unfinished_shards))
    return next((one for one in passes if _is_asked_for(one, work) and one.n_shards == count), None)


def _is_asked_for(one: ShardedPass, work: SubjectFeatures) -> bool:
    return (one.shards[0].identity, one.shards[0].features) == (work.identity.hash, as_ranges(work.features))


def _numbers(one: ShardedPass | None) -> list[int]:
    return [] if one is None else [row.shard for row in one.shards]
