"""What an explainer says is made into a value, or into one sentence that tells it what to mend."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.llm.parsing import MAX_CHARS, UnusableAnswer, parsed
from agent.schema import Proposal, SettingsChange
from eval.scorers.clarity import ClarityTexts
from eval.scorers.discrimination import SetChoices
from eval.scorers.output import ListChoice
from eval.scorers.simulation import PredictedActivations
from eval.scorers.verdicts import TextVerdict, TextVerdicts
from eval.scoring.controls import OneShotLabel
from probes.settings import Value

DOG = Proposal(action="label", label="dog", confidence=0.5)
TEXT = DOG.model_dump_json()


def why(text: str, schema: type[Value] = Proposal) -> str:
    with pytest.raises(UnusableAnswer) as caught:
        parsed(text, schema)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"  \n{TEXT}\n",
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}\n```\nI hope that helps {{you}}!",
        f"Sure {{ }}. The evidence {{says}}:\n\n{TEXT}\nand so on.",
        f'Not {{"this": [1, 2]}} but {TEXT}',
        f"{TEXT}\nIn other words:\n{TEXT}",
        f"Answer: {TEXT}",
        f"<answer>{TEXT}</answer>",
        f"[{TEXT}]",
        json.dumps(DOG.model_dump(mode="json"), indent=2),
    ],
)
def test_the_one_object_that_fits_is_taken(text: str) -> None:
    assert parsed(text, Proposal) == DOG


CAT = DOG.model_copy(update={"label": "cat"}).model_dump_json()
"""A draft that the model rejects."""


@pytest.mark.parametrize(
    "text",
    [
        f"<think>perhaps {CAT}? No.</think>{TEXT}",
        f"<thinking>perhaps {CAT}\n</thinking>\n\n{TEXT}",
        f'<Reasoning type="draft">{CAT}</Reasoning>{TEXT}',
        f"< thought >{CAT}</ thought >{TEXT}",
        f"<seed:think>{CAT}</seed:think>{TEXT}",
        f"<seed:think>{CAT}<seed:cot_budget_reflect>half</seed:cot_budget_reflect>{CAT}</seed:think>{TEXT}",
        f"<antThinking>{CAT}</antThinking>{TEXT}",
        f"<inner_monologue>{CAT}</inner_monologue>{TEXT}",
        f"<scratchpad>{CAT}</scratchpad>{TEXT}",
        f"&lt;think&gt;{CAT}&lt;/think&gt;{TEXT}",
        f"[THINK]{CAT}[/THINK]{TEXT}",
        f"◁think▷{CAT}◁/think▷{TEXT}",
        f"<|begin_of_thought|>{CAT}<|end_of_thought|>\n<|begin_of_solution|>{TEXT}<|end_of_solution|>",
        f"<|START_THINKING|>{CAT}<|END_THINKING|><|START_RESPONSE|>{TEXT}<|END_RESPONSE|>",
        f"<|inner_prefix|>{CAT}<|inner_suffix|>{TEXT}",
        f"<unused94>thought\n{CAT}<unused95>{TEXT}",
        f"<|channel>thought\n{CAT}<channel|>{TEXT}<turn|>",
        f"Here is my thought process: {CAT}\nHere is my response: {TEXT}",
        f"<|channel|>analysis<|message|>{CAT}<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}<|return|>",
        f"<|channel|>commentary<|message|>{CAT}<|end|><|channel|>final <|constrain|>json<|message|>{TEXT}",
        f"analysisPerhaps {CAT}, no.assistantfinal{TEXT}",
        f"{CAT} does not fit.\n</think>\n\n{TEXT}",
        f"{CAT}<think/>{TEXT}",
        f"<think>a <think>b</think> then {CAT}</think>{TEXT}",
        f"<think>a</think> {CAT}\n<think>no</think>{TEXT}",
        f"Sure.\n<think>{CAT}</think>{TEXT}",
        f"<think>```json\n{CAT}\n```</think>```json\n{TEXT}\n```",
        f"I considered {CAT} and rejected it.\nFinal answer:\n{TEXT}",
        f"First:\n{CAT}\nNo.\n\n**Final Answer**\n\n```json\n{TEXT}\n```\n",
    ],
)
def test_what_stands_in_reasoning_is_never_the_answer(text: str) -> None:
    assert parsed(text, Proposal) == DOG


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{TEXT}\n{CAT}", "2 objects that differ"),
        (f'{TEXT}\n{{"action": "abstain"}}', "2 objects that differ"),
        (f"[{CAT}, {TEXT}]", "2 objects that differ"),
        (f"```json\n{CAT}\n```\nNo:\n```json\n{TEXT}\n```", "2 objects that differ"),
        (f"Final answer: {CAT}. Wait.\nFinal answer: {TEXT}", "2 objects that differ"),
        (f"Final answer: {CAT}\nNo, {TEXT}", "2 objects that differ"),
        (f"Final answer: {CAT} came first, then {TEXT} was final.", "2 objects that differ"),
        (f"I considered {CAT} but nothing fits.", "within a sentence"),
        (f"<think>{CAT}", "within its reasoning"),
        (f"<think>a <think>b</think> {CAT}", "within its reasoning"),
        (f"{TEXT}<think>but {CAT}", "within its reasoning"),
        (f"<|channel|>analysis<|message|>{CAT}<|end|>", "within its reasoning"),
        (f"analysisWe might say {CAT}", "within its reasoning"),
        (f"<think>{CAT}</think>", "nothing stands after its reasoning"),
        (f"{CAT}</think>\n", "nothing stands after its reasoning"),
        (f"<think>{CAT}</think>I give up.", "not JSON"),
        (f'{CAT}\nRather:\n{{"action": "label", "label": "a "dog""}}', "not JSON"),
        (f"{CAT}\nRather:\n{{'action': 'abstain'}}", "not JSON"),
        (f"{CAT}\nRather:\n{{action: abstain}}", "not JSON"),
        (f'{CAT}\nRather:\n{{"action": "label", "label": "dog", "confidence": null}}', "confidence"),
        (f'{CAT}\nRather:\n{{"action": "lab', "not JSON"),
        (f'{{"draft": {CAT}, "final": {TEXT}}}', "Field required"),
        ('{"action": "abstain", "action": "label"}', "twice"),
    ],
)
def test_where_nothing_tells_which_is_meant_the_answer_is_unusable(text: str, told: str) -> None:
    assert told in why(text)


@pytest.mark.parametrize(
    "label", ["</think>", "<think> tags", "[THINK]", "<|channel|>final", "assistantfinal", "a {brace"]
)
def test_a_label_may_be_about_the_marks_themselves(label: str) -> None:
    about = DOG.model_copy(update={"label": label})
    assert parsed(about.model_dump_json(), Proposal) == about
    assert parsed(f"<think>{CAT}</think>```json\n{about.model_dump_json()}\n```", Proposal) == about


def test_null_stands_for_the_default_at_any_depth() -> None:
    asked = '{"action": "probe", "label": null, "reason": null, "evidence": null, "settings": {"pca": null}}'
    assert parsed(asked, Proposal) == Proposal(action="probe", settings=SettingsChange())
    assert "action" in why('{"action": null}')


class Item(Value):
    number: int = 3


class Many(Value):
    items: tuple[Item, ...]
    first: Item = Item()


def test_any_schema_will_do() -> None:
    assert parsed('{"items": [{"number": 1}, {"number": null}], "first": null}', Many) == Many(
        items=(Item(number=1), Item())
    )
    assert why('{"items": [{"number": "x"}]}', Many).startswith("items.0.number: Input should be a valid integer")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the answer is empty"),
        (" \n\t ", "the answer is empty"),
        ("<think>{}</think>", "the answer is empty: nothing stands after its reasoning"),
        ("I would rather not.", "the answer is not JSON"),
        (TEXT[:-5], "the answer is not JSON"),
        ('{"action": "probe", "settings": {"scale": 1.5}', "the answer is not JSON"),
        ('["label"]', "not an object"),
        ("null", "not an object"),
        ("3", "not an object"),
        ('{"label": "dog"}', "action: Field required"),
        ('{"action": "guess"}', "action: Input should be 'label', 'probe', 'test', 'compare', 'steer' or 'abstain'"),
        ('{"action": "label", "labels": "dog"}', "labels: Extra inputs are not permitted"),
        ('{"action": "label", "label": 7}', "label: Input should be a valid string"),
        ('{"action": "label", "label": ["dog"]}', "label: Input should be a valid string"),
        ('{"action": "label", "confidence": "high"}', "confidence: Input should be a valid number"),
        ('{"action": "label", "confidence": "0.5"}', "confidence: Input should be a valid number"),
        ('{"action": "label", "confidence": true}', "confidence: true and false are no value of it"),
        ('{"action": "abstain", "confidence": false}', "confidence: true and false are no value of it"),
        ('{"action": "label", "label": "dog"}', "a label needs its confidence"),
        ('{"action": "label", "label": "dog", "confidence": null}', "a label needs its confidence"),
        ('{"action": "probe", "settings": {"scale": true}}', "settings.scale: true and false are no value of it"),
        ('{"action": "probe", "settings": {"centroid": 1}}', "settings.centroid: Input should be a valid boolean"),
        ('{"action": "label", "confidence": 7}', "confidence: Input should be less than or equal to 1"),
        ('{"action": "label", "confidence": NaN}', "NaN is no number of JSON"),
        ('{"action": "label", "confidence": -Infinity}', "-Infinity is no number of JSON"),
        ('{"action": "label", "confidence": 1e999}', "confidence: Input should be a finite number"),
        ('{"action": "label", "label": "\\ud800"}', "label: Input should be a valid string"),
        ('{"action": "label", "label": "' + 201 * "x" + '"}', "label: String should have at most 200 characters"),
        ('{"action": "label", "confidence": ' + 5000 * "9" + "}", "the answer is not JSON"),
        (2_000_000 * "x", "the answer is 2,000,000 characters long, at most 100,000 are read"),
    ],
)
def test_what_is_wrong_is_said(text: str, told: str) -> None:
    assert told in why(text)


def test_names_from_the_answer_are_made_short_and_printable() -> None:
    told = why(json.dumps({"action": "label", "\x1b[31m\n" + 9000 * "x": 1}))
    assert "\x1b" not in told
    assert "\n" not in told


def test_an_unescaped_line_break_in_a_string_is_forgiven() -> None:
    assert parsed(TEXT.replace('"dog"', '"a\ndog"'), Proposal).label == "a\ndog"


@pytest.mark.parametrize(
    "label",
    ["", " \n", "\u200b\u200b", "\u00ad", "\u202e", "\x07", "\u0301\u20dd", "\ufe0f", "\u3164", "\u2800", "\ue000"],
)
def test_a_label_that_nobody_can_see_is_none(label: str) -> None:
    assert "can be seen" in why(json.dumps({"action": "label", "label": label, "confidence": 0.5}))
    assert "can be seen" in why(json.dumps({"label": label}), OneShotLabel)
    assert parsed(json.dumps({"action": "abstain", "label": label}), Proposal).confidence is None


@pytest.mark.parametrize("label", [",", "e\u0301", "\u200bdog", "𝛼", "🐕", "犬", "¬"])
def test_a_label_of_any_script_can_be_seen(label: str) -> None:
    assert parsed(json.dumps({"label": label}), OneShotLabel).label == label


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (TextVerdicts, {"answers": [{"number": True, "fits": True}]}),
        (TextVerdicts, {"answers": [{"number": 1, "fits": 1}]}),
        (TextVerdicts, {"answers": [{"number": "1", "fits": True}]}),
        (TextVerdicts, {"answers": [{"number": 1, "fits": "yes"}]}),
        (SetChoices, {"answers": [{"number": 1, "text": True}]}),
        (ListChoice, {"list": True}),
        (PredictedActivations, {"activations": [0, True]}),
        (PredictedActivations, {"activations": [0, "1"]}),
        (ClarityTexts, {"activating": ["a", 1], "non_activating": []}),
    ],
)
def test_nothing_in_a_judges_answer_is_taken_for_another_type(schema: type[Value], data: dict[str, object]) -> None:
    found = why(json.dumps(data), schema)
    assert "Input should be a valid" in found or "true and false are no value of it" in found


def test_a_judges_draft_is_no_answer_either() -> None:
    draft, final = (f'{{"answers": [{{"number": 1, "fits": {fits}}}]}}' for fits in ("true", "false"))
    for text in (f"<think>{draft}</think>{final}", f"{draft}</think>{final}", f"Final answer: {final}"):
        assert parsed(text, TextVerdicts).answers == (TextVerdict(number=1, fits=False),)
    assert "differ" in why(f"{draft}\n{final}", TextVerdicts)


@pytest.mark.parametrize(
    "text",
    [
        100_000 * "{",
        100_000 * "[",
        50_000 * '{"',
        16_000 * '{"a":',
        200 * '{"a":[' + 49_000 * "1,",
        300 * '{"a":' + '"' + 90_000 * "x",
        20_000 * '{"":0',
        50_000 * "{}",
        MAX_CHARS * '"',
        14_000 * "<think>",
        14_000 * "</think>",
        25_000 * "<| / ",
        12_000 * "{a: 1, ",
        3_000 * "[think-think_think.think:think ",
        16_000 * "final ",
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_is_refused_by_bounded_work(text: str) -> None:
    why(text)


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), lambda t: st.dictionaries(st.text(), t)))
def test_anything_at_all_gives_a_value_or_a_sentence(anything: object) -> None:
    text = anything if isinstance(anything, str) else json.dumps(anything)
    with suppress(UnusableAnswer):
        assert isinstance(parsed(text, Proposal), Proposal)
