"""What an explainer sees of the examples, and labels tried out on them: the shown side and nothing else."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import agent.run
from agent.llm.base import Answer, AnswerForm, CallFault, Exchange, Request
from agent.log.calls import calls_of
from agent.log.examples import add_collected, begin_corpus, examples_of
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, chosen_run
from agent.moves import ending
from agent.moves.ending import Round, best_tried
from agent.planning import RoundPlan
from agent.replay import replay
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Check, Proposal, SettingsChange
from eval.collect.examples import feature_harvest
from eval.scorers.verdicts import TextVerdict, TextVerdicts
from eval.scoring.prompted import PromptedExamples, PromptLines
from eval.scoring.shown_examples import CorpusExamples
from probes.examples import Activity, Example, FeatureExamples
from probes.settings import Value
from tests.fakes import CARD, SUBJECT, FakeExplainer, FakeProbes, Notes, config, faulty
from tests.logged import corpus_identity

N_DOCUMENTS = 40
SEED = 3


def example(feature: int, number: int) -> Example:
    """A text with a word of its own; it activates the feature on even numbers, on `dog`."""
    kind, word = ("activating", " dog") if number % 2 == 0 else ("random", " cat")
    tokens = ("The", word, f" w{feature}x{number}")
    return Example(feature, kind, f"d{number}", tokens, (0.0, float(number % 2 == 0), 0.0))  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunLog]:
    """Examples of features 0 to 3; feature 3 never activated, feature 4 was not looked at."""
    monkeypatch.setattr(agent.run, "run_probes", FakeProbes())
    with RunLog.open(tmp_path / "log.db") as log:
        corpus_id = log.write(begin_corpus, corpus_identity(subject=CARD)).result()
        for feature in range(4):
            examples = [example(feature, number) for number in range(N_DOCUMENTS)] if feature < 3 else []
            activity = Activity(feature, 1000, 20 * (feature < 3), 1.0, (0.0, 1.0), (20,))
            item = feature_harvest(FeatureExamples(feature, activity, examples), SEED)
            log.write(add_collected, corpus_id, item.found, item.splitting).result()
        yield log


class Reader(FakeExplainer):
    """Labels with the labels it is given, one per round; as a judge it knows which texts a label fits by a word."""

    def __init__(self, labels: Sequence[Proposal | None], words: dict[str, str]) -> None:
        super().__init__([], forms=(AnswerForm.SCHEMA,))
        self.labels, self.words = labels, words

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        self.requests.append(request)
        if request.purpose == "explain":
            value: Value | None = self.labels[min(request.round, len(self.labels)) - 1]
            if value is None:
                return Answer(None, faulty(CallFault.UNUSABLE, "not JSON"))
        else:
            label = request.context["label"]
            fits = [self.words.get(label, "nothing") in text for text in request.context["texts"]]
            value = TextVerdicts(answers=tuple(TextVerdict(number=n, fits=f) for n, f in enumerate(fits, start=1)))
        return Answer(value, Exchange(self.provider, self.model, value.model_dump_json(), form=form))


def label(text: str) -> Proposal:
    return Proposal(action="label", label=text, explanation=f"It is about {text}.", confidence=0.5)


WORDS = {"dogs": "dog", "cats": "cat", "either": "The"}


def run(log: RunLog, explainer: Reader, features: range = range(3), **changes: object) -> RunReport:
    settings = config(seed=SEED, **changes)
    coroutine = run_features(
        RunSpec(settings, SUBJECT, explainer, material=CorpusExamples(log, 1)), log, features, False, Notes()
    )
    return asyncio.run(coroutine)


def words_in(log: RunLog, features: range) -> set[str]:
    calls = [call for feature in features for call in log.read(calls_of, 1, feature)]
    return {word for call in calls for word in re.findall(r"w\d+x\d+", call.prompt + call.system)}


def words_of(log: RunLog, side: str) -> set[str]:
    found = [log.read(examples_of, 1, feature, side) for feature in range(3)]  # type: ignore[arg-type]
    return {item.tokens[2].strip() for one in found if one for item in one.examples}


@pytest.mark.parametrize("feedback", [False, True])
def test_no_held_out_text_ever_reaches_an_explainer(log: RunLog, feedback: bool) -> None:
    run(log, Reader([label("cats"), label("either"), label("dogs")], WORDS), feedback=feedback)
    shown, held_out = words_of(log, "shown"), words_of(log, "held_out")
    assert len(shown) > 30
    assert len(held_out) > 30
    assert not shown & held_out
    seen = words_in(log, range(3))
    assert seen <= shown
    assert len(seen) > 15


def collected_anew(log: RunLog, seed: int, renamed: bool) -> int:
    """The same texts in a corpus of their own, split by another seed, perhaps under other names."""
    corpus_id = log.write(begin_corpus, corpus_identity(subject=CARD, seed=seed, source="again")).result()
    for feature in range(3):
        found = log.read(examples_of, 1, feature)
        assert found is not None
        named = [replace(e, document=f"again {e.document}") if renamed else e for e in found.examples]
        item = feature_harvest(replace(found, examples=named), seed)
        log.write(add_collected, corpus_id, item.found, item.splitting).result()
    return corpus_id


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("renamed", [False, True])
def test_nothing_that_stood_in_a_prompt_is_held_out_of_another_corpus(
    log: RunLog, renamed: bool, feedback: bool
) -> None:
    run(log, Reader([label("cats"), label("either"), label("dogs")], WORDS), feedback=feedback)
    corpus_id = collected_anew(log, SEED + 1, renamed)
    for feature in range(3):
        seen = words_in(log, range(feature, feature + 1))
        found = log.read(examples_of, corpus_id, feature, "held_out")
        assert found is not None
        held_out = {example.tokens[2].strip() for example in found.examples}
        assert held_out & seen
        kept = PromptedExamples.of(log, log.read(chosen_run, 1), feature).less(found.examples)
        assert {example.tokens[2].strip() for example in kept} == held_out - seen


@pytest.mark.parametrize(
    ("words", "is_seen"), [(["Hello", " world"], True), (["Yes"], True), (["No"], False), (["Hello", " it"], False)]
)
def test_a_text_of_a_word_or_two_that_stood_in_a_prompt_is_known(words: list[str], is_seen: bool) -> None:
    prompts = PromptLines(['1. "Hello \u00abworld\u00bb" peak 10 "world"', '2. "\u00abYes\u00bb" peak 4 "Yes"'])
    example = Example(0, "activating", "d", tuple(words), (*[0.0] * (len(words) - 1), 3.0), start=0)
    assert prompts.hold(example) is is_seen


def test_other_stretches_of_a_document_that_stood_in_a_prompt_are_not_held_out_either(log: RunLog) -> None:
    run(log, Reader([label("dogs")], WORDS), range(1))
    (number, *_) = (int(word.partition("x")[2]) for word in words_in(log, range(1)))
    later = Example(0, "activating", f"d{number}", (" and", " so", " it", " went"), (1.0, 0, 0, 0), start=3)
    other = replace(later, document="another")
    assert PromptedExamples.of(log, log.read(chosen_run, 1), 0).less([later, other]) == [other]


def test_texts_are_shown_with_their_active_tokens_marked(log: RunLog) -> None:
    reader = Reader([label("dogs")], WORDS)
    run(log, reader, range(5))
    prompts = {request.feature: request.prompt for request in reader.requests}
    assert '"The «dog» w0x' in prompts[0]
    assert " cat" not in prompts[0].partition("Texts on which")[2]
    assert " % of all tokens." in prompts[0]
    assert "it activated on no text that was read" in prompts[3]
    assert "none were collected of this feature" in prompts[4]
    assert "texts on which it activates" in reader.requests[0].system


def test_a_label_that_does_badly_is_asked_for_again_and_the_best_is_kept(log: RunLog) -> None:
    reader = Reader([label("either"), label("cats"), label("either")], WORDS)
    report = run(log, reader, range(1), feedback=True)
    (row,) = log.read(labels_of, report.run_id)
    assert (row.label, row.rounds) == ("either", 3)  # .5, 0 and .5: the first of the best
    second = next(r for r in reader.requests if (r.purpose, r.round) == ("explain", 2))
    assert 'You proposed the label "either"' in second.prompt
    assert "balanced accuracy was 0.50" in second.prompt
    assert "It is not active here, though the label was found to fit" in second.prompt


def test_a_good_label_is_kept_without_asking_again(log: RunLog) -> None:
    reader = Reader([label("cats"), label("dogs"), label("never asked for")], WORDS)
    report = run(log, reader, range(1), feedback=True)
    (row,) = log.read(labels_of, report.run_id)
    assert (row.label, row.rounds) == ("dogs", 2)
    assert {request.round for request in reader.requests} == {1, 2}


GIVES_UP = Proposal(action="abstain", reason="nothing fits")
STILL_LOOKS = Proposal(action="probe", settings=SettingsChange(scale=1.5), reason="nothing fits")


@pytest.mark.parametrize("last", [GIVES_UP, STILL_LOOKS, None], ids=["abstains", "probes", "says nothing usable"])
def test_a_label_that_beats_chance_is_kept_where_the_explainer_gives_up(
    log: RunLog, monkeypatch: pytest.MonkeyPatch, last: Proposal | None
) -> None:
    monkeypatch.setattr(ending, "GOOD", 2.0)  # even a perfect label is asked for again
    report = run(log, Reader([label("dogs"), label("cats"), last], WORDS), range(1), feedback=True)
    (row,) = log.read(labels_of, report.run_id)
    assert (row.status, row.label, row.rounds) == ("labelled", "dogs", 3)


@pytest.mark.parametrize(("last", "status"), [(GIVES_UP, "abstained"), (STILL_LOOKS, "abstained"), (None, "failed")])
def test_a_label_at_chance_does_not_override_the_explainer(log: RunLog, last: Proposal | None, status: str) -> None:
    report = run(log, Reader([label("either"), label("cats"), last], WORDS), range(1), feedback=True)
    (row,) = log.read(labels_of, report.run_id)
    assert (row.status, row.label) == (status, "")


@pytest.mark.parametrize(("value", "low", "kept"), [(0.7, 0.499, False), (0.75, 0.533, True), (0.6, None, False)])
def test_beating_chance_takes_the_whole_interval(value: float, low: float | None, kept: bool) -> None:
    past = [Round([], label("dogs"), RoundPlan(), Check(value=value, low=low, n=20))]
    assert (best_tried(past, GIVES_UP, None) is not None) == kept
    insists = best_tried(past, label("cats"), Check(value=0.55, low=0.35, n=20))
    assert insists is not None
    assert insists.label == ("dogs" if kept else "cats")


def test_an_abstention_stands_where_no_label_was_measured(log: RunLog) -> None:
    reader = Reader([Proposal(action="abstain", reason="nothing fits")], WORDS)
    report = run(log, reader, range(1), feedback=True)
    (row,) = log.read(labels_of, report.run_id)
    assert (row.status, row.reason) == ("abstained", "nothing fits")


def test_a_feature_without_texts_is_labelled_without_being_tried_out(log: RunLog) -> None:
    report = run(log, Reader([label("dogs")], WORDS), range(3, 5), feedback=True)
    assert report.outcomes == {"labelled": 2}
    assert [row.rounds for row in log.read(labels_of, report.run_id)] == [1, 1]


def test_a_run_with_feedback_replays_from_its_log(log: RunLog) -> None:
    run(log, Reader([label("cats"), label("either"), label("dogs")], WORDS), range(5), feedback=True)
    again = asyncio.run(replay(log, log.read(all_runs)[0], CorpusExamples))
    assert {item.verdict for item in again} == {"identical"}
    assert all(item.prompts_alike for item in again)


def test_feedback_and_texts_make_another_run(log: RunLog) -> None:
    reader = Reader([label("dogs")], WORDS)
    first = run(log, reader, range(1))
    second = run(log, reader, range(1), feedback=True)
    third = asyncio.run(run_features(RunSpec(config(seed=SEED), SUBJECT, reader), log, range(1), False, Notes()))
    assert len({first.run_id, second.run_id, third.run_id}) == 3
