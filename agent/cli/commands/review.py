"""`interpret review`: labels judged one by one in the terminal, by keys. Loads no subject.

Reviews are stored and undone as in the browser.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agent.cli.commands.choosing import EVERYTHING, LabelCriteria, choose, in_order
from agent.cli.commands.read_log import read_log
from agent.cli.commands.reviewer import reviewer_name
from agent.cli.terminal.display import console, facts, feature_scores_table
from agent.errors import LogError, ServeError
from agent.evidence.basis import basis_of, cited_lines
from agent.evidence.digest import digest
from agent.groups import RunGroup, group_of
from agent.log.calibrations import probability_of
from agent.log.evidence import evidence_rounds
from agent.log.labels import LabelRow
from agent.log.reviews import Review, add_review, reviews_of, undo_review, verdicts_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, chosen_run
from agent.log.scores import latest_scores
from probes.errors import InterpretError

_DEFINITIONS = 5
_HELP = "a accept   e edit   r reject   f flag   n note   u undo   j next   k back   q quit"
_NOT_UNDONE = "You have no review of this label to undo; k goes back to the one before."
_END = "\x04"
_VERDICTS = {"a": "accept", "r": "reject", "f": "flag"}


@dataclass
class _Session:
    """A session of one reviewer on the runs of one command."""

    log: RunLog
    group: RunGroup
    reviewer: str
    blind: bool
    screen: Console = field(default_factory=console)
    n_kept: int = 0
    _typed: deque[str] = field(default_factory=deque)
    """Keys that came with an earlier one, when they are pressed fast."""

    def go(self, queue: Sequence[LabelRow]) -> None:
        """Goes from label to label until the last one or `q`."""
        place = 0
        while place < len(queue):
            self._show(queue[place], f"{place + 1} of {len(queue)}")
            step = self._answered(queue[place])
            if step is None:
                break
            place = max(place + step, 0)

    def _answered(self, row: LabelRow) -> int | None:
        """Reads keys until one leaves the label; returns the number of labels to move by, None to quit."""
        while True:
            key = self._key()
            if key in ("q", "\x03", _END, "\x1b"):
                return None
            if key in ("j", " ", "\r", "\n", "k"):
                return -1 if key == "k" else 1
            try:
                if self._done(key, row):
                    return 1
            except InterpretError as error:  # locked, too long: said, and the label stays
                self._say(str(error))

    def _key(self) -> str:
        if not self._typed:
            typed = _keys()
            self._typed.extend([typed] if typed.startswith("\x1b") else typed)  # an arrow is one key of several signs
        return self._typed.popleft()

    def _done(self, key: str, row: LabelRow) -> bool:
        """Does what a key asks for; returns True if that was a verdict."""
        if key == "u":
            undone = self.log.write_at_once(undo_review, row.label_id, self.reviewer)
            self.n_kept = max(0, self.n_kept - bool(undone))  # what an earlier session kept was not counted
            self._say("Undone." if undone else _NOT_UNDONE)
        elif key in _VERDICTS:
            self._keep(row, {"verdict": _VERDICTS[key]})
        elif key == "e" and (wording := _line("a better label")):
            self._keep(row, {"verdict": "edit", "label": wording})
        elif key == "n" and (note := _line("note")):
            self._keep(row, {"verdict": "note", "note": note})
        elif key not in ("e", "n"):
            self._say(_HELP)
        else:
            return False
        return key in ("a", "r") or (key == "e" and bool(wording))

    def _keep(self, row: LabelRow, said: dict[str, str]) -> None:
        self.log.write_at_once(add_review, row.label_id, self.reviewer, Review.parse(said | {"blind": self.blind}))
        self.n_kept += 1
        self._say(f"Kept: {said['verdict']}.")

    def _say(self, sentence: str) -> None:
        self.screen.print(facts([("", sentence)]))

    def _show(self, row: LabelRow, place: str) -> None:
        evidence = [
            piece for pieces in self.log.read(evidence_rounds, row.run_id, row.feature).values() for piece in pieces
        ]
        scale = float(self.group.of_run(row.run_id).subject["default_scale"])
        basis = basis_of(row.evidence, evidence, scale)
        lines = cited_lines(row.evidence, digest(evidence, scale))[:_DEFINITIONS]
        said = [
            ("feature", f"{self.group.address(row.run_id, row.feature)}, {place}"),
            ("label", row.label if row.status == "labelled" else f"({row.status}) {row.reason}"),
            ("explanation", row.explanation),
            ("probability", "" if self.blind else str(self.log.read(probability_of, row.label_id) or "")),
            ("confidence", "" if self.blind or row.confidence is None else f"{row.confidence:.2f}"),
            *(
                ("based on" if not index else "", f"{line['text']}  {line['value']:.3g}")
                for index, line in enumerate(lines)
            ),
            ("definition", "" if lines else basis.definition),
            ("tokens", ", ".join(basis.tokens)),
            ("reviewed", self._reviewed(row)),
        ]
        self.screen.print()
        self.screen.print(facts((name, text) for name, text in said if text))
        self._show_scores(row)
        self.screen.print(Text(_HELP, style="dim"))

    def _reviewed(self, row: LabelRow) -> str:
        reviews = [
            review
            for review in self.log.read(reviews_of, [row.label_id])
            if not review.undone and (review.reviewer == self.reviewer or not self.blind)
        ]
        return "; ".join(f"{review.verdict} by {review.reviewer}" for review in reviews)

    def _show_scores(self, row: LabelRow) -> None:
        scored = self.log.read(latest_scores, row.run_id, row.label_id)
        if scored is not None and not self.blind:
            self.screen.print(feature_scores_table(scored[1]))


def review_labels(
    path: Path, run_id: int | None, name: str | None, blind: bool, again: bool, wanted: LabelCriteria = EVERYTHING
) -> int:
    """Goes through the chosen labels of a run and of its command's other layers, without those that the reviewer has
    judged unless `again`.

    Raises LogError, SettingsError.
    """
    reviewer = reviewer_name(name)
    if path.is_file():
        RunLog.open(path).close()  # one of an older version is brought up to date
    with read_log(path) as log:
        group = group_of(log.read(chosen_run, run_id), log.read(all_runs))
        found = in_order([choose(log, run, wanted).labels for run in group.runs], wanted)
        chosen = [item.label for item in found if item.label.status != "failed"]
        judged = set() if again else _judged(log, group, reviewer)
        queue = [row for row in chosen if row.label_id not in judged]
        session = _Session(log, group, reviewer, blind)
        if queue:
            session.go(queue)
        elif chosen:
            which = "" if wanted.is_everything else " that matches"
            words = f"{reviewer} has judged every label of {group.words.lower()}{which}; --again shows them again."
            session.screen.print(Text(words))
        else:
            which = "to review yet" if wanted.is_everything else "to review that matches; relax the conditions"
            raise LogError(f"{group.words} {'have' if group.is_many else 'has'} no label {which}.")
        session.screen.print(Text(f"{session.n_kept} reviews kept as {reviewer}."))
    return 0


def _judged(log: RunLog, group: RunGroup, reviewer: str) -> set[int]:
    """Returns the labels that the reviewer has judged."""
    return {label for run in group.runs for label in log.read(verdicts_of, run.run_id).get(reviewer, {})}


def _keys() -> str:
    """Waits for a key; returns those that were pressed, Ctrl-D where nothing more will come."""
    try:
        return click.getchar() or _END
    except EOFError:
        return _END
    except OSError:
        raise ServeError("interpret review reads keys: run it in a terminal, or review with interpret serve.") from None


def _line(what: str) -> str:
    """Reads a typed line; empty if it was left empty or given up."""
    try:
        return str(click.prompt(what, default="", show_default=False)).strip()
    except click.Abort:
        return ""
