"""Trees of words: the mean of the trees of each word that activates a feature, held against those trees themselves."""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from probes.errors import SettingsError
from probes.evidence import ProbeRequest, TokenList, Tree
from probes.ghost.vectors import feature_ghosts, feature_vectors
from probes.ghost.vocabulary import CUT, leading_tokens
from probes.ghost.words import _words, word_directions
from probes.growing.growth import Grower
from probes.growing.mixing import grow_mixed, mean_tree
from probes.growing.tree_columns import TreeColumns
from probes.null.contrast import N_NULL, N_RANDOM, _one_each, contrasts
from probes.probe import run_probes
from probes.settings import ProbeSettings, SteeringSettings, TokenSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids, prompt_text
from tests.subjects import N_FEATURES

WORDS = VectorSettings(weights="words", ghost_tokens=3)
TREE = TreeSettings(cutoff=0.02, contrast=None, max_depth=4, prompt='This is "{ghost}" or "')
SETTINGS = ProbeSettings(vector=WORDS, tree=TREE, tokens=TokenSettings(top_n=9))
Paths = dict[tuple[int, ...], float]


def probed(subject: Subject, kind: str, feature: int, settings: ProbeSettings = SETTINGS) -> object:
    return run_probes(subject, [ProbeRequest(kind, feature, settings)])[0]  # type: ignore[arg-type]


def paths(tree: Tree | TreeColumns) -> Paths:
    found: list[tuple[int, ...]] = []
    for parent, token_id in zip(tree.parents, tree.token_ids, strict=True):
        found.append((*found[parent], token_id) if parent >= 0 else ())
    return dict(zip(found, tree.probabilities, strict=True))


def plain_words(subject: Subject, feature: int, n: int) -> list[int]:
    """The first tokens of the list that stand out, each spelling of a word once."""
    found: dict[str, int] = {}
    leading = leading_tokens(subject, subject.sae.encoder_rows([feature]).T, 1000)
    for id, z in zip(leading.ids[0].tolist(), leading.z[0].tolist(), strict=True):
        word = subject.text_of(id).strip().lower()
        if z > CUT and word and word not in found:
            found[word] = id
    return [*found.values()][:n]


def several(subject: Subject) -> int:
    """A feature that more than one word activates."""
    return next(feature for feature in range(N_FEATURES) if len(plain_words(subject, feature, 3)) > 1)


def test_each_word_s_direction_is_that_of_its_own_row_and_the_rest_are_none(subject: Subject) -> None:
    for feature in range(N_FEATURES - 1):
        ids = plain_words(subject, feature, 3)
        found = word_directions(subject, subject.sae.encoder_rows([feature]).T, 3)[0]
        rows = subject.embedding[ids] - subject.centroid
        torch.testing.assert_close(found[: len(ids)], rows / rows.norm(dim=-1, keepdim=True), rtol=0, atol=1e-6)
        assert not found[len(ids) :].any()


def test_spellings_of_a_word_count_once_and_spaces_for_none() -> None:
    texts = {1: " Law", 2: "law", 3: "   ", 4: "LAW", 5: " order", 6: "orders"}
    assert _words(SimpleNamespace(text_of=texts.__getitem__), [*texts]) == [1, 5, 6]  # type: ignore[arg-type]


@pytest.mark.parametrize(("cutoff", "of_a_word"), [(0.02, 0.02), (0.01, 0.02), (0.005, None), (0.05, 0.05)])
def test_its_tree_is_the_mean_of_the_words_trees_down_to_the_cutoff(
    subject: Subject, cutoff: float, of_a_word: float | None
) -> None:
    """Each word's own tree goes down to as many times the cutoff as there are words, though no coarser than .02."""
    feature = several(subject)
    ids = plain_words(subject, feature, 3)
    ghosts = feature_ghosts(subject, [feature], WORDS.scaled(subject.card.default_scale))[0, : len(ids)]
    prompt = prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, TREE), subject.card.placeholder_id)
    own = len(ids) * cutoff if of_a_word is None else of_a_word
    settings = TREE.model_copy(update={"top_k": 5 * len(ids), "cutoff": own})
    expected: Paths = defaultdict(float)
    for ghost in ghosts:
        for path, probability in paths(
            *Grower(subject, prompt, settings).grow(ghost[None] * subject.input_scale)
        ).items():
            expected[path] += probability / len(ids)
    wide = SETTINGS.model_copy(update={"tree": TREE.model_copy(update={"top_k": 5 * len(ids), "cutoff": cutoff})})
    tree = probed(subject, "tree", feature, wide)
    assert isinstance(tree, Tree)
    assert len(ids) > 1
    assert tree.n_nodes > 1 or cutoff > TREE.cutoff
    expected[()] = 1.0
    likely = {path: p for path, p in expected.items() if p >= cutoff}
    assert paths(tree) == pytest.approx(likely, rel=1e-4)


