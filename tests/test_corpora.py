"""Sources of documents: what counts as one, what is said of what cannot be read, and words of the demo's world."""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.collect import corpora
from eval.collect.corpora import DEMO_CHARS, DEMO_SEED, CorpusFaults, Document, documents
from eval.errors import ExamplesError
from probes.demo import build
from probes.demo.model import ModelRecipe
from probes.demo.text import DocumentWriter
from probes.demo.world import load_world


def read(source: object, **options: Any) -> tuple[list[Document], CorpusFaults]:
    faults = CorpusFaults()
    return list(documents(str(source), faults, **options)), faults


def texts(source: object, **options: Any) -> list[str]:
    return [document.text for document in read(source, **options)[0]]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_text_file_is_cut_at_its_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n\n  \nthree\r\nfour\n\n\n")
    assert read(path)[0] == [Document("a.txt:1", "one\ntwo"), Document("a.txt:5", "three\nfour")]


def test_a_text_without_blank_lines_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_PARAGRAPH", 8)
    path = write(tmp_path / "a.txt", "0123456789abcdefghij\nklm\nno\npqrs")
    found = texts(path)
    assert max(map(len, found)) <= 2 * 8
    assert "".join(found).replace("\n", "") == "0123456789abcdefghijklmnopqrs"


def test_a_folder_gives_all_its_files_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "second")
    write(tmp_path / "a.jsonl", '{"text": "first"}')
    write(tmp_path / "c.md", "not read")
    assert texts(tmp_path) == ["first", "second"]


def test_lines_of_json_by_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\ufeff{"text": "a", "body": "b"}\n\n{"body": "c", "text": "d"}')
    assert read(path)[0] == [Document("a.jsonl:1", "a"), Document("a.jsonl:3", "d")]
    assert texts(path, text_key="body") == ["b", "c"]


def test_faulty_lines_are_counted_with_their_number_and_the_rest_is_kept(tmp_path: Path) -> None:
    lines = [b'{"text": "good"}', b"{broken", b"[1]", b'{"text": 3}', b'{"no": ""}', b'{"text": "\xff"}', b"[" * 99999]
    path = write(tmp_path / "a.jsonl", b"\n".join([*lines, b'{"text": "last"}']))
    found, faults = read(path)
    assert [document.text for document in found] == ["good", "last"]
    assert faults.n == len(faults.sentences) == 6
    for number, (sentence, why) in enumerate(
        zip(
            faults.sentences,
            ["it is not JSON (Expecting", "no JSON object", "no text", "no text", "not UTF-8", ""],
            strict=True,
        ),
        start=2,
    ):
        assert sentence.startswith(f"a.jsonl, line {number}")
        assert why in sentence


def test_an_endless_line_of_json_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_LINE", 32)
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "x" * 100}) + '\n{"text": "short"}\n')
    found, faults = read(path)
    assert found == [Document("a.jsonl:2", "short")]
    assert faults.sentences == ["a.jsonl, line 1 is longer than 32 characters."]


def test_a_line_of_text_that_is_no_utf8_is_a_fault(tmp_path: Path) -> None:
    found, faults = read(write(tmp_path / "a.txt", b"good\n\xff\xfe\nalso good"))
    assert [document.text for document in found] == ["good\nalso good"]
    assert faults.sentences == ["a.txt, line 2 is not UTF-8."]


