import math
import random

import pytest

from agent.evidence.definitions import defining_part, endings, openings
from agent.evidence.digest import DEFINITIONS, LOWERED, NOUNS, RAISED, TOKENS, citable, digest, escaped
from probes.evidence import Projection, TokenList, Tree
from probes.settings import ProbeSettings
from tests.fakes import DOGS, MIXED, contrasted, scored, tree, vocabulary_list

SETTINGS = ProbeSettings.parse({"vector": {"weights": "encoder"}, "tree": {"prompt": "definition"}})


def random_tree(seed: int, n_nodes: int = 300) -> Tree:
    """Any shape, with closing quotes in the middle of it and a fifth of each node's probability lost."""
    rng = random.Random(seed)
    parents, probabilities, left = [-1], [1.0], [0.8]
    while len(parents) < n_nodes:
        parent = rng.randrange(len(parents))
        share = left[parent] * rng.random()
        left[parent] -= share
        parents.append(parent)
        probabilities.append(share)
        left.append(share * 0.8)
    texts = dict(enumerate(["a", " kind", " of", " dog", '"', '."', " that", 's"x']))
    ids = (-1, *(rng.randrange(len(texts)) for _ in parents[1:]))
    plain = tree({"a": 1.0})
    return Tree(
        **{name: getattr(plain, name) for name in ("feature", "settings", "prompt", "prompt_ids", "ghost_position")},
        placeholder_id=99,
        parents=tuple(parents),
        token_ids=ids,
        probabilities=tuple(probabilities),
        texts=texts,
    )


def plain_paths(whole: Tree) -> dict[int, list[int]]:
    """Nodes from the root to each node, by the definition of a tree."""
    found = {}
    for node in range(len(whole.parents)):
        path, at = [], node
        while at > 0:
            path.insert(0, at)
            at = whole.parents[at]
        found[node] = path
    return found


@pytest.mark.parametrize("seed", range(5))
def test_nothing_behind_a_closing_quote_is_part_of_a_definition(seed: int) -> None:
    whole = random_tree(seed)
    kept = [
        node
        for node, path in plain_paths(whole).items()
        if not any('"' in whole.texts[whole.token_ids[step]] for step in path[:-1])
    ]
    part = defining_part(whole)
    assert len(part.parents) == len(kept) < len(whole.parents)
    assert part.probabilities == tuple(whole.probabilities[node] for node in kept)
    for node, old in enumerate(kept[1:], start=1):
        assert kept[part.parents[node]] == whole.parents[old]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("floor", [1e-9, 0.005, 0.5])
def test_openings_divide_the_whole_probability(seed: int, floor: float) -> None:
    shares = [opening.share for opening in openings(defining_part(random_tree(seed)), floor)]
    assert math.isclose(sum(shares), 1.0, rel_tol=1e-9)
    assert shares == sorted(shares, reverse=True)


def test_definitions_of_equal_text_count_as_one_and_end_at_the_quote() -> None:
    part = defining_part(tree({'a dog"': 0.3, "a cat": 0.1}))
    twice = tree({'a dog"': 0.3, "a cat": 0.1, 'a dog "': 0.2})
    assert [(end.text, end.probability, end.closed) for end in endings(part)] == [
        ("a dog", 0.3, True),
        ("a cat", 0.1, False),
    ]
    assert endings(defining_part(twice))[0].probability == pytest.approx(0.5)


def test_a_digest_numbers_evidence_and_lines_and_goes_on_where_told() -> None:
    evidence = [
        tree(DOGS),
        TokenList(7, SETTINGS, scored(" dog", " cat")),
        Projection(7, SETTINGS, scored("s"), scored("x")),
    ]
    pieces = digest(evidence, default_scale=2.0, first=4)
    assert [piece["id"] for piece in pieces] == ["E4", "E5", "E6"]
    assert [[line["id"] for line in citable(piece)] for piece in pieces] == [
        ["E4.1", "E4.2", "E4.3", "E4.4"],
        ["E5.1", "E5.2"],
        ["E6.1", "E6.2"],
    ]
    assert [(piece["side"], piece["settings"]) for piece in pieces[:2]] == [
        ("encoder", 'scale 1 x the default, base prompt "definition"'),
        ("encoder", "scale 1 x the default, exponent 1.4"),
    ]


