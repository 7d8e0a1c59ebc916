"""A loopback server that speaks Anthropic's messages and OpenAI's chat completions, and does what a script says.

In the test's process (`with LLMServer(script) as server:`) its history is a list; as a process of its own
(`python -m tests.llm_server --port 0 --history FILE`) each request is a line of JSON. It bills by a rule of its own:
a token for every four bytes of the request's body, and for every four bytes of the answer's text.
"""

import argparse
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent.llm.base import AnswerForm
from tests.llm_script import BODIES, Asked, Reply, Script, Served, error_body, labelling, testing

_ROUND = re.compile(r"^# Feature (?P<feature>\d+) of .*?^Round (?P<round>\d+) of ", re.DOTALL | re.MULTILINE)
_PATHS = {"/v1/messages": "anthropic", "/v1/chat/completions": "openai"}
_FORMS = {"json_schema": AnswerForm.SCHEMA, "json_object": AnswerForm.JSON}


class LLMServer:
    """Serves on the loopback interface from `with` to its end."""

    handler: "type[Handler]"

    def __init__(
        self,
        script: Script = labelling,
        models: Sequence[str] = ("model-a",),
        listing: Reply | None = None,
        port: int = 0,
        history: Path | None = None,
    ) -> None:
        self.script = script
        self.models = models
        self.listing = listing
        """Instead of the list of models."""
        self.history: list[Served] = []
        self.looked_up: list[Asked] = []
        """Requests for models."""
        self._path = history
        self._times: Counter[tuple[int | None, int | None]] = Counter()
        self._lock = threading.Condition()
        self._begun = 0
        self.stopping = threading.Event()
        self._http = _Server(("127.0.0.1", port), self.handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def base_url(self, provider: str) -> str:
        """Returns what the provider's explainer is given."""
        return self.url if provider == "anthropic" else f"{self.url}/v1"

    def __enter__(self) -> "LLMServer":
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def times_asked(self, feature: int | None, round_: int | None) -> int:
        """Returns how often that was asked before; a request begins with it."""
        with self._lock:
            self._begun += 1
            self._times[feature, round_] += 1
            return self._times[feature, round_] - 1

    def add(self, served: Served) -> None:
        with self._lock:
            self.history.append(served)
            self._lock.notify_all()
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(served.line() + "\n")

    def settle(self, timeout_s: float = 60.0) -> None:
        """Waits until every request that has begun is in the history, which happens after its answer is written."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.history) == self._begun, timeout_s), "a request never ended"

    @property
    def tokens(self) -> tuple[int, int]:
        """Billed in all, once everything has settled: input, output."""
        self.settle()
        with self._lock:
            return sum(one.input_tokens for one in self.history), sum(one.output_tokens for one in self.history)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False
    owner: LLMServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's; what it was sent is in the history."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.looked_up.append(self._asked({}))
        if owner.listing is not None:
            self._send(owner.listing, owner.listing.body or error_body(owner.listing))
            return
        entries = [{"id": name, "object": "model", "type": "model", "display_name": name} for name in owner.models]
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            self._send(Reply(), json.dumps({"object": "list", "data": entries, "has_more": False}))
            return
        found = [entry for entry in entries if path == f"/v1/models/{entry['id']}"]
        missing = Reply("no such model", 404, error_type="not_found_error")
        self._send(*((Reply(), json.dumps(found[0])) if found else (missing, error_body(missing))))

    def do_POST(self) -> None:
        started_s = time.time()
        owner = self.server.owner
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        asked = self._asked(json.loads(sent))
        reply = owner.script(asked)
        if asked.provider == "":
            reply = Reply(f"nothing is at {self.path}", 404, error_type="not_found_error")
        elif asked.form not in reply.forms:
            word = "output_config.format" if asked.provider == "anthropic" else "response_format"
            reply = Reply(f"{word}: this server does not know it", 400)
        tokens = (0, 0)
        if reply.status == 200:
            most = asked.body.get("max_tokens") or asked.body.get("max_completion_tokens") or 0
            tokens = len(sent) // 4, min(len(reply.answer.encode()) // 4, most)
        body = reply.body
        if body is None:
            body = BODIES[asked.provider](reply, asked, tokens) if reply.status == 200 else error_body(reply)
        whole = self._send(reply, body)
        owner.add(Served(asked, reply.status, *tokens, whole, started_s, time.time()))

    def _asked(self, body: dict[str, Any]) -> Asked:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return asked_in(body, self.path, headers, self.server.owner)

    def _send(self, reply: Reply, body: str) -> bool:
        """Tells whether the whole response went to a client that was still there."""
        self.server.owner.stopping.wait(reply.delay_s)
        content = body.encode() if reply.raw is None else reply.raw
        phrase = HTTPStatus(reply.status).phrase if reply.status in iter(HTTPStatus) else "Unknown"
        head = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in head.items())]
        response = ("\r\n".join(lines) + "\r\n\r\n").encode() + content
        cut = reply.cut is not None
        self.close_connection = cut
        return self._write(response[: reply.cut], reply.pace_s) and not cut

    def _write(self, response: bytes, pace_s: float) -> bool:
        try:
            self.connection.setblocking(False)
            if self.connection.recv(1, socket.MSG_PEEK) == b"":
                return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        finally:
            self.connection.setblocking(True)
        try:
            for piece in [response] if not pace_s else [bytes([byte]) for byte in response]:
                self.wfile.write(piece)
                self.server.owner.stopping.wait(pace_s)
        except OSError:
            return False
        return True


LLMServer.handler = Handler


def asked_in(body: dict[str, Any], path: str, headers: Mapping[str, str], owner: LLMServer) -> Asked:
    """The question that a request to that path puts."""
    messages = body.get("messages", [])
    system = _text(body.get("system")) or "".join(_text(m["content"]) for m in messages if m["role"] == "system")
    user = "".join(_text(m["content"]) for m in messages if m["role"] == "user")
    wanted = body.get("output_config", {}).get("format") or body.get("response_format") or {}
    found = _ROUND.search(user)
    feature, round_ = (int(found["feature"]), int(found["round"])) if found else (None, None)
    before = owner.times_asked(feature, round_) if body else 0
    form = _FORMS.get(wanted.get("type", ""), AnswerForm.TEXT)
    return Asked(
        _PATHS.get(path, ""), path, body.get("model", ""), form, system, user, feature, round_, before, headers, body
    )


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content or ())


@contextmanager
def _serving(arguments: argparse.Namespace) -> Iterator[LLMServer]:
    def script(asked: Asked) -> Reply:
        answer = testing if arguments.tests else labelling
        return replace(answer(asked), delay_s=arguments.delay_s)

    with LLMServer(script, arguments.models, port=arguments.port, history=arguments.history) as server:
        yield server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tests", action="store_true", help="has texts run before it labels")
    parser.add_argument("--history", type=Path)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--models", nargs="+", default=["model-a"])
    with _serving(parser.parse_args()) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
