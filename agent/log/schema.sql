-- The run log: SQLite, version 4. A table stands below those that it refers to, the order in which rows are imported.
-- Texts are escaped (rows.py); times are UTC; JSON columns hold plain JSON. Datasette shows a reference by the `title`
-- of the row that is referred to; titles are computed, not stored.

CREATE TABLE texts (                    -- texts that many rows refer to, each once
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,                 -- system, settings; else what it is a zlib dictionary of: tree, tokens, ...
    sha256 TEXT NOT NULL,
    text TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (substr(text, 1, 60)) VIRTUAL,
    UNIQUE (kind, sha256)
);

CREATE TABLE corpora (                  -- one row per source of examples read for one subject
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
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (source || ', ' || subject_name || ', ' || substr(created, 1, 10)) VIRTUAL
);
CREATE INDEX corpora_fingerprint ON corpora (fingerprint);

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,             -- sha256 of all that decides the outcome; not unique: --new starts another
    kind TEXT NOT NULL CHECK (kind IN ('label', 'probe', 'compare', 'explore')),
    status TEXT NOT NULL CHECK (status IN ('unfinished', 'finished')),
    created TEXT NOT NULL,
    finished TEXT,
    subject_name TEXT NOT NULL,
    subject TEXT NOT NULL,              -- JSON: model, SAE, revisions, fingerprint
    settings TEXT NOT NULL,             -- JSON, resolved; a corpus by its identity
    explainer TEXT NOT NULL,            -- empty where evidence is compared or explored
    templates TEXT NOT NULL,            -- JSON: name to hash
    features TEXT NOT NULL,             -- asked for so far, as ranges: 0-500,503
    title TEXT GENERATED ALWAYS AS
        (subject_name || ', ' || coalesce(nullif(explainer, ''), kind) || ', ' || substr(created, 1, 10)) VIRTUAL
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

CREATE TABLE activity (                 -- how active each feature is over a whole corpus
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
    neighbour INTEGER,                  -- the feature that activates on it instead, for that kind
    document TEXT NOT NULL,             -- which text of the source; a document is in one split only
    start INTEGER NOT NULL,             -- place of the first token in it
    quantile INTEGER,                   -- 0: in the highest tenth of the feature's range
    max_activation REAL NOT NULL,
    text TEXT NOT NULL,
    payload BLOB NOT NULL,              -- zlib-compressed JSON: tokens, their ids and activations
    created TEXT NOT NULL
);
CREATE INDEX examples_feature ON examples (corpus_id, feature, split, kind);

CREATE TABLE corpus_shards (            -- a part of a pass over a corpus, until all parts are put together
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,             -- as in corpora, of what all parts together give
    subject_name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    settings TEXT NOT NULL,             -- JSON
    seed INTEGER NOT NULL,
    features TEXT NOT NULL,             -- asked for, as ranges
    shard INTEGER NOT NULL,             -- which part, from 0
    n_shards INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,          -- of this part
    n_documents INTEGER NOT NULL,       -- of the whole pass, as the figures of its self-check
    l0 REAL NOT NULL,
    explained_variance REAL,
    n_checked INTEGER NOT NULL,
    payload BLOB NOT NULL,              -- zlib-compressed JSON: random windows
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (source || ', shard ' || shard || '/' || n_shards) VIRTUAL,
    UNIQUE (identity, features, n_shards, shard)
);

CREATE TABLE shard_features (           -- what a part has of a feature, and of those beside which it is read
    id INTEGER PRIMARY KEY,
    shard_id INTEGER NOT NULL REFERENCES corpus_shards (id),
    feature INTEGER NOT NULL,
    payload BLOB NOT NULL,              -- zlib-compressed JSON: counts, windows and activations
    UNIQUE (shard_id, feature)
);

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
    senses TEXT NOT NULL,               -- JSON: each with its tests; a label of one thing has one
    activates_on TEXT NOT NULL,         -- the label's scope in texts
    promotes TEXT NOT NULL,             -- and in what the model writes
    before TEXT,                        -- JSON: what the first explainer had said; NULL where no stronger one was asked
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS
        (feature || ': ' || CASE status WHEN 'labelled' THEN label ELSE '(' || status || ')' END) VIRTUAL,
    UNIQUE (run_id, feature)
);
CREATE INDEX labels_status ON labels (run_id, status, feature, confidence);
CREATE INDEX labels_confidence ON labels (run_id, confidence, feature, status);
CREATE INDEX labels_created ON labels (run_id, created);

CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    feature INTEGER NOT NULL,
    round INTEGER NOT NULL,
    item INTEGER NOT NULL,              -- place in the round
    kind TEXT NOT NULL,                 -- tree, tokens, projection, ...
    settings_id INTEGER NOT NULL REFERENCES texts (id),  -- JSON, resolved
    n_nodes INTEGER NOT NULL,           -- nodes of a tree below its root, tokens of a list
    summary TEXT NOT NULL,              -- the leading tokens with their numbers
    device TEXT,                        -- that made it, with its machine in a cluster; NULL where that is not known
    payload BLOB NOT NULL,              -- zlib-compressed JSON
    dictionary_id INTEGER NOT NULL REFERENCES texts (id),  -- that zlib needs to read it
    created TEXT NOT NULL,
    UNIQUE (run_id, feature, round, item)
);
CREATE INDEX evidence_created ON evidence (run_id, created);

CREATE TABLE scorings (                 -- one row per way of scoring a run's labels; each scorer's scores join it
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,             -- sha256 of the corpus's identity, judge, templates and settings
    run_id INTEGER NOT NULL REFERENCES runs (id),
    corpus_id INTEGER REFERENCES corpora (id),           -- NULL where no scorer needs its examples
    judge TEXT NOT NULL,                -- the model that scorers ask
    settings TEXT NOT NULL,             -- JSON
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (judge || ', ' || substr(created, 1, 10)) VIRTUAL,
    UNIQUE (run_id, identity)
);

CREATE TABLE batches (                  -- calls sent together, one row per batch, made before the provider is asked
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    scoring_id INTEGER REFERENCES scorings (id),         -- NULL where a loop asks
    token TEXT NOT NULL UNIQUE,         -- by which it is found again: it begins each request's own id
    provider TEXT NOT NULL,
    at_provider TEXT,                   -- its id there; NULL until that was told
    status TEXT NOT NULL CHECK (status IN ('reserved', 'sent', 'ended', 'unmade', 'lost')),
    n_calls INTEGER NOT NULL,
    created TEXT NOT NULL,
    ended TEXT,                         -- when its answers were in the log
    note TEXT,                          -- why it was not made, or is lost
    title TEXT GENERATED ALWAYS AS (provider || ', ' || n_calls || ' calls, ' || substr(created, 1, 10)) VIRTUAL
);
CREATE INDEX batches_run ON batches (run_id, scoring_id, status);

CREATE TABLE calls (                    -- one row per request to an explainer or judge, made before it is sent
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    scoring_id INTEGER REFERENCES scorings (id),         -- NULL where a loop asks
    batch_id INTEGER REFERENCES batches (id),            -- NULL where it is sent by itself
    batch_place INTEGER,                -- in its batch, from 0: the end of its id at the provider, whatever its id here
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
    question TEXT,                      -- sha256 of all that decides an answer; NULL where it was not kept
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
    cached INTEGER NOT NULL DEFAULT 0,  -- 1: by an earlier call's answer, at no cost
    created TEXT NOT NULL
);
CREATE INDEX calls_key ON calls (run_id, feature, round, purpose, item);
CREATE INDEX calls_system ON calls (system_id);
CREATE INDEX calls_spent ON calls (run_id, scoring_id, fault, cost_usd, input_tokens, output_tokens, reserved_tokens,
    reserved_usd);
