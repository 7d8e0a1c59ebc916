"""The table of labels: every filter and order against a plain reading of all rows; pages; addresses."""

from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from agent.log.browsing import BrowsedLabel, LabelFilter, around, count_labels, label_page, place_of
from agent.log.calibrations import Calibration, add_calibration, keep_probabilities, probabilities_of
from agent.log.comparisons import ComparisonIdentity, add_classes, begin_comparison
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.examples import corpora_of
from agent.log.labels import LabelRow, add_label, labels_of
from agent.log.reviews import Review, add_review, reviews_of, undo_review
from agent.log.run_log import RunLog
from agent.log.scores import ScoreKey, scores_of
from probes.errors import SettingsError
from tests import logged
from tests.serving import OURS, Parsed, client, scored_log

DETECTION = ScoreKey(scoring_id=1, scorer="detection")
ORDERS = list(product(("feature", "confidence", "probability", "score"), (False, True)))
FILTERS: list[dict[str, Any]] = [
    {},
    {"search": "dog"},
    {"search": "noise"},
    {"search": "=>"},
    {"status": "labelled", "min_confidence": 0.5},
    {"max_confidence": 0.5},
    {"min_probability": 0.4},
    {"search": "dog", "min_probability": 0.2, "reviewed": "no"},
    {"score": DETECTION, "min_score": 0.3, "max_score": 0.8},
    {"score": DETECTION, "min_score": 0.3, "status": "abstained"},
    *({"reviewed": reviewed} for reviewed in ("no", "yes", "accept", "edit", "reject", "flag", "note")),
    {"search": "dog", "reviewed": "no", "score": DETECTION, "max_score": 0.9},
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLog]:
    """Labels, scores and reviews; a second run and a second scoring, which must not show up."""
    path = tmp_path_factory.mktemp("log") / "log.db"
    with scored_log(path) as found:
        labels = [row for row in found.read(labels_of, 1) if row.status != "failed"]
        for place, row in enumerate(labels):
            for reviewer, step in (("ann", 3), ("bob", 4)):
                if place % step == 0:
                    found.write_at_once(add_review, row.label_id, reviewer, _review(place))
            if place % 7 == 0:
                assert found.write_at_once(undo_review, row.label_id, "ann") or place % 3
    with RunLog.open(path) as writing:
        run = writing.begin_run(logged.identity(), range(3), new=True)
        writing.write(add_label, run.run_id, logged.outcome(1, label="dog of another run")).result()
        calibration = writing.write(add_calibration, Calibration("offline", "", [], {}, 30, 15, {})).result()
        given = {row.label_id: row.label_id * 7 % 11 / 11 for row in writing.read(labels_of, 1) if row.label_id % 4}
        [other] = writing.read(labels_of, run.run_id)
        writing.write(keep_probabilities, calibration, {**given, other.label_id: 1.0}).result()
    with RunLog.open(path, read_only=True) as found:
        yield found


def _review(place: int) -> Review:
    kinds: list[dict[str, Any]] = [
        {"verdict": "accept"},
        {"verdict": "reject"},
        {"verdict": "edit", "label": "better"},
        {"verdict": "flag"},
        {"verdict": "note", "note": "hm"},
    ]
    return Review.parse(kinds[place % len(kinds)])


def _plain(log: RunLog, wanted: LabelFilter) -> list[int]:
    """The features that meet the filter, in order, the slow way."""
    scores = {s.label_id: s.value for s in log.read(scores_of, 1) if (s.scorer, s.variant) == ("detection", "label")}
    rows = [
        row
        for row in log.read(labels_of, 1, search=wanted.search or None, status=wanted.status)
        if _meets(log, row, wanted)
    ]
    if wanted.score is not None and (wanted.min_score, wanted.max_score) != (None, None):
        low, high = wanted.min_score or -9, 9 if wanted.max_score is None else wanted.max_score
        rows = [row for row in rows if (value := scores.get(row.label_id)) is not None and low <= value <= high]
    if wanted.order == "score":
        rows = [row for row in rows if row.label_id in scores]
    probable = log.read(probabilities_of, 1)
    if wanted.order == "probability":
        rows = [row for row in rows if row.label_id in probable]
    keys = {
        "feature": lambda row: (row.feature,),
        "confidence": lambda row: (-1 if row.confidence is None else row.confidence, row.feature),
        "probability": lambda row: (probable[row.label_id], row.label_id),
        "score": lambda row: (-1 if scores[row.label_id] is None else scores[row.label_id], row.label_id),
    }
    return [row.feature for row in sorted(rows, key=keys[wanted.order], reverse=wanted.descending)]


