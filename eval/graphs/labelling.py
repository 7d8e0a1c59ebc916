"""Labels written into a graph's file: `clerp` of nodes that get one, supernodes on request, all other bytes as they
were."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from eval.graphs.graph import GraphFeature, node_of, scanned
from eval.graphs.scanning import ByteSpan, FileItem
from eval.graphs.supernodes import Supernode
from probes.doors.outputs import written

_PIECE = 1 << 20
MOST_PINNED = 20
"""Nodes of proposed supernodes that are pinned. More cover one another, and circuit-tracer's front end often fails to
lay them out: on one graph with 14 % of choices of 20 nodes, with 97 % of choices of 60."""
CLERP = "clerp"
"""circuit-tracer's name of a node's label."""


@dataclass
class GraphChanges:
    """The changes made to a graph's file."""

    n_labels: int = 0
    """Nodes that got a label."""
    n_supernodes: int = 0
    """Supernodes that were added."""
    n_pinned: int = 0
    """Nodes of these that are pinned."""


def write_labels(
    source: Path,
    target: Path,
    labels: Mapping[GraphFeature, str],
    overwrite: bool,
    supernodes: Sequence[Supernode] = (),
) -> GraphChanges:
    """Copies the graph to `target`, which may be `source`, with the labels in it; how many nodes got one.

    A node that has a label keeps it unless `overwrite`. Supernodes are added to those of the file, without nodes that
    are in one of these, and the nodes of the first of them are pinned, where the file has `qParams`. The file is there
    whole or not at all. Raises OutputError.
    """
    changes = GraphChanges()
    with source.open("rb") as read, written(target) as copy:
        _copy(read, copy, _edits(source, labels, overwrite, supernodes, changes))
    return changes


def _copy(read: BinaryIO, copy: BinaryIO, edits: Iterator[tuple[ByteSpan, bytes]]) -> None:
    """Writes the file with each span replaced."""
    for span, new in edits:
        _pass_on(read, copy, span.start - read.tell())
        copy.write(new)
        read.seek(span.end)
    _pass_on(read, copy, None)


def _pass_on(read: BinaryIO, written: BinaryIO, n_bytes: int | None) -> None:
    """So many bytes, or all that are left."""
    while n_bytes is None or n_bytes:
        piece = read.read(_PIECE if n_bytes is None else min(_PIECE, n_bytes))
        if not piece:
            return
        written.write(piece)
        n_bytes = None if n_bytes is None else n_bytes - len(piece)


def _edits(
    source: Path,
    labels: Mapping[GraphFeature, str],
    overwrite: bool,
    supernodes: Sequence[Supernode],
    changes: GraphChanges,
) -> Iterator[tuple[ByteSpan, bytes]]:
    """Yields spans of the file with what is to stand there, in their order; counts them in `changes`."""
    for item in scanned(source):
        if item.member == "qParams" and isinstance(item.value, dict) and supernodes:
            yield from _with_supernodes(item, supernodes, changes)
        node = node_of(item.value) if item.member == "nodes" else None
        if node is None or node.feature is None or node.feature not in labels or (node.clerp.strip() and not overwrite):
            continue
        changes.n_labels += 1
        yield _edit(item, json.dumps(labels[node.feature]).encode("ascii"))


def _with_supernodes(
    item: FileItem, supernodes: Sequence[Supernode], changes: GraphChanges
) -> Iterator[tuple[ByteSpan, bytes]]:
    """Yields the file's supernodes with the proposed ones, and its pinned nodes with those of the first of them.

    Each is a list or a text, as it was: JSON for supernodes, commas between pinned ids.
    """
    before, pinned = item.value.get("supernodes"), item.value.get("pinnedIds")
    known = _listed(before)
    taken = {member for group in known if isinstance(group, list) for member in group[1:]}
    added = [[one.name, *(member for member in one.node_ids if member not in taken)] for one in supernodes]
    added = [group for group in added if len(group) > 2]
    changes.n_supernodes = len(added)
    if not added:
        return
    ids = pinned.split(",") if isinstance(pinned, str) else pinned if isinstance(pinned, list) else []
    leading = _leading(added)
    changes.n_pinned = len(leading)
    members = [*dict.fromkeys([*filter(None, ids), *leading])]
    groups = [*known, *added]
    values = {
        "supernodes": json.dumps(groups) if isinstance(before, str) else groups,
        "pinnedIds": ",".join(map(str, members)) if isinstance(pinned, str) else members,
    }
    places, new = item.members(), b""
    edits = []
    for name, value in values.items():
        text = json.dumps(value).encode("ascii")
        if name in places:
            edits.append((places[name], text))
        else:
            new += (b", " if places or new else b"") + json.dumps(name).encode("ascii") + b": " + text
    if new:
        end = max((span.end for span in places.values()), default=item.start + 1)
        edits.append((ByteSpan(end, end), new))
    yield from sorted(edits, key=lambda edit: edit[0].start)


def _leading(groups: Sequence[Sequence[str]]) -> list[str]:
    """Returns the nodes of the first group, and of as many others as have no more than `MOST_PINNED` with it."""
    found: list[str] = []
    for _name, *members in groups:
        if not found or len(found) + len(members) <= MOST_PINNED:
            found += members
    return found


def _listed(supernodes: object) -> list[Any]:
    """Returns the groups of a list, or of a text that is one; none where it is neither."""
    if isinstance(supernodes, str):
        with suppress(ValueError):
            supernodes = json.loads(supernodes)
    return supernodes if isinstance(supernodes, list) else []


def _edit(item: FileItem, label: bytes) -> tuple[ByteSpan, bytes]:
    """The value of `clerp` replaced, or the member added behind the node's last."""
    members = item.members()
    if CLERP in members:
        return members[CLERP], label
    end = max(span.end for span in members.values())
    return ByteSpan(end, end), b', "clerp": ' + label
