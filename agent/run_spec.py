"""The specification of a run: everything that makes it this run and no other, and its plan of probes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from agent.calls.questions import Questions
from agent.config import RunConfig
from agent.llm.base import Explainer
from agent.llm.none import NONE
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, hash_of
from agent.loop import TEMPLATES, Circuit, Material
from agent.maxima import CorpusMaxima
from agent.planning import Planner
from agent.schema import Outcome
from probes.ghost.base_prompt import all_resolved, offered_prompts
from probes.settings import PLAIN_PROMPTS, ProbeSettings
from probes.subject import Subject
from prompts import template_hashes

_GROUP_CHARS = 16
"""Of the hash by which the runs of one command know each other."""


class LoggedCircuit(Circuit, Protocol):
    """A graph, and what a run's settings say of it."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that tell it from other graphs."""
        ...


@dataclass(frozen=True)
class EscalationSpec:
    """A stronger explainer, for the features whose outcome is doubtful."""

    spec: "RunSpec"
    """The same run, with that explainer."""
    below: float
    """How sure a label has to be to stand."""
    is_doubtful: Callable[[RunLog, int, Outcome], bool]
    """Judges an outcome of a run, by its log and number. Raises LogError."""


@dataclass(frozen=True)
class RunSpec:
    """A run's settings, subject and explainer, and the parts of a log or a graph that it uses."""

    config: RunConfig
    subject: Subject
    explainer: Explainer
    material: Material | None = None
    """Examples that the explainer may see."""
    maxima: CorpusMaxima | None = None
    """The unit in which features are steered and tests measured."""
    circuit: LoggedCircuit | None = None
    paying: Mapping[str, int] = field(default_factory=dict)
    """Rounds that pay, by the grade of a feature's first evidence; a grade that is left out has all rounds."""
    saes: Sequence[str] = ()
    """The SAEs of the command, where there are several; each has a run of its own."""
    escalation: EscalationSpec | None = None

    @cached_property
    def identity(self) -> RunIdentity:
        """Everything that makes two runs one, and by which a run is found again."""
        config, explainer = self.config, self.explainer
        settings: dict[str, Any] = {
            "probe": self._probe.model_dump(mode="json"),
            "weights_plan": [*config.weights_plan],
            "rounds": 1 if self.asks_nobody else config.rounds,
        }
        if config.agreement:
            settings |= {"agreement": True}
        if self.tests:
            settings |= {"tests": True}
        if config.candidates > 1 and not self.asks_nobody:
            settings |= {"candidates": config.candidates}
        if config.least_gain is not None and not self.asks_nobody:
            settings |= {"least_gain": config.least_gain, "paying": dict(self.paying)}
        if explainer.forms:
            settings |= {"answer_tokens": config.answer_tokens, "effort": config.effort}
            settings |= {"prompts": [*self._offered]}
        if self.escalation is not None:
            second = self.escalation.spec
            asked = {"explainer": second.explainer_name, "settings": second.identity.settings}
            settings |= {"escalation": {"below": self.escalation.below, **asked}}
        if self.saes:
            common = {"saes": [*self.saes], "explainer": self.explainer_name, "settings": settings}
            settings |= {"group": hash_of(common)[:_GROUP_CHARS]}
        if self.maxima is not None:
            settings |= {"maxima_corpus": self.maxima.corpus}
        if self.material is not None:
            settings |= {"corpus": self.material.corpus, "feedback": config.feedback, "seed": config.seed}
        if self.circuit is not None:
            settings |= {"graph": self.circuit.settings}
        more = (*(("detection", "judge") if config.feedback else ()), *(("graph",) if self.circuit else ()))
        return RunIdentity(
            kind="probe" if self.asks_nobody else "label",
            subject=self.subject.card,
            settings=settings,
            explainer=self.explainer_name,
            templates={} if self.asks_nobody else template_hashes([*TEMPLATES, *more]),
        )

    @property
    def explainer_name(self) -> str:
        """Returns the name by which the run's labels are known: of a cascade both, since neither made them alone."""
        first = explainer_name(self.explainer)
        return first if self.escalation is None else f"{first}, then {self.escalation.spec.explainer_name}"

    @cached_property
    def planner(self) -> Planner:
        """The planner of the run's probes."""
        return Planner(
            self._probe,
            self.config.weights_plan,
            self.subject.card.default_scale,
            self.maxima,
            self.config.agreement,
            self._offered,
            self.tests,
            self.config.candidates,
        )

    @property
    def asks_nobody(self) -> bool:
        """Tells whether the run only probes."""
        return self.explainer.provider == NONE

    @property
    def tests(self) -> bool:
        """Tells whether the explainer may experiment: a language model, unless told otherwise; rules if told so."""
        if self.asks_nobody:
            return False
        return bool(self.explainer.forms) if self.config.tests is None else self.config.tests

    @property
    def _probe(self) -> ProbeSettings:
        return all_resolved(self.subject, self.config.probe)

    @property
    def _offered(self) -> Sequence[str]:
        """The base prompts that may be asked for; rules ask for none, so for them nothing is measured."""
        return offered_prompts(self.subject) if self.explainer.forms else PLAIN_PROMPTS


def explainer_name(explainer: Explainer) -> str:
    """`PROVIDER:MODEL`, and where it is if that is not the provider's own address; nobody has no model."""
    name = f"{explainer.provider}:{explainer.model}" if explainer.model else explainer.provider
    return f"{name} at {explainer.address}" if explainer.address else name


def questions_to(explainer: Explainer, config: RunConfig) -> Questions | None:
    """Returns the rule by which two questions to the explainer are one; None for rules, whose answers cost nothing."""
    if not explainer.forms:
        return None
    settings = {"answer_tokens": config.answer_tokens, "effort": config.effort, "seed": config.seed}
    return Questions.to(explainer, config.cache, **settings)
