"""Several SAEs in one command: one model, one pass over a corpus, features addressed as LAYER:INDEX."""

import csv
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.cli.commands import loading
from agent.groups import group_of
from agent.log.calls import spent_by
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from probes.ghost import token_states
from tests.fault_runs import Interpret
from tests.layered import N_FEATURES, layered_options
from tests.llm_script import Reply
from tests.llm_server import LLMServer
from tests.score_commands import said

pytestmark = pytest.mark.usefixtures("own_folder")
LOG, CORPUS = Path("interpret.db"), Path("corpus.txt")
FAST = ("--cutoff", "0.05", "--contrast", "off", "--max-depth", "3")
EXAMPLES = ("--corpus", str(CORPUS), "--tokens", "600", "--context", "32")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return layered_options(tmp_path_factory.mktemp("layered"))


@pytest.fixture(autouse=True)
def corpus(own_folder: None) -> None:  # noqa: ARG001, a folder to write in
    lines = [f"the cat {n} sat on the mat and the dog {n} ran after a ball in the garden" for n in range(40)]
    CORPUS.write_text("\n\n".join(lines), encoding="utf-8")


def rows(query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(LOG)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def only(options: list[str], layer: int) -> list[str]:
    return [option.replace("{layer}", str(layer)) for option in options]


def test_one_command_labels_three_layers_as_three_commands_do(
    interpret: Interpret, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    whole = loading.load_subject
    monkeypatch.setattr(loading, "load_subject", lambda *asked: loaded.append(whole(*asked)) or loaded[-1])
    spec = "1-2,2:5,0:7"
    ran = interpret("--features", spec, *three, "--layers", "0-2", *FAST)
    assert ran.status == 0
    assert len(loaded) == 3
    assert len({id(subject.model) for subject in loaded}) == 1
    found = rows("SELECT run_id, feature, label, status FROM labels ORDER BY run_id, feature")
    assert [row[:2] for row in found] == [(1, 1), (1, 2), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2), (3, 5)]
    assert "8 features of 3 layers" in said(ran.out)
    assert "as runs 1-3; for one feature: interpret show 0:1 --log interpret.db" in said(ran.out)
    for layer, features in enumerate(("1,2,7", "1,2", "1,2,5")):
        alone = Path(f"alone{layer}.db")
        assert interpret("--features", features, *only(three, layer), *FAST, "--log", str(alone)).status == 0
        with RunLog.open(alone, read_only=True) as log:
            own = [(row.feature, row.label, row.status) for row in log.read(labels_of, 1)]
        assert own == [row[1:] for row in found if row[0] == layer + 1]
    again = interpret("--features", spec, *three, "--layers", "0-2", *FAST)
    assert again.out.count("nothing left to do") == 3
    assert rows("SELECT count(*) FROM runs") == [(3,)]
    interpret("--features", "1", *three, "--layers", "0-2", *FAST, "--new")
    with RunLog.open(LOG, read_only=True) as log:
        groups = {tuple(one.run_id for one in group_of(run, log.read(all_runs)).runs) for run in log.read(all_runs)}
    assert groups == {(1,), (2,), (3,), (4, 5, 6)}


def test_the_vocabulary_is_read_once_for_all_layers(
    interpret: Interpret, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    whole = token_states._read
    monkeypatch.setattr(token_states, "folder", lambda: Path("states").absolute())
    monkeypatch.setattr(
        token_states, "_read", lambda some, ids: read.append([one.card.hook for one in some]) or whole(some, ids)
    )
    every = [f"blocks.{layer}.hook_resid_post" for layer in range(3)]
    assert interpret("--features", "1", *three, "--layers", "0-2", *FAST, "--dry-run").status == 0
    assert interpret("--features", "1", *three, "--layers", "0-2", *FAST, "--weights", "encoder").status == 0
    assert read == []
    assert interpret("--features", "1", *three, "--layers", "0-2", *FAST).status == 0
    assert interpret("--features", "2", *three, "--layers", "0-2", *FAST).status == 0
    assert read == [every]


def test_features_are_addressed_by_layer_everywhere(interpret: Interpret, three: list[str]) -> None:
    with LLMServer(
        lambda asked: Reply(f'{{"action": "label", "label": "F{asked.feature}", "confidence": 0.{asked.feature}}}')
    ) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai"), "--rounds", "1"]
        assert interpret("--features", "0:3,2:3,1:5", *three, "--layers", "0-2", *FAST, *asking).status == 0
    listed = said(interpret("log").out)
    assert "1-3 " in listed
    assert "layers 0-2" in listed
    table = interpret("log", "2").out
    assert re.findall(r"^\d+:\d+", table, re.MULTILINE) == ["0:3", "1:5", "2:3"]
    ordered = interpret("log", "1", "--sort", "confidence", "--descending").out
    assert ordered.splitlines()[1].split()[0] == "1:5"
    told = json.loads(interpret("log", "1", "--json").out)
    assert [(row["layer"], row["feature"]) for row in told] == [(0, 3), (1, 5), (2, 3)]
    assert "blocks.2.hook_resid_post" in interpret("show", "2:3").out
    assert "blocks.1.hook_resid_post" in interpret("show", "5").out  # there alone
    refused = interpret("show", "3")
    assert refused.status == 2
    assert "Of which layer is feature 3? Runs 1-3 have layers 0-2; write one of 0:3, 2:3" in said(refused.err)
    assert "no features of layer 9" in said(interpret("show", "9:3").err)
    assert interpret("show", "2:x").status == 2
    again = interpret("replay", "2")
    assert again.status == 0, again.err
    assert "runs 1-3, finished, explainer openai:m" in said(again.out)
    assert "3 identical, 0 different" in said(again.out)
    assert interpret("export", "--to", "out.csv").status == 0
    with Path("out.csv").open(encoding="utf-8") as file:
        assert [(row["layer"], row["feature"], row["label"]) for row in csv.DictReader(file)] == [
            ("0", "3", "F3"),
            ("1", "5", "F5"),
            ("2", "3", "F3"),
        ]
    assert interpret("export", "--to", "out.jsonl", "--features", "2:3").status == 0
    assert [json.loads(line)["layer"] for line in Path("out.jsonl").read_text("utf-8").splitlines()] == [2]
    assert interpret("export", "--to", "out.html").status == 0
    assert 'href="#f2:3"' in Path("out.html").read_text("utf-8")
    np = ("--format", "neuronpedia", "--source", "tiny/{layer}-res", "--method-name", "m", "--model-name", "n")
    assert interpret("export", "--to", "batches", *np).status == 0
    sources = [json.loads(Path(f"batches/batch-{n}.json").read_text("utf-8"))["source"] for n in range(3)]
    assert sources == ["0-res", "1-res", "2-res"]
    with closing(sqlite3.connect(LOG)) as connection, connection:
        connection.execute("UPDATE labels SET label = 'other' WHERE run_id = 2")
    unlike = interpret("replay", "1")
    assert unlike.status == 1
    assert "feature 1:5, label: was 'other', is now 'F5'" in said(unlike.out)


def test_one_pass_gives_each_sae_what_its_own_gives_it(interpret: Interpret, three: list[str]) -> None:
    ran = interpret("examples", "--features", "0-3", *three, "--layers", "0-2", *EXAMPLES)
    assert ran.status == 0
    assert rows("SELECT count(*) FROM corpora") == [(3,)]
    names = [name for (name,) in rows("SELECT name FROM pragma_table_info('examples')")]
    wanted = ", ".join(name for name in names if name not in ("id", "corpus_id", "created"))
    together = [rows(f"SELECT {wanted} FROM examples WHERE corpus_id = {n} ORDER BY id") for n in (1, 2, 3)]
    assert all(together)
    again = interpret("examples", "--features", "0-3", *three, "--layers", "0-2", *EXAMPLES)
    assert "Nothing left to do: examples of all 12 features are in the log" in said(again.out)
    LOG.unlink()
    for layer in range(3):
        interpret("examples", "--features", "0-3", *only(three, layer), *EXAMPLES)
    assert [rows(f"SELECT {wanted} FROM examples WHERE corpus_id = {n} ORDER BY id") for n in (1, 2, 3)] == together


def test_layers_are_scored_together_and_compared(interpret: Interpret, three: list[str]) -> None:
    many = [*three, "--layers", "0,2"]
    interpret("examples", "--features", "0-3", *many, *EXAMPLES)
    with LLMServer(lambda _: Reply('{"action": "label", "label": "cats", "confidence": 0.5}')) as server:
        interpret("--features", "0-3", *many, *FAST, "--llm", "openai:m", "--base-url", server.base_url("openai"))
    ran = interpret("score", *many)
    assert ran.status == 0, ran.err
    heads = [line.split()[:2] for line in ran.out.splitlines()]
    assert ["layer", "scorer"] in heads
    assert {line[0] for line in heads if line[1:] == ["embedding"]} == {"scorers", "0", "2", "all"}
    own = [line.split() for line in ran.out.splitlines() if "the run's label" in line and "held out" in line]
    counted = {words[0]: int(words[-2]) for words in own}
    assert counted["all"] == counted["0"] + counted["2"] > 0
    assert rows("SELECT count(*) FROM scorings") == [(2,)]
    one = interpret("score", "1", *only(three, 2))  # of the two runs the one that is of its layer
    assert one.status == 0
    assert "run 2," in said(one.out)
    assert rows("SELECT count(*) FROM scorings") == [(2,)]


def test_a_budget_is_shared_by_all_layers(interpret: Interpret, three: list[str]) -> None:
    with LLMServer(lambda _: Reply('{"action": "label", "label": "x", "confidence": 0.5}')) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai"), "--rounds", "1"]
        many = ["--features", "0-1", *three, "--layers", "0-2", *FAST, *asking, "--no-cache"]
        assert interpret(*many, "--log", "free.db").status == 0
        with RunLog.open(Path("free.db"), read_only=True) as log:
            each = [log.read(spent_by, run.run_id).tokens for run in log.read(all_runs)]
        n_before = len(server.history)
        budget = ["--budget-tokens", str(each[0] + each[1] + 9000)]
        stopped = interpret(*many, *budget, "--answer-tokens", "4096")
        assert stopped.status == 1
        assert len(server.history) - n_before < 6
        with RunLog.open(LOG, read_only=True) as log:
            assert sum(log.read(spent_by, run.run_id).most_tokens for run in log.read(all_runs)) <= int(budget[1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--layers", "0-2", "--features", "3:1"], "names features of layer 3; SAEs are given for layers 0, 1, 2"),
        (["--layers", "0-2", "--features", f"1:{N_FEATURES}"], f"Feature {N_FEATURES} is out of range"),
        (["--layers", "x", "--features", "1"], "--layers 'x' are no layers; write them as 0-25 or 3,8,12"),
        (["--features", "1"], "is one SAE of each layer; say of which ones, as --layers 0-25"),
        (["--layers", "1,1", "--features", "1", "--sae", "{folder}/sae-1"], "Two SAEs are given for layer 1"),
        (["--layers", "1", "--features", "0:1"], "names features of layer 0, and the SAE that is read is of layer 1"),
        (["--layers", "0-7", "--features", "1"], "sae-3"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    interpret: Interpret, three: list[str], options: list[str], says: str
) -> None:
    folder = str(Path(three[-1]).parent)
    ran = interpret(*three, *(option.replace("{folder}", folder) for option in options), *FAST)
    assert ran.status == 2
    assert says in said(ran.err)


def test_layers_without_a_place_for_them_are_refused(interpret: Interpret, three: list[str]) -> None:
    ran = interpret("--features", "1", *only(three, 1), "--layers", "0-1")
    assert ran.status == 2
    assert "say where their layer stands in their names" in said(ran.err)
    imported = interpret("examples", "--features", "1", *three, "--layers", "0-1", "--import", "x.jsonl")
    assert "--import reads files about one SAE" in said(imported.err)
