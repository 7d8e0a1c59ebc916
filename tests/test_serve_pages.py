"""Pages of nasty texts: whatever a label, a reason, a note or a subject holds, it is shown as text and nothing else."""

import json
import re
import shlex
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html import unescape
from pathlib import Path
from threading import Event
from time import sleep
from typing import get_args

import pytest
from sqlite_utils import Database

from agent.evidence.printable import printable
from agent.llm.base import CallFault
from agent.log.comparisons import ComparisonIdentity, FitRow, add_fits, begin_comparison
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.examples import add_corpus, begin_corpus
from agent.log.labels import Reason, add_label
from agent.log.reviews import Review, add_review, verdicts_of
from agent.log.rows import escape
from agent.log.run_log import RunLog
from agent.log.scores import add_scores, begin_scoring
from agent.web import winning
from agent.web.agreement import agreements
from agent.web.cache import Cache
from agent.web.explore.keeping import keep
from agent.web.overview import _scorers, grouped
from probes.settings import ProbeKind, ProbeSettings, VectorSettings
from tests import logged
from tests.serving import OURS, Parsed, client

BENIGN = "a plain text"
NASTY = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "end tags": "</bdi></td></table></textarea></title><!-- ",
    "entities": "&lt;b&gt; &#60;script&#62; &amp;",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "bidi": "safe\u202egnp.exe\u2066\u2069\u200f",
    "invisible": "a\u200bb\ufeffc\u00add\U000e0041",
    "terminal": "\x1b[31mred\x1b]0;title\x07\x9b2J\r\x08",
    "nul": "before\0after",
    "surrogate": "half \ud83d of an emoji",
    "lines": "one\ntwo\u2028three\x85four",
    "long": "x" * 100_000,
    "address": "javascript:alert(1)",
}
PAGES = ("/", "/runs/1", "/runs/1/labels", "/runs/1/labels?status=abstained", "/runs/1/labels?reviewed=note")


def _fill(path: Path, text: str) -> None:
    """A log with `text` wherever a text from outside can stand."""
    with RunLog.open(path) as log:
        run = log.begin_run(logged.identity(), [5, 6, 7])
        log.write(add_evidence, evidence_rows(run.run_id, 5, 1, [logged.token_list(text)])).result()
        log.write(
            add_label, run.run_id, logged.outcome(5, label=text, explanation=text, evidence=(text, "E1.1"))
        ).result()
        for feature, status in ((6, "abstained"), (7, "failed")):
            lost = logged.outcome(feature, status=status, label="", explanation="", reason=text, confidence=None)
            log.write(add_label, run.run_id, lost).result()
        logged.add_call(log, run.run_id, logged.request(7), logged.failure(text, CallFault.FATAL))
        scoring = logged.scoring_identity(run.run_id, log.write(begin_corpus, logged.corpus_identity()).result())
        whole = text.encode("utf-8", "replace").decode()  # what a browser can send
        settings = {"settings": {"scorers": ["detection"]}, "judge": whole}
        scoring_id = log.write(begin_scoring, scoring.model_copy(update=settings)).result()
        log.write(add_scores, scoring_id, [logged.score(1, label=text, metric=text[:100])]).result()
        for reviewer in (f"ann {text[:90]}", "bob"):
            log.write_at_once(add_review, 1, reviewer, Review(verdict="edit", label=whole[:200]))
            log.write_at_once(add_review, 1, reviewer, Review(verdict="note", note=whole[:10_000]))
    card = logged.card().model_dump() | {"name": text, "model": text, "sae": text, "hook": text}
    with closing(Database(path)) as db, db.conn:
        said = [json.dumps(card), escape(text), escape(text)]
        db.execute("UPDATE runs SET subject = ?, explainer = ?, features = '5-7' WHERE length(?)", said)
        db.execute("UPDATE invocations SET command = ?", [escape(text)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLog]:
    path = tmp_path_factory.mktemp("plain") / "log.db"
    _fill(path, BENIGN)
    with RunLog.open(path, read_only=True) as log:
        yield log


@pytest.fixture(scope="module", params=NASTY)
def nasty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RunLog]]:
    path = tmp_path_factory.mktemp("nasty") / "log.db"
    _fill(path, NASTY[request.param])
    with RunLog.open(path, read_only=True) as log:
        yield NASTY[request.param], log


