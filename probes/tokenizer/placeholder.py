"""The token that holds a ghost's place in a prompt, and is masked from the answers: never one an answer may need."""

import json
import re
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from probes.doors import door
from probes.errors import SubjectError

RESERVED = re.compile(r"[<\[(|]+[\w ]*(unused|reserved|extra|placeholder|dummy|spare)[\w ]*[>\])|]+", re.IGNORECASE)
"""`<unused0>`, `[unused1]`, `<|reserved_special_token_0|>`, `<extra_id_0>`, `<|extra_0|>` and their like."""


_BESIDE = "subject.json"
_LARGEST = 1024 * 1024


def pinned_beside(model_folder: Path) -> int | None:
    """The id that a `subject.json` beside the model's folder pins; None where there is none. Raises SubjectError."""
    path = model_folder.parent / _BESIDE
    with door(SubjectError, f"{path} cannot be read: {{cause}}; mend or remove it."):
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise SubjectError(f"{path} is not a small JSON file with a placeholder_id; mend or remove it.")
        told = json.loads(path.read_text(encoding="utf-8"))
    pinned = told.get("placeholder_id") if isinstance(told, dict) else told
    if not isinstance(told, dict) or (pinned is not None and (isinstance(pinned, bool) or not isinstance(pinned, int))):
        raise SubjectError(
            f"{path} holds {told!r:.100} instead of an object whose placeholder_id is a token's id; mend or remove it."
        )
    return pinned


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
