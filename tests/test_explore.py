"""The explore page: controls made from settings, evidence as it comes, what is kept, what is refused."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from starlette.testclient import TestClient

from agent.runlog import RunLog
from eval.review.device import COARSE_CUTOFFS, device_of
from eval.review.explore import controls as made
from eval.review.explore.controls import Asked, Question, asked, controls, groups
from eval.review.explore.keeping import EXPLORE, keep
from probes import probe
from probes.evidence import ProbeRequest, Tree
from probes.probe import run_probes
from probes.settings import ProbeSettings, Value
from probes.subject import Subject
from tests import logged
from tests.feature_log import client, read, side, write_log

FINE = "cutoff=0.002"
OFF = {"contrast": "off"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_log(tmp_path / "l.db")
    return tmp_path / "l.db"


@pytest.fixture
def visitor(path: Path, subject: Subject) -> Iterator[TestClient]:
    with client(path, subject=subject) as visitor:
        yield visitor


def own(visitor: TestClient) -> dict[str, str]:
    """What a browser says when a page of ours writes."""
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
    assert found["cutoff"].default == "5e-05"
    assert found["scale"].default == f"{subject.card.default_scale:.4g}"


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
    assert found == Asked(Question(7, ProbeSettings.parse(expected)), {})
    plain = asked({"feature": "7", "scale": ""}, subject.card)
    assert plain == Asked(Question(7, ProbeSettings.parse({"tree": OFF})), {})


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


def test_evidence_comes_as_the_probes_give_it_and_the_tree_grows(visitor: TestClient, subject: Subject) -> None:
    tokens, projection, *trees = stream(visitor, f"feature=3&weights=decoder&{FINE}")
    settings = ProbeSettings.parse({"vector": {"weights": "decoder"}, "tree": {"cutoff": 0.002, "contrast": None}})
    (whole,) = run_probes(subject, [ProbeRequest("tree", 3, settings)])
    assert isinstance(whole, Tree)

    assert tokens["tokens"]
    assert projection["raised"]
    assert [piece["tree"]["cutoff"] for piece in trees] == [c for c in COARSE_CUTOFFS if c > 0.002] + [0.002]
    assert [piece["last"] for piece in trees] == [False] * (len(trees) - 1) + [True]
    sizes = [piece["tree"]["n_nodes"] for piece in trees]
    assert sizes == sorted(sizes)
    assert sizes[-1] == whole.n_nodes - 1
    assert trees[-1]["tree"]["settings"] == f"decoder, scale {subject.card.default_scale:.4g}"


def test_the_last_tree_is_the_last_even_where_it_is_no_smaller_than_a_coarse_one(visitor: TestClient) -> None:
    trees = stream(visitor, "feature=3&cutoff=0.01")[2:]

    assert [piece["last"] for piece in trees] == [True]


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
    names = [found.get("name") for tag, found in html.elements if tag in ("input", "select") and found.get("name")]

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
        run = log.run(first["run_id"])
        rounds = log.evidence_rounds(run.run_id, 3)

    assert (first["round"], first["is_new"]) == (1, True)
    assert (again["round"], again["is_new"]) == (1, False)
    assert (other["run_id"], other["round"], other["is_new"]) == (run.run_id, 2, True)
    assert (run.explainer, run.status, run.features) == (EXPLORE, "finished", "3")
    assert [item.settings.vector.weights for item in rounds[1]] == ["encoder"] * 3
    page = read(visitor.get(f"/runs/{run.run_id}/features/3").text)
    assert "not labelled in this run" in page.text


def test_exploring_is_not_the_run_that_commands_mean(visitor: TestClient, path: Path) -> None:
    with RunLog.open(path, read_only=True) as log:
        before = log.latest_run()
    visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor))
    with RunLog.open(path, read_only=True) as log:
        assert log.latest_run() == before


def test_reading_only_keeps_nothing(path: Path, subject: Subject) -> None:
    with client(path, subject=subject, read_only=True) as visitor:
        assert visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor)).status_code == 403


def test_a_run_that_is_being_written_elsewhere_is_one_sentence(
    visitor: TestClient, path: Path, subject: Subject
) -> None:
    kept = keep(path, subject.card, 3, side("encoder"))
    identity = logged.identity(subject=subject.card, settings={}, explainer=EXPLORE, templates={})
    with RunLog.open(path) as log:
        assert log.begin_run(identity, [3]).run_id == kept.run_id
        answer = visitor.post(f"/explore/keep?feature=3&{FINE}", headers=own(visitor))

    assert answer.status_code == 503
    assert "is being written by another process" in answer.json()["error"]


def test_a_subject_of_the_run_tells_neighbours_by_its_decoder(tmp_path: Path, subject: Subject) -> None:
    path = tmp_path / "l.db"
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(subject=subject.card), [3]).run_id
        log.add_label(run_id, logged.outcome(3)).result()
    with client(path, subject=subject) as visitor:
        html = read(visitor.get(f"/runs/{run_id}/features/3").text)

    assert "By decoder cosine, of the loaded subject" in html.text
    assert html.text.count("not in this run") == 8


def test_a_tree_is_compared_with_random_directions_when_asked_and_last(visitor: TestClient) -> None:
    plain = [piece["tree"] for piece in stream(visitor, "feature=3&cutoff=0.01")[2:]]
    pieces = stream(visitor, "feature=3&cutoff=0.01&contrast=0.05")[2:]

    assert [tree["lifts"] for tree in plain] == [None]
    assert [piece["tree"]["lifts"] is not None for piece in pieces] == [False, True]
    assert [piece["last"] for piece in pieces] == [False, True]
    assert "random directions" in pieces[-1]["tree"]["readout"]


def test_what_is_to_be_found_is_found_once_and_shown_first(visitor: TestClient) -> None:
    swept, tokens, _, *trees = stream(visitor, "feature=3&scale=auto&cutoff=0.01")
    (chosen,) = [row["token"].removeprefix("→ ") for row in swept["swept"] if row["token"].startswith("→")]

    assert len(swept["swept"]) > 2
    assert tokens["caption"].startswith(chosen)
    assert [piece["tree"]["settings"] for piece in trees] == [chosen]
