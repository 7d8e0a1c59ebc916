"""Prompts as ids, the placeholder's choice, and the text of a token."""

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

from probes.settings import PROMPTS
from probes.tokenizer.placeholder import choose_placeholder
from probes.tokenizer.prompt import prompt_ids
from probes.tokenizer.token_text import TokenTexts
from tests.subjects import VOCAB, tokenizer

UNUSED = 3


def test_both_sides_are_tokenised_apart_and_bos_comes_once() -> None:
    known = tokenizer()
    prompt = prompt_ids(known, PROMPTS["definition"], UNUSED)
    before, after = (known.encode(side, add_special_tokens=False) for side in PROMPTS["definition"].split("{ghost}"))
    assert list(prompt.ids) == [known.bos_token_id, *before, UNUSED, *after]
    assert prompt.ids[prompt.ghost_position] == UNUSED
    assert (*prompt.before, *prompt.rest) == prompt.ids
    assert prompt.rest[0] == UNUSED


@pytest.mark.parametrize(("text", "position"), [("{ghost}", 1), ("{ghost} is", 1), ("a {ghost}", 3)])
def test_the_ghost_s_place_is_known_from_ids(text: str, position: int) -> None:
    assert prompt_ids(tokenizer(), text, UNUSED).ghost_position == position


def test_a_tokenizer_without_bos_adds_none() -> None:
    assert prompt_ids(tokenizer(bos=False), "{ghost} is", UNUSED).ghost_position == 0


@pytest.mark.parametrize(
    "token", ["<unused0>", "<|reserved_special_token_12|>", "[unused3]", "<extra_id_0>", "<|extra_5|>"]
)
def test_a_reserved_token_is_the_placeholder(token: str) -> None:
    known = tokenizer(reserved=False)
    known.add_tokens([token], special_tokens=True)
    assert choose_placeholder(known, len(known) + 5) == known.convert_tokens_to_ids(token)


@pytest.mark.parametrize("word", ["unused", "reserved", "<b>", "an extra"])
def test_a_word_is_no_reserved_token(word: str) -> None:
    known = tokenizer(reserved=False)
    known.add_tokens([word])
    assert choose_placeholder(known, len(known) + 1) == len(known)


def test_else_a_row_without_a_token_is() -> None:
    known = tokenizer(reserved=False)
    assert choose_placeholder(known, len(known) + 5) == len(known)


def test_else_the_rarest_token_that_is_no_word_is() -> None:
    known = tokenizer(reserved=False)
    known.add_tokens(["-----", "words", "......", "more", "!"])
    assert choose_placeholder(known, len(known)) == known.convert_tokens_to_ids("......")


def test_else_the_last_one_that_is_not_special_is() -> None:
    known = tokenizer(reserved=False)
    known.add_tokens(["<|endoftext|>"], special_tokens=True)
    assert choose_placeholder(known, len(known)) == len(known) - 2


def test_texts_tell_a_word_from_the_same_word_after_a_space() -> None:
    known = tokenizer(VOCAB)
    text_of = TokenTexts(known)
    texts = {text_of(id) for id in range(len(known))}
    assert " the" in texts
    ids = known.encode("the cat sat on the mat", add_special_tokens=False)
    assert "".join(text_of(id) for id in ids) == "the cat sat on the mat"


def test_texts_keep_the_space_that_a_decoder_drops_in_front() -> None:
    inner = Tokenizer(BPE({"a": 0, "▁": 1, "▁a": 2, "b": 3, "▁b": 4}, [("▁", "a"), ("▁", "b")]))
    inner.pre_tokenizer, inner.decoder = Metaspace(), MetaspaceDecoder()
    known = PreTrainedTokenizerFast(tokenizer_object=inner)
    assert known.decode([4]) == "b"
    text_of = TokenTexts(known)
    assert (text_of(4), text_of(3)) == (" b", "b")


def test_half_a_character_is_shown_as_such() -> None:
    known = tokenizer()
    first = known.encode("é", add_special_tokens=False)[0]
    assert TokenTexts(known)(first) == "\N{REPLACEMENT CHARACTER}"
