"""`--escalate`: a stronger explainer for the features that the first one leaves doubtful, and the words about it."""

from collections.abc import Iterator
from dataclasses import replace

from agent.cli.commands.estimate import check_budget, estimate
from agent.llm import make_explainer
from agent.log.run_log import RunLog
from agent.run_spec import EscalationSpec, RunSpec, explainer_name
from eval.calibration.doubt import Doubt
from probes.errors import SettingsError


def escalated(spec: RunSpec, log: RunLog | None) -> RunSpec:
    """Returns the run with its stronger explainer, where it asks for one. Raises SettingsError and ExplainerError.

    That one is at its provider's own address: `--base-url` is the first one's.
    """
    config = spec.config
    if config.escalate is None:
        return spec
    stronger = make_explainer(config.escalate, "", config.answer_tokens, config.effort, config.timeout)
    if (stronger.provider, stronger.model) == (spec.explainer.provider, spec.explainer.model):
        raise SettingsError(
            f"--escalate {config.escalate} is the explainer that is asked first; name a stronger one, or leave it out."
        )
    stronger.check()
    check_budget(config, stronger)
    second = replace(spec, explainer=stronger)
    return replace(spec, escalation=EscalationSpec(second, config.escalate_below, _doubt(spec, log)))


def escalation_lines(spec: RunSpec, log: RunLog | None, n_features: int) -> Iterator[tuple[str, str]]:
    """Yields which features are escalated, to whom, and the most that it can take."""
    if spec.escalation is None:
        return
    second = spec.escalation.spec
    yield (
        "escalation",
        f"to {second.explainer_name} where there is no label, or one less sure than {spec.escalation.below:g} by "
        f"{_doubt(spec, log).words}",
    )
    if second.explainer.forms:
        words = estimate(second.config, second.explainer, second.planner, n_features, second.material is not None)
        yield "at most", f"{words}, were every feature escalated"


def _doubt(spec: RunSpec, log: RunLog | None) -> Doubt:
    name, fingerprint = explainer_name(spec.explainer), spec.subject.card.fingerprint
    return Doubt.of(log, name, fingerprint, spec.config.escalate_below)
