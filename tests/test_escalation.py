"""A cascade: the stronger explainer is asked only where the first one's label is doubtful; nothing is paid twice."""

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from sqlite_utils import Database

from agent.errors import BudgetError
from agent.llm.base import Answer, AnswerForm, Bound, Request
from agent.log.calibrations import Calibration, add_calibration
from agent.log.calls import calls_of
from agent.log.evidence import evidence_rounds
from agent.log.labels import LabelRow, labels_of
from agent.log.rows import update
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.loop import PURPOSE, SECOND
from agent.replay import replay
from agent.run import RunReport, run_features
from agent.run_spec import EscalationSpec, RunSpec
from agent.schema import EarlierOutcome, Outcome, Proposal, SenseResult, SettingsChange
from eval.calibration.doubt import Doubt
from eval.scoring.escalation import escalation_sentences
from eval.scoring.run_verdict import verdicts
from eval.scoring.shown_examples import CorpusExamples
from tests.fakes import SUBJECT, FakeExplainer, FakeProbes, Notes, config
from tests.fault_runs import Interpret
from tests.judging import CONCEPTS
from tests.llm_script import Reply
from tests.llm_server import LLMServer
from tests.planted_labels import TRUE, RuleExplainer, plant, score

SURE = Proposal(action="label", label="dog", confidence=0.9, evidence=("E1.1",))
UNSURE = Proposal(action="label", label="animal", confidence=0.4, evidence=("E1.1",))
NOTHING = Proposal(action="abstain", reason="nothing there")
BLEND = Proposal(action="probe", settings=SettingsChange(weights="blend:0.5"), reason="it may be clearer")
STRONG = Proposal(action="label", label="hound", confidence=0.8, evidence=("E1.1",))


@dataclass
class ByFeature(FakeExplainer):
    """Answers by feature, each answer in turn and the last one ever after; another model each."""

    script: dict[int, list[Any]] | None = None
    most: int | None = None
    """Answers after which it breaks off as Ctrl-C does."""

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        if self.most is not None and len(self.requests) >= self.most:
            raise asyncio.CancelledError
        said = sum(one.feature == request.feature for one in self.requests)
        answers = (self.script or {}).get(request.feature, [STRONG])
        self.answers = [answers[min(said, len(answers) - 1)]]
        return await super().answer(request, form)


CHEAP = {0: [SURE], 1: [UNSURE], 2: [NOTHING], 3: [None], 4: [BLEND, UNSURE], 5: [SURE]}


def explainers(**strong: Any) -> tuple[ByFeature, ByFeature]:
    return ByFeature([], model="cheap", script=CHEAP), ByFeature([], model="strong", **strong)


def cascade(cheap: FakeExplainer, strong: FakeExplainer, doubt: Doubt | None = None, **changes: Any) -> RunSpec:
    settings = config(concurrency=1, **changes)
    second = RunSpec(settings, SUBJECT, strong)  # type: ignore[arg-type]
    judged = doubt or Doubt(0.7, None, "")
    return RunSpec(settings, SUBJECT, cheap, escalation=EscalationSpec(second, 0.7, judged))  # type: ignore[arg-type]


def run(log: RunLog, spec: RunSpec) -> RunReport:
    return asyncio.run(run_features(spec, log, range(6), False, Notes()))


def labels(log: RunLog) -> dict[int, LabelRow]:
    return {row.feature: row for row in log.read(labels_of, 1)}