def _pages(log: RunLog) -> dict[str, str]:
    browser = client(log)
    found = {place: browser.get(place) for place in PAGES}
    headers = {**OURS, "X-Part": "review"}
    found["box"] = browser.post("/runs/1/features/5/review", data={"verdict": "undo"}, headers=headers)
    assert {answer.status_code for answer in found.values()} == {200}
    return {place: answer.content.decode("utf-8") for place, answer in found.items()}


def test_nasty_texts_make_no_element_and_no_attribute(plain: RunLog, nasty: tuple[str, RunLog]) -> None:
    plain_pages, nasty_pages = _pages(plain), _pages(nasty[1])
    for place, page in plain_pages.items():
        shapes = [element.shape for element in Parsed(nasty_pages[place]).elements]
        assert shapes == [element.shape for element in Parsed(page).elements], place
        targets = [value for e in Parsed(nasty_pages[place]).elements for name, value in e.attributes if name == "href"]
        assert all(target and target.startswith(("/", "?", "#")) for target in targets), place


def test_nasty_texts_hide_nothing(nasty: tuple[str, RunLog]) -> None:
    for place, page in _pages(nasty[1]).items():
        parsed = Parsed(page)
        everything = parsed.text + "".join(value or "" for e in parsed.elements for _, value in e.attributes)
        hidden = {unicodedata.name(c, hex(ord(c))) for c in everything if unicodedata.category(c) in ("Cc", "Cf", "Cs")}
        assert hidden <= {hex(ord("\n"))}, place


def test_nasty_texts_are_there_to_be_read(nasty: tuple[str, RunLog]) -> None:
    text, log = nasty
    shown = printable(text)[:199]
    pages = _pages(log)
    for place in ("/runs/1", "/runs/1/labels", "box"):
        assert shown in Parsed(pages[place]).text.replace("\n", "\\n") or shown in printable(
            Parsed(pages[place]).text
        ), place
    assert shown[:50] in Parsed(pages["/"]).text


def test_pages_of_long_texts_stay_small(nasty: tuple[str, RunLog]) -> None:
    assert all(len(page) < 60_000 for page in _pages(nasty[1]).values())


def test_no_page_has_a_script_or_a_style_of_its_own(plain: RunLog) -> None:
    for place, page in _pages(plain).items():
        for element in Parsed(page).elements:
            attributes = dict(element.attributes)
            assert "style" not in attributes, place
            assert not [name for name in attributes if name.startswith("on")], place
            assert element.name != "style", place
            if element.name == "script":
                assert attributes["src"].startswith("/static/"), place  # type: ignore[union-attr]


def test_the_overview_has_the_runs_figures(plain: RunLog) -> None:
    text = " ".join(Parsed(client(plain).get("/runs/1").text).text.split())
    assert "detection" in text
    assert "0.50" in text
    assert "1 fatal" in text
    assert "decoder, scale 3.8, pca 0.1+0.2, exponent 1.4" in text
    (found,) = agreements(plain.read(verdicts_of, 1), seed=0)
    assert found.kappa.value is None
    assert "no kappa: both gave every label the same verdict" in text


def test_every_kind_of_evidence_behind_labels_has_words_of_its_own() -> None:
    told = {kind: winning._settings_words(kind, ProbeSettings().model_dump_json()) for kind in get_args(ProbeKind)}
    assert len({*told.values()}) == len(told)


def test_reasons_that_differ_in_details_only_are_counted_together_and_told_by_an_example() -> None:
    said = [
        ("failed", 'no "dog" at 0.25', 2, 4),
        ("failed", 'no "cat" at 3', 3, 7),
        ("abstained", 'no "cat" at 3', 1, 5),
        ("failed", "x", 9, 1),
    ]
    found = grouped([Reason(*one) for one in said])
    assert found == [
        Reason("failed", "x", 9, 1),
        Reason("failed", 'no "cat" at 3', 5, 7),
        Reason("abstained", 'no "cat" at 3', 1, 5),
    ]