def test_half_characters_become_replacement_characters(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.jsonl", r'{"text": "a\ud800b"}')) == ["a\ufffdb"]


def test_the_number_of_sentences_kept_is_bounded() -> None:
    faults = CorpusFaults()
    for n in range(1000):
        faults.add(str(n))
    assert faults.n == 1000
    assert faults.sentences == [str(n) for n in range(20)]


@pytest.mark.parametrize("content", ["", "\n\n  \n", '{"other": 1}\n'])
def test_a_corpus_without_text_is_one_sentence(tmp_path: Path, content: str) -> None:
    for name in ("a.txt", "a.jsonl") if '"' not in content else ("a.jsonl",):
        with pytest.raises(ExamplesError, match="holds no text"):
            read(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["missing.txt", "missing.jsonl", "./x", "/nowhere/at/all"])
def test_a_file_that_does_not_exist_is_no_dataset(name: str) -> None:
    with pytest.raises(ExamplesError, match="does not exist"):
        read(name)


def test_an_unknown_kind_of_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match=r"no file that ends in .txt, .jsonl, .parquet"):
        read(tmp_path)
    for name, what_to_do in (("a.pdf", "convert it to one of them"), ("a.jsonl.gz", "unpack it first")):
        with pytest.raises(ExamplesError, match=rf"none of .txt, .jsonl, .parquet; {what_to_do}\.$"):
            read(write(tmp_path / name, "x"))


def test_parquet_without_its_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ExamplesError, match=r"needs the package pyarrow.*sae-interpret\[parquet\]"):
        read(write(tmp_path / "a.parquet", "x"))


def test_parquet_by_column(tmp_path: Path) -> None:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"text": ["a", None, "b"], "n": [1, 2, 3]}), tmp_path / "a.parquet")
    found, faults = read(tmp_path / "a.parquet")
    assert found == [Document("a.parquet:1", "a"), Document("a.parquet:3", "b")]
    assert faults.sentences == ["a.parquet, row 2: it has no text under 'text'."]
    with pytest.raises(ExamplesError, match="no column 'body', only text, n"):
        read(tmp_path / "a.parquet", text_key="body")
    with pytest.raises(ExamplesError, match="cannot be read as parquet"):
        read(write(tmp_path / "b.parquet", "nonsense"))


def test_a_dataset_without_its_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ExamplesError, match=r"needs the package datasets.*sae-interpret\[datasets\]"):
        read("some/dataset")


def test_a_dataset_is_streamed_by_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(*names: str | None, **options: Any) -> Iterator[dict[str, Any]]:
        asked.append((*names, options))
        yield {"text": "a"}
        yield {"text": None}
        yield {"text": "b"}

    library = SimpleNamespace(load_dataset=load, get_dataset_config_names=lambda _: ["small", "large"])
    monkeypatch.setitem(sys.modules, "datasets", library)
    found, faults = read("some/dataset:small")
    assert found == [Document("some/dataset:small:1", "a"), Document("some/dataset:small:3", "b")]
    assert faults.n == 1
    for name in ("some/dataset", "some/dataset:test", "some/dataset:large:test"):
        read(name)
    parts = [(name, config, options["split"]) for name, config, options in asked]
    assert parts == [("some/dataset", *part) for part in _PARTS]
    assert all(options["streaming"] for _, _, options in asked)
    with pytest.raises(ExamplesError, match="write NAME, NAME:SPLIT, NAME:CONFIG or NAME:CONFIG:SPLIT"):
        read("a:b:c:d")


_PARTS = [("small", "train"), (None, "train"), (None, "test"), ("large", "test")]


def test_a_dataset_that_breaks_off_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> Iterator[dict[str, str]]:
        yield {"text": "a"}
        raise ConnectionError("no route to host.\nmore")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    with pytest.raises(ExamplesError, match=r"cannot be read after 1 rows: no route to host\.$"):
        read("some/dataset")


def test_demo_text_comes_from_a_seed_that_nothing_else_used() -> None:
    used = {value for name, value in vars(build).items() if name.endswith("_SEED")} | {ModelRecipe().seed}
    assert max(used) < DEMO_SEED
    found = list(islice(documents("demo", CorpusFaults(), seed=3), 5))
    written = enumerate(islice(DocumentWriter(load_world(), DEMO_SEED + 3).documents(), 100))
    long = [(f"demo:3:{number}", text.text) for number, text in written if len(text.text) > DEMO_CHARS]
    assert [(d.where, d.text) for d in found] == long[:5]  # shorter ones may stand in the training text too
    assert found != list(islice(documents("demo", CorpusFaults(), seed=4), 5))
    with pytest.raises(ExamplesError, match="negative"):
        next(documents("demo", CorpusFaults(), seed=-1))
