"""`interpret export`: a run of the log as a file. Loads no subject and asks nothing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from agent.cli.commands.read_log import read_log
from agent.errors import LogError
from agent.export import FORMS, form_of
from agent.export.base import ExportedRun, ExportedScore, Neuronpedia, Record
from agent.groups import RunGroup, group_of, layer_of
from agent.log.calibrations import probabilities_of
from agent.log.comparisons import ClassRow, classes_of
from agent.log.evidence import evidence_rounds
from agent.log.examples import corpora_of, examples_of
from agent.log.labels import LabelRow, labels_of
from agent.log.reviews import reviews_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from agent.log.scores import ScoringRow, scores_of, scorings_of
from agent.schema import Status
from eval.errors import ExportError
from probes.evidence import Evidence
from probes.examples import FeatureExamples
from probes.features import parse_addresses


@dataclass(frozen=True)
class ExportRequest:
    """The run to export, and the form."""

    status: Status | None = None
    features: str | None = None
    reviewed: bool = False
    source: str | None = None
    """MODEL/SOURCE at Neuronpedia, with {layer} for several layers; this and the next two are for that form alone."""
    method_name: str | None = None
    model_name: str | None = None


def export_run(log_path: Path, run_id: int | None, path: Path, form: str | None, wanted: ExportRequest) -> None:
    """Writes the labels of the run, or of the latest one, to `path`. Raises InterpretError."""
    form = form_of(path, form)
    if form != "neuronpedia":
        _check_plain(form, wanted)
    with read_log(log_path) as log:
        found = to_export(log, log_path, run_id, wanted, form == "neuronpedia")
        FORMS[form](replace(found, reviewed=wanted.reviewed), path)
        group, n_labels = found.group, len(found.records)
    features = "1 feature" if n_labels == 1 else f"{n_labels:,} features"
    click.echo(f"Wrote {features} of {group.words.lower()} to {path}.")


def to_export(
    log: RunLog, log_path: Path, run_id: int | None, wanted: ExportRequest, for_neuronpedia: bool
) -> ExportedRun:
    """Returns what is asked for of the run, or of the latest one, while the log is open. Raises InterpretError."""
    group = group_of(log.read(chosen_run, run_id), log.read(all_runs))
    chosen = _features(wanted.features, group)
    labels = {
        run.run_id: log.read(
            labels_of, run.run_id, status=wanted.status, features=chosen and chosen.get(layer_of(run), [])
        )
        for run in group.runs
    }
    if not any(labels.values()):
        some = group.runs[0].run_id
        raise LogError(f"{group.words} of {log_path}: no label of that kind; interpret log {some} lists all.")
    about = {run.run_id: _neuronpedia(run, wanted) for run in group.runs} if for_neuronpedia else None
    return replace(exported(log, group, labels), neuronpedia=about)


def exported(log: RunLog, group: RunGroup, labels: Mapping[int, Sequence[LabelRow]]) -> ExportedRun:
    """Returns these labels, by run, with access to their evidence, while the log is open."""
    scorings = {run.run_id: log.read(scorings_of, run.run_id) for run in group.runs}
    texts = {run.run_id: _Texts(log, run, scorings[run.run_id]) for run in group.runs}
    records = [
        _Records(
            log,
            run,
            labels[run.run_id],
            scorings[run.run_id],
            log.read(classes_of, run.subject["fingerprint"]),
            log.read(probabilities_of, run.run_id),
        )
        for run in group.runs
    ]
    return ExportedRun(
        group=group,
        records=_AllRecords(records),
        evidence=lambda record: _evidence(log, record.run, record.label.feature),
        collected=lambda record: texts[record.run.run_id](record.label.feature),
        calibrated=any(one.probabilities for one in records),
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


@dataclass(frozen=True)
class _AllRecords:
    """The features of several runs, one run after the other."""

    parts: Sequence[_Records]

    def __iter__(self) -> Iterator[Record]:
        for part in self.parts:
            yield from part

    def __len__(self) -> int:
        return sum(len(part.labels) for part in self.parts)


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


def _features(spec: str | None, group: RunGroup) -> Mapping[int, Collection[int]] | None:
    """Returns the features asked for, by layer."""
    if spec is None:
        return None
    return parse_addresses(spec, {layer_of(run): int(run.subject["n_features"]) for run in group.runs})


def _check_plain(form: str, wanted: ExportRequest) -> None:
    for name in ("source", "method_name", "model_name"):
        if getattr(wanted, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option} is for --format neuronpedia, and {form} has no place for it; leave it out."
            )


def _neuronpedia(run: RunSummary, wanted: ExportRequest) -> Neuronpedia:
    page = run.subject.get("neuronpedia") or ""
    named = wanted.source and wanted.source.replace("{layer}", str(layer_of(run)))
    model, _, source = (named or "/".join(page.split("/")[-2:])).partition("/")
    if not model or not source:
        subject = run.subject["name"]
        raise ExportError(f"{subject} has no known place at Neuronpedia; name it with --source MODEL/SOURCE.")
    if not wanted.method_name or not wanted.model_name:
        raise ExportError(
            "Neuronpedia takes explanations of methods and models that it knows; name both with --method-name and "
            "--model-name."
        )
    return Neuronpedia(model, source, wanted.method_name, wanted.model_name)
