"""`--devices`: a worker process for each, with the labels and the evidence of one process."""

import asyncio
import multiprocessing
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agent.cli.commands.examples_screen import ExamplesScreen
from agent.config import RunConfig
from agent.errors import NoWorkerError
from agent.llm.offline import Offline
from agent.log.run_log import RunLog
from agent.pool.choice import check_workers, workforce_of
from agent.pool.processes import DeviceProcesses, ProcessWorker
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from probes.errors import SettingsError
from probes.presets import SubjectSource
from probes.subject import load_subject
from tests.bench.kill_run import interpret_command
from tests.example_files import lines
from tests.fakes import Notes, config, in_loop
from tests.fault_runs import Interpret
from tests.fitting import texts
from tests.score_commands import said, stored
from tests.test_shards import LABEL, assert_alike, rows_of

SMALL = ("--cutoff", "0.05", "--max-depth", "4", "--rounds", "2")
N_FEATURES = 24
NAP_S = 60


def refused(**settings: object) -> str:
    with pytest.raises(SettingsError) as refusal:
        check_workers(RunConfig.parse(settings))
    return str(refusal.value)


class TestSettings:
    def test_none_are_asked_for_unless_given(self) -> None:
        check_workers(RunConfig())
        assert workforce_of(RunConfig(), "float32") is None

    def test_workers_load_what_this_process_has_loaded(self) -> None:
        made = workforce_of(RunConfig.parse({"devices": "cpu, cpu"}), "float32")
        assert isinstance(made, DeviceProcesses)
        assert (made.n_expected, str(made)) == (2, "cpu, cpu: a process each")

    @pytest.mark.parametrize("devices", ["gpu", "cpu,", "cuda:x", "cuda:0;cuda:1", ",", "all,cpu"])
    def test_what_is_no_device_is_one_sentence(self, devices: str) -> None:
        assert "of --devices is not one; write all, or names" in refused(devices=devices)

    def test_settings_that_contradict_each_other_are_refused(self) -> None:
        assert "leave one of them out" in refused(devices="cpu", ray="auto")
        assert "leave one of them out" in refused(devices="cpu", subject=SubjectSource(device="cpu"))
        assert "leave one of them out" in refused(devices="cpu", subject=SubjectSource(device_map="auto"))
        assert "is about the workers of --ray" in refused(gpus_per_worker=1)

    def test_a_device_that_is_not_there_is_one_sentence(self, interpret: Interpret, tiny: list[str]) -> None:
        ran = interpret("--features", "0-3", *tiny[:4], "--devices", "cpu,cuda:1234")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "Worker cuda:1234: Device cuda:1234 is not available here" in ran.err


def test_two_workers_give_the_labels_of_one_process(interpret: Interpret, tiny: list[str]) -> None:
    assert interpret("--features", f"0-{N_FEATURES}", *tiny, *SMALL, "--log", "one.db").status == 0
    ran = interpret("--features", f"0-{N_FEATURES}", *tiny[:4], *SMALL, "--log", "two.db", "--devices", "cpu,cpu")
    assert ran.status == 0, ran.err
    assert "cpu, cpu: a process each" in ran.out
    assert rows_of(Path("two.db"), "labels", LABEL) == rows_of(Path("one.db"), "labels", LABEL)
    assert_alike(Path("two.db"), Path("one.db"))
    again = interpret("--features", f"0-{N_FEATURES}", *tiny, *SMALL, "--log", "two.db")
    assert f"nothing left to do: all {N_FEATURES + 1} features are done" in again.out


