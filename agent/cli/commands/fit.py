"""`interpret fit`: an adapter fitted to labels, tested on held-out labels, and written to a file with its record.

The fitting is in `probes.ghost.fitting`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from agent.cli.commands.base_prompt import all_named
from agent.cli.commands.doctor import subject_words
from agent.cli.commands.fit_labels import LabelPairs, MinScore, labelled
from agent.cli.terminal.bars import bar
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.log.rows import now
from agent.log.runs import versions
from eval.metrics import Estimate, paired_difference
from probes.errors import SettingsError
from probes.ghost.adapter import Adapter, FitRecord, FitSettings, Learn, PartRecord, check_free, write_adapter
from probes.ghost.fitting import AdapterFit, Losses, Parts, fit, split
from probes.ghost.label_loss import LabelPair
from probes.subject import Subject, load_subject


@dataclass(frozen=True)
class FitRequest:
    """The options of `interpret fit`, except subject, weights, prompt and seed."""

    labels: str
    path: Path
    least_score: str | None
    wording: str | None
    learn: Learn
    steps: int
    hold_out: float


def fit_adapter(config: RunConfig, request: FitRequest) -> None:
    """Fits an adapter, prints its losses and writes it. Raises InterpretError, early if possible."""
    screen = console()
    settings = _settings(config, request)
    check_free(request.path)
    least = MinScore.parse(request.least_score) if request.least_score else None
    subject = load_subject(config.subject)
    [probe] = all_named(screen, subject, [config.probe])
    settings = settings.model_copy(update={"prompt": probe.tree.prompt})
    found = labelled(request.labels, config, subject.card, least)
    parts = split(found.pairs, request.hold_out, settings.seed)
    screen.print(facts(_opening(subject, found, parts, settings)))
    with bar(screen, "steps", settings.steps) as advance:
        fitted = fit(subject, parts, settings, advance)
    adapter = Adapter(fitted.scale, fitted.bias, _record(subject, found, parts, settings, fitted))
    file = write_adapter(request.path, adapter)
    screen.print(facts(_outcome(subject, fitted, settings)))
    screen.print(Text(_closing(fitted, file.path, settings)))


def _settings(config: RunConfig, request: FitRequest) -> FitSettings:
    if not 0 <= request.hold_out < 1:
        raise SettingsError(f"--hold-out {request.hold_out:g} is not usable: it is a share, from 0 to below 1.")
    given = {"weights": config.probe.vector.weights} if "weights" in config.probe.vector.model_fields_set else {}
    asked = {
        **given,
        "prompt": config.probe.tree.prompt,
        "learn": request.learn,
        "steps": request.steps,
        "seed": config.seed,
    }
    return FitSettings.parse(asked | ({"wording": request.wording} if request.wording else {}))


def _record(subject: Subject, found: LabelPairs, parts: Parts, settings: FitSettings, fitted: AdapterFit) -> FitRecord:
    return FitRecord(
        subject=subject.card.name,
        fingerprint=subject.card.fingerprint,
        d_model=subject.card.d_model,
        labels=found.source,
        settings=settings,
        steps=fitted.steps,
        train=_part(parts.train, fitted.train),
        validation=_part(parts.validation, fitted.validation),
        held_out=_part(parts.held_out, fitted.held_out),
        versions=versions(),
        created=now(),
    )


def _part(pairs: Sequence[LabelPair], losses: Losses) -> PartRecord:
    return PartRecord(features=tuple(pair.feature for pair in pairs), start=tuple(losses.start), end=tuple(losses.end))


def _opening(subject: Subject, found: LabelPairs, parts: Parts, settings: FitSettings) -> Iterator[tuple[str, str]]:
    n_labels = len({pair.label for pair in found.pairs})
    yield "subject", subject_words(subject.card)
    yield "labels", f"{len(found.pairs):,} features, {n_labels:,} labels, from {found.source}"
    yield (
        "split",
        f"by label: {len(parts.train):,} features to fit on, {len(parts.validation):,} for validation, "
        f"{len(parts.held_out):,} held out",
    )
    yield "vectors", f"{settings.weights}; learned: {'scale and bias' if settings.learn == 'both' else settings.learn}"
    yield "base prompt", settings.prompt
    yield "wording", settings.wording


def _outcome(subject: Subject, fitted: AdapterFit, settings: FitSettings) -> Iterator[tuple[str, str]]:
    yield "steps", f"{fitted.steps:,} of at most {settings.steps:,}"
    moved = float((fitted.bias - subject.centroid).norm())
    yield "scale", f"{fitted.scale:.4g}, from {subject.card.default_scale:.4g}"
    yield "bias", f"{moved:.4g} away from the centroid"
    for name, losses in (("fitted on", fitted.train), ("validation", fitted.validation), ("held out", fitted.held_out)):
        if losses.start:
            yield name, _loss_words(losses, settings.seed)


def _loss_words(losses: Losses, seed: int) -> str:
    """Formats losses: `1.81 to 1.74 nats per token, -0.07 [-0.20, 0.05] over 52 features`."""
    before, after = (sum(nats) / len(nats) for nats in (losses.start, losses.end))
    change = paired_difference(losses.end, losses.start, seed)
    return f"{before:.2f} to {after:.2f} nats per token: {_estimate(change)} over {change.n} features"


def _estimate(found: Estimate) -> str:
    interval = "" if found.low is None else f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"{found.value:+.2f}{interval}"


def _closing(fitted: AdapterFit, path: str, settings: FitSettings) -> str:
    use = f"interpret tree 0 --adapter {path} --weights {settings.weights}"
    if not fitted.steps:
        return (
            "No step reduced the loss on the validation labels: the adapter is the unfitted vector, centroid and "
            f"default scale. It is in {path}."
        )
    change = paired_difference(fitted.held_out.end, fitted.held_out.start, settings.seed)
    doubt = "" if change.high is not None and change.high < 0 else f" {_DOUBT}"
    return f"The adapter is in {path}.{doubt} To use it: {use}"


_DOUBT = "But held-out labels do not show that it reads features better than centroid and default scale do."
