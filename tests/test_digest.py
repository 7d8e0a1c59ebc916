import math
import random

import pytest

from agent.evidence.definitions import defining_part, endings, openings
from agent.evidence.digest import CHARS_PER_TOKEN, EVIDENCE_TOKENS, digest, escaped
from probes.evidence import Projection, TokenList, Tree
from probes.settings import ProbeSettings
from tests.fakes import DOGS, GENERIC, MIXED, scored, tree

SETTINGS = ProbeSettings()


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
    assert [line["id"] for line in pieces[1]["lines"]] == ["E5.1", "E5.2"]
    assert [line["id"] for line in [*pieces[2]["lines"], *pieces[2]["lowered"]]] == ["E6.1", "E6.2"]
    assert pieces[0]["lines"][0] == {"id": "E4.1", "text": "a kind of dog that barks", "value": 0.5}
    assert pieces[0]["settings"] == 'encoder (1 x the default scale), base prompt "definition"'


def test_statistics_tell_a_flat_tree_from_a_peaked_one() -> None:
    dogs, generic = (digest([tree(definitions)], 2.0)[0]["statistics"] for definitions in (DOGS, GENERIC))
    assert dogs is not None
    assert generic is not None
    assert dogs["closed"] == pytest.approx(0.9)
    assert dogs["covered"] == pytest.approx(0.9)
    assert generic["first_token_bits"] > dogs["first_token_bits"] > 0
    assert generic["openings"] > dogs["openings"] > 1


def test_the_outline_merges_runs_of_tokens_and_shows_forks() -> None:
    lines = digest([tree(MIXED)], 2.0)[0]["outline"]
    assert [(line["depth"], line["text"]) for line in lines] == [
        (0, "a"),
        (1, ' fruit that grows\\"'),
        (1, ' tree that grows\\"'),
        (1, ' person who grows\\"'),
    ]


def test_a_wide_tree_keeps_the_most_probable_lines_of_its_outline() -> None:
    wide = {f'w{number}"': 0.03 + number * 1e-4 for number in range(30)}
    lines = digest([tree(wide)], 2.0)[0]["outline"]
    assert {line["text"].rstrip('\\"') for line in lines} == {f"w{number}" for number in range(16, 30)}


def test_the_token_budget_holds_and_what_is_left_out_is_counted() -> None:
    long = "x" * 200
    evidence = [
        tree({f'{number} {long} {long}"': 0.04 for number in range(25)}),
        TokenList(7, SETTINGS, scored(*(f"{number}{long}" for number in range(100)))),
        Projection(7, SETTINGS, scored(*[long] * 20), scored(*[long] * 20)),
    ]
    for tokens in (100, 500, EVIDENCE_TOKENS):
        pieces = digest(evidence, 2.0, tokens=tokens)
        shown = [
            line["text"] for piece in pieces for column in ("lines", "lowered", "outline") for line in piece[column]
        ]
        assert sum(map(len, shown)) <= tokens * CHARS_PER_TOKEN
    few = digest(evidence, 2.0, tokens=500)
    assert few[0]["outline"]
    assert few[1]["left_out"] == 25 - len(few[1]["lines"]) > 0
    assert few[2]["left_out"] == 20 - len(few[2]["lines"]) - len(few[2]["lowered"]) > 0


def test_empty_evidence_is_digested() -> None:
    pieces = digest([tree({}), TokenList(7, SETTINGS, ()), Projection(7, SETTINGS, (), ())], 2.0)
    assert [piece["lines"] for piece in pieces] == [[], [], []]
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
