"""Corpora, how features fire over them, and their examples: rows in, values out."""

import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlite_utils import Database

from agent.errors import LogError
from agent.store.provenance import now
from agent.store.rows import CorpusIdentity, CorpusRow
from agent.store.table import Row, insert, rows
from agent.store.values import made, unpacked
from probes.examples import Activity, Baseline, Example, ExampleKind, FeatureExamples, Split

Splitting = Mapping[str, Split]
"""Document to the side it is on."""


def begin_corpus(db: Database, identity: CorpusIdentity) -> int:
    """The corpus of that identity, made if there is none."""
    if (found := find_corpus(db, identity.hash)) is not None:
        return found
    subject = identity.subject
    return insert(
        db,
        "corpora",
        {
            "identity": identity.hash,
            "subject_name": subject.name,
            "fingerprint": subject.fingerprint,
            "source": identity.source,
            "settings": json.dumps(identity.settings),
            "seed": identity.seed,
            "created": now(),
        },
    )


def note_pass(db: Database, corpus_id: int, n_tokens: int | None, l0: float | None, explained: float | None) -> None:
    """Stores what the pass over the corpus found out about it."""
    db.execute(
        "UPDATE corpora SET n_tokens = ?, l0 = ?, explained_variance = ? WHERE id = ?",
        [n_tokens, l0, explained, corpus_id],
    )


def collected_rows(corpus_id: int, found: FeatureExamples, splitting: Splitting) -> tuple[Row, list[Row]]:
    """A feature's row of activity and its rows of examples, ready to be stored."""
    row = {
        "corpus_id": corpus_id,
        "feature": found.feature,
        **_activity_columns(found.activity),
        "baselines": json.dumps([asdict(baseline) for baseline in found.baselines]),
        "created": now(),
    }
    return row, [_example_row(corpus_id, example, splitting[example.document]) for example in found.examples]


def add_collected(db: Database, activity: Row, examples: Iterable[Row]) -> None:
    """One feature's activity and examples, in the place of those that the corpus had of it."""
    key = [activity["corpus_id"], activity["feature"]]
    for table in ("activity", "examples"):
        db.execute(f"DELETE FROM {table} WHERE corpus_id = ? AND feature = ?", key)
    insert(db, "activity", activity)
    for row in examples:
        insert(db, "examples", row)


def add_corpus(db: Database, identity: CorpusIdentity, found: Sequence[tuple[FeatureExamples, Splitting]]) -> int:
    """Several features' activity and examples, under the corpus of that identity, made if there is none; its id."""
    corpus_id = begin_corpus(db, identity)
    for one, splitting in found:
        add_collected(db, *collected_rows(corpus_id, one, splitting))
    return corpus_id


def corpora(db: Database, fingerprint: str | None = None) -> list[CorpusRow]:
    """The corpora of a subject, or all, the latest first."""
    sql = """
        SELECT corpora.*, (SELECT count(*) FROM activity WHERE corpus_id = corpora.id) AS n_features FROM corpora
        WHERE :fingerprint IS NULL OR fingerprint = :fingerprint ORDER BY created DESC, id DESC
    """
    return [_corpus(row) for row in rows(db, sql, {"fingerprint": fingerprint})]


def corpus_identity(db: Database, corpus_id: int) -> str:
    """Returns the identity, in any log, of the corpus of that number."""
    found = db.execute("SELECT identity FROM corpora WHERE id = ?", [corpus_id]).fetchone()
    if found is None:
        raise LogError(f"The log has no texts {corpus_id}; interpret examples collects some.")
    return str(found[0])


def find_corpus(db: Database, identity: str) -> int | None:
    """The number here of the corpus of that identity."""
    found = db.execute("SELECT id FROM corpora WHERE identity = ?", [identity]).fetchone()
    return None if found is None else int(found[0])


def latest_corpus(db: Database, fingerprint: str, features: Iterable[int]) -> CorpusRow | None:
    """The latest of a subject's corpora that has examples of any of the features."""
    wanted = frozenset(features)
    return next((row for row in corpora(db, fingerprint) if wanted & collected_features(db, row.corpus_id)), None)


