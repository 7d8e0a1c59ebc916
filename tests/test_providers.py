"""The real SDKs against a loopback server that speaks both protocols: every form, every fault, one request each."""

import asyncio
import json
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agent.errors import ExplainerError
from agent.llm import make_explainer
from agent.llm.base import Answer, AnswerForm, Bound, CallFault, Explainer, Request, Usage
from agent.llm.faults import pause_s, retry_after_s
from agent.llm.models import DEFAULTS, deprecated_models
from agent.llm.wire import MAX_BYTES
from agent.schema import Proposal
from probes.settings import Value
from tests.fakes import in_loop
from tests.gzip_bomb import gzip_bomb
from tests.llm_script import Asked, Reply, in_turn, labelling
from tests.llm_server import LLMServer

KEY = "planted-4Zq7x9secret"
PROVIDERS = ["anthropic", "openai"]
FORMS = [("anthropic", AnswerForm.SCHEMA), ("anthropic", AnswerForm.TEXT), *(("openai", form) for form in AnswerForm)]
DOG = Proposal(action="label", label="dög", explanation='It says "dog".', confidence=0.5)
GOOD = Reply(DOG.model_dump_json())
REQUEST = Request(
    feature=7,
    round=1,
    purpose="explain",
    item=0,
    system="You read evidence.",
    prompt='# Feature 7 of 600\nRound 1 of 3.\n\n<evidence>\nE1.1 "a \\"dög\\"" 3 %\n</evidence>',
    template="explain",
    template_hash="ab" * 32,
    context={},
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of each provider, and none of its other variables."""
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(
    server: LLMServer,
    provider: str,
    reply: Reply,
    form: AnswerForm | None = None,
    request: Request = REQUEST,
    timeout_s: float = 20.0,
) -> Answer:
    """The answer to one request that is replied to so; it is one request on the wire."""
    server.script = lambda _: reply
    explainer = make_explainer(f"{provider}:model-a", server.base_url(provider), timeout_s=timeout_s)

    async def answered() -> Answer:
        try:
            return await explainer.answer(request, form)
        finally:
            await explainer.close()

    before = len(server.history)
    answer = asyncio.run(answered())
    if reply.delay_s == reply.pace_s == 0:
        server.settle()
        assert len(server.history) == before + 1
    exchange = answer.exchange
    assert (answer.value is None) == (exchange.error is not None) == (exchange.fault is not None)
    assert (exchange.provider, exchange.model, exchange.form) == (provider, "model-a", form or AnswerForm.SCHEMA)
    assert exchange.duration_ms is not None
    assert KEY not in repr(answer)
    return answer


# The forms


@pytest.mark.parametrize(("provider", "form"), FORMS)
def test_a_question_arrives_in_its_form_and_its_answer_comes_back(
    server: LLMServer, provider: str, form: AnswerForm
) -> None:
    answer = ask(server, provider, GOOD, form)
    assert answer.value == DOG
    served = server.history[0]
    asked = served.asked
    assert (asked.form, asked.model) == (form, "model-a")
    assert asked.system.startswith(REQUEST.system)
    assert asked.user.startswith(REQUEST.prompt)
    assert ((asked.system, asked.user) == (REQUEST.system, REQUEST.prompt)) == (form is AnswerForm.SCHEMA)
    assert (asked.feature, asked.round) == (7, 1)
    usage = answer.exchange.usage
    assert (usage.input_tokens, usage.output_tokens) == (served.input_tokens, served.output_tokens)
    assert json.loads(answer.exchange.response)["model"] == answer.exchange.resolved_model == "model-a"
    assert answer.exchange.status == 200
    assert answer.exchange.cost_usd is None


def test_the_schema_is_one_that_both_providers_take(server: LLMServer) -> None:
    def keywords(part: object) -> set[str]:
        if isinstance(part, list):
            return set().union(*map(keywords, part))
        if not isinstance(part, dict):
            return set()
        named = {name for name in ("properties", "$defs") if name in part}
        own = set(part) | set().union(*(keywords(inner) for key in named for inner in part[key].values()))
        return own | set().union(*(keywords(part[key]) for key in set(part) - named))

    for provider in PROVIDERS:
        ask(server, provider, GOOD)
    anthropic, openai = (served.asked.body for served in server.history)
    for schema in (
        anthropic["output_config"]["format"]["schema"],
        openai["response_format"]["json_schema"]["schema"],
    ):
        assert set(schema["properties"]) == set(Proposal.model_fields)
        assert schema["additionalProperties"] is False
        assert not keywords(schema) & {"default", "minLength", "maxLength", "minimum", "maximum"}
    assert openai["response_format"]["json_schema"]["strict"] is True
    assert set(openai["response_format"]["json_schema"]["schema"]["required"]) == set(Proposal.model_fields)
    assert anthropic["system"][0]["cache_control"] == {"type": "ephemeral"}


class Verdict(Value):
    title: str
    default: int = 3


@pytest.mark.parametrize(("provider", "form"), FORMS)
def test_the_schema_stands_in_the_text_exactly_where_the_server_is_not_given_it(
    server: LLMServer, provider: str, form: AnswerForm
) -> None:
    ask(server, provider, GOOD, form)
    told = server.history[0].asked.system.removeprefix(REQUEST.system)
    assert (told == "") == (form is AnswerForm.SCHEMA)
    assert not told or json.loads(told[told.index("{") :]) == Proposal.model_json_schema()


def test_any_schema_can_be_asked_for(server: LLMServer, provider: str) -> None:
    request = replace(REQUEST, schema=Verdict)
    assert ask(server, provider, Reply('{"title": "x", "default": null}'), request=request).value == Verdict(title="x")
    body = server.history[0].asked.body
    wanted = body["output_config"]["format"] if provider == "anthropic" else body["response_format"]["json_schema"]
    assert set(wanted["schema"]["properties"]) == {"title", "default"}


def test_effort_and_length_are_asked_for_in_each_providers_words(server: LLMServer) -> None:
    async def answered(provider: str) -> None:
        explainer = make_explainer(f"{provider}:model-a", server.base_url(provider), answer_tokens=77, effort="low")
        await explainer.answer(REQUEST)
        await explainer.close()

    for provider in PROVIDERS:
        asyncio.run(answered(provider))
    server.settle()
    anthropic, openai = (served.asked.body for served in server.history)
    assert (anthropic["max_tokens"], anthropic["output_config"]["effort"]) == (77, "low")
    assert (openai["max_tokens"], openai["reasoning_effort"]) == (77, "low")
    assert not {"store", "prompt_cache_key", "max_completion_tokens"} & set(openai)


def test_openais_own_server_is_asked_to_cache_and_not_to_store(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.llm.openai import OpenAI

    options = OpenAI("gpt-6-luna", answer_tokens=77)._options(REQUEST, AnswerForm.SCHEMA)
    assert options["max_completion_tokens"] == 77
    assert "max_tokens" not in options
    assert options["store"] is False
    assert options["prompt_cache_key"] == REQUEST.template_hash[:32]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://eu.api.openai.com/v1/")
    assert "max_completion_tokens" in OpenAI("gpt-6-luna")._options(REQUEST, AnswerForm.TEXT)


# Usage and cost


def test_cached_tokens_are_among_the_inputs(server: LLMServer, provider: str) -> None:
    answer = ask(server, provider, replace(GOOD, cache_read=100, cache_write=50))
    served = server.history[0]
    assert answer.exchange.usage == Usage(served.input_tokens, served.output_tokens, 100, 50)


def test_usage_that_is_not_told_is_unknown(server: LLMServer, provider: str) -> None:
    answer = ask(server, provider, replace(GOOD, usage=False))
    assert answer.value == DOG
    assert answer.exchange.usage == Usage()
    assert answer.exchange.cost_usd is None


@pytest.mark.parametrize("figure", ["-1", "1e30", '"7"', "true", "null", "[]", "2.5"])
def test_figures_that_cannot_be_are_unknown(server: LLMServer, figure: str) -> None:
    choice = {"message": {"content": DOG.model_dump_json()}, "finish_reason": "stop"}
    usage = f'{{"prompt_tokens": {figure}, "completion_tokens": 3, "total_tokens": {figure}}}'
    answer = ask(server, "openai", Reply(body=f'{{"choices": [{json.dumps(choice)}], "usage": {usage}}}'))
    assert answer.value == DOG
    assert answer.exchange.usage == Usage(None, 3)


def test_reasoning_that_is_only_in_the_total_counts_as_output(server: LLMServer) -> None:
    choice = {"message": {"content": DOG.model_dump_json()}}
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 40}
    answer = ask(server, "openai", Reply(body=json.dumps({"choices": [choice], "usage": usage})))
    assert answer.exchange.usage == Usage(10, 30)


def test_what_is_used_is_within_the_bound(server: LLMServer, provider: str) -> None:
    explainer = make_explainer(f"{provider}:model-a", server.base_url(provider))
    for prompt in ("x", "ö" * 3000, "evidence " * 2000):
        request = replace(REQUEST, prompt=prompt)
        ask(server, provider, GOOD, request=request)
        served = server.history[-1]
        bound = explainer.bound(request)
        assert served.input_tokens + served.output_tokens <= bound.tokens
        assert bound.tokens >= len(prompt.encode()) + 4096
        assert bound.cost_usd is None


def test_the_bound_of_a_priced_model_is_dearer_than_what_it_bounds(provider: str) -> None:
    explainer = make_explainer(provider)
    bound = explainer.bound(REQUEST)
    cost = explainer.cost_usd(Usage(bound.tokens - 4096, 4096))
    assert bound.cost_usd is not None
    assert cost is not None
    assert 0 < cost <= bound.cost_usd


# Faults


@pytest.mark.parametrize("form", [AnswerForm.SCHEMA, AnswerForm.TEXT])
@pytest.mark.parametrize(
    ("reply", "fault", "told"),
    [
        (Reply("slow down", 429), CallFault.TRANSIENT, "HTTP 429: slow down"),
        (Reply("oops", 500), CallFault.TRANSIENT, "HTTP 500: oops"),
        (Reply("overloaded", 529, error_type="overloaded_error"), CallFault.TRANSIENT, "HTTP 529: overloaded"),
        (Reply("", 503, body="<html>busy</html>"), CallFault.TRANSIENT, "HTTP 503"),
        (Reply("wait", 408), CallFault.TRANSIENT, "HTTP 408"),
        (Reply("twice", 409), CallFault.TRANSIENT, "HTTP 409"),
        (Reply("bad key", 401, error_type="authentication_error"), CallFault.FATAL, "HTTP 401: bad key"),
        (Reply("not yours", 403), CallFault.FATAL, "HTTP 403"),
        (Reply("Your input was flagged", 403), CallFault.FINAL, "flagged"),
        (Reply("pay", 402), CallFault.FATAL, "HTTP 402"),
        (Reply("no such model", 404, error_type="not_found_error"), CallFault.FATAL, "HTTP 404"),
        (Reply("Your credit balance is too low to access the API.", 400), CallFault.FATAL, "credit balance"),
        (Reply("Check your plan.", 429, error_type="insufficient_quota"), CallFault.FATAL, "Check your plan."),
        (Reply("Limit.", 400, error_type="billing_hard_limit_reached"), CallFault.FATAL, "Limit."),
        (Reply("Pay.", 403, error_type="billing_error"), CallFault.FATAL, "Pay."),
        (Reply("x is not a valid model ID", 400), CallFault.FATAL, "not a valid model"),
        (Reply("prompt is too long: 300000 tokens", 400), CallFault.FINAL, "too long"),
        (Reply("Too big.", 400, error_type="context_length_exceeded"), CallFault.FINAL, "Too big."),
        (Reply("", 413), CallFault.FINAL, "HTTP 413"),
        (Reply("", 302, {"Location": "http://127.0.0.1:1/"}), CallFault.FATAL, "elsewhere"),
        (Reply("\x1b[31mbad\n" + 9000 * "x", 500), CallFault.TRANSIENT, "HTTP 500: \\x1b[31mbad xx"),
    ],
)
def test_statuses_are_told_apart_by_what_can_be_done(
    server: LLMServer, provider: str, form: AnswerForm, reply: Reply, fault: CallFault, told: str
) -> None:
    exchange = ask(server, provider, reply, form).exchange
    assert (exchange.fault, exchange.status) == (fault, reply.status)
    assert exchange.error is not None
    assert told in exchange.error
    assert "\n" not in exchange.error
    assert len(exchange.error) < 500
    assert exchange.usage == Usage()
    assert exchange.cost_usd is None


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_form_that_is_refused_may_be_the_forms_fault_unless_it_is_the_last(
    server: LLMServer, provider: str, status: int
) -> None:
    faults = {
        form: ask(server, provider, Reply("no", status), form).exchange.fault
        for form in (AnswerForm.SCHEMA, AnswerForm.TEXT)
    }
    assert faults == {AnswerForm.SCHEMA: CallFault.FORM, AnswerForm.TEXT: CallFault.FINAL}


@pytest.mark.parametrize("known", list(AnswerForm))
def test_stepping_down_ends_at_the_form_a_server_knows(server: LLMServer, provider: str, known: AnswerForm) -> None:
    explainer = make_explainer(f"{provider}:model-a", server.base_url(provider))
    for form in explainer.forms:
        answer = ask(server, provider, replace(GOOD, forms=(known, AnswerForm.TEXT)), form)
        if answer.value is not None:
            break
        assert answer.exchange.fault is CallFault.FORM
    assert answer.value == DOG
    assert server.history[-1].asked.form in (known, AnswerForm.TEXT)


def test_a_server_that_breaks_down_over_a_schema_is_asked_in_another_form(server: LLMServer) -> None:
    broken = Reply("failed to parse grammar", 500)
    assert ask(server, "openai", broken, AnswerForm.SCHEMA).exchange.fault is CallFault.FORM
    assert ask(server, "openai", broken, AnswerForm.TEXT).exchange.fault is CallFault.TRANSIENT


def test_the_wait_a_server_asks_for_is_passed_on(server: LLMServer, provider: str) -> None:
    assert ask(server, provider, Reply("", 429, {"Retry-After": "7"})).exchange.retry_after_s == 7
    assert ask(server, provider, Reply("", 429)).exchange.retry_after_s is None
    assert ask(server, provider, replace(GOOD, headers={"Retry-After": "7"})).exchange.retry_after_s is None


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(DOG.model_dump_json(), delay_s=30), "no answer within 0.2 s"),
        (Reply(DOG.model_dump_json(), pace_s=0.02), "no answer within 0.2 s"),
        (replace(GOOD, cut=0), "the connection broke"),
        (replace(GOOD, cut=40), "the connection broke"),
        (replace(GOOD, headers={"Content-Encoding": "gzip"}), "the connection broke"),
        (Reply(body="<html>hello</html>"), "no JSON object"),
        (Reply(body='{"id": "msg'), "no JSON object"),
        (Reply(body=""), "no JSON object"),
        (Reply(body="[]"), "no JSON object"),
        (Reply(body=50_000 * "["), "no JSON object"),
        (Reply(body="{}"), "has no c"),
        (Reply(body='{"choices": [], "content": 3}'), "has no c"),
        (Reply(body='{"choices": {}, "content": {}}'), "has no c"),
    ],
)
def test_whatever_breaks_on_the_way_may_pass(server: LLMServer, provider: str, reply: Reply, told: str) -> None:
    timeout_s = 0.2 if "within" in told else 20.0
    exchange = ask(server, provider, reply, timeout_s=timeout_s).exchange
    assert exchange.fault is CallFault.TRANSIENT
    assert exchange.error is not None
    assert told in exchange.error


def test_how_long_an_answer_is_waited_for_hangs_on_where_the_server_is(server: LLMServer, provider: str) -> None:
    assert vars(make_explainer(provider))["timeout_s"] == 120
    elsewhere = make_explainer(f"{provider}:model-a", server.base_url(provider))
    assert vars(elsewhere)["timeout_s"] == 600
    assert vars(make_explainer(provider, timeout_s=7))["timeout_s"] == 7
    late = Reply(DOG.model_dump_json(), delay_s=0.5)
    exchange = ask(server, provider, late, timeout_s=0.2).exchange
    assert exchange.timed_out
    assert ask(server, provider, late, request=replace(REQUEST, timeout_factor=20.0), timeout_s=0.2).value == DOG
    assert not ask(server, provider, Reply("oops", 500)).exchange.timed_out


def test_what_there_is_of_a_broken_answer_is_kept(server: LLMServer, provider: str) -> None:
    whole = ask(server, provider, GOOD).exchange.response
    broken = ask(server, provider, replace(GOOD, cut=300)).exchange
    assert broken.response
    assert whole.startswith(broken.response)
    assert broken.status == 200


@pytest.mark.parametrize(
    ("reply", "fault", "told"),
    [
        (replace(GOOD, stop="max_tokens"), CallFault.UNUSABLE, "cut off by its length limit of 4096 tokens"),
        (Reply(stop="refusal", refusal="It is unsafe."), CallFault.FINAL, "refused to answer: It is unsafe."),
        (Reply(stop="refusal"), CallFault.FINAL, "the model refused to answer"),
        (Reply(stop="model_context_window_exceeded"), CallFault.FINAL, "context window"),
    ],
)
def test_anthropics_stop_reasons(server: LLMServer, reply: Reply, fault: CallFault, told: str) -> None:
    exchange = ask(server, "anthropic", reply).exchange
    assert exchange.fault is fault
    assert told in str(exchange.error)
    assert exchange.usage.input_tokens == server.history[0].input_tokens


@pytest.mark.parametrize(
    ("reply", "fault", "told"),
    [
        (replace(GOOD, stop="length"), CallFault.UNUSABLE, "cut off by its length limit of 4096 tokens"),
        (replace(GOOD, stop="content_filter"), CallFault.FINAL, "content filter"),
        (Reply(refusal="I cannot."), CallFault.FINAL, "refused to answer: I cannot."),
        (Reply(body='{"error": {"code": 429, "message": "later"}}'), CallFault.TRANSIENT, "later"),
        (Reply(body='{"error": {"code": 402, "message": "pay"}}'), CallFault.FATAL, "pay"),
        (Reply(body='{"error": {"message": "who knows"}}'), CallFault.TRANSIENT, "who knows"),
        (Reply(body='{"error": "who knows"}'), CallFault.TRANSIENT, "who knows"),
        (Reply(body='{"choices": [{"error": {"code": 502, "message": "gone"}}]}'), CallFault.TRANSIENT, "gone"),
    ],
)
def test_openais_finish_reasons_and_errors_that_come_as_success(
    server: LLMServer, reply: Reply, fault: CallFault, told: str
) -> None:
    exchange = ask(server, "openai", reply).exchange
    assert exchange.fault is fault
    assert told in str(exchange.error)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the answer is empty"),
        ("I would say dogs.", "the answer is not JSON"),
        ('{"action": "label", "label": ', "the answer is not JSON"),
        ('{"action": "label", "label": 7}', "label: Input should be a valid string"),
        (2_000_000 * "x", "2,000,000 characters long"),
        (5_000_000 * "x", "longer than 4,000,000 bytes"),
    ],
)
def test_answers_that_are_none(server: LLMServer, provider: str, text: str, told: str) -> None:
    exchange = ask(server, provider, Reply(text)).exchange
    assert exchange.fault is CallFault.UNUSABLE
    assert told in str(exchange.error)


@pytest.mark.parametrize("status", [200, 302, 400])
def test_no_body_is_read_beyond_its_bound_whatever_its_status(server: LLMServer, provider: str, status: int) -> None:
    bomb = Reply(status=status, raw=gzip_bomb(), headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        exchange = ask(server, provider, bomb).exchange
        server.listing = replace(bomb, status=status)
        with suppress(ExplainerError):
            checked(server, provider)
        with pytest.raises(ExplainerError):
            make_explainer(provider, server.base_url(provider))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert exchange.error is not None
    assert len(exchange.response) <= MAX_BYTES
    if status == 200:
        assert "longer than 4,000,000 bytes" in exchange.error
    else:
        assert f"HTTP {status}" in exchange.error


def test_reasoning_that_a_server_keeps_apart_is_no_answer(server: LLMServer) -> None:
    draft = json.dumps({"action": "abstain"})
    beside = {"reasoning_content": draft, "reasoning": draft, "thinking": draft, "content": DOG.model_dump_json()}
    assert ask(server, "openai", Reply(body=json.dumps({"choices": [{"message": beside}]}))).value == DOG
    alone = {"reasoning_content": DOG.model_dump_json(), "content": ""}
    assert "empty" in str(
        ask(server, "openai", Reply(body=json.dumps({"choices": [{"message": alone}]}))).exchange.error
    )
    for kind in ("thinking", "reasoning"):
        parts = [
            {"type": "text", "text": draft},
            {"type": kind, kind: [{"type": "text", "text": draft}], "text": draft},
            {"type": "text", "text": DOG.model_dump_json()},
        ]
        assert (
            ask(server, "openai", Reply(body=json.dumps({"choices": [{"message": {"content": parts}}]}))).value == DOG
        )
        assert ask(server, "anthropic", Reply(body=json.dumps({"content": parts}))).value == DOG


def test_what_a_model_says_keeps_its_words(server: LLMServer, provider: str) -> None:
    label = DOG.model_copy(update={"label": "key=value assignments", "explanation": "As in sk_learn_pipeline."})
    answer = ask(server, provider, Reply(label.model_dump_json()))
    assert answer.value == label
    assert "sk_learn_pipeline" in answer.exchange.response
    server.models = ["hf_model-of-mine"]
    assert checked(server, provider, "hf_model-of-mine") == ""
    error = ask(server, provider, Reply("bad key sk-abcdefghijkl", 500)).exchange
    assert "abcdefghijkl" not in repr(error)


def test_a_server_that_calls_its_text_something_else_is_read_as_utf_8(server: LLMServer, provider: str) -> None:
    reply = Reply("dög", 500, headers={"Content-Type": "application/json; charset=punycode"})
    assert ask(server, provider, reply).exchange.error == "HTTP 500: dög"


def test_content_in_parts_and_reasoning_before_the_answer_are_read(server: LLMServer) -> None:
    parts = [{"type": "text", "text": f"<think>hm {{}}</think>{DOG.model_dump_json()}"}]
    body = json.dumps({"choices": [{"message": {"content": parts}}]})
    assert ask(server, "openai", Reply(body=body)).value == DOG


def test_blocks_that_are_no_text_are_no_answer(server: LLMServer) -> None:
    blocks = [{"type": "reasoning", "text": '{"action": "abstain"}'}, {"type": "text", "text": DOG.model_dump_json()}]
    assert ask(server, "anthropic", Reply(body=json.dumps({"content": [*blocks, 3, None]}))).value == DOG


def test_a_server_that_is_not_there_is_a_fault_too(provider: str) -> None:
    explainer = make_explainer(f"{provider}:model-a", "http://127.0.0.1:1/v1")
    exchange = asyncio.run(explainer.answer(REQUEST)).exchange
    assert exchange.fault is CallFault.TRANSIENT
    assert "no connection" in str(exchange.error)


# Waits


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATE = {"date": format_datetime(NOW, usegmt=True)}
LATER = NOW + timedelta(seconds=9)
SOON = "2026-01-02T03:04:14Z"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": format_datetime(LATER, usegmt=True)}, 9),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=9), usegmt=True)}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_the_wait_in_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s({**DATE, **headers}) == wait_s


ANTHROPIC = "anthropic-ratelimit"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({f"{ANTHROPIC}-requests-remaining": "0", f"{ANTHROPIC}-requests-reset": LATER.isoformat()}, 9),
        ({f"{ANTHROPIC}-requests-remaining": "1", f"{ANTHROPIC}-requests-reset": LATER.isoformat()}, None),
        ({f"{ANTHROPIC}-input-tokens-remaining": "69", f"{ANTHROPIC}-input-tokens-reset": SOON}, 9),
        (
            {f"{ANTHROPIC}-input-tokens-remaining": "70", f"{ANTHROPIC}-input-tokens-reset": SOON},
            None,
        ),
        ({f"{ANTHROPIC}-output-tokens-remaining": "19", f"{ANTHROPIC}-output-tokens-reset": SOON}, 9),
        ({f"{ANTHROPIC}-tokens-remaining": "119", f"{ANTHROPIC}-tokens-reset": "yesterday"}, None),
        ({f"{ANTHROPIC}-tokens-remaining": "119", f"{ANTHROPIC}-tokens-reset": "2026-01-01T00:00:00Z"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h0m1.5s"}, 3601.5),
        ({"x-ratelimit-remaining-tokens": "119", "x-ratelimit-reset-tokens": "1s"}, 1),
        ({"x-ratelimit-remaining-tokens": "120", "x-ratelimit-reset-tokens": "1s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7"}, 7),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1 fortnight"}, None),
        ({"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "1s"}, None),
    ],
)
def test_the_pause_in_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert pause_s({**DATE, **headers}, Usage(100, 20, cache_read_tokens=30)) == wait_s


def test_nothing_left_is_too_little_even_where_usage_is_unknown() -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}
    assert pause_s(headers, Usage()) == 1


def test_a_limit_that_is_used_up_is_passed_on(server: LLMServer, provider: str) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
    assert ask(server, provider, replace(GOOD, headers=headers)).exchange.pause_s == 1


# Keys


def test_a_key_that_a_server_echoes_is_kept_nowhere(server: LLMServer, provider: str) -> None:
    for reply in (
        Reply(f"Incorrect API key provided: {KEY}", 401),
        Reply(body=f"<html>{KEY}</html>", status=500),
        Reply(json.dumps({"action": "label", "label": KEY})),
        Reply(json.dumps({"action": "label", KEY: 1})),
        Reply(body=json.dumps({"model": KEY, "choices": [], "content": [], "error": KEY})),
    ):
        ask(server, provider, reply)  # it searches the answer for the key
    sent = server.history[0].asked.headers
    assert KEY in sent.get("authorization", "") + sent.get("x-api-key", "")


@pytest.mark.parametrize("key", [f"{KEY}\nsecond-line", f"{KEY} x", f"{KEY}ö", f"{KEY}\x07"])
def test_a_key_that_cannot_be_sent_is_one_sentence_without_it(
    provider: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{provider.upper()}_API_KEY"
    monkeypatch.setenv(variable, key)
    with pytest.raises(ExplainerError) as caught:
        make_explainer(provider)
    assert variable in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_key_in_an_http_librarys_error_is_blanked(
    server: LLMServer, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", f"{KEY}\r")
    monkeypatch.setenv(f"{provider.upper()}_CUSTOM_HEADERS", f"X-Gateway: a\r{KEY}")
    explainer = make_explainer(f"{provider}:model-a", server.base_url(provider))
    answer = asyncio.run(explainer.answer(REQUEST))
    assert answer.exchange.fault is CallFault.FATAL
    assert "cannot be sent" in str(answer.exchange.error)
    assert KEY not in repr(answer)
    with pytest.raises(ExplainerError) as caught:
        explainer.check()
    assert KEY not in str(caught.value)


def test_without_a_key_the_variable_and_the_way_without_are_named(
    server: LLMServer, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{provider.upper()}_API_KEY"
    monkeypatch.delenv(variable)
    with pytest.raises(ExplainerError, match=f"{variable}.*offline"):
        make_explainer(provider)
    assert ask(server, provider, GOOD).value == DOG


def test_anthropics_other_variable_will_do(server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    ask(server, "anthropic", GOOD)
    assert server.history[0].asked.headers["authorization"] == f"Bearer {KEY}"


# Addresses, models and the check


def test_the_address_is_shown_without_credentials_and_only_where_it_is_not_the_providers(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"anthropic": "https://api.anthropic.com/", "openai": "https://api.openai.com/v1/"}[provider]
    assert make_explainer(provider).address == ""
    assert make_explainer(provider, own).address == ""
    assert make_explainer(provider).model == DEFAULTS[provider]
    asked = make_explainer(f"{provider}:m", "http://me:hunter2@localhost:8000/v1/?key=x")
    assert asked.address == "http://localhost:8000/v1"
    monkeypatch.setenv(f"{provider.upper()}_BASE_URL", "http://[::1]:9/v1")
    assert make_explainer(f"{provider}:m").address == "http://[::1]:9/v1"


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host", "http://", "http://host:port", "x" * 500, "\x1b["])
def test_a_base_url_that_is_none_is_one_sentence(provider: str, url: str) -> None:
    with pytest.raises(ExplainerError, match="not usable") as caught:
        make_explainer(provider, url)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 250


def checked(server: LLMServer, provider: str, model: str = "model-a") -> str:
    return make_explainer(f"{provider}:{model}", server.base_url(provider)).check()


def test_the_check_asks_for_models_and_never_for_an_answer(server: LLMServer, provider: str) -> None:
    assert checked(server, provider) == ""
    assert server.history == []
    assert [asked.path.partition("?")[0] for asked in server.looked_up] == ["/v1/models"]


def test_a_model_that_another_server_does_not_list_is_a_note(server: LLMServer, provider: str) -> None:
    server.models = ["model-a", "model-b", *(f"m{number}" for number in range(9))]
    note = checked(server, provider, "model-x")
    assert "lists no model 'model-x'; it has model-a, model-b, m0, m1, m2 and 6 more" in note


@pytest.mark.parametrize(
    "listing",
    [
        Reply("", 404),
        Reply("", 405),
        Reply("", 501),
        Reply("", 503),
        Reply(body="<html>"),
        Reply(body="[1]"),
        Reply(body='{"data": [3, {"id": 4}, {}]}'),
    ],
)
def test_a_server_without_a_list_is_fine(server: LLMServer, provider: str, listing: Reply) -> None:
    server.listing = listing
    assert checked(server, provider) == ""


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_stops_the_check(server: LLMServer, provider: str, status: int) -> None:
    server.listing = Reply(f"bad key {KEY}", status)
    with pytest.raises(ExplainerError, match=f"{provider.upper()}_API_KEY.*HTTP {status}: bad key") as caught:
        checked(server, provider)
    assert KEY not in str(caught.value)


def test_a_server_that_is_not_there_stops_the_check(provider: str) -> None:
    with pytest.raises(ExplainerError, match=r"No server answers at http://127\.0\.0\.1:1/v1: no connection"):
        make_explainer(f"{provider}:m", "http://127.0.0.1:1/v1").check()


@pytest.fixture
def own_server(server: LLMServer, provider: str, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    """The loopback server in the place of the provider's own."""
    from agent.llm.anthropic import Anthropic
    from agent.llm.openai import OpenAI

    monkeypatch.setattr(Anthropic if provider == "anthropic" else OpenAI, "own_address", server.base_url(provider))
    server.models = [DEFAULTS[provider], *sorted(deprecated_models(provider))]
    return server


def test_the_providers_own_model_is_checked_by_name(own_server: LLMServer, provider: str) -> None:
    assert make_explainer(provider).check() == ""
    assert own_server.looked_up[0].path == f"/v1/models/{DEFAULTS[provider]}"
    leaving = sorted(deprecated_models(provider))[0]
    assert "announced the end" in make_explainer(f"{provider}:{leaving}").check()
    with pytest.raises(ExplainerError, match=f"has no model '{DEFAULTS[provider]}x'.*{DEFAULTS[provider]}"):
        make_explainer(f"{provider}:{DEFAULTS[provider]}x").check()
    own_server.listing = Reply("busy", 529)
    assert "could not be checked (HTTP 529: busy)" in make_explainer(provider).check()


def test_the_providers_own_models_have_a_cost(own_server: LLMServer, provider: str) -> None:
    own_server.script = lambda _: GOOD
    explainer = make_explainer(provider)
    exchange = asyncio.run(answer_and_close(explainer)).exchange
    assert exchange.cost_usd == explainer.cost_usd(exchange.usage)
    assert exchange.cost_usd


async def answer_and_close(explainer: Explainer) -> Answer:
    try:
        return await explainer.answer(REQUEST)
    finally:
        await explainer.close()


def test_a_server_with_one_model_need_not_be_told_which(server: LLMServer, provider: str) -> None:
    assert make_explainer(provider, server.base_url(provider)).model == "model-a"
    server.models = ["x", DEFAULTS[provider]]
    assert make_explainer(provider, server.base_url(provider)).model == DEFAULTS[provider]
    for models, told in (["x", "y"], "offers x, y"), ([], "lists no models"):
        server.models = models
        with pytest.raises(ExplainerError, match=f"{told}; name one, as in --llm {provider}:MODEL"):
            make_explainer(provider, server.base_url(provider))


def test_explainers_that_there_are_not() -> None:
    with pytest.raises(ExplainerError, match="did you mean anthropic"):
        make_explainer("antropic")
    with pytest.raises(ExplainerError, match="base URL"):
        make_explainer("offline", "http://localhost:1")
    assert make_explainer("offline").bound(REQUEST) == Bound(0, 0.0)


# Many at once


@in_loop
async def test_hundreds_of_requests_are_in_flight_together_in_one_client() -> None:
    count = 200
    gate = Gathering(count)
    with LLMServer(gate) as server:
        for provider in PROVIDERS:
            gate.reset()
            explainer = make_explainer(f"{provider}:model-a", server.base_url(provider), timeout_s=60)
            answers = await asyncio.gather(*(explainer.answer(REQUEST) for _ in range(count)))
            await explainer.close()
            assert all(answer.value == DOG for answer in answers)
            assert gate.most == count


class Gathering:
    """Replies to nobody until `count` have asked, so that all are in flight at one time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lock = threading.Lock()
        self.full = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.most = 0
        self.full.clear()

    def __call__(self, _: Asked) -> Reply:
        with self.lock:
            self.most += 1
            if self.most == self.count:
                self.full.set()
        self.full.wait(30)
        return GOOD


@in_loop
async def test_a_question_that_is_given_up_leaves_the_client_usable(server: LLMServer) -> None:
    server.script = in_turn(Reply(delay_s=30), GOOD)
    explainer = make_explainer("anthropic:model-a", server.url)
    waiting = asyncio.create_task(explainer.answer(REQUEST))
    while not server._times:
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await explainer.answer(REQUEST)).value == DOG
    await explainer.close()


def test_an_explainer_can_be_used_in_one_loop_after_another(server: LLMServer, provider: str) -> None:
    server.script = labelling
    explainer = make_explainer(f"{provider}:model-a", server.base_url(provider))
    for _ in range(2):
        assert asyncio.run(answer_and_close(explainer)).value is not None
