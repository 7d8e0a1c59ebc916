"""`interpret publish`: batches are checked, and sent with a key only where that is asked for."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from agent.export import neuronpedia, upload
from tests.fault_runs import Interpret
from tests.full_logs import fill
from tests.score_commands import said

pytestmark = pytest.mark.usefixtures("own_folder")
NAMES = ("--source", "a-model/6-res", "--method-name", "m", "--model-name", "w")
COMMAND = ("publish", "--to", "out", *NAMES)
KEY = "np-secret-key-123"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, self.headers["x-api-key"], json.loads(body)))
        status = server.answers.pop(0) if server.answers else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b'{"message": "ok"}' if status == 200 else b"no such source")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        made: Any = http
        made.got, made.answers = [], []
        Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setenv("NEURONPEDIA_BASE_URL", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setattr(upload, "_WAIT_S", (0.001, 0.002))
        yield http
        http.shutdown()


@pytest.fixture(autouse=True)
def log(own_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001, a folder to write in
    monkeypatch.setattr(neuronpedia, "MAX_FEATURES", 3)
    fill(Path("interpret.db"), range(5))


def test_nothing_is_sent_unless_asked(interpret: Interpret, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURONPEDIA_API_KEY", KEY)
    ran = interpret(*COMMAND, "--evidence-url", "https://example.org/e.html")
    assert ran.status == 0, ran.err
    assert "2 batches of 5 features with 5 labels are as Neuronpedia takes them" in said(ran.out)
    assert "Nothing was uploaded; --upload sends them" in said(ran.out)
    assert server.got == []
    batch = json.loads(Path("out/batch-0.json").read_text())
    details = [json.loads(score["jsonDetails"]) for score in batch["features"][2]["explanations"][0]["scores"]]
    assert details
    assert {one["evidence"] for one in details} == {"https://example.org/e.html#f2"}
    assert 'id="f2"' in Path("out/evidence.html").read_text("utf-8")


def test_batches_are_sent_once_with_the_key(interpret: Interpret, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURONPEDIA_API_KEY", KEY)
    server.answers = [503, 200, 400]
    refused = interpret(*COMMAND, "--upload")
    assert refused.status == 2
    assert "batch-1.json was refused by" in said(refused.err)
    assert "no such source" in said(refused.err)
    assert KEY not in refused.err + refused.out
    again = interpret(*COMMAND, "--upload")
    assert again.status == 0, again.err
    assert "out holds batches already; they are checked as they are" in said(again.out)
    assert "Sent 1 batches" in said(again.out)
    assert "1 were sent before" in said(again.out)
    assert [len(body["features"]) for _, _, body in server.got] == [3, 3, 2, 2]
    assert {(path, key) for path, key, _ in server.got} == {("/api/feature/upload-batch", KEY)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda batch: batch["features"][0].update(index=-1), "features.0.index"),
        (lambda batch: batch["features"][0].update(hidden=1), "features.0.hidden"),
        (lambda batch: batch["features"][0]["explanations"].append({"text": ""}), "features.0.explanations.1"),
        (
            lambda batch: batch["features"][0]["activations"].append({"tokens": ["a"], "values": []}),
            "1 tokens and 0 values",
        ),
        (lambda batch: batch.update(features=[]), "features"),
        (lambda batch: batch.pop("source"), "source"),
    ],
)
def test_a_batch_that_is_not_as_it_should_be_is_one_sentence(interpret: Interpret, change: Any, sentence: str) -> None:
    assert interpret(*COMMAND).status == 0
    file = Path("out/batch-0.json")
    batch = json.loads(file.read_text())
    change(batch)
    file.write_text(json.dumps(batch))
    ran = interpret(*COMMAND)
    assert ran.status == 2
    assert "batch-0.json is not as Neuronpedia takes it: " in said(ran.err)
    assert sentence in said(ran.err)


def test_what_was_cut_off_is_no_folder_of_batches(interpret: Interpret, monkeypatch: pytest.MonkeyPatch) -> None:
    written = neuronpedia.written

    def cut_off(path: Path) -> Any:
        if path.name == "batch-1.json":
            raise KeyboardInterrupt
        return written(path)

    with monkeypatch.context() as patched:
        patched.setattr(neuronpedia, "written", cut_off)
        assert interpret(*COMMAND).status == 130
    assert [file.name for file in Path("out").iterdir()] == ["evidence.html"]
    ran = interpret(*COMMAND)
    assert "2 batches of 5 features" in said(ran.out)
    assert sorted(file.name for file in Path("out").iterdir()) == ["batch-0.json", "batch-1.json", "evidence.html"]


def test_a_batch_that_was_written_anew_is_sent_anew(
    interpret: Interpret, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURONPEDIA_API_KEY", f" {KEY}\n")
    assert "Sent 2 batches" in said(interpret(*COMMAND, "--upload").out)
    first = Path("out/batch-0.json")
    first.write_text(first.read_text().replace("a-model", "b-model"))
    assert "Sent 1 batches" in said(interpret(*COMMAND, "--upload").out)
    assert [body["modelId"] for _, _, body in server.got] == ["a-model", "a-model", "b-model"]
    assert {key for _, key, _ in server.got} == {KEY}


def test_a_key_that_was_pasted_wrongly_is_one_sentence(interpret: Interpret, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURONPEDIA_API_KEY", "np-secret\u2019")
    ran = interpret(*COMMAND, "--upload")
    assert ran.status == 2
    assert "NEURONPEDIA_API_KEY holds a character that no key has" in said(ran.err)


def test_without_a_key_or_encryption_nothing_is_sent(interpret: Interpret, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURONPEDIA_API_KEY", raising=False)
    assert "set NEURONPEDIA_API_KEY, or leave --upload out" in said(interpret(*COMMAND, "--upload").err)
    monkeypatch.setenv("NEURONPEDIA_API_KEY", KEY)
    monkeypatch.setenv("NEURONPEDIA_BASE_URL", "http://example.org")
    ran = interpret(*COMMAND, "--upload")
    assert ran.status == 2
    assert "is not encrypted, and would show your key to others" in said(ran.err)
