"""Contrast: nulls as a plain reference has them, and a readout told from a random direction's."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.evidence.definitions import defining_part, distinct
from agent.log.codec import decode, encode
from probes.errors import SubjectError
from probes.evidence import Contrast, ProbeRequest, Tree, tree_json
from probes.ghost.random_directions import random_directions
from probes.ghost.vectors import feature_vectors, placed
from probes.growing.choosing import Trie
from probes.growing.growth import Grower
from probes.growing.mixing import grow_mixed
from probes.growing.readout import Readout
from probes.growing.rows import Lineage, RowStock
from probes.growing.tree_columns import TreeColumns
from probes.null import contrast, null_file
from probes.null.contrast import N_NULL, N_RANDOM, SEED
from probes.null.directions import null_directions
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import PromptIds, prompt_ids, prompt_text
from tests.plain import _next_probabilities as next_probabilities
from tests.trees import DOG

SETTINGS = TreeSettings(prompt="definition", cutoff=5e-3, max_depth=4, contrast=2e-2)
NEAR = 1e-4


def grown(subject: Subject, features: list[int], settings: TreeSettings = SETTINGS, **vector: object) -> list[Tree]:
    probe = ProbeSettings(tree=settings, vector=VectorSettings.parse({"weights": "encoder", **vector}))
    trees = run_probes(subject, [ProbeRequest("tree", feature, probe) for feature in features])
    return [tree for tree in trees if isinstance(tree, Tree)]


def seen(column: tuple[float | None, ...]) -> dict[int, float]:
    return {node: value for node, value in enumerate(column) if value is not None}


def path_to(tree: Tree, node: int) -> list[int]:
    return [] if node == 0 else [*path_to(tree, tree.parents[node]), tree.token_ids[node]]


def plain_probability(subject: Subject, vector: torch.Tensor, tree: Tree, node: int) -> float:
    """One uncached forward per token of the path."""
    ids, total = [*tree.prompt_ids], 1.0
    for token in path_to(tree, node):
        total *= float(next_probabilities(subject, vector, ids, tree.ghost_position)[token])
        ids.append(token)
    return total


@pytest.mark.parametrize("vector", [{}, {"centroid": False, "scale": 2.0}])
def test_nulls_are_those_of_the_plain_reference(subject: Subject, vector: dict[str, object]) -> None:
    tree = grown(subject, [3], **vector)[0]
    assert tree.contrast is not None
    settings = tree.settings.vector
    directions = random_directions(subject.card.d_model, N_NULL + N_RANDOM, SEED)[:N_NULL]
    nulls = placed(subject, directions, settings)
    bare = subject.centroid * settings.centroid
    looked_at = [node for node, p in enumerate(tree.probabilities) if p >= 2e-2]
    assert len(looked_at) > 10
    for node in looked_at[:: max(1, len(looked_at) // 8)]:
        of_nulls = [plain_probability(subject, null, tree, node) for null in nulls]
        assert tree.contrast.null[node] == pytest.approx(sum(of_nulls) / N_NULL, rel=NEAR)
        assert tree.contrast.centroid[node] == pytest.approx(plain_probability(subject, bare, tree, node), rel=NEAR)
    assert all((null is None) == (node not in looked_at) for node, null in enumerate(tree.contrast.null))


def test_lift_is_the_log_ratio_and_stands_in_the_json(subject: Subject) -> None:
    tree = grown(subject, [3])[0]
    assert tree.contrast is not None
    null = tree.contrast.null[1]
    assert null is not None
    assert tree.lifts[1] == pytest.approx(math.log(tree.probabilities[1]) - math.log(null))
    data = tree_json(tree)
    first = data["root"]["children"][0]
    assert (first["lift"], first["null"]) == (tree.lifts[1], null)
    assert data["readout"]["failed"] == (data["readout"]["p_value"] > 0.05) == (data["readout"]["verdict"] != "differs")
    assert "lift" not in tree_json(replace(tree, contrast=None))["root"]


def test_divergence_is_that_of_what_the_tree_tells_apart(subject: Subject) -> None:
    """Jensen-Shannon over leaves and what is left of inner nodes, worked out node by node."""
    tree = grown(subject, [3])[0]
    assert tree.contrast is not None
    nulls = {node: null for node, null in enumerate(tree.contrast.null) if null is not None}
    own = {node: [tree.probabilities[node], null] for node, null in nulls.items()}
    for node, null in nulls.items():
        if node:
            own[tree.parents[node]][0] -= tree.probabilities[node]
            own[tree.parents[node]][1] -= null
    expected = 0.0
    for pair in own.values():
        p, q = (max(of, 0.0) for of in pair)
        expected += sum(of * math.log(2 * of / (p + q)) for of in (p, q) if of > 0) / 2
    assert tree.contrast.divergence == pytest.approx(expected, rel=1e-6)
    assert 0 < tree.contrast.divergence <= math.log(2)


def test_a_tree_has_the_same_contrast_in_any_company(subject: Subject) -> None:
    alone, together = grown(subject, [4])[0].contrast, grown(subject, [7, 4, 1])[1].contrast
    assert alone is not None
    assert together is not None
    assert seen(together.null) == pytest.approx(seen(alone.null), rel=NEAR)
    assert together.p_value == alone.p_value


def test_random_directions_fail_as_often_as_they_should(subject: Subject) -> None:
    """p-values of directions like those they are compared with are spread evenly: at most 5 % or so may pass."""
    n = 60
    drawn = random_directions(subject.card.d_model, n, seed=1)
    vector = VectorSettings(weights="encoder", scale=subject.card.default_scale)
    vectors = placed(subject, drawn, vector)
    tree = grown(subject, [0])[0]
    prompt = PromptIds(tree.prompt_ids, tree.ghost_position)
    grower = Grower(subject, prompt, SETTINGS)
    trees = [*grower.grow(vectors * subject.input_scale)]
    found = contrast.contrasts(
        subject, grower, trees, VectorSettings(weights="encoder", scale=subject.card.default_scale)
    )
    passed = sum(one is not None and not one.failed for one in found)
    assert passed <= 10  # 3 expected of 60; more than 10 has probability 1e-4
    assert len({one.p_value for one in found if one}) > 20


@pytest.fixture
def directions_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns how many ghosts trees were grown of at once; an empty cache, on disk and in memory."""
    grow, seen = Grower.grow, list[int]()

    def counted(self: Grower, ghosts: torch.Tensor, least: float = 0.0) -> Iterator[TreeColumns]:
        seen.append(len(ghosts))
        return grow(self, ghosts, least)

    monkeypatch.setattr(Grower, "grow", counted)
    monkeypatch.setattr(null_file, "folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(contrast, "_MADE", WeakKeyDictionary())
    return seen


def test_random_directions_are_grown_once_for_all_processes(
    subject: Subject, directions_grown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def anew() -> Contrast | None:
        monkeypatch.setattr(contrast, "_MADE", WeakKeyDictionary())  # as another process would begin
        return grown(subject, [3])[0].contrast

    first, again = anew(), anew()
    assert directions_grown == [1, N_RANDOM, 1]
    assert first == again
    grown(subject, [3], scale=2.0)
    grown(subject, [3], SETTINGS.model_copy(update={"prompt": "meaning"}))
    assert directions_grown[3:] == [1, N_RANDOM, 1, N_RANDOM]


@pytest.mark.parametrize(
    "content", [b"", b"[0.1", b"{}", b"[0.1]", b"\xff", b'{"divergences": ["a"], "entropies_bits": [0.1]}']
)
def test_a_damaged_cache_is_made_anew(subject: Subject, directions_grown: list[int], content: bytes) -> None:
    first = grown(subject, [3])[0].contrast
    (file,) = null_file.folder().iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    contrast._MADE.clear()
    assert grown(subject, [3])[0].contrast == first
    assert directions_grown == [1, N_RANDOM] * 2
    assert [one.read_bytes() for one in null_file.folder().iterdir()] == [whole]


def test_a_cache_that_cannot_be_written_does_without(subject: Subject, directions_grown: list[int]) -> None:
    null_file.folder().write_text("a file where the folder would be")
    assert grown(subject, [3])[0].contrast is not None
    assert directions_grown == [1, N_RANDOM]


def prompt_of(subject: Subject, settings: TreeSettings) -> PromptIds:
    return prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, settings), subject.card.placeholder_id)


