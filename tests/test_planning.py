import random
from dataclasses import replace

import pytest

from agent.planning import Planner
from agent.schema import SettingsChange
from probes.evidence import ProbeRequest
from probes.settings import AdapterFile, ProbeSettings

VECTOR = {"weights": "encoder", "scale": 2.0}
PROBE = ProbeSettings.parse({"vector": VECTOR, "tree": {"top_k": 3, "prompt": "definition"}})
PLANNER = Planner(PROBE, ("encoder", "decoder"), default_scale=2.0)


def what(requests: tuple[ProbeRequest, ...]) -> list[tuple[str, str]]:
    return [(request.kind, request.settings.vector.weights) for request in requests]


def test_the_first_round_sees_both_sides_and_one_projection() -> None:
    assert what(PLANNER.first(7).requests) == [
        ("tree", "encoder"),
        ("tokens", "encoder"),
        ("tree", "decoder"),
        ("tokens", "decoder"),
        ("projection", "encoder"),
    ]
    assert what(Planner(PROBE, ("blend:0.2",), 2.0).first(7).requests)[:2] == [
        ("tree", "blend:0.2"),
        ("tokens", "blend:0.2"),
    ]


def test_agreement_of_base_prompts_may_be_asked_for_of_any_vector() -> None:
    planner = Planner(PROBE, ("encoder", "decoder"), 2.0, agreement=True)
    first = planner.first(7).requests
    assert what(first)[:4] == [("sweep", "encoder"), ("tree", "encoder"), ("tokens", "encoder"), ("sweep", "decoder")]
    changed = what(planner.next(7, SettingsChange(weights="blend:0.3"), first).requests)
    assert changed == [("sweep", "blend:0.3"), ("tree", "blend:0.3"), ("tokens", "blend:0.3")]


def test_a_change_is_merged_with_round_one() -> None:
    plan = PLANNER.next(7, SettingsChange(scale=1.5), PLANNER.first(7).requests)
    assert what(plan.requests) == [
        ("tree", "encoder"),
        ("tokens", "encoder"),
        ("tree", "decoder"),
        ("tokens", "decoder"),
    ]
    assert {request.settings.vector.scale for request in plan.requests} == {3.0}
    assert all(request.settings.tree.top_k == 3 for request in plan.requests)
    blend = PLANNER.next(7, SettingsChange(weights="blend:0.5", centroid=False), PLANNER.first(7).requests)
    assert what(blend.requests) == [("tree", "blend:0.5"), ("tokens", "blend:0.5")]
    assert not any(request.settings.vector.centroid for request in blend.requests)


def test_a_scale_is_rounded_and_that_is_said_since_each_has_a_null_of_its_own() -> None:
    plan = PLANNER.next(7, SettingsChange(scale=1.372), PLANNER.first(7).requests)
    assert plan.requests[0].settings.vector.scale == pytest.approx(2 * 1.4)
    assert plan.notes == ("scale 1.372 was rounded to 1.4",)


def test_an_adapter_is_used_with_its_own_weights_alone() -> None:
    vector = {"weights": "encoder", "adapter": AdapterFile(path="a.safetensors", sha256="0" * 64)}
    planner = replace(PLANNER, probe=ProbeSettings.parse({"vector": vector}), weights_plan=("encoder",))
    plan = planner.next(7, SettingsChange(weights="decoder"), planner.first(7).requests)
    assert plan.refusal == "The run's adapter is for encoder weights alone."
    assert planner.next(7, SettingsChange(exponent=2), planner.first(7).requests).requests


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (SettingsChange(scale=50), 20.0),
        (SettingsChange(scale=-3), 0.2),
        (SettingsChange(scale=0), 0.2),
    ],
)
def test_a_scale_out_of_range_is_brought_into_it_and_said(change: SettingsChange, value: float) -> None:
    plan = PLANNER.next(7, change, ())
    assert plan.requests[0].settings.vector.scale == pytest.approx(value)
    assert "scale" in plan.notes[0]


def test_the_exponent_is_clamped_and_only_the_lists_are_probed_again() -> None:
    plan = PLANNER.next(7, SettingsChange(exponent=99), PLANNER.first(7).requests)
    assert {request.kind for request in plan.requests} == {"tokens"}
    assert plan.requests[0].settings.tokens.exponent == 5.0


@pytest.mark.parametrize("pca", [(0.7, 0.7), (-1.0, 0.3), (0.1,) * 8, (1e308, 1e-9), (5.0,)])
def test_pca_weights_are_brought_to_shares(pca: tuple[float, ...]) -> None:
    plan = PLANNER.next(7, SettingsChange(pca=pca), ())
    shares = plan.requests[0].settings.vector.pca
    assert len(shares) == len(pca)
    assert min(shares) >= 0
    assert sum(shares) <= 1


def test_pca_weights_of_any_sum_are_accepted_whatever_rounding_does() -> None:
    rng = random.Random(0)
    for _ in range(500):
        pca = tuple(rng.random() for _ in range(rng.randint(1, 8)))
        assert PLANNER.next(7, SettingsChange(pca=pca), ()).refusal == ""


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (None, "no other settings"),
        (SettingsChange(), "no other settings"),
        (SettingsChange(prompt='Anything with "{ghost}"'), "by name"),
        (SettingsChange(weights="both"), "weights"),
        (SettingsChange(weights="blend:7"), "weights"),
        (SettingsChange(pca=(0.01,) * 9), "PCA"),
        (SettingsChange(scale=1.0), "tried"),
        (SettingsChange(weights="decoder"), "tried"),
        (SettingsChange(prompt="definition"), "tried"),
    ],
)
def test_what_cannot_be_granted_is_refused_with_a_reason(change: SettingsChange | None, word: str) -> None:
    plan = PLANNER.next(7, change, PLANNER.first(7).requests)
    assert plan.requests == ()
    assert word in plan.refusal


def test_a_clamped_wish_that_was_granted_before_is_refused() -> None:
    first = PLANNER.next(7, SettingsChange(scale=10), ())
    assert PLANNER.next(7, SettingsChange(scale=11), first.requests).refusal


def test_a_base_prompt_that_is_not_offered_is_refused_with_those_that_are() -> None:
    planner = Planner(PROBE, ("encoder",), 2.0, offered_prompts=("definition", "word"))
    assert planner.next(7, SettingsChange(prompt="word"), ()).refusal == ""
    refusal = planner.next(7, SettingsChange(prompt="meaning"), ()).refusal
    assert "'meaning'" in refusal
    assert "definition, word." in refusal


def test_a_sweep_can_occur_where_something_is_to_be_found_or_agreement_is_told() -> None:
    auto = ProbeSettings.parse({"vector": {"scale": "auto"}})
    assert not PLANNER.sweeps
    assert Planner(auto, ("encoder",), 2.0).sweeps
    assert Planner(PROBE, ("auto",), 2.0).sweeps
    assert Planner(PROBE, ("encoder",), 2.0, agreement=True).sweeps
