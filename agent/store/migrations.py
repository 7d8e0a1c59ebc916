"""The log's tables.

A migration that has been released is never changed: the next one is added below it. Texts are written through `escape`;
times are UTC; JSON columns hold plain JSON.
"""

from sqlite_utils import Database, Migrations

from agent.store.batches import BATCHES_TABLE
from agent.store.by_content import by_content
from agent.store.calibrations import CALIBRATION_TABLES
from agent.store.classes import CLASSES_TABLE
from agent.store.datasette import TITLES_AND_VIEWS
from agent.store.identical import QUESTIONS_COLUMNS

SENSES_COLUMNS = """
ALTER TABLE labels ADD COLUMN senses TEXT NOT NULL DEFAULT '[]';        -- JSON: each with its tests; one thing is one
ALTER TABLE labels ADD COLUMN activates_on TEXT NOT NULL DEFAULT '';    -- the label's scope in texts
ALTER TABLE labels ADD COLUMN promotes TEXT NOT NULL DEFAULT '';        -- and in what the model writes
"""
"""A migration's text: it stays as it is."""

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


_HOSTED_CALLS = """
CREATE TABLE new_calls (                -- one row per request to an explainer, made before it is sent
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    feature INTEGER NOT NULL,
    round INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    item INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,                -- as asked for
    form TEXT,                          -- schema, json, text: how the answer was made to be JSON
    system_id INTEGER NOT NULL REFERENCES texts (id),
    prompt TEXT NOT NULL,
    template TEXT NOT NULL,
    template_hash TEXT NOT NULL,
    response TEXT NOT NULL,             -- the body as it came; empty until it comes
    answer TEXT,                        -- JSON; NULL where error says why
    resolved_model TEXT,                -- that answered, by its own account
    input_tokens INTEGER,               -- NULL where unknown, as the figures below; cached ones included
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    cost_usd REAL,
    reserved_tokens INTEGER NOT NULL,   -- the most it can have used, where the figures above are NULL
    reserved_usd REAL,
    duration_ms REAL,
    fault TEXT,                         -- transient, form, unusable, final, fatal; lost: no answer was seen
    error TEXT,
    created TEXT NOT NULL
);
INSERT INTO new_calls SELECT id, run_id, feature, round, purpose, item, attempt, provider, model, NULL, system_id,
    prompt, template, template_hash, response, proposal, NULL, input_tokens, output_tokens, NULL, NULL, cost_usd, 0,
    0.0, duration_ms, CASE WHEN error IS NOT NULL THEN 'unusable' END, error, created FROM calls;
DROP TABLE calls;
ALTER TABLE new_calls RENAME TO calls;
CREATE INDEX calls_key ON calls (run_id, feature, round, purpose, item);
CREATE INDEX calls_system ON calls (system_id);
"""


_SCORING = """
DROP TABLE examples;                    -- never written to before
DROP TABLE scores;

CREATE TABLE corpora (                  -- one row per source of texts read for one subject
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,      -- sha256 of subject, source and settings
    subject_name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,          -- of the subject, as in runs.subject
    source TEXT NOT NULL,               -- corpus, export or file
    settings TEXT NOT NULL,             -- JSON
    n_tokens INTEGER,                   -- looked at; NULL where the source does not say
    l0 REAL,                            -- of the self-check, as the next
    explained_variance REAL,
    seed INTEGER NOT NULL,              -- of the split, among others
    created TEXT NOT NULL
);
CREATE INDEX corpora_fingerprint ON corpora (fingerprint);

CREATE TABLE activity (                 -- how each feature fires over a whole corpus
    id INTEGER PRIMARY KEY,
    corpus_id INTEGER NOT NULL REFERENCES corpora (id),
    feature INTEGER NOT NULL,
    n_tokens INTEGER,                   -- NULL where the source does not say
    n_active INTEGER,
    maximum REAL,
    histogram TEXT,                     -- JSON: edges and counts
    baselines TEXT NOT NULL,            -- JSON: labels that others gave the feature
    created TEXT NOT NULL,
    UNIQUE (corpus_id, feature)
);

CREATE TABLE examples (
    id INTEGER PRIMARY KEY,
    corpus_id INTEGER NOT NULL REFERENCES corpora (id),
    feature INTEGER NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('shown', 'held_out')),
    kind TEXT NOT NULL CHECK (kind IN ('activating', 'random', 'similar', 'neighbour')),
    neighbour INTEGER,                  -- the feature that fires on it instead, for that kind
    document TEXT NOT NULL,             -- which text of the source; a document is in one split only
    start INTEGER NOT NULL,             -- place of the first token in it
    quantile INTEGER,                   -- 0: in the highest tenth of the feature's range
    max_activation REAL NOT NULL,
    text TEXT NOT NULL,
    payload BLOB NOT NULL,              -- zlib-compressed JSON: tokens, their ids and activations
    created TEXT NOT NULL
);
CREATE INDEX examples_feature ON examples (corpus_id, feature, split, kind);

CREATE TABLE scorings (                 -- one row per way of scoring a run's labels
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,      -- sha256 of run, corpus, judge, templates and settings
    run_id INTEGER NOT NULL REFERENCES runs (id),
    corpus_id INTEGER NOT NULL REFERENCES corpora (id),
    judge TEXT NOT NULL,                -- the model that scorers ask
    settings TEXT NOT NULL,             -- JSON
    created TEXT NOT NULL
);

CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    scoring_id INTEGER NOT NULL REFERENCES scorings (id),
    label_id INTEGER NOT NULL REFERENCES labels (id),
    scorer TEXT NOT NULL,
    variant TEXT NOT NULL,              -- label, or a control: shuffled, tokens, one_shot
    part TEXT NOT NULL,                 -- held_out, or new_words: those on words of no shown text
    label TEXT NOT NULL,                -- the words that were scored
    metric TEXT NOT NULL,
    value REAL,                         -- NULL where unscored, which is not 0
    reason TEXT,                        -- why it is unscored
    low REAL,                           -- interval
    high REAL,
    n INTEGER NOT NULL,                 -- examples it rests on
    extra TEXT NOT NULL,                -- JSON: further figures
    items TEXT NOT NULL,                -- JSON: each example's truth and prediction
    created TEXT NOT NULL,
    UNIQUE (scoring_id, label_id, scorer, variant, part),
    CHECK (value IS NOT NULL OR reason IS NOT NULL)
);
CREATE INDEX scores_label ON scores (label_id, scorer);

ALTER TABLE calls ADD COLUMN scoring_id INTEGER REFERENCES scorings (id);
"""