def test_trees_of_the_null_are_grown_as_a_features_are_where_little_of_them_is_looked_at(subject: Subject) -> None:
    """Of several ghosts: what one of their trees lacks counts as 0 in the mean."""
    settings = TreeSettings(prompt="definition", cutoff=0.002, max_depth=4)
    grower = Grower(subject, prompt_of(subject, settings), settings)
    vectors = VectorSettings(weights="words").scaled(subject.card.default_scale)
    ghosts = placed(subject, null_directions(subject, "words", 4, 6, 7), vectors) * subject.input_scale
    for whole, seen in zip(grow_mixed(grower, ghosts), grow_mixed(grower, ghosts, 0.05), strict=True):
        expected = [p for p in whole.probabilities if p >= 0.05]
        assert [*seen.probabilities] == pytest.approx(expected, abs=1e-9)


def test_no_more_null_distributions_are_held_than_a_few(
    subject: Subject, directions_grown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "_KINDS", 2)
    for scale in (1.0, 2.0, 1.0, 3.0, 1.0):
        grown(subject, [3], scale=scale)
    assert len(contrast._MADE[subject]) == 2
    assert {vector.scale for vector, _ in contrast._MADE[subject]} == {1.0, 3.0}
    assert directions_grown.count(N_RANDOM) == 3  # what was forgotten is in the cache


