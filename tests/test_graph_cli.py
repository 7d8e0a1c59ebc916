"""`interpret graph`, end to end on tiny subjects: what is labelled, in which order, what is written and refused."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.calls import following
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.replay import replay
from eval.graphs.graph import read_graph
from eval.scoring.shown_examples import CorpusExamples
from tests import serving
from tests.batch_runs import PACE
from tests.batch_server import BatchServer
from tests.fault_runs import Interpret, subject_options
from tests.graph_files import TOKENS, document, feature_node, link, other_node, write
from tests.llm_script import Asked, Reply
from tests.llm_server import LLMServer
from tests.subjects import sae_config, write_sae

pytestmark = pytest.mark.usefixtures("own_folder")
GRAPH, OUT, LOG = Path("g.json"), Path("out.json"), Path("g.db")
COMMAND = ("graph", str(GRAPH), "--to", str(OUT), "--log", str(LOG))

EARLY, OURS, TWICE = feature_node(0, 3, 1, 0.3), feature_node(1, 7, 2, 0.5), feature_node(1, 7, 4, 0.6)
LATE, BEYOND = feature_node(2, 5, 6, 0.7), feature_node(1, 24, 6, 0.75)
NAMED, DEAD = feature_node(1, 9, 3, 0.8, clerp="mine"), feature_node(1, 23, 3, 0.85)
CROSSED, UNKNOWN = feature_node(1, 4, 3, 0.86, feature=1), other_node("lorsa", "1_8_3", 3)
END = other_node("logit", "4_9_6", 6, clerp='Output " bed"')
NODES = (EARLY, OURS, TWICE, LATE, BEYOND, NAMED, DEAD, CROSSED, UNKNOWN, END)
LINKS = (link(EARLY, OURS, 2.5), link(OURS, LATE, 1.5), link(LATE, END, 0.5), link(TWICE, END, -1.0))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a tiny model of three layers with an SAE at layer 1; its last feature is dead."""
    return subject_options(tmp_path_factory.mktemp("subject"))


