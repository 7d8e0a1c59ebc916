"""A run worked out again from its log: the same labels, and nobody is asked."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import agent.run
from agent.cli.commands.replay import replay_run
from agent.errors import LogError
from agent.llm import experimenting
from agent.llm.base import Answer, AnswerForm, CallFault, Request
from agent.llm.offline import Offline
from agent.log.evidence import evidence_rounds
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.replay import ReplayedLabel, changed_templates, replay
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Proposal, SettingsChange
from eval.scoring.shown_examples import CorpusExamples
from tests.fakes import GENERIC, MIXED, SUBJECT, FakeExplainer, FakeProbes, Notes, config, faulty

LABEL = Proposal(action="label", label="dog", explanation="Dogs.", confidence=0.8, evidence=("E1.1", "E6.1"))
BLEND = Proposal(action="probe", settings=SettingsChange(weights="blend:0.5"), reason="the sides differ")


class Varied(FakeExplainer):
    """Labels, looks again, abstains, refuses and stammers, by feature."""

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        by_feature = {
            0: [LABEL],
            1: [BLEND, LABEL],
            2: [BLEND, BLEND, Proposal(action="abstain", reason="nothing there")],
            3: [faulty(CallFault.FINAL, "the model refused: no")],
            4: [None, LABEL],
            5: [None, None],
            6: [BLEND, BLEND, BLEND],
        }
        said = sum(earlier.feature == request.feature for earlier in self.requests)
        self.answers = [by_feature.get(request.feature, [LABEL])[said]]
        return await super().answer(request, form)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a finished run in which everything happens; feature 7 has no vector."""
    fake = FakeProbes(definitions={1: {"encoder": MIXED}, 2: {"decoder": GENERIC}}, faulty=frozenset({7}))
    monkeypatch.setattr(agent.run, "run_probes", fake)
    with RunLog.open(tmp_path / "log.db") as log:
        both = config(weights_plan=("encoder", "decoder"))
        asyncio.run(run_features(RunSpec(both, SUBJECT, Varied([])), log, range(9), False, Notes()))
    return tmp_path / "log.db"


def replayed(path: Path) -> list[ReplayedLabel]:
    with RunLog.open(path, read_only=True) as log:
        return asyncio.run(replay(log, log.read(all_runs)[-1], CorpusExamples))


def tamper(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


def test_every_kind_of_ending_comes_out_as_it_did(path: Path) -> None:
    again = replayed(path)
    assert [item.stored.status for item in again] == [
        "labelled", "labelled", "abstained", "failed", "labelled", "failed", "abstained", "failed", "labelled",
    ]  # fmt: skip
    assert [item.verdict for item in again] == ["identical"] * 7 + ["not asked", "identical"]
    assert [item.calls for item in again] == [1, 2, 3, 1, 1, 1, 3, 0, 1]
    assert all(item.prompts_alike for item in again)
    assert again[1].stored.evidence == ("E1.1", "E6.1")


def test_an_answer_that_was_tampered_with_shows(path: Path) -> None:
    tamper(path, "UPDATE calls SET answer = replace(answer, 'dog', 'cat') WHERE feature = 0")
    tamper(path, "UPDATE calls SET prompt = prompt || 'x' WHERE feature = 8")
    again = replayed(path)
    assert (again[0].verdict, again[0].differences["label"]) == ("different", ("dog", "cat"))
    assert set(again[0].differences) == {"label", "senses"}
    assert [item.prompts_alike for item in again] == [True] * 8 + [False]


def test_a_log_without_the_evidence_says_so(path: Path) -> None:
    tamper(path, "DELETE FROM evidence WHERE feature = 1 AND round = 2")
    with pytest.raises(LogError, match="lacks evidence on feature 1"):
        replayed(path)


def test_a_run_without_labels_has_nothing_to_replay(path: Path) -> None:
    tamper(path, "DELETE FROM labels")
    with pytest.raises(LogError, match="Run 1 has no label to replay"):
        replay_run(path, 1)


def test_a_replay_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    replayed(path)
    assert path.read_bytes() == before


def test_templates_that_changed_since_are_named(path: Path) -> None:
    with RunLog.open(path, read_only=True) as log:
        assert changed_templates(log.read(all_runs)[0]) == []
    connection = sqlite3.connect(path)
    connection.execute("""UPDATE runs SET templates = json_set(templates, '$.system', 'other')""")
    connection.commit()
    connection.close()
    with RunLog.open(path, read_only=True) as log:
        assert changed_templates(log.read(all_runs)[0]) == ["system"]


def test_offline_runs_replay_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.run, "run_probes", FakeProbes(definitions={3: {"encoder": MIXED, "decoder": GENERIC}}))
    with RunLog.open(tmp_path / "log.db") as log:
        asyncio.run(run_features(RunSpec(config(), SUBJECT, Offline()), log, range(6), False, Notes()))
    assert {item.verdict for item in replayed(tmp_path / "log.db")} == {"identical"}


def test_a_run_whose_explainer_tested_its_labels_comes_out_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.run, "run_probes", FakeProbes())
    monkeypatch.setattr(experimenting, "UNSURE", 1.0)  # the label of these probes is sure
    with RunLog.open(tmp_path / "log.db") as log:
        asyncio.run(run_features(RunSpec(config(tests=True), SUBJECT, Offline()), log, range(2), False, Notes()))
        kinds = [[type(piece).__name__ for piece in round_] for round_ in log.read(evidence_rounds, 1, 0).values()]
    assert kinds[1:] == [["Experiment"]]
    assert [(item.verdict, item.calls, item.prompts_alike) for item in replayed(tmp_path / "log.db")] == [
        ("identical", 2, True)
    ] * 2
