"""The table of explainers. Importing it needs no SDK: each loader imports its own module when it is called."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import ExplainerError
from agent.llm.base import Explainer


@dataclass(frozen=True)
class LLMSettings:
    """Settings for reaching and asking an explainer; an empty or None field means the provider's own default."""

    model: str = ""
    base_url: str = ""
    answer_tokens: int = 4096
    """Maximum tokens of one answer, thinking included."""
    effort: str | None = None
    """Reasoning effort, in the provider's own word."""
    timeout_s: float | None = None
    """Timeout of the first attempt; None chooses one by the server's address."""
    batch: bool = False
    """True to ask in the provider's batches."""


def _offline(settings: LLMSettings) -> Explainer:
    from agent.llm.offline import MODEL, Offline

    if settings.model not in ("", MODEL):
        raise ExplainerError(f"The offline explainer has no model {settings.model!r}; write `offline` alone.")
    if settings.base_url:
        raise ExplainerError("The offline explainer has no server, so that a base URL does not go with it.")
    if settings.batch:
        raise ExplainerError("The offline explainer has no batches; name another with --llm, or leave --batch out.")
    return Offline()


def _anthropic(settings: LLMSettings) -> Explainer:
    from agent.llm.anthropic import Anthropic

    return Anthropic(**vars(settings)).resolved()


def _openai(settings: LLMSettings) -> Explainer:
    from agent.llm.openai import OpenAI

    return OpenAI(**vars(settings)).resolved()


def _none(settings: LLMSettings) -> Explainer:
    from agent.llm.none import NONE, NoExplainer

    if settings.model or settings.base_url:
        raise ExplainerError(f"--llm {NONE} uses no explainer, so it takes neither a model nor a base URL.")
    return NoExplainer()


EXPLAINERS: dict[str, Callable[[LLMSettings], Explainer]] = {
    "offline": _offline,
    "anthropic": _anthropic,
    "openai": _openai,
    "none": _none,
}
"""Loaders by provider."""


def make_explainer(
    llm: str,
    base_url: str = "",
    answer_tokens: int = 4096,
    effort: str | None = None,
    timeout_s: float | None = None,
    batch: bool = False,
) -> Explainer:
    """Makes the explainer that `PROVIDER` or `PROVIDER:MODEL` names.

    Asks a server for its models if `base_url` is given and no model. Raises ExplainerError for one that does not
    exist or cannot be used with these settings.
    """
    provider, _, model = llm.partition(":")
    load = EXPLAINERS.get(provider)
    if load is None:
        like = difflib.get_close_matches(provider, EXPLAINERS, n=1)
        hint = f"did you mean {like[0]}? There are" if like else "there are"
        raise ExplainerError(f"Explainer {llm!r} is unknown; {hint}: {', '.join(EXPLAINERS)}.")
    return load(LLMSettings(model, base_url, answer_tokens, effort, timeout_s, batch))
