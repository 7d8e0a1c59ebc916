"""A loopback server that speaks Anthropic's Message Batches and OpenAI's Batch API, with the faults that they have.

What it answers is a script's, as for questions one by one; a batch ends after a number of looks at it. Lines come in an
order of its own, and counts stay 0 until the end. It notes every answer that it would bill.
"""

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.gzip_bomb import gzip_bomb
from tests.llm_script import BODIES, Asked, Reply, Script, error_body, labelling
from tests.llm_server import Handler, LLMServer, asked_in

Line = dict[str, Any]
Lot = Callable[[Asked], str]
"""What becomes of a request: `answered`, `expired`, `errored` (the server's fault) or `invalid` (the request's)."""

_ASKED_AT = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
_STATUS_OF = {"errored": 500, "invalid": 400}


def answered(_: Asked) -> str:
    """Nothing goes wrong with any request."""
    return "answered"


@dataclass
class BatchFaults:
    """A fault of batches."""

    looks: int = 2
    """So many looks, or lists that name it, and a batch has ended."""
    unseen: int = 0
    """So many looks at first find nothing."""
    unlisted: int = 0
    """So many lists at first do not name it."""
    unheard: frozenset[int] = frozenset()
    """Which batches, counted from 0, are made without a word: the connection breaks."""
    failing: Mapping[int, int] = field(default_factory=dict)
    """Which requests for a batch are refused, with what status; no batch is made of them."""
    refused: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Which batches are found wrong after they were made (OpenAI), with what errors."""
    most_queued: int | None = None
    """Requests in all batches that have not ended."""
    cut: frozenset[int] = frozenset()
    """Which reading of results breaks off in the middle."""
    lot: Lot = answered
    bombs: frozenset[str] = frozenset()
    """What is answered by far too much: `made`, `looked`, `listed`, `read`."""
    words: str = ""
    """What refusals say besides."""


@dataclass
class Made:
    """A batch that was made."""

    batch_id: str
    provider: str
    requests: list[Line]
    created: datetime
    metadata: Mapping[str, str]
    errors: Sequence[Mapping[str, Any]]
    seen: int = 0
    listed: int = 0
    lines: list[Line] = field(default_factory=list)
    """Of its results."""

    def has_ended(self, faults: BatchFaults) -> bool:
        return self.seen + self.listed >= faults.looks + faults.unseen + faults.unlisted


class BatchServer(LLMServer):
    """Serves both providers' batches beside what `LLMServer` does."""

    def __init__(self, faults: BatchFaults | None = None, script: Script = labelling, seed: int = 0) -> None:
        self.handler = BatchHandler
        super().__init__(script)
        self.faults = faults or BatchFaults()
        self.batches: list[Made] = []
        self.billed: Counter[tuple[int | None, int | None]] = Counter()
        """Answers given in batches, by feature and round."""
        self.lots: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.n_asked = 0
        """Requests for a batch."""
        self.n_read = 0
        """Readings of results."""
        self.on_event: Callable[[str], None] = lambda _: None
        """Told of what is asked (`made`: of what has just been done), before the client hears of it."""
        self.billed_tokens = [0, 0]
        """Of input and output."""
        self.guard = threading.RLock()
        self._chance = random.Random(seed)

    def make(self, provider: str, requests: list[Line], metadata: Mapping[str, str]) -> Made | int:
        """A batch of these, worked through at once; or the status with which it is refused."""
        with self.guard:
            number, self.n_asked = self.n_asked, self.n_asked + 1
            if number in self.faults.failing:
                return self.faults.failing[number]
            ids = [line["custom_id"] for line in requests]
            assert len({*ids}) == len(ids)
            assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in ids)
            errors = [*self.faults.refused.get(len(self.batches), ())]
            waiting = sum(
                len(one.requests) for one in self.batches if not one.has_ended(self.faults) and not one.errors
            )
            if self.faults.most_queued is not None and waiting + len(requests) > self.faults.most_queued:
                if provider == "anthropic":
                    return 429
                errors = [{"code": "token_limit_exceeded", "line": None, "message": "Enqueued token limit reached"}]
            made = Made(f"batch_{len(self.batches)}", provider, requests, datetime.now(UTC), metadata, errors)
            if not errors:
                made.lines = [self._worked(provider, line) for line in requests]
                self._chance.shuffle(made.lines)
            self.batches.append(made)
            return made

    def _worked(self, provider: str, line: Line) -> Line:
        body = line["params"] if provider == "anthropic" else line["body"]
        asked = asked_in(body, _ASKED_AT[provider], {}, self)
        lot = self.faults.lot(asked)
        self.lots[lot] += 1
        if lot == "expired":
            return _line(provider, line, 408, None)
        if lot in _STATUS_OF:
            kind = "api_error" if lot == "errored" else "invalid_request_error"
            error = json.loads(error_body(Reply(f"it was {lot}", error_type=kind)))
            return _line(provider, line, _STATUS_OF[lot], error)
        reply = self.script(asked)
        tokens = len(json.dumps(body)) // 4, len(reply.answer.encode()) // 4
        self.billed[asked.feature, asked.round] += 1
        self.billed_tokens = [before + more for before, more in zip(self.billed_tokens, tokens, strict=True)]
        return _line(provider, line, 200, json.loads(reply.body or BODIES[provider](reply, asked, tokens)))

    def told(self, made: Made) -> Line:
        """A batch as its provider tells of it."""
        ended = made.has_ended(self.faults)
        return (_told_anthropic if made.provider == "anthropic" else _told_openai)(made, ended, self.url)


