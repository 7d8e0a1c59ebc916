"""A real browser on real pages, for tests and pictures: Debian's Chromium, driven by Playwright, and a server for it.

`python -m tests.browser` installs the browser where it is missing and can be had; `make test` calls that. Without one
the tests that need it are skipped, unless INTERPRET_BROWSER=required.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from starlette.applications import Starlette

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TOKEN = "browser-token"
GRAVE = ("serious", "critical")
"""What accessibility findings are not tolerated."""

Scheme = Literal["light", "dark"]


def chromium() -> str | None:
    """Returns where the browser is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install() -> str | None:
    """Tells why there is no browser; None where there is one now. Debian's package, which root alone can install."""
    if chromium():
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "no Chromium here, and only root on Debian or Ubuntu can install it with apt-get"
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu"]):
        run = subprocess.run(
            ["apt-get", *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            return f"apt-get {command[0]} failed: {run.stderr.strip()[-300:]}"
    return None if chromium() else "apt-get installed no Chromium"


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser; skips the test where there is none."""
    path = chromium()
    if path is None:
        if os.environ.get("INTERPRET_BROWSER") == "required":
            pytest.fail("INTERPRET_BROWSER=required, but there is no Chromium; python -m tests.browser installs it.")
        pytest.skip("no Chromium; python -m tests.browser installs it")
    with sync_playwright() as playwright:
        # Root needs --no-sandbox; small containers have little shared memory.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The application on a port of its own; its address, without a slash at the end."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@contextmanager
def opened(
    browser: Browser, address: str, width: int = 1280, scheme: Scheme = "light", refusal: str = "", **kwargs: Any
) -> Iterator[Page]:
    """A page that has been let in; an error of a script, or one that the browser reports, fails the test.

    `refusal` is a status that the test provokes, which the browser reports too.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **kwargs)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(_words(message)) if message.type == "error" else None)
    page.goto(f"{address}/?token={TOKEN}")
    try:
        yield page
    finally:
        context.close()
    grave = [fault for fault in faults if not refusal or f"status of {refusal}" not in fault]
    assert not grave, grave


def _words(message: ConsoleMessage) -> str:
    return f"{message.text} ({message.location['url']})"


def findings(page: Page) -> list[str]:
    """Returns what axe-core finds wrong that is serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


if __name__ == "__main__":
    reason = install()
    print(f"browser     {chromium() or f'none, its tests will be skipped: {reason}'}")
