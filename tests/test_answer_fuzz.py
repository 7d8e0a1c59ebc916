"""Anything at the door of answers: never an error that is not handled, never a label but that of the final answer.

A few seconds; `FUZZ=2000` draws so many inputs of each kind instead.
"""

import asyncio
import gzip
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.llm import make_explainer
from agent.llm.base import Answer, AnswerForm, CallFault, Request
from agent.llm.parsing import UnusableAnswer, parsed
from agent.schema import Proposal, is_visible
from eval.scorers.simulation import PredictedActivations
from eval.scorers.verdicts import TextVerdicts
from eval.scoring.controls import OneShotLabel
from probes.settings import Value
from tests.llm_script import Reply
from tests.llm_server import LLMServer

PROVIDERS = ("anthropic", "openai")
N = int(os.environ.get("FUZZ", "0"))
quick = settings(max_examples=N or 100, deadline=None, derandomize=not N)
wired = settings(
    max_examples=N or 40, deadline=None, derandomize=not N, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
REQUEST = Request(7, 1, "explain", 0, "Read.", "# Feature 7 of 9\nRound 1 of 1.", "explain", "ab" * 32, {})

PAIRS = [
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "THOUGHT", "reasoning", "seed:think", "analysis")),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<unused94>", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]
MARKS = [mark for pair in PAIRS for mark in pair]
FINAL = "the final label"


def proposal(label: str) -> str:
    return Proposal(action="label", label=label, explanation="It says so.", confidence=0.5).model_dump_json()


FINAL_VALUE = Proposal.model_validate_json(proposal(FINAL))


def said(text: str, schema: type[Value]) -> Value | None:
    """The value of a text; None where it is unusable, which is told in a sentence."""
    try:
        return parsed(text, schema)
    except UnusableAnswer as error:
        told = str(error)
    assert 0 < len(told) < 500
    return None


plain = st.text(alphabet=st.characters(exclude_characters="{}<>[]◁▷&", exclude_categories=["Cs"]), max_size=30)
rejected = st.builds(proposal, plain.map(lambda text: f"a draft {text}"))
loose = st.sampled_from(
    ["{", "}", '{"action": "la', "{x}", '{"a": 1}', "```json\n", "\n", "'", '"', "final answer: ", "null"]
)
piece = st.one_of(plain, rejected, rejected, loose, st.sampled_from(MARKS))
jumble = st.lists(piece, max_size=12).map("".join)


@st.composite
def thought(draw: st.DrawFn) -> str:
    """Reasoning in marks of one kind, perhaps with more of it within."""
    opens, closes = draw(st.sampled_from(PAIRS))
    inner = draw(st.lists(st.one_of(plain, rejected), max_size=4))
    if "channel|>" not in closes and draw(st.booleans()):
        inner.insert(0, draw(thought()))
    return opens + "".join(inner) + closes


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from([*Proposal.model_fields, *TextVerdicts.model_fields, "number", "fits", "activations"])
shaped = st.dictionaries(names, anything | st.sampled_from(["label", "abstain", "probe"]), max_size=7).map(json.dumps)
schemas = st.sampled_from([Proposal, TextVerdicts, PredictedActivations, OneShotLabel])


@quick
@given(
    st.lists(thought(), max_size=3), st.sampled_from(["{}", "\n```json\n{}\n```", "\n\n{}\n", "<answer>{}</answer>"])
)
def test_whatever_was_thought_the_final_answer_is_read(thoughts: list[str], frame: str) -> None:
    text = "".join(thoughts) + frame.replace("{}", proposal(FINAL))
    assert parsed(text, Proposal).label == FINAL


@quick
@given(jumble, jumble)
def test_no_label_but_that_of_the_final_answer_is_ever_taken(before: str, after: str) -> None:
    for text in (f"{before}\n{proposal(FINAL)}", f"{before}</think>\n{proposal(FINAL)}"):
        assert said(text, Proposal) in (None, FINAL_VALUE)
    with pytest.raises(UnusableAnswer):  # a draft alone, whatever stands around it, in reasoning that does not end
        parsed(f"{before}<think>{after.replace('</', '').replace('<|', '')}<think><think>{proposal(FINAL)}", Proposal)


