"""A feature's vector is the formula's, written out here in numpy's float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from probes.errors import SettingsError
from probes.ghost.vectors import feature_vectors, has_direction, resolved
from probes.settings import ProbeSettings, VectorSettings
from probes.subject import Subject
from tests.subjects import N_FEATURES

Array = NDArray[np.float64]
FEATURES = [0, 3, 11]


def unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def formula(subject: Subject, b: float, scale: float, centroid: bool, pca: tuple[float, ...]) -> Array:
    rows = subject.embedding.double().numpy()
    c = rows.mean(axis=0)
    encoder = unit(subject.sae.W_enc.double().numpy().T[FEATURES])
    decoder = unit(subject.sae.W_dec.double().numpy()[FEATURES])
    r = (1 - sum(pca)) * unit((1 - b) * encoder + b * decoder)
    for share, u in zip(pca, principal_components(rows), strict=False):
        r = r + share * u
    return scale * r + (c if centroid else 0)


def principal_components(rows: Array) -> Array:
    u = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2]
    largest = np.take_along_axis(u, np.abs(u).argmax(axis=1, keepdims=True), axis=1)
    return np.asarray(u * np.sign(largest))


@pytest.mark.parametrize(
    ("settings", "b", "scale", "centroid", "pca"),
    [
        ({"weights": "encoder"}, 0, None, True, ()),
        ({"weights": "decoder", "scale": 2.5}, 1, 2.5, True, ()),
        ({"weights": "blend:0.3", "scale": 0.1, "centroid": False}, 0.3, 0.1, False, ()),
        ({"weights": "encoder", "scale": 3.8, "pca": (0.25,)}, 0, 3.8, True, (0.25,)),
        ({"scale": 3.8, "pca": (0.5, 0.2, 0.1), "weights": "decoder"}, 1, 3.8, True, (0.5, 0.2, 0.1)),
    ],
)
def test_vectors_follow_the_formula(
    subject: Subject, settings: dict[str, object], b: float, scale: float | None, centroid: bool, pca: tuple[float, ...]
) -> None:
    vectors = feature_vectors(subject, FEATURES, VectorSettings.parse(settings))
    assert vectors.dtype == torch.float32
    expected = formula(subject, b, scale or subject.card.default_scale, centroid, pca)
    np.testing.assert_allclose(vectors.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_the_default_scale_is_the_mean_distance_from_the_centroid(subject: Subject) -> None:
    rows = subject.embedding.double().numpy()
    distances = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    kept = np.linalg.norm(rows, axis=1) > 0
    assert (~kept).any()  # the padding row is zeros, and does not count
    assert subject.card.default_scale == pytest.approx(distances[kept].mean(), rel=1e-5)


def test_components_are_unit_sorted_and_of_fixed_sign(subject: Subject) -> None:
    components = subject.components(4)
    gram = components @ components.T
    torch.testing.assert_close(gram, torch.eye(4), atol=1e-5, rtol=0)
    assert all(row[row.abs().argmax()] > 0 for row in components)
    centred = subject.embedding - subject.centroid
    variances = (centred @ components.T).var(dim=0).tolist()
    assert variances == sorted(variances, reverse=True)
    assert subject.components(0).shape == (0, subject.card.d_model)


def test_more_components_than_dimensions_are_refused(subject: Subject) -> None:
    with pytest.raises(SettingsError, match="32 dimensions"):
        feature_vectors(subject, [0], VectorSettings(weights="encoder", pca=(0.01,) * 33))


@pytest.mark.parametrize("weights", ["encoder", "decoder", "blend:0.5"])
def test_a_dead_feature_has_no_vector_not_even_the_centroid(subject: Subject, weights: str) -> None:
    vectors = feature_vectors(subject, [0, N_FEATURES - 1], VectorSettings(weights=weights, pca=(0.5,)))
    assert vectors[1].eq(0).all()
    assert has_direction(vectors).tolist() == [True, False]


def test_resolved_settings_name_the_scale(subject: Subject) -> None:
    assert resolved(subject, ProbeSettings()).vector.scale == subject.card.default_scale
    chosen = ProbeSettings(vector=VectorSettings(scale=1.5))
    assert resolved(subject, chosen) == chosen
