"""Who gets to see pages and to write: token, host, origin, read-only, and what browsers are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from agent.log.labels import labels_of
from agent.log.reviews import reviews_of
from agent.log.run_log import RunLog
from agent.web.guard import known_host
from tests.serving import ORIGIN, OURS, TOKEN, client, scored_log

REVIEW = "/runs/1/features/0/review"
PLACES = ("/", "/runs/1", "/runs/1/labels", "/runs/1/progress", "/static/app.css", "/nowhere", REVIEW)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with scored_log(tmp_path / "log.db", n_labels=4) as found:
        yield found


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=a-tokem", "?token=é\udc80".encode("utf-8", "replace").decode()]
)
def test_nothing_is_shown_without_the_token(log: RunLog, place: str, query: str) -> None:
    answer = client(log, signed_in=False).get(place + query)
    assert answer.status_code == 403
    assert "token" in answer.text


def test_the_token_sets_a_cookie_that_scripts_cannot_read_and_leaves_the_address(log: RunLog) -> None:
    browser = client(log, signed_in=False)
    answer = browser.get(f"/runs/1/labels?status=failed&token={TOKEN}&page=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/1/labels?status=failed&page=1")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert browser.get("/runs/1").status_code == 200


def test_a_browser_sent_here_by_another_page_goes_on_from_a_page_of_ours(log: RunLog) -> None:
    """A redirect would be part of the other page's navigation, which takes no strict cookie along."""
    answer = client(log, signed_in=False).get(f"/runs/1?token={TOKEN}", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert 'content="0;url=/runs/1"' in answer.text
    assert TOKEN not in answer.text


def test_the_token_does_not_lead_to_another_host(log: RunLog) -> None:
    answer = client(log, signed_in=False).get(f"//evil.example/?token={TOKEN}")
    assert not answer.headers.get("location", "").startswith("//")


def test_a_cookie_of_another_server_on_this_machine_is_none_of_ours(log: RunLog) -> None:
    browser = client(log, signed_in=False)
    browser.cookies.set("interpret_000000000000", TOKEN)
    assert browser.get("/").status_code == 403


@pytest.mark.parametrize("place", [*PLACES[:-1], "/runs/99", "/runs/1/labels?min_confidence=7"])
def test_every_answer_tells_the_browser_to_run_nothing_but_our_files(log: RunLog, place: str) -> None:
    for browser in (client(log), client(log, signed_in=False)):
        headers = browser.get(place).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
        assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_a_fault_of_ours_is_a_page_with_the_same_headers(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = client(log)
    quiet = TestClient(browser.app, base_url=ORIGIN, raise_server_exceptions=False, cookies=browser.cookies)
    browser.app.state.site.log.close()  # type: ignore[attr-defined]
    answer = quiet.get("/runs/1")
    assert answer.status_code == 503
    assert "cannot be used" in answer.text
    monkeypatch.setattr(RunLog, "read", _broken)
    answer = quiet.get("/runs/1")
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text
    assert "content-security-policy" in answer.headers
    assert "secret place" not in answer.text


def _broken(*_: object) -> None:
    raise ZeroDivisionError("in a secret place")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8123", "127.0.0.1.evil.example", "", "0x7f.1", "10.0.0.7"),
        *("[::1]evil", "[::1]:80evil", "[::1].evil", "[::1]@evil.example", "[::1", "::1", "[localhost]", "[::1%25lo]"),
        *(
            "localhost@evil.example",
            "evil.example@localhost",
            "a:b@localhost",
            "localhost/x",
            "localhost?x",
            "localhost#x",
        ),
        *("localhost\\evil", "localhost:", "localhost:x", "localhost:99999", "localhost:80:80", "localhost:-1"),
        *(
            "localhost.",
            ".localhost",
            "localhost,evil",
            "localhost evil",
            "127.0.0.1\t",
            "local\xadhost",
            "127.1",
            "127.0.0.1:8\xb2",
        ),
    ],
)
def test_a_foreign_host_is_refused(log: RunLog, host: str) -> None:
    assert client(log).get("/", headers={"Host": host.encode("latin-1")}).status_code == 403


def test_a_second_host_or_origin_is_refused(log: RunLog) -> None:
    quiet = client(log)
    assert quiet.get("/", headers=[("Host", "localhost"), ("Host", "localhost")]).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost:8123", "[::1]:8123", "LOCALHOST"])
def test_this_machine_is_known_by_its_local_names(host: str) -> None:
    assert known_host(host, "127.0.0.1")


def test_a_host_that_was_named_is_known_and_on_every_address_figures_are() -> None:
    assert known_host("gpu7.cluster:80", "gpu7.cluster")
    assert not known_host("gpu8.cluster:80", "gpu7.cluster")
    assert known_host("10.0.0.7:80", "0.0.0.0")
    assert not known_host("evil.example", "0.0.0.0")
    assert not known_host("", "0.0.0.0")
    assert not known_host("[::1", "0.0.0.0")
    assert not known_host("[::1]evil", "::")
    assert known_host("[fe80::1]:80", "::")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8123"},
        {"Origin": "http://127.0.0.1:8124"},
        {**OURS, "Sec-Fetch-Site": "cross-site"},
        {**OURS, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
@pytest.mark.parametrize("place", [REVIEW, "/blind"])
def test_no_other_page_writes(log: RunLog, place: str, headers: dict[str, str]) -> None:
    answer = client(log).post(place, data={"verdict": "accept"}, headers=headers)
    assert answer.status_code == 403
    assert not log.read(reviews_of, [1])


@pytest.mark.parametrize(
    "headers", [OURS, {"Sec-Fetch-Site": "same-origin"}, {**OURS, "Sec-Fetch-Site": "same-origin"}]
)
def test_our_own_pages_write(log: RunLog, headers: dict[str, str]) -> None:
    label = next(row for row in log.read(labels_of, 1) if row.status != "failed")
    place = f"/runs/1/features/{label.feature}/review"
    assert client(log).post(place, data={"verdict": "accept"}, headers=headers).status_code == 303
    assert len(log.read(reviews_of, [label.label_id])) == 1


def test_a_write_needs_the_cookie_whatever_the_address_says(log: RunLog) -> None:
    answer = client(log, signed_in=False).post(f"{REVIEW}?token={TOKEN}", data={"verdict": "accept"}, headers=OURS)
    assert answer.status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_read_only_refuses_every_write(log: RunLog, method: str) -> None:
    for place in (REVIEW, "/blind", "/"):
        assert client(log, read_only=True).request(method, place, headers=OURS).status_code == 403
    assert client(log, read_only=True).get("/runs/1").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["../server.py", "%2e%2e/server.py", "..%2fserver.py", "%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml", "//etc/passwd",
     "..\\server.py", "/etc/passwd", "%00"],
)  # fmt: skip
def test_static_serves_its_own_folder_only(log: RunLog, path: str) -> None:
    answer = client(log).get(f"/static/{path}")
    assert answer.status_code == 404
    assert "import" not in answer.text
