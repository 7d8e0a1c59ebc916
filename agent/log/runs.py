"""Runs and the commands that began or resumed them: rows in, values out."""

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from agent.errors import LogError
from agent.log.rows import Row, as_ranges, file_of, first, from_ranges, insert, made, now, select, update
from agent.secrets import without_secrets
from probes.presets import SubjectCard
from probes.settings import Value

RunKind = Literal["label", "probe", "compare", "explore"]
"""What a run is for: labels; evidence alone; evidence to be compared; evidence kept while exploring."""
Difference = tuple[str, Any, Any]
"""What differs, as in `settings.probe.tree.cutoff`; how one has it and how the other."""

_PACKAGES = ("sae-interpret", "torch", "transformers", "safetensors", "numpy")
_RUNS = """
    SELECT id, kind, status, created, finished, subject, settings, explainer, templates, features,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'labelled') AS n_labelled,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'abstained') AS n_abstained,
        (SELECT count(*) FROM labels WHERE run_id = runs.id AND status = 'failed') AS n_failed,
        CASE kind WHEN 'probe' THEN
            (SELECT count(DISTINCT feature) FROM evidence WHERE run_id = runs.id) ELSE 0 END AS n_probed,
        (SELECT count(*) FROM calls WHERE run_id = runs.id) AS n_calls,
        (SELECT sum(cost_usd) FROM calls WHERE run_id = runs.id) AS cost_usd
    FROM runs WHERE :run_id IS NULL OR id = :run_id ORDER BY created, id
"""
_LATEST = """
    SELECT run_id FROM invocations JOIN runs ON runs.id = run_id
    ORDER BY runs.kind != 'label', started DESC, invocations.id DESC LIMIT 1
"""
_LATEST_LABELLED = """
    SELECT run_id FROM invocations WHERE EXISTS (SELECT 1 FROM labels WHERE run_id = invocations.run_id)
    ORDER BY started DESC, id DESC LIMIT 1
"""
_LAST_WRITTEN = """
    SELECT max(created) AS last FROM (
        SELECT max(created) AS created FROM labels WHERE run_id = :run_id
        UNION ALL SELECT max(created) FROM evidence WHERE run_id = :run_id
        UNION ALL SELECT max(created) FROM calls WHERE run_id = :run_id
        UNION ALL SELECT started FROM invocations WHERE run_id = :run_id
    )
"""
_ABSENT = "nothing"
_MAX_DIFFERENCES = 3
_MAX_CHARS = 40
"""Of a value that differs."""


class RunIdentity(Value):
    """Everything that decides what a run finds; two runs that agree in it are one run."""

    kind: RunKind = "label"
    subject: SubjectCard
    settings: dict[str, Any]
    """Probe settings resolved, rounds, the plan of evidence; a corpus by its identity."""
    explainer: str
    templates: dict[str, str]
    """Name of each prompt template to the hash of its text."""

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON. The device is left out: the same run may go on elsewhere."""
        return hash_of(self.model_dump(mode="json", exclude={"subject": {"device"}}))


@dataclass(frozen=True)
class RunRow:
    """A run that was begun or resumed."""

    run_id: int
    resumed: bool
    done: frozenset[int]
    """Every feature of the run, asked for this time or not, that was labelled or abstained on, or probed by a run that
    asks nobody."""


@dataclass(frozen=True)
class RunSummary:
    """One run, at a glance."""

    run_id: int
    status: str
    """`finished`, or `unfinished`: still running or cut off."""
    created: str
    """UTC, ISO 8601, as all times here."""
    finished: str | None
    subject: Mapping[str, Any]
    """The subject's card as it was stored."""
    settings: Mapping[str, Any]
    explainer: str
    """Empty where evidence is compared or explored."""
    templates: Mapping[str, str]
    """Name to hash."""
    features: str
    """Asked for so far, as ranges: `0-500,503`."""
    n_asked: int
    n_labelled: int
    n_abstained: int
    n_failed: int
    n_calls: int
    cost_usd: float | None
    """Sum of the known costs; None where none is known."""
    n_probed: int = 0
    """Features that a run which only probes has evidence on; 0 for any other run."""
    kind: RunKind = "label"

    @property
    def made_by(self) -> str:
        """The explainer, or the kind of a run that has none."""
        return self.explainer or self.kind