@pytest.fixture(scope="module")
def three(subject: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same model with an SAE for each layer."""
    folder, options = tmp_path_factory.mktemp("saes"), [*subject]
    place = options.index("--sae")
    del options[place : place + 2]
    for layer in range(3):
        metadata = {"model_name": "tiny", "hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True}
        options += ["--sae", str(write_sae(folder / str(layer), sae_config(metadata=metadata)))]
    return options


@pytest.fixture
def graph(own_folder: None) -> Path:  # noqa: ARG001, a folder to write in
    return write(GRAPH, document(NODES, LINKS), indent=1)


def rows(query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(LOG)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def clerps() -> dict[str, str]:
    return {node["node_id"]: node["clerp"] for node in json.loads(OUT.read_text(encoding="utf-8"))["nodes"]}


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.usefixtures("graph")
def test_a_graph_comes_back_with_labels_where_there_were_none(interpret: Interpret, subject: list[str]) -> None:
    with LLMServer() as server:
        ran = interpret(*COMMAND, *subject, "--llm", "openai:m", "--base-url", server.base_url("openai"))
    labels = dict(rows("SELECT feature, label FROM labels WHERE status = 'labelled'"))
    assert labels.keys() == {7}
    assert clerps() == {
        "0_3_1": "",
        "1_7_2": labels[7],
        "1_7_4": labels[7],
        "2_5_6": "",
        "1_24_6": "",
        "1_9_3": "mine",
        "1_23_3": "",
        "1_4_3": "",
        "1_8_3": "",
        "4_9_6": 'Output " bed"',
    }
    before = GRAPH.read_text(encoding="utf-8").splitlines()
    after = OUT.read_text(encoding="utf-8").splitlines()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 2
    said = words(ran.out)
    assert "2 features of layers without an SAE here (--sae may be repeated)" in said
    assert "1 feature that the SAE does not have" in said
    assert "1 feature labelled in the file already (--overwrite replaces labels)" in said
    assert "1 whose id, layer, position and feature number do not agree" in said
    assert "1 of an unknown type" in said
    assert "labels at 2 nodes, all else unchanged" in said
    [(status, reason)] = rows("SELECT status, reason FROM labels WHERE feature = 23")
    assert (ran.status, status) == (0, "abstained")  # it is all zeros
    assert reason
    assert "1 feature was looked at and has no label: interpret log 1 --status abstained --log g.db says why" in said


@pytest.mark.usefixtures("graph")
def test_rules_read_no_links_and_give_the_labels_of_any_run(interpret: Interpret) -> None:
    carrots = [feature_node(0, 38, 2, 0.4), feature_node(0, 487, 3, 0.5), feature_node(1, 38, 3, 0.6)]
    write(GRAPH, document(carrots, scan="demo"))
    fast = ["--subject", "demo", "--cutoff", "0.01", "--contrast", "off"]
    assert interpret(*COMMAND, *fast).status == 0
    assert interpret("--features", "38,487", *fast, "--log", "other.db").status == 0
    with RunLog.open(Path("other.db"), read_only=True) as log:
        plain = {row.feature: row.label for row in log.read(labels_of, 1)}
    assert clerps() == {"0_38_2": plain[38], "0_487_3": plain[487], "1_38_3": ""}
    assert json.loads(rows("SELECT settings FROM runs")[0][0])["graph"]["layer"] == 0


@pytest.mark.usefixtures("graph")
def test_layers_are_labelled_late_to_early_and_then_early_to_late(interpret: Interpret, three: list[str]) -> None:
    write(GRAPH, document((EARLY, OURS, LATE, END), LINKS[:3]))
    with LLMServer(
        lambda asked: Reply(f'{{"action": "label", "label": "F{asked.feature}", "confidence": 0.5}}')
    ) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai")]
        assert interpret(*COMMAND, *three, *asking).status == 0
        again = interpret(*COMMAND, *three, *asking)
    asked = [(served.asked.feature, served.asked.user) for served in server.history]
    assert [feature for feature, _ in asked] == [5, 7, 3, 7, 5]  # what 3 is asked again reads the same: from the log
    assert 'labelled "Output \\" bed\\""' in asked[0][1]
    assert ("feature 7 of layer 1" in asked[0][1], 'labelled "F7"' in asked[0][1]) == (True, False)
    assert ('labelled "F5"' in asked[1][1], 'labelled "F3"' in asked[1][1]) == (True, False)
    assert ('labelled "F5"' in asked[3][1], 'labelled "F3"' in asked[3][1]) == (True, True)
    assert clerps() == {"0_3_1": "F3", "1_7_2": "F7", "2_5_6": "F5", "4_9_6": 'Output " bed"'}
    assert again.out.count("nothing left to do") == 6
    with RunLog.open(LOG, read_only=True) as log:
        found = [one for run in log.read(all_runs) for one in asyncio.run(replay(log, run, CorpusExamples))]
    assert [(one.verdict, one.prompts_alike) for one in found] == [("identical", True)] * 6


@pytest.mark.usefixtures("graph")
@pytest.mark.parametrize("wait", [(), ("--wait", "0")])
def test_each_layer_of_each_sweep_goes_in_a_batch(
    wait: tuple[str, ...], interpret: Interpret, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the command is left and begun again, what it asks is what it asks without batches."""
    monkeypatch.setattr(following, "PACE", PACE)
    write(GRAPH, document((EARLY, OURS, LATE, END), LINKS[:3]))

    def script(asked: Asked) -> Reply:
        return Reply(f'{{"action": "label", "label": "F{asked.feature}", "confidence": 0.5}}')

    with BatchServer(script=script) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai"), "--batch", *wait]
        ran = [interpret(*COMMAND, *three, *asking)]
        while ran[-1].status and len(ran) < 12:
            ran.append(interpret(*COMMAND, *three, *asking))
        assert server.history == []
    assert len(ran) == (6 if wait else 1)
    assert all("is in progress at openai (1 questions, " in words(one.out) for one in ran[:-1])
    assert rows("SELECT count(*), min(status), max(status) FROM batches") == [(5, "ended", "ended")]
    assert clerps() == {"0_3_1": "F3", "1_7_2": "F7", "2_5_6": "F5", "4_9_6": 'Output " bed"'}
    prompts = [prompt for (prompt,) in rows("SELECT prompt FROM calls WHERE cached = 0 ORDER BY id")]
    known = [[f"F{number}" for number in (3, 5, 7) if f'labelled "F{number}"' in prompt] for prompt in prompts]
    assert known == [[], ["F5"], ["F7"], ["F3", "F5"], ["F7"]]


def test_batches_need_a_provider_that_has_them(interpret: Interpret, graph: Path, three: list[str]) -> None:
    assert graph
    for options, sentence in (
        (("--batch",), "The offline explainer has no batches"),
        (("--wait", "0"), "--wait is about --batch; add that, or leave this out."),
    ):
        ran = interpret(*COMMAND, *three, *options)
        assert (ran.status, sentence in words(ran.err)) == (2, True)
        assert not LOG.exists()


@pytest.mark.usefixtures("graph")
def test_a_budget_is_for_all_layers_together_and_what_is_labelled_is_written(
    interpret: Interpret, three: list[str]
) -> None:
    """Any one of the six runs would keep within it."""
    write(GRAPH, document((EARLY, OURS, LATE, END), LINKS[:3]))
    label = Reply('{"action": "label", "label": "ours", "confidence": 0.5}')
    with LLMServer(lambda _: label) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai"), "--budget-tokens", "26000"]
        ran = interpret(*COMMAND, *three, *asking)
    assert ran.status == 1
    assert "leaves no room for another call" in words(ran.out)
    assert 1 < len(server.history) < 6
    assert rows("SELECT sum(input_tokens + output_tokens) FROM calls")[0][0] < 26000
    assert clerps()["2_5_6"] == "ours"


@pytest.mark.usefixtures("graph")
def test_top_takes_the_most_influential(interpret: Interpret, three: list[str]) -> None:
    ran = interpret(*COMMAND, *three, "--top", "2", "--dry-run")
    said = words(ran.out)
    assert "to label 2 features, 60% of the influence" in said
    assert "beyond the 2 most influential (--top)" in said
    assert not OUT.exists()


@pytest.mark.usefixtures("graph")
def test_overwrite_takes_labels_that_are_there(interpret: Interpret, subject: list[str]) -> None:
    write(GRAPH, document([NAMED]))
    with LLMServer() as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai")]
        assert interpret(*COMMAND, *subject, *asking).status == 0
        assert (clerps()["1_9_3"], server.history) == ("mine", [])
        assert interpret(*COMMAND, *subject, *asking, "--overwrite").status == 0
    assert clerps()["1_9_3"] == rows("SELECT label FROM labels")[0][0] != "mine"


@pytest.mark.usefixtures("graph")
def test_a_graph_of_other_layers_comes_back_as_it_was(interpret: Interpret, subject: list[str]) -> None:
    write(GRAPH, document([EARLY, LATE, END]))
    ran = interpret(*COMMAND, *subject)
    assert (ran.status, OUT.read_bytes()) == (0, GRAPH.read_bytes())
    assert not LOG.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere.json",), "There is no graph nowhere.json; check the path."),
        ((str(GRAPH), "--to", "no/where.json"), "Nothing can be written to no/where.json: there is no folder no."),
        ((str(GRAPH), "--to", "."), ". is a folder; name a file."),
        ((str(GRAPH), "--top", "0"), "--top"),
    ],
)
@pytest.mark.usefixtures("graph")
def test_bad_input_is_one_sentence(
    interpret: Interpret, subject: list[str], arguments: tuple[str, ...], sentence: str
) -> None:
    write(GRAPH, document([EARLY])) if "." in arguments else None
    ran = interpret("graph", *arguments, *subject, "--log", str(LOG))
    assert ran.status == 2
    assert sentence in words(ran.err)
    assert "Traceback" not in ran.err
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".g")) == []


