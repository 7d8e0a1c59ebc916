"""Files of records: cut off, damaged, endless or strange ones lose no more than they must."""

import gzip
import io
import json
import re
import tracemalloc
from pathlib import Path

import pytest

from eval.readers import read_examples
from eval.readers.base import RecordError
from eval.readers.json_stream import LONGEST_RECORD, JsonStream
from tests.example_files import lines, np_text, only, plain, write


def test_faults_are_listed_up_to_a_hundred(tmp_path: Path) -> None:
    reading = read_examples(write(tmp_path / "m.jsonl", lines([plain(), *[plain(tokens=[])] * 250])))
    assert len(reading.faults) == 101
    assert reading.faults[-1] == "150 more faults of this kind are not listed."


def test_a_truncated_gzip_keeps_what_was_read(tmp_path: Path) -> None:
    whole = gzip.compress(lines(plain(document=f"{n} {n * n}") for n in range(2000)))
    file = tmp_path / "m.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    reading = read_examples(file)
    kept = reading.features[5].examples
    assert 500 < len(kept) < 1500
    assert [example.document for example in kept[:3]] == ["0 0", "1 1", "2 4"]
    assert reading.faults[0].startswith(f"m.jsonl.gz, line {len(kept) + 1}: the file is cut off or damaged")


def test_damage_within_a_gzip_is_told(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(lines([plain()] * 2000)))
    whole[-8:-4] = b"oops"
    (tmp_path / "m.jsonl.gz").write_bytes(whole)
    reading = read_examples(tmp_path / "m.jsonl.gz")
    assert len(reading.features[5].examples) == 2000
    assert "CRC check failed" in reading.faults[0]


def test_a_truncated_list_keeps_what_was_read(tmp_path: Path) -> None:
    whole = json.dumps([np_text(), np_text(), np_text()], indent=1).encode()
    reading = read_examples(write(tmp_path / "old.json", whole[:-40]))
    assert len(reading.features[5].examples) == 2
    assert re.fullmatch(r"old.json, line \d+: it is not JSON .*; the rest of the file is not read.", reading.faults[0])


def test_a_truncated_list_in_a_gzip_keeps_what_was_read(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps([np_text(dataIndex=n * n) for n in range(2000)]).encode())
    (tmp_path / "old.json.gz").write_bytes(whole[: len(whole) // 2])
    reading = read_examples(tmp_path / "old.json.gz")
    assert 500 < len(reading.features[5].examples) < 1500
    assert "the file is cut off or damaged" in reading.faults[0]


def test_a_list_with_bytes_that_are_not_utf8_loses_one_record(tmp_path: Path) -> None:
    bad = json.dumps(np_text(id="?")).encode().replace(b"?", b"\xff")
    reading = read_examples(write(tmp_path / "old.json", b"[%b,%b]" % (bad, json.dumps(np_text()).encode())))
    assert len(reading.features[5].examples) == 1
    assert reading.faults == ("old.json, record 1 (line 1): it is not UTF-8.",)


def test_a_list_longer_than_a_record_may_be_is_read_in_little_memory(tmp_path: Path) -> None:
    filler = "x" * 1_000_000
    n = LONGEST_RECORD // len(filler) + 8
    file = tmp_path / "old.json"
    with file.open("w") as out:
        out.write("[" + ",".join(json.dumps(np_text(id=filler)) for _ in range(n)) + "]")
    tracemalloc.start()
    collected = only(file, format="neuronpedia")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(collected.examples) == n
    assert peak < file.stat().st_size / 2


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_a_record_of_a_hundred_megabytes_is_not_loaded(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    piece, n = b"x" * 1_000_000, 100
    with file.open("wb") as out:
        out.write(lines([plain()]))
        out.write(b'{"feature": 5, "document": "' + piece)
        for _ in range(n - 1):
            out.write(piece)
        out.write(b'", "tokens": []}\n' + lines([plain()]))
    tracemalloc.start()
    reading = read_examples(file, "jsonl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (fault,) = reading.faults
    assert fault.startswith(f"{name}, line 2: ")
    assert "longer than 16 MiB" in fault
    assert len(reading.features[5].examples) == (2 if name == "m.jsonl" else 1)
    assert peak < 4 * LONGEST_RECORD


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_line_after_a_very_long_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    long = plain(document="long")
    monkeypatch.setattr("eval.readers.files.LONGEST_RECORD", len(json.dumps(long)) + spare)
    reading = read_examples(write(tmp_path / "m.jsonl", lines([plain(), long, plain()])), "jsonl")
    assert (reading.n_records, len(reading.faults)) == ((2, 1) if spare < 0 else (3, 0))


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1 << 20])
def test_where_a_document_is_cut_into_pieces_does_not_matter(monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    monkeypatch.setattr("eval.readers.json_stream._PIECE_BYTES", piece_bytes)
    text = '\ufeff {"layer": 12345,\n "features": [ -1.5e3, {"é🐈": [1, 23]}\n, "]" ], "x": []}\n 67 [8, 9]'
    pieces = JsonStream(io.BytesIO(text.encode()).read).pieces("features")
    assert [(piece.member, piece.value, piece.line) for piece in pieces] == [
        ("layer", 12345, 1),
        ("features", -1500.0, 2),
        ("features", {"é🐈": [1, 23]}, 2),
        ("features", "]", 3),
        ("x", [], 3),
        ("", 67, 4),
        ("", 8, 4),
        ("", 9, 4),
    ]


@pytest.mark.parametrize("text", ["[1,", "[1 2]", "{]", '{"a" 1}', "}", "[,]", '["a]', "nul", "[1,]", "{1: 2, 3}"])
def test_what_is_no_json_document(text: str) -> None:
    with pytest.raises(RecordError, match="it is not JSON"):
        list(JsonStream(io.BytesIO(text.encode()).read).pieces("features"))