@dataclass(frozen=True)
class _Told:
    """The facts of a run's subject that lists show."""

    name: str
    hook: str
    fingerprint: str
    n_features: int
    default_scale: float
    neuronpedia: str | None


def hash_of(value: Mapping[str, Any]) -> str:
    """Returns the sha256 of the canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def begin_run(db: Database, identity: RunIdentity, features: Sequence[int], new: bool = False) -> RunRow:
    """Begins a run, or resumes or extends the latest one of the same identity."""
    found = None if new else find_run(db, identity)
    run_id = _add_run(db, identity) if found is None else found
    _add_invocation(db, run_id, features, identity.subject.device)
    (asked,) = db.execute("SELECT features FROM runs WHERE id = ?", [run_id]).fetchone()
    update(db, "runs", {"features": as_ranges(from_ranges(asked).union(features))}, {"id": run_id})
    done = done_in(db, run_id)
    if not done.issuperset(features):
        update(db, "runs", {"status": "unfinished", "finished": None}, {"id": run_id})
    return RunRow(run_id, resumed=found is not None, done=done)


def finish_run(db: Database, run_id: int) -> None:
    """Notes that nothing asked of the run is left to do; an earlier finishing time stands."""
    db.execute("UPDATE runs SET status = 'finished', finished = coalesce(finished, ?) WHERE id = ?", [now(), run_id])


def all_runs(db: Database) -> list[RunSummary]:
    """Returns every run, oldest first."""
    return [_summary(row) for row in select(db, _RUNS, run_id=None)]


def run_summary(db: Database, run_id: int) -> RunSummary | None:
    """Returns that run, if there is one."""
    return next((_summary(row) for row in select(db, _RUNS, run_id=run_id)), None)


def chosen_run(db: Database, run_id: int | None) -> RunSummary:
    """Returns that run, or the one that a command began or resumed last. Raises `LogError` if there is none."""
    wanted = latest_run(db) if run_id is None else run_id
    found = None if wanted is None else run_summary(db, wanted)
    if found is not None:
        return found
    known = [row["id"] for row in select(db, "SELECT id FROM runs ORDER BY created, id")]
    if not known:
        raise LogError(f"{file_of(db)} holds no run yet; interpret --features 0-20 makes one.")
    raise LogError(f"{file_of(db)} has no run {wanted}; the latest it has: {', '.join(map(str, known[-5:]))}.")


def latest_run(db: Database) -> int | None:
    """Returns the run that a command began or resumed last; one that labels nothing only where there is no other."""
    found = first(db, _LATEST)
    return None if found is None else int(found["run_id"])


def latest_labelled(db: Database) -> int | None:
    """Returns the run that a command began or resumed last of those that have labels."""
    found = first(db, _LATEST_LABELLED)
    return None if found is None else int(found["run_id"])


def find_run(db: Database, identity: RunIdentity) -> int | None:
    """Returns the latest run of that identity."""
    found = first(
        db, "SELECT id FROM runs WHERE identity = :hash ORDER BY created DESC, id DESC LIMIT 1", hash=identity.hash
    )
    return None if found is None else int(found["id"])


def features_done(db: Database, identity: RunIdentity) -> frozenset[int]:
    """Returns the features that the latest run of that identity is done with; none if there is no such run."""
    run_id = find_run(db, identity)
    return frozenset() if run_id is None else done_in(db, run_id)


def done_in(db: Database, run_id: int) -> frozenset[int]:
    """Returns the run's features that were labelled or abstained on; those with evidence where it only probes."""
    found = db.execute("SELECT feature FROM labels WHERE run_id = ? AND status != 'failed'", [run_id])
    concluded = frozenset(feature for (feature,) in found.fetchall())
    only_probes = db.execute("SELECT 1 FROM runs WHERE id = ? AND kind = 'probe'", [run_id]).fetchone()
    return concluded | probed_in(db, run_id) if only_probes else concluded


def probed_in(db: Database, run_id: int) -> frozenset[int]:
    """Returns the features that the run has evidence on."""
    found = db.execute("SELECT DISTINCT feature FROM evidence WHERE run_id = ?", [run_id])
    return frozenset(feature for (feature,) in found.fetchall())


