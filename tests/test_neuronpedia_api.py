"""Fetching one record, against a server in this process."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from eval.errors import ExamplesError
from eval.readers.json_stream import LONGEST_RECORD
from eval.readers.neuronpedia_api import fetch_record
from tests.gzip_bomb import gzip_bomb

ANSWERS: dict[str, tuple[int, bytes | None]] = {
    "/api/feature/gemma-2b/6-res-jb/10": (200, b'{"index": "10"}'),
    "/api/feature/a%2Fb/x%3Fy/10": (200, b'{"index": "quoted"}'),
    "/api/feature/gemma-2b/6-res-jb/11": (200, b"null"),
    "/api/feature/gemma-2b/6-res-jb/12": (429, b""),
    "/api/feature/gemma-2b/6-res-jb/13": (503, b"<html>"),
    "/api/feature/gemma-2b/6-res-jb/14": (200, b"{" + b" " * LONGEST_RECORD),
    "/api/feature/gemma-2b/6-res-jb/15": (308, b"/api/feature/gemma-2b/6-res-jb/10"),
    "/api/feature/gemma-2b/6-res-jb/16": (302, b"/api/feature/gemma-2b/6-res-jb/16"),
    "/api/feature/gemma-2b/6-res-jb/17": (404, None),
    "/api/feature/gemma-2b/6-res-jb/18": (200, None),
}
"""By path, a status and a body, or None: two hundred megabytes in 200 kB."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Retry-After", "30")
        if status in (302, 308) and body is not None:
            self.send_header("Location", body.decode())
            body = None
        if body is None:
            self.send_header("Content-Encoding", "gzip")
            body = gzip_bomb()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing to the terminal."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_record_comes_as_it_is(server: str) -> None:
    assert json.loads(fetch_record("gemma-2b", "6-res-jb", 10, server)) == {"index": "10"}
    assert json.loads(fetch_record("a/b", "x?y", 10, server + "/")) == {"index": "quoted"}


@pytest.mark.parametrize(
    ("index", "why"),
    [
        (9, "Neuronpedia has no record of gemma-2b/6-res-jb/9"),
        (11, "has no record of gemma-2b/6-res-jb/11"),
        (12, "asks for fewer requests .* try again in 30 s"),
        (13, "Neuronpedia answered 503 Service Unavailable"),
        (14, "is longer than 16 MiB"),
        (16, "sends from one address to another without end"),
        (17, "has no record of gemma-2b/6-res-jb/17"),
        (18, "is longer than 16 MiB"),
    ],
)
def test_anything_but_a_record_is_one_sentence(server: str, index: int, why: str) -> None:
    with pytest.raises(ExamplesError, match=why):
        fetch_record("gemma-2b", "6-res-jb", index, server)


@pytest.mark.parametrize("index", [15, 16, 17, 18])
def test_no_body_is_read_beyond_its_bound_whatever_its_status(server: str, index: int) -> None:
    gzip_bomb()  # made before memory is watched
    tracemalloc.start()
    with suppress(ExamplesError):
        assert json.loads(fetch_record("gemma-2b", "6-res-jb", index, server)) == {"index": "10"}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nonsense"])
def test_no_server(address: str) -> None:
    with pytest.raises(ExamplesError, match=f"no answer from {address} .*; check the network, or name a file"):
        fetch_record("gemma-2b", "6-res-jb", 10, address)
