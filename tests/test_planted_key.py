"""A planted key is found nowhere: not in the log, its journal and locks, not in output, tracebacks or logging.

The servers here do their worst: they echo whatever they are sent, in every place that a run reads or keeps.
"""

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

import agent.cli.commands.run
import agent.loop
from tests.fault_cases import PROVIDERS
from tests.fault_runs import Interpret, Ran, commands, environment, subject_options
from tests.llm_script import Asked, Reply, labelling
from tests.llm_server import LLMServer
from tests.planted import ECHOES, KEY, PASSWORD, SETTINGS, echoing, labelled, places, raw, read_back, sent_key

VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return subject_options(tmp_path_factory.mktemp("subject"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with environment(ANTHROPIC_API_KEY=KEY, OPENAI_API_KEY=KEY):
        yield


@pytest.fixture
def interpret(capfd: pytest.CaptureFixture[str]) -> Interpret:
    return commands(capfd)


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_echoes_the_key(
    echo: str,
    provider: str,
    interpret: Interpret,
    subject: list[str],
) -> None:
    while_running: list[str] = []
    heard: list[str] = []

    def script(asked: Asked) -> Reply:
        heard.append(sent_key(asked))
        while_running.extend(places())  # the journal too, which is gone at the end
        return echoing(echo)(asked)

    with LLMServer(script) as server:
        command = ["--features", "0-2", *subject, "--llm", f"{provider}:model-a"]
        ran = interpret(*command, "--base-url", server.base_url(provider))
    assert ran.status in (0, 1, 2)
    assert set(heard) == {KEY}
    assert places(ran.out, ran.err, *while_running, *read_back(interpret)) == []


@pytest.mark.parametrize("n", range(270, 302, 8))
def test_a_message_that_is_cut_short_holds_no_part_of_it(
    n: int, provider: str, interpret: Interpret, subject: list[str]
) -> None:
    with LLMServer(lambda asked: Reply("x" * n + " " + sent_key(asked), 401)) as server:
        options = ["--llm", f"{provider}:model-a", "--base-url", server.base_url(provider)]
        ran = interpret("--features", "0", *subject, *options)
    assert "HTTP 401" in ran.err
    assert KEY[:6] not in ran.err


def test_a_list_of_models_that_echoes_the_key(provider: str, interpret: Interpret, subject: list[str]) -> None:
    entries = [{"id": f"model-{KEY}"}, {"id": KEY}]
    listings = [
        Reply(body=json.dumps({"data": entries})),
        Reply(body=json.dumps({"data": entries[1:]})),
        Reply(f"Incorrect API key provided: {KEY}", 401),
        Reply(status=500, body=raw(KEY)),
        Reply(body=raw(KEY)),
    ]
    for listing in listings:
        with LLMServer(listing=listing) as server:
            for llm in (provider, f"{provider}:model-a"):
                ran = interpret("--features", "0", *subject, "--llm", llm, "--base-url", server.base_url(provider))
                assert places(ran.out, ran.err) == [], listing


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"{KEY} {KEY}", f"{KEY}\x7f", f"{KEY}ü", f"{KEY}\r\nx: y"])
def test_a_key_that_cannot_be_sent_is_refused_by_the_name_of_its_variable(
    key: str, provider: str, interpret: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[provider], key)
    ran = interpret("--features", "0", *subject, "--llm", provider)
    assert (ran.status, VARIABLES[provider] in ran.err, ran.err.count("\n")) == (2, True, 1)
    assert places(ran.out, ran.err) == []


def test_a_key_that_ends_in_a_line_break_is_sent_without_it(
    provider: str, interpret: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[provider], f"{KEY}\n")
    with LLMServer(echoing("the answer")) as server:
        options = ["--llm", f"{provider}:model-a", "--base-url", server.base_url(provider)]
        ran = interpret("--features", "0", *subject, *options)
    assert {sent_key(served.asked) for served in server.history} == {KEY}
    assert places(ran.out, ran.err, *read_back(interpret)) == []


def _with_password(server: LLMServer, provider: str, user: str = "me:") -> str:
    return server.base_url(provider).replace("://", f"://{user}{quote(PASSWORD, safe='')}@")


def _echoing_headers(asked: Asked) -> Reply:
    """All it was sent, in the answer and in the body; and what the credentials say."""
    sent = asked.headers.get("authorization", "")
    said = base64.b64decode(sent.removeprefix("Basic ")).decode() if sent.startswith("Basic ") else sent
    told = f"{dict(asked.headers)} {said} {said.partition(':')[2]}"
    if asked.feature == 1:
        return Reply(refusal=told, stop="refusal")
    return Reply(labelled(label=said[:80], explanation=told[:1500])) if asked.feature else Reply(told, 500)


