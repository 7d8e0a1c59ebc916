"""Evidence as the JSON that the command line promises."""

import json

from probes.evidence import Projection, ScoredToken, TokenList, Tree, projection_json, tokens_json, tree_json
from probes.settings import ProbeSettings

SETTINGS = ProbeSettings()


def test_a_tree_becomes_nested() -> None:
    tree = Tree(
        feature=3,
        settings=SETTINGS,
        prompt='"{ghost}" is',
        prompt_ids=(1, 9, 2),
        ghost_position=1,
        placeholder_id=9,
        parents=(-1, 0, 0, 1),
        token_ids=(-1, 5, 6, 5),
        probabilities=(1.0, 0.5, 0.25, 0.125),
        texts={5: "a", 6: " b"},
    )
    nested = tree_json(tree)
    assert list(nested) == [
        "feature",
        "settings",
        "prompt",
        "prompt_ids",
        "ghost_position",
        "placeholder_id",
        "n_nodes",
        "root",
    ]
    grandchild = {"token_id": 5, "token": "a", "probability": 0.125, "children": []}
    assert nested["root"] == {
        "token_id": None,
        "token": "",
        "probability": 1.0,
        "children": [
            {"token_id": 5, "token": "a", "probability": 0.5, "children": [grandchild]},
            {"token_id": 6, "token": " b", "probability": 0.25, "children": []},
        ],
    }
    assert (nested["n_nodes"], nested["prompt_ids"]) == (4, [1, 9, 2])
    assert json.loads(json.dumps(nested)) == nested
    assert ProbeSettings.parse(nested["settings"]) == SETTINGS


def test_lists_become_flat() -> None:
    tokens = (ScoredToken(4, " cat", 0.25), ScoredToken(7, "dog", 0.5))
    flat = [{"token_id": 4, "token": " cat", "score": 0.25}, {"token_id": 7, "token": "dog", "score": 0.5}]
    listed = tokens_json(TokenList(3, SETTINGS, tokens))
    assert (list(listed), listed["tokens"]) == (["feature", "settings", "tokens"], flat)
    projected = projection_json(Projection(3, SETTINGS, top=tokens, bottom=tokens[::-1]))
    assert (projected["top"], projected["bottom"]) == (flat, flat[::-1])
    assert json.loads(json.dumps([listed, projected])) == [listed, projected]
