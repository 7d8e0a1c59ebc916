"""Scoring from the log and into it: which texts scorers see, what stays unscored and why, what is never asked twice."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.calls.budget import Limits
from agent.calls.questions import Questions
from agent.errors import BudgetError, ExplainerError
from agent.evidence.digest import CHARS_PER_TOKEN
from agent.llm.base import Answer, Bound, CallFault, Exchange, Request
from agent.log.calls import calls_of, spent_by
from agent.log.examples import add_collected, examples_of
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.log.scores import ScoreRow, score_kinds, scores_of
from agent.schema import Proposal
from agent.web.figures import histogram
from eval.collect.split import ALIKE, peak_word, split_of, without_duplicates
from eval.scorers import SCORERS
from eval.scoring import judge as judging
from eval.scoring import report, score_run
from eval.scoring.expected import expected_questions
from eval.scoring.scoring_examples import ScoringExamples
from eval.scoring.variants import variant_words
from probes.examples import Activity, Baseline, Example, FeatureExamples
from tests.fakes import faulty, open_door
from tests.judging import CONCEPTS, texts
from tests.logged import add_call, identity, outcome, request
from tests.planted_labels import (
    SEED,
    TRUE,
    Planted,
    RuleExplainer,
    Told,
    of_feature,
    plant,
    score,
    scoring,
    settings,
    sides,
)

VARIANTS = {"label", "shuffled", "tokens", "one_shot", "baseline", "known"}


def named(scores: Sequence[ScoreRow], **wanted: Any) -> list[ScoreRow]:
    """The scores with these fields."""
    return [score for score in scores if all(getattr(score, name) == value for name, value in wanted.items())]


def shown_texts(planted: Planted, feature: int) -> list[str]:
    found = planted.log.read(examples_of, planted.corpus_id, feature, "shown")
    assert found is not None
    return [example.text for example in found.examples]


class TestTexts:
    @pytest.mark.parametrize("name", ["detection", "fuzzing", "simulation", "discrimination"])
    def test_no_text_that_may_be_shown_reaches_a_scorers_question(self, name: str, log: RunLog) -> None:
        planted, judge = plant(log), RuleExplainer()
        score(planted, judge, [name])
        scored = [request for request in judge.requests if request.purpose.startswith(name)]
        assert len(scored) > 6
        for feature in TRUE:
            asked = [_bare(request.prompt) for request in scored if request.feature == feature]
            held_out = log.read(examples_of, planted.corpus_id, feature, "held_out")
            assert held_out is not None
            assert any(_bare(example.text) in prompt for example in held_out.examples for prompt in asked)
            assert not [t for t in shown_texts(planted, feature) if any(_bare(t) in prompt for prompt in asked)]

    def test_only_the_one_shot_label_is_made_from_texts_that_may_be_shown(self, log: RunLog) -> None:
        planted, judge = plant(log, {0: "dog", 1: "fruit"}), RuleExplainer()
        score(planted, judge)
        (asked,) = [request for request in judge.asked("one_shot") if request.feature == 0]
        held_out = log.read(examples_of, planted.corpus_id, 0, "held_out")
        assert held_out is not None
        assert any(_bare(text) in _bare(asked.prompt) for text in shown_texts(planted, 0))
        assert not any(_bare(example.text) in _bare(asked.prompt) for example in held_out.examples)

    def test_what_reads_nearly_like_a_shown_text_is_left_out(self) -> None:
        shown = texts(0, "activating", 6)
        near = [replace(e, document=f"copy {e.document}", tokens=(*e.tokens, " .")) for e in shown[:4]]
        far = texts(0, "activating", 8, seed=1)
        found = sides_of(shown, [*near, *far, *far])
        assert {example.document for example in found.activating} == {example.document for example in far}
        assert len(found.activating) == len(far)
        assert len(without_duplicates([shown[0], near[0]])) == 1, ALIKE

    def test_the_texts_are_drawn_by_the_seed_and_no_more_than_asked_for(self) -> None:
        held_out = texts(0, "activating", 30) + texts(0, "random", 30)
        one, same, other = (sides_of([], held_out, seed=seed, texts=7) for seed in (1, 1, 2))
        assert [len(one.activating), len(one.negatives)] == [7, 7]
        assert one == same
        assert {e.document for e in one.activating} != {e.document for e in other.activating}

    def test_negatives_are_of_the_kinds_asked_for_and_silent(self) -> None:
        held_out = [*of_feature(0).examples]
        for kinds in (("random",), ("neighbour",), ("random", "neighbour")):
            found = sides_of([], held_out, negatives=kinds)
            assert {example.kind for example in found.negatives} == {*kinds}
            assert {example.peak for example in found.negatives} == {0}

    def test_texts_of_neighbours_keep_the_neighbours_activations(self) -> None:
        found = sides_of([], [*of_feature(0).examples], negatives=("random",))
        assert sorted(found.neighbours) == [1, 2, 3]
        assert all(example.peak > 0 and example.neighbour == n for n, es in found.neighbours.items() for example in es)

    def test_a_label_and_its_controls_are_scored_on_the_same_texts(self, log: RunLog) -> None:
        def with_baseline(feature: int) -> FeatureExamples:
            return replace(of_feature(feature), baselines=[Baseline(feature, "thunder", "someone")])

        names = ["detection", "embedding", "discrimination"]
        scores = score(plant(log, examples=with_baseline), RuleExplainer(), names)
        for name in names:
            for feature in TRUE:
                mine = named(scores, scorer=name, feature=feature, part="held_out")
                keys = {tuple(item["key"] for item in one.items) for one in mine}
                assert {one.variant for one in mine} == VARIANTS
                assert len(keys) == 1
                assert len(keys.pop()) >= 10

    def test_a_judge_that_always_says_the_first_is_not_equally_lucky_with_all_features(self, log: RunLog) -> None:
        def first(_: Request, right: dict[str, Any]) -> dict[str, Any]:
            return {"answers": [{**one, "text": 1} for one in right["answers"]]} if "answers" in right else right

        scores = score(plant(log), RuleExplainer(first), ["discrimination"])
        found = [tuple(item["prediction"] for item in one.items) for one in named(scores, variant="label")]
        assert len({one[:12] for one in found if one}) == len(TRUE)


def sides_of(shown: Sequence[Example], held_out: Sequence[Example], seed: int = 0, **changes: Any) -> ScoringExamples:
    return ScoringExamples.of(held_out, shown, settings(**changes), seed)


def _bare(text: str) -> str:
    """Words alone, so that a text is found however a prompt lays it out."""
    return " ".join(re.sub(r'^\d+\.|[«»"]', " ", text, flags=re.MULTILINE).split())


def test_the_first_label_of_a_run_with_feedback_is_scored_of_every_feature(log: RunLog) -> None:
    planted, judge = plant(log, {0: "dog", 1: "fruit"}), RuleExplainer()
    for feature, words in ((0, "puppy"), (1, " fruit ")):
        proposal = Proposal(action="label", label=words, explanation="", confidence=0.5)
        add_call(log, planted.run_id, request(feature), Answer(proposal, Exchange("fake", "rules", "")))
    plain = scoring(planted, judge)
    asyncio.run(plain.score(planted.rows, 4, Told()))
    assert not named(log.read(scores_of, plain.scoring_id), variant="first")
    made = replace(plain, run=replace(plain.run, settings={"feedback": True}))
    asyncio.run(made.score(planted.rows, 4, Told()))
    first = named(log.read(scores_of, made.scoring_id), variant="first", part="held_out")
    labels = named(log.read(scores_of, made.scoring_id), variant="label", part="held_out")
    assert [(one.feature, one.label) for one in first] == [(0, "puppy"), (1, "fruit")]
    assert first[0].value is not None
    assert first[0].value < 1
    assert first[1] == replace(labels[1], variant="first")
    assert {request.feature for request in judge.requests if request.purpose.endswith("/first")} == {0}


class TestNewWords:
    def test_a_part_of_its_own_holds_the_texts_that_peak_on_words_of_no_shown_text(self, log: RunLog) -> None:
        def two_words_shown(feature: int) -> FeatureExamples:
            found = of_feature(feature)
            return replace(found, examples=[e for e in found.examples if _may_stay(e)])

        planted, judge = plant(log, {0: "dog puppy", 1: "fruit"}, two_words_shown), RuleExplainer()
        scores = score(planted, judge)
        (whole,) = named(scores, feature=0, variant="label", part="held_out")
        (new,) = named(scores, feature=0, variant="label", part="new_words")
        held_out = log.read(examples_of, planted.corpus_id, 0, "held_out", ["activating"])
        assert held_out is not None
        old = {f"{e.document}:0" for e in held_out.examples if peak_word(e) in ("dog", "puppy")}
        asked_about = {item["key"] for item in whole.items}
        assert old & asked_about
        assert new.n == len(asked_about - old)
        n_activating = sum(bool(item["truth"]) for item in whole.items)
        # the label names the old words alone
        assert (whole.extra["recall"], new.extra["recall"]) == (pytest.approx(len(old & asked_about) / n_activating), 0)
        assert new.items == []

    def test_where_every_word_is_new_both_parts_agree(self, log: RunLog) -> None:
        def nothing_shown(feature: int) -> FeatureExamples:
            found = of_feature(feature)
            return replace(found, examples=[e for e in found.examples if split_of(e.document, SEED) == "held_out"])

        scores = score(plant(log, {0: "dog", 1: "fruit"}, nothing_shown), RuleExplainer())
        (whole,) = named(scores, feature=0, variant="label", part="held_out")
        (new,) = named(scores, feature=0, variant="label", part="new_words")
        assert (new.value, new.n) == (whole.value, whole.n)

    def test_where_no_word_is_new_that_part_is_unscored_with_its_reason(self, log: RunLog) -> None:
        scores = named(score(plant(log), RuleExplainer()), part="new_words", variant="label")
        assert {(one.value, one.reason) for one in scores} == {
            (None, "every held-out text peaks on a word that a shown text has")
        }

    def test_texts_that_the_judge_wrote_have_no_such_part(self, log: RunLog) -> None:
        scores = score(plant(log, {0: "dog", 1: "fruit"}), RuleExplainer(), ["clarity"])
        assert {one.part for one in scores} == {"held_out"}


def _may_stay(example: Example) -> bool:
    """Tells whether it has a place where only these words are among the shown ones."""
    held_out = split_of(example.document, SEED) == "held_out"
    return example.kind != "activating" or held_out or peak_word(example) in ("dog", "puppy", "apple", "pear")


DEAD = Activity(0, 5000, 0, 0.0, (0.0,), ())


class TestUnscored:
    def test_each_feature_without_a_score_has_its_reason(self, log: RunLog) -> None:
        found = {
            0: of_feature(0),
            1: FeatureExamples(1, DEAD),
            2: None,
            3: replace(of_feature(3), examples=texts(3, "random", 20)),
            4: replace(of_feature(4), examples=texts(4, "activating", 20)),
            5: of_feature(5),
        }
        labels = dict(TRUE) | {6: "never scored", 7: "nor this"}
        planted = plant(log, labels, found.get, {6: "abstained", 7: "failed"})
        scores = score(planted, RuleExplainer(), ["detection", "embedding"])
        reasons = {
            (one.scorer, one.feature): one.reason for one in named(scores, part="held_out", variant="label", value=None)
        }
        expected_questions = {
            1: "never active in 5,000 tokens",
            2: "no examples were collected of this feature",
            3: "no held-out activating example",
            4: "no non-activating example",
            6: "no label: the explainer abstained",
            7: "no label: the feature failed",
        }
        assert reasons == {
            (name, f): reason for name in ("detection", "embedding") for f, reason in expected_questions.items()
        }

    def test_the_report_counts_them_with_their_reasons(self, log: RunLog) -> None:
        found = {0: of_feature(0), 1: FeatureExamples(1, DEAD), 2: None}
        scores = score(plant(log, {0: "dog", 1: "fruit", 2: "storm"}, found.get), RuleExplainer())
        (lack,) = report.unscored(scores, ["detection"], 3)
        assert (lack.scorer, lack.variant, lack.n, lack.of) == ("detection", "label", 2, 3)
        assert {*lack.reasons} == {
            ("never active in 5,000 tokens", 1),
            ("no examples were collected of this feature", 1),
        }
        assert {line.mean.n for line in report.score_summaries(scores, 0) if line.variant == "label"} == {1}

    def test_texts_that_are_written_and_run_need_no_corpus(self, log: RunLog) -> None:
        planted = replace(plant(log, examples=lambda _: None), corpus_id=None)
        scores = score(planted, RuleExplainer(), ["clarity", "detection"])
        clarity = {one.variant: one.value for one in named(scores, scorer="clarity", feature=0)}
        assert clarity == {"label": 1, "shuffled": 0.5, "known": 1, "tokens": None, "one_shot": None}
        (without,) = named(scores, scorer="detection", feature=0)
        assert (without.value, without.reason) == (None, "no examples were collected of this feature")

    def test_a_control_that_there_is_not_says_why(self, log: RunLog) -> None:
        def shy(request: Request, right: dict[str, Any]) -> dict[str, Any] | Exchange:
            return refusal(request, right) if request.purpose == "one_shot" else right

        scores = score(plant(log, {0: "dog"}), RuleExplainer(shy))
        reasons = {one.variant: one.reason for one in named(scores, value=None, part="held_out")}
        assert reasons == {
            "shuffled": "no label of another feature can stand for it",
            "one_shot": "the model refused to answer",
        }

    def test_the_report_counts_controls_and_texts_that_are_missing_and_features_not_reached(self, log: RunLog) -> None:
        def shy(request: Request, right: dict[str, Any]) -> dict[str, Any] | Exchange:
            missing = request.purpose == "one_shot" or _key(request) == (0, "detection", 1)
            return refusal(request, right) if missing else right

        scores = score(plant(log, {0: "dog", 1: "fruit"}), RuleExplainer(shy))
        found = {lack.variant: lack for lack in report.unscored(scores, ["detection"], 5)}
        assert {*found} == {"label", "one_shot"}
        assert (found["label"].n, found["label"].of, found["label"].reasons) == (3, 5, [("not reached", 3)])
        assert (found["label"].n_texts, found["label"].text_reasons) == (10, [("the model refused to answer", 10)])
        assert (found["one_shot"].n, found["one_shot"].of) == (2, 2)

    def test_chance_stands_beside_every_mean(self, log: RunLog) -> None:
        names = ["detection", "embedding", "simulation", "discrimination", "output"]
        found = report.score_summaries(score(plant(log), RuleExplainer(), names), 0)
        chances = {line.scorer: line.chance for line in found if line.part == "held_out"}
        expected_questions = {"detection": 0.5, "embedding": 0.5, "simulation": 0, "discrimination": 0.25}
        assert chances == {**expected_questions, "output": pytest.approx(1 / 3)}

    def test_pages_give_the_very_interval_that_the_terminal_gives(self, log: RunLog) -> None:
        planted = plant(log)
        scores = score(planted, RuleExplainer(), ["detection", "embedding", "simulation"])
        lines = [line for line in report.score_summaries(scores, SEED) if line.part == "held_out"]
        told = {(line.scorer, variant_words(line.variant)): line.mean for line in lines}
        kinds = log.read(score_kinds, planted.run_id)
        drawn = [(kind.key.scorer, histogram(log, kind)) for kind in kinds]
        means = [(scorer, mean) for scorer, found in drawn if found is not None for mean in found.means]
        assert {(scorer, mean.variant): mean.estimate for scorer, mean in means} == told
        assert any(mean.low is not None for mean in told.values())

    def test_no_label_is_judged_with_more_than_its_own_words(self, log: RunLog) -> None:
        judge = RuleExplainer()
        names = [name for name in SCORERS if "judge" in SCORERS[name].needs]
        score(plant(log), judge, names)
        judged = [request for request in judge.requests if request.purpose != "one_shot"]
        assert {request.purpose.partition("/")[2] for request in judged} > {"", "shuffled", "tokens", "known"}
        assert not [request for request in judged if "xplanation" in request.prompt]

    def test_without_a_judge_there_is_no_one_shot_label(self, log: RunLog) -> None:
        scores = score(plant(log), None, ["embedding"])
        assert {one.variant for one in scores} == {"label", "shuffled", "tokens", "known"}


def refusal(_request: Request, _right: dict[str, Any]) -> Exchange:
    return faulty(CallFault.FINAL, "the model refused to answer")


def shy(request: Request, right: dict[str, Any]) -> dict[str, Any] | Exchange:
    """Refuses ten of the texts of one label."""
    return refusal(request, right) if _key(request) == (0, "detection", 1) else right


class TestAgain:
    def test_a_second_time_nothing_is_asked(self, log: RunLog) -> None:
        planted, judge = plant(log), RuleExplainer()
        first = score(planted, judge)
        n_asked = len(judge.requests)
        assert score(planted, judge) == first
        assert len(judge.requests) == n_asked > 100

    def test_what_was_cut_off_goes_on_where_it_stopped(self, log: RunLog) -> None:
        def dying(_: Request, right: dict[str, Any]) -> dict[str, Any] | Exchange:
            return right if len(ill.requests) <= 30 else faulty(CallFault.FATAL, "HTTP 401: no key")

        planted, ill, well = plant(log), RuleExplainer(dying), RuleExplainer()
        with pytest.raises(ExplainerError, match=r"HTTP 401: no key\. Run the same command to continue"):
            score(planted, ill)
        scores = score(planted, well)
        assert all(one.value is not None for one in named(scores, part="held_out"))
        good = [call for f in TRUE for call in log.read(calls_of, planted.run_id, f) if call.answer is not None]
        assert len(good) >= 30
        assert max(Counter((call.purpose, call.feature, call.item) for call in good).values()) == 1
        with RunLog.open(log.path.with_name("other.db")) as other:
            assert _plain(scores) == _plain(score(plant(other), RuleExplainer()))

    def test_a_failed_answer_is_asked_for_again_and_no_other(self, log: RunLog) -> None:
        def shy(request: Request, right: dict[str, Any]) -> dict[str, Any] | Exchange:
            return refusal(request, right) if (request.feature, request.purpose) == (0, "detection") else right

        planted, ill, well = plant(log), RuleExplainer(shy), RuleExplainer()
        (lost,) = named(score(planted, ill), feature=0, variant="label", part="held_out")
        assert (lost.value, lost.n) == (None, 0)
        assert "most often because the model refused to answer" in str(lost.reason)
        whole = named(score(planted, well), feature=0, variant="label", part="held_out")
        assert [one.value for one in whole] == [1]
        assert {(request.feature, request.purpose) for request in well.requests} == {(0, "detection")}

    def test_a_feature_gets_the_same_other_label_whichever_are_scored_with_it(self, log: RunLog) -> None:
        planted, judge = plant(log), RuleExplainer()
        some = scoring(planted, judge)
        asyncio.run(some.score(planted.rows[:2], 4, Told()))
        alone = {one.feature: one.label for one in named(log.read(scores_of, some.scoring_id), variant="shuffled")}
        whole = named(score(planted, judge), variant="shuffled", part="held_out")
        donors = {one.feature: one.label for one in whole}
        assert {*alone} == {0, 1}
        assert alone.items() <= donors.items()
        assert sorted(donors.values()) == sorted(TRUE.values())
        for asked in judge.asked("detection/shuffled"):
            assert f'Label: "{donors[asked.feature]}"' in asked.prompt

    def test_a_control_whose_words_have_changed_is_scored_again(self, log: RunLog) -> None:
        planted, judge = plant(log, {0: "dog", 1: "fruit"}), RuleExplainer()
        (before,) = named(score(planted, judge), feature=0, variant="shuffled", part="held_out")
        log.begin_run(identity(), [2, 3, 4, 5])
        for feature in (2, 3, 4, 5):
            log.write(add_label, planted.run_id, outcome(feature, label=CONCEPTS[feature], explanation="")).result()
        scores = score(planted, judge)
        others = {one.feature: one.label for one in named(scores, variant="shuffled", part="held_out")}
        assert before.label == "fruit" != others[0]
        asked = [request.prompt for request in judge.asked("detection/shuffled") if request.feature == 0]
        assert {word for prompt in asked for word in CONCEPTS if f'Label: "{word}"' in prompt} == {"fruit", others[0]}

    def test_what_was_answered_about_other_texts_is_not_reused(self, log: RunLog) -> None:
        planted, ill, well = plant(log), RuleExplainer(shy), RuleExplainer()
        score(planted, ill)
        found = replace(of_feature(0), examples=[*texts(0, "activating", 40, seed=1), *texts(0, "random", 40, seed=1)])
        log.write(add_collected, planted.corpus_id, found, sides(found.examples)).result()
        score(planted, well)
        asked = [request for request in well.asked("detection") if request.feature == 0]
        assert {request.item for request in asked} == {0, 1, 2, 3}

    def test_a_label_scored_on_some_of_its_texts_is_asked_about_the_others(self, log: RunLog) -> None:
        planted, ill, well = plant(log), RuleExplainer(shy), RuleExplainer()
        (partly,) = named(score(planted, ill), feature=0, variant="label", part="held_out")
        (whole,) = named(score(planted, well), feature=0, variant="label", part="held_out")
        assert (partly.value, whole.value, whole.n - partly.n) == (1, 1, 10)
        assert [(request.feature, request.purpose, request.item) for request in well.requests] == [(0, "detection", 1)]

    def test_a_scorer_more_asks_nothing_that_another_has_asked(self, log: RunLog) -> None:
        planted, judge = plant(log), RuleExplainer()
        first = score(planted, judge, ["detection"])
        n_asked = len(judge.requests)
        both = score(planted, judge, ["embedding", "detection"])
        assert len(judge.requests) == n_asked
        assert named(both, scorer="detection") == first
        assert named(both, scorer="embedding", variant="label", part="held_out")

    def test_a_scorer_whose_question_reads_otherwise_asks_anew_and_no_other(
        self, log: RunLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planted, judge = plant(log, {0: "dog", 1: "fruit"}), RuleExplainer()
        score(planted, judge, ["detection", "fuzzing"])
        n_asked = len(judge.requests)
        hashes, rendered = score_run.template_hashes, judging.render

        def changed(names: Sequence[str]) -> dict[str, str]:
            return {name: f"new {name}" if name == "fuzzing" else found for name, found in hashes(names).items()}

        def reworded(name: str, context: Any) -> Any:
            found = rendered(name, context)
            return replace(found, text=f"{found.text} Please.") if name == "fuzzing" else found

        monkeypatch.setattr(score_run, "template_hashes", changed)
        monkeypatch.setattr(judging, "render", reworded)
        score(planted, judge, ["detection", "fuzzing"])
        assert {request.purpose.partition("/")[0] for request in judge.requests[n_asked:]} == {"fuzzing"}

    @pytest.mark.parametrize("seen", [0, 60])
    def test_what_will_be_asked_is_counted_without_asking(self, log: RunLog, seen: int) -> None:
        planted, judge = plant(log), RuleExplainer()
        made = scoring(planted, judge, [*SCORERS])
        if seen:
            ill = RuleExplainer(lambda request, right: right if len(ill.requests) <= seen else refusal(request, right))
            score(planted, ill, [*SCORERS])
        scores = log.read(scores_of, made.scoring_id)
        told = asyncio.run(expected_questions(made, planted.rows, None))
        assert (log.read(scores_of, made.scoring_id), judge.requests) == (scores, [])
        score(planted, judge, [*SCORERS])
        output = sum(request.purpose.startswith("output") for request in ill.requests[:seen]) if seen else 0
        assert told.calls == len(judge.requests) + output  # what is logged of the subject's lists is counted again
        assert told.exact
        chars = sum(len(request.system + request.prompt) for request in judge.requests)
        assert told.prompt_tokens == pytest.approx(chars / CHARS_PER_TOKEN, rel=0.02)
        assert asyncio.run(expected_questions(made, planted.rows, None)).calls == 0

    @pytest.mark.parametrize("from_log", [True, False])
    def test_what_another_scoring_was_answered_is_not_expected_to_be_asked(self, log: RunLog, from_log: bool) -> None:
        questions = Questions("{}", from_log)
        planted = plant(log)
        score(planted, RuleExplainer(), ["detection"], questions=questions)
        again = scoring(planted, RuleExplainer(), ["detection"], negatives=("random", "neighbour"), texts=7)
        whole = asyncio.run(expected_questions(again, planted.rows, None)).calls
        told = asyncio.run(expected_questions(again, planted.rows, questions)).calls
        judge = RuleExplainer()
        score(planted, judge, ["detection"], questions=questions, negatives=("random", "neighbour"), texts=7)
        assert told == len(judge.requests)
        assert (told < whole) is from_log

    def test_examples_that_are_replaced_take_their_scores_with_them(self, log: RunLog) -> None:
        planted = plant(log)
        before = score(planted, RuleExplainer(), ["detection"])
        assert planted.corpus_id is not None
        for found in (of_feature(0), of_feature(1, n=9)):
            log.write(add_collected, planted.corpus_id, found, sides(found.examples)).result()
        kept = log.read(scores_of, 1)
        assert {one.feature for one in before} - {one.feature for one in kept} == {1}
        assert {one.feature for one in score(planted, RuleExplainer(), ["detection"])} == {*TRUE}

    def test_scorings_with_other_settings_share_no_answer(self, log: RunLog) -> None:
        planted, judge = plant(log), RuleExplainer()
        score(planted, judge)
        n_asked = len(judge.requests)
        score(planted, judge, negatives=("random",))
        first, second = judge.requests[:n_asked], judge.requests[n_asked:]
        assert {request.scoring_id for request in first}.isdisjoint({request.scoring_id for request in second})
        assert len({_key(request) for request in first} & {_key(request) for request in second}) > 100

    def test_a_budget_ends_it_and_what_was_spent_before_counts(self, log: RunLog) -> None:
        planted, judge = plant(log), RuleExplainer(size=Bound(tokens=60))
        made = scoring(planted, judge, admission=open_door(limits=Limits(tokens=1000)))
        asyncio.run(made.score(planted.rows, 4, Told()))
        assert isinstance(made.admission.reason, BudgetError)
        assert "1000" in str(made.admission.reason)
        spent = log.read(spent_by, planted.run_id, made.scoring_id)
        assert 900 < spent.most_tokens <= 1000
        assert spent.tokens == 50 * spent.calls
        assert log.read(spent_by, planted.run_id).calls == 0
        scores = score(planted, judge)
        assert {one.feature for one in named(scores, variant="label")} == {*TRUE}

    def test_each_feature_is_told_when_its_scores_are_in_the_log(self, log: RunLog) -> None:
        planted = plant(log)
        made = scoring(planted, RuleExplainer())
        told: list[tuple[int, bool]] = []

        def tell(row: Any) -> None:
            told.append((row.feature, bool(named(log.read(scores_of, made.scoring_id), feature=row.feature))))

        asyncio.run(made.score(planted.rows, 4, Told(tell)))
        assert sorted(told) == [(feature, True) for feature in TRUE]


def _key(request: Request) -> tuple[int, str, int]:
    return request.feature, request.purpose, request.item


def _plain(scores: Sequence[ScoreRow]) -> list[ScoreRow]:
    return sorted((replace(one, label_id=0) for one in scores), key=lambda one: (one.feature, one.variant, one.part))
