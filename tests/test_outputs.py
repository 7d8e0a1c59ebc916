"""What commands write never replaces what is in use, nor what is no plain file; what it replaces it replaces whole."""

import os
import socket
import stat
from pathlib import Path

import pytest

from probes.doors.outputs import check_output, written
from probes.errors import OutputError
from tests.fault_runs import Interpret
from tests.full_logs import fill


@pytest.fixture
def log(own_folder: None) -> Path:  # noqa: ARG001
    """A log with a run, in the working folder."""
    fill(Path("run.db"), [5])
    return Path("run.db")


def hard_link(log: Path) -> str:
    os.link(log, "hard.svg")
    return "hard.svg"


def symbolic_link(log: Path) -> str:
    Path("soft.svg").symlink_to(log)
    return "soft.svg"


def chain(log: Path) -> str:
    Path("b.svg").symlink_to(log)
    Path("a.svg").symlink_to("b.svg")
    return "a.svg"


WAYS_TO_THE_LOG = {
    "itself": str,
    "another spelling": lambda log: f"./../{Path.cwd().name}/{log}",
    "hard link": hard_link,
    "symbolic link": symbolic_link,
    "links of links": chain,
    "write-ahead log": lambda log: f"{log}-wal",
    "shared memory": lambda log: f"{log}-shm",
    "journal": lambda log: f"{log}-journal",
    "lock": lambda log: f"{log}.run1.lock",
}
COMMANDS = {
    "export": ("export", "1", "--format", "csv", "--to"),
    "export to a folder": ("export", "1", "--format", "neuronpedia", "--to"),
    "svg": ("tree", "0", "--svg"),
    "png": ("tree", "0", "--png"),
    "score": ("score", "1", "--plot"),
    "compare": ("compare", "--features", "0", "--plot"),
    "compare runs": ("compare", "--runs", "1,2", "--plot"),
    "fit": ("fit", "--labels", "1", "--to"),
}


@pytest.mark.parametrize("way", WAYS_TO_THE_LOG)
def test_no_name_of_the_log_and_of_what_lies_beside_it_is_written_to(interpret: Interpret, log: Path, way: str) -> None:
    output = WAYS_TO_THE_LOG[way](log)
    before = log.read_bytes()
    ran = interpret("export", "1", "--format", "csv", "--to", output, "--log", str(log))
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert log.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_that_writes_a_file_is_compared_with_the_log(
    interpret: Interpret, log: Path, command: str
) -> None:
    before = log.read_bytes()
    ran = interpret(*COMMANDS[command], str(log), "--log", str(log))
    assert (ran.status, "in use by this very command" in ran.err) == (2, True), ran
    assert log.read_bytes() == before


def test_a_log_that_is_not_there_yet_is_in_use_too(interpret: Interpret, own_folder: None) -> None:  # noqa: ARG001
    ran = interpret("tree", "0", "--svg", "new.db", "--log", "sub/../new.db")
    assert (ran.status, "in use" in ran.err) == (2, True)


def test_settings_and_inputs_are_in_use(interpret: Interpret, log: Path) -> None:
    Path("interpret.toml").write_text(f'[run]\nlog = "{log}"\n')
    Path("chosen.txt").write_text("5\n")
    for output, more in (("interpret.toml", ()), ("chosen.txt", ("--features", "@chosen.txt")), (str(log), ())):
        before = Path(output).read_bytes()
        ran = interpret("export", "1", "--format", "csv", "--to", output, *more)
        assert (ran.status, "in use" in ran.err) == (2, True), output
        assert Path(output).read_bytes() == before


def test_files_of_a_model_in_use_are_not_replaced_and_pictures_beside_them_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tree.svg").write_text("old")
    with pytest.raises(OutputError, match="in use"):
        check_output(tmp_path / "config.json", [tmp_path])
    check_output(tmp_path / "tree.svg", [tmp_path])
    check_output(tmp_path / "new.json", [tmp_path])


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device", "link to a device"])
def test_what_is_no_file_is_refused_and_left_as_it_is(interpret: Interpret, log: Path, kind: str) -> None:
    place = Path("place.csv")
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(place))
        case "device":
            if os.geteuid():
                pytest.skip("only root makes devices")
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        case _:
            place.symlink_to(os.devnull)
    before = place.lstat()
    ran = interpret("export", "1", "--to", str(place), "--log", str(log))
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert (place.lstat().st_ino, place.lstat().st_mode) == (before.st_ino, before.st_mode)


def test_no_database_is_replaced_whoever_made_it(interpret: Interpret, log: Path) -> None:
    fill(Path("other.csv"), [1])
    Path("other.csv-wal").touch()
    for output in ("other.csv", "other.csv-wal", "other.csv.run3.lock"):
        ran = interpret("export", "1", "--format", "csv", "--to", output, "--log", str(log))
        assert (ran.status, "database" in ran.err) == (2, True), output


def test_a_link_to_a_file_stays_a_link_and_the_file_is_replaced_with_its_rights(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with written(link) as file:
        file.write(b"new")
    assert (link.is_symlink(), target.read_text(), stat.S_IMODE(target.stat().st_mode)) == (True, "new", 0o640)
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_a_file_appears_whole_or_not_at_all_even_under_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    writing = written(path)
    writing.__enter__().write(b"half")
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [*tmp_path.iterdir()] == []
    with written(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.csv"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match=r"Nothing can be written to .*out\.csv: No space left on device\."),
        written(path) as file,
    ):
        file.write(b"new")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("out.csv", "old")]
