"""Token lists are the formula's, written out here in numpy's float64; projections are the model's own last step."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from probes import tokens
from probes.errors import FeatureError
from probes.evidence import ProbeRequest, Projection, TokenList
from probes.ghost.vectors import feature_vectors
from probes.model.embedding import EmbeddingTable
from probes.model.structure import final_norm_of
from probes.probe import run_probes
from probes.projection import SHOWN, project
from probes.settings import ProbeSettings, TokenSettings, VectorSettings
from probes.subject import Subject
from probes.tokens import nearest
from tests.subjects import N_FEATURES

ENCODER = VectorSettings(weights="encoder")


def lists(subject: Subject, features: list[int], **settings: object) -> Iterator[TokenList]:
    asked = ProbeSettings(vector=ENCODER, tokens=TokenSettings.parse(settings))
    for found in run_probes(subject, [ProbeRequest("tokens", feature, asked) for feature in features]):
        assert isinstance(found, TokenList)
        yield found


def formula(rows: np.ndarray, v: np.ndarray, exponent: float) -> np.ndarray:
    def cosines(a: np.ndarray) -> np.ndarray:
        return np.asarray(rows @ a / np.linalg.norm(rows, axis=1) / np.linalg.norm(a))

    with np.errstate(invalid="ignore"):
        return np.asarray((1 - cosines(v)) ** exponent / (1 - cosines(rows.mean(axis=0))))


@pytest.mark.parametrize("exponent", [1.4, 0.1, 5.0])
def test_scores_follow_the_formula(subject: Subject, exponent: float) -> None:
    rows = subject.embedding.double().numpy()
    features = [0, 5, 9]
    vectors = feature_vectors(subject, features, ENCODER).double().numpy()
    for v, found in zip(vectors, lists(subject, features, exponent=exponent, top_n=40), strict=True):
        expected = formula(rows, v, exponent)
        order = np.argsort(expected)[:40]  # rows of zeros give NaN, which sorts last
        assert [item.token_id for item in found.tokens] == order.tolist()
        np.testing.assert_allclose([item.score for item in found.tokens], expected[order], rtol=1e-4)
        assert [item.token for item in found.tokens] == [subject.text_of(id) for id in order.tolist()]


def test_rows_of_zeros_are_left_out(subject: Subject) -> None:
    found = next(lists(subject, [0], top_n=100_000))
    zeros = subject.embedding.eq(0).all(dim=1).nonzero().flatten().tolist()
    assert zeros
    assert sorted(item.token_id for item in found.tokens) == sorted(set(range(subject.card.vocab)) - set(zeros))


def test_blocks_change_nothing(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(lists(subject, [0, 1, 2], top_n=25))
    monkeypatch.setattr(tokens, "BLOCK_BYTES", 3 * 4 * 17)
    monkeypatch.setattr(tokens, "MAX_FEATURES", 2)
    for wide, narrow in zip(whole, lists(subject, [0, 1, 2], top_n=25), strict=True):
        assert [item.token_id for item in narrow.tokens] == [item.token_id for item in wide.tokens]
        narrow_scores, wide_scores = ([item.score for item in of.tokens] for of in (narrow, wide))
        assert narrow_scores == pytest.approx(wide_scores, rel=1e-4)


def test_a_vector_on_a_token_scores_zero_and_never_nan() -> None:
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    with_zeros = EmbeddingTable(torch.cat([rows, torch.zeros(1, 8)]))
    scores, ids = nearest(with_zeros, rows * 3, TokenSettings(exponent=0.3, top_n=51))
    assert ids[:, 0].tolist() == list(range(50))
    assert scores[:, :50].isfinite().all()
    assert scores.min() >= 0
    assert ids[:, 50].eq(50).all()
    assert scores[:, 50].eq(torch.inf).all()


def test_a_token_where_the_centroid_points_comes_last() -> None:
    rows = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, -1.0]])  # the first lies on their centroid's line
    scores, ids = nearest(EmbeddingTable(rows), torch.tensor([[1.0, 0.2]]), TokenSettings(top_n=3))
    assert ids[0, -1] == 0
    assert scores[0, -1] == torch.inf


def test_a_dead_feature_has_empty_lists(subject: Subject) -> None:
    requests = [ProbeRequest(kind, N_FEATURES - 1, ProbeSettings()) for kind in ("tokens", "projection")]
    found, projected = run_probes(subject, requests)
    assert isinstance(found, TokenList)
    assert isinstance(projected, Projection)
    assert (found.tokens, projected.top, projected.bottom) == ((), (), ())


def test_projection_is_the_model_s_own_last_step(any_subject: Subject) -> None:
    rows = any_subject.sae.W_dec[:5] * 100  # long, so that no norm's epsilon counts
    with torch.no_grad():
        expected = any_subject.model.get_output_embeddings()(final_norm_of(any_subject.model)(rows))
    torch.testing.assert_close(project(any_subject, any_subject.sae.W_dec[:5]), expected, rtol=1e-4, atol=1e-4)


def test_projection_shows_both_ends(subject: Subject) -> None:
    logits = project(subject, subject.sae.W_dec[[4]])[0]
    found = run_probes(subject, [ProbeRequest("projection", 4, ProbeSettings())])[0]
    assert isinstance(found, Projection)
    order = logits.argsort(descending=True).tolist()
    assert [item.token_id for item in found.top] == order[:SHOWN]
    assert [item.token_id for item in found.bottom] == order[::-1][:SHOWN]
    assert found.top[0].score == pytest.approx(float(logits.max()))


def test_the_final_norm_is_found_in_every_family(any_subject: Subject) -> None:
    """What comes out of it is what goes into the unembedding."""
    seen: list[torch.Tensor] = []
    norm, unembedding = final_norm_of(any_subject.model), any_subject.model.get_output_embeddings()
    handles = [
        norm.register_forward_hook(lambda _m, _i, output: seen.append(output)),
        unembedding.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0])),
    ]
    with torch.no_grad():
        any_subject.model(torch.tensor([[5, 6, 7]]))
    for handle in handles:
        handle.remove()
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])


def test_the_final_norm_is_the_last_beside_the_layers() -> None:
    """BLOOM has one in front of its layers too."""
    config = AutoConfig.for_model(model_type="bloom", hidden_size=16, n_layer=2, n_head=2, vocab_size=20)
    bloom = AutoModelForCausalLM.from_config(config)
    assert final_norm_of(bloom) is bloom.transformer.ln_f


@pytest.mark.parametrize("feature", [-1, N_FEATURES])
def test_a_feature_that_the_sae_has_not_is_refused(subject: Subject, feature: int) -> None:
    with pytest.raises(FeatureError, match=f"Feature {feature} .* 0 to {N_FEATURES - 1}"):
        run_probes(subject, [ProbeRequest("tokens", feature, ProbeSettings())])
