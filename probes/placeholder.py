"""The token that holds a ghost's place in a prompt, and is masked from the answers: never one an answer may need."""

import re

from transformers import PreTrainedTokenizerBase

RESERVED = re.compile(r"[<\[(|]+[\w ]*(unused|reserved|extra|placeholder|dummy|spare)[\w ]*[>\])|]+", re.IGNORECASE)
"""`<unused0>`, `[unused1]`, `<|reserved_special_token_0|>`, `<extra_id_0>`, `<|extra_0|>` and their like."""


def choose_placeholder(tokenizer: PreTrainedTokenizerBase, vocab: int) -> int:
    """The id of the placeholder among the `vocab` rows of the embedding matrix. The first of these that there is:

    1. a reserved or unused token, by its name (the lowest id);
    2. a row without a token (the lowest id);
    3. the rarest token that is not a word: merges are learned in order of frequency, so the highest id whose text,
       three characters or longer, has no letter and no digit;
    4. the highest id that is not a special token.
    """
    tokens: dict[int, str] = {id: token for token, id in tokenizer.get_vocab().items() if id < vocab}
    reserved = [id for id, token in tokens.items() if RESERVED.fullmatch(token)]
    nameless = [id for id in range(vocab) if id not in tokens]
    if reserved or nameless:
        return min(reserved or nameless)
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    ordinary = sorted(tokens.keys() - special - set(tokenizer.all_special_ids), reverse=True)
    return next((id for id in ordinary if _is_no_word(tokenizer.decode([id]))), ordinary[0])


def _is_no_word(text: str) -> bool:
    return len(text.strip()) >= 3 and not any(sign.isalnum() for sign in text)
