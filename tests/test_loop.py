"""The loop of one feature, with fake probes and a fake explainer on a real log."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from agent.calls.asking import Asker
from agent.llm.base import CallFault, Explainer
from agent.log.calls import calls_of
from agent.log.evidence import evidence_rounds
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity
from agent.loop import Loop
from agent.planning import Planner
from agent.prober import DeviceThread, Prober
from agent.schema import Outcome, Proposal, SenseResult, SettingsChange
from probes.settings import ProbeSettings
from tests.fakes import CARD, DOGS, FakeExplainer, FakeProbes, open_door

PROBE = ProbeSettings.parse({"vector": {"scale": CARD.default_scale}, "tree": {"prompt": "definition"}})
LABEL = Proposal(action="label", label=" a  dog\n", explanation="Dogs.", confidence=0.8, evidence=("E1.1", "E77.1"))
BLEND = Proposal(action="probe", settings=SettingsChange(weights="blend:0.5"), reason="the sides differ")
ABSTAIN = Proposal(action="abstain", reason="nothing there")


@dataclass
class Scene:
    """One run with its neighbours; `label` sends one feature through its loop."""

    log: RunLog
    probes: FakeProbes = field(default_factory=FakeProbes)
    rounds: int = 3

    def __post_init__(self) -> None:
        identity = RunIdentity(subject=CARD, settings={}, explainer="fake", templates={})
        self.run_id = self.log.begin_run(identity, [7], new=True).run_id

    def label(self, explainer: Explainer, feature: int = 7) -> Outcome:
        return asyncio.run(self._label(explainer, feature))

    async def _label(self, explainer: Explainer, feature: int) -> Outcome:
        async with Prober(DeviceThread(partial(self.probes, None))) as prober:
            loop = Loop(
                run_id=self.run_id,
                card=CARD,
                planner=Planner(PROBE, ("encoder", "decoder"), CARD.default_scale),
                rounds=self.rounds,
                prober=prober,
                asker=Asker(explainer, self.log, self.run_id, open_door()),
                log=self.log,
                system="read well",
            )
            return await loop.label_feature(feature)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with RunLog.open(tmp_path / "log.db") as log:
        yield Scene(log)


def test_a_label_in_round_one(scene: Scene) -> None:
    outcome = scene.label(explainer := FakeExplainer([LABEL]))
    assert outcome == Outcome(
        feature=7,
        status="labelled",
        label="a dog",
        explanation="Dogs.",
        confidence=0.8,
        rounds=1,
        evidence=("E1.1",),  # the line that does not exist is left out
        senses=(SenseResult("a dog", ("E1.1",)),),
    )
    (request,) = explainer.requests
    assert [piece["kind"] for piece in request.context["evidence"]] == [
        "tree",
        "tokens",
        "tree",
        "tokens",
        "projection",
    ]
    assert '"a kind of dog that barks"' in request.prompt
    assert request.system == "read well"


def test_everything_is_in_the_log_before_it_is_used(scene: Scene) -> None:
    class Watching(FakeExplainer):
        async def answer(self, request, form=None):
            rounds = scene.log.read(evidence_rounds, scene.run_id, 7)
            assert [*rounds] == [*range(1, request.round + 1)]
            *answered, sent = scene.log.read(calls_of, scene.run_id, 7)
            assert len(answered) == request.round - 1
            assert all(call.fault is None for call in answered)
            assert (sent.prompt, sent.fault) == (
                request.prompt,
                CallFault.LOST,
            )  # what it is until its answer comes
            return await super().answer(request, form)

    assert scene.label(Watching([BLEND, LABEL])).status == "labelled"
    calls = scene.log.read(calls_of, scene.run_id, 7)
    assert [(call.round, call.attempt, call.template) for call in calls] == [(1, 1, "explain"), (2, 1, "explain")]


def test_other_settings_are_probed_and_the_history_tells_of_them(scene: Scene) -> None:
    outcome = scene.label(explainer := FakeExplainer([BLEND, LABEL]))
    assert outcome.rounds == 2
    second = explainer.requests[1].context
    assert [piece["id"] for piece in second["evidence"]] == ["E6", "E7"]
    assert second["evidence"][0]["side"] == "blend:0.5"
    (past,) = second["history"]
    assert (past["asked"], past["reason"]) == ({"weights": "blend:0.5"}, "the sides differ")
    assert [piece["id"] for piece in past["evidence"]] == ["E1", "E2", "E3", "E4", "E5"]
    assert not second["last"]


def test_a_repeated_wish_is_refused_and_the_evidence_shown_again(scene: Scene) -> None:
    outcome = scene.label(explainer := FakeExplainer([BLEND, BLEND, LABEL]))
    assert outcome.rounds == 3
    assert len(scene.probes.probed()) == 5 + 2
    third = explainer.requests[2]
    assert "tried" in third.context["history"][1]["refusal"]
    assert "Refused" in third.prompt
    assert [piece["id"] for piece in third.context["evidence"]] == ["E6", "E7"]
    assert third.context["last"]
    assert "This is the last round" in third.prompt


def test_a_wish_in_the_last_round_is_an_abstention(scene: Scene) -> None:
    scene.rounds = 1
    outcome = scene.label(FakeExplainer([BLEND]))
    assert (outcome.status, outcome.rounds) == ("abstained", 1)
    assert "the sides differ" in outcome.reason


def test_an_abstention_has_no_label(scene: Scene) -> None:
    outcome = scene.label(FakeExplainer([ABSTAIN]))
    assert outcome == Outcome(feature=7, status="abstained", rounds=1, reason="nothing there")


def test_an_unusable_answer_fails_and_is_asked_again_on_resume(scene: Scene) -> None:
    outcome = scene.label(FakeExplainer([BLEND, None]))
    assert (outcome.status, outcome.label, outcome.rounds) == ("failed", "", 2)
    assert outcome.reason == "not JSON"
    probed = len(scene.probes.probed())
    again = FakeExplainer([LABEL])
    assert scene.label(again).status == "labelled"
    assert [request.round for request in again.requests] == [2]  # round 1's answer was good and is not asked for again
    assert len(scene.probes.probed()) == probed  # nor is anything probed again
    assert [(call.round, call.attempt) for call in scene.log.read(calls_of, scene.run_id, 7)] == [
        (1, 1),
        (2, 1),  # unusable
        (2, 2),  # told so, and still unusable: the feature failed
        (2, 3),
    ]


def test_a_finished_feature_replays_from_the_log_alone(scene: Scene) -> None:
    first = scene.label(FakeExplainer([BLEND, BLEND, LABEL]))
    probed = len(scene.probes.probed())
    silent = FakeExplainer([None])
    assert scene.label(silent) == first
    assert silent.requests == []
    assert len(scene.probes.probed()) == probed


def test_a_feature_without_a_vector_fails_with_its_reason(scene: Scene) -> None:
    scene.probes = FakeProbes(faulty=frozenset({7}))
    outcome = scene.label(explainer := FakeExplainer([LABEL]))
    assert (outcome.status, outcome.reason, outcome.rounds) == ("failed", "Feature 7 is all zeros.", 0)
    assert explainer.requests == []


def test_a_fault_of_ours_is_the_feature_s_alone_and_is_named(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.probes = FakeProbes(definitions={7: {"encoder": None, "decoder": DOGS}})  # type: ignore[dict-item]
    outcome = scene.label(FakeExplainer([LABEL]))
    assert outcome.status == "failed"
    assert "internal error" in outcome.reason
    assert "Feature 7 failed" in caplog.text
