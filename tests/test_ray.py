"""`--ray`: actors on a cluster of three nodes on this machine, with the labels and the evidence of one process."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.errors import WorkersError
from agent.llm.offline import Offline
from agent.log.run_log import RunLog
from agent.pool import pool as pool_module
from agent.pool import ray_actors
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from probes.errors import SettingsError
from probes.presets import SubjectSource
from probes.subject import load_subject
from tests.fakes import Notes, config
from tests.fault_runs import Interpret
from tests.test_shards import LABEL, assert_alike, rows_of

N_FEATURES = 30


def test_without_ray_one_sentence_says_what_to_install(
    interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_actors, "find_spec", lambda _: None)
    ran = interpret("--features", "0-3", *tiny, "--ray", "auto")
    assert (ran.status, ran.err) == (2, "interpret: --ray needs Ray: pip install 'sae-interpret[ray]'.\n")


class TestCluster:
    @pytest.fixture(autouse=True)
    def quiet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'sae-interpret[ray]'")
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setattr(pool_module, "RETRY_S", 0.2)
        monkeypatch.setattr(ray_actors, "POLL_S", 0.5)

    @pytest.fixture
    def cluster(self, quiet: None) -> Iterator[Any]:  # noqa: ARG002
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()

    @pytest.fixture
    def source(self, tiny: list[str]) -> SubjectSource:
        return SubjectSource(model=tiny[1], sae=tiny[3], device="cpu")

    def run(self, path: Path, source: SubjectSource, address: str, on_told: Callable[[int], None]) -> RunReport:
        settings = config(probe={"tree": {"cutoff": 0.05, "max_depth": 4}}, concurrency=4)
        spec = RunSpec(settings, load_subject(source), Offline())
        force = ray_actors.RayActors(source, address, None) if address else None
        told: list[int] = []

        def tell(outcome: Outcome) -> None:
            told.append(outcome.feature)
            on_told(len(told))

        with RunLog.open(path) as log:
            notes = Notes(on_told=tell)
            return asyncio.run(run_features(spec, log, range(N_FEATURES), False, notes, workforce=force))

    def test_a_worker_killed_a_node_removed_and_a_node_added_change_nothing(
        self, tmp_path: Path, source: SubjectSource, cluster: Any
    ) -> None:
        done: list[str] = []

        def disturb(n_labels: int) -> None:
            if n_labels == 3:
                residents()[0].kill()
                done.append("killed")
            if n_labels == 9:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                done.append("removed")
            if n_labels == 15:
                cluster.add_node(num_cpus=1, wait=False)
                done.append("added")

        report = self.run(tmp_path / "ray.db", source, cluster.address, disturb)
        assert done == ["killed", "removed", "added"]
        assert (report.stopped, sum(report.outcomes.values())) == (None, N_FEATURES)
        self.run(tmp_path / "one.db", source, "", lambda _: None)
        assert rows_of(tmp_path / "ray.db", "labels", LABEL) == rows_of(tmp_path / "one.db", "labels", LABEL)
        assert_alike(tmp_path / "ray.db", tmp_path / "one.db")

    def test_a_cluster_that_is_not_there_is_one_sentence(self) -> None:
        with pytest.raises(WorkersError, match="There is no Ray cluster to work on at auto"):
            ray_actors.connected("auto")

    def test_a_cluster_without_room_is_one_sentence(self, source: SubjectSource) -> None:
        with pytest.raises(WorkersError, match="has no machine with 2 GPUs for a worker; give a smaller"):
            ray_actors.RayActors(source, "local", 2.0)

    def test_an_address_that_is_none_is_one_sentence(self, source: SubjectSource) -> None:
        with pytest.raises((WorkersError, SettingsError), match="There is no Ray cluster to work on at nowhere"):
            ray_actors.RayActors(source, "nowhere", None)


def residents() -> list[psutil.Process]:
    """The processes in which actors are at work."""
    return [process for process in psutil.process_iter(["cmdline"]) if "ray::Resident" in _command(process)]


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])