class TestPass:
    """`interpret examples`: batches of a corpus read by workers."""

    @pytest.fixture
    def corpus(self, own_folder: None) -> list[str]:  # noqa: ARG002, a folder to write in
        Path("corpus.jsonl").write_bytes(lines({"text": document.text} for document in texts(6000, longest=60)))
        return ["--corpus", "corpus.jsonl", "--features", "0-5,100"]

    def test_two_workers_give_the_examples_of_one_process(
        self, interpret: Interpret, tiny: list[str], corpus: list[str]
    ) -> None:
        assert interpret("examples", *tiny, *corpus, "--log", "one.db").status == 0
        ran = interpret("examples", *tiny[:4], *corpus, "--log", "two.db", "--devices", "cpu,cpu")
        assert ran.status == 0, ran.err
        assert "cpu, cpu: a process each" in ran.out
        columns = ("feature", "kind", "document", "start", "split", "quantile", "text")
        assert rows_of(Path("two.db"), "examples", columns) == rows_of(Path("one.db"), "examples", columns)
        of_each = ("feature", "n_active", "n_tokens")
        assert rows_of(Path("two.db"), "activity", of_each) == rows_of(Path("one.db"), "activity", of_each)
        again = interpret("examples", *tiny, *corpus, "--log", "two.db")
        assert "examples of all 7 features are in the log" in said(again.out)

    def test_a_pass_whose_workers_are_killed_ends_with_one_sentence(
        self, interpret: Interpret, tiny: list[str], corpus: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        n_read: list[int] = []

        def kill_all(self: ExamplesScreen, n_tokens: int) -> None:  # noqa: ARG001
            n_read.append(n_tokens)
            for child in multiprocessing.active_children():
                child.kill()

        monkeypatch.setattr(ExamplesScreen, "read", kill_all)
        ran = interpret("examples", *tiny[:4], *corpus, "--devices", "cpu,cpu")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "No worker is left" in ran.err
        assert n_read
        assert stored() == {}

    def test_imported_files_are_read_without_workers(self, interpret: Interpret, tiny: list[str]) -> None:
        ran = interpret("examples", "--features", "0", *tiny[:4], "--import", "x.jsonl", "--devices", "cpu,cpu")
        assert ran.status == 2
        assert "--devices is about reading a corpus, not about --import" in ran.err


class TestKilled:
    @pytest.fixture
    def source(self, tiny: list[str]) -> SubjectSource:
        return SubjectSource(model=tiny[1], sae=tiny[3], device="cpu")

    def run(self, path: Path, source: SubjectSource, n_workers: int, on_told: Callable[[Outcome], None]) -> RunReport:
        settings = config(probe={"tree": {"cutoff": 0.05, "max_depth": 4}}, concurrency=8)
        spec = RunSpec(settings, load_subject(source), Offline())
        force = DeviceProcesses(source, ["cpu"] * n_workers, 1) if n_workers else None
        with RunLog.open(path) as log:
            work = run_features(spec, log, range(N_FEATURES), False, Notes(on_told=on_told), workforce=force)
            return asyncio.run(work)

    def test_a_worker_that_is_killed_leaves_its_work_to_the_other(self, tmp_path: Path, source: SubjectSource) -> None:
        killed: list[int] = []

        def kill_one(_: Outcome) -> None:
            children = multiprocessing.active_children()
            if not killed and len(children) == 2:
                killed.append(children[0].pid or 0)
                children[0].kill()

        report = self.run(tmp_path / "two.db", source, 2, kill_one)
        assert len(killed) == 1
        assert report.stopped is None
        self.run(tmp_path / "one.db", source, 0, lambda _: None)
        assert rows_of(tmp_path / "two.db", "labels", LABEL) == rows_of(tmp_path / "one.db", "labels", LABEL)
        assert_alike(tmp_path / "two.db", tmp_path / "one.db")

    def test_without_a_worker_left_the_run_ends_and_goes_on(self, tmp_path: Path, source: SubjectSource) -> None:
        def kill_all(_: Outcome) -> None:
            for child in multiprocessing.active_children():
                child.kill()

        report = self.run(tmp_path / "two.db", source, 2, kill_all)
        assert isinstance(report.stopped, NoWorkerError)
        assert "its process has ended; give the same command again" in str(report.stopped)
        n_done = sum(report.outcomes.values())
        assert 0 < n_done < N_FEATURES
        rest = self.run(tmp_path / "two.db", source, 2, lambda _: None)
        assert (rest.resumed, rest.n_done_before, rest.stopped) == (True, n_done, None)
        self.run(tmp_path / "one.db", source, 0, lambda _: None)
        assert rows_of(tmp_path / "two.db", "labels", LABEL) == rows_of(tmp_path / "one.db", "labels", LABEL)

    @in_loop
    async def test_a_worker_that_is_not_waited_for_ends_at_once(self, source: SubjectSource) -> None:
        worker = ProcessWorker("cpu", source, 1)
        await worker.arrive()
        await worker.load()
        nap = asyncio.create_task(worker.call(asleep))
        await asyncio.sleep(0.2)
        nap.cancel()
        started = time.monotonic()
        await worker.close()
        assert time.monotonic() - started < NAP_S / 2

    def test_workers_end_with_a_command_that_is_killed(self, tmp_path: Path, tiny: list[str]) -> None:
        command = interpret_command("all", tmp_path / "killed.db", *tiny[:4], "--devices", "cpu,cpu")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "is at work" in line:
                    break
            workers = psutil.Process(process.pid).children(recursive=True)
            assert len(workers) >= 2  # and Python's own tracker of resources
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        deadline = time.monotonic() + 30
        while any(map(_is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(_is_alive, workers))


def asleep(_subject: object) -> None:
    """Takes a while, in a worker."""
    time.sleep(NAP_S)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
