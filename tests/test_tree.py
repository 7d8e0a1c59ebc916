"""Definition trees: the same as a plain reference's, whatever the model, the batch and the budget."""

import copy
from dataclasses import replace

import pytest
import torch
from accelerate import dispatch_model

from probes.errors import SettingsError, SubjectError
from probes.evidence import ProbeRequest, Tree
from probes.ghost.vectors import feature_vectors
from probes.growing import choosing, memory
from probes.growing.choosing import top_ids
from probes.growing.memory import MemoryBudget
from probes.growing.path_cache import PathCache, _Store
from probes.growing.readout import Readout
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from tests.plain import Node, plain_tree
from tests.subjects import N_FEATURES

NEAR = 1e-4
"""Relative: of a cutoff or a tie, within which the reference may decide otherwise; and of probabilities."""
SETTINGS = TreeSettings(cutoff=2e-3, max_depth=6)
ROW_BYTES = 2 * 3 * 8 * 4
"""Keys and values, three layers, one head of eight float32."""


def grow(subject: Subject, features: list[int], tree: TreeSettings, vector: VectorSettings | None = None) -> list[Tree]:
    settings = ProbeSettings(vector=vector or VectorSettings(weights="vocabulary"), tree=tree)
    grown = run_probes(subject, [ProbeRequest("tree", feature, settings) for feature in features])
    assert all(isinstance(tree, Tree) for tree in grown)
    return [tree for tree in grown if isinstance(tree, Tree)]


def reference(subject: Subject, tree: Tree) -> Node:
    vector = feature_vectors(subject, [tree.feature], tree.settings.vector)[0]
    return plain_tree(subject, vector, tree.prompt_ids, tree.ghost_position, tree.settings.tree)


def assert_same(tree: Tree, root: Node) -> int:
    """Compares node by node; returns how many were compared."""
    children: dict[int, dict[int, int]] = {place: {} for place in range(tree.n_nodes)}
    for place, (parent, token) in enumerate(zip(tree.parents, tree.token_ids, strict=True)):
        if parent >= 0:
            children[parent][token] = place
    waiting, compared = [(0, root)], 0
    while waiting:
        place, node = waiting.pop()
        compared += 1
        assert tree.probabilities[place] == pytest.approx(node.probability, rel=NEAR)
        for token in children[place].keys() | node.children.keys():
            if token in children[place] and token in node.children:
                waiting.append((children[place][token], node.children[token]))
            else:
                assert is_close_call(node, token, tree.settings.tree), f"token {token} below node {place}"
    return compared


def is_close_call(node: Node, token: int, settings: TreeSettings) -> bool:
    """Tells whether the reference itself nearly decided otherwise about this child."""
    assert node.next_probabilities is not None
    share = float(node.next_probabilities[token])
    at_cutoff = node.probability * share == pytest.approx(settings.cutoff, rel=NEAR)
    kth = float(node.next_probabilities.topk(settings.top_k).values[-1])
    return at_cutoff or share == pytest.approx(kth, rel=NEAR)


def test_engine_grows_the_reference_s_tree(any_subject: Subject) -> None:
    trees = grow(any_subject, [0, 3, 7], SETTINGS)
    for tree in trees:
        assert assert_same(tree, reference(any_subject, tree)) > 5


def test_trees_to_compare_are_worth_comparing(subject: Subject) -> None:
    deep = grow(subject, [0, 3, 7], SETTINGS)
    assert min(tree.n_nodes for tree in deep) > 50
    assert max(depth_of(tree) for tree in deep) == SETTINGS.max_depth


@pytest.mark.parametrize(
    "vector", [VectorSettings(weights="decoder", scale=2.5), VectorSettings(weights="vocabulary", centroid=False)]
)
def test_engine_follows_the_vector(subject: Subject, vector: VectorSettings) -> None:
    tree = grow(subject, [5], SETTINGS, vector)[0]
    assert_same(tree, reference(subject, tree))
    assert tree.probabilities != grow(subject, [5], SETTINGS)[0].probabilities


@pytest.mark.parametrize("prompt", ["{ghost}", "{ghost} is", "the cat sat on {ghost}", 'one "{ghost}" would be "'])
def test_the_ghost_may_stand_anywhere(subject: Subject, prompt: str) -> None:
    tree = grow(subject, [2], SETTINGS.model_copy(update={"prompt": prompt, "max_depth": 3}))[0]
    assert tree.prompt_ids[tree.ghost_position] == subject.card.placeholder_id
    assert_same(tree, reference(subject, tree))


