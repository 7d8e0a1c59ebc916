"""Plain sentences with a label's words in them, run on the subject to test if they activate the feature.

They are general English, the same for every subject.
"""

from collections.abc import Iterator

from agent.schema import TextTest

_CARRIERS = ("They spoke of the {} again.", "There was a {} here.", "{}", "What is a {}?")
_OTHERS = ("morning", "question", "number", "window")
"""Words of no particular topic, for texts that should not activate the feature."""
_POSITIVE = 4


def texts_for(label: str) -> Iterator[TextTest]:
    """Yields four texts with the label's words in turn, and as many with other words."""
    words = [word.strip() for word in label.split(",") if word.strip()]
    others = [word for word in _OTHERS if word not in words]
    for place in range(_POSITIVE):
        carrier = _CARRIERS[place % len(_CARRIERS)]
        yield TextTest(text=carrier.format(words[place % len(words)]), expected=True)
    for place, word in enumerate(others):
        yield TextTest(text=_CARRIERS[place % len(_CARRIERS)].format(word), expected=False)