@pytest.mark.parametrize("where", ["option", "settings", "variable", "token"])
def test_a_password_in_the_base_url(
    where: str,
    provider: str,
    interpret: Interpret,
    subject: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LLMServer(_echoing_headers) as server:
        address = _with_password(server, provider, "" if where == "token" else "me:")
        command = ["--features", "0-2", *subject, "--llm", f"{provider}:model-a", "--concurrency", "1"]
        if where in ("option", "token"):
            command += ["--base-url", address]
            monkeypatch.setattr(sys, "argv", ["interpret", *command])
        elif where == "settings":
            SETTINGS.write_text(f'[run]\nbase-url = "{address}"\n')
            command += ["--settings", str(SETTINGS)]
        else:
            monkeypatch.setenv(f"{provider.upper()}_BASE_URL", address)
        ran = interpret(*command)
    assert server.history
    assert server.url in " ".join(ran.out.split())
    assert places(ran.out, ran.err, *read_back(interpret)) == []


def test_a_server_that_is_not_there_and_would_have_a_password(
    provider: str, interpret: Interpret, subject: list[str]
) -> None:
    with LLMServer() as server:
        address = _with_password(server, provider)
    for base_url in (address, address.replace("http:", "htp:"), address.replace("://", ":/"), f"{address}:x"):
        ran = interpret("--features", "0", *subject, "--llm", f"{provider}:m", "--base-url", base_url)
        assert ran.status == 2
        assert places(ran.out, ran.err) == []


def test_an_internal_error_of_one_feature(
    interpret: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"cannot render with {os.environ['OPENAI_API_KEY']}")

    monkeypatch.setattr(agent.loop, "render", _once_then(broken))
    with LLMServer() as server:
        options = ["--llm", "openai:model-a", "--base-url", server.base_url("openai")]
        ran = interpret("--features", "0-2", *subject, *options)
    assert ran.status == 1
    failed = json.loads(interpret("log", "1", "--status", "failed", "--json").out)
    assert all("internal error, RuntimeError: cannot render with" in row["reason"] for row in failed)
    assert failed
    assert "Traceback" in caplog.text
    assert places(ran.out, ran.err, caplog.text, *read_back(interpret)) == []


def _once_then(broken: Callable[..., None]) -> Callable[..., object]:
    """`render` for the system prompt, `broken` for the questions."""
    render = agent.loop.render
    return lambda name, context: render(name, context) if name == "system" else broken()


CRASH = """
import os, sys
import agent.cli.commands.run
from agent.cli.main import main

def crash(*_):
    key = os.environ["OPENAI_API_KEY"]
    raise RuntimeError(f"crashed with {key}")

agent.cli.commands.run.make_explainer = crash
main(sys.argv[1:])
"""


def _process(*arguments: str, **variables: str) -> Ran:
    root = Path(agent.__path__[0]).parent
    ended = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **variables, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)


def test_a_crash_of_the_program(subject: list[str]) -> None:
    ran = _process("-c", CRASH, "--features", "0", *subject, "--llm", "openai")
    assert ran.status != 0
    assert "crashed with" in ran.err
    assert places(ran.out, ran.err) == []


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_the_sdks_own_logging(provider: str, subject: list[str]) -> None:
    def script(asked: Asked) -> Reply:
        return replace(_echoing_headers(asked), headers={"x-echo": asked.headers.get("x-api-key", "")})

    with LLMServer(script) as server:
        options = ["--llm", f"{provider}:model-a", "--base-url", _with_password(server, provider)]
        command = ["-m", "agent.cli", "--features", "1-2", *subject, *options]
        ran = _process(*command, ANTHROPIC_LOG="debug", OPENAI_LOG="debug")
    assert ran.status == 1
    assert "DEBUG" in ran.err
    assert places(ran.out, ran.err) == []


def test_a_run_that_is_killed_leaves_a_journal_without_it(subject: list[str]) -> None:
    def slow_after_one(asked: Asked) -> Reply:
        if (asked.feature or 0) > 4:
            return replace(labelling(asked), delay_s=600)
        return echoing("the answer")(asked)

    with LLMServer(slow_after_one) as server:
        options = ["--llm", "openai:model-a", "--base-url", server.base_url("openai"), "--concurrency", "2"]
        command = [sys.executable, "-m", "agent.cli", "--features", "0-9", *subject, *options]
        environ = {**os.environ, "PYTHONPATH": str(Path(agent.__path__[0]).parent)}
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            while len(server.history) < 5 and process.poll() is None:
                time.sleep(0.02)
            time.sleep(0.2)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        finally:
            out, err = process.communicate()
    assert Path("interpret.db-wal").stat().st_size > 0
    files = {path.name for path in Path.cwd().iterdir()}
    assert any("lock" in name for name in files)
    assert places(out, err) == []


def test_the_search_finds_what_is_there(interpret: Interpret, subject: list[str]) -> None:
    assert places("nothing", f"a {KEY[:9]}\n{KEY[9:]}") == ["text 1, unwrapped"]
    Path("x.lock").write_text(quote(PASSWORD, safe=""))
    assert places("nothing") == ["x.lock"]
    Path("x.lock").unlink()
    interpret("--features", "0", *subject)
    connection = sqlite3.connect("interpret.db")
    with connection:
        connection.execute("UPDATE labels SET reason = ?", ["x" * 4000 + KEY + "x" * 4000])
    connection.close()
    assert "interpret.db, labels" in places()