def test_columns_keep_their_promises(subject: Subject) -> None:
    for tree in grow(subject, list(range(6)), SETTINGS):
        assert (tree.parents[0], tree.token_ids[0], tree.probabilities[0]) == (-1, -1, 1.0)
        assert all(parent < place for place, parent in enumerate(tree.parents))
        for parent in set(tree.parents[1:]):
            siblings = [p for p, of in zip(tree.probabilities, tree.parents, strict=True) if of == parent]
            assert siblings == sorted(siblings, reverse=True)
            assert len(siblings) <= SETTINGS.top_k
            assert sum(siblings) <= tree.probabilities[parent] * (1 + NEAR)
        assert min(tree.probabilities) >= SETTINGS.cutoff
        assert subject.card.placeholder_id not in tree.token_ids
        assert set(tree.texts) == set(tree.token_ids[1:])


def test_the_placeholder_is_masked_before_the_softmax(subject: Subject) -> None:
    everything = TreeSettings(cutoff=1e-30, top_k=1000, max_depth=1)
    tree = grow(subject, [0], everything)[0]
    assert tree.n_nodes == subject.card.vocab  # the root, and all tokens but the placeholder
    assert sum(tree.probabilities[1:]) == pytest.approx(1)


def test_a_tree_is_the_same_in_any_company(subject: Subject) -> None:
    alone = grow(subject, [4], SETTINGS)[0]
    together = grow(subject, [7, 4, 1, 4], SETTINGS)
    for tree in (together[1], together[3]):
        assert tree.parents == alone.parents
        assert tree.token_ids == alone.token_ids
        assert tree.probabilities == pytest.approx(alone.probabilities, rel=NEAR)


@pytest.mark.parametrize(("nodes", "cache_rows", "logits_rows"), [(1, 1, 1), (3, 3, 2), (7, 60, 3), (1000, 200, 7)])
def test_a_tree_is_the_same_in_any_memory(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, nodes: int, cache_rows: int, logits_rows: int
) -> None:
    roomy = grow(subject, [0, 1, 2, 3], SETTINGS)
    narrow_one = MemoryBudget(nodes, 1024, cache_rows * ROW_BYTES, logits_rows * 4 * subject.card.vocab)
    monkeypatch.setattr(memory, "ON_CPU", narrow_one)
    monkeypatch.setattr(memory, "ROWS", 1)  # as few logits at a time as the budget says, however little that suits
    monkeypatch.setattr(memory, "even", lambda rows: rows)
    for wide, narrow in zip(roomy, grow(subject, [0, 1, 2, 3], SETTINGS), strict=True):
        assert narrow.parents == wide.parents
        assert narrow.token_ids == wide.token_ids
        assert narrow.probabilities == pytest.approx(wide.probabilities, rel=NEAR)


