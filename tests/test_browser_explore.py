"""The explore page in a real browser: redrawn as controls move, shared by its address, two settings side by side."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from agent.log.evidence import evidence_rounds
from agent.log.run_log import RunLog
from agent.web.server import make_app
from probes.subject import Subject
from tests.browser import TOKEN, Scheme, findings, opened, served
from tests.feature_log import write_log

QUICK = "cutoff=0.002"
DONE = re.compile(r"nodes of at least 0\.20%, in ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_log(tmp_path / "l.db")
    return tmp_path / "l.db"


@pytest.fixture
def address(path: Path, subject: Subject) -> Iterator[str]:
    with RunLog.open(path, read_only=True) as log, served(make_app(log, TOKEN, subject=subject)) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.goto(f"{address}/explore?feature=3&{QUICK}")
        expect(page.locator("[data-side=a] .state")).to_have_text(DONE)
        yield page


def caption(page: Page, side: str = "a") -> str:
    return page.locator(f"[data-side={side}] .caption").inner_text()


def test_a_control_that_moves_redraws_tree_and_list_and_changes_the_address(page: Page) -> None:
    column = page.locator("[data-side=a]")
    before = column.locator(".tokens").inner_text()

    page.get_by_label("weights, slider").first.fill("1000")
    expect(column.locator(".caption")).to_contain_text("decoder, scale")
    expect(page).to_have_url(re.compile("weights=decoder"))
    expect(page.get_by_label("weights", exact=True).first).to_have_value("decoder")
    expect(column.locator(".state")).to_have_text(DONE)
    assert column.locator(".tokens").inner_text() != before
    assert column.locator(".tree-svg .node").count()

    page.get_by_label("weights", exact=True).first.fill("blend:0.3")
    expect(column.locator(".caption")).to_contain_text("blend:0.3, scale")


def test_an_address_brings_a_view_back(browser: Browser, page: Page, address: str) -> None:
    page.get_by_role("button", name="Side by side").click()
    page.locator("#b-scale").fill("1.5")
    expect(page.locator("[data-side=b] .caption")).to_contain_text("decoder, scale 1.5")
    page.keyboard.press("Escape")
    page.keyboard.press("]")
    expect(page).to_have_url(re.compile(r"feature=4&.*b-scale=1\.5"))
    expect(page.locator("[data-side=b] .state")).to_have_text(DONE)
    shared, shown = page.url, (caption(page), caption(page, "b"))

    with opened(browser, address) as other:
        other.goto(shared)
        expect(other.locator("[data-side=b] .state")).to_have_text(DONE)
        expect(other.locator("#feature")).to_have_value("4")
        assert (caption(other), caption(other, "b")) == shown


def test_the_other_side_begins_as_the_opposite(page: Page) -> None:
    weights = page.locator("#a-weights")
    for mine, opposite in (("blend:0.5", "decoder"), ("decoder", "encoder")):
        weights.fill(mine)
        page.get_by_role("button", name="Side by side").click()
        expect(page.locator("#b-weights")).to_have_value(opposite)
        page.get_by_role("button", name="Side by side").click()


def test_back_goes_to_the_view_before_and_a_dragged_slider_is_one_step(page: Page) -> None:
    slider = page.get_by_label("weights, slider").first
    for place in ("300", "600", "1000"):  # moves of one drag: nothing is let go of between them
        slider.evaluate(
            "(it, place) => { it.value = place; it.dispatchEvent(new Event('input', {bubbles: true})); }", place
        )
    expect(page.locator("[data-side=a] .caption")).to_contain_text("decoder, scale")
    page.get_by_role("button", name="Next feature").click()
    expect(page).to_have_url(re.compile("feature=4&weights=decoder"))
    page.go_back()
    expect(page).to_have_url(re.compile("feature=3&weights=decoder"))
    expect(page.locator("#feature")).to_have_value("3")
    page.go_back()
    expect(page.locator("#a-weights")).to_have_value("words")
    expect(page.locator("[data-side=a] .caption")).to_contain_text("words, scale")


def test_weights_that_lie_on_no_way_to_the_decoder_are_left_alone_by_their_slider(page: Page) -> None:
    weights, caption = page.locator("#a-weights"), page.locator("[data-side=a] .caption")
    weights.fill("decoder")
    expect(caption).to_contain_text("decoder, scale")
    weights.fill("vocabulary")
    expect(caption).to_contain_text("vocabulary, scale")
    expect(weights).to_have_value("vocabulary")
    expect(page.locator("[data-side=a] .tokens")).to_contain_text("activate it most when read alone")
    slider = page.get_by_label("weights, slider").first
    slider.evaluate("it => { it.value = 0; it.dispatchEvent(new Event('input', {bubbles: true})); }")
    expect(caption).to_contain_text("encoder, scale")


def test_fields_show_their_defaults_and_what_is_changed_is_marked(page: Page) -> None:
    expect(page.locator("#a-exponent")).to_have_value("1.4")
    expect(page.locator("#a-pca")).to_have_value("0")
    expect(page.locator("[data-side=a] .control.changed")).to_have_count(1)  # the cutoff in the address
    page.locator("#a-exponent").fill("2")
    expect(page.locator("[data-side=a] .control.changed")).to_have_count(2)
    page.get_by_role("button", name="Back to the defaults").first.click()
    expect(page.locator("#a-exponent")).to_have_value("1.4")
    expect(page).not_to_have_url(re.compile("exponent"))


def test_a_prompt_is_chosen_by_name_or_written(page: Page) -> None:
    names = page.get_by_label("prompt, by name").first
    text = page.locator("#a-prompt")
    expect(text).to_have_value("what reads this model's own words best")
    names.select_option("meaning")
    expect(text).to_have_value(re.compile(r"^The meaning of"))
    expect(page).to_have_url(re.compile("prompt=meaning"))
    expect(page.locator("[data-side=a] .caption")).to_contain_text("The meaning of")
    names.select_option("own text …")
    text.fill("A {ghost} is")
    expect(page.locator("[data-side=a] .caption")).to_contain_text("A ▢ is")
    expect(names).to_have_value("")


def test_the_decoder_row_is_shown_once_and_both_trees_begin_on_one_line(page: Page) -> None:
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("[data-side=b] .state")).to_have_text(DONE)
    expect(page.locator(".writes table")).to_have_count(2)
    for part in (".tree-card", ".tokens"):
        tops = [page.locator(f"[data-side={side}] {part}").bounding_box() for side in ("a", "b")]
        assert tops[0] is not None
        assert tops[1] is not None
        assert tops[0]["y"] == tops[1]["y"]


def test_a_fault_moves_nothing(browser: Browser, address: str) -> None:
    with opened(browser, address, refusal="422") as page:
        page.goto(f"{address}/explore?feature=3&{QUICK}")
        expect(page.locator("[data-side=a] .state")).to_have_text(DONE)
        boxes = (
            "['#a-exponent', '.tree-card', '.tokens'].map((at) => document.querySelector(at).getBoundingClientRect().y)"
        )
        before = page.evaluate(boxes)
        page.locator("#a-scale").fill("abc")
        expect(page.locator("#a-scale-fault")).to_be_visible()
        assert page.evaluate(boxes) == before


def test_the_log_says_what_the_feature_is_and_its_picture_can_be_had(page: Page) -> None:
    expect(page.locator("#about h1")).to_have_text("Feature 3")
    expect(page.locator("#texts")).to_contain_text("interpret examples --features 3")
    with page.expect_download() as download:
        page.locator("[data-side=a] [data-form=svg]").click()
    assert download.value.suggested_filename == "feature-3-a.svg"
    assert "<svg" in Path(download.value.path()).read_text("utf-8")


def test_on_a_phone_settings_are_a_sheet_and_sides_are_tabs(browser: Browser, address: str) -> None:
    with opened(browser, address, 390) as page:
        page.goto(f"{address}/explore?feature=3&beside=1&b-weights=decoder&{QUICK}&b-{QUICK}")
        expect(page.locator("[data-side=b] .state")).to_have_text(DONE)
        expect(page.locator(".shown[data-side=a]")).to_be_hidden()
        expect(page.locator("#b-weights")).to_be_hidden()
        page.locator(".panel summary").first.click()
        expect(page.locator("#b-weights")).to_have_value("decoder")
        page.get_by_role("button", name="A", exact=True).click()
        expect(page.locator(".shown[data-side=a]")).to_be_visible()
        expect(page.locator(".shown[data-side=b]")).to_be_hidden()
        expect(page.locator("#a-weights")).to_have_value("words")


def test_only_the_side_whose_control_moved_is_asked_for_again(page: Page) -> None:
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("[data-side=b] .state")).to_have_text(DONE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/evidence?" in request.url else None)

    page.locator("#b-exponent").fill("2")
    expect(page.locator("[data-side=b] .tokens")).to_contain_text("exponent 2")
    assert len(asked) == 1
    assert "exponent=2" in asked[0]


def test_a_value_that_cannot_be_used_has_one_sentence_beside_its_control(browser: Browser, address: str) -> None:
    with opened(browser, address, refusal="422") as page:
        page.goto(f"{address}/explore?feature=3&{QUICK}")
        expect(page.locator("[data-side=a] .state")).to_have_text(DONE)
        page.locator("#a-scale").fill("abc")
        expect(page.locator("#a-scale-fault")).to_have_text(re.compile(r"^Setting scale='abc' is not usable: .*\.$"))
        expect(page.locator("#a-scale")).to_have_attribute("aria-invalid", "")
        page.locator("#a-scale").fill("2")
        expect(page.locator("#a-scale-fault")).to_be_hidden()
        expect(page.locator("[data-side=a] .caption")).to_contain_text("scale 2")


def test_a_newer_question_ends_an_older_one(page: Page) -> None:
    held: list[Route] = []
    page.route(re.compile(r"evidence\?feature=5&"), lambda route: held.append(route))

    with page.expect_request(re.compile(r"evidence\?feature=5&")):
        page.locator("#feature").fill("5")
    with page.expect_event("requestfailed", lambda request: "feature=5&" in request.url):
        page.locator("#feature").fill("6")

    expect(page.locator("[data-side=a] .state")).to_have_text(DONE)
    expect(page.locator("[data-side=a][aria-busy]")).to_have_count(0)
    assert len(held) == 1


def test_a_key_keeps_what_is_shown(page: Page, path: Path, address: str) -> None:
    page.keyboard.press("k")
    link = page.locator("[data-side=a] .kept a")
    expect(link).to_have_text("run 3, round 1")
    page.keyboard.press("k")
    expect(page.locator("[data-side=a] .kept")).to_contain_text("In the log already")
    link.click()
    expect(page).to_have_url(f"{address}/runs/3/features/3")
    expect(page.locator(".tree-svg .node").first).to_be_visible()

    with RunLog.open(path, read_only=True) as log:
        assert len(log.read(evidence_rounds, 3, 3)[1]) == 3


def test_trimming_survives_the_next_redraw(page: Page) -> None:
    tree = page.locator("[data-side=a] figure.tree")
    tree.get_by_role("slider").fill("0")
    expect(tree.locator("output")).to_have_text(re.compile(r"^≥ 0\.20%"))

    page.locator("#feature").fill("4")
    expect(page).to_have_url(re.compile("feature=4&"))
    expect(page.locator("[data-side=a] .state")).to_have_text(DONE)
    expect(tree.locator("output")).to_have_text(re.compile(r"^≥ 0\.20%"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_serious_stands_in_the_way(browser: Browser, address: str, width: int, scheme: Scheme) -> None:
    with opened(browser, address, width, scheme, bypass_csp=True) as page:  # axe has styles of its own
        page.goto(f"{address}/explore?feature=3&beside=1&b-weights=decoder&{QUICK}&b-{QUICK}")
        for side in ("a", "b"):
            expect(page.locator(f"[data-side={side}] .state")).to_have_text(DONE)
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
