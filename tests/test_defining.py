"""Words of a list defined one by one, held against plain greedy decoding, and the senses that rules read off them."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from agent.evidence.digest import digest
from agent.llm.offline import propose
from agent.llm.senses import defined_senses
from agent.log.codec import decode, encode
from probes.essence import essence_of
from probes.evidence import ProbeRequest, TokenList, WordDefinition, tokens_json
from probes.ghost.vectors import placed
from probes.probe import run_probes
from probes.settings import AUTO, ProbeSettings, TokenSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids, prompt_text
from probes.tokenizer.token_text import word_places
from tests.fakes import vocabulary_list
from tests.test_offline import context
from tests.test_words import plain_words, several

SETTINGS = ProbeSettings(
    vector=VectorSettings(weights="words", scale=1.3),
    tree=TreeSettings(prompt='This is "{ghost}" or "'),
    tokens=TokenSettings(top_n=50, define=3),
)


def listed(subject: Subject, feature: int, settings: ProbeSettings = SETTINGS) -> TokenList:
    [found] = run_probes(subject, [ProbeRequest("tokens", feature, settings)])
    assert isinstance(found, TokenList)
    return found


@torch.inference_mode()
def plain_definition(subject: Subject, token_id: int) -> str:
    """One uncached forward for each token of the definition."""
    row = subject.embedding[token_id] - subject.centroid
    vector = placed(subject, row / row.norm(), SETTINGS.vector) * subject.input_scale
    prompt = prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, SETTINGS.tree), subject.placeholder_id)
    ids = list(prompt.ids)
    for _ in range(12):
        rows = subject.model.get_input_embeddings()(torch.tensor([ids]))
        rows[0, prompt.ghost_position] = vector
        logits = subject.model(inputs_embeds=rows).logits[0, -1]
        logits[subject.placeholder_id] = -torch.inf
        ids.append(int(logits.argmax()))
    text = "".join(map(subject.text_of, ids[len(prompt.ids) :]))
    return min(text.split('"')[0], text.split("\n")[0], key=len).strip()


def test_each_of_the_first_words_is_defined_as_by_plain_greedy_decoding(subject: Subject) -> None:
    feature = several(subject)
    found = listed(subject, feature)
    ids = [found.tokens[one.place].token_id for one in found.definitions]
    assert ids == plain_words(subject, feature, 3)
    assert [one.text for one in found.definitions] == [plain_definition(subject, id) for id in ids]


def test_words_that_do_not_stand_out_are_not_defined(subject: Subject) -> None:
    feature = several(subject)
    all_tokens = TokenSettings(top_n=100_000, define=64)
    found = listed(subject, feature, SETTINGS.model_copy(update={"tokens": all_tokens}))
    ids = [found.tokens[one.place].token_id for one in found.definitions]
    assert ids == plain_words(subject, feature, 64)
    assert len(ids) < 64 < len(found.tokens)


def test_the_base_prompt_is_found_where_none_is_named(subject: Subject) -> None:
    unnamed = SETTINGS.model_copy(update={"tree": TreeSettings()})
    plain = unnamed.model_copy(update={"tokens": TokenSettings(top_n=50)})
    assert listed(subject, several(subject), unnamed).settings.tree.prompt != AUTO
    assert listed(subject, several(subject), plain).settings.tree.prompt == AUTO


def test_spellings_of_a_word_are_one_and_spaces_are_none() -> None:
    assert word_places([" Law", "law", " ", "LAWS", "LAW ", "", "laws"]) == [0, 3]


def test_nothing_is_defined_unless_asked_for_and_the_list_is_the_same(subject: Subject) -> None:
    feature = several(subject)
    without = SETTINGS.model_copy(update={"tokens": TokenSettings(top_n=50)})
    plain = listed(subject, feature, without)
    assert plain.definitions == ()
    assert replace(listed(subject, feature), definitions=(), settings=plain.settings) == plain


def test_a_defined_list_survives_the_log_and_is_printed(subject: Subject) -> None:
    found = listed(subject, several(subject))
    stored = encode(found)
    back = decode("tokens", found.feature, found.settings, stored)
    assert isinstance(back, TokenList)
    assert back.definitions == found.definitions
    assert encode(back) == stored
    told = json.loads(json.dumps(tokens_json(found)))["tokens"]
    assert {place: one["definition"] for place, one in enumerate(told) if "definition" in one} == {
        one.place: one.text for one in found.definitions
    }


@pytest.mark.parametrize(
    "definitions", [[[50, "a dog"]], [[-1, "a dog"]], [["0", "a dog"]], [[0, 7]], [[0]], [7], 7, [[0, "a", "b"]]]
)
def test_definitions_that_a_damaged_log_holds_are_refused(subject: Subject, definitions: object) -> None:
    found = listed(subject, several(subject))
    damaged = json.dumps({**json.loads(encode(found)), "definitions": definitions})
    with pytest.raises((ValueError, TypeError)):
        decode("tokens", found.feature, found.settings, damaged)


@pytest.mark.parametrize(
    ("part", "change"),
    [("tree", {"prompt": 'A "{ghost}" is "'}), ("vector", {"scale": 0.7}), ("tokens", {"define": 2})],
)
def test_definitions_hang_on_the_prompt_and_the_scale_and_plain_lists_do_not(part: str, change: dict) -> None:
    other = SETTINGS.model_copy(update={part: getattr(SETTINGS, part).model_copy(update=change)})
    assert essence_of("tokens", SETTINGS) != essence_of("tokens", other)
    if part != "tokens":
        plain = {"tokens": TokenSettings(top_n=50)}
        one, two = (settings.model_copy(update=plain) for settings in (SETTINGS, other))
        assert essence_of("tokens", one) == essence_of("tokens", two)


def defined(texts: Sequence[str], p_value: float = 0.001) -> TokenList:
    words = [f" word{chr(97 + place)}" for place in range(len(texts))]
    found = vocabulary_list(*words, p_value=p_value)
    settings = found.settings.model_copy(update={"tokens": TokenSettings(define=len(texts))})
    return replace(found, settings=settings, definitions=tuple(map(WordDefinition, range(len(texts)), texts)))


ROOMS, COLORS = ["a room in which one"] * 6, ["a color of paint that"] * 4


def test_two_nouns_that_each_head_a_quarter_of_the_words_are_two_senses() -> None:
    proposal = propose(context(defined([*ROOMS, *COLORS, "a kind of game that"])))
    assert proposal.action == "label"
    assert proposal.label == "room; color"
    assert [sense.text for sense in proposal.senses] == ["room", "color"]
    assert proposal.confidence == pytest.approx(10 / 11, abs=0.001)
    assert len(proposal.evidence) == 8


def test_a_quarter_of_the_words_is_enough_and_less_is_not() -> None:
    assert defined_senses(digest([defined([*ROOMS, *ROOMS, *COLORS])], 1.0)) is not None
    assert defined_senses(digest([defined([*ROOMS, *ROOMS, *COLORS, "a room that"])], 1.0)) is None


@pytest.mark.parametrize(
    "listed",
    [
        defined([*ROOMS, *["the rooms that are"] * 4]),
        defined([*ROOMS[:3], *COLORS[:3]]),
        defined([*ROOMS, *COLORS], p_value=0.2),
        defined(["", "!?"] * 5),
    ],
)
def test_no_second_sense_where_it_is_the_same_word_or_words_are_few_or_nothing_differs(listed: TokenList) -> None:
    assert defined_senses(digest([listed], 1.0)) is None