@quick
@given(st.text(max_size=200) | jumble | shaped | anything.map(json.dumps), schemas)
def test_anything_gives_a_value_or_a_sentence(text: str, schema: type[Value]) -> None:
    value = said(text, schema)
    assert value is None or isinstance(value, schema)
    if isinstance(value, Proposal) and value.action == "label":
        assert is_visible(value.label)
        assert type(value.confidence) is float


class Desk:
    """An explainer of one provider in an event loop of its own, and the server that it asks."""

    def __init__(self, server: LLMServer, provider: str) -> None:
        self.server = server
        self.explainer = make_explainer(f"{provider}:model-a", server.base_url(provider), timeout_s=20)
        self.runner = asyncio.Runner()

    def asked(self, reply: Reply) -> Answer:
        self.server.script = lambda _: reply
        answer = self.runner.run(self.explainer.answer(REQUEST, AnswerForm.TEXT))
        assert (answer.value is None) == (answer.exchange.fault is not None) == (answer.exchange.error is not None)
        return answer

    def close(self) -> None:
        self.runner.run(self.explainer.close())
        self.runner.close()


@pytest.fixture(scope="module")
def desks() -> Iterator[dict[str, Desk]]:
    with LLMServer() as server:
        desks = {provider: Desk(server, provider) for provider in PROVIDERS}
        yield desks
        for desk in desks.values():
            desk.close()


@st.composite
def bodies(draw: st.DrawFn) -> Reply:
    """A response of any status, its body of the protocol's shape, of another, or of none."""
    message = st.fixed_dictionaries({}, optional={"content": anything, "refusal": anything, "reasoning": anything})
    choice = st.fixed_dictionaries({}, optional={"message": message | anything, "finish_reason": anything})
    block = st.fixed_dictionaries({}, optional={"type": st.just("text") | anything, "text": anything})
    body: st.SearchStrategy[Any] = st.fixed_dictionaries(
        {},
        optional={
            "choices": st.lists(choice | anything, max_size=2) | anything,
            "content": st.lists(block | anything, max_size=3) | anything,
            "usage": anything,
            "model": anything,
            "error": anything,
            "stop_reason": anything,
        },
    )
    raw = draw(st.binary(max_size=80) | body.map(json.dumps).map(str.encode) | anything.map(json.dumps).map(str.encode))
    zipped = draw(st.booleans())
    headers = {"Content-Encoding": "gzip"} if zipped else {}
    charset = draw(st.sampled_from(["utf-8", "utf-16", "punycode", "idna", "no-such"]))
    headers["Content-Type"] = f"application/json; charset={charset}"
    sound = draw(st.booleans())
    return Reply(
        status=draw(st.sampled_from([200, 200, 200, 204, 302, 400, 404, 418, 429, 500, 599])),
        raw=gzip.compress(raw) if zipped and sound else raw,
        headers=headers,
    )


@pytest.mark.parametrize("provider", PROVIDERS)
@wired
@given(reply=bodies())
def test_whatever_a_server_sends_is_an_answer_or_a_fault(desks: dict[str, Desk], provider: str, reply: Reply) -> None:
    exchange = desks[provider].asked(reply).exchange
    assert exchange.fault is None or exchange.fault in [*CallFault]


@pytest.mark.parametrize("provider", PROVIDERS)
@wired
@given(thoughts=st.lists(thought(), max_size=2), text=jumble | shaped, final=st.booleans())
def test_what_a_model_says_is_read_on_the_wire_as_it_is_in_the_hand(
    desks: dict[str, Desk], provider: str, thoughts: list[str], text: str, final: bool
) -> None:
    text = "".join(thoughts) + (proposal(FINAL) if final else text)
    value = desks[provider].asked(Reply(text)).value
    assert value == FINAL_VALUE or not final
    assert value == said(text, Proposal)
