"""Finds what else the log holds about a labelled feature: its labels in other runs, and labels that share its words.

Rows in, values out; each question is answered through an index, however many labels there are.
"""

import re

from sqlite_utils import Database

from agent.store.reading import labels
from agent.store.rows import LabelRow
from agent.store.table import rows

_MOST_WORDS = 12
"""Words of a label that others are looked for by."""
_EMPTY_WORDS = frozenset({"a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to"})
_SHARING = """
    SELECT feature FROM labels_fts JOIN labels ON labels.id = labels_fts.rowid
    WHERE labels_fts MATCH :words AND run_id = :run_id AND feature != :feature AND status = 'labelled'
    ORDER BY bm25(labels_fts), feature LIMIT :most
"""
_ELSEWHERE = """
    SELECT run_id FROM runs JOIN labels ON labels.run_id = runs.id AND labels.feature = :feature
    WHERE json_extract(subject, '$.fingerprint') = :fingerprint AND run_id != :run_id
    ORDER BY runs.created DESC, run_id DESC
"""


def labels_elsewhere(db: Database, run_id: int, fingerprint: str, feature: int) -> list[LabelRow]:
    """Returns the feature's labels in the other runs of its subject, the latest first."""
    found = rows(db, _ELSEWHERE, {"run_id": run_id, "fingerprint": fingerprint, "feature": feature})
    return [label for row in found for label in labels(db, row["run_id"], features=[feature])]


def labels_sharing_words(db: Database, run_id: int, feature: int, label: str, most: int) -> list[LabelRow]:
    """Other labels of the run that share words with `label`, by BM25, the rarest words first."""
    words = [word for word in re.findall(r"[^\W_]+", label.casefold()) if word not in _EMPTY_WORDS]
    if not words:
        return []
    wanted = " OR ".join(f'"{word}"' for word in dict.fromkeys(words[:_MOST_WORDS]))
    key = {"words": f"label : ({wanted})", "run_id": run_id, "feature": feature, "most": most}
    ranked = [row["feature"] for row in rows(db, _SHARING, key)]
    found = {row.feature: row for row in labels(db, run_id, features=ranked)}
    return [found[other] for other in ranked]