def _meets(log: RunLog, row: LabelRow, wanted: LabelFilter) -> bool:
    standing = [review.verdict for review in log.read(reviews_of, [row.label_id]) if not review.undone]
    verdicts = [verdict for verdict in standing if verdict in ("accept", "edit", "reject")]
    reviewed = {
        None: True,
        "no": not verdicts,
        "yes": bool(verdicts),
        "flag": "flag" in standing,
        "note": "note" in standing,
    }.get(wanted.reviewed, verdicts[-1:] == [wanted.reviewed])
    confidence, probability = row.confidence, log.read(probabilities_of, 1).get(row.label_id, -1)
    least, most = wanted.min_confidence, wanted.max_confidence
    return (
        reviewed
        and (wanted.min_probability is None or probability >= wanted.min_probability)
        and (least is None or (confidence is not None and confidence >= least))
        and (most is None or (confidence is not None and confidence <= most))
    )


@pytest.mark.parametrize("given", FILTERS, ids=str)
@pytest.mark.parametrize(("order", "descending"), ORDERS)
def test_filters_and_orders_are_those_of_a_plain_reading(
    log: RunLog, given: dict[str, Any], order: str, descending: bool
) -> None:
    wanted = LabelFilter.parse({"score": DETECTION, **given, "order": order, "descending": descending})
    plain = _plain(log, wanted)
    assert log.read(count_labels, 1, wanted) == len(plain)
    pages = [log.read(label_page, 1, wanted, first, 7) for first in range(0, len(plain) + 7, 7)]
    assert [one.label.feature for page in pages for one in page] == plain
    for before, after in pairwise(plain):
        assert log.read(around, 1, wanted, before).after == after
        assert log.read(around, 1, wanted, after).before == before
    if plain:
        assert log.read(around, 1, wanted, plain[0]).before is None
        assert log.read(around, 1, wanted, plain[-1]).after is None


def test_each_filter_leaves_some_and_takes_some(log: RunLog) -> None:
    """Else the test above would show nothing."""
    n_labels = log.read(count_labels, 1, LabelFilter())
    for given in FILTERS[1:]:
        n_found = log.read(count_labels, 1, LabelFilter.parse(given))
        assert n_found < n_labels
        assert n_found or given == {"search": "=>"} or given.get("status") == "abstained"


def test_a_feature_outside_the_filter_has_the_neighbours_of_its_place(log: RunLog) -> None:
    wanted = LabelFilter(status="labelled")
    inside = _plain(log, wanted)
    outside = next(row.feature for row in log.read(labels_of, 1) if row.status == "failed" and row.feature > inside[0])
    found = log.read(around, 1, wanted, outside)
    assert found.before == max(feature for feature in inside if feature < outside)
    assert log.read(around, 1, wanted, 10_000).after is None


def test_scores_of_a_scoring_of_another_run_sort_nothing(log: RunLog) -> None:
    wanted = LabelFilter(score=DETECTION, order="score")
    assert log.read(count_labels, 2, wanted) == 0


def test_a_row_has_its_score_and_reviews(log: RunLog) -> None:
    found: list[BrowsedLabel] = log.read(label_page, 1, LabelFilter(score=DETECTION), 0, 100)
    scores = {s.label_id: s.value for s in log.read(scores_of, 1) if (s.scorer, s.variant) == ("detection", "label")}
    assert [one.score for one in found] == [scores.get(one.label.label_id) for one in found]
    assert [list(one.reviews) for one in found] == [log.read(reviews_of, [one.label.label_id]) for one in found]


@pytest.mark.parametrize("given", [{"order": "score"}, {"min_score": 0.5}])
def test_a_score_to_sort_by_must_be_chosen(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="choose a score"):
        LabelFilter.parse(given)


def _features(page: str) -> list[int]:
    links = [dict(element.attributes).get("href") or "" for element in Parsed(page).elements if element.name == "a"]
    return [int(link.split("/features/")[1].split("?")[0]) for link in links if "/features/" in link]


