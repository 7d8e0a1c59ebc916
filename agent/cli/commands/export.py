"""`interpret export`: a run of the log as a file. Loads no subject and asks nothing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from agent.cli.commands.read_log import read_log
from agent.errors import LogError
from agent.export import FORMS, form_of
from agent.export.base import ExportedRun, ExportedScore, Neuronpedia, Record
from agent.log.calibrations import probabilities_of
from agent.log.comparisons import ClassRow, classes_of
from agent.log.evidence import evidence_rounds
from agent.log.examples import corpora_of, examples_of
from agent.log.labels import LabelRow, labels_of
from agent.log.reviews import reviews_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, chosen_run
from agent.log.scores import ScoringRow, scores_of, scorings_of
from agent.schema import Status
from eval.errors import ExportError
from probes.evidence import Evidence
from probes.examples import FeatureExamples
from probes.features import parse_features


@dataclass(frozen=True)
class ExportRequest:
    """The run to export, and the form."""

    status: Status | None = None
    features: str | None = None
    reviewed: bool = False
    source: str | None = None
    """MODEL/SOURCE at Neuronpedia; this and the next two are for that form alone."""
    method_name: str | None = None
    model_name: str | None = None


def export_run(log_path: Path, run_id: int | None, path: Path, form: str | None, wanted: ExportRequest) -> None:
    """Writes the labels of the run, or of the latest one, to `path`. Raises InterpretError."""
    form = form_of(path, form)
    if form != "neuronpedia":
        _check_plain(form, wanted)
    with read_log(log_path) as log:
        run = log.read(chosen_run, run_id)
        labels = log.read(labels_of, run.run_id, status=wanted.status, features=_features(wanted.features, run))
        if not labels:
            where = f"Run {run.run_id} of {log_path}"
            raise LogError(f"{where} has no label of that kind; interpret log {run.run_id} lists what it has.")
        about = _neuronpedia(run, wanted) if form == "neuronpedia" else None
        FORMS[form](replace(exported(log, run, labels), reviewed=wanted.reviewed, neuronpedia=about), path)
    features = "1 feature" if len(labels) == 1 else f"{len(labels):,} features"
    click.echo(f"Wrote {features} of run {run.run_id} to {path}.")


def exported(log: RunLog, run: RunSummary, labels: Sequence[LabelRow]) -> ExportedRun:
    """Returns these labels of a run with access to their evidence, while the log is open."""
    scorings, classes = log.read(scorings_of, run.run_id), log.read(classes_of, run.subject["fingerprint"])
    right = log.read(probabilities_of, run.run_id)
    return ExportedRun(
        run=run,
        records=_Records(log, run, labels, scorings, classes, right),
        evidence=lambda feature: _evidence(log, run, feature),
        collected=_Texts(log, run, scorings),
        calibrated=bool(right),
    )


@dataclass(frozen=True)
class _Records:
    """A run's features; their reviews and scores are read one by one."""

    log: RunLog
    run: RunSummary
    labels: Sequence[LabelRow]
    scorings: Sequence[ScoringRow]
    classes: Mapping[int, ClassRow]
    probabilities: Mapping[int, float]

    def __iter__(self) -> Iterator[Record]:
        for label in self.labels:
            scores = [
                ExportedScore(scoring, replace(score, items=()))
                for scoring in self.scorings
                for score in self.log.read(scores_of, scoring.scoring_id, label.label_id)
            ]
            reviews = self.log.read(reviews_of, [label.label_id])
            probability = self.probabilities.get(label.label_id)
            yield Record(self.run, label, reviews, scores, self.classes.get(label.feature), probability)


class _Texts:
    """Activating examples: of the corpus that the run was scored on last, else of the subject's latest."""

    def __init__(self, log: RunLog, run: RunSummary, scorings: Sequence[ScoringRow]) -> None:
        latest = [corpus.corpus_id for corpus in log.read(corpora_of, run.subject["fingerprint"])]
        self._log = log
        self._corpora = [*dict.fromkeys([*(scoring.corpus_id for scoring in scorings if scoring.corpus_id), *latest])]

    def __call__(self, feature: int) -> FeatureExamples | None:
        found = (self._log.read(examples_of, corpus_id, feature, kinds=["activating"]) for corpus_id in self._corpora)
        return next((collected for collected in found if collected is not None), None)


def _evidence(log: RunLog, run: RunSummary, feature: int) -> list[Evidence]:
    rounds = log.read(evidence_rounds, run.run_id, feature)
    return [item for evidence in rounds.values() for item in evidence]


def _features(spec: str | None, run: RunSummary) -> Collection[int] | None:
    return None if spec is None else parse_features(spec, int(run.subject["n_features"]))


def _check_plain(form: str, wanted: ExportRequest) -> None:
    for name in ("source", "method_name", "model_name"):
        if getattr(wanted, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option} is for --format neuronpedia, and {form} has no place for it; leave it out."
            )


def _neuronpedia(run: RunSummary, wanted: ExportRequest) -> Neuronpedia:
    page = run.subject.get("neuronpedia") or ""
    model, _, source = (wanted.source or "/".join(page.split("/")[-2:])).partition("/")
    if not model or not source:
        subject = run.subject["name"]
        raise ExportError(f"{subject} has no known place at Neuronpedia; name it with --source MODEL/SOURCE.")
    if not wanted.method_name or not wanted.model_name:
        raise ExportError(
            "Neuronpedia takes explanations of methods and models that it knows; name both with --method-name and "
            "--model-name."
        )
    return Neuronpedia(model, source, wanted.method_name, wanted.model_name)
