"""`interpret compare --llm ...`: each setting's own run, its labels scored, and the scores compared feature by feature.

A setting's run is the one that `interpret` itself makes: nothing in the log is asked again. Each setting of each
subject has an equal share of the budget.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from agent.cli.commands.base_prompt import all_named
from agent.cli.commands.compare_runs import found_between, show_found
from agent.cli.commands.estimate import check_budget, estimate
from agent.cli.commands.exit_status import exit_status
from agent.cli.commands.run import RunScreen
from agent.cli.commands.run_texts import RunTexts, run_texts
from agent.cli.commands.score import score_labels
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.llm import make_explainer
from agent.llm.base import Explainer
from agent.log.calls import spent_by
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run, features_done
from agent.run import run_features
from agent.run_spec import RunSpec, explainer_name
from eval.compare.grid import Grid, names_of
from probes.errors import SettingsError
from probes.features import parse_features
from probes.settings import ProbeSettings
from probes.subject import Subject


@dataclass(frozen=True)
class Work:
    """One grid on one subject; the first setting is the baseline."""

    config: RunConfig
    subject: Subject
    features: Sequence[int]
    names: dict[ProbeSettings, str]
    n_subjects: int
    """Subjects of the command, which share its budget."""

    @property
    def n_shares(self) -> int:
        """Returns the number of equal parts of the budget."""
        return self.n_subjects * len(self.names)

    def config_of(self, setting: ProbeSettings) -> RunConfig:
        """Returns the config by which `interpret` would label under that setting alone, for its share of the budget."""
        usd, tokens, n = self.config.budget_usd, self.config.budget_tokens, self.n_shares
        update = {
            "probe": setting,
            "weights_plan": (setting.vector.weights,),
            "recommended": False,
            "least_gain": None,  # which a settings file may give: the first setting would make history for the others
            "evidence": self.config.evidence or "weights",  # texts that all settings share would hide what is compared
            "budget_usd": None if usd is None else usd / n,
            "budget_tokens": None if tokens is None else tokens // n,
        }
        return self.config.model_copy(update=update)


def compare_labels(config: RunConfig, subject: Subject, spec: str, grid: Grid, dry: bool, n_subjects: int) -> int:
    """Labels, scores and compares; returns the exit status, 1 if a budget ended it. Raises InterpretError.

    `dry` stops after the estimates.
    """
    screen = console()
    features = parse_features(spec, subject.card.n_features, config.seed)
    names = names_of(all_named(screen, subject, grid.settings(config.probe, subject.card.default_scale)))
    if len(names) < 2:
        raise SettingsError("One setting alone has no labels to compare with; name another with --weights or --scale.")
    work = Work(config, subject, features, names, n_subjects)
    with RunLog.open(config.log, read_only=dry) as log:
        screen.print()
        screen.print(facts(_opening(log, work)))
        if dry:
            return 0
        made = {setting: _labelled(screen, log, work, setting) for setting in names}
    status = max(status for _, status in made.values())
    for setting, (run_id, _) in made.items():
        screen.print(Text(f"\nLabels of {names[setting]}", style="bold"))
        status |= score_labels(_for_scoring(work, setting, run_id), run_id, spec, subject=subject).status
    _compare(screen, work, {setting: run_id for setting, (run_id, _) in made.items()})
    return status


def _opening(log: RunLog, work: Work) -> Iterator[tuple[str, str]]:
    explainer = _explainer(work.config)
    check_budget(work.config, explainer)
    texts = {setting: _texts(log, work, setting, explainer) for setting in work.names}
    todo = sum(
        len({*work.features} - log.read(features_done, _spec(work, s, explainer, texts[s]).identity))
        for s in work.names
    )
    yield "explainer", explainer_name(explainer)
    yield "labels", f"{len(work.names):,} runs, one for each setting, of {len(work.features):,} features"
    if not explainer.forms:
        yield "expected", f"{todo:,} labels to make, by rules, at no cost"
        return
    first = next(iter(work.names))
    spec = _spec(work, first, explainer, texts[first])
    expected = estimate(work.config, explainer, spec.planner, todo, spec.material is not None)
    yield "expected", f"{todo:,} labels to make: {expected}; what scorers ask comes on top"
    if work.config.budget_usd is not None or work.config.budget_tokens is not None:
        yield "budget", f"a share of 1/{work.n_shares} for labels and scores of each setting"


def _explainer(config: RunConfig) -> Explainer:
    explainer = make_explainer(
        config.llm, config.base_url or "", config.answer_tokens, config.effort, config.timeout, config.batch
    )
    explainer.check()
    return explainer


def _texts(log: RunLog, work: Work, setting: ProbeSettings, explainer: Explainer) -> RunTexts:
    return run_texts(RunSpec(work.config_of(setting), work.subject, explainer), log, work.features, new=False)


def _spec(work: Work, setting: ProbeSettings, explainer: Explainer, texts: RunTexts) -> RunSpec:
    return RunSpec(work.config_of(setting), work.subject, explainer, texts.material, texts.maxima)


def _labelled(screen: Console, log: RunLog, work: Work, setting: ProbeSettings) -> tuple[int, int]:
    """Starts or resumes the run with a setting's labels; returns it with its exit status."""
    screen.print(Text(f"\n{work.names[setting]}", style="bold"))
    with RunScreen(screen, work.features) as observer:
        explainer = _explainer(work.config)
        spec = _spec(work, setting, explainer, _texts(log, work, setting, explainer))
        report = asyncio.run(run_features(spec, log, work.features, new=False, observer=observer))
    return report.run_id, exit_status(screen, report.stopped)


def _for_scoring(work: Work, setting: ProbeSettings, run_id: int) -> RunConfig:
    """Returns the config for scoring, with what is left of the setting's share of the budget."""
    config = work.config_of(setting)
    with RunLog.open(config.log, read_only=True) as log:
        spent = log.read(spent_by, run_id)
    usd, tokens = config.budget_usd, config.budget_tokens
    update = {
        "budget_usd": None if usd is None else max(usd - spent.most_usd, 0.0),
        "budget_tokens": None if tokens is None else max(tokens - spent.most_tokens, 0),
    }
    return config.model_copy(update=update)


def _compare(screen: Console, work: Work, runs: Mapping[ProbeSettings, int]) -> None:
    """Compares every setting's run with the first setting's."""
    (baseline, first_id), *others = runs.items()
    with RunLog.open(work.config.log, read_only=True) as log:
        first = log.read(chosen_run, first_id)
        for setting, run_id in others:
            other = log.read(chosen_run, run_id)
            screen.print(Text(f"\nLabels of {work.names[setting]} against {work.names[baseline]}", style="bold"))
            show_found(found_between(log, first, other, work.config.score.scorers, work.config.seed), first, other)