_REVIEWS = """
CREATE TABLE new_reviews (              -- what people said of labels; never changed, taken back by a row of its own
    id INTEGER PRIMARY KEY,
    label_id INTEGER NOT NULL REFERENCES labels (id),
    reviewer TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('accept', 'edit', 'reject', 'flag', 'note', 'undo')),
    label TEXT,                         -- the reviewer's own wording, beside the machine's
    note TEXT,
    blind INTEGER NOT NULL,             -- 1: given with scores and confidence hidden
    undoes INTEGER REFERENCES reviews (id),
    created TEXT NOT NULL,
    CHECK ((verdict = 'undo') = (undoes IS NOT NULL)),
    CHECK (verdict != 'edit' OR label IS NOT NULL)
);
INSERT INTO new_reviews SELECT id, label_id, reviewer, verdict, CASE verdict WHEN 'edit' THEN coalesce(label, '') ELSE
    label END, note, 0, NULL, created FROM reviews;
DROP TABLE reviews;
ALTER TABLE new_reviews RENAME TO reviews;
CREATE INDEX reviews_label ON reviews (label_id, verdict);
CREATE UNIQUE INDEX reviews_undoes ON reviews (undoes) WHERE undoes IS NOT NULL;

CREATE VIEW standing_reviews AS         -- those that were not taken back
    SELECT * FROM reviews WHERE undoes IS NULL
    AND NOT EXISTS (SELECT 1 FROM reviews AS later WHERE later.undoes = reviews.id AND later.undoes IS NOT NULL);
CREATE VIEW labels_reviewed AS          -- each label with the latest verdict on it, whoever gave it
    SELECT labels.id, run_id, feature, status, labels.label, explanation, confidence, verdict,
        latest.label AS reviewed_label, reviewer, latest.note AS note, latest.created AS reviewed
    FROM labels LEFT JOIN (
        SELECT max(id), label_id, verdict, label, reviewer, note, created FROM standing_reviews
        WHERE verdict IN ('accept', 'edit', 'reject') GROUP BY label_id
    ) AS latest ON latest.label_id = labels.id;

CREATE INDEX labels_status ON labels (run_id, status, feature, confidence);
CREATE INDEX labels_confidence ON labels (run_id, confidence, feature, status);
CREATE INDEX scores_value ON scores (scoring_id, scorer, part, variant, value, label_id);
CREATE INDEX calls_spent ON calls (run_id, scoring_id, fault, cost_usd, input_tokens, output_tokens, reserved_tokens,
    reserved_usd);
"""