@pytest.mark.usefixtures("graph")
def test_a_graph_of_an_unknown_model_needs_a_subject_and_a_known_one_does_not(interpret: Interpret) -> None:
    ran = interpret(*COMMAND, "--dry-run")
    assert ran.status == 2
    assert "The graph's metadata name 'tiny', which is not a known subject" in words(ran.err)
    write(GRAPH, document([EARLY], scan="demo"))
    assert "subject demo: 1,536 features" in words(interpret(*COMMAND, "--dry-run").out)


@pytest.mark.usefixtures("graph")
def test_two_saes_of_one_layer_are_refused(interpret: Interpret, subject: list[str]) -> None:
    place = subject[subject.index("--sae") + 1]
    ran = interpret(*COMMAND, *subject, "--sae", place)
    assert ran.status == 2
    assert "Two SAEs are given for layer 1, and features are identified by their layers" in words(ran.err)


def test_hostile_prompts_and_labels_are_printed_as_escapes(interpret: Interpret, subject: list[str]) -> None:
    tokens = ["\x1b[31m", "\u202eevil", "\ud83d", *TOKENS]
    write(GRAPH, document([feature_node(1, 7, 1, 0.5, clerp="")], tokens=tokens))
    ran = interpret(*COMMAND, *subject)
    assert ran.status == 0, ran.err
    assert "\\x1b[31m\\u202eevil" in ran.out
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out


