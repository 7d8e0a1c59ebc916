"""A base prompt as token ids with a place for the ghost."""

import json
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from probes.doors import door
from probes.errors import SettingsError
from probes.settings import CHATS, GHOST, TreeSettings
from probes.tokenizer.chat_template import rendered

_SWITCHES = {"enable_thinking": False, "date_string": "26 Jul 2024"}
"""For chat templates: answer at once, and the same every day, as far as a template knows these words."""


@dataclass(frozen=True)
class PromptIds:
    """Token ids of a prompt; at `ghost_position` stands the placeholder."""

    ids: tuple[int, ...]
    ghost_position: int

    @property
    def before(self) -> tuple[int, ...]:
        """Returns the ids that every ghost's prompt starts with."""
        return self.ids[: self.ghost_position]

    @property
    def rest(self) -> tuple[int, ...]:
        """The placeholder and what follows it."""
        return self.ids[self.ghost_position :]


def prompt_text(tokenizer: PreTrainedTokenizerBase, settings: TreeSettings) -> str:
    """The base prompt with its one `{ghost}`; of a chat with what the tokenizer's chat template puts around it.

    Raises SettingsError where there is no such template, or where it makes something else of one line of a user's, and
    for a base prompt that is still to be found.
    """
    if settings.prompt not in CHATS:
        return settings.prompt_text
    if not tokenizer.chat_template:
        raise SettingsError(
            f"Base prompt {settings.prompt!r} needs a chat template, which this tokenizer lacks; use another prompt."
        )
    question, beginning = settings.prompt_text.split("\n")
    text = _chat(tokenizer, [{"role": "user", "content": question}])
    if text.count(GHOST) != 1:
        raise SettingsError("The tokenizer's chat template does not keep what a user says; use another base prompt.")
    return text + beginning


def _chat(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> str:
    """Renders turns by the tokenizer's chat template, up to where an answer begins. Raises SettingsError."""
    with door(SettingsError, "The tokenizer's chat template fails on one user's turn: {cause}; use another prompt."):
        template = tokenizer.get_chat_template()
        if not isinstance(template, str):
            raise SettingsError(f"The tokenizer's chat template is {template!r:.100} and no text; use another prompt.")
        words = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        told = {"conversations": [turns], "chat_template": template, "add_generation_prompt": True}
        return rendered(json.dumps({**words, **_SWITCHES, **told}))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str, placeholder_id: int) -> PromptIds:
    """The ids of `text`, which has one `{ghost}`: its two sides tokenised separately, special tokens once, in front."""
    before, after = (_plain(tokenizer, side) for side in text.split(GHOST))
    leading = leading_ids(tokenizer)
    start = before if leading and before[: len(leading)] == leading else [*leading, *before]
    return PromptIds(ids=(*start, placeholder_id, *after), ghost_position=len(start))


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False)) if text else []


def leading_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts in front of a text, usually BOS or none; those behind are left out."""
    sample = "a"
    plain, full = _plain(tokenizer, sample), list(tokenizer.encode(sample))
    starts = (at for at in range(len(full)) if full[at : at + len(plain)] == plain)
    return full[: next(starts, 0)]
