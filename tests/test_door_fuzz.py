"""Doors under fire: whatever comes in as settings, options, texts or outputs, only errors of this project come out.

DOOR_EXAMPLES=2000 tries so many inputs at each door; a run of the tests tries a few.
"""

import gzip
import json
import os
from contextlib import suppress
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cli.interpret import interpret
from agent.config import GROUPS, key_of, resolve
from eval.collect.corpora import CorpusFaults, content, documents
from eval.readers import READERS, read_examples
from probes.doors.outputs import check_output, written
from probes.errors import InterpretError
from probes.features import parse_features

N_EXAMPLES = int(os.environ.get("DOOR_EXAMPLES", "40"))
fuzzed = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

KEYS = [(table, key_of(field)) for table, value in GROUPS.items() for field in value.model_fields]
WORDS = "nan -inf 1e999 true ~nobody/x / /dev/zero /dev/full fifo folder . .. a/b/c @ @fifo all 0- random:"
MORE = "loop auto {ghost} { é \u202e 0.1,,0.2 a:b:c:d saelens: ٣ 1_0 0x10 --"
LONG = ("9" * 5000, "-" + "9" * 20, "a" * 300, "[" * 2000)
ODD = st.sampled_from(("", " ", "\0", "\ud800", *LONG, *WORDS.split(), *MORE.split()))
RANGE = st.from_regex(r"[0-9]{1,25}(-[0-9]{1,25})?", fullmatch=True)
TEXT = ODD | st.text(max_size=30)
NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, -(10**19), 2**63, 1e308, -0.0])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what nobody expects in it."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    return tmp_path


def toml(value: object) -> str:
    """Roughly TOML, which what is odd need not be."""
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf").replace("null", "true")


@fuzzed
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), JSON), max_size=3),
    st.binary(max_size=20),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
)
def test_settings_files(room: Path, said: list[tuple[tuple[str, str], object]], junk: bytes, mark: bytes) -> None:
    text = "".join(f"[{table}]\n{key} = {toml(value)}\r\n" for (table, key), value in said)
    (room / "s.toml").write_bytes(mark + text.encode() + (junk if len(said) > 2 else b""))
    with suppress(InterpretError):
        resolve({}, room / "s.toml")


VALUED = [
    (name, parameter.opts[0])
    for name, command in interpret.commands.items()
    for parameter in command.params
    if isinstance(parameter, click.Option) and not parameter.is_flag
]


@fuzzed
@given(st.sampled_from(VALUED), TEXT, TEXT)
def test_values_of_options(room: Path, option: tuple[str, str], value: str, argument: str) -> None:  # noqa: ARG001
    name, flag = option
    with suppress(click.ClickException, click.Abort, click.exceptions.Exit):
        context = interpret.commands[name].make_context(name, [f"{flag}={value}", argument])
        given_options = {key.replace("_", "-"): item for key, item in context.params.items()}
        known = {key for _, key in KEYS}
        with suppress(InterpretError):
            resolve({key: item for key, item in given_options.items() if key in known}, context.params["settings_file"])


@fuzzed
@given(
    st.lists(TEXT | st.from_regex(r"[0-9]{1,25}(-[0-9]{1,25})?", fullmatch=True), max_size=4), st.binary(max_size=40)
)
def test_features(room: Path, parts: list[str], content_of_file: bytes) -> None:
    (room / "f.txt").write_bytes(content_of_file)
    for text in (",".join(parts), "@f.txt"):
        with suppress(InterpretError):
            parse_features(text, 50)


LINE = (
    JSON.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
    | TEXT.map(lambda text: json.dumps({"text": text}).encode())
)


@fuzzed
@given(st.lists(LINE, max_size=5), st.sampled_from([".txt", ".jsonl", ".parquet", ".csv", ""]), TEXT, st.booleans())
def test_corpora(room: Path, lines: list[bytes], ending: str, source: str, named: bool) -> None:
    (room / f"c{ending}").write_bytes(b"\n".join(lines))
    where = f"./{source}" if named else f"c{ending}"  # not a name, which would be looked for on the hub
    if not named and not ending:
        where = "./c"
    with suppress(InterpretError):
        content(where)
        for document in documents(where, CorpusFaults()):
            document.text.encode()


RECORD = st.fixed_dictionaries(
    {"feature": st.just(5) | JSON, "tokens": st.lists(TEXT, max_size=3) | JSON},
    optional={
        "activations": st.lists(NUMBER, max_size=3) | JSON,
        "document": JSON,
        "kind": TEXT,
        "index": JSON,
        "modelId": JSON,
        "layer": JSON,
        "values": JSON,
    },
)


@fuzzed
@given(
    st.lists(RECORD.map(lambda record: json.dumps(record).encode()) | LINE, max_size=4),
    st.sampled_from([".jsonl", ".json", ".safetensors", ""]),
    st.sampled_from([None, *READERS]),
    st.sampled_from(["plain", "packed", "cut off"]),
)
def test_example_files(room: Path, lines: list[bytes], ending: str, form: str | None, packing: str) -> None:
    whole = b"\n".join(lines)
    packed = gzip.compress(whole)
    path = room / f"e{ending}"
    path.write_bytes({"plain": whole, "packed": packed, "cut off": packed[:-5]}[packing])
    with suppress(InterpretError):
        for found in read_examples(path, form).features.values():
            for example in found.examples:
                "".join(example.tokens).encode()


@fuzzed
@given(TEXT, st.sampled_from(["", "-wal", ".csv", ".run1.lock"]))
def test_outputs(room: Path, name: str, ending: str) -> None:
    before = {path: path.lstat().st_mode for path in (room / "fifo", room / "folder", room / "loop")}
    path = Path(f"{name}{ending}")
    if path.is_absolute() and "dev" not in path.parts:
        path = Path(f"./{path}")
    with suppress(InterpretError):
        check_output(path, [room / "log.db"])
        with written(path) as file:
            file.write(b"done")
    assert {path: path.lstat().st_mode for path in before} == before