@pytest.mark.usefixtures("probes")
class TestRun:
    def test_only_doubtful_features_are_escalated_and_the_log_says_from_what(self, log: RunLog) -> None:
        cheap, strong = explainers()
        report = run(log, cascade(cheap, strong))
        assert report.stopped is None
        assert {request.feature for request in strong.requests} == {1, 2, 3, 4}
        found = labels(log)
        assert {feature: row.label for feature, row in found.items()} == {
            **dict.fromkeys((0, 5), "dog"),
            **dict.fromkeys((1, 2, 3, 4), "hound"),
        }
        assert found[0].before is None
        assert found[1].before == EarlierOutcome("labelled", "animal", 0.4, 1)
        assert found[2].before == EarlierOutcome("abstained", "", None, 1)
        assert found[3].before is not None
        assert found[3].before.status == "failed"
        assert found[4].before == EarlierOutcome("labelled", "animal", 0.4, 2)
        models = {(call.purpose, call.model) for f in range(6) for call in log.read(calls_of, 1, f)}
        assert models == {(PURPOSE, "cheap"), (SECOND, "strong")}
        assert cheap.closed
        assert strong.closed

    def test_the_stronger_one_goes_on_with_the_evidence_that_there_is(self, log: RunLog, probes: FakeProbes) -> None:
        cheap, strong = explainers(
            script={4: [BLEND.model_copy(update={"settings": SettingsChange(scale=2.0)}), STRONG]}
        )
        run(log, cascade(cheap, strong))
        asked = [request for request in strong.requests if request.feature == 4]
        assert [request.round for request in asked] == [3, 4]
        assert "another explainer was asked" in asked[0].prompt
        assert 'You proposed the label "animal".' in asked[0].prompt
        assert "another explainer" not in cheap.requests[0].prompt
        assert [*log.read(evidence_rounds, 1, 4)] == [1, 2, 4]  # the third round asked about what there was
        assert len(probes.probed()) == sum(
            len(pieces) for feature in range(6) for pieces in log.read(evidence_rounds, 1, feature).values()
        )

    @pytest.mark.parametrize("most", [0, 1, 2, 3])
    def test_a_run_cut_off_goes_on_and_pays_for_nothing_twice(self, log: RunLog, most: int) -> None:
        cheap, strong = explainers(script={1: [BLEND, STRONG], 4: [BLEND, STRONG]}, most=most)
        with pytest.raises(asyncio.CancelledError):
            run(log, cascade(cheap, strong))
        n_cheap = len(cheap.requests)
        strong.most = None
        run(log, cascade(cheap, strong))
        answered = [(r.feature, r.round) for r in strong.requests]
        assert len(answered) == len({*answered}) == 6
        assert len([r for r in cheap.requests if r.feature != 3]) == 6
        assert n_cheap < len(cheap.requests)
        assert {row.label for row in labels(log).values()} == {"dog", "hound"}

    def test_what_was_doubtful_before_a_cut_stays_so(self, log: RunLog) -> None:
        cheap, strong = explainers(script={1: [BLEND, STRONG]}, most=1)
        with pytest.raises(asyncio.CancelledError):
            run(log, cascade(cheap, strong))
        assert [request.feature for request in strong.requests] == [1]
        strong.most = None
        run(log, cascade(cheap, strong, doubt=Doubt(0.0, None, "nothing")))
        found = labels(log)
        assert found[1].label == "hound"
        assert found[4].label == "animal"

    def test_it_is_replayed_with_both_explainers_answers(self, log: RunLog) -> None:
        run(log, cascade(*explainers(script={4: [BLEND, STRONG]})))
        again = asyncio.run(replay(log, log.read(chosen_run, 1), CorpusExamples))
        assert [one.verdict for one in again] == ["identical"] * 6
        assert all(one.prompts_alike for one in again)

    def test_a_budget_holds_over_both(self, log: RunLog) -> None:
        cheap, strong = explainers()
        cheap.size, strong.size = Bound(tokens=10), Bound(tokens=100)
        report = run(log, cascade(cheap, strong, budget_tokens=135))
        assert isinstance(report.stopped, BudgetError)
        assert (len(cheap.requests), len(strong.requests)) == (3, 1)

    def test_the_end_says_what_it_bought(self, log: RunLog) -> None:
        run(log, cascade(*explainers()))
        [sentence] = escalation_sentences(log, log.read(chosen_run, 1))
        assert sentence.startswith(
            "4 of 6 features were escalated to fake:strong, their label less sure than 0.7 or none: 4 labels changed, "
            "2 of them from none, for 4 calls"
        )

    def test_a_cascade_is_another_run_than_its_first_explainer_alone(self) -> None:
        cheap, strong = explainers()
        alone, both = RunSpec(config(), SUBJECT, cheap), cascade(cheap, strong)  # type: ignore[arg-type]
        assert alone.identity.explainer == "fake:cheap"
        assert both.identity.explainer == "fake:cheap, then fake:strong"
        assert "escalation" not in alone.identity.settings


