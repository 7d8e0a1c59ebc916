"""What the probes promise of any model, family by family; the figures are those of `python -m tests.families`."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from probes.errors import SettingsError, SubjectError
from probes.model.structure import final_norm_of, layers_of
from probes.presets import SubjectSource
from tests.families import main
from tests.family_checks import FEATURES, SITES, Measured, fed, grown, identity_logits, logits_of, measure, refusal
from tests.family_models import family_source, family_subject, random_model
from tests.family_table import FAMILIES, LAYERS, RECURRENT, Family

WITH_TABLE = ("gemma3n", "gemma4")


@pytest.fixture(scope="module")
def measured_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Measured]:
    @cache
    def once(name: str) -> Measured:
        return measure(FAMILIES[name], tmp_path_factory.mktemp("family"))

    return once


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def measured(family: str, measured_of: Callable[[str], Measured]) -> Measured:
    return measured_of(family)


def test_a_token_s_row_as_a_ghost_is_that_token(measured: Measured) -> None:
    assert measured.ghost_is_token
    assert not measured.placeholder_is_token


def test_probing_leaves_every_weight_as_it_was(measured: Measured) -> None:
    assert measured.weights_kept


def test_trees_are_the_plain_reference_s(measured: Measured) -> None:
    assert measured.trees.n_apart == 0
    assert measured.trees.difference < 1e-4
    assert measured.trees.n_nodes > 30 * len(FEATURES)


def test_the_stream_at_a_hook_is_the_model_s_own(measured: Measured) -> None:
    assert measured.stream_difference < 1e-5


def test_sites_within_a_block_are_where_plain_hooks_find_them(family: str, measured: Measured) -> None:
    told = FAMILIES[family]
    nameless = {site for site, name in (("mlp_act", told.mlp_act), ("z", told.z)) if name is None}
    assert measured.site_differences.keys() == set(SITES) - told.refuses - nameless
    assert max(measured.site_differences.values()) < 1e-5


def test_the_projection_is_the_model_s_own_lens(family: str, measured: Measured) -> None:
    if measured.lens_difference is None:
        assert family == "gemma3n"  # it unembeds four streams together
    else:
        assert measured.lens_difference < 1e-4


def test_what_a_second_table_finds_matters_where_there_is_one(family: str, measured: Measured) -> None:
    effects = measured.per_layer_effects
    assert bool(effects) == (family in WITH_TABLE)
    if effects:
        first, *others = effects.values()
        assert first == 0
        assert min(others) > 1e-6


@pytest.mark.parametrize("name", WITH_TABLE)
def test_a_second_table_finds_the_placeholder_unless_told(tmp_path: Path, name: str) -> None:
    subject = family_subject(tmp_path, FAMILIES[name])
    assert subject.card.per_layer == "placeholder"
    own = subject.card.placeholder_id
    ids = [5, 6, own, 8]
    plain = logits_of(subject, ids)
    with subject.ghosts_at(2, subject.embedding[[own]] * subject.input_scale):
        assert torch.equal(logits_of(subject, ids), plain)
        assert torch.equal(logits_of(subject, [5, 6, 9, 8])[:, :2], plain[:, :2])
    _, haunted, _ = identity_logits(subject)
    with fed(subject, "zeros").ghosts_at(2, subject.embedding[[own]] * subject.input_scale):
        assert not torch.equal(logits_of(subject, ids), plain)
    assert torch.equal(identity_logits(subject)[1], haunted)  # nothing of it stays


@pytest.mark.parametrize("name", WITH_TABLE)
def test_trees_follow_what_a_second_table_finds(tmp_path: Path, name: str) -> None:
    subject = family_subject(tmp_path, FAMILIES[name])
    own, unlike = grown(subject), grown(fed(subject, "zeros"))
    same = grown(fed(subject, subject.card.placeholder_id))
    assert [tree.probabilities for tree in own] != [tree.probabilities for tree in unlike]
    assert [tree.probabilities for tree in own] == [tree.probabilities for tree in same]


def test_the_second_table_s_row_is_a_setting(tmp_path: Path) -> None:
    for said, kept in (("0", 0), ("290", 290), ("zeros", "zeros")):
        source = family_source(tmp_path, FAMILIES["gemma4"], per_layer=said)
        assert source.per_layer == kept
    assert family_subject(tmp_path, FAMILIES["gemma4"], per_layer="0").card.per_layer == 0
    with pytest.raises(SubjectError, match="--per-layer 320 is beyond the 320 rows"):
        family_subject(tmp_path, FAMILIES["gemma4"], per_layer="320")
    with pytest.raises(SettingsError, match="per_layer"):
        SubjectSource.parse({"per_layer": "mean"})


def test_a_model_with_one_table_takes_no_setting_for_a_second(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match=r"--per-layer zeros has no meaning for .* a LlamaForCausalLM"):
        family_subject(tmp_path, FAMILIES["llama"], per_layer="zeros")


@pytest.mark.parametrize("name", RECURRENT)
def test_models_that_carry_a_state_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, RECURRENT[name])
    assert "attends to keys and values only" in said
    assert "\n" not in said


def test_a_model_that_embeds_in_fewer_dimensions_is_refused(tmp_path: Path) -> None:
    projected = Family({**FAMILIES["opt"].config, "word_embed_proj_dim": 16})
    with pytest.raises(SubjectError, match="embeds tokens in 16 dimensions but computes in 32"):
        family_subject(tmp_path, projected)


def test_layers_and_norm_are_those_that_read_text() -> None:
    model = random_model(FAMILIES["gemma3 multimodal"].config)
    assert layers_of(model) is model.get_submodule("model.language_model.layers")
    assert len(layers_of(model)) == len(model.get_submodule("model.vision_tower.encoder.layers")) == LAYERS
    four = random_model(FAMILIES["gemma4"].config)
    assert final_norm_of(four) is four.get_submodule("model.norm")


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["gemma2", "mamba"])
    head, gemma, mamba = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["family", "ghost", "nodes", "engine"]
    assert gemma.startswith("gemma2             equal")
    assert gemma.endswith("capped logits, windows")
    assert mamba.endswith("MambaForCausalLM does not.")