def test_the_page_keeps_its_state_in_the_address(log: RunLog) -> None:
    wanted = LabelFilter(search="dog", min_confidence=0.25, score=DETECTION, order="score", descending=True)
    page = client(log).get("/runs/1/labels?search=dog&min_confidence=.25&score=1-detection&sort=-score").text
    assert _features(page) == _plain(log, wanted)
    kept = next(
        e for e in Parsed(page).elements if e.name == "a" and "/features/" in (dict(e.attributes)["href"] or "")
    )
    address = dict(kept.attributes)["href"] or ""
    for part in ("search=dog", "min_confidence=0.25", "score=1-detection", "sort=-score"):
        assert part in address


def test_without_a_chosen_score_the_first_is_shown_and_addresses_stay_short(log: RunLog) -> None:
    page = Parsed(client(log).get("/runs/1/labels").text)
    links = [dict(element.attributes).get("href") or "" for element in page.elements if element.name == "a"]
    assert "/runs/1/features/0" in links
    assert "?score=1-detection&sort=-score" in links


def test_pages_follow_one_another_and_the_last_one_ends_them(log: RunLog) -> None:
    browser = client(log)
    assert _features(browser.get("/runs/1/labels?size=50").text) == list(range(40))
    assert _features(browser.get("/runs/1/labels?size=50&page=999999999").text) == list(range(40))


@pytest.mark.parametrize(
    ("query", "status"),
    [("sort=shoe", 400), ("min_confidence=7", 400), ("status=x", 400), ("reviewed=x", 400), ("min_confidence=nan", 400),
     ("size=7&page=-1", 200), ("page=x", 200), ("score=1-x;drop&sort=score&min_score=3", 200),
     ("score=99-nothing", 200),
     ("search=%22%20OR%20NEAR(*", 200), ("search=%00%ff", 200), ("unknown=1&search=", 200),
     ("score=999999999999999999999-x", 200)],
)  # fmt: skip
def test_whatever_an_address_says_there_is_a_page_or_a_sentence(log: RunLog, query: str, status: int) -> None:
    answer = client(log).get(f"/runs/1/labels?{query}")
    assert answer.status_code == status
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("place", ["/runs/99", "/runs/99/labels", "/runs/99999999999999999999", "/runs/x", "/nothing"])
def test_what_is_not_there_is_not_found(log: RunLog, place: str) -> None:
    assert client(log).get(place).status_code == 404


def test_blind_mode_hides_scores_confidence_and_others_verdicts(log: RunLog) -> None:
    browser = client(log)
    assert "min_confidence" in browser.get("/runs/1/labels").text
    answer = browser.post("/blind", data={"back": "/runs/1/labels"}, headers=OURS)
    assert answer.headers["location"] == "/runs/1/labels"
    page = browser.get("/runs/1/labels?sort=-score&score=1-detection&min_confidence=0.5").text
    assert _features(page) == list(range(40))
    text = Parsed(page).text
    assert "0.25" not in text
    assert "0.75" not in text
    assert text.count("accepted") < Parsed(client(log).get("/runs/1/labels").text).text.count("accepted")
    browser.post("/blind", data={"back": "/"}, headers=OURS)
    assert "min_confidence" in browser.get("/runs/1/labels").text


@pytest.mark.parametrize("back", ["//evil.example", "/\\evil.example", "https://evil.example", "\x01", "é"])
def test_blind_mode_leads_back_to_this_server_only(log: RunLog, back: str) -> None:
    place = client(log).post("/blind", data={"back": back}, headers=OURS).headers["location"]
    assert place.startswith("/")
    assert not place.startswith(("//", "/\\"))


def test_an_empty_log_says_how_to_fill_it(tmp_path: Path) -> None:
    RunLog.open(tmp_path / "new.db").close()
    with RunLog.open(tmp_path / "new.db", read_only=True) as log:
        assert "There is no run yet" in client(log).get("/").text
        assert client(log).get("/runs/1").status_code == 404


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunLog]:
    with scored_log(tmp_path / "log.db", n_labels=12) as found:
        yield found


def _labelled(log: RunLog) -> LabelRow:
    return next(row for row in log.read(labels_of, 1) if row.status == "labelled")


