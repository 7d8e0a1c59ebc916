"""What is the same evidence, for runs and comparisons alike."""

import pytest

from probes.essence import essence_of
from probes.settings import PROMPTS, ProbeKind, ProbeSettings

VOCABULARY = {"vector": {"weights": "vocabulary", "scale": 2.0}}
ENCODER = {"vector": {"weights": "encoder", "scale": 2.0}}
NO_GHOST = {"steering": {"mode": "clamp", "maximum": 3.0, "ghost": False}}


def both(kind: ProbeKind, one: dict[str, object], other: dict[str, object]) -> tuple[str, str]:
    return essence_of(kind, ProbeSettings.parse(one)), essence_of(kind, ProbeSettings.parse(other))


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("tokens", VOCABULARY, {"vector": {"weights": "words", "scale": 9.0}}),
        ("tokens", VOCABULARY, VOCABULARY | {"tokens": {"exponent": 3.0}}),
        ("tokens", ENCODER, ENCODER | {"tree": {"top_k": 2}}),
        ("tokens", ENCODER, ENCODER | NO_GHOST),
        ("tree", ENCODER, ENCODER | {"tokens": {"top_n": 7}}),
        ("tree", ENCODER | NO_GHOST, VOCABULARY | NO_GHOST),
        ("tree", {"tree": {"prompt": "definition"}}, {"tree": {"prompt": PROMPTS["definition"]}}),
        ("sweep", ENCODER, ENCODER | {"tree": {"top_k": 2}}),
    ],
)
def test_settings_that_nothing_hangs_on_make_no_other_evidence(
    kind: ProbeKind, one: dict[str, object], other: dict[str, object]
) -> None:
    assert len({*both(kind, one, other)}) == 1


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("tokens", VOCABULARY, VOCABULARY | {"tokens": {"top_n": 7}}),
        ("tokens", VOCABULARY, ENCODER),
        ("tokens", ENCODER, ENCODER | {"tokens": {"exponent": 3.0}}),
        ("tokens", ENCODER, {"vector": {"weights": "encoder", "scale": 3.0}}),
        ("tree", VOCABULARY, {"vector": {"weights": "vocabulary", "scale": 9.0}}),
        ("tree", VOCABULARY, {"vector": {"weights": "words", "scale": 2.0}}),
        ("tree", ENCODER, ENCODER | {"tree": {"top_k": 2}}),
        ("tree", ENCODER, ENCODER | NO_GHOST),
        ("sweep", ENCODER, ENCODER | {"tree": {"prompt": "meaning"}}),
    ],
)
def test_settings_that_it_hangs_on_do(kind: ProbeKind, one: dict[str, object], other: dict[str, object]) -> None:
    assert len({*both(kind, one, other)}) == 2
