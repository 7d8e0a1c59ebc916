"""The table of explainers. Importing it needs no SDK: each loader imports its own module when it is called."""

from collections.abc import Callable

from agent.errors import ExplainerError
from agent.llm.base import Explainer


def _offline(model: str) -> Explainer:
    from agent.llm.offline import MODEL, Offline

    if model not in ("", MODEL):
        raise ExplainerError(f"The offline explainer has no model {model!r}; write `offline` alone.")
    return Offline()


EXPLAINERS: dict[str, Callable[[str], Explainer]] = {"offline": _offline}
"""Loaders by provider; each takes the model's name, empty for the provider's default."""

_COMING = ("anthropic", "openai")


def make_explainer(llm: str) -> Explainer:
    """The explainer that `PROVIDER` or `PROVIDER:MODEL` names. Raises ExplainerError for one there is not."""
    provider, _, model = llm.partition(":")
    if provider in EXPLAINERS:
        return EXPLAINERS[provider](model)
    here = ", ".join(EXPLAINERS)
    if provider in _COMING:
        raise ExplainerError(f"Hosted explainers such as {provider} are not in this version; choose among: {here}.")
    raise ExplainerError(f"Explainer {llm!r} is unknown; choose among: {here}.")
