"""The command line with a hosted explainer, end to end: opening lines, dry runs, exit statuses, budgets."""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.llm.anthropic import Anthropic
from agent.llm.base import Usage
from agent.llm.models import DEFAULTS
from agent.llm.openai import OpenAI
from agent.llm.prices import cost_usd
from agent.log.calibrations import Calibration, add_calibration
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from tests.fault_cases import PROVIDERS, always, on
from tests.fault_runs import Interpret, subject_options
from tests.llm_script import Reply
from tests.llm_server import LLMServer

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return subject_options(tmp_path_factory.mktemp("subject"))


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def _asking(server: LLMServer, provider: str = "openai") -> list[str]:
    return ["--llm", f"{provider}:model-a", "--base-url", server.base_url(provider)]


def _rows(query: str) -> list[tuple]:
    connection = sqlite3.connect("interpret.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_opens_with_what_it_will_do_and_ends_with_what_it_used(
    provider: str, interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    ran = interpret("--features", "0-2", *subject, *_asking(server, provider))
    assert ran.status == 0, ran.err
    opening = ran.out.partition("\n\n")[0].splitlines()
    heads = {line.split()[0]: line for line in opening if not line.startswith(" ")}
    assert [*heads] == ["loading", "subject", "base", "explainer", "server", "features", "expected", "log", "run"]
    assert heads["explainer"].split() == ["explainer", f"{provider}:model-a"]
    assert heads["server"].split() == ["server", server.base_url(provider)]
    assert "3 to 6 calls, about" in heads["expected"]
    assert "no price known" in heads["expected"]
    assert len(server.history) == 4
    closing = " ".join(ran.out.split())
    assert "3 features: 3 labelled, 0 abstained, 0 failed" in closing
    assert f"4 calls so far: {sum(server.tokens):,} tokens, cost unknown" in closing
    assert {row[0] for row in _rows("SELECT cost_usd FROM calls")} == {None}


def test_labels_of_a_calibrated_explainer_get_their_probability_as_the_run_ends(
    interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    command = [*subject, *_asking(server)]
    assert " right " not in interpret("--features", "0", *command).out
    with RunLog.open(Path("interpret.db")) as log:
        rate = {"method": "logistic", "intercept": 2.0, "terms": []}
        log.write(
            add_calibration, Calibration(log.read(chosen_run, 1).explainer, "labels of long ago", [], rate, 30, 26, {})
        ).result()
    ran = interpret("--features", "0-2", *command)
    head, *lines = (line.split() for line in ran.out.partition("\n\n")[2].splitlines()[:4])
    assert head[:4] == ["feature", "label", "conf.", "right"]
    assert all("0.88" in line for line in lines)
    assert _rows("SELECT round(probability, 2) FROM probabilities") == [(0.88,)] * 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_has_a_price_is_estimated_added_up_and_kept_within_a_budget_in_dollars(
    provider: str, interpret: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with LLMServer(models=[DEFAULTS[provider]]) as server:
        hosted = {"anthropic": Anthropic, "openai": OpenAI}[provider]
        monkeypatch.setattr(hosted, "own_address", server.base_url(provider))
        monkeypatch.setenv(hosted.key_variables[0], "a-key-for-the-loopback")
        command = ["--features", "0-9", *subject, "--llm", provider, "--concurrency", "2"]
        ran = interpret(*command, "--budget-usd", "0.006")
    opening, _, closing = " ".join(ran.out.split()).partition(" run 1, new ")
    assert "the provider's own" in opening
    assert "never more than $0.006" in opening
    assert re.search(r"tokens, \$0\.\d{4}( to \$0\.\d{4})?; never", opening)
    costs = _rows("SELECT cost_usd, input_tokens, output_tokens FROM calls")
    prices = [cost_usd(provider, "", DEFAULTS[provider], Usage(*tokens, 0, 0)) for _, *tokens in costs]
    assert [cost for cost, *_ in costs] == prices
    spent = sum(cost for cost, *_ in costs)
    assert 0 < spent <= 0.006
    assert f"${spent:,.4f}" in closing
    assert (ran.status, "leaves no room for another call (--budget-usd 0.006:" in closing) == (1, True)


def test_a_dry_run_asks_for_the_models_and_for_nothing_else_and_writes_nothing(
    interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    ran = interpret("--features", "0-2", *subject, *_asking(server), "--dry-run", "--budget-tokens", "90000")
    assert ran.status == 0, ran.err
    assert "never more than 90,000 tokens" in " ".join(ran.out.split())
    assert server.history == []
    assert [asked.path for asked in server.looked_up] == ["/v1/models"]
    assert [*Path.cwd().iterdir()] == []


def test_a_model_that_the_server_does_not_list_is_noted_and_the_server_is_asked_all_the_same(
    interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    server.models = ("model-b", "model-c")
    ran = interpret("--features", "0", *subject, *_asking(server))
    assert (ran.status, "it has model-b, model-c" in " ".join(ran.out.split())) == (0, True)


def test_the_only_model_of_a_server_need_not_be_named(
    interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    ran = interpret("--features", "0", *subject, "--llm", "openai", "--base-url", server.base_url("openai"))
    assert (ran.status, "openai:model-a" in ran.out) == (0, True)
    server.models = ("model-b", "model-c")
    ran = interpret("--features", "0", *subject, "--llm", "openai", "--base-url", server.base_url("openai"))
    assert (ran.status, "model-b, model-c" in ran.err) == (2, True)


def test_a_feature_that_fails_makes_the_status_one_and_is_asked_again_by_the_same_command(
    interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    server.script = on((0, 1), always(Reply(refusal="I would rather not.")))
    command = ["--features", "0-2", *subject, *_asking(server)]
    assert interpret(*command).status == 1
    (row,) = json.loads(interpret("log", "1", "--status", "failed", "--json").out)
    assert (row["feature"], row["reason"]) == (0, "the model refused to answer: I would rather not.")
    asked = len(server.history)
    server.script = always(Reply('{"action": "label", "label": "dog", "confidence": 0.5}'))
    assert interpret(*command).status == 0
    assert len(server.history) == asked + 1
    assert interpret("replay", "1").status == 0


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply("invalid key", 401), "interpret: HTTP 401: invalid key. Run the same command to continue.\n"),
        (Reply("pay first.", 402), "interpret: HTTP 402: pay first. Run the same command to continue.\n"),
    ],
)
def test_a_server_that_turns_everything_down_ends_it_with_one_sentence(
    reply: Reply, sentence: str, interpret: Interpret, subject: list[str], server: LLMServer
) -> None:
    server.script = always(reply)
    ran = interpret("--features", "0-2", *subject, *_asking(server), "--concurrency", "1")
    assert (ran.status, ran.err) == (2, sentence)
    assert len(server.history) == 1
    assert _rows("SELECT fault, status FROM calls, runs") == [("fatal", "unfinished")]


@pytest.mark.parametrize("reply", [Reply("invalid key", 401), Reply("not for you", 403)])
def test_a_key_that_is_refused_for_the_list_of_models_begins_no_run(
    reply: Reply, interpret: Interpret, subject: list[str]
) -> None:
    with LLMServer(listing=reply) as server:
        ran = interpret("--features", "0-2", *subject, *_asking(server))
    assert (ran.status, "refuses the key" in ran.err, ran.err.count("\n")) == (2, True, 1)
    assert server.history == []
    assert not Path("interpret.db").exists()


def test_a_server_that_is_not_there_begins_no_run(interpret: Interpret, subject: list[str]) -> None:
    with LLMServer() as server:
        options = _asking(server)
    ran = interpret("--features", "0-2", *subject, *options)
    assert (ran.status, f"No server answers at {server.base_url('openai')}: " in ran.err) == (2, True)


def test_a_budget_in_tokens_ends_the_run_within_it(interpret: Interpret, subject: list[str], server: LLMServer) -> None:
    command = ["--features", "0-9", *subject, *_asking(server), "--concurrency", "2"]
    ran = interpret(*command, "--budget-tokens", "40000")
    assert ran.status == 1, ran.err
    assert "leaves no room for another call (--budget-tokens 40000:" in " ".join(ran.out.split())
    used = sum(server.tokens)
    assert 0 < used <= 40000
    assert _rows("SELECT sum(input_tokens + output_tokens) FROM calls") == [(used,)]
    n_asked = len(server.history)
    assert interpret(*command, "--budget-tokens", "40000").status == 1
    assert len(server.history) == n_asked  # what was spent before counts
    assert interpret(*command).status == 0


def test_a_budget_in_dollars_needs_a_price(interpret: Interpret, subject: list[str], server: LLMServer) -> None:
    ran = interpret("--features", "0-2", *subject, *_asking(server), "--budget-usd", "1")
    assert (ran.status, "No price is known for model-a" in ran.err, server.history) == (2, True, [])