class BatchHandler(Handler):
    """Routes of batches and files; all others are those of single questions."""

    @property
    def owner(self) -> BatchServer:
        assert isinstance(self.server.owner, BatchServer)
        return self.server.owner

    def do_POST(self) -> None:  # noqa: N802, the library's name
        path = urlsplit(self.path).path
        if path not in ("/v1/messages/batches", "/v1/batches", "/v1/files"):
            super().do_POST()
            return
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/v1/files":
            self._keep(sent)
            return
        asked = json.loads(sent)
        try:
            self.owner.on_event("asked")
        except ConnectionAbortedError:  # whoever asked is gone, and so is what was asked
            return
        if path == "/v1/messages/batches":
            made = self.owner.make("anthropic", asked["requests"], {})
        else:
            lines = self.owner.files[asked["input_file_id"]].splitlines()
            assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
            made = self.owner.make("openai", [json.loads(line) for line in lines], asked["metadata"])
        if isinstance(made, int):
            self._refuse(made)
            return
        self.owner.on_event("made")
        reply = Reply(cut=0) if self.owner.batches.index(made) in self.owner.faults.unheard else Reply()
        self._tell("made", json.dumps(self.owner.told(made)), reply)

    def _tell(self, event: str, body: str, reply: Reply) -> None:
        """The body, or far too much in its place."""
        if event in self.owner.faults.bombs:
            reply = replace(reply, raw=gzip_bomb(), headers={"Content-Encoding": "gzip"})
        self._send(reply, body)

    def do_GET(self) -> None:  # noqa: N802
        parts = urlsplit(self.path)
        steps = parts.path.removeprefix("/v1/").removeprefix("messages/").split("/")
        with self.owner.guard:
            match steps:
                case ["batches"]:
                    self._list("anthropic" if "messages" in parts.path else "openai", parse_qs(parts.query))
                case ["batches", batch_id]:
                    self._look(batch_id)
                case ["batches", batch_id, "results"]:
                    self._results(self._lines(batch_id))
                case ["files", file, "content"]:
                    kind, _, batch_id = file.partition("-")
                    lines = self._lines(batch_id)
                    good = [line for line in lines if (line.get("response") or {}).get("status_code") == 200]
                    self._results(good if kind == "output" else [line for line in lines if line not in good])
                case _:
                    super().do_GET()

    def _keep(self, sent: bytes) -> None:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + sent).get_payload()
        assert isinstance(parts, list)
        named = {part.get_param("name", header="content-disposition"): part for part in parts}
        assert named["purpose"].get_payload(decode=True) == b"batch"
        file_id = f"file_{len(self.owner.files)}"
        content = named["file"].get_payload(decode=True)
        assert isinstance(content, bytes)
        self.owner.files[file_id] = content
        self._send(Reply(), json.dumps({"id": file_id, "object": "file", "purpose": "batch"}))

    def _find(self, batch_id: str) -> Made | None:
        return next((made for made in self.owner.batches if made.batch_id == batch_id), None)

    def _lines(self, batch_id: str) -> list[Line]:
        made = self._find(batch_id)
        return [] if made is None else made.lines

    def _look(self, batch_id: str) -> None:
        made = self._find(batch_id)
        self.owner.on_event("looked")
        if made is not None:
            made.seen += 1
        if made is None or made.seen <= self.owner.faults.unseen:
            self._refuse(404)
        else:
            self._tell("looked", json.dumps(self.owner.told(made)), Reply())

    def _list(self, provider: str, query: Mapping[str, list[str]]) -> None:
        self.owner.on_event("listed")
        listed = []
        for made in reversed(self.owner.batches):
            made.listed += 1
            if made.listed > self.owner.faults.unlisted and made.provider == provider:
                listed.append(self.owner.told(made))
        (after,) = query.get("after_id", query.get("after", [""]))
        ids = [entry["id"] for entry in listed]
        start = ids.index(after) + 1 if after else 0
        page = listed[start : start + min(int(query["limit"][0]), 2)]  # short pages, so that there is more than one
        told = {"object": "list", "data": page, "has_more": start + len(page) < len(listed)}
        self._tell("listed", json.dumps(told | {"last_id": page[-1]["id"] if page else None}), Reply())

    def _results(self, lines: Sequence[Line]) -> None:
        number, self.owner.n_read = self.owner.n_read, self.owner.n_read + 1
        self.owner.on_event("read")
        # providers write what answers hold as it is: a line separator among it ends no line
        body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        half = len(body.encode()) // 2 + 300 if number in self.owner.faults.cut else None
        self._tell("read", body, Reply(cut=half))

    def _refuse(self, status: int) -> None:
        reply = Reply(
            f"status {status}{self.owner.faults.words}",
            status,
            error_type="not_found_error" if status == 404 else "api_error",
        )
        self._send(reply, error_body(reply))


