"""The texts of a row of tokens, whole characters where several tokens make one."""

from collections.abc import Callable, Sequence

from probes.subject import Subject

_PART = "\ufffd"
_LONGEST_CHARACTER = 4
"""Bytes in UTF-8."""


class _Texts(dict[int, str]):
    """Each token's text, looked up without a call from the second time on."""

    def __init__(self, text_of: Callable[[int], str]) -> None:
        super().__init__()
        self._text_of = text_of

    def __missing__(self, token_id: int) -> str:
        text = self[token_id] = self._text_of(token_id)
        return text


class Spelling:
    """Turns token ids into texts that join to what was read."""

    def __init__(self, subject: Subject) -> None:
        self._texts = _Texts(subject.text_of)
        self._tokenizer = subject.tokenizer

    def __call__(self, ids: Sequence[int]) -> tuple[str, ...]:
        """One text for each token. A character in several tokens stands at the last of them, the others are empty; what
        begins or ends within a character shows U+FFFD there."""
        texts = [*map(self._texts.__getitem__, ids)]
        if _PART not in "".join(texts):
            return tuple(texts)
        start = 0
        while start < len(texts):
            end = start
            while end < len(texts) and _PART in texts[end]:
                end += 1
            if end - start > 1:
                texts[start:end] = self._joined(ids[start:end], texts[start:end])
            start = end + 1
        return tuple(texts)

    def _joined(self, ids: Sequence[int], alone: list[str]) -> list[str]:
        """The texts of tokens that are parts of characters; some at the front may end a character that began before."""
        for skipped in range(min(_LONGEST_CHARACTER, len(ids))):
            said, texts = "", alone[:skipped]
            for end in range(skipped + 1, len(ids) + 1):
                decoded = str(self._tokenizer.decode(ids[skipped:end], clean_up_tokenization_spaces=False))
                whole = decoded.rstrip(_PART)
                texts.append(whole[len(said) :])
                said = whole
            if said and _PART not in said:
                texts[-1] += decoded[len(said) :][:1]
                return texts
        return alone
