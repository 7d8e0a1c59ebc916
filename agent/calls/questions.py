"""Identifies equal questions: the same words to the same model under the same settings, in any run."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache

from agent.llm.base import Explainer, Request
from probes.settings import Value


@dataclass(frozen=True)
class Questions:
    """Settings that decide answers besides the words of a question, and permission to reuse answers from the log."""

    settings: str
    """JSON; includes the seed, so that another seed draws another answer."""
    from_log: bool = True

    @classmethod
    def to(cls, explainer: Explainer, from_log: bool, **settings: object) -> "Questions":
        """Returns the value for this explainer under these settings."""
        who = (explainer.provider, explainer.model, explainer.address)
        return cls(json.dumps([*who, settings], sort_keys=True), from_log)

    def key(self, request: Request) -> str:
        """Returns the SHA-256 hash of everything that decides the answer."""
        parts = [self.settings, _schema(request.schema), request.system, request.prompt]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _schema(schema: type[Value]) -> str:
    return json.dumps(schema.model_json_schema(), sort_keys=True)
