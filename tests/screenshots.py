"""Pictures of every page of a log, to be looked at: wide and narrow, light and dark.

`python -m tests.screenshots OUT --log demo.db` writes OUT/PAGE-WIDTH-SCHEME.png; with `--subject demo` the explore page
too. Those of the README are `--feature 37 --height 1100 --subject demo`. Sections that the docs show alone are pictures
of their own: what the explainer tested, a text that is typed into the box, two features, the layers.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import get_args
from urllib.parse import urlencode

import click
from playwright.sync_api import Browser, FloatRect, Page

from agent.log.calls import calls_of
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.web.server import make_app
from probes.presets import SubjectSource
from probes.subject import load_subject
from tests.browser import TOKEN, Scheme, install, launched, opened, served

WIDTHS = (1440, 390)
MOST_PX = 6000
MARGIN_PX = 16
TEXT = "The jury found him guilty of robbery and fraud, though he had confessed to perjury and to bribery alone."
SECTIONS = {"tests": "#tests", "typed": "#typed", "beside": "main > .scroll", "layers": "section:has(.by-layer)"}
"""The section that a picture shows, by the picture's name; other pictures show their page."""


def pages(log: RunLog, feature: int | None, has_subject: bool) -> Iterator[tuple[str, str]]:
    """Each page's name and place, about the latest run."""
    run = log.read(chosen_run, None)
    labels = log.read(labels_of, run.run_id, status="labelled") or log.read(labels_of, run.run_id)
    chosen = labels[len(labels) // 2].feature if feature is None else feature
    yield "runs", "/"
    yield "overview", f"/runs/{run.run_id}"
    yield "labels", f"/runs/{run.run_id}/labels"
    yield "feature", f"/runs/{run.run_id}/features/{chosen}"
    yield "call", f"/runs/{run.run_id}/features/{chosen}/calls/{log.read(calls_of, run.run_id, chosen)[0].call_id}"
    yield "tests", f"/runs/{run.run_id}/features/{chosen}"
    yield "layers", f"/runs/{run.run_id}"
    yield "beside", f"/compare/features?run={run.run_id}&one={chosen}&other={labels[0].feature}"
    yield "compare", "/compare"
    if has_subject:
        yield "typed", f"/runs/{run.run_id}/features/{chosen}?{urlencode({'text': TEXT})}"
        yield "explore", f"/explore?feature={chosen}&beside=1&b-weights=decoder"


def shoot(page: Page, address: str, file: Path, most_px: int, section: str | None = None) -> None:
    """Waits until nothing moves any more; of a section that the page lacks there is no picture."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    top, height = 0.0, float(page.evaluate("document.documentElement.scrollHeight"))
    if section is not None:
        box = page.locator(section).bounding_box() if page.locator(section).count() else None
        if box is None:
            return
        top, height = max(box["y"] - MARGIN_PX, 0), box["height"] + 2 * MARGIN_PX
    clip: FloatRect = {"x": 0, "y": top, "width": page.evaluate("innerWidth"), "height": min(height, most_px)}
    page.screenshot(path=file, full_page=True, clip=clip)
    print(file, round(height))


def shoot_all(browser: Browser, address: str, places: list[tuple[str, str]], out: Path, most_px: int) -> None:
    """Every page in every width and scheme."""
    for width, scheme in product(WIDTHS, get_args(Scheme)):
        with opened(browser, address, width, scheme) as page:
            for name, place in places:
                shoot(page, address + place, out / f"{name}-{width}-{scheme}.png", most_px, SECTIONS.get(name))


@click.command()
@click.argument("out", type=Path)
@click.option("--log", "path", type=Path, default=Path("demo.db"), help="The log.  [default: demo.db]")
@click.option("--feature", type=int, help="Whose page; one from the middle of the latest run unless given.")
@click.option("--subject", "name", help="Load it, for the explore page.")
@click.option("--height", type=int, default=MOST_PX, show_default=True, help="Most pixels; what is below is left out.")
def main(out: Path, path: Path, feature: int | None, name: str | None, height: int) -> None:
    """Takes the pictures."""
    if reason := install():
        raise click.ClickException(reason)
    out.mkdir(parents=True, exist_ok=True)
    subject = load_subject(SubjectSource(name=name)) if name else None
    with ExitStack() as stack:
        log = stack.enter_context(RunLog.open(path, read_only=True))
        address = stack.enter_context(served(make_app(log, TOKEN, subject=subject)))
        browser = stack.enter_context(launched())
        shoot_all(browser, address, list(pages(log, feature, subject is not None)), out, height)


if __name__ == "__main__":
    main()