CREATE INDEX calls_faults ON calls (run_id, fault) WHERE fault IS NOT NULL;
CREATE INDEX calls_created ON calls (run_id, created);
CREATE INDEX calls_batch ON calls (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX calls_question ON calls (question) WHERE question IS NOT NULL;

CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    scoring_id INTEGER NOT NULL REFERENCES scorings (id),
    label_id INTEGER NOT NULL REFERENCES labels (id),
    scorer TEXT NOT NULL,
    variant TEXT NOT NULL,              -- label, or a control: shuffled, tokens, one_shot
    part TEXT NOT NULL,                 -- held_out, or new_words: those on words of no shown example
    label TEXT NOT NULL,                -- the words that were scored
    metric TEXT NOT NULL,
    value REAL,                         -- NULL where unscored, which is not 0
    reason TEXT,                        -- why it is unscored
    low REAL,                           -- interval
    high REAL,
    n INTEGER NOT NULL,                 -- examples it rests on
    extra TEXT NOT NULL,                -- JSON: further figures
    items TEXT NOT NULL,                -- JSON: each example's truth and prediction
    template_hash TEXT NOT NULL,        -- of the scorer's question; empty where it asks none
    created TEXT NOT NULL,
    UNIQUE (scoring_id, label_id, scorer, variant, part),
    CHECK (value IS NOT NULL OR reason IS NOT NULL)
);
CREATE INDEX scores_label ON scores (label_id, scorer);
CREATE INDEX scores_value ON scores (scoring_id, scorer, part, variant, value, label_id);

CREATE TABLE reviews (                  -- what people said of labels; never changed, taken back by a row of its own
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
CREATE INDEX reviews_label ON reviews (label_id, verdict);
CREATE UNIQUE INDEX reviews_undoes ON reviews (undoes) WHERE undoes IS NOT NULL;

CREATE TABLE comparisons (              -- one row per way of comparing settings on one subject
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),        -- whose evidence is compared
    corpus_id INTEGER NOT NULL REFERENCES corpora (id),  -- whose held-out examples it is measured on
    settings TEXT NOT NULL,             -- JSON: what else decides the figures
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS ('of run ' || run_id || ', ' || substr(created, 1, 10)) VIRTUAL,
    UNIQUE (run_id, corpus_id, settings)
);
CREATE INDEX comparisons_corpus ON comparisons (corpus_id);

CREATE TABLE compared (                 -- the settings of a comparison
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id),
    settings TEXT NOT NULL,             -- JSON, resolved
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS
        (json_extract(settings, '$.vector.weights')
        || coalesce(', scale ' || CASE json_type(settings, '$.vector.scale') WHEN 'text'
            THEN json_extract(settings, '$.vector.scale')
            ELSE round(json_extract(settings, '$.vector.scale'), 3) END, '')
        || CASE json_extract(settings, '$.vector.centroid') WHEN 0 THEN ', no centroid' ELSE '' END
        || coalesce(', pca ' || nullif(json_extract(settings, '$.vector.pca'), '[]'), '')
        || coalesce(', adapter ' || substr(json_extract(settings, '$.vector.adapter.sha256'), 1, 8), '')
        || ', prompt ' || json_extract(settings, '$.tree.prompt')
        || ', exponent ' || json_extract(settings, '$.tokens.exponent')) VIRTUAL,
    UNIQUE (comparison_id, settings)
);

CREATE TABLE fits (                     -- how well what a setting shows of a feature fits the feature's examples
    id INTEGER PRIMARY KEY,
    compared_id INTEGER NOT NULL REFERENCES compared (id),
    feature INTEGER NOT NULL,
    measure TEXT NOT NULL,              -- list, tree, agreement, readout, divergence
    texts_of INTEGER NOT NULL,          -- the feature whose examples it rests on; another one is a control
    value REAL,                         -- NULL where it could not be measured, which is not 0
    reason TEXT,                        -- why not
    low REAL,                           -- interval
    high REAL,
    n INTEGER NOT NULL,                 -- tokens or examples it rests on
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

CREATE TABLE classes (                  -- of features, as `interpret taxonomy` sorted them; the latest one counts
    id INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id),  -- whose figures it rests on
    fingerprint TEXT NOT NULL,          -- of the subject, as in runs.subject
    feature INTEGER NOT NULL,
    kind TEXT NOT NULL,                 -- by where it is active: dead, positional, single token, concept, other, unknown
    captured TEXT,                      -- by which probe: both, list only, tree only, neither; NULL where unmeasured
    created TEXT NOT NULL,
    UNIQUE (comparison_id, feature)
);
CREATE INDEX classes_feature ON classes (fingerprint, feature);

