"""Steered trees: those of a plain model with a hook written by hand, whatever is added or clamped, and where."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from probes.columns import Columns
from probes.errors import SettingsError
from probes.evidence import ProbeRequest, Tree
from probes.ghost.vectors import feature_vectors
from probes.growing import memory
from probes.hooks.activations import residual
from probes.model.structure import layers_of
from probes.probe import run_probes
from probes.settings import ProbeSettings, SteeringSettings, TreeSettings, VectorSettings
from probes.steering import FeatureSteering
from probes.subject import Subject
from tests.plain import plain_tree
from tests.subjects import D_MODEL, N_FEATURES, sae_tensors
from tests.test_activations import RULES, n_hooks, sae_of
from tests.test_tree import assert_same

T = sae_tensors()
ENCODER = VectorSettings(weights="encoder")
TREE = TreeSettings(cutoff=2e-2, max_depth=4)
MAXIMA = {0: 3.0, 3: 7.0, 7: 5.0}
"""As if measured; the features do activate in these models."""
MODES, PLACES = ("add", "clamp"), ("ghost", "after", "all")


def steered(at: str, mode: str = "add", **changes: Any) -> SteeringSettings:
    return SteeringSettings.parse({"mode": mode, "at": at, "strength": 1.5, **changes})


def grow(
    subject: Subject, features: Sequence[int], steering: SteeringSettings | None = None, tree: TreeSettings = TREE
) -> list[Tree]:
    steering = steering or SteeringSettings()
    requests = []
    for feature in features:
        own = steering.model_copy(update={"maximum": MAXIMA.get(feature, 1.0)}) if steering.on else steering
        requests.append(ProbeRequest("tree", feature, ProbeSettings(vector=ENCODER, tree=tree, steering=own)))
    trees = run_probes(subject, requests)
    assert all(isinstance(tree, Tree) for tree in trees)
    return [tree for tree in trees if isinstance(tree, Tree)]


@contextmanager
def by_hand(subject: Subject, tree: Tree) -> Iterator[None]:
    """The hook: block 1's output of a whole sequence, from the formulas and the SAE's file alone."""
    steering, feature = tree.settings.steering, tree.feature
    start = {"ghost": tree.ghost_position, "after": len(tree.prompt_ids) - 1, "all": 0}[steering.at]
    end = start + 1 if steering.at == "ghost" else None
    assert steering.maximum is not None

    def hook(_module: object, _args: object, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        x = states[:, start:end]
        active = ((x - T["b_dec"]) @ T["W_enc"][:, feature] + T["b_enc"][feature]).relu()
        assert steering.maximum is not None
        wanted = steering.strength * steering.maximum - (active if steering.mode == "clamp" else 0 * active)
        changed = states.clone()
        changed[:, start:end] = x + wanted[..., None] * T["W_dec"][feature]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = layers_of(subject.model)[1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def assert_as_by_hand(subject: Subject, tree: Tree) -> None:
    settings = tree.settings
    vector = feature_vectors(subject, [tree.feature], settings.vector)[0]
    if not settings.steering.ghost:
        vector = subject.embedding[tree.prompt_ids[tree.ghost_position]]
    with by_hand(subject, tree):
        root = plain_tree(subject, vector, tree.prompt_ids, tree.ghost_position, settings.tree)
    assert assert_same(tree, root) > 3  # the root, and nodes below it


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", ["gemma", "llama", "gpt2"])
def test_steered_trees_are_those_of_a_hook_written_by_hand(
    subject_of: Any, family: str, mode: str, at: str, ghost: bool
) -> None:
    subject = subject_of(family)
    pronoun = {} if ghost else {"ghost": False, "pronoun": "a"}
    hooks = n_hooks(subject.model)
    trees = grow(subject, [*MAXIMA], steered(at, mode, **pronoun))
    assert n_hooks(subject.model) == hooks
    for tree in trees:
        assert_as_by_hand(subject, tree)
    assert len({tree.probabilities for tree in trees}) == len(trees)


@pytest.mark.parametrize("at", PLACES)
def test_steering_matters(subject: Subject, at: str) -> None:
    plain, added, clamped = (
        [tree.probabilities for tree in grow(subject, range(12), steering)]
        for steering in (None, steered(at, "add"), steered(at, "clamp"))
    )
    for one, other in ((plain, added), (plain, clamped), (added, clamped)):
        assert sum(a != b for a, b in zip(one, other, strict=True)) >= 4  # clamping what is not active is adding


@pytest.mark.parametrize("at", PLACES)
def test_features_may_be_clamped_off(subject: Subject, at: str) -> None:
    trees = grow(subject, range(6), steered(at, "clamp", strength=0))
    for tree in trees:
        assert_as_by_hand(subject, tree)
    plain = grow(subject, range(6))
    assert [tree.probabilities for tree in trees] != [tree.probabilities for tree in plain]


def test_features_of_one_batch_may_be_steered_differently(subject: Subject) -> None:
    requests = [
        ProbeRequest(
            "tree",
            feature,
            ProbeSettings(
                vector=VectorSettings(weights="encoder"), tree=TREE, steering=steered("after", strength=s, maximum=m)
            ),
        )
        for feature, s, m in ((0, 1.0, 2.0), (3, -2.0, 1.0), (0, 0.5, 9.0))
    ]
    for tree in run_probes(subject, requests):
        assert isinstance(tree, Tree)
        assert_as_by_hand(subject, tree)


def test_beyond_the_trees_that_grow_at_once_each_is_steered_by_its_own_feature(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ON_CPU", replace(memory.ON_CPU, trees=2))
    for tree in grow(subject, [0, 3, 7, 1], steered("after", "clamp")):
        assert_as_by_hand(subject, tree)


@pytest.mark.parametrize("at", PLACES)
def test_adding_nothing_changes_no_bit(subject: Subject, at: str) -> None:
    plain, same = grow(subject, [0, 3]), grow(subject, [0, 3], steered(at, strength=0))
    for before, after in zip(plain, same, strict=True):
        assert before.token_ids == after.token_ids
        assert before.probabilities == after.probabilities


def test_clamped_at_nothing_a_feature_is_off(subject: Subject) -> None:
    x = residual(subject.model, torch.tensor([[1, 40, 290, 7, 99]]), subject.sae.config.hook)
    feature = int(subject.sae.encode(x)[0, -1].argmax())
    steering = FeatureSteering(subject, [feature], [0.0], steered("after", "clamp"))
    found = stream_under(subject, steering, torch.tensor([[1, 40, 290, 7, 99]]))
    active = subject.sae.encode(x)[0, -1, feature]
    assert active > 0
    assert_close(found[0, -1], x[0, -1] - active * subject.sae.decoder_rows([feature])[0])
    assert torch.equal(found[0, :-1], x[0, :-1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("normalisation", ["none", "constant_norm_rescale", "layer_norm"])
def test_a_sequence_s_own_feature_is_a_column_of_all(tmp_path: Path, rule: str, normalisation: str) -> None:
    sae = sae_of(tmp_path, rule, normalize_activations=normalisation)
    x = 3 * torch.randn(6, 5, D_MODEL, generator=torch.Generator().manual_seed(3))
    chosen, places = [5, 0, 11], torch.tensor([0, 2, 1, 1, 0, 2])
    found = Columns(sae, chosen).own(x, places)
    expected = torch.stack([sae.encode(x[i])[:, chosen[int(place)]] for i, place in enumerate(places)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert 0 < (expected > 0).float().mean() < 1


UNITS: dict[str, tuple[dict[str, Any], float]] = {
    "none": ({}, 1.0),
    "constant_norm_rescale": ({"normalize_activations": "constant_norm_rescale"}, 1.0),
    "layer_norm": ({"normalize_activations": "layer_norm"}, 1.0),
    "by decoder norm": ({"rescale_acts_by_decoder_norm": True}, 1.0),
    "input scale": ({}, 0.25),
}


@pytest.mark.parametrize("case", UNITS)
def test_clamped_off_the_stream_loses_what_the_sae_writes_for_the_feature(
    subject: Subject, tmp_path: Path, case: str
) -> None:
    config, scale = UNITS[case]
    sae = replace(sae_of(tmp_path, "standard", **config), input_scale=scale)
    ids = torch.tensor([[1, 40, 290, 7, 99]])
    x = residual(subject.model, ids, sae.config.hook)
    feature = int(sae.encode(x).sum(dim=(0, 1)).argmax())
    decoder = sae.W_dec.clone()
    decoder[feature] = 0
    lost = sae.reconstruct(x) - replace(sae, W_dec=decoder).reconstruct(x)
    assert lost.abs().max() > 0.1
    steering = FeatureSteering(replace(subject, sae=sae), [feature], [0.0], steered("all", "clamp"))
    assert_close(stream_under(subject, steering, ids), x - lost)


def stream_under(subject: Subject, steering: FeatureSteering, ids: Tensor) -> Tensor:
    """Returns what block 1 hands on while one sequence is steered."""
    seen: list[Tensor] = []
    # only after the steering's own hook is what it leaves behind to be seen
    with torch.inference_mode(), steering.over(torch.tensor([0]), planting=True):
        handle = layers_of(subject.model)[1].register_forward_hook(lambda _m, _a, out: seen.append(out))
        subject.model(ids)
        handle.remove()
    return seen[0]


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_dead_feature_has_a_bare_root_with_a_pronoun_too(subject: Subject) -> None:
    dead, alive = grow(subject, [N_FEATURES - 1, 0], steered("after", ghost=False, pronoun="a"))
    assert dead.n_nodes == 1
    assert_as_by_hand(subject, alive)


def test_what_stood_in_the_prompt_and_was_steered_is_with_the_tree(subject: Subject) -> None:
    tree = grow(subject, [0], steered("after", ghost=False, pronoun="a"))[0]
    assert tree.settings.steering.maximum == MAXIMA[0]
    assert tree.prompt_ids[tree.ghost_position] == subject.tokenizer.encode("a", add_special_tokens=False)[0]
    again = grow(subject, [0], tree.settings.steering)[0]
    assert again == tree
    assert tree.contrast is None


def test_a_pronoun_that_is_not_one_token_is_refused(subject: Subject) -> None:
    with pytest.raises(SettingsError, match="'garden shed' is not one token"):
        grow(subject, [0], steered("after", ghost=False, pronoun="garden shed"))


def test_without_a_maximum_it_says_where_one_comes_from(subject: Subject) -> None:
    request = ProbeRequest("tree", 3, ProbeSettings(tree=TREE, steering=steered("after")))
    with pytest.raises(SettingsError, match="interpret examples --features 3"):
        run_probes(subject, [request])


def test_there_is_one_way_of_not_steering() -> None:
    assert SteeringSettings.parse({"mode": "none", "strength": 5, "at": "all"}) == SteeringSettings()
    with pytest.raises(SettingsError, match="strength is about steering, which is off"):
        SteeringSettings.parse({"strength": 5})
    with pytest.raises(SettingsError, match="nonsense"):
        SteeringSettings.parse({"mode": "none", "nonsense": 5})
    with pytest.raises(SettingsError, match="--no-ghost"):
        steered("all", pronoun="it")
