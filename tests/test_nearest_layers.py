"""The features of other layers that are nearest to one: among what a command's runs have, where one space holds all."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient
from torch import Tensor

from agent.log.run_log import RunLog
from agent.web.server import make_app
from probes.nearest import nearest_elsewhere
from probes.presets import SubjectSource
from probes.sae import SAE
from probes.sae_config import parse_hook
from probes.subject import Subject, load_subject
from tests.full_logs import fill
from tests.logged import identity
from tests.serving import ORIGIN, TOKEN, Parsed
from tests.subjects import D_MODEL, N_FEATURES, sae_config, write_model, write_sae

HOOKS = {0: "hook_resid_post", 1: "hook_resid_post", 2: "hook_mlp_out"}


def rows(layer: int) -> Tensor:
    """Those of layer 1 are those of layer 0 in the opposite order, and a little apart."""
    drawn = torch.randn(N_FEATURES, D_MODEL, generator=torch.Generator().manual_seed(5))
    return drawn.flip(0) + 0.1 if layer == 1 else drawn


def source(folder: Path, layer: int) -> SubjectSource:
    return SubjectSource.parse({"model": str(folder / "model"), "sae": str(folder / str(layer)), "device": "cpu"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("layers")
    write_model(found / "model")
    for layer, site in HOOKS.items():
        metadata = {"model_name": "tiny", "hook_name": f"blocks.{layer}.{site}", "prepend_bos": True}
        write_sae(found / str(layer), sae_config(metadata=metadata), W_dec=rows(layer))
    return found


@pytest.fixture(scope="module")
def subjects(folder: Path) -> dict[int, Subject]:
    first = load_subject(source(folder, 0))
    return {0: first, **{layer: load_subject(source(folder, layer), first) for layer in (1, 2)}}


def at(sae: SAE, hook: str) -> SAE:
    return replace(sae, config=replace(sae.config, hook=parse_hook(hook)))


def test_the_nearest_are_those_of_the_highest_cosine_among_the_features_looked_at(
    subjects: dict[int, Subject],
) -> None:
    own, others = subjects[0].sae, {layer: (subjects[layer].sae, range(3, N_FEATURES)) for layer in (1, 2)}
    found = nearest_elsewhere(own, 5, others, 4)
    assert [(near.layer, near.feature) for near in found[:2]] == [(2, 5), (1, N_FEATURES - 1 - 5)]
    everything = [
        (float(torch.cosine_similarity(rows(0)[5], rows(layer)[feature], dim=0)), layer, feature)
        for layer in (1, 2)
        for feature in range(3, N_FEATURES)
    ]
    plain = sorted(everything, reverse=True)[:4]
    assert [(near.layer, near.feature) for near in found] == [place[1:] for place in plain]
    assert [near.cosine for near in found] == pytest.approx([place[0] for place in plain], abs=1e-5)
    assert all((near.layer, near.feature) != (2, 2) for near in nearest_elsewhere(own, 2, others, 40))


def test_saes_of_another_space_have_no_neighbours_and_are_none(subjects: dict[int, Subject]) -> None:
    own, other = subjects[0].sae, subjects[1].sae
    for hook in (
        "blocks.1.attn.hook_z",
        "blocks.1.mlp.hook_post",
        "blocks.1.attn.output",
        "blocks.1.ln2.hook_normalized",
    ):
        assert nearest_elsewhere(own, 5, {1: (at(other, hook), range(9))}, 4) == []
        assert nearest_elsewhere(at(own, hook), 5, {1: (other, range(9))}, 4) == []


def test_features_of_no_direction_are_near_to_none(subjects: dict[int, Subject]) -> None:
    dead = replace(subjects[0].sae, W_dec=torch.zeros(N_FEATURES, D_MODEL))
    assert nearest_elsewhere(dead, 5, {1: (subjects[1].sae, range(9))}, 4) == []
    assert nearest_elsewhere(subjects[0].sae, 5, {1: (dead, range(9)), 2: (dead, [])}, 4) == []


class TestPage:
    @pytest.fixture
    def path(self, tmp_path: Path, subjects: dict[int, Subject]) -> Path:
        found = tmp_path / "log.db"
        for subject in subjects.values():
            who = identity(subject=subject.card, settings={"rounds": 3, "group": "a-group"})
            fill(found, (5, N_FEATURES - 1 - 5), who=who, scored=False)
        return found

    def page(self, path: Path, loaded: Sequence[Subject], place: str = "/runs/1/features/5") -> str:
        with RunLog.open(path, read_only=True) as log:
            app = make_app(log, TOKEN, subject=loaded[0], others=loaded[1:])
            browser = TestClient(app, base_url=ORIGIN)
            browser.get(f"/?token={TOKEN}")
            return browser.get(place).text

    def test_they_are_linked_and_named_by_their_layers(self, path: Path, subjects: dict[int, Subject]) -> None:
        for order in ((0, 1, 2), (2, 1, 0)):
            page = self.page(path, [subjects[layer] for layer in order])
            found = re.findall(r'<a href="(/runs/\d/features/\d+)"><span class="number">(\d:\d+)</span>', page)
            assert found[-2:] == [("/runs/3/features/5", "2:5"), ("/runs/2/features/18", "1:18")]
            assert "In other layers" in Parsed(page).text
            assert 'href="/compare/features?run=1&amp;one=5&amp;other=2:5"' in page
            assert ("/explore?feature=5" in page) == (order[0] == 0)
            assert 'id="typed-text"' in page  # a text is read with the SAE of this layer, whichever was named first

    def test_layers_that_are_not_loaded_are_left_out(self, path: Path, subjects: dict[int, Subject]) -> None:
        page = self.page(path, [subjects[0], subjects[1]])
        assert "1:18</span>" in page
        assert "2:5</span>" not in page
        assert "In other layers" not in self.page(path, [subjects[0]])

    def test_runs_that_are_not_of_one_command_have_none(self, tmp_path: Path, subjects: dict[int, Subject]) -> None:
        path = tmp_path / "apart.db"
        for subject in subjects.values():
            fill(path, (5,), who=identity(subject=subject.card), scored=False)
        assert "In other layers" not in self.page(path, [*subjects.values()])

    def test_a_feature_that_the_sae_does_not_have_is_not_found(self, path: Path, subjects: dict[int, Subject]) -> None:
        assert "has nothing on feature 0:999" in self.page(path, [*subjects.values()], "/runs/1/features/999")
