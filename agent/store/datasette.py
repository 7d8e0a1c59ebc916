"""Makes a log read well in Datasette as it stands, or in any other browser of SQLite: titles and views.

Datasette shows a reference by the column `title` of the row that is referred to. The titles are computed, not stored.
As of every migration, what has been released is never changed.
"""

TITLES_AND_VIEWS = """
ALTER TABLE runs ADD COLUMN title TEXT GENERATED ALWAYS AS
    (subject_name || ', ' || explainer || ', ' || substr(created, 1, 10)) VIRTUAL;
ALTER TABLE texts ADD COLUMN title TEXT GENERATED ALWAYS AS (substr(text, 1, 60)) VIRTUAL;
ALTER TABLE labels ADD COLUMN title TEXT GENERATED ALWAYS AS
    (feature || ': ' || CASE status WHEN 'labelled' THEN label ELSE '(' || status || ')' END) VIRTUAL;
ALTER TABLE corpora ADD COLUMN title TEXT GENERATED ALWAYS AS
    (source || ', ' || subject_name || ', ' || substr(created, 1, 10)) VIRTUAL;
ALTER TABLE scorings ADD COLUMN title TEXT GENERATED ALWAYS AS (judge || ', ' || substr(created, 1, 10)) VIRTUAL;
ALTER TABLE comparisons ADD COLUMN title TEXT GENERATED ALWAYS AS
    ('of run ' || run_id || ', ' || substr(created, 1, 10)) VIRTUAL;
ALTER TABLE compared ADD COLUMN title TEXT GENERATED ALWAYS AS
    (json_extract(settings, '$.vector.weights')
    || coalesce(', scale ' || CASE json_type(settings, '$.vector.scale') WHEN 'text'
        THEN json_extract(settings, '$.vector.scale') ELSE round(json_extract(settings, '$.vector.scale'), 3) END, '')
    || CASE json_extract(settings, '$.vector.centroid') WHEN 0 THEN ', no centroid' WHEN 'auto' THEN ', centroid auto'
        ELSE '' END
    || coalesce(', pca ' || nullif(json_extract(settings, '$.vector.pca'), '[]'), '')
    || coalesce(', adapter ' || substr(json_extract(settings, '$.vector.adapter.sha256'), 1, 8), '')
    || ', prompt ' || json_extract(settings, '$.tree.prompt')
    || ', exponent ' || json_extract(settings, '$.tokens.exponent')) VIRTUAL;

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

CREATE VIEW calls_costed AS             -- each call without its texts
    SELECT calls.id AS call_id, calls.run_id, runs.title AS run, feature, purpose, round, attempt, provider, model,
        input_tokens, output_tokens, cost_usd, duration_ms, fault, calls.created
    FROM calls JOIN runs ON runs.id = calls.run_id;
CREATE VIEW costs_by_run AS             -- what each run has spent on what; unknown costs are left out and counted
    SELECT calls.run_id, runs.title AS run, purpose, model, count(*) AS calls, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd, sum(cost_usd IS NULL) AS of_unknown_cost,
        sum(fault IS NOT NULL) AS failed, avg(duration_ms) AS mean_duration_ms
    FROM calls JOIN runs ON runs.id = calls.run_id GROUP BY calls.run_id, purpose, model;

CREATE VIEW fits_by_setting AS          -- each setting's mean fit by each measure, and on other features' texts
    SELECT comparison_id, compared_id, compared.title AS setting, measure,
        avg(value) FILTER (WHERE feature = texts_of) AS mean,
        count(value) FILTER (WHERE feature = texts_of) AS features,
        avg(value) FILTER (WHERE feature != texts_of) AS on_others_texts
    FROM fits JOIN compared ON compared.id = fits.compared_id GROUP BY compared_id, measure;
"""
