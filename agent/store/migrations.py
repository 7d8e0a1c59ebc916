"""The log's tables. A migration that has been released is never changed: the next one is added below it.

Knows nothing of how rows are made. Texts are written through `escape`; times are UTC; JSON columns hold plain JSON.
"""

from sqlite_utils import Database, Migrations

_TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,             -- sha256 of all that decides the outcome; not unique: --new starts another
    status TEXT NOT NULL CHECK (status IN ('unfinished', 'finished')),
    created TEXT NOT NULL,
    finished TEXT,
    subject_name TEXT NOT NULL,
    subject TEXT NOT NULL,              -- JSON: model, SAE, revisions, fingerprint
    settings TEXT NOT NULL,             -- JSON, resolved
    explainer TEXT NOT NULL,
    templates TEXT NOT NULL,            -- JSON: name to hash
    features TEXT NOT NULL              -- asked for so far, as ranges: 0-500,503
);
CREATE INDEX runs_identity ON runs (identity);

CREATE TABLE invocations (              -- one row each time a command began or resumed a run
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    started TEXT NOT NULL,
    command TEXT NOT NULL,              -- as typed, without secrets
    features TEXT NOT NULL,
    device TEXT NOT NULL,
    versions TEXT NOT NULL              -- JSON: package to version
);
CREATE INDEX invocations_run ON invocations (run_id);

CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    feature INTEGER NOT NULL,
    round INTEGER NOT NULL,
    item INTEGER NOT NULL,              -- place in the round
    kind TEXT NOT NULL,                 -- tree, tokens, projection
    settings TEXT NOT NULL,             -- JSON, resolved
    n_nodes INTEGER NOT NULL,           -- nodes of a tree below its root, tokens of a list
    summary TEXT NOT NULL,              -- the leading tokens with their numbers
    payload BLOB NOT NULL,              -- zlib-compressed JSON
    created TEXT NOT NULL,
    UNIQUE (run_id, feature, round, item)
);

CREATE TABLE texts (                    -- long texts that many calls share, each once
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL
);

CREATE TABLE calls (                    -- one row per attempt, good or not
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    feature INTEGER NOT NULL,
    round INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    item INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    system_id INTEGER NOT NULL REFERENCES texts (id),
    prompt TEXT NOT NULL,
    template TEXT NOT NULL,
    template_hash TEXT NOT NULL,
    response TEXT NOT NULL,
    proposal TEXT,                      -- JSON; NULL where error says why
    input_tokens INTEGER,               -- NULL where unknown, as the figures below
    output_tokens INTEGER,
    cost_usd REAL,
    duration_ms REAL,
    error TEXT,
    created TEXT NOT NULL
);
CREATE INDEX calls_key ON calls (run_id, feature, round, purpose, item);
CREATE INDEX calls_system ON calls (system_id);

CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    feature INTEGER NOT NULL,
    label TEXT NOT NULL,
    explanation TEXT NOT NULL,
    confidence REAL,                    -- the explainer's own, 0 to 1
    status TEXT NOT NULL CHECK (status IN ('labelled', 'abstained', 'failed')),
    rounds INTEGER NOT NULL,
    reason TEXT NOT NULL,               -- why it abstained or failed
    evidence TEXT NOT NULL,             -- JSON: ids of the evidence lines it rests on
    created TEXT NOT NULL,
    UNIQUE (run_id, feature)
);

CREATE TABLE examples (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    feature INTEGER NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('shown', 'held_out')),
    kind TEXT NOT NULL CHECK (kind IN ('activating', 'random', 'similar', 'neighbour')),
    source TEXT NOT NULL,               -- corpus, export or file it came from
    document TEXT NOT NULL,             -- which text of the source; a document is in one split only
    max_activation REAL NOT NULL,
    payload BLOB NOT NULL,              -- zlib-compressed JSON: tokens with their activations
    created TEXT NOT NULL
);
CREATE INDEX examples_feature ON examples (run_id, feature, split);

CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    label_id INTEGER NOT NULL REFERENCES labels (id),
    scorer TEXT NOT NULL,
    value REAL,                         -- NULL where unscored, which is not 0
    reason TEXT,                        -- why it is unscored
    low REAL,                           -- interval
    high REAL,
    n INTEGER NOT NULL,                 -- examples it rests on
    created TEXT NOT NULL,
    CHECK (value IS NOT NULL OR reason IS NOT NULL)
);
CREATE INDEX scores_label ON scores (label_id, scorer);

CREATE TABLE reviews (
    id INTEGER PRIMARY KEY,
    label_id INTEGER NOT NULL REFERENCES labels (id),
    reviewer TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('accept', 'edit', 'reject', 'flag', 'note')),
    label TEXT,                         -- the reviewer's own wording, beside the machine's
    note TEXT,
    created TEXT NOT NULL
);
CREATE INDEX reviews_label ON reviews (label_id);
"""


def _first_tables(db: Database) -> None:
    db.executescript(_TABLES)
    db["labels"].enable_fts(["label", "explanation"], tokenize="porter", create_triggers=True)


_STEPS = {"0001_first_tables": _first_tables}

NAMES = frozenset(_STEPS)
"""Every migration that this version knows; a log that has had another one is newer."""

MIGRATIONS = Migrations("sae-interpret")
for _name, _step in _STEPS.items():
    MIGRATIONS(name=_name)(_step)