def _line(provider: str, asked: Line, status: int, body: Any) -> Line:
    """A line of results."""
    head = {"custom_id": asked["custom_id"]}
    if provider == "anthropic":
        results = {200: {"type": "succeeded", "message": body}, 408: {"type": "expired"}}
        return head | {"result": results.get(status, {"type": "errored", "error": body})}
    if status == 408:
        error = {"code": "batch_expired", "message": "This request could not be executed before the window expired."}
        return head | {"id": "r", "response": None, "error": error}
    return head | {"id": "r", "response": {"status_code": status, "request_id": "q", "body": body}, "error": None}


def _told_anthropic(made: Made, ended: bool, url: str) -> Line:
    kinds = Counter(line["result"]["type"] for line in made.lines) if ended else Counter[str]()
    counts = {name: kinds[name] for name in ("succeeded", "errored", "canceled", "expired")}
    return {
        "id": made.batch_id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts | {"processing": 0 if ended else len(made.requests)},
        "created_at": made.created.isoformat(),
        "expires_at": (made.created + timedelta(hours=24)).isoformat(),
        "ended_at": made.created.isoformat() if ended else None,
        "results_url": f"{url}/v1/messages/batches/{made.batch_id}/results" if ended else None,
        "archived_at": None,
        "cancel_initiated_at": None,
    }


def _told_openai(made: Made, ended: bool, _url: str) -> Line:
    good = sum((line["response"] or {}).get("status_code") == 200 for line in made.lines)
    expired = any(line["error"] for line in made.lines)
    status = ("failed" if made.errors else "expired" if expired else "completed") if ended else "in_progress"
    has = {"output": bool(good), "error": len(made.lines) > good}
    counts = {"total": len(made.requests), "completed": good, "failed": len(made.lines) - good}
    return {
        "id": made.batch_id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "status": status,
        "created_at": int(made.created.timestamp()),
        "metadata": made.metadata,
        "errors": {"object": "list", "data": [*made.errors]} if ended and made.errors else None,
        "request_counts": counts if ended else {"total": len(made.requests), "completed": 0, "failed": 0},
        **{f"{kind}_file_id": f"{kind}-{made.batch_id}" if ended and there else None for kind, there in has.items()},
    }


def until(true: Callable[[], bool], what: str, longest_s: float = 60.0) -> None:
    """Waits for what happens in another process."""
    ends = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.005)
