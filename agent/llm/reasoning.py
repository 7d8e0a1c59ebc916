"""Finds where a model's reasoning begins and ends in its text, by the marks that models and servers leave there.

Each family of models writes its own: <think> and its like in any brackets (DeepSeek, Qwen, Seed, Magistral, Kimi),
channels (gpt-oss, Gemma), tokens (MedGemma), sentences (Granite).
"""

import re
from enum import StrEnum


class ReasoningMark(StrEnum):
    """Effect of a mark on the reasoning."""

    OPENS = "opens"
    """Reasoning begins, perhaps within reasoning."""
    CLOSES = "closes"
    """It ends; alone, everything before was reasoning."""
    PASSES = "passes"
    """It begins and ends at once."""
    REASONS = "reasons"
    """A channel of reasoning begins, whatever was open before."""
    ANSWERS = "answers"
    """The channel of the answer begins, whatever was open before."""


PATTERN = r"""
    (?P<left>[<\[◁＜]|&lt;) \s* [|｜]? \s* (?P<slash>/?) \s*                                   # <think>, </think>
        (?P<name> (?: [\w.:▁-]{0,24}[_.:▁-] | ant )?                                           # <seed:think>
            (?: think(?:ing)? | thoughts? | reason(?:ing)? | reflect(?:ion|ing)? | analysis | rationale | cot
              | scratch[_-]?pad | monologue | inner[_-](?:prefix|suffix) | deliberation )
            (?: [_.:▁-][\w.:▁-]{0,24} )? )                                                     # <|think_end|>
        (?: (?<=\w) \s [^<>\[\]]{0,60} )? (?P<itself>/?) \s* [|｜]? \s* (?:[>\]▷＞]|&gt;)        # attributes
    | <\|channel\|?> \s* (?P<channel>\w*)                                                      # <|channel|>final
    | (?P<channel_end><channel\|>)
    | (?-i: \A\s*(?P<first>analysis|commentary)(?=[A-Z])                                       # tokens stripped off
        | assistant(?P<next>final|analysis|commentary)(?=[^a-z]|\Z) )
    | <unused(?P<unused>94|95)>
    | here(?:['’]s|\ is)\ my\ (?P<said>thought\ process|response)\ ?:
"""
"""A verbose, case-insensitive pattern of all marks."""

_ENDS = re.compile(r"(?:\A|[_.:▁-])(?:end|suffix|stop|close)(?:\Z|[_.:▁-])", re.IGNORECASE)
_ANSWER = frozenset({"final", "response", "95"})
"""Channels, sentences and tokens that introduce the answer."""


def mark_of(match: re.Match[str]) -> ReasoningMark:
    """Returns the effect of a match of `PATTERN`."""
    if match["channel_end"]:
        return ReasoningMark.CLOSES
    if match["name"] is None:
        channels = (match[group] for group in ("channel", "first", "next", "unused", "said"))
        channel = next((channel for channel in channels if channel is not None), "")
        return ReasoningMark.ANSWERS if channel.lower() in _ANSWER else ReasoningMark.REASONS
    if match["itself"]:
        return ReasoningMark.PASSES
    return ReasoningMark.CLOSES if match["slash"] or _ENDS.search(match["name"]) else ReasoningMark.OPENS


def depth_after(mark: ReasoningMark, depth: int) -> int:
    """Returns the nesting depth of reasoning after a mark, from the depth before it."""
    match mark:
        case ReasoningMark.OPENS:
            return depth + 1
        case ReasoningMark.CLOSES:
            return max(depth - 1, 0)
        case ReasoningMark.PASSES:
            return depth
    return int(mark is ReasoningMark.REASONS)