CREATE TABLE calibrations (             -- how likely an explainer's labels are right, told from what is known of them
    id INTEGER PRIMARY KEY,
    explainer TEXT NOT NULL,            -- whose labels, as in runs.explainer
    fitted_on TEXT NOT NULL,            -- which labels, and by what they are right, in words
    fingerprints TEXT NOT NULL,         -- JSON: of the subjects whose labels these are, as in runs.subject
    map TEXT NOT NULL,                  -- JSON: columns with their weights, or the steps of one column
    n INTEGER NOT NULL,                 -- labels that it was fitted on
    n_right INTEGER NOT NULL,
    figures TEXT NOT NULL,              -- JSON: what it is worth, out of fold, beside the stated confidence
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (explainer || ', ' || n || ' labels, ' || substr(created, 1, 10)) VIRTUAL,
    UNIQUE (explainer, created)
);

CREATE TABLE probabilities (            -- that a label is right, by the calibration that was made for it last
    id INTEGER PRIMARY KEY,
    label_id INTEGER NOT NULL UNIQUE REFERENCES labels (id),
    calibration_id INTEGER NOT NULL REFERENCES calibrations (id),
    probability REAL NOT NULL
);
CREATE INDEX probabilities_value ON probabilities (probability, label_id);
CREATE INDEX probabilities_calibration ON probabilities (calibration_id);

CREATE VIRTUAL TABLE labels_fts USING fts5 (label, explanation, reason, tokenize = 'porter', content = 'labels');
CREATE TRIGGER labels_ai AFTER INSERT ON labels BEGIN
    INSERT INTO labels_fts (rowid, label, explanation, reason) VALUES (new.id, new.label, new.explanation, new.reason);
END;
CREATE TRIGGER labels_ad AFTER DELETE ON labels BEGIN
    INSERT INTO labels_fts (labels_fts, rowid, label, explanation, reason)
        VALUES ('delete', old.id, old.label, old.explanation, old.reason);
END;
CREATE TRIGGER labels_au AFTER UPDATE ON labels BEGIN
    INSERT INTO labels_fts (labels_fts, rowid, label, explanation, reason)
        VALUES ('delete', old.id, old.label, old.explanation, old.reason);
    INSERT INTO labels_fts (rowid, label, explanation, reason) VALUES (new.id, new.label, new.explanation, new.reason);
END;

CREATE VIRTUAL TABLE reviews_fts USING fts5 (label, note, tokenize = 'porter', content = 'reviews');
CREATE TRIGGER reviews_ai AFTER INSERT ON reviews BEGIN
    INSERT INTO reviews_fts (rowid, label, note) VALUES (new.id, new.label, new.note);
END;
CREATE TRIGGER reviews_ad AFTER DELETE ON reviews BEGIN
    INSERT INTO reviews_fts (reviews_fts, rowid, label, note) VALUES ('delete', old.id, old.label, old.note);
END;
CREATE TRIGGER reviews_au AFTER UPDATE ON reviews BEGIN
    INSERT INTO reviews_fts (reviews_fts, rowid, label, note) VALUES ('delete', old.id, old.label, old.note);
    INSERT INTO reviews_fts (rowid, label, note) VALUES (new.id, new.label, new.note);
END;