def collected_features(db: Database, corpus_id: int) -> frozenset[int]:
    """The features whose examples the corpus has."""
    found = db.execute("SELECT feature FROM activity WHERE corpus_id = ?", [corpus_id]).fetchall()
    return frozenset(feature for (feature,) in found)


def collected(
    db: Database,
    corpus_id: int,
    feature: int,
    split: Split | None = None,
    kinds: Collection[ExampleKind] | None = None,
) -> FeatureExamples | None:
    """Returns the corpus's examples of a feature, as they were collected; None if it was not looked at."""
    key = {"corpus_id": corpus_id, "feature": feature}
    activity = next(rows(db, "SELECT * FROM activity WHERE corpus_id = :corpus_id AND feature = :feature", key), None)
    if activity is None:
        return None
    sql = """
        SELECT * FROM examples WHERE corpus_id = :corpus_id AND feature = :feature
        AND (:split IS NULL OR split = :split) AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
        ORDER BY id
    """
    wanted = {**key, "split": split, "kinds": None if kinds is None else json.dumps([*kinds])}
    return FeatureExamples(
        feature=feature,
        activity=_activity(activity),
        examples=[_example(row) for row in rows(db, sql, wanted)],
        baselines=[made(Baseline, baseline) for baseline in json.loads(activity["baselines"])],
    )


def _activity_columns(activity: Activity | None) -> Row:
    if activity is None:
        return {}
    return {
        "n_tokens": activity.n_tokens,
        "n_active": activity.n_active,
        "maximum": activity.maximum,
        "histogram": json.dumps({"edges": activity.edges, "counts": activity.counts}),
    }


def _example_row(corpus_id: int, example: Example, split: Split) -> Row:
    columns = {"tokens": example.tokens, "ids": example.token_ids, "activations": _short(example.activations)}
    return {
        "corpus_id": corpus_id,
        "feature": example.feature,
        "split": split,
        "kind": example.kind,
        "neighbour": example.neighbour,
        "document": example.document,
        "start": example.start,
        "quantile": example.quantile,
        "max_activation": example.peak,
        "text": example.text,
        "payload": zlib.compress(json.dumps(columns, separators=(",", ":")).encode("ascii"), 3),
        "created": now(),
    }


def _short(activations: Sequence[float]) -> list[float]:
    """With the 7 digits that float32 has."""
    return [float(f"{activation:.7g}") for activation in activations]


def _example(row: dict[str, Any]) -> Example:
    columns = json.loads(unpacked(row["payload"]))
    ids = columns["ids"]
    values = {
        "tokens": tuple(columns["tokens"]),
        "activations": tuple(columns["activations"]),
        "token_ids": None if ids is None else tuple(ids),
    }
    names = ("feature", "kind", "document", "start", "neighbour", "quantile")
    example = made(Example, values | {name: row[name] for name in names})
    if not example.tokens or len(example.tokens) != len(example.activations):
        raise ValueError(f"an example has {len(example.tokens)} tokens and {len(example.activations)} activations")
    return example


def _activity(row: dict[str, Any]) -> Activity | None:
    if row["n_active"] is None:
        return None
    histogram = json.loads(row["histogram"])
    values = {"edges": tuple(histogram["edges"]), "counts": tuple(histogram["counts"])}
    names = ("feature", "n_tokens", "n_active", "maximum")
    activity = made(Activity, values | {name: row[name] for name in names})
    if activity.n_tokens < 1 or len(activity.edges) != len(activity.counts) + 1:
        raise ValueError(f"a histogram has {len(activity.edges)} edges and {len(activity.counts)} counts")
    return activity


def _corpus(row: dict[str, Any]) -> CorpusRow:
    row["corpus_id"] = row.pop("id")
    row["settings"] = json.loads(row["settings"])
    del row["title"]
    return made(CorpusRow, row)
