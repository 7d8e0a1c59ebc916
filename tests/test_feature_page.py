"""The page of one feature: all that the log knows about it, as text, whatever it holds."""

import math
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from agent.evidence.printable import printable
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.labels import labels_of
from agent.log.reviews import Review, add_review
from agent.log.run_log import RunLog
from agent.web.feature.figures import headline, histogram, score_blocks
from agent.web.feature.texts import Mistakes, activating, mistakes_of
from agent.web.feature.view import neuronpedia_page
from agent.web.trees import drawing, outline
from probes.examples import Activity, Example
from tests import logged
from tests.feature_log import FEATURE, PAGE, client, read, side, with_contrast, write_log
from tests.trees import DOG, NASTY, tree_of


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "feature.db"
    write_log(path)
    return path


@pytest.fixture(scope="module")
def visitor(path: Path) -> TestClient:
    with client(path) as visitor:
        yield visitor


def test_the_page_tells_everything_that_the_log_knows(visitor: TestClient) -> None:
    html = read(visitor.get(PAGE).text)

    for words in (
        "dogs",
        "confidence 0.70",
        "Words for dogs.",
        "Based on 1 line of evidence",
        "E1 tree, encoder, scale 3.8",
        "E5 projection of the decoder row",
        "asked for weights blend:0.5",
        "reason The sides disagree.",
        "reason Both agree.",
        "1,500 + 70 tokens, $0.0125, 1,234 ms",
        "of 1,000 tokens 1 %",
        "by decoder cosine, found when examples were collected",
        "round 1 asked for weights blend:0.5 round 2 proposed dogs",
        "8 wolves and dogs",
        "run 2: canines",
        "pets someone",
        "unscored: the judge refused",
        "0.25 [0.10, 0.40] n 2",
    ):
        assert words in html.text, words


def test_trees_are_drawn_from_an_address_of_their_own(visitor: TestClient) -> None:
    html = read(visitor.get(PAGE).text)
    sources = [figure["data-src"] for figure in html.all("figure", class_="tree")]
    trees = [visitor.get(str(source)).json() for source in sources]

    assert len(trees) == 3
    assert [tree["settings"] for tree in trees] == [f"{w}, scale 3.8" for w in ("encoder", "decoder", "blend:0.5")]


@pytest.mark.parametrize("place", ["/trees/1/1.json", "/trees/1/9.json", "/trees/7/0.json", f"/trees/{10**30}/0.json"])
def test_what_is_no_tree_is_not_found(visitor: TestClient, place: str) -> None:
    assert visitor.get(PAGE + place).status_code == 404


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/runs/1/features/77", "Run 1 has nothing on feature 77; it was asked for 5,8-9."),
        (f"/runs/1/features/{10**30}", "There is no such page"),
        ("/runs/9/features/5", "has no run 9"),
        (f"{PAGE}/calls/99", "Feature 5 has no such call."),
        ("/runs/1/features/8/calls/1", "Feature 8 has no such call."),
    ],
)
def test_what_is_not_in_the_log_is_one_sentence(visitor: TestClient, address: str, words: str) -> None:
    answer = visitor.get(address)

    assert answer.status_code == 404
    assert words in read(answer.text).text


def test_a_call_is_a_click_away(visitor: TestClient) -> None:
    links = [str(a["href"]) for a in read(visitor.get(PAGE).text).all("a") if "/calls/" in str(a.get("href"))]
    html = read(visitor.get(links[0]).text)

    assert len(links) == 2
    for words in ("Round 1.", "You read evidence.", "{}", "1,500 + 70 tokens"):
        assert words in html.text


def test_texts_are_shaded_marked_and_strongest_first(visitor: TestClient) -> None:
    page = visitor.get(PAGE).text
    html = read(page)
    assert [mark["class"] for mark in html.all("mark")] == ["a10", "a2", "a10", "a2", "a5", "a1"]  # one in the head
    assert page.index(" hound") < page.index(" terrier")
    assert "held out 1 wrong detection missed it" in html.text
    assert "random held out 1 wrong detection took it for activating" in html.text
    assert "neighbour 8 held out" not in html.text  # nothing was wrong about it


def test_texts_stand_aligned_on_their_peaks() -> None:
    texts = [
        Example(5, "activating", "d", tokens, activations, quantile=0)
        for tokens, activations in ((("a", "b", "c"), (0.0, 1.0, 3.0)), (("x", "\n", "y"), (2.0, 0.5, 0.0)))
    ]
    found = activating({"shown": texts}, Mistakes())

    assert [(text.at, text.tokens[text.at].text) for text in found] == [(2, "c"), (0, "x")]
    assert found[1].tokens[1].text == "↵"


