"""Batches for Neuronpedia checked against the form of its upload, and sent there.

`POST /api/feature/upload-batch` with the key as the header `x-api-key`, one batch a request. It was never tested
against the server itself.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from agent.export.neuronpedia import MAX_CHARS, MAX_FEATURES
from eval.errors import ExportError
from probes.doors.outputs import written

KEY_VARIABLE = "NEURONPEDIA_API_KEY"
_PATH = "/api/feature/upload-batch"
_TIMEOUT_S = 120.0
_ATTEMPTS = 4
_WAIT_S = (1.0, 30.0)
_MAX_BYTES = 16 << 20
"""Of a request, more than which servers like this one mostly refuse."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class TokenForm(_Form):
    """A token with its logit."""

    token: str
    value: Finite


class ScoreForm(_Form):
    """A score of an explanation."""

    value: Finite
    explanationScoreTypeName: Name  # noqa: N815, the server's own names, here and below
    explanationScoreModelName: Name  # noqa: N815
    jsonDetails: str  # noqa: N815


class ExplanationForm(_Form):
    """An explanation with its scores."""

    text: str = Field(min_length=1, max_length=MAX_CHARS)
    methodName: Name  # noqa: N815
    modelName: Name  # noqa: N815
    scores: list[ScoreForm]


class ActivationForm(_Form):
    """An activating example."""

    tokens: list[str] = Field(min_length=1)
    values: list[Finite]
    quantileMin: Finite | None = None  # noqa: N815
    quantileMax: Finite | None = None  # noqa: N815
    quantileFraction: Finite | None = None  # noqa: N815

    @model_validator(mode="after")
    def _each_token_has_a_value(self) -> Self:
        if len(self.tokens) != len(self.values):
            raise ValueError(f"{len(self.tokens)} tokens and {len(self.values)} values")
        return self


class FeatureForm(_Form):
    """A feature."""

    index: int = Field(ge=0)
    density: float | None = Field(default=None, ge=0, le=1)
    topLogits: list[TokenForm] = []  # noqa: N815
    bottomLogits: list[TokenForm] = []  # noqa: N815
    explanations: list[ExplanationForm]
    activations: list[ActivationForm]


class BatchForm(_Form):
    """One request."""

    modelId: Name  # noqa: N815
    source: Name
    features: list[FeatureForm] = Field(min_length=1, max_length=MAX_FEATURES)


@dataclass(frozen=True)
class CheckedBatch:
    """A batch that is as the server asks for it."""

    file: Path
    n_features: int
    n_explanations: int
    is_sent: bool
    """True if an earlier command has sent it."""


def check_batches(folder: Path) -> list[CheckedBatch]:
    """Checks every batch of the folder. Raises ExportError for the first that is not as the server asks for it."""
    files = sorted(folder.glob("batch-*.json"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise ExportError(f"{folder} holds no batch to upload; interpret publish --to {folder} writes some.")
    found = []
    for file in files:
        content = file.read_bytes()
        if len(content) > _MAX_BYTES:
            raise ExportError(f"{file} has {len(content):,} bytes, and one request takes at most {_MAX_BYTES:,}.")
        try:
            batch = BatchForm.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise ExportError(
                f"{file} is not as Neuronpedia takes it: {place}: {first['msg']}; write the batches anew."
            ) from None
        n_explanations = sum(len(feature.explanations) for feature in batch.features)
        found.append(CheckedBatch(file, len(batch.features), n_explanations, _is_sent(file, content)))
    return found


def upload(batches: Sequence[CheckedBatch], base_url: str, told: Callable[[CheckedBatch], None]) -> int:
    """Sends the batches that were not sent before; returns how many. A receipt beside each keeps what was answered.

    Raises ExportError if there is no key in the environment, the address is not encrypted, or the server refuses.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise ExportError(f"Uploading takes a key of Neuronpedia's: set {KEY_VARIABLE}, or leave --upload out.")
    if not (key.isascii() and key.isprintable()):
        raise ExportError(f"{KEY_VARIABLE} holds a character that no key has; copy it anew.")
    if not _keeps_secrets(base_url):
        raise ExportError(f"{base_url} is not encrypted, and would show your key to others; give an https address.")
    todo = [batch for batch in batches if not batch.is_sent]
    with httpx2.Client(timeout=_TIMEOUT_S, headers={"x-api-key": key}) as client:
        for batch in todo:
            content = batch.file.read_bytes()
            answer = _sent(client, f"{base_url.rstrip('/')}{_PATH}", batch.file, content)
            receipt = {"sha256": _hash(content), "status": answer.status_code, "answer": answer.text[:2000]}
            with written(_receipt(batch.file)) as file:
                file.write(json.dumps(receipt).encode("ascii"))
            told(batch)
    return len(todo)


class _Busy(Exception):  # noqa: N818, asks for another attempt
    """The server may take the batch later."""


def _sent(client: httpx2.Client, url: str, file: Path, content: bytes) -> httpx2.Response:
    """Posts one batch, again where the server is busy or cannot be reached."""
    first, most = _WAIT_S
    retrying = Retrying(
        retry=retry_if_exception_type((_Busy, httpx2.TransportError)),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=first, max=most),
        reraise=True,
    )
    try:
        return retrying(_post, client, url, file, content)
    except (httpx2.HTTPError, httpx2.InvalidURL, _Busy) as error:
        why = str(error) or type(error).__name__
        raise ExportError(f"{file.name} was not taken by {urlsplit(url).netloc} ({why}); try again later.") from None


def _post(client: httpx2.Client, url: str, file: Path, content: bytes) -> httpx2.Response:
    answer = client.post(url, content=content, headers={"content-type": "application/json"})
    if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise _Busy(f"{answer.status_code} {answer.reason_phrase}")
    if not answer.is_success:
        raise ExportError(
            f"{file.name} was refused by {urlsplit(url).netloc}: {answer.status_code} {answer.reason_phrase}, "
            f"{answer.text[:300]!r}; what was sent before it stays sent."
        )
    return answer


def _receipt(file: Path) -> Path:
    return file.with_suffix(".sent")


def _is_sent(file: Path, content: bytes) -> bool:
    """Tells whether the receipt is of this content: a batch that was written anew was not sent."""
    try:
        receipt = json.loads(_receipt(file).read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(receipt, dict) and receipt.get("sha256") == _hash(content)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _keeps_secrets(base_url: str) -> bool:
    """Tells whether the address is encrypted, or of this machine."""
    parts = urlsplit(base_url)
    if parts.scheme == "https":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