def test_memory_stays_within_the_budget(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = grow(subject, [0], SETTINGS)[0].prompt_ids
    rows = 3 * (len(prompt) + SETTINGS.max_depth)
    taken = kept_bytes(monkeypatch)
    monkeypatch.setattr(memory, "ON_CPU", MemoryBudget(64, 1024, rows * ROW_BYTES, 1 << 20))
    nodes = sum(tree.n_nodes for tree in grow(subject, [0, 1, 2, 3], SETTINGS))
    assert max(taken) == rows * ROW_BYTES
    assert rows < nodes


def test_a_cache_that_finds_no_memory_is_halved(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = grow(subject, [0, 1, 2, 3], SETTINGS)
    taken, write = kept_bytes(monkeypatch), _Store.write

    def cramped(store: _Store, states: torch.Tensor, rows: torch.Tensor, n_rows: int) -> None:
        if n_rows > 200:
            raise torch.OutOfMemoryError("no room")
        write(store, states, rows, n_rows)

    monkeypatch.setattr(_Store, "write", cramped)
    monkeypatch.setattr(memory, "ON_CPU", MemoryBudget(64, 1024, 1000 * ROW_BYTES, 1 << 20))
    for wide, narrow in zip(roomy, grow(subject, [0, 1, 2, 3], SETTINGS), strict=True):
        assert narrow.token_ids == wide.token_ids
    assert max(taken) == 125 * ROW_BYTES

    monkeypatch.setattr(memory, "ON_CPU", MemoryBudget(64, 1024, 1000 * ROW_BYTES, 1 << 20))
    monkeypatch.setattr(_Store, "write", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")))
    with pytest.raises(SubjectError, match="not enough free memory"):
        grow(subject, [0], SETTINGS)


def kept_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns what caches hold in all, at every forward from now on."""
    taken, see = [0], PathCache.see

    def watch(cache: PathCache, paths: torch.Tensor, n_new: int) -> None:
        assert int(paths.max()) < cache.n_rows
        stores = [store for layer in cache.layers for store in (layer._keys, layer._values)]
        taken.append(sum(store.rows.nbytes for store in stores if store.rows is not None))
        see(cache, paths, n_new)

    monkeypatch.setattr(PathCache, "see", watch)
    return taken


def test_logits_that_are_not_numbers_are_one_sentence(subject: Subject) -> None:
    def spoil(_module: torch.nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        return output * torch.nan

    handle = subject.model.get_output_embeddings().register_forward_hook(spoil)
    try:
        with pytest.raises(SubjectError, match=r"not numbers \(NaN\) in float32"):
            grow(subject, [0], SETTINGS)
    finally:
        handle.remove()


def test_a_model_that_accelerate_spreads_is_read_in_halves_too(subject: Subject) -> None:
    spread = dispatch_model(copy.deepcopy(subject.model), {"": "cpu"}, main_device="cpu", force_hooks=True)
    assert "forward" in vars(spread)  # accelerate's own
    assert Readout(spread, subject.card.placeholder_id).splits
    trees = grow(replace(subject, model=spread), [0], SETTINGS)
    assert trees[0].token_ids == grow(subject, [0], SETTINGS)[0].token_ids


def test_requests_of_different_settings_come_back_in_order(subject: Subject) -> None:
    settings = [
        ProbeSettings(tree=SETTINGS),
        ProbeSettings(tree=SETTINGS.model_copy(update={"top_k": 2})),
        ProbeSettings(tree=SETTINGS, vector=VectorSettings(weights="decoder")),
    ]
    requests = [ProbeRequest("tree", feature, of) for feature in (1, 0) for of in settings]
    together = run_probes(subject, requests)
    for request, tree in zip(requests, together, strict=True):
        assert isinstance(tree, Tree)
        alone = run_probes(subject, [request])[0]
        assert isinstance(alone, Tree)
        assert (tree.feature, tree.token_ids, tree.settings) == (alone.feature, alone.token_ids, alone.settings)
        assert tree.settings.vector == replace_scale(request.settings.vector, subject.card.default_scale)


def test_a_dead_feature_has_a_bare_root_and_harms_nobody(subject: Subject) -> None:
    dead, alive = grow(subject, [N_FEATURES - 1, 0], SETTINGS)
    assert (dead.parents, dead.token_ids, dead.probabilities, dict(dead.texts)) == ((-1,), (-1,), (1.0,), {})
    assert alive.token_ids == grow(subject, [0], SETTINGS)[0].token_ids
    assert grow(subject, [N_FEATURES - 1], SETTINGS) == [dead]


def test_a_cutoff_of_one_leaves_the_root(subject: Subject) -> None:
    assert grow(subject, [0], TreeSettings(cutoff=1))[0].n_nodes == 1


def test_a_tree_deeper_than_the_model_s_positions_is_refused(subject: Subject) -> None:
    with pytest.raises(SettingsError, match="128 positions"):
        grow(subject, [0], TreeSettings(max_depth=120))


@pytest.mark.parametrize("cut", ["cpu", "cuda"])
def test_top_ids_are_torch_s(monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    if cut == "cuda":  # as a GPU cuts a row
        apart = lambda row, size: row.unflatten(-1, (size, -1)).transpose(-1, -2)  # noqa: E731
        monkeypatch.setattr(choosing, "_blocks", apart)
    logits = torch.randn(9, 5003, generator=torch.Generator().manual_seed(0))
    for k in (1, 5, 40):
        assert torch.equal(top_ids(logits, k), logits.topk(k).indices)


def depth_of(tree: Tree) -> int:
    depth = [0] * tree.n_nodes
    for place, parent in enumerate(tree.parents[1:], start=1):
        depth[place] = depth[parent] + 1
    return max(depth)


def replace_scale(vector: VectorSettings, scale: float) -> VectorSettings:
    return vector.model_copy(update={"scale": scale})