def test_the_head_has_the_score_with_its_control() -> None:
    scores = [
        logged.score(1, scorer="fuzzing", value=None, reason="no"),
        logged.score(1, value=0.8, metric="auroc"),
        logged.score(1, variant="tokens", value=0.9, metric="auroc"),
        logged.score(1, variant="shuffled", value=0.5, metric="auroc"),
    ]
    main = headline(score_blocks(scores))

    assert main is not None
    assert main.control is not None
    assert (main.label.value, main.control.value, main.block.chance) == ("0.80", "0.50", 50.0)
    assert headline(score_blocks(scores[:1])) is None


def test_what_the_label_rests_on_is_shown_at_once_and_other_later_trees_are_folded(visitor: TestClient) -> None:
    page = visitor.get(PAGE).text

    assert "1 more tree of later rounds" in page
    assert page.index("1 more tree of later rounds") < page.index("/trees/2/0.json")


def test_the_wording_of_reviewers_stands_large_and_the_machines_small(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write_log(path)
    with RunLog.open(path, read_only=True) as log:
        label_id = log.read(labels_of, 1, features=[FEATURE])[0].label_id
        log.write_at_once(add_review, label_id, "bob", Review(verdict="edit", label="hounds"))
    with client(path, reviewer="ann") as visitor:
        html = read(visitor.get(PAGE).text)
        (title,) = html.all("bdi", id="label-title")
        assert title["data-label"] == "dogs"
        assert "hounds the explainer proposed dogs" in html.text
        assert html.all("input", id="review-label")[0]["value"] == "hounds"
        visitor.cookies.set("interpret_blind", "1")
        assert "hounds" not in read(visitor.get(PAGE).text).text


def test_a_call_tells_a_blind_reviewer_nothing_before_the_verdict(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write_log(path, " with secrets")
    with client(path, reviewer="ann") as visitor:
        assert "{} with secrets" in read(visitor.get(f"{PAGE}/calls/1").text).text
        visitor.cookies.set("interpret_blind", "1")
        hidden = read(visitor.get(f"{PAGE}/calls/1").text).text
        with RunLog.open(path, read_only=True) as log:
            log.write_at_once(
                add_review, log.read(labels_of, 1, features=[FEATURE])[0].label_id, "ann", Review(verdict="accept")
            )
        shown = read(visitor.get(f"{PAGE}/calls/1").text).text

    assert "{} with secrets" not in hidden
    assert "Hidden until you have reviewed the label" in hidden
    assert "{} with secrets" in shown


def test_a_failed_and_an_unlooked_at_feature_have_pages(visitor: TestClient) -> None:
    html = read(visitor.get("/runs/1/features/9").text)

    assert "Failed" in html.text
    assert "no answer" in html.text
    assert "None were collected" in html.text
    assert "Not scored" in html.text


def test_evidence_without_a_label_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with RunLog.open(path) as log:
        log.write(
            add_evidence, evidence_rows(log.begin_run(logged.identity(), [5]).run_id, 5, 1, side("encoder"))
        ).result()
    with client(path) as visitor:
        assert "Feature 5, not labelled in this run" in read(visitor.get(PAGE).text).text


def test_a_blind_reviewer_sees_no_scores_confidence_or_other_labels(visitor: TestClient) -> None:
    visitor.cookies.set("interpret_blind", "1")
    html = read(visitor.get(PAGE).text)
    visitor.cookies.delete("interpret_blind")

    for words in ("confidence", "0.25", "missed it", "canines", "pets"):
        assert words not in html.text, words
    assert "dogs" in html.text


@pytest.mark.parametrize("words", [*NASTY, "<img src=x onerror=alert(1)>", "%s{{ 7 * 7 }}", "x" * 100_000])
def test_whatever_the_log_holds_comes_out_as_text(tmp_path: Path, words: str) -> None:
    path = tmp_path / "l.db"
    label = words[:150]
    write_log(path, label)
    plain = tmp_path / "plain.db"
    write_log(plain)

    with client(path) as visitor, client(plain) as other:
        for address in (PAGE, f"{PAGE}/calls/1"):
            answer, usual = visitor.get(address), read(other.get(address).text)
            html = read(answer.text)
            assert answer.status_code == 200
            assert [tag for tag, _ in html.elements] == [tag for tag, _ in usual.elements]
            assert " ".join(printable(label).split()) in html.text
            assert not any(name.startswith("on") for _, found in html.elements for name in found)
            assert not any("style" in found for _, found in html.elements)
        tree = visitor.get(f"{PAGE}/trees/1/0.json")
        assert tree.headers["content-type"] == "application/json"


def test_a_huge_token_is_cut_in_pages_and_drawings() -> None:
    tree = drawing(tree_of([(["a", "x" * 100_000], 0.5)]))

    assert max(map(len, tree["tokens"])) == 200


def test_a_drawing_leaves_out_what_the_terminal_leaves_out() -> None:
    tree = drawing(DOG)
    spelt = [tree["tokens"][place] for place in tree["token"][1:]]

    assert "'." not in spelt
    assert len(spelt) == DOG.n_nodes - 3  # it and what hangs below it, and the root
    assert all(parent < node for node, parent in enumerate(tree["parents"]))
    assert tree["n_nodes"] == DOG.n_nodes - 1
    assert tree["probabilities"][:3] == [1.0, 0.7, 0.1]


def test_an_outline_joins_phrases() -> None:
    twigs = outline(DOG).twigs

    assert [twig.text for twig in twigs] == ["a kind of", "an animal that barks", "the name"]
    assert [below.text for below in twigs[0].below] == ['dog"', 'hound"']


def test_a_contrast_gives_each_node_its_lift() -> None:
    tree = drawing(with_contrast(DOG))

    assert drawing(DOG)["lifts"] is None
    assert tree["lifts"][1] == pytest.approx(math.log(2), rel=1e-4)
    assert tree["lifts"][-1] is None
    assert (tree["badge"]["words"], tree["badge"]["tone"]) == ("differs", "good")
    assert tree["badge"]["sentence"] == (
        "Differs from random directions: 1.25 nats from the mean of random directions' trees, "
        "0 of 99 other random directions are as far from it (p 0.01)."
    )


def test_a_tree_like_random_ones_says_so() -> None:
    assert drawing(with_contrast(DOG, p_value=0.4))["badge"]["words"] == "does not differ"
    assert drawing(with_contrast(DOG, p_value=0.2))["badge"]["words"] == "hardly differs"
    assert drawing(DOG)["badge"] is None


def test_similarities_are_wrong_where_most_of_the_other_side_outranks_them() -> None:
    pairs = [("a", True, 0.9), ("b", True, 0.1), ("c", False, 0.2), ("d", False, 0.3), ("e", False, 0.95)]
    items = [{"key": key, "truth": truth, "prediction": said, "reason": None} for key, truth, said in pairs]
    found = mistakes_of([logged.score(1, scorer="embedding", items=items)])

    assert dict(found.by_key) == {
        "b": ["embedding ranks it below most non-activating texts"],
        "e": ["embedding ranks it above most activating texts"],
    }


def test_controls_are_nobodys_mistakes() -> None:
    items = [{"key": "a", "truth": True, "prediction": False, "reason": None}]

    assert not mistakes_of([logged.score(1, variant="shuffled", items=items)]).by_key


def test_marks_of_fuzzing_belong_to_their_text() -> None:
    items = [{"key": "my file:3 wrong", "truth": False, "prediction": True, "reason": None}]
    found = mistakes_of([logged.score(1, scorer="fuzzing", items=items)])

    assert dict(found.by_key) == {"my file:3": ["fuzzing judged wrong marks correct"]}


def test_a_histogram_spans_what_is_filled_and_grows_with_the_log() -> None:
    columns = histogram(Activity(5, 100, 10, 4.0, (0.0, 1.0, 2.0, 3.0, 4.0), (0, 99, 0, 9)))

    assert [column.height for column in columns] == [80.0, 0.0, 40.0]
    assert columns[0].x == 0
    assert histogram(Activity(5, 100, 0, 0.0, (0.0, 1.0), (0,))) == ()


def test_a_score_has_its_place_between_its_bounds_and_the_label_comes_first() -> None:
    scores = [
        logged.score(1, scorer="simulation", variant="shuffled", metric="correlation", value=0.0, n=3),
        logged.score(1, scorer="simulation", metric="correlation", value=0.5, low=0.0, high=1.0, n=3),
    ]
    (block,) = score_blocks(scores)

    assert [line.is_label for line in block.lines] == [True, False]
    assert (block.lines[0].low, block.lines[0].at, block.lines[0].high) == (50.0, 75.0, 100.0)
    assert (block.lines[1].at, block.lines[1].low, block.chance) == (50.0, None, 50.0)


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "https://neuronpedia.org.evil/x", "https://neuronpedia.org/a b", None, 7]
)
def test_only_neuronpedia_is_linked_as_neuronpedia(address: object) -> None:
    assert neuronpedia_page(address, 5) is None


def test_a_page_on_neuronpedia_is_linked_and_not_framed(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write_log(path, neuronpedia="https://neuronpedia.org/gemma-2b/6-res-jb")
    with client(path) as visitor:
        html = read(visitor.get(PAGE).text)

    assert html.all("a", href=f"https://neuronpedia.org/gemma-2b/6-res-jb/{FEATURE}")
    assert not html.all("iframe")