@pytest.mark.usefixtures("graph")
def test_the_page_shows_the_nodes_with_labels_links_and_reasons(interpret: Interpret, three: list[str]) -> None:
    write(GRAPH, document((EARLY, OURS, LATE, DEAD, BEYOND, END), LINKS[:3]))
    label = '{{"action": "label", "label": "F <{}>", "confidence": 0.5}}'

    def reply(asked: Any) -> Reply:
        return Reply(
            '{"action": "abstain", "reason": "nothing"}' if asked.feature == 23 else label.format(asked.feature)
        )

    with LLMServer(reply) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai")]
        ran = interpret(*COMMAND, *three, *asking, "--supernodes")
    assert ran.status == 0, ran.err
    assert "interpret serve --graph out.json --log g.db" in words(ran.out)
    with RunLog.open(LOG, read_only=True) as log:
        last = log.read(all_runs)[-1].run_id
        browser = serving.client(log, graph=read_graph(OUT))
        overview = browser.get(f"/runs/{last}").text
        assert f"/runs/{last}/graph" in overview
        found = browser.get(f"/runs/{last}/graph")
        assert found.status_code == 200
        page = serving.Parsed(found.text)
        assert "F <7>" in page.text
        assert "not looked at by these runs" in page.text  # beyond the SAE
        assert "abstained: nothing" in page.text
        hrefs = [dict(one.attributes).get("href") for one in page.elements]
        assert "#n-2_5_6" in hrefs
        assert any(href and href.endswith("/features/7") for href in hrefs)
        one_layer = browser.get(f"/runs/{last}/graph?layer=2")
        assert 'id="n-2_5_6"' in one_layer.text
        assert 'id="n-1_7_2"' not in one_layer.text
        other = serving.client(log)
        assert other.get(f"/runs/{last}/graph").status_code == 404
        assert "interpret serve --graph GRAPH.json" in other.get(f"/runs/{last}").text
        both = browser.get(f"/compare/features?run={last}&one=5&other=1:7")
        assert both.status_code in (200, 404)