def test_off_means_off(subject: Subject) -> None:
    tree = grown(subject, [3], TreeSettings.parse({**SETTINGS.model_dump(), "contrast": "off"}))[0]
    assert tree.contrast is None
    assert set(tree.lifts) == {None}
    assert tree.token_ids == grown(subject, [3])[0].token_ids


def test_a_dead_feature_has_none_and_all_nodes_may_be_looked_at(subject: Subject) -> None:
    dead, alive = grown(subject, [subject.card.n_features - 1, 0], SETTINGS.model_copy(update={"contrast": 0.0}))
    assert dead.contrast is None
    assert alive.contrast is not None
    assert None not in alive.contrast.null


def test_following_a_tree_after_its_own_ghost_gives_its_own_probabilities(any_subject: Subject) -> None:
    tree = grown(any_subject, [2], SETTINGS.model_copy(update={"contrast": None}))[0]
    grower = Grower(any_subject, PromptIds(tree.prompt_ids, tree.ghost_position), SETTINGS)
    vectors = feature_vectors(any_subject, [2, 5], tree.settings.vector) * any_subject.input_scale
    trie = Trie(torch.tensor(tree.parents), torch.tensor(tree.token_ids))
    own, other = grower.follow(vectors, trie).tolist()
    assert own == pytest.approx(tree.probabilities, rel=NEAR)
    assert other[1:] != pytest.approx(tree.probabilities[1:], rel=NEAR)


def test_contrast_survives_the_log(subject: Subject) -> None:
    tree = grown(subject, [3])[0]
    back = decode("tree", tree.feature, tree.settings, encode(tree))
    assert isinstance(back, Tree)
    assert back.contrast is not None
    assert tree.contrast is not None
    assert seen(back.contrast.null) == pytest.approx(seen(tree.contrast.null), rel=5.01e-4)
    assert seen(back.contrast.centroid) == pytest.approx(seen(tree.contrast.centroid), rel=5.01e-4)
    assert back.contrast.divergence == pytest.approx(tree.contrast.divergence, rel=1e-4)
    assert back.contrast.p_value == tree.contrast.p_value
    assert encode(back) == encode(tree)
    chosen = replace(tree, contrast=replace(tree.contrast, n_candidates=36))
    back = decode("tree", tree.feature, tree.settings, encode(chosen))
    assert isinstance(back, Tree)
    assert back.contrast is not None
    assert back.contrast.n_candidates == 36


def test_what_is_most_its_own_is_ranked_by_probability_times_lift(subject: Subject) -> None:
    tree = grown(subject, [3])[0]
    own = distinct(defining_part(tree), 5)
    gains = [line.probability * line.lift for line in own]
    assert own
    assert gains == sorted(gains, reverse=True)
    assert distinct(defining_part(DOG), 5) == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_every_row_comes_back(children: list[int]) -> None:
    """A tree whose node i has children[i] children, expanded breadth first: rows are freed as branches end."""
    stock = RowStock(capacity=len(children) + 1)
    lineage = Lineage(stock)
    waiting = lineage.add(torch.tensor([-1])).tolist()
    lineage.own_prompts(torch.tensor(waiting), torch.empty(1, 0, dtype=torch.long))
    for n in [*children, *[0] * sum(children)]:
        if not waiting:
            break
        node = waiting.pop(0)
        if stock.n_free == 0:
            return
        below = lineage.add(torch.full((n,), node))
        lineage.expand(torch.tensor([node]), stock.take(1), torch.tensor([n]))
        waiting += below.tolist()
    assert waiting or stock.n_free == len(children) + 1


def test_memory_that_runs_out_halves_the_batch(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = grown(subject, [0, 1, 2, 3])
    states, asked = Readout.states, list[int]()

    def cramped(self: Readout, cache: object, ids: torch.Tensor) -> torch.Tensor:
        asked.append(ids.numel())
        if ids.numel() > 40:
            raise torch.OutOfMemoryError("no room")
        return states(self, cache, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(Readout, "states", cramped)
    for wide, narrow in zip(roomy, grown(subject, [0, 1, 2, 3]), strict=True):
        assert narrow.token_ids == wide.token_ids
        assert narrow.probabilities == pytest.approx(wide.probabilities, rel=NEAR)
    assert max(asked) > 40


def test_no_memory_for_one_tree_is_one_sentence(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    states = Readout.states

    def full(self: Readout, cache: object, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel() > 1:
            raise torch.OutOfMemoryError("no room")
        return states(self, cache, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(Readout, "states", full)
    with pytest.raises(SubjectError, match="not enough free memory"):
        grown(subject, [0], SETTINGS.model_copy(update={"prompt": "{ghost} is a", "contrast": None}))
