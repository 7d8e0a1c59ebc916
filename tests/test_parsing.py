"""What an explainer says is made into a value, or into one sentence that tells it what to mend."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.llm.parsing import MOST_CHARS, UnusableAnswer, parsed
from agent.schema import Proposal, SettingsChange
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
        f"Sure {{ }}. The evidence {{says}}:\n\n{TEXT} and so on.",
        f'Not {{"this": [1, 2]}} but {TEXT}',
        f'{TEXT}\n{{"action": "abstain"}}',
        f'<think>{{"action": "abstain"}}</think>\n{TEXT}',
        f"[{TEXT}]",
        json.dumps(DOG.model_dump(mode="json"), indent=2),
    ],
)
def test_the_first_object_that_fits_is_taken(text: str) -> None:
    assert parsed(text, Proposal) == DOG


def test_null_stands_for_the_default_at_any_depth() -> None:
    asked = '{"action": "probe", "label": null, "confidence": null, "evidence": null, "settings": {"pca": null}}'
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
        ("<think>{}</think>", "the answer is empty"),
        ("I would rather not.", "the answer is not JSON"),
        (TEXT[:-5], "the answer is not JSON"),
        ('{"action": "probe", "settings": {"scale": 1.5}', "the answer is not JSON"),
        ('["label"]', "not an object"),
        ("null", "not an object"),
        ("3", "not an object"),
        ('{"label": "dog"}', "action: Field required"),
        ('{"action": "guess"}', "action: Input should be 'label', 'probe' or 'abstain'"),
        ('{"action": "label", "labels": "dog"}', "labels: Extra inputs are not permitted"),
        ('{"action": "label", "label": 7}', "label: Input should be a valid string"),
        ('{"action": "label", "label": ["dog"]}', "label: Input should be a valid string"),
        ('{"action": "label", "confidence": "high"}', "confidence: Input should be a valid number"),
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
    assert parsed('{"action": "label", "label": "a\ndog"}', Proposal).label == "a\ndog"


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
        MOST_CHARS * '"',
        14_000 * "<think>",
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
