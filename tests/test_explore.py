"""The explore page: controls made from settings, evidence as it comes, what is kept, what is refused."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest
from starlette.testclient import TestClient

from agent.log.evidence import evidence_rounds
from agent.log.examples import add_collected, begin_corpus
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run, latest_run
from agent.web import device as devices
from agent.web.device import COARSE_CUTOFF, LEVELS, Device, device_of
from agent.web.explore import controls as made
from agent.web.explore.controls import ParsedQuery, ProbeQuery, asked, controls, groups, query_of
from agent.web.explore.keeping import exploration, keep
from agent.web.trees import drawing
from probes import probe
from probes.evidence import ProbeRequest, Tree
from probes.examples import Activity, Example, FeatureExamples
from probes.probe import run_probes
from probes.settings import ProbeSettings, Value
from probes.subject import Subject
from tests import logged
from tests.feature_log import client, read, side, write_log

FINE = "cutoff=0.002"
OFF = {"contrast": "off"}
FIELDS = ("input", "select", "textarea")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_log(tmp_path / "l.db")
    return tmp_path / "l.db"


@pytest.fixture
def visitor(path: Path, subject: Subject) -> Iterator[TestClient]:
    with client(path, subject=subject) as visitor:
        yield visitor


def own(visitor: TestClient) -> dict[str, str]:
    """Returns what a browser says when a page of ours writes."""
    return {"Origin": str(visitor.base_url), "Sec-Fetch-Site": "same-origin"}


def stream(visitor: TestClient, query: str) -> list[dict[str, Any]]:
    answer = visitor.get(f"/explore/evidence?{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_every_setting_has_a_control_and_its_default(subject: Subject) -> None:
    found = {control.key: control for control in controls(subject.card)}

    fields = [name for part in groups().values() for name in part.model_fields if name != "adapter"]
    assert [control.field for control in found.values()] == fields
    assert len(found) == len(fields)
    assert found["centroid"].kind == "switch"
    assert found["cutoff"].default == "0.005"
    assert found["scale"].default == f"{subject.card.default_scale:.4g}"
    assert found["pca"].default == "0"


def test_a_setting_that_is_new_gets_a_control(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> None:
    class Steering(Value):
        strength: float | None = None
        where: Literal["last", "all"] = "last"
        layers: tuple[int, ...] = ()

    monkeypatch.setattr(made, "groups", lambda: {"steering": Steering})
    strength, where, layers = controls(subject.card)

    assert (strength.kind, strength.default) == ("number", "")
    assert (where.kind, where.choices, where.default) == ("choice", ("last", "all"), "last")
    assert layers.kind == "text"
    query = {"feature": "1", "strength": "x", "layers": "1, b"}
    assert list(asked(query, subject.card).errors) == ["strength", "layers"]


def test_a_query_stands_for_settings(subject: Subject) -> None:
    query = {
        "feature": "7",
        "weights": "blend:0.3",
        "scale": "2",
        "centroid": "false",
        "pca": "0.1, 0.05",
        "top-k": " 3 ",
    }
    found = asked(query, subject.card)

    expected = {
        "vector": {"weights": "blend:0.3", "scale": 2, "centroid": False, "pca": (0.1, 0.05)},
        "tree": {"top_k": 3, **OFF},
    }
    assert found == ParsedQuery(ProbeQuery(7, ProbeSettings.parse(expected)), {})
    plain = asked({"feature": "7", "scale": ""}, subject.card)
    assert plain == ParsedQuery(ProbeQuery(7, ProbeSettings.parse({"tree": OFF})), {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", "abc"),
        ("scale", "-1"),
        ("scale", "nan"),
        ("weights", "both"),
        ("pca", "0.9,0.9"),
        ("prompt", "no ghost"),
        ("cutoff", "1e-9"),
        ("cutoff", "0"),
        ("top-k", "2.5"),
        ("top-n", "100000"),
        ("centroid", "perhaps"),
        ("exponent", "\ud800"),
        ("feature", "24"),
        ("feature", "@/etc/passwd"),
        ("feature", "-1"),
        ("feature", "9" * 400),
        ("feature", ""),
    ],
)
def test_a_value_that_cannot_be_used_is_one_sentence_beside_its_control(subject: Subject, key: str, value: str) -> None:
    found = asked({key: value, "feature": "0"} | {key: value}, subject.card)

    assert list(found.errors) == [key]
    assert found.errors[key].endswith(".")
    assert "\n" not in found.errors[key]
    assert found.question is None


def test_no_file_is_opened_that_a_query_names(subject: Subject) -> None:
    assert "adapter" not in {control.key for control in controls(subject.card)}
    assert asked({"feature": "1", "adapter": "/etc/passwd"}, subject.card) == asked({"feature": "1"}, subject.card)


def test_settings_that_do_not_go_together_are_told_at_one_of_them(subject: Subject) -> None:
    found = asked({"feature": "1", "strength": "3"}, subject.card)

    assert list(found.errors) == ["strength"]
    assert asked({"feature": "1", "strength": "3", "steer": "add"}, subject.card).question is not None


def test_every_fault_is_told_at_once(visitor: TestClient) -> None:
    answer = visitor.get("/explore/evidence?feature=x&scale=y&cutoff=z")

    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == ["scale", "cutoff", "feature"]


def test_evidence_comes_as_the_probes_give_it_and_the_tree_grows_level_by_level(
    visitor: TestClient, subject: Subject
) -> None:
    tokens, projection, *trees = stream(visitor, "feature=3&weights=decoder&cutoff=0.0005")
    settings = ProbeSettings.parse({"vector": {"weights": "decoder"}, "tree": {"cutoff": 0.0005, "contrast": None}})
    (whole,) = run_probes(subject, [ProbeRequest("tree", 3, settings)])
    assert isinstance(whole, Tree)

    assert tokens["tokens"]
    assert projection["raised"]
    usual = settings.tree.max_depth
    assert [piece["depth"] for piece in trees] == [*LEVELS, usual, usual]
    assert [piece["tree"]["cutoff"] for piece in trees] == [COARSE_CUTOFF] * (len(LEVELS) + 1) + [0.0005]
    assert [piece["last"] for piece in trees] == [False] * (len(trees) - 1) + [True]
    sizes = [piece["tree"]["n_nodes"] for piece in trees]
    assert sizes == sorted(sizes)
    assert trees[-1]["tree"] == drawing(whole)
    assert trees[-1]["tree"]["settings"] == f"decoder, scale {subject.card.default_scale:.4g}"


def test_no_tree_is_grown_twice_where_the_coarse_one_is_what_is_asked_for(visitor: TestClient) -> None:
    trees = stream(visitor, "feature=3&cutoff=0.01&max-depth=4")[2:]

    assert [(piece["depth"], piece["last"]) for piece in trees] == [(1, False), (2, False), (4, True)]


def test_what_was_shown_is_kept_drawn_and_shown_again_without_computing(
    monkeypatch: pytest.MonkeyPatch, visitor: TestClient
) -> None:
    query = f"feature=3&weights=blend:0.4&{FINE}"
    shown = stream(visitor, query)
    monkeypatch.setattr(probe, "run_probes", lambda *_: pytest.fail("probed again"))

    assert visitor.post(f"/explore/keep?{query}", headers=own(visitor)).json()["is_new"]
    again = stream(visitor, query)
    assert again == [*shown[:2], shown[-1]]
    assert "<svg" in visitor.get(f"/explore/tree.svg?{query}").text


def test_of_many_answers_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> None:
    monkeypatch.setattr(devices, "_REMEMBERED", 1)
    coarse = ProbeSettings.parse({"tree": {"cutoff": 0.01, "max_depth": 1, "contrast": None}})
    device = Device(subject)

    async def ask() -> None:
        for feature in (1, 2):
            await device.all_of(feature, coarse)

    asyncio.run(ask())
    assert [feature for feature, _ in device._answers] == [2]


def test_a_tree_is_a_file_of_what_is_drawn(visitor: TestClient) -> None:
    query = f"feature=3&{FINE}"
    most, few = (visitor.get(f"/explore/tree.svg?{query}{least}") for least in ("", "&least=0.2"))
    assert most.headers["content-type"].startswith("image/svg+xml")
    assert len(few.text) < len(most.text)
    assert visitor.get(f"/explore/tree.png?{query}").content.startswith(b"\x89PNG")
    assert visitor.get(f"/explore/tree.svg?{query}&least=nonsense").status_code == 200
    for refused in (f"tree.exe?{query}", "tree.svg?feature=x", f"tree.svg?{query}&scale=abc"):
        assert visitor.get(f"/explore/{refused}").status_code == 404


def test_what_the_log_knows_of_a_feature_stands_beside_it(tmp_path: Path, subject: Subject) -> None:
    path = tmp_path / "l.db"
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(subject=subject.card), [3]).run_id
        log.write(add_label, run_id, logged.outcome(3, label="dogs & <b>wolves</b>")).result()
        corpus_id = log.write(begin_corpus, logged.corpus_identity(subject=subject.card)).result()
        text = Example(3, "activating", "doc", ("see", " hound", " run"), (0.0, 4.0, 1.0), quantile=0)
        found = FeatureExamples(3, Activity(3, 1000, 10, 4.0, (0.0, 1.0, 4.0), (0, 7)), [text], [])
        log.write(add_collected, corpus_id, found, {"doc": "shown"}).result()
    with client(path, subject=subject) as visitor:
        known = read(visitor.get("/explore/about?feature=3").text)
        unknown = read(visitor.get("/explore/about?feature=4").text)
        assert visitor.get("/explore/about?feature=x").status_code == 422

    assert "dogs & <b>wolves</b>" in known.text
    assert known.all("a", href=f"/runs/{run_id}/features/3")
    assert "see hound run" in known.text
    assert "1 % of tokens" in known.text
    assert "not labelled in this log" in unknown.text
    assert "interpret examples --features 4" in unknown.text


def test_settings_become_the_address_that_means_them(subject: Subject) -> None:
    for parts in (
        {"vector": {"weights": "blend:0.3", "scale": 2.5, "centroid": False, "pca": (0.1, 0.05)}, "tree": OFF},
        {"tree": {**OFF, "prompt": "A {ghost} is a", "cutoff": 0.002, "top_k": 3}, "tokens": {"exponent": 2}},
        {"vector": {"scale": subject.card.default_scale}, "tree": {"contrast": 0.05}},
        {"steering": {"mode": "clamp", "strength": 3}, "tree": OFF},
    ):
        settings = ProbeSettings.parse(parts)
        query = query_of(settings, subject.card)
        assert query is not None
        found = asked({"feature": "1", **dict(parse_qsl(query))}, subject.card).question
        assert found is not None
        assert found.settings.vector.scaled(subject.card.default_scale) == settings.vector.scaled(
            subject.card.default_scale
        )
        assert (found.settings.tree, found.settings.tokens) == (settings.tree, settings.tokens)
        assert found.settings.steering == settings.steering


def test_a_fault_found_while_probing_takes_the_place_of_the_rest(visitor: TestClient) -> None:
    pieces = stream(visitor, f"feature=3&max-depth=500&{FINE}")

    assert list(pieces[-1]) == ["error"]
    assert "max_depth" in pieces[-1]["error"]


def test_one_thread_owns_the_subject(monkeypatch: pytest.MonkeyPatch, visitor: TestClient, subject: Subject) -> None:
    threads: set[str] = set()

    def noted(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        return run_probes(*arguments)

    monkeypatch.setattr(probe, "run_probes", noted)
    for feature in (1, 2):
        stream(visitor, f"feature={feature}&{FINE}")

    assert len(threads) == 1
    assert threads.pop().startswith("explore")
    assert device_of(subject) is device_of(subject)


def test_the_page_has_a_field_for_each_setting_on_both_sides(visitor: TestClient, subject: Subject) -> None:
    html = read(visitor.get("/explore").text)
    names = [found.get("name") for tag, found in html.elements if tag in FIELDS and found.get("name")]

    assert names == [control.key for control in controls(subject.card)] * 2
    assert html.all("input", id="feature")[0]["max"] == "23"


def test_without_a_subject_there_is_nothing_to_explore(path: Path) -> None:
    with client(path) as visitor:
        for answer in (
            visitor.get("/explore"),
            visitor.get("/explore/evidence"),
            visitor.post("/explore/keep", headers=own(visitor)),
        ):
            assert answer.status_code == 404
            assert "--subject" in answer.text


def test_what_is_kept_is_evidence_of_a_run_of_its_own(visitor: TestClient, path: Path) -> None:
    first = visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor)).json()
    again = visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor)).json()
    other = visitor.post(f"/explore/keep?feature=3&weights=decoder&{FINE}", headers=own(visitor)).json()
    with RunLog.open(path, read_only=True) as log:
        run = log.read(chosen_run, first["run_id"])
        rounds = log.read(evidence_rounds, run.run_id, 3)

    assert (first["round"], first["is_new"]) == (1, True)
    assert (again["round"], again["is_new"]) == (1, False)
    assert (other["run_id"], other["round"], other["is_new"]) == (run.run_id, 2, True)
    assert (run.kind, run.status, run.features) == ("explore", "finished", "3")
    assert [item.settings.vector.weights for item in rounds[1]] == ["words"] * 3
    page = read(visitor.get(f"/runs/{run.run_id}/features/3").text)
    assert "not labelled in this run" in page.text


def test_exploring_is_not_the_run_that_commands_mean(visitor: TestClient, path: Path) -> None:
    with RunLog.open(path, read_only=True) as log:
        before = log.read(latest_run)
    visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor))
    with RunLog.open(path, read_only=True) as log:
        assert log.read(latest_run) == before


def test_reading_only_keeps_nothing(path: Path, subject: Subject) -> None:
    with client(path, subject=subject, read_only=True) as visitor:
        assert visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor)).status_code == 403


def test_a_run_that_is_being_written_elsewhere_is_one_sentence(
    visitor: TestClient, path: Path, subject: Subject
) -> None:
    kept = keep(path, subject.card, 3, side("encoder"))
    identity = exploration(subject.card)
    with RunLog.open(path) as log:
        assert log.begin_run(identity, [3]).run_id == kept.run_id
        answer = visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor))

    assert answer.status_code == 503
    assert "is being written by another process" in answer.json()["error"]


def test_a_subject_of_the_run_tells_neighbours_by_its_decoder(tmp_path: Path, subject: Subject) -> None:
    path = tmp_path / "l.db"
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(subject=subject.card), [3]).run_id
        log.write(add_label, run_id, logged.outcome(3)).result()
    with client(path, subject=subject) as visitor:
        html = read(visitor.get(f"/runs/{run_id}/features/3").text)

    assert "by decoder cosine, of the loaded subject" in html.text
    assert html.text.count("not in this run") == 8


def test_a_tree_is_compared_with_random_directions_when_asked_and_last(visitor: TestClient) -> None:
    plain = [piece["tree"] for piece in stream(visitor, "feature=3&cutoff=0.01&max-depth=1")[2:]]
    pieces = stream(visitor, "feature=3&cutoff=0.01&max-depth=1&contrast=0.05")[2:]

    assert [tree["lifts"] for tree in plain] == [None]
    assert [piece["tree"]["lifts"] is not None for piece in pieces] == [False, True]
    assert [piece["last"] for piece in pieces] == [False, True]
    assert "random directions" in pieces[-1]["tree"]["badge"]["sentence"]


def test_what_is_to_be_found_is_found_once_and_shown_first(visitor: TestClient) -> None:
    swept, tokens, _, *trees = stream(visitor, "feature=3&weights=encoder&scale=auto&cutoff=0.01")
    (chosen,) = [row["token"].removeprefix("→ ") for row in swept["swept"] if row["token"].startswith("→")]

    assert len(swept["swept"]) > 2
    assert chosen in tokens["caption"]
    assert {piece["tree"]["settings"] for piece in trees} == {chosen}