def test_progress_tells_a_live_run_from_one_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with RunLog.open(path) as writing, RunLog.open(path, read_only=True) as log:
        run = writing.begin_run(logged.identity(), range(3))
        writing.write(add_label, run.run_id, logged.outcome(1)).result()
        browser = client(log)
        figures = browser.get("/runs/1/progress").json()
        assert {name: figures[name] for name in ("status", "live", "asked", "done", "labelled", "cost")} == {
            "status": "unfinished",
            "live": True,
            "asked": 3,
            "done": 1,
            "labelled": 1,
            "cost": None,
        }
        writing.write(add_label, run.run_id, logged.outcome(2)).result()
        assert browser.get("/runs/1/progress").json()["done"] == 2
        writing.close()
        assert browser.get("/runs/1/progress").json()["live"] is False


def test_what_was_counted_is_counted_anew_when_the_log_changes(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with RunLog.open(path) as writing, RunLog.open(path, read_only=True) as log:
        run = writing.begin_run(logged.identity(), range(3))
        browser = client(log)
        assert "no reason" not in browser.get("/runs/1").text
        writing.write(add_label, run.run_id, logged.outcome(1, status="failed", reason="a new reason")).result()
        assert "a new reason" in browser.get("/runs/1").text


def test_an_answer_that_takes_long_keeps_no_other_waiting(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log, ThreadPoolExecutor(1) as pool:
        cache, begun, goes_on = Cache(log), Event(), Event()

        def slow(log: RunLog) -> str:
            begun.set()
            assert goes_on.wait(30)
            return log.path.name

        waiting = pool.submit(cache, slow)
        assert begun.wait(30)
        try:
            assert cache(lambda log: log.path) == log.path
            assert not waiting.done()
        finally:
            goes_on.set()
        assert waiting.result(30) == "log.db"


def test_what_was_compared_and_kept_are_no_runs_and_have_pages_of_their_own(tmp_path: Path) -> None:
    path, card = tmp_path / "log.db", logged.card()
    with RunLog.open(path) as log:
        labelling = log.begin_run(logged.identity(), [5]).run_id
        log.write(add_label, labelling, logged.outcome(5, label="hounds")).result()
        comparing = log.begin_run(logged.identity(kind="compare", explainer=""), [5]).run_id
        settings = [ProbeSettings(vector=VectorSettings(weights=weights)) for weights in ("encoder", "decoder")]
        corpus_id = log.write(begin_corpus, logged.corpus_identity()).result()
        identity = ComparisonIdentity(run_id=comparing, corpus_id=corpus_id, settings={})
        for setting in settings:
            log.write(
                add_fits,
                log.write(begin_comparison, identity).result(),
                setting,
                [FitRow(5, "list", 5, 0.5, None, None, None, 9)],
            ).result()
    kept = keep(path, card, 5, [logged.token_list("dog")])
    with RunLog.open(path, read_only=True) as log:
        browser = client(log)
        listed = Parsed(browser.get("/").text)
        hrefs = [dict(element.attributes).get("href") for element in listed.elements]
        assert f"/runs/{labelling}" in hrefs
        assert f"/runs/{comparing}" not in hrefs
        assert "/compare?of=1" in hrefs
        assert hrefs.count(f"/runs/{kept.run_id}") == 1
        assert "encoder" in listed.text
        answer = browser.get(f"/runs/{comparing}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/compare?of=1")
        views = " ".join(Parsed(browser.get(f"/runs/{kept.run_id}").text).text.split())
        assert "Kept while exploring" in views
        assert "hounds" in views
        assert "decoder, scale 3.8, pca 0.1+0.2" in views
        assert "features done" not in views
        assert "interpret score" not in views


def test_scores_are_drawn_over_those_of_the_control_as_shares(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        run = log.begin_run(logged.identity(), range(4))
        for feature in range(4):
            log.write(add_label, run.run_id, logged.outcome(feature)).result()
        corpus_id = log.write(begin_corpus, logged.corpus_identity()).result()
        identity = logged.scoring_identity(run.run_id, corpus_id).model_copy(
            update={"settings": {"scorers": ["detection"]}}
        )
        scoring_id = log.write(begin_scoring, identity).result()
        for label, value in enumerate((0.9, 0.9, 0.9, 0.1), start=1):
            log.write(add_scores, scoring_id, [logged.score(label, value=value, metric="auroc")]).result()
        log.write(add_scores, scoring_id, [logged.score(1, variant="shuffled", value=0.5, metric="auroc")]).result()
        ((kind, drawn),) = _scorers(log, run.run_id)
        assert kind.metric == "auroc"
        assert drawn.chance == drawn.axis.at(0.5)
        heights = {bar.words: bar.height for bar in drawn.bars}
        assert heights == {"0.10 to 0.15: 1": 27.5, "0.90 to 0.95: 3": 82.5}, "of 110, which is all of the features"
        assert drawn.outline.startswith("M0 110V110.0H24V110.0H48")
        assert "V0.0" in drawn.outline
        assert [mean.variant for mean in drawn.means] == ["the run's label", "another feature's"]
        page = client(log).get("/").text
        assert page.count('class="spread"') == 1


def of_one_label(log: RunLog) -> tuple[int, int]:
    """A run of one label with examples; the numbers of the run and of the corpus."""
    run_id = log.begin_run(logged.identity(), [5]).run_id
    log.write(add_label, run_id, logged.outcome(5)).result()
    found = (logged.collected(5), {"d0": "held_out", "d1": "held_out"})
    return run_id, log.write(add_corpus, logged.corpus_identity(), [found]).result()


def test_a_label_without_a_score_of_its_own_or_a_control_takes_no_page_down(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        scoring = log.write(begin_scoring, logged.scoring_identity(*of_one_label(log))).result()
        unscored = [logged.score(1, variant=name, value=None, reason="no") for name in ("label", "shuffled")]
        log.write(add_scores, scoring, [*unscored, logged.score(1, variant="tokens", value=0.7)]).result()
        for page in ("/", "/runs/1", "/runs/1/labels", "/runs/1/features/5"):
            assert client(log).get(page).status_code == 200


def test_examples_are_shown_though_the_label_was_scored_without_any(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        run_id, _ = of_one_label(log)
        without = logged.scoring_identity(run_id, 1).model_copy(update={"corpus_id": None})
        scoring = log.write(begin_scoring, without).result()
        log.write(add_scores, scoring, [logged.score(1, scorer="clarity")]).result()
        assert "None were collected" not in client(log).get("/runs/1/features/5").text


def test_a_score_in_the_place_of_the_last_one_is_news(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        scoring = log.write(begin_scoring, logged.scoring_identity(*of_one_label(log))).result()
        browser, heads = client(log), []
        for value in (0.25, 0.95):
            log.write(add_scores, scoring, [logged.score(1, value=value)]).result()
            heads += re.findall(r'class="big">([^<]*)', browser.get("/runs/1").text)
            sleep(0.002)  # a log's clock counts milliseconds
        assert heads == ["0.25", "0.95"]


def test_a_summary_that_no_list_has_leaves_its_words_out(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        of_one_label(log)
        log.write(add_evidence, evidence_rows(1, 5, 1, [logged.token_list(" dog")])).result()
        log.write(lambda db: db.execute("UPDATE evidence SET summary = ?", [r"'\x' 1.2"])).result()
        assert client(log).get("/runs/1/labels").status_code == 200


def test_commands_on_pages_name_the_log_and_the_subject(tmp_path: Path) -> None:
    path = tmp_path / "my log's.db"
    with RunLog.open(path) as log:
        log.begin_run(logged.identity(), [5])
        log.write(add_label, 1, logged.outcome(5)).result()
        pages = [unescape(client(log).get(page).text) for page in ("/", "/runs/1", "/runs/1/features/5")]
    card = logged.card()
    about = f"--model {card.model} --sae {card.sae} --log {shlex.quote(str(path))}"
    for page in pages:
        command = re.search(r"<code>interpret (score 1.*?)</code>", page)
        assert command is not None
        assert about in command[1]
        assert shlex.split(command[1])[-1] == str(path)


def test_a_run_that_cost_nothing_was_free(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        run = log.begin_run(logged.identity(), [7])
        logged.add_call(log, run.run_id, logged.request(7), logged.answer(cost_usd=0.0))
        assert "free" in Parsed(client(log).get("/").text).text
        assert "$0.00" not in client(log).get("/runs/1").text
        logged.add_call(log, run.run_id, logged.request(7, round=2), logged.answer(cost_usd=0.0125))
        assert "$0.01" in client(log).get("/runs/1").text