_COMPARISONS = """
CREATE TABLE comparisons (              -- one row per way of comparing settings on one subject
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),        -- whose evidence is compared
    corpus_id INTEGER NOT NULL REFERENCES corpora (id),  -- whose held-out texts it is measured on
    settings TEXT NOT NULL,             -- JSON: what else decides the figures
    created TEXT NOT NULL,
    UNIQUE (run_id, corpus_id, settings)
);
CREATE INDEX comparisons_corpus ON comparisons (corpus_id);

CREATE TABLE compared (                 -- the settings of a comparison
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id),
    settings TEXT NOT NULL,             -- JSON, resolved
    created TEXT NOT NULL,
    UNIQUE (comparison_id, settings)
);

CREATE TABLE fits (                     -- how well what a setting shows of a feature fits the feature's texts
    id INTEGER PRIMARY KEY,
    compared_id INTEGER NOT NULL REFERENCES compared (id),
    feature INTEGER NOT NULL,
    measure TEXT NOT NULL,              -- list, tree, agreement, readout, divergence
    texts_of INTEGER NOT NULL,          -- the feature whose texts it rests on; another one is a control
    value REAL,                         -- NULL where it could not be measured, which is not 0
    reason TEXT,                        -- why not
    low REAL,                           -- interval
    high REAL,
    n INTEGER NOT NULL,                 -- tokens or texts it rests on
    UNIQUE (compared_id, feature, measure, texts_of),
    CHECK (value IS NOT NULL OR reason IS NOT NULL)
);

CREATE TABLE recommendations (          -- settings for a subject, the latest one counts; `interpret --recommended`
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,          -- of the subject, as in runs.subject
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id),
    settings TEXT NOT NULL,             -- JSON, resolved
    because TEXT NOT NULL,              -- with what figures
    created TEXT NOT NULL
);
CREATE INDEX recommendations_fingerprint ON recommendations (fingerprint);
CREATE INDEX recommendations_comparison ON recommendations (comparison_id);
"""


_SCORINGS_WITHOUT_A_CORPUS = """
PRAGMA defer_foreign_keys=ON;           -- until the rows that scores and calls refer to are back
CREATE TEMP TABLE old_scorings AS SELECT * FROM scorings;
DROP TABLE scorings;
CREATE TABLE scorings (                 -- one row per way of scoring a run's labels; each scorer's scores join it
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,      -- sha256 of run, corpus, judge, templates and settings
    run_id INTEGER NOT NULL REFERENCES runs (id),
    corpus_id INTEGER REFERENCES corpora (id),           -- NULL where no scorer needs its texts
    judge TEXT NOT NULL,                -- the model that scorers ask
    settings TEXT NOT NULL,             -- JSON
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (judge || ', ' || substr(created, 1, 10)) VIRTUAL
);
INSERT INTO scorings SELECT id, identity, run_id, corpus_id, judge, settings, created FROM old_scorings;
DROP TABLE old_scorings;
ALTER TABLE scores ADD COLUMN template_hash TEXT NOT NULL DEFAULT '';  -- of the scorer's question, if it asks any
"""


def _first_tables(db: Database) -> None:
    db.executescript(_TABLES)
    db["labels"].enable_fts(["label", "explanation"], tokenize="porter", create_triggers=True)


def _hosted_calls(db: Database) -> None:
    db.executescript(_HOSTED_CALLS)


def _scoring(db: Database) -> None:
    db.executescript(_SCORING)


def _reviews(db: Database) -> None:
    db.executescript(_REVIEWS)
    db["labels"].disable_fts()
    db["labels"].enable_fts(["label", "explanation", "reason"], tokenize="porter", create_triggers=True)


def _comparisons(db: Database) -> None:
    db.executescript(_COMPARISONS)


def _titles_and_views(db: Database) -> None:
    db.executescript(TITLES_AND_VIEWS)


def _search_of_reviews(db: Database) -> None:
    db["reviews"].enable_fts(["label", "note"], tokenize="porter", create_triggers=True)


def _scorings_without_a_corpus(db: Database) -> None:
    db.executescript(_SCORINGS_WITHOUT_A_CORPUS)


def _classes(db: Database) -> None:
    db.executescript(CLASSES_TABLE)


def _calibrations(db: Database) -> None:
    db.executescript(CALIBRATION_TABLES)


def _batches(db: Database) -> None:
    db.executescript(BATCHES_TABLE)


def _questions(db: Database) -> None:
    db.executescript(QUESTIONS_COLUMNS)


def _senses(db: Database) -> None:
    db.executescript(SENSES_COLUMNS)


_STEPS = {
    "0001_first_tables": _first_tables,
    "0002_hosted_calls": _hosted_calls,
    "0003_scoring": _scoring,
    "0004_reviews": _reviews,
    "0005_comparisons": _comparisons,
    "0006_titles_and_views": _titles_and_views,
    "0007_search_of_reviews": _search_of_reviews,
    "0008_scorings_without_a_corpus": _scorings_without_a_corpus,
    "0008_classes": _classes,
    "0009_calibrations": _calibrations,
    "0010_by_content": by_content,
    "0011_batches": _batches,
    "0012_questions": _questions,
    "0013_senses": _senses,
}

NAMES = tuple(_STEPS)
"""Every migration that this version knows, in order; a log that has had another one is newer."""

MIGRATIONS = Migrations("sae-interpret")
for _name, _step in _STEPS.items():
    MIGRATIONS(name=_name)(_step)
