"""Corpora, how active features are over them, and their examples: rows in, values out."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from agent.errors import LogError
from agent.log.rows import Row, find_id, first, insert, made, now, packed, select, some, unpacked, update
from agent.log.runs import hash_of
from probes.examples import Activity, Baseline, Example, ExampleKind, FeatureExamples, Split
from probes.presets import SubjectCard
from probes.settings import Value

Splitting = Mapping[str, Split]
"""Document to the side it is on."""

_CORPORA = """
    SELECT corpora.*, (SELECT count(*) FROM activity WHERE corpus_id = corpora.id) AS n_features FROM corpora
    WHERE :fingerprint IS NULL OR fingerprint = :fingerprint ORDER BY created DESC, id DESC
"""
_EXAMPLES = """
    SELECT * FROM examples WHERE corpus_id = :corpus_id AND feature = :feature
    AND (:split IS NULL OR split = :split) AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
    ORDER BY id
"""


_STALE_SCORES = """
    DELETE FROM scores WHERE (scoring_id, label_id) IN (
        SELECT scorings.id, labels.id FROM scorings JOIN labels ON labels.run_id = scorings.run_id
        WHERE scorings.corpus_id = ? AND labels.feature = ?
    )
"""


class CorpusIdentity(Value):
    """Everything that decides which examples a corpus gives."""

    subject: SubjectCard
    source: str
    settings: dict[str, Any]
    """How it was read, and under `content` what its files held."""
    seed: int

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON, less the device."""
        return hash_of(self.model_dump(mode="json", exclude={"subject": {"device"}}))


@dataclass(frozen=True)
class CorpusRow:
    """A corpus that examples came from."""

    corpus_id: int
    identity: str
    """By which it is known in any log."""
    subject_name: str
    fingerprint: str
    source: str
    settings: Mapping[str, Any]
    n_tokens: int | None
    l0: float | None
    explained_variance: float | None
    seed: int
    created: str
    n_features: int
    """Features whose examples it has."""


def begin_corpus(db: Database, identity: CorpusIdentity) -> int:
    """Returns the corpus of that identity, made if there is none."""
    row = {**identity_columns(identity), "created": now()}
    return find_corpus(db, identity.hash) or insert(db, "corpora", row)


def identity_columns(identity: CorpusIdentity) -> Row:
    """Returns the columns by which a corpus, or a shard of one, is known."""
    return {
        "identity": identity.hash,
        "subject_name": identity.subject.name,
        "fingerprint": identity.subject.fingerprint,
        "source": identity.source,
        "settings": json.dumps(identity.settings),
        "seed": identity.seed,
    }


def note_pass(db: Database, corpus_id: int, n_tokens: int | None, l0: float | None, explained: float | None) -> None:
    """Keeps what the pass over a corpus found out about it."""
    update(db, "corpora", {"n_tokens": n_tokens, "l0": l0, "explained_variance": explained}, {"id": corpus_id})


def add_collected(db: Database, corpus_id: int, found: FeatureExamples, splitting: Splitting) -> None:
    """Keeps a feature's activity and examples, each on the side of its document, in the place of those there were.

    Where there were others, scores that rest on them go with them: they are to be measured anew.
    """
    key = corpus_id, found.feature
    rows = [_example_row(corpus_id, example, splitting[example.document]) for example in found.examples]
    if not _are_kept(db, *key, rows):
        db.execute(_STALE_SCORES, key)
    for table in ("activity", "examples"):
        db.execute(f"DELETE FROM {table} WHERE corpus_id = ? AND feature = ?", key)
    row = {"corpus_id": corpus_id, "feature": found.feature, **_activity_columns(found.activity), "created": now()}
    insert(db, "activity", {**row, "baselines": json.dumps([asdict(baseline) for baseline in found.baselines])})
    for example_row in rows:
        insert(db, "examples", example_row)


def _are_kept(db: Database, corpus_id: int, feature: int, rows: Sequence[Row]) -> bool:
    """Tells whether a feature's examples are these already, whenever they came."""
    kept = select(db, _EXAMPLES, corpus_id=corpus_id, feature=feature, split=None, kinds=None)
    ours, theirs = ([{**row, "id": 0, "created": ""} for row in some] for some in (kept, rows))
    return ours == theirs


def add_corpus(db: Database, identity: CorpusIdentity, found: Sequence[tuple[FeatureExamples, Splitting]]) -> int:
    """Keeps several features' activity and examples, under the corpus of that identity; returns its id."""
    corpus_id = begin_corpus(db, identity)
    for one, splitting in found:
        add_collected(db, corpus_id, one, splitting)
    return corpus_id


def corpora_of(db: Database, fingerprint: str | None = None) -> list[CorpusRow]:
    """Returns the corpora of a subject, or all, the latest first."""
    return [_corpus(row) for row in select(db, _CORPORA, fingerprint=fingerprint)]


def corpus_identity(db: Database, corpus_id: int) -> str:
    """Returns the identity, in any log, of the corpus of that number. Raises `LogError` if there is none."""
    found = first(db, "SELECT identity FROM corpora WHERE id = :id", id=corpus_id)
    if found is None:
        raise LogError(f"The log has no texts {corpus_id}; interpret examples collects some.")
    return str(found["identity"])


def find_corpus(db: Database, identity: str) -> int | None:
    """Returns the number here of the corpus of that identity, if there is one."""
    return find_id(db, "corpora", {"identity": identity})


def latest_corpus(db: Database, fingerprint: str, features: Iterable[int]) -> CorpusRow | None:
    """Returns the latest of a subject's corpora that has examples of any of the features."""
    wanted = frozenset(features)
    return next((row for row in corpora_of(db, fingerprint) if wanted & features_collected(db, row.corpus_id)), None)


def features_collected(db: Database, corpus_id: int) -> frozenset[int]:
    """Returns the features whose examples the corpus has."""
    found = db.execute("SELECT feature FROM activity WHERE corpus_id = ?", [corpus_id]).fetchall()
    return frozenset(feature for (feature,) in found)


def examples_of(
    db: Database,
    corpus_id: int,
    feature: int,
    split: Split | None = None,
    kinds: Collection[ExampleKind] | None = None,
) -> FeatureExamples | None:
    """Returns a corpus's examples of a feature, of one side and some kinds or all; None if it was not looked at."""
    key = {"corpus_id": corpus_id, "feature": feature}
    activity = first(db, "SELECT * FROM activity WHERE corpus_id = :corpus_id AND feature = :feature", **key)
    if activity is None:
        return None
    wanted = {"split": split, "kinds": None if kinds is None else some(kinds)}
    return FeatureExamples(
        feature=feature,
        activity=_activity(activity),
        examples=[_example(row) for row in select(db, _EXAMPLES, **key, **wanted)],
        baselines=[
            made(Baseline, {**baseline, "scores": tuple(baseline.get("scores", ()))})
            for baseline in json.loads(activity["baselines"])
        ],
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
    activations = [float(f"{activation:.7g}") for activation in example.activations]  # the digits that float32 has
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
        "payload": packed({"tokens": example.tokens, "ids": example.token_ids, "activations": activations}),
        "created": now(),
    }


def _example(row: Row) -> Example:
    columns = unpacked(row["payload"])
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


def _activity(row: Row) -> Activity | None:
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
    del row["title"]  # for whoever browses the file
    return made(CorpusRow, {"corpus_id": row.pop("id"), **row, "settings": json.loads(row["settings"])})
