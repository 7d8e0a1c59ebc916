"""Shards of corpora in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.log.corpus_shards import ShardedPass, ShardRow
from agent.log.runs import difference_words, differences_between


def shard_lines(passes: Sequence[ShardedPass]) -> Iterator[tuple[str, str]]:
    """Yields for each pass which shards the log has and which it lacks, and how passes over one subject differ."""
    for place, one in enumerate(passes):
        first = one.shards[0]
        of = f"of {first.source}, features {first.features} of {first.subject_name}"
        if one.missing:
            here = numbers_words([row.shard for row in one.shards])
            yield "shards", f"{here} of {one.n_shards:,} {of}; {numbers_words(one.missing)} missing"
        else:
            yield "shards", f"all {one.n_shards:,} {of}: the command that read them puts them together without --shard"
        others = [other for other in passes[:place] if other.shards[0].fingerprint == first.fingerprint]
        if others:
            yield "apart", apart_words(one, others[-1].decisive)


def waiting_words(shards: Sequence[ShardRow]) -> str:
    """Says, behind what a log lacks, that it has shards which were not put together; empty where it has none."""
    return f", only {len(shards):,} shards that were not put together" if shards else ""


def apart_words(one: ShardedPass, other: Mapping[str, Any]) -> str:
    """Says how a pass differs from another one, or from one that is asked for."""
    unlike = difference_words(differences_between(one.decisive, {"n_shards": one.n_shards, **other}))
    return f"shards of {one.shards[0].source} are not of the same pass: they differ in {unlike}"


def numbers_words(numbers: Sequence[int]) -> str:
    """Writes numbers in words: 0, 1 and 3."""
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
