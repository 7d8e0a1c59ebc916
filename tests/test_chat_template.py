"""Chat templates are programs that come with models: what they make is transformers', what they take is bounded."""

import json
import resource
import time
from types import SimpleNamespace

import pytest

from probes.errors import SettingsError
from probes.settings import CHATS, TreeSettings
from probes.tokenizer.chat_template import TemplateFailedError, _bound, rendered
from probes.tokenizer.prompt import prompt_text
from tests.subjects import tokenizer

TURNS = [{"role": "user", "content": "What does {ghost} mean?"}]
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def request(template: str) -> str:
    return json.dumps({"conversations": [TURNS], "chat_template": template, "add_generation_prompt": True})


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{{ add_generation_prompt }}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = 7 %}{{ m | tojson }}{% endfor %}{{ ns.n }}",
        "{% for m in messages %}{% generation %}{{ m.content | trim }}{% endgeneration %}{% break %}{% endfor %}",
    ],
)
def test_the_text_is_what_transformers_makes_of_it(template: str) -> None:
    known = tokenizer()
    known.chat_template = template
    name = sorted(CHATS)[0]
    question, beginning = TreeSettings(prompt=name).prompt_text.split("\n")
    turns = [{"role": "user", "content": question}]
    own = known.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompt_text(known, TreeSettings(prompt=name)) == own + beginning


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (ENDLESS, "it takes more than 1 s or 256 MiB"),
        ("{{ 'x' * 10**11 }}", "it takes more than 256 MiB"),
        ("{{ 1/0 }}", "ZeroDivisionError: division by zero"),
        ("{% for i in range(99999999) %}x{% endfor %}", "OverflowError: Range too big"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError: access to attribute '__class__'"),
        ("{{ cycler.__init__.__globals__ }}", "SecurityError"),
        ("{% include '/etc/hostname' %}", "no loader for this environment"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ 'x' * 2000000 }}", "it makes 2,000,000 characters of one line"),
        (r"{{ '\ud800' }}", "UnicodeEncodeError"),
    ],
)
def test_a_template_that_fails_or_takes_too_much_is_said(template: str, says: str) -> None:
    begun = time.monotonic()
    with pytest.raises(TemplateFailedError) as caught:
        rendered(request(template), cpu_s=1, memory=256 * 1024**2)
    assert says in str(caught.value)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("used_s", [0.0, 2.1, 2.9, 3.0])
def test_rendering_has_all_the_seconds_that_it_is_given(monkeypatch: pytest.MonkeyPatch, used_s: float) -> None:
    usage = SimpleNamespace(ru_utime=used_s / 2, ru_stime=used_s / 2)
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    _bound(2, 256 * 1024**2)
    soft, hard = limits[resource.RLIMIT_CPU]
    assert used_s + 2 <= soft == hard < used_s + 3
    assert limits[resource.RLIMIT_DATA] == (256 * 1024**2,) * 2


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (7, "chat template is 7 and no text; use another prompt"),
        (["x"], "chat template is ['x'] and no text"),
        ({"rag": "x"}, "multiple chat templates with no default"),
        (
            "{{ 1/0 }}",
            "chat template fails on one user's turn: ZeroDivisionError: division by zero; use another prompt.",
        ),
        ("always the same", "does not keep what a user says; use another base prompt."),
    ],
)
def test_a_prompt_without_its_template_is_one_sentence(template: object, says: str) -> None:
    known = tokenizer()
    known.chat_template = template
    with pytest.raises(SettingsError) as caught:
        prompt_text(known, TreeSettings(prompt=sorted(CHATS)[0]))
    assert says in str(caught.value)
