"""Labels written into a graph's file: only `clerp` of nodes that get one, every other byte as it was."""

import json
from collections.abc import Iterator, Mapping
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import BinaryIO

from eval.graphs.graph import GraphFeature, node_of, scanned
from eval.graphs.scanning import ByteSpan, FileItem
from probes.doors.outputs import written

_PIECE = 1 << 20
CLERP = "clerp"
"""circuit-tracer's name of a node's label."""


def write_labels(source: Path, target: Path, labels: Mapping[GraphFeature, str], overwrite: bool) -> int:
    """Copies the graph to `target`, which may be `source`, with the labels in it; how many nodes got one.

    A node that has a label keeps it unless `overwrite`. The file is there whole or not at all. Raises OutputError.
    """
    with source.open("rb") as read, written(target) as copy:
        return _copy(read, copy, _edits(source, labels, overwrite))


def _copy(read: BinaryIO, copy: BinaryIO, edits: Iterator[tuple[ByteSpan, bytes]]) -> int:
    """The file with each span replaced; how many there were."""
    n_edits = 0
    for span, new in edits:
        _pass_on(read, copy, span.start - read.tell())
        copy.write(new)
        read.seek(span.end)
        n_edits += 1
    _pass_on(read, copy, None)
    return n_edits


def _pass_on(read: BinaryIO, written: BinaryIO, n_bytes: int | None) -> None:
    """So many bytes, or all that are left."""
    while n_bytes is None or n_bytes:
        piece = read.read(_PIECE if n_bytes is None else min(_PIECE, n_bytes))
        if not piece:
            return
        written.write(piece)
        n_bytes = None if n_bytes is None else n_bytes - len(piece)


def _edits(source: Path, labels: Mapping[GraphFeature, str], overwrite: bool) -> Iterator[tuple[ByteSpan, bytes]]:
    items = takewhile(
        lambda item: item.member != "links", dropwhile(lambda item: item.member != "nodes", scanned(source))
    )
    for item in items:
        node = node_of(item.value) if item.member == "nodes" else None
        if node is None or node.feature is None or node.feature not in labels or (node.clerp.strip() and not overwrite):
            continue
        yield _edit(item, json.dumps(labels[node.feature]).encode("ascii"))


def _edit(item: FileItem, label: bytes) -> tuple[ByteSpan, bytes]:
    """The value of `clerp` replaced, or the member added behind the node's last."""
    members = item.members()
    if CLERP in members:
        return members[CLERP], label
    end = max(span.end for span in members.values())
    return ByteSpan(end, end), b', "clerp": ' + label