def runs_of(db: Database, subject: SubjectCard) -> dict[int, dict[str, Any]]:
    """Returns the settings of every run of that very subject, on whatever device, by number, the latest run first."""
    card = subject.model_dump(mode="json", exclude={"device"})
    sql = """SELECT id, subject, settings FROM runs WHERE json_extract(subject, '$.fingerprint') = :fingerprint
        ORDER BY created DESC, id DESC"""
    found = ((row, json.loads(row["subject"])) for row in select(db, sql, fingerprint=subject.fingerprint))
    return {row["id"]: dict(json.loads(row["settings"])) for row, other in found if card.items() <= other.items()}


def last_written(db: Database, run_id: int) -> str | None:
    """Returns the time of a run's last write, UTC."""
    found = next(select(db, _LAST_WRITTEN, run_id=run_id))["last"]
    return None if found is None else str(found)


def command_of(db: Database, run_id: int) -> str | None:
    """Returns the command that last began or resumed a run, as typed."""
    sql = "SELECT command FROM invocations WHERE run_id = :run_id ORDER BY started DESC, id DESC LIMIT 1"
    return next((str(row["command"]) for row in select(db, sql, run_id=run_id)), None)


def data_version(db: Database) -> int:
    """Returns a number that is another one once any other connection has changed the log."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def newest_run(db: Database) -> int:
    """Returns a number that is another one once a run is added."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0])


def versions() -> dict[str, str | None]:
    """Returns versions of what decides a run's numbers; None for a package of a checkout that is not installed."""
    return {"python": sys.version.split()[0], **{package: _version(package) for package in _PACKAGES}}


def differences(one: RunSummary, other: RunSummary) -> list[Difference]:
    """Returns all that makes them two runs and no other than one; nothing where they have one identity."""
    return differences_between(_identity(one), _identity(other))


def differences_between(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Returns the values that differ, by their names: those of nested mappings have all of theirs, with dots."""
    ours, theirs = dict(_leaves("", one)), dict(_leaves("", other))
    pairs = ((name, ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in ours | theirs)
    return [(name, a, b) for name, a, b in pairs if a != b]


def nearest_run(run: RunSummary, others: Iterable[RunSummary]) -> tuple[RunSummary, list[Difference]]:
    """Returns the run among `others`, of which there is one at least, that differs in the least, with what that is."""
    found = [(other, differences(run, other)) for other in others]
    return min(found, key=lambda pair: (len(pair[1]), -pair[0].run_id))


def difference_words(found: Sequence[Difference]) -> str:
    """Names the first few differences, and how many more there are."""
    words = [
        f"{name} ({_shortened(ours)}, not {_shortened(theirs)})" for name, ours, theirs in found[:_MAX_DIFFERENCES]
    ]
    more = len(found) - len(words)
    return ", ".join(words) + (f" and {more:,} more" if more > 0 else "")


def _add_run(db: Database, identity: RunIdentity) -> int:
    return insert(
        db,
        "runs",
        {
            "identity": identity.hash,
            "kind": identity.kind,
            "status": "unfinished",
            "created": now(),
            "subject_name": identity.subject.name,
            "subject": identity.subject.model_dump_json(),
            "settings": json.dumps(identity.settings),
            "explainer": identity.explainer,
            "templates": json.dumps(identity.templates),
            "features": "",
        },
    )


def _add_invocation(db: Database, run_id: int, features: Iterable[int], device: str) -> None:
    command = without_secrets(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    here = {"command": command, "device": device, "versions": json.dumps(versions())}
    insert(db, "invocations", {"run_id": run_id, "started": now(), "features": as_ranges(features), **here})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _summary(row: dict[str, Any]) -> RunSummary:
    changed = {
        "subject": _card(row["subject"]),
        "settings": json.loads(row["settings"]),
        "templates": json.loads(row["templates"]),
        "n_asked": len(from_ranges(row["features"])),
    }
    return made(RunSummary, {"run_id": row.pop("id"), **row | changed})


def _card(text: str) -> Row:
    """Returns a subject's card as it was stored, with all that is told of it. Raises ValueError."""
    card: Any = json.loads(text)
    if not isinstance(card, dict):
        raise ValueError(f"subject={text!r:.80} is no card")
    made(_Told, {name: card.get(name) for name in _Told.__dataclass_fields__})
    return card


def _identity(run: RunSummary) -> Row:
    subject = {name: value for name, value in run.subject.items() if name != "device"}
    return {"subject": subject, "settings": run.settings, "explainer": run.explainer, "templates": run.templates}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), item)
    else:
        yield path, value


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"