CREATE VIEW standing_reviews AS         -- those that were not taken back
    SELECT * FROM reviews WHERE undoes IS NULL
    AND NOT EXISTS (SELECT 1 FROM reviews AS later WHERE later.undoes = reviews.id AND later.undoes IS NOT NULL);
CREATE VIEW labels_reviewed AS          -- each label with the latest verdict on it, whoever gave it
    SELECT labels.id, run_id, feature, status, labels.label, explanation, confidence, verdict,
        latest.label AS reviewed_label, reviewer, latest.note AS note, latest.created AS reviewed
    FROM labels LEFT JOIN (
        SELECT max(created || printf(' %020d', id)), label_id, verdict, label, reviewer, note, created
        FROM standing_reviews WHERE verdict IN ('accept', 'edit', 'reject') GROUP BY label_id
    ) AS latest ON latest.label_id = labels.id;
CREATE VIEW labels_scored AS            -- each label's score by each scorer, its controls beside it
    SELECT labels.id AS label_id, labels.run_id, feature, labels.label, confidence, ours.scoring_id, judge, ours.scorer,
        ours.metric, ours.value, ours.low, ours.high, ours.n, ours.reason, shuffled.value AS shuffled,
        tokens.value AS tokens, one_shot.value AS one_shot, ours.value - shuffled.value AS above_shuffled
    FROM scores AS ours JOIN labels ON labels.id = ours.label_id JOIN scorings ON scorings.id = ours.scoring_id
    LEFT JOIN scores AS shuffled ON (shuffled.scoring_id, shuffled.label_id, shuffled.scorer, shuffled.variant,
        shuffled.part) = (ours.scoring_id, ours.label_id, ours.scorer, 'shuffled', ours.part)
    LEFT JOIN scores AS tokens ON (tokens.scoring_id, tokens.label_id, tokens.scorer, tokens.variant, tokens.part)
        = (ours.scoring_id, ours.label_id, ours.scorer, 'tokens', ours.part)
    LEFT JOIN scores AS one_shot ON (one_shot.scoring_id, one_shot.label_id, one_shot.scorer, one_shot.variant,
        one_shot.part) = (ours.scoring_id, ours.label_id, ours.scorer, 'one_shot', ours.part)
    WHERE ours.variant = 'label' AND ours.part = 'held_out';
CREATE VIEW evidence_summed AS          -- each piece of evidence without its payload
    SELECT evidence.id AS evidence_id, run_id, feature, round, item, evidence.kind, texts.text AS settings, n_nodes,
        summary, device, created
    FROM evidence JOIN texts ON texts.id = settings_id;
CREATE VIEW calls_costed AS             -- each call without its texts
    SELECT calls.id AS call_id, calls.run_id, runs.title AS run, feature, purpose, round, attempt, provider, model,
        input_tokens, output_tokens, cost_usd, duration_ms, fault, calls.created
    FROM calls JOIN runs ON runs.id = calls.run_id;
CREATE VIEW costs_by_run AS             -- what each run has spent on what; unknown costs are left out and counted
    SELECT calls.run_id, runs.title AS run, purpose, model, count(*) AS calls, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd, sum(cost_usd IS NULL) AS of_unknown_cost,
        sum(fault IS NOT NULL) AS failed, avg(duration_ms) AS mean_duration_ms
    FROM calls JOIN runs ON runs.id = calls.run_id GROUP BY calls.run_id, purpose, model;
CREATE VIEW fits_by_setting AS          -- each setting's mean fit by each measure, and on other features' examples
    SELECT comparison_id, compared_id, compared.title AS setting, measure,
        avg(value) FILTER (WHERE feature = texts_of) AS mean,
        count(value) FILTER (WHERE feature = texts_of) AS features,
        avg(value) FILTER (WHERE feature != texts_of) AS on_others_texts
    FROM fits JOIN compared ON compared.id = fits.compared_id GROUP BY compared_id, measure;

PRAGMA application_id = 1935764583;     -- the bytes of 'salg'
PRAGMA user_version = 5;
