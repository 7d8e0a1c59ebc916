"""Known models: the default of each provider, and those that the installed SDKs name. Uses no network."""

import difflib
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

DEFAULTS: dict[str, str] = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}
"""Cheap but good models; the only place where a model is chosen."""


def known_models(provider: str) -> list[str]:
    """The models that the provider's SDK names, newest first."""
    if provider == "anthropic":
        from anthropic.types import Model

        return [*_literals(Model)]
    if provider == "openai":
        from openai.types import ChatModel

        return [*_literals(ChatModel)]
    return []


def deprecated_models(provider: str) -> frozenset[str]:
    """The models that the provider's SDK itself calls deprecated."""
    if provider == "anthropic":
        from anthropic.resources.messages.messages import DEPRECATED_MODELS

        return frozenset(DEPRECATED_MODELS)
    if provider == "openai":
        from openai.types.shared import chat_model

        # This SDK lists them in the text below its type, and nowhere else.
        listed = inspect.getsource(chat_model).partition("Deprecated values:")[2]
        return frozenset(re.findall(r'"([\w.:-]+)"', listed))
    return frozenset()


def nearest_models(provider: str, model: str) -> list[str]:
    """Up to three known models with names like `model`; the default if there are none."""
    return difflib.get_close_matches(model, known_models(provider), n=3, cutoff=0.5) or [DEFAULTS[provider]]


def _literals(kind: Any) -> Iterator[str]:
    for argument in get_args(kind):
        if isinstance(argument, str):
            yield argument
        else:
            yield from _literals(argument)