def test_what_reviewers_wrote_is_found_and_shown(fresh: RunLog) -> None:
    row = _labelled(fresh)
    fresh.write_at_once(add_review, row.label_id, "bob", Review(verdict="edit", label="zebras, striped"))
    fresh.write_at_once(add_review, row.label_id, "bob", Review(verdict="note", note="see the giraffe"))
    for search in ("zebra", "giraffes", "zebras, striped"):
        page = client(fresh).get("/runs/1/labels", params={"search": search}).text
        assert _features(page) == [row.feature], search
        assert f"zebras, striped was {row.label}" in " ".join(Parsed(page).text.split())
    fresh.write_at_once(undo_review, row.label_id, "bob")
    assert _features(client(fresh).get("/runs/1/labels?search=giraffe").text) == []


def test_labels_are_filtered_by_their_features_classes(fresh: RunLog) -> None:
    assert 'name="class_name"' not in client(fresh).get("/runs/1/labels").text
    features = [row.feature for row in fresh.read(labels_of, 1)]
    corpus_id = fresh.read(corpora_of)[0].corpus_id
    found = [(feature, "concept" if feature < 3 else "dead", "list only") for feature in features]
    with RunLog.open(fresh.path) as writing:
        id = writing.write(begin_comparison, ComparisonIdentity(run_id=1, corpus_id=corpus_id, settings={})).result()
        writing.write(add_classes, id, logged.card().fingerprint, found).result()
    page = client(fresh).get("/runs/1/labels?class_name=concept").text
    assert _features(page) == [feature for feature in features if feature < 3]
    options = [dict(one.attributes)["value"] for one in Parsed(page).elements if one.name == "option"]
    assert {"dead", "concept", "list only"} < {*options}
    assert "tree only" not in options


def test_blind_filters_and_searches_know_ones_own_reviews_only(fresh: RunLog) -> None:
    row = _labelled(fresh)
    fresh.write_at_once(add_review, row.label_id, "bob", Review(verdict="edit", label="zebras"))
    fresh.write_at_once(add_review, row.label_id, "bob", Review(verdict="flag"))
    ann, bob = client(fresh, reviewer="ann"), client(fresh, reviewer="bob")
    for browser in (ann, bob):
        browser.cookies.set("interpret_blind", "1")
    for query in ("search=zebras", "reviewed=yes", "reviewed=edit", "reviewed=flag"):
        assert _features(ann.get(f"/runs/1/labels?{query}").text) == [], query
        assert _features(bob.get(f"/runs/1/labels?{query}").text) == [row.feature], query
    assert row.feature in _features(ann.get("/runs/1/labels?reviewed=no").text)


@pytest.mark.parametrize("query", ["", "sort=-confidence", "sort=-score&score=1-detection"])
def test_the_page_with_a_feature_is_found_and_its_row_marked(log: RunLog, query: str) -> None:
    browser = client(log)
    every = _features(browser.get(f"/runs/1/labels?{query}").text)
    wanted = LabelFilter.parse({"score": DETECTION, "order": "feature"})
    assert log.read(place_of, 1, wanted, 7) == 7
    page = browser.get(f"/runs/1/labels?{query}&at={every[-1]}").text
    marked = [dict(e.attributes) for e in Parsed(page).elements if dict(e.attributes).get("aria-current") == "true"]
    assert [row["id"] for row in marked] == [f"f{every[-1]}"]


def test_a_review_from_the_table_gives_the_row_again(fresh: RunLog) -> None:
    row = _labelled(fresh)
    place = f"/runs/1/features/{row.feature}/review"
    answer = client(fresh).post(place, data={"verdict": "reject"}, headers={**OURS, "X-Part": "row"})
    elements = Parsed(answer.text).elements
    assert [element.name for element in elements].count("tr") == 1
    assert dict(elements[0].attributes)["id"] == f"f{row.feature}"
    assert "rejected" in answer.text


def test_rows_show_the_leading_tokens_of_the_first_list(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "l.db") as log:
        run = log.begin_run(logged.identity(), [5])
        log.write(
            add_evidence, evidence_rows(run.run_id, 5, 1, [logged.token_list("it's", ' say "x"', "\n", "café")])
        ).result()
        log.write(add_evidence, evidence_rows(run.run_id, 5, 2, [logged.token_list("later")])).result()
        log.write(add_label, run.run_id, logged.outcome(5)).result()
    with RunLog.open(tmp_path / "l.db", read_only=True) as log:
        text = " ".join(Parsed(client(log).get("/runs/1/labels").text).text.split())
    assert 'it\'s say "x" \\n café' in text
    assert "later" not in text
