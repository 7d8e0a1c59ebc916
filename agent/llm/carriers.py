"""Plain sentences that a label's words are put into, to see on the subject whether they activate the feature.

General English alone; knows no subject.
"""

from collections.abc import Iterator

from agent.schema import TextTest

_CARRIERS = ("They spoke of the {} again.", "There was a {} here.", "{}", "What is a {}?")
_OTHERS = ("morning", "question", "number", "window")
"""Words of no particular topic, in texts on which nothing is expected."""
_POSITIVE = 4


def texts_for(label: str) -> Iterator[TextTest]:
    """Four texts with the label's words in turn, and as many with other words."""
    words = [word.strip() for word in label.split(",") if word.strip()]
    others = [word for word in _OTHERS if word not in words]
    for place in range(_POSITIVE):
        carrier = _CARRIERS[place % len(_CARRIERS)]
        yield TextTest(text=carrier.format(words[place % len(words)]), expected=True)
    for place, word in enumerate(others):
        yield TextTest(text=_CARRIERS[place % len(_CARRIERS)].format(word), expected=False)
