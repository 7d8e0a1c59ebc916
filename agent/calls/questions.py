"""When two questions are one: the same words to the same model under the same settings, whoever asks."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache

from agent.llm.base import Explainer, Request
from probes.settings import Value


@dataclass(frozen=True)
class Questions:
    """What decides answers besides the words of a question, and whether the log may give them."""

    settings: str
    """JSON. Another seed is another draw."""
    from_log: bool = True

    @classmethod
    def to(cls, explainer: Explainer, from_log: bool, **settings: object) -> "Questions":
        """Those that this explainer is asked under these settings."""
        who = (explainer.provider, explainer.model, explainer.address)
        return cls(json.dumps([*who, settings], sort_keys=True), from_log)

    def key(self, request: Request) -> str:
        """sha256 of all that decides the answer."""
        parts = [self.settings, _schema(request.schema), request.system, request.prompt]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _schema(schema: type[Value]) -> str:
    return json.dumps(schema.model_json_schema(), sort_keys=True)
