"""The device that made each piece of evidence: in the log, in a copy that another run takes, and where it is shown."""

import socket
import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.pool.resident import Resident
from agent.web.feature.evidence import shown
from probes.evidence import Evidence, ProbeRequest
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject
from tests.fakes import vocabulary_list
from tests.fault_runs import Interpret

SMALL = ("--cutoff", "0.05", "--max-depth", "3", "--rounds", "1")


def devices(log: str) -> list[tuple[int, str | None]]:
    with sqlite3.connect(log) as db:
        return db.execute("SELECT DISTINCT run_id, device FROM evidence ORDER BY run_id").fetchall()


@pytest.mark.usefixtures("own_folder")
def test_the_log_names_it_and_a_copy_keeps_it(interpret: Interpret, tiny: list[str]) -> None:
    assert interpret("--features", "0-1", *tiny, *SMALL, "--llm", "none").status == 0
    assert devices("interpret.db") == [(1, "cpu")]
    assert "round 1, on cpu" in interpret("show", "0").out
    with sqlite3.connect("interpret.db") as db:
        db.execute("UPDATE evidence SET device = 'cuda:1'")
    ran = interpret("--features", "0-1", *tiny, *SMALL)
    assert "pieces of evidence taken from other runs" in " ".join(ran.out.split())
    assert devices("interpret.db") == [(1, "cuda:1"), (2, "cuda:1")]
    assert "round 1, on cuda:1" in interpret("show", "0", "--run", "2").out


def test_a_page_says_it_beside_each_piece_and_nothing_where_it_is_not_known() -> None:
    pieces: list[Evidence] = [replace(vocabulary_list(" dog"), device="node-3/cuda:0"), vocabulary_list(" dog")]
    assert shown({1: pieces}).names[1] == ("E1 vocabulary list, on node-3/cuda:0", "E2 vocabulary list")


def test_it_is_no_part_of_what_evidence_says() -> None:
    assert replace(vocabulary_list(" dog"), device="cuda:1") == vocabulary_list(" dog")


@pytest.mark.parametrize(
    ("device", "visible", "name"),
    [("cpu", "", "node-3/cpu"), ("cuda:0", "2", "node-3/cuda:2"), ("cuda:0", "GPU-1a", "node-3/cuda:0")],
)
def test_a_worker_of_a_cluster_names_its_machine_and_the_device_s_number_there(
    subject_of: Callable[[str], Subject], monkeypatch: pytest.MonkeyPatch, device: str, visible: str, name: str
) -> None:
    subject = subject_of("gemma")
    there = replace(subject, card=subject.card.model_copy(update={"device": device}))
    monkeypatch.setattr("probes.subject.load_subject", lambda _: there)
    monkeypatch.setattr(socket, "gethostname", lambda: "node-3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    worker = Resident(in_cluster=True)
    assert worker.load(SubjectSource()).device == name
    request = ProbeRequest("projection", 3, ProbeSettings())
    assert [piece.device for piece in worker.call(run_probes, [request])] == [name]
