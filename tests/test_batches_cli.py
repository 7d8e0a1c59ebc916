"""Batches from the command line: what is told of them, exit statuses, the log's list, and scorers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.calls import following
from agent.log.batches import batches_of
from agent.log.run_log import RunLog
from agent.log.scores import scores_of
from tests.batch_runs import PACE
from tests.batch_server import BatchServer
from tests.example_files import lines
from tests.fault_runs import Interpret
from tests.fitting import texts
from tests.layered import layered_options
from tests.score_commands import label, named, said
from tests.test_examples_cli import by_verdict

SMALL = ["--cutoff", "0.02", "--max-depth", "4", "--top-n", "10", "--rounds", "2"]


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PACE", PACE)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


def _asking(server: BatchServer) -> list[str]:
    return ["--llm", "openai:model-a", "--base-url", server.base_url("openai"), "--batch"]


def test_no_wait_is_status_1_with_one_sentence_and_the_log_lists_the_batch(
    interpret: Interpret, tiny: list[str], server: BatchServer
) -> None:
    command = ["--features", "0-2", *tiny, *SMALL, *_asking(server)]
    left = interpret(*command, "--wait", "0")
    assert (left.status, left.err) == (1, "")
    assert "at half price in batches" in said(left.out)
    assert "Batch batch_0 is in progress at openai (3 questions, " in said(left.out)
    (run,) = json.loads(interpret("log", "--json").out)
    assert [(row["status"], row["provider_id"], row["n_answered"]) for row in run["batches"]] == [
        ("sent", "batch_0", 0)
    ]
    assert re.search(r"^1 +1 +labels +batch_0 +sent +3 +0", interpret("log").out, re.MULTILINE)
    done = interpret(*command)
    assert (done.status, done.err) == (0, "")
    assert "batch 1 is taken up: batch_0, 3 questions" in said(done.out)
    assert re.search(r"^1 +1 +labels +batch_0 +ended +3 +3", interpret("log").out, re.MULTILINE)
    assert "openai:model-a, batch 1" in said(interpret("show", "0").out)


def test_without_waiting_every_layers_batch_is_sent(
    interpret: Interpret, tmp_path_factory: pytest.TempPathFactory, server: BatchServer
) -> None:
    many = [*layered_options(tmp_path_factory.mktemp("layered")), "--layers", "0-2"]
    labels = ["--features", "0,2", *many, *SMALL, *_asking(server)]
    left = interpret(*labels, "--wait", "0")
    assert (left.status, left.err) == (1, "")
    assert said(left.out).count("is in progress at openai (2 questions, ") == 3
    assert [len(batch.requests) for batch in server.batches] == [2, 2, 2]
    assert interpret(*labels).status == 0
    assert len(server.batches) == 3
    Path("corpus.jsonl").write_bytes(lines({"text": document.text} for document in texts(300, longest=4)))
    interpret("examples", "--features", "0,2", *many, "--corpus", "corpus.jsonl")
    with BatchServer(script=by_verdict) as judge:
        scores = ["score", *many, *_asking(judge), "--scorers", "detection"]
        left = interpret(*scores, "--wait", "0")
        assert (left.status, left.err, len(judge.batches)) == (1, "", 3)
        assert (interpret(*scores).status, judge.history) == (0, [])


@pytest.mark.parametrize("option", ["--wait", "--batch-size"])
def test_what_is_about_batches_is_refused_without_them(option: str, interpret: Interpret, tiny: list[str]) -> None:
    ran = interpret("--features", "0", *tiny, option, "1")
    assert (ran.status, f"{option} is about --batch; add that, or leave this out." in ran.err) == (2, True)


def test_rules_have_no_batches(interpret: Interpret, tiny: list[str]) -> None:
    ran = interpret("--features", "0", *tiny, "--batch")
    assert (ran.status, "The offline explainer has no batches" in ran.err) == (2, True)
    assert not Path("interpret.db").exists()


def test_scorers_ask_in_batches_too_and_come_to_the_same_scores(interpret: Interpret, tiny: list[str]) -> None:
    Path("corpus.jsonl").write_bytes(lines({"text": document.text} for document in texts(300, longest=4)))
    label(named(tiny), dict.fromkeys(range(6), "cat"))
    interpret("examples", "--features", "0-5", *tiny, "--corpus", "corpus.jsonl")
    with BatchServer(script=by_verdict) as server:
        asking = ["score", *tiny, *_asking(server), "--scorers", "detection"]
        left = interpret(*asking, "--wait", "0")
        assert left.status == 1, left.err
        assert interpret(*asking).status == 0
        assert server.history == []
        assert {*server.billed} == {(None, None)}
        in_batches, n_billed = _scores(), server.billed.total()
        asking.remove("--batch")
        assert interpret(*asking, "--seed", "0").status == 0
        assert (server.history, server.billed.total()) == ([], n_billed)  # all of it was in the log
    assert all(batch.scoring_id == 1 and batch.status == "ended" for batch in _log().read(batches_of))
    assert {row["value"] for row in in_batches} != {None}


def _log() -> RunLog:
    return RunLog.open(Path("interpret.db"), read_only=True)


def _scores() -> list[dict[str, object]]:
    with _log() as log:
        return [{"value": score.value, "feature": score.feature} for score in log.read(scores_of, 1)]
