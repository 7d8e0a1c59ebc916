"""A key to plant, servers that echo it, and the search for it."""

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from tests.fault_runs import Interpret
from tests.llm_script import Asked, Reply, Script

KEY = "planted/9Qx+z7Tr=4Wm_Hb2"
PASSWORD = "hunter/2+Lq=8vKd"
SETTINGS = Path("mine.toml")
"""A file of the user's own, which may hold a secret."""


def forms_of(secret: str) -> set[str]:
    """The forms in which a secret may be written without being hidden."""
    coded = base64.b64encode(f"me:{secret}".encode()).decode()
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace("/", "\\/"), coded}


def places(*texts: str, secrets: tuple[str, ...] = (KEY, PASSWORD)) -> list[str]:
    """Returns where a secret stands: in these texts, in the files of the working folder, in the values of its logs."""
    held = [(f"text {number}", text.encode()) for number, text in enumerate(texts)]
    held += [(f"{place}, unwrapped", b"".join(text.split())) for place, text in held]
    for path in Path.cwd().iterdir():
        if path.is_file() and path.name != SETTINGS.name:
            held.append((path.name, path.read_bytes()))
    for path in Path.cwd().glob("*.db"):
        held += [(f"{path.name}, {place}", value.encode()) for place, value in _values(path)]
    forms = [form.encode() for secret in secrets for form in forms_of(secret)]
    return sorted({place for place, content in held if any(form in content for form in forms)})


def _values(path: Path) -> Iterator[tuple[str, str]]:
    """Every text of a log: in the file it may be spread over pages."""
    connection = sqlite3.connect(path)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield from ((table, value) for value in row if isinstance(value, str))
    finally:
        connection.close()


def sent_key(asked: Asked) -> str:
    """The key as the server got it."""
    return asked.headers.get("x-api-key") or asked.headers["authorization"].removeprefix("Bearer ")


def read_back(interpret: Interpret) -> Iterator[str]:
    """Returns what the commands print that read a log, and `doctor`."""
    for arguments in (["log"], ["log", "1"], ["log", "1", "--json"], ["show", "0"], ["show", "1"], ["doctor"]):
        ran = interpret(*arguments)
        yield from (ran.out, ran.err)
    yield interpret("replay", "1").out


def labelled(**fields: str) -> str:
    """A good answer."""
    return json.dumps({"action": "label", "label": "dog", "confidence": 0.5} | fields)


def raw(key: str) -> str:
    """A key as programs print it."""
    return f"Authorization: Bearer {key}\nx-api-key: {key}\napi_key={key} ({key!r})"


def _bodies(key: str) -> dict[str, object]:
    """A good response for either provider, of a model that is named like the key."""
    anthropic = {"content": [{"type": "text", "text": labelled()}], "stop_reason": "end_turn"}
    openai = {"choices": [{"message": {"role": "assistant", "content": labelled()}, "finish_reason": "stop"}]}
    return {"id": key, "model": key, **anthropic, **openai}


ECHOES: dict[str, Callable[[str], Reply]] = {
    "401": lambda key: Reply(f"Incorrect API key provided: {key}.", 401),
    "401, raw": lambda key: Reply(status=401, body=f"<pre>{raw(key)}</pre>"),
    "401, escaped": lambda key: Reply(status=401, body=json.dumps({"error": key}).replace("/", "\\/")),
    "500": lambda key: Reply(raw(key), 500),
    "500, raw": lambda key: Reply(status=500, body=f"<pre>{raw(key)}</pre>"),
    "429 in headers": lambda key: Reply("slow", 429, {"x-echo": key, "retry-after": key}),
    "307": lambda key: Reply(f"see {key}", 307, {"Location": f"http://127.0.0.1:9/?key={quote(key)}"}),
    "an error with 200": lambda key: Reply(body=json.dumps({"error": {"message": f"bad {key}"}})),
    "the answer": lambda key: Reply(labelled(label=key, explanation=f"It is {key}.", reason=raw(key))),
    "the answer, escaped": lambda key: Reply(labelled(label=key, explanation=key).replace("/", "\\/")),
    "the answer, in prose": lambda key: Reply(f"With {key} as key:\n{labelled()}"),
    "a field's name": lambda key: Reply(labelled(**{key: "x"})),
    "no JSON": lambda key: Reply(f"{key} {key}"),
    "a refusal": lambda key: Reply(refusal=f"I refuse {key}", stop="refusal"),
    "headers of success": lambda key: Reply(labelled(), headers={"x-request-id": key, "x-echo": key}),
    "a reason to stop": lambda key: Reply(labelled(), stop=key),
    "cut off": lambda key: Reply(labelled(explanation=key * 20), cut=600),
    "the model's name": lambda key: Reply(body=json.dumps(_bodies(key))),
}


def echoing(name: str) -> Script:
    """A server that echoes in that way."""
    return lambda asked: ECHOES[name](sent_key(asked))
