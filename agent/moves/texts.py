"""Texts that an explainer asks to run: cleaned, bounded, and each run once."""

from collections.abc import Iterable, Iterator, Sequence

from probes.evidence import ExpectedText, ProbeRequest

TESTS, TESTS_OF_ALL = 8, 12
"""Most texts of one hypothesis, and of all in one round."""
TEST_CHARS, HYPOTHESIS_CHARS = 500, 200
"""Most characters of a text, and of the label that it speaks for; what is longer is cut."""


def runnable(asked: Sequence[ExpectedText], tried: Iterable[ProbeRequest]) -> list[ExpectedText]:
    """Returns the texts to run, cut: none that is empty, repeated, run before, or over its hypothesis's limit."""
    before = {text.text for request in tried for text in request.texts}
    cut = (ExpectedText(t.text[:TEST_CHARS], t.activates, t.hypothesis[:HYPOTHESIS_CHARS]) for t in asked)
    return _first_of_each(text for text in _legible(cut) if text.text not in before)


def notes(asked: Sequence[ExpectedText], kept: Sequence[ExpectedText]) -> Iterator[str]:
    """Yields remarks for an explainer on texts that are not run, or are shortened."""
    if len(kept) < len(asked):
        why = f"empty, said twice, run before, or beyond {TESTS} of one hypothesis and {TESTS_OF_ALL} in all"
        yield f"{len(asked) - len(kept)} of {len(asked)} texts were left out ({why})"
    n_cut = sum(len(test.text) > TEST_CHARS for test in asked)
    if n_cut:
        yield f"texts that were cut to {TEST_CHARS} characters: {n_cut}"


def _legible(texts: Iterable[ExpectedText]) -> list[ExpectedText]:
    """Returns the tests whose text is visible, each once, the first of equals."""
    kept: dict[str, ExpectedText] = {}
    for text in texts:
        if any(char.isprintable() and not char.isspace() for char in text.text):
            kept.setdefault(text.text, text)
    return [*kept.values()]


def _first_of_each(texts: Iterable[ExpectedText]) -> list[ExpectedText]:
    """Returns the first `TESTS` of each hypothesis, and of these the first `TESTS_OF_ALL`."""
    kept: list[ExpectedText] = []
    for text in texts:
        if sum(other.hypothesis == text.hypothesis for other in kept) < TESTS and len(kept) < TESTS_OF_ALL:
            kept.append(text)
    return kept