def test_ids_of_a_piece_do_not_hang_on_what_stands_beside_it() -> None:
    one, other = tree(DOGS), tree(MIXED)
    beside = digest([one, other], 2.0)
    assert [beside[0], *digest([other], 2.0, first=2)] == beside


def test_definitions_end_soon_after_their_head_noun_and_those_that_begin_alike_are_one() -> None:
    habits = {f'a kind of dog that barks at the {word}"': 0.2 for word in ("moon", "cat", "door")} | {'a dog"': 0.1}
    assert [(line["text"], round(line["value"], 6)) for line in digest([tree(habits)], 2.0)[0]["lines"]] == [
        ("a kind of dog that barks at the …", 0.6),
        ("a dog", 0.1),
    ]


def test_a_piece_has_few_lines_whatever_the_evidence() -> None:
    wide = {f'a w{"abcdefghijklmnopqrstuvwxyz"[n]}"': 0.03 + n * 1e-4 for n in range(26)}
    pieces = digest(
        [
            tree(wide),
            TokenList(7, SETTINGS, scored(*map(str, range(100)))),
            Projection(7, SETTINGS, scored(*"abcdefghijkl"), scored(*"abcdefghijkl")),
        ],
        2.0,
    )
    assert [line["text"] for line in pieces[0]["nouns"]] == ["wz", "wy", "wx", "ww", "wv", "wu"]
    assert [len(citable(piece)) for piece in pieces] == [NOUNS + DEFINITIONS, TOKENS, RAISED + LOWERED]


def test_long_texts_are_cut() -> None:
    long = "x" * 10_000
    pieces = digest([tree({f'a {long}"': 0.9}), TokenList(7, SETTINGS, scored(long))], 2.0)
    assert max(len(line["text"]) for piece in pieces for line in citable(piece)) < 200


def test_spellings_of_one_word_are_one_line_under_the_first_of_them() -> None:
    listed = vocabulary_list(" law", "Law", " court", "LAW", " ", "  ")
    (piece,) = digest([listed], 2.0)
    assert [(line["text"], line["spellings"], line["z"]) for line in piece["tokens"]] == [
        (" law", 3, 8.0),
        (" court", 1, 7.8),
        (" ", 1, 7.6),
        ("  ", 1, 7.5),
    ]


def test_a_vocabulary_list_brings_its_threshold_its_verdict_and_its_note() -> None:
    (piece,) = digest([vocabulary_list(" law", p_value=0.04, note="in context")], 2.0)
    assert (piece["side"], piece["settings"], piece["threshold"], piece["note"]) == (
        "vocabulary",
        "",
        3.0,
        "in context",
    )
    assert piece["readout"] == {"grade": "good", "p_value": 0.04, "n_random": 99}


@pytest.mark.parametrize(
    ("p_value", "grade"),
    [(0.01, "clear"), (0.02, "clear"), (0.05, "good"), (0.06, "fair"), (0.3, "weak"), (0.31, "none")],
)
def test_a_verdict_is_graded(p_value: float, grade: str) -> None:
    readout = digest([contrasted(tree(DOGS), p_value)], 2.0)[0]["readout"]
    assert readout is not None
    assert readout["grade"] == grade


def test_empty_evidence_is_digested() -> None:
    pieces = digest([tree({}), TokenList(7, SETTINGS, ()), Projection(7, SETTINGS, (), ())], 2.0)
    assert [citable(piece) for piece in pieces] == [[], [], []]
    assert digest([], 2.0) == []


@pytest.mark.parametrize(
    "text",
    ["\n\r\t\0\x1b[31m", "</evidence>", 'say "yes"', "back\\slash\\", "\u202eevil", "\ud800", "\u200b", "\u2028", "ok"],
)
def test_escaped_text_is_one_visible_line_that_closes_nothing(text: str) -> None:
    safe = escaped(text)
    assert safe.isprintable()
    assert not set("<>") & set(safe)
    assert '"' not in safe.replace("\\\\", "").replace('\\"', "")
    safe.encode("utf-8")


def test_an_escape_cannot_be_mistaken_for_the_text_that_looks_like_it() -> None:
    assert escaped("\\n") == "\\\\n" != escaped("\n") == "\\n"


def test_long_text_is_cut_with_its_length() -> None:
    assert escaped("a" * 50, limit=5) == "aaaaa… (50 characters)"
    assert escaped("a" * 5, limit=5) == "aaaaa"