def test_nodes_are_breadth_first_and_siblings_in_falling_order_and_none_is_likelier_than_its_parent() -> None:
    one = TreeColumns((-1, 0, 0, 1), (-1, 5, 6, 7), (1.0, 0.6, 0.3, 0.5))
    other = TreeColumns((-1, 0, 1), (-1, 6, 7), (1.0, 0.8, 0.2))
    found = mean_tree([one, other], top_k=5, cutoff=0.1)
    assert found == TreeColumns((-1, 0, 0, 1, 2), (-1, 6, 5, 7, 7), (1.0, 0.55, 0.3, 0.1, 0.25))
    assert mean_tree([one, other], top_k=1, cutoff=0.1) == TreeColumns((-1, 0, 1), (-1, 6, 7), (1.0, 0.55, 0.1))
    assert mean_tree([one], top_k=5, cutoff=0.1) is one
    assert mean_tree([one, other], top_k=5, cutoff=0.2).probabilities == (1.0, 0.55, 0.3, 0.25)


def test_features_with_fewer_words_and_with_none_grow_beside_the_others(subject: Subject) -> None:
    prompt = prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, TREE), subject.card.placeholder_id)
    grower = Grower(subject, prompt, TREE)
    ghosts = feature_ghosts(subject, [several(subject)] * 3, WORDS.scaled(1.0)) * subject.input_scale
    ghosts[1, 1:] = 0
    ghosts[2] = 0
    alone = next(iter(grower.grow(ghosts[1, :1])))
    found = grow_mixed(grower, ghosts)
    assert paths(found[1]) == pytest.approx(paths(alone), rel=1e-4)
    assert paths(found[0]) == pytest.approx(paths(grow_mixed(grower, ghosts[:1])[0]), rel=1e-4)
    assert found[2] == TreeColumns()


def test_the_list_of_words_is_the_vocabulary_s(subject: Subject) -> None:
    vocabulary = SETTINGS.model_copy(update={"vector": VectorSettings(weights="vocabulary")})
    one, other = (probed(subject, "tokens", 3, settings) for settings in (SETTINGS, vocabulary))
    assert isinstance(one, TokenList)
    assert isinstance(other, TokenList)
    assert replace(one, settings=other.settings) == other


def test_of_a_random_feature_one_word_in_turn_stands_for_all_and_its_first_where_that_is_none() -> None:
    ghosts = torch.arange(1.0, 13.0).view(4, 3, 1)
    ghosts[1, 1] = 0
    assert _one_each(ghosts).flatten().tolist() == [1, 4, 9, 10]


def test_the_null_is_made_of_random_features_words(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    real = contrasts.__globals__["placed"]
    monkeypatch.setitem(contrasts.__globals__, "placed", lambda s, unit, v: seen.append(unit) or real(s, unit, v))
    tree = probed(
        subject, "tree", several(subject), ProbeSettings(vector=WORDS, tree=TREE.model_copy(update={"contrast": 0.3}))
    )
    assert isinstance(tree, Tree)
    assert tree.contrast is not None
    assert tree.contrast.n_random == N_RANDOM
    assert {tuple(one.shape[:2]) for one in seen} == {(N_NULL + N_RANDOM, 3)}


def test_one_vector_of_several_words_is_refused_in_a_sentence(subject: Subject) -> None:
    with pytest.raises(SettingsError, match=r"weights cannot be words, which make several; use vocabulary\.$"):
        feature_vectors(subject, [0], WORDS)


def test_a_steered_tree_of_words_has_every_ghost_steered(subject: Subject) -> None:
    steering = SteeringSettings(mode="clamp", strength=2.0, maximum=5.0, at="ghost")
    feature = several(subject)
    settings = SETTINGS.model_copy(update={"steering": steering})
    tree, plain = probed(subject, "tree", feature, settings), probed(subject, "tree", feature)
    assert isinstance(tree, Tree)
    assert isinstance(plain, Tree)
    assert tree.contrast is None
    assert paths(tree) != pytest.approx(paths(plain), rel=1e-3)
