"""Two processes and one log: what was acknowledged survives kill -9, and a run has one writer."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import LogError
from agent.log.calls import attempts_of
from agent.log.evidence import add_evidence, evidence_of, evidence_rows
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from tests.logged import RULES, identity, outcome, request, token_list

_ROOT = Path(__file__).parent.parent

_WRITER = """
import sys
from pathlib import Path
from agent.log import opening
from agent.log.calls import Dispatch, begin_call, end_call
from agent.log.evidence import add_evidence, evidence_of, evidence_rows
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from tests.logged import BOUND, answer, grown_tree, identity, outcome, request

if sys.argv[2] == "nfs4":
    opening.network_filesystem = lambda path: "nfs4"
tree = grown_tree(40)
with RunLog.open(Path(sys.argv[1])) as log:
    run = log.begin_run(identity(), range(100_000))
    left = [feature for feature in range(100_000) if feature not in run.done]
    for start in range(0, len(left), 8):
        features, last = left[start : start + 8], []
        for feature in features:
            if not log.read(evidence_of, run.run_id, feature, 1):
                log.write(add_evidence, evidence_rows(run.run_id, feature, 1, [tree]))
            sent = log.write(begin_call, run.run_id, request(feature), Dispatch('fake', 'm', None, BOUND))
            log.write(end_call, sent.result(), answer())
            last.append(log.write(add_label, run.run_id, outcome(feature)))
        for feature, future in zip(features, last):
            future.result()
            print(feature, flush=True)
"""

_BEGINNER = """
import sys
from pathlib import Path
from agent.errors import LogError
from agent.log.run_log import RunLog
from tests.logged import identity

with RunLog.open(Path(sys.argv[1])) as log:
    try:
        print("begun", log.begin_run(identity(explainer=sys.argv[2]), [1]).run_id)
    except LogError as error:
        print(error)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def killed_after(process: subprocess.Popen[str], n_lines: int) -> list[int]:
    """The features that the process acknowledged before it was killed, at some moment after the n-th of them."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(n_lines)]
    process.send_signal(signal.SIGKILL)
    rest = process.communicate()[0].splitlines()
    assert process.returncode == -signal.SIGKILL
    return [int(line) for line in (*lines, *rest)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
@pytest.mark.parametrize("filesystem", ["ext4", "nfs4"])
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path, filesystem: str) -> None:
    path = tmp_path / "interpret.db"
    acknowledged: list[int] = []
    for n_lines in (1, 27, 50):  # each one resumes what the one before left
        acknowledged += killed_after(start(_WRITER, str(path), filesystem), n_lines)
    assert len(acknowledged) == len(set(acknowledged)) >= 78
    with RunLog.open(path) as log:
        (run,) = log.read(all_runs)
        labelled = {row.feature for row in log.read(labels_of, run.run_id)}
        assert labelled >= set(acknowledged)
        for feature in labelled:
            assert len(log.read(evidence_of, run.run_id, feature, 1)) == 1
            assert [call.error for call in log.read(attempts_of, run.run_id, request(feature))][-1] is None
        assert log.begin_run(identity(), [0]).run_id == run.run_id  # the dead hold no lock
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_second_process_is_refused_the_run_and_may_have_another(tmp_path: Path) -> None:
    path = tmp_path / "interpret.db"
    with RunLog.open(path) as log:
        log.begin_run(identity(), [1])
        same, other = start(_BEGINNER, str(path), RULES), start(_BEGINNER, str(path), "another")
        said, begun = same.communicate()[0], other.communicate()[0]
    assert "Run 1 of" in said
    assert "is being written by another process" in said
    assert begun == "begun 2\n"


def test_a_refused_run_leaves_no_trace_and_is_free_after_close(tmp_path: Path) -> None:
    path = tmp_path / "interpret.db"
    with RunLog.open(path) as holder:
        holder.begin_run(identity(), [1])
        with RunLog.open(path) as log:
            with pytest.raises(LogError, match="another process"):
                log.begin_run(identity(), [2])
            assert [run.features for run in log.read(all_runs)] == ["1"]
            assert log.begin_run(identity(), [2], new=True).run_id == 2
    with RunLog.open(path) as log:
        assert log.begin_run(identity(explainer="x"), [1]).run_id == 3
        assert log.begin_run(identity(), [1]).run_id == 2


def test_another_name_of_the_same_log_is_no_way_around(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link.db").symlink_to(tmp_path / "interpret.db")
    with RunLog.open(tmp_path / "interpret.db") as log, RunLog.open(tmp_path / "here" / "link.db") as linked:
        log.begin_run(identity(), [1])
        with pytest.raises(LogError, match="another process"):
            linked.begin_run(identity(), [1])


def test_two_runs_write_one_log_at_once(tmp_path: Path) -> None:
    path = tmp_path / "interpret.db"
    with RunLog.open(path) as one, RunLog.open(path) as two:
        runs = [(one, one.begin_run(identity(), range(200)).run_id)]
        runs.append((two, two.begin_run(identity(explainer="x"), range(200)).run_id))
        waiting = []
        for feature in range(200):
            for log, run_id in runs:
                waiting.append(log.write(add_evidence, evidence_rows(run_id, feature, 1, [token_list(" dog")])))
                waiting.append(log.write(add_label, run_id, outcome(feature)))
        for future in waiting:
            future.result(30)
        assert [len(one.read(labels_of, run_id)) for _, run_id in runs] == [200, 200]
