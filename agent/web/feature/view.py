"""The contents of one feature's page, read from the log at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from agent.evidence.digest import EvidenceLine
from agent.evidence.printable import printable
from agent.evidence.sense_words import counts_words, scope_lines
from agent.log.calibrations import Given, probability_of
from agent.log.calls import calls_of
from agent.log.evidence import evidence_rounds
from agent.log.examples import CorpusRow, corpora_of, examples_of
from agent.log.labels import LabelRow, labels_elsewhere, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import ScoreRow, ScoringRow, latest_scores
from agent.schema import SenseResult
from agent.web.feature import history, texts
from agent.web.feature.evidence import FeatureEvidence, citations, shown
from agent.web.feature.figures import Headline, HistogramBin, ScoreBlock, headline, histogram, score_blocks
from agent.web.feature.nearest import Nearest, nearest_labels
from probes.examples import Activity, Baseline, FeatureExamples, Split

SPLITS: tuple[Split, ...] = ("shown", "held_out")
_NEURONPEDIA = re.compile(r"https://(www\.)?neuronpedia\.org/[\w.~/-]+")


@dataclass(frozen=True)
class ExamplesView:
    """The examples of the feature in a corpus."""

    source: str
    activity: Activity | None
    columns: tuple[HistogramBin, ...]
    """Bins of the histogram of activations."""
    activating: list[texts.ExampleView]
    mistaken: list[texts.ExampleView]
    """Non-activating examples about which a scorer was wrong."""
    activates_on: tuple[str, ...]
    baselines: Sequence[Baseline]


@dataclass(frozen=True)
class ScoringView:
    """The label's scores, by one way of scoring."""

    judge: str
    blocks: list[ScoreBlock]
    main: Headline | None


@dataclass(frozen=True)
class SenseRow:
    """A sense of the label, with the results of its texts."""

    text: str
    words: str
    dropped: bool


@dataclass(frozen=True)
class FeaturePage:
    """A feature's page; `row` is None while it has no label, `texts` if no examples were collected."""

    run: RunSummary
    feature: int
    row: LabelRow | None
    given: Given | None
    """The calibrated probability that its label is right; None if there is none."""
    senses: list[SenseRow]
    """Senses of the label; empty if it names one thing that was not tested."""
    scopes: list[tuple[str, str]]
    """The label's scopes: where the feature activates, and what it promotes."""
    cited: list[EvidenceLine]
    leading: frozenset[str]
    """Names of the evidence that is shown unfolded: the first round's, and that which the label rests on."""
    rounds: list[history.HistoryRound]
    judged: list[history.CallLine]
    evidence: FeatureEvidence
    texts: ExamplesView | None
    scored: ScoringView | None
    nearest: Nearest
    elsewhere: list[LabelRow]
    neuronpedia: str | None
    """Address of the feature's page there."""


def feature_view(log: RunLog, run: RunSummary, feature: int, neighbours: Sequence[int]) -> FeaturePage | None:
    """Reads a feature's page; None if the run has nothing on it. `neighbours` are by a loaded subject's decoder."""
    row = next(iter(log.read(labels_of, run.run_id, features=[feature])), None)
    rounds = log.read(evidence_rounds, run.run_id, feature)
    if row is None and not rounds:
        return None
    fingerprint = str(run.subject["fingerprint"])
    calls = log.read(calls_of, run.run_id, feature)
    evidence = shown(rounds)
    scoring, scores = _scores(log, run.run_id, row)
    corpus = _corpus(log, fingerprint, feature, scoring)
    found = {} if corpus is None else _by_split(log, corpus.corpus_id, feature)
    examples = {split: side.examples for split, side in found.items()}
    rests_on = row.evidence if row else ()
    return FeaturePage(
        run=run,
        feature=feature,
        row=row,
        given=log.read(probability_of, row.label_id) if row else None,
        senses=_senses(row.senses if row else ()),
        scopes=[*scope_lines(row)] if row else [],
        cited=citations(rests_on, rounds, float(run.subject["default_scale"])),
        leading=evidence.first_round | {line.partition(".")[0] for line in rests_on},
        rounds=history.rounds_of(evidence.names, calls),
        judged=history.judging_calls(calls),
        evidence=evidence,
        texts=_texts(corpus.source, found, texts.mistakes_of(scores)) if corpus and found else None,
        scored=_scored(scoring.judge, scores) if scoring else None,
        nearest=nearest_labels(log, row, run.run_id, feature, chain(*examples.values()), neighbours),
        elsewhere=log.read(labels_elsewhere, run.run_id, fingerprint, feature),
        neuronpedia=neuronpedia_page(run.subject.get("neuronpedia"), feature),
    )


def neuronpedia_page(page: object, feature: int) -> str | None:
    """Returns the feature's address at Neuronpedia; None if the log holds an address of another site."""
    return f"{page}/{feature}" if isinstance(page, str) and _NEURONPEDIA.fullmatch(page) else None


def _senses(senses: Sequence[SenseResult]) -> list[SenseRow]:
    worth = len(senses) > 1 or any(sense.n_positive or sense.n_near_misses for sense in senses)
    return [SenseRow(printable(one.text), counts_words(one), one.dropped) for one in senses] if worth else []


def _scores(log: RunLog, run_id: int, row: LabelRow | None) -> tuple[ScoringRow | None, list[ScoreRow]]:
    """Returns the latest scoring of the label, with its scores."""
    scored = log.read(latest_scores, run_id, row.label_id) if row else None
    return scored or (None, [])


def _scored(judge: str, scores: Sequence[ScoreRow]) -> ScoringView:
    blocks = score_blocks(scores)
    return ScoringView(judge, blocks, headline(blocks))


def _corpus(log: RunLog, fingerprint: str, feature: int, scoring: ScoringRow | None) -> CorpusRow | None:
    """Returns the corpus of the scores if it has examples of the feature, else the latest that has."""
    corpora = log.read(corpora_of, fingerprint)
    corpora.sort(key=lambda corpus: scoring is None or corpus.corpus_id != scoring.corpus_id)
    return next(
        (corpus for corpus in corpora if log.read(examples_of, corpus.corpus_id, feature, "shown", []) is not None),
        None,
    )


def _by_split(log: RunLog, corpus_id: int, feature: int) -> dict[Split, FeatureExamples]:
    found = {split: log.read(examples_of, corpus_id, feature, split) for split in SPLITS}
    return {split: side for split, side in found.items() if side is not None}


def _texts(source: str, found: Mapping[Split, FeatureExamples], mistakes: texts.Mistakes) -> ExamplesView:
    examples = {split: side.examples for split, side in found.items()}
    first = next(iter(found.values()))
    return ExamplesView(
        source=printable(source),
        activity=first.activity,
        columns=histogram(first.activity) if first.activity else (),
        activating=texts.activating(examples, mistakes),
        mistaken=texts.non_activating_mistaken(examples, mistakes),
        activates_on=texts.activates_on(chain(*examples.values())),
        baselines=first.baselines,
    )
