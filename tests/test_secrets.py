"""Keys and passwords are blanked wherever they may stand, and ordinary text is left as it is."""

import json

import pytest

from agent.secrets import without_held_secrets, without_secrets

KEY = "planted-Zq7/x+9_secret"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("interpret --api-key abc123 --features 7", "interpret --api-key *** --features 7"),
        ("interpret --base-url http://me:hunter2@host/v1", "interpret --base-url http://me:***@host/v1"),
        ("OPENAI_API_KEY=verysecret interpret", "OPENAI_API_KEY=*** interpret"),
        ("interpret --llm x sk-ant-REDACTED", "interpret --llm x ***"),
        ("interpret hf_abcdefghijklmnop", "interpret ***"),
        ('{"api_key": "abc123", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("x-api-key: abc123", "x-api-key: ***"),
        ("Authorization: Basic bWU6aHVudGVyMg==", "Authorization: Basic ***"),
        ("sent Bearer abc123def456", "sent Bearer ***"),
        ("Incorrect API key provided: sk-pro*****wxyz.", "Incorrect API key provided: ***."),
    ],
)
def test_what_looks_like_a_secret_is_blanked(typed: str, kept: str) -> None:
    assert without_secrets(typed) == kept


@pytest.mark.parametrize(
    "text",
    [
        "interpret tokens 121 --json --top-k 5",
        "interpret --base-url http://localhost:8080/v1 --features 7",
        "the key concept is a token of dogs; the secret garden, a password one types",
        '{"token": " dog", "key": "musical key", "input_tokens": 12}',
        "a basic low-level skill, the bearer of bad-news",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "key=value assignments",
        "sk_learn_pipeline and hf_hub_download",
        "token=abc, password=hunter2",
        "Bearer abc123def456",
        "http://user:pass@host/",
        "--api-key abc123",
        '{"api_key": "x"}',
        "a basic key",
    ],
)
def test_what_a_model_says_is_left_alone_but_for_secrets_that_are_held(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert without_held_secrets(text) == text
    assert without_held_secrets(f"{text} {KEY}") == f"{text} ***"


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "HF_TOKEN", "MY_SECRET", "DB_PASSWORD", "SOME_KEY_2", "apikey"])
def test_the_environments_secrets_are_blanked_at_the_time_of_the_call(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEY in without_secrets(f"it is {KEY}")
    monkeypatch.setenv(name, KEY)
    assert without_secrets(f"it is {KEY}, {KEY}!") == "it is ***, ***!"


@pytest.mark.parametrize("name", ["KEYBOARD_LAYOUT", "TOKENIZERS_PARALLELISM", "HOME"])
def test_other_variables_are_no_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "an ordinary value")
    assert without_secrets("an ordinary value") == "an ordinary value"


def test_short_values_are_ordinary_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "dog")
    assert without_secrets("a dog") == "a dog"


@pytest.mark.parametrize("value", [f"{KEY}\n", f"{KEY}\nsecond-line-of-it", f'quo"ted-{KEY}', f"back\\slash-{KEY}"])
def test_no_form_of_a_secret_is_left(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", value)
    forms = (value, value.strip(), json.dumps({"echo": value}), f"Illegal header value {value.encode()!r}", repr(value))
    for form in forms:
        blanked = without_secrets(form)
        assert KEY not in blanked
        assert "second-line" not in blanked


def test_json_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    inner = json.dumps({"action": "label", "label": f"api_key={KEY}", "explanation": "--token abc"})
    body = json.dumps({"choices": [{"message": {"content": inner}}], "key": KEY})
    blanked = json.loads(without_secrets(body))
    assert KEY not in json.dumps(blanked)
    assert json.loads(blanked["choices"][0]["message"]["content"])["action"] == "label"


@pytest.mark.parametrize("unit", ["-", "--key ", "://a:", "bearer ", "sk-", "key=", "api_key:", " "])
def test_two_megabytes_of_anything_are_worked_through(unit: str) -> None:
    assert without_secrets(unit * (2_000_000 // len(unit)))
