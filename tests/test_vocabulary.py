"""What single tokens make of features: held against one plain forward for each token and the formulas."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from probes.errors import SubjectError
from probes.evidence import IN_CONTEXT, ProbeRequest, TokenList, Tree, tokens_json
from probes.ghost import mapped_table
from probes.ghost import token_states as passes
from probes.ghost.random_directions import random_directions
from probes.ghost.token_states import read_together, readable_ids, token_states
from probes.ghost.vectors import feature_vectors
from probes.ghost.vocabulary import N_RANDOM as N_LISTS
from probes.ghost.vocabulary import leading_tokens, token_lists, vocabulary_directions
from probes.hooks.activations import residual
from probes.null.contrast import N_NULL, N_RANDOM, SEED, contrasts
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings, TokenSettings, TreeSettings, VectorSettings
from probes.subject import Subject, load_subject
from tests.subjects import D_MODEL, N_FEATURES, sae_config, write_model, write_sae

BOS = 1
VECTOR = VectorSettings(weights="vocabulary")
ALL = 1000
"""More tokens than a tiny vocabulary has."""


def plain_states(subject: Subject) -> torch.Tensor:
    """One forward for each token behind BOS, in the order of the ids."""
    hook = subject.sae.config.hook
    return torch.stack(
        [residual(subject.model, torch.tensor([[BOS, id]]), hook)[0, -1] for id in readable_ids(subject)]
    )


def plain_z(subject: Subject, column: torch.Tensor) -> np.ndarray:
    a = (plain_states(subject).double() @ column.double()).numpy()
    return (a - a.mean()) / a.std()


def listed(subject: Subject, feature: int, **tokens: Any) -> TokenList:
    settings = ProbeSettings(vector=VECTOR, tokens=TokenSettings(**tokens))
    found = run_probes(subject, [ProbeRequest("tokens", feature, settings)])[0]
    assert isinstance(found, TokenList)
    return found


def loaded(folder: Path, config: dict[str, Any], model: Path | None = None, **tensors: torch.Tensor) -> Subject:
    sae = write_sae(folder / "sae", config, **tensors)
    return load_subject(SubjectSource.parse({"model": str(model or write_model(folder / "model")), "sae": str(sae)}))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


RULES: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {
    "relu": ({}, {}),
    "jumprelu": ({"architecture": "jumprelu"}, {"threshold": torch.linspace(0, 3, N_FEATURES)}),
    "topk": ({"architecture": "topk", "k": 4}, {}),
    "gated": (
        {"architecture": "gated"},
        {name: torch.linspace(-1, 1, N_FEATURES) for name in ("b_gate", "b_mag", "r_mag")},
    ),
    "layer_norm": ({"normalize_activations": "layer_norm"}, {}),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_list_is_every_token_by_its_pre_activation_and_says_which_rule_makes_it_active(
    rule: str, model: Path, tmp_path: Path
) -> None:
    config, tensors = RULES[rule]
    subject = loaded(tmp_path, sae_config(**config), model, **tensors)
    sae, states = subject.sae, plain_states(subject)
    x = sae.normalised(states) - sae.b_dec
    gain, bias = (sae.r_mag.exp(), sae.b_mag) if rule == "gated" else (torch.ones(N_FEATURES), sae.b_enc)
    pre = x @ sae.encoder * gain + bias
    ids = torch.tensor(readable_ids(subject))
    for feature in (0, 5, 11):
        found = listed(subject, feature, top_n=ALL)
        order = pre[:, feature].argsort(descending=True)
        scores = torch.tensor([token.score for token in found.tokens])
        torch.testing.assert_close(scores, pre[order, feature], rtol=1e-4, atol=1e-4)
        assert found.tokens[0].token_id == ids[order[0]]
        assert [token.token_id for token in found.tokens][: -len(ids) // 2] != sorted(ids.tolist())
        is_active = bool(sae.encode(states[order[0]])[feature] > 0)
        assert found.note == ("" if is_active else IN_CONTEXT)
        if rule == "topk":
            assert found.threshold is None
        if rule == "jumprelu":
            assert found.threshold == pytest.approx(float(tensors["threshold"][feature]))


def test_every_family_and_depth_is_read_at_its_hook_behind_what_stands_first(any_subject: Subject) -> None:
    found = token_states(any_subject)
    assert found.ids.tolist() == readable_ids(any_subject)
    torch.testing.assert_close(found.states, plain_states(any_subject), rtol=1e-3, atol=1e-3)
    exact = plain_states(any_subject).double()
    torch.testing.assert_close(found.mean, exact.mean(0).float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.covariance, torch.cov(exact.T, correction=0).float(), rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("hook", ["blocks.2.hook_resid_pre", "blocks.1.hook_attn_out", "blocks.0.hook_mlp_out"])
def test_other_hooks_are_read_where_they_are(hook: str, model: Path, tmp_path: Path) -> None:
    metadata = {"model_name": "tiny", "hook_name": hook, "prepend_bos": False}
    subject = loaded(tmp_path, sae_config(metadata=metadata), model)
    torch.testing.assert_close(token_states(subject).states, plain_states(subject), rtol=1e-4, atol=1e-4)


def test_tokens_that_stand_for_no_text_of_their_own_are_left_out(subject: Subject) -> None:
    ids = readable_ids(subject)
    left_out = {token for token, id in subject.tokenizer.get_vocab().items() if id not in ids}
    assert {"<pad>", "<bos>", "<eos>", "<unused0>"} <= left_out
    assert subject.placeholder_id not in ids
    assert all("\N{REPLACEMENT CHARACTER}" not in subject.text_of(id) for id in ids)
    assert subject.tokenizer.get_vocab()["a"] in ids


def test_the_ghost_points_to_the_weighted_embeddings_of_the_tokens_that_stand_out(subject: Subject) -> None:
    ids, k = readable_ids(subject), 8
    for feature in (0, 5):
        z = plain_z(subject, subject.sae.encoder[:, feature])
        first = np.argsort(-z)[:k]
        weights = np.maximum(z[first] - 2, 0)
        rows = (subject.embedding[[ids[i] for i in first]] - subject.centroid).double().numpy()
        expected = (weights[:, None] * rows).sum(0)
        found = vocabulary_directions(subject, subject.sae.encoder_rows([feature]).T, k)[0].double().numpy()
        if weights.any():
            np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)
        else:
            assert not found.any()
        vector = feature_vectors(subject, [feature], VECTOR)[0]
        if weights.any():
            distance = (vector - subject.centroid).norm()
            assert float(distance) == pytest.approx(subject.card.default_scale, rel=1e-4)


def test_a_feature_without_encoder_has_an_empty_list_and_a_bare_root(subject: Subject) -> None:
    dead = N_FEATURES - 1
    assert listed(subject, dead).tokens == ()
    settings = ProbeSettings(vector=VECTOR, tree=TreeSettings(cutoff=0.1))
    tree = run_probes(subject, [ProbeRequest("tree", dead, settings)])[0]
    assert isinstance(tree, Tree)
    assert tree.n_nodes == 1


def test_random_directions_in_a_features_place_have_uniform_p_values(subject: Subject) -> None:
    drawn = random_directions(D_MODEL, 400, seed=77)
    sae = subject.sae
    encoder = torch.cat([drawn.T, sae.encoder], dim=1)
    rows = torch.cat([drawn, sae.decoder])
    bias = torch.zeros(len(rows))
    wide = type(sae)(config=sae.config, W_enc=encoder, W_dec=rows, b_dec=sae.b_dec, b_enc=bias)
    swapped = type(subject)(subject.card, subject.model, subject.tokenizer, wide, subject.table, subject.text_of)
    p_values = token_lists(swapped, range(400), 10).p_values
    uniform = np.arange(1, N_LISTS + 2) / (N_LISTS + 1)  # as fine as the null, which is a draw of its own too
    assert ks_2samp(p_values, uniform).pvalue > 1e-3


def with_encoder(subject: Subject, columns: torch.Tensor) -> Subject:
    """The same subject whose SAE has these encoder columns, and nothing else of its own."""
    sae, n = subject.sae, columns.shape[1]
    other = type(sae)(
        config=sae.config, W_enc=columns, W_dec=torch.ones(n, D_MODEL), b_dec=sae.b_dec, b_enc=torch.zeros(n)
    )
    return type(subject)(subject.card, subject.model, subject.tokenizer, other, subject.table, subject.text_of)


def test_a_feature_of_one_token_is_far_out_and_a_flat_one_is_not(subject: Subject) -> None:
    states = token_states(subject)
    whitened = torch.linalg.pinv(states.covariance)
    pointed = whitened @ (states.states[40].float() - states.mean)
    z = leading_tokens(subject, pointed[:, None], 1).z
    assert z > 4  # no direction is further out at this token
    found = token_lists(with_encoder(subject, torch.stack([pointed, -pointed], dim=1)), [0, 1], 5)
    assert found.leading.ids[0, 0] == states.ids[40]
    assert found.p_values[0] < 0.05 < 0.5 < found.p_values[1]


def test_tokens_that_every_direction_finds_are_left_out(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = readable_ids(subject)
    states, far = plain_states(subject), (3, len(ids) - 1)
    states[[*far]] *= 50  # as models' massive activations are

    def read(*_: object) -> Iterator[list[torch.Tensor]]:
        yield from ([block] for block in states.split(7))

    monkeypatch.setattr(passes, "_read", read)
    monkeypatch.setattr(passes, "_BLOCK", 5)
    monkeypatch.setattr(passes, "folder", lambda: tmp_path)
    [made] = passes._made([subject], None)
    kept = [place for place in range(len(ids)) if place not in far]
    for found in (made, passes._kept(subject)):
        assert found is not None
        assert found.ids.tolist() == [ids[place] for place in kept]
        torch.testing.assert_close(found.states, states[kept])
        torch.testing.assert_close(found.mean, states[kept].double().mean(0).float(), rtol=1e-4, atol=1e-5)


def test_moments_are_those_of_all_tokens_however_they_are_read(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "folder", lambda: tmp_path)
    monkeypatch.setattr(passes, "_TOKENS", {"cpu": 7})
    monkeypatch.delitem(passes._MADE, subject, raising=False)
    found, exact = token_states(subject), plain_states(subject).double()
    passes._MADE.pop(subject)
    torch.testing.assert_close(found.mean, exact.mean(0).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.covariance, torch.cov(exact.T, correction=0).float(), rtol=1e-4, atol=1e-3)


def test_trees_are_compared_with_random_encoders_taken_through_the_same_procedure(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    real = contrasts.__globals__["placed"]
    monkeypatch.setitem(contrasts.__globals__, "placed", lambda s, unit, v: seen.append(unit) or real(s, unit, v))
    tree = TreeSettings(cutoff=0.3, contrast=0.3, prompt='This is "{ghost}" or "')
    run_probes(subject, [ProbeRequest("tree", 0, ProbeSettings(vector=VECTOR, tree=tree))])
    encoders = random_directions(D_MODEL, N_NULL + N_RANDOM, SEED).T
    torch.testing.assert_close(seen[0][:, 0], vocabulary_directions(subject, encoders, VECTOR.ghost_tokens))


class TestCache:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(passes, "folder", lambda: tmp_path / "cache")
        return tmp_path / "cache"

    @staticmethod
    def again(subject: Subject, monkeypatch: pytest.MonkeyPatch, may_read: bool) -> torch.Tensor:
        """The states as another process would have them."""
        with monkeypatch.context() as patch:
            passes._MADE.pop(subject, None)
            if not may_read:
                patch.setattr(passes, "_read", lambda *_: pytest.fail("the tokens were read again"))
            return token_states(subject).states

    def test_tokens_are_read_once(self, subject: Subject, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.again(subject, monkeypatch, may_read=True).clone()
        assert sorted(file.suffix for file in cache.iterdir()) == [".npy", ".safetensors"]
        torch.testing.assert_close(self.again(subject, monkeypatch, may_read=False), first, rtol=0, atol=0)

    @pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
    def test_what_is_damaged_or_gone_is_made_anew(
        self, suffix: str, subject: Subject, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.again(subject, monkeypatch, may_read=True).clone()
        file = next(file for file in cache.iterdir() if file.suffix == suffix)
        for damage in (lambda: file.write_bytes(file.read_bytes()[:200]), file.unlink):
            damage()
            torch.testing.assert_close(self.again(subject, monkeypatch, may_read=True), first, rtol=0, atol=0)

    def test_without_a_place_to_keep_them_they_are_in_memory(
        self, subject: Subject, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.write_text("a file where the folder should be")
        assert len(self.again(subject, monkeypatch, may_read=True)) == len(readable_ids(subject))

    def test_bfloat16_comes_back_bit_for_bit(
        self, model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sae = write_sae(tmp_path / "sae")
        subject = load_subject(SubjectSource.parse({"model": str(model), "sae": str(sae), "dtype": "bfloat16"}))
        first = self.again(subject, monkeypatch, may_read=True).clone()
        assert first.dtype == torch.bfloat16
        assert cache.is_dir()
        assert torch.equal(self.again(subject, monkeypatch, may_read=False), first)


class TestTogether:
    HOOKS = ("blocks.2.hook_resid_post", "blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z")

    @pytest.fixture
    def layers(self, model: Path, tmp_path: Path) -> list[Subject]:
        found: list[Subject] = []
        for place, hook in enumerate(self.HOOKS):
            metadata = {"model_name": "tiny", "hook_name": hook, "prepend_bos": True}
            config = sae_config(metadata=metadata, normalize_activations="layer_norm" if place == 1 else "none")
            sae = write_sae(tmp_path / str(place), config)
            source = SubjectSource.parse({"model": str(model), "sae": str(sae), "device": "cpu"})
            found.append(load_subject(source, found[0] if found else None))
        return found

    @staticmethod
    def files(folder: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    def test_one_pass_leaves_in_the_cache_what_a_pass_for_each_does(
        self, layers: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passes, "_TOKENS", {"cpu": 50})
        alone, together = tmp_path / "alone", tmp_path / "together"
        monkeypatch.setattr(passes, "folder", lambda: alone)
        for subject in layers:
            token_states(subject)
            passes._MADE.pop(subject)
        monkeypatch.setattr(passes, "folder", lambda: together)
        block, batches = layers[0].model.model.layers[0], list[int]()
        handle = block.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
        read_together(layers)
        handle.remove()
        assert self.files(together) == self.files(alone)
        assert len(self.files(together)) == 2 * len(layers)
        n = len(readable_ids(layers[0]))
        assert [size for size in batches if size > 1] == [50] * (n // 50) + [n % 50]  # less the short ones that watch
        monkeypatch.setattr(passes, "_read", lambda *_: pytest.fail("the tokens were read again"))
        read_together(layers)
        for subject in layers:
            assert len(token_states(subject).ids) == len(readable_ids(subject))

    def test_only_those_that_lack_their_states_are_read(
        self, layers: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passes, "folder", lambda: tmp_path / "cache")
        token_states(layers[0])
        read: list[int] = []
        whole = passes._read
        monkeypatch.setattr(passes, "_read", lambda some, ids: read.append(len(some)) or whole(some, ids))
        read_together(layers)
        read_together(layers)
        assert read == [3]

    @pytest.mark.parametrize("why", ["no folder", "no room", "another placeholder"])
    def test_what_cannot_be_kept_or_shared_is_left_to_each(
        self, why: str, layers: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "cache"
        monkeypatch.setattr(passes, "folder", lambda: cache)
        if why == "no folder":
            cache.write_text("a file where the folder should be")
        elif why == "no room":
            monkeypatch.setattr(mapped_table.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        else:
            card = layers[1].card.model_copy(update={"placeholder_id": 40})
            layers[1] = replace(layers[1], card=card)
        monkeypatch.setattr(passes, "_read", lambda *_: pytest.fail("the tokens were read"))
        read_together(layers)

    def test_states_that_are_not_finite_are_refused_and_leave_nothing_half_made(
        self, layers: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passes, "folder", lambda: tmp_path / "cache")
        whole = passes._read
        monkeypatch.setattr(passes, "_read", lambda *asked: ([*b[:2], b[2] * torch.nan, b[3]] for b in whole(*asked)))
        with pytest.raises(SubjectError, match=r"blocks\.1\.hook_mlp_out are not finite"):
            read_together(layers)
        assert not [*(tmp_path / "cache").glob("*.part")]


def test_blocks_do_not_change_what_leads(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = subject.sae.encoder_rows(range(20)).T
    whole = leading_tokens(subject, columns, 12)
    monkeypatch.setattr(passes, "_BLOCK", 7)
    pieces = leading_tokens(subject, columns, 12)
    torch.testing.assert_close(pieces.values, whole.values, rtol=1e-5, atol=1e-5)
    assert (pieces.ids == whole.ids).float().mean() > 0.99


def test_the_json_has_what_the_list_rests_on(subject: Subject) -> None:
    found = tokens_json(listed(subject, 3, top_n=5))
    assert [*found] == ["feature", "settings", "tokens", "threshold", "p_value", "n_random", "note"]
    assert [*found["tokens"][0]] == ["token_id", "token", "score", "z"]
    scores = [token["score"] for token in found["tokens"]]
    assert scores == sorted(scores, reverse=True)
