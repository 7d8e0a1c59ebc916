"""`interpret serve` as a command: what it prints, what it refuses, how it ends, and what it does not load."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

import agent.cli.commands.serve
from agent.cli import main
from agent.cli.commands.reviewer import reviewer_name
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from tests.serving import scored_log, unreleased_log
from tests.subjects import write_sae

Refused = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "log.db"
    scored_log(found, n_labels=4).close()
    return found


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """The one sentence with which the command refuses; it must not get as far as serving."""

    def run(*options: str) -> str:
        monkeypatch.setattr(agent.cli.commands.serve.uvicorn.Server, "run", None)
        with pytest.raises(SystemExit) as ended:
            main(["serve", "--no-open", *options])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    return run


def test_saes_of_several_layers_are_named_as_for_other_commands(refused: Refused, path: Path, tmp_path: Path) -> None:
    one, other = (str(write_sae(tmp_path / name)) for name in ("one", "other"))
    here = ("--log", str(path), "--model", str(tmp_path))
    assert "Two SAEs are given for layer 1" in refused(*here, "--sae", one, "--sae", other)
    assert "say of which ones, as --layers 0-25" in refused(*here, "--sae", str(tmp_path / "{layer}"))
    assert "say where their layer stands" in refused("--log", str(path), "--layers", "0-2")


def test_it_prints_an_address_that_works_and_stops_at_ctrl_c(path: Path) -> None:
    command = [sys.executable, "-m", "agent.cli", "serve", "--no-open", "--log", str(path), "--reviewer", "ann"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as served:
        assert served.stdout is not None
        assert "reviews are written as ann" in served.stdout.readline()
        address = served.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
        with httpx2.Client(follow_redirects=True) as browser:
            assert "Runs in" in browser.get(address).text
            assert browser.get(address.split("?")[0] + "runs/1").status_code == 200
        assert httpx2.get(address.split("?")[0]).status_code == 403
        served.send_signal(signal.SIGINT)
        assert served.stdout.read() == "Stopped.\n"
        assert served.wait(timeout=20) == 0


def test_without_a_subject_torch_is_not_loaded() -> None:
    """Nor by `interpret review`."""
    modules = "sys, agent.cli.commands.serve, agent.cli.commands.review"
    script = f"import {modules}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_port_in_use_is_one_sentence(path: Path, refused: Refused) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        assert f"Port {port} is in use" in refused("--log", str(path), "--port", port)


def test_a_host_that_is_not_this_machine_is_one_sentence(path: Path, refused: Refused) -> None:
    assert "No pages can be served at 192.0.2.1" in refused("--log", str(path), "--host", "192.0.2.1")
    assert "No pages can be served at no-such-host" in refused("--log", str(path), "--host", "no-such-host.invalid")


def test_what_is_not_a_log_of_ours_is_refused(tmp_path: Path, path: Path, refused: Refused) -> None:
    assert "There is no log" in refused("--log", str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    assert "not a file" in refused("--log", str(tmp_path))
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at " * 100)
    assert "not a SQLite database" in refused("--log", str(tmp_path / "text.db"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 9")
    assert "newer version" in refused("--log", str(path))


@pytest.fixture
def sealed(path: Path) -> Iterator[Path]:
    path.chmod(0o444)
    path.parent.chmod(0o555)
    yield path
    path.parent.chmod(0o755)


def test_a_log_that_cannot_be_written_can_be_looked_at(
    sealed: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)  # root may write anywhere
    assert "add --read-only to look at it" in refused("--log", str(sealed))
    with agent.cli.commands.serve._open(sealed, read_only=True) as log:
        assert len(log.read(labels_of, 1)) == 4


def test_others_are_warned_about(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agent.cli.commands.serve.uvicorn.Server, "run", lambda *_, **__: None)
    for host, warned in (("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False)):
        with pytest.raises(SystemExit):
            main(["serve", "--no-open", "--log", str(path), "--host", host])
        assert ("Warning" in capsys.readouterr().out) == warned


def test_a_browser_is_opened_by_a_private_file_where_there_is_a_display(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[int, str]] = []

    def look(address: str) -> None:
        file = Path(address.removeprefix("file://"))
        opened.append((file.stat().st_mode & 0o777, file.read_text()))

    monkeypatch.setattr(agent.cli.commands.serve.uvicorn.Server, "run", lambda *_, **__: None)
    monkeypatch.setattr(agent.cli.commands.serve.webbrowser, "open", look)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, options in (("", []), (":0", ["--no-open"]), (":0", [])):
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with pytest.raises(SystemExit):
            main(["serve", "--log", str(path), *options])
    ((mode, page),) = opened
    assert mode == 0o600
    assert "?token=" in page


@pytest.mark.parametrize("options", [(), ("--read-only",)])
def test_a_log_of_an_unreleased_version_is_refused(tmp_path: Path, refused: Refused, options: Sequence[str]) -> None:
    unreleased_log(tmp_path / "old.db")
    assert "before its first release" in refused("--log", str(tmp_path / "old.db"), *options)


def test_a_reviewers_name_is_a_name() -> None:
    assert reviewer_name("  Ann ") == "Ann"
    assert reviewer_name(None)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "--reviewer is empty"),
        ("  ", "--reviewer is empty"),
        ("x" * 101, "A reviewer's name has 1 to 100 characters"),
    ],
)
def test_another_is_refused(path: Path, refused: Refused, name: str, why: str) -> None:
    assert why in refused("--log", str(path), "--reviewer", name)


def test_the_log_is_closed_however_it_ends(path: Path, refused: Refused) -> None:
    refused("--log", str(path), "--host", "192.0.2.1")
    assert not Path(f"{path}-wal").exists()
    RunLog.open(path).close()