class TestRule:
    @pytest.mark.parametrize(
        ("found", "doubtful"),
        [
            ({"confidence": 0.7}, False),
            ({"confidence": 0.69}, True),
            ({"confidence": 0.9, "senses": (SenseResult("a", (), 4, 4, 4, 4),)}, False),
            ({"confidence": 0.9, "senses": (SenseResult("a", (), 4, 2, 4, 3),)}, True),
            ({"confidence": 0.9, "status": "abstained"}, True),
            ({}, True),
        ],
    )
    def test_without_a_calibration_the_least_of_what_is_known_counts(
        self, log: RunLog, found: dict[str, Any], doubtful: bool
    ) -> None:
        outcome = Outcome(**{"feature": 1, "status": "labelled", "label": "dog", "rounds": 1, **found})
        assert Doubt.of(log, "fake:cheap", "0" * 64, 0.7)(log, 1, outcome) is doubtful

    def test_a_calibration_comes_before_the_stated_confidence(self, log: RunLog) -> None:
        risen = {"method": "isotonic", "column": "confidence", "xs": [0.1, 0.5], "ys": [0.2, 0.9]}
        log.write(add_calibration, Calibration("fake:cheap", "run 1", ["0" * 64], risen, 40, 30, {})).result()
        doubt = Doubt.of(log, "fake:cheap", "0" * 64, 0.7)
        assert "calibrated on run 1" in doubt.words
        judged = {
            stated: doubt(log, 1, Outcome(feature=1, status="labelled", label="dog", rounds=1, confidence=stated))
            for stated in (0.2, 0.45, 0.6)
        }
        assert judged == {0.2: True, 0.45: False, 0.6: False}


def set_before(db: Database, run_id: int, feature: int, before: EarlierOutcome) -> None:
    """Makes a label one that was escalated."""
    update(db, "labels", {"before": json.dumps(asdict(before))}, {"run_id": run_id, "feature": feature})


def test_scores_tell_whether_escalating_paid(log: RunLog) -> None:
    wrong = {feature: CONCEPTS[(feature + 1) % len(CONCEPTS)] for feature in TRUE}
    planted = plant(log, settings={"escalation": {"below": 0.7, "explainer": "fake:strong", "settings": {}}})
    for feature, label in wrong.items():
        log.write(set_before, planted.run_id, feature, EarlierOutcome("labelled", label, 0.4, 1)).result()
    score(planted, RuleExplainer(), ["detection"])
    found = {verdict.rival: verdict for verdict in verdicts(log, log.read(chosen_run, planted.run_id))}
    assert found["before"].ahead.n == len(TRUE)
    assert found["before"].ahead.value is not None
    assert found["before"].ahead.value > 0.4
    assert "against its labels before they were escalated, by detection: ahead" in found["before"].sentence()


@pytest.mark.usefixtures("own_folder")
class TestCommand:
    SMALL = ("--cutoff", "0.05", "--max-depth", "4", "--rounds", "1")

    def test_rules_first_and_a_model_where_they_doubt(
        self, interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with LLMServer(lambda _: Reply(STRONG.model_dump_json(exclude_defaults=True))) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("openai"))
            asked = ("--features", "0-5", *tiny, *self.SMALL, "--escalate", "openai:model-a", "--escalate-below", "1")
            ran = interpret(*asked)
            assert ran.status == 0, ran.err
            assert "escalation to openai:model-a at http" in " ".join(ran.out.split())
            print(ran.out)
            assert "6 of 6 features were escalated to openai:model-a at http" in " ".join(ran.out.split())
            n_asked = len(server.history)
            assert n_asked == 6
            assert "nothing left to do" in interpret(*asked).out
            assert len(server.history) == n_asked
        assert interpret("replay", "1").status == 0

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (("--escalate-below", "0.5"), "--escalate-below is about --escalate"),
            (("--escalate", "openai:m", "--batch"), "leave out --batch"),
            (("--escalate", "none"), "none is no explainer"),
            (("--escalate", "openai:m", "--llm", "none"), "none is no explainer"),
            (("--escalate", "offline"), "is the explainer that is asked first"),
            (("--escalate", "nobody:m"), "Explainer 'nobody:m' is unknown"),
            (("--escalate", "anthropic:m"), "anthropic needs a key"),
            (("--escalate", "openai:m", "--escalate-below", "1.5"), "escalate-below"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(
        self, interpret: Interpret, tiny: list[str], more: tuple[str, ...], words: str
    ) -> None:
        ran = interpret("--features", "0-2", *tiny, *more)
        assert ran.status == 2
        assert words in " ".join(ran.err.split())
        assert "Traceback" not in ran.err
