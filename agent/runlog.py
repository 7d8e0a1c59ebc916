"""The run log: one SQLite file that holds everything a run saw, asked, was told and concluded.

How it is stored lies in `agent.store`: one thread writes, in transactions that group what is waiting, and a write's
future resolves when it would survive a power cut; reading goes through a connection of its own and never waits for a
run.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlite_utils import Database

from agent.comparisons import Comparisons
from agent.errors import LogError
from agent.llm.base import Answer, Request
from agent.schema import Outcome, Status
from agent.store import batches, calibrations, examples, identical, merging, reading, reviews, scores, writing
from agent.store.batches import BatchRow, BatchStatus, Packed, Reserved
from agent.store.calibrations import Calibration
from agent.store.database import (
    check_readable,
    journal_note,
    log_errors,
    one_transaction,
    open_other,
    open_readable,
    open_writable,
)
from agent.store.lock import RunLock, is_held
from agent.store.merging import Merged
from agent.store.reviews import Review, ReviewRow
from agent.store.rows import (
    CallRow,
    CorpusIdentity,
    CorpusRow,
    Dispatch,
    LabelRow,
    RunIdentity,
    RunRow,
    RunSummary,
    ScoreRow,
    ScoringIdentity,
    ScoringRow,
    Spent,
)
from agent.store.writer import Writer
from probes.evidence import Evidence
from probes.examples import ExampleKind, FeatureExamples, Split
from probes.presets import SubjectCard

__all__ = [
    "CallRow",
    "CorpusIdentity",
    "CorpusRow",
    "Dispatch",
    "LabelRow",
    "Merged",
    "Review",
    "ReviewRow",
    "RunIdentity",
    "RunLog",
    "RunRow",
    "RunSummary",
    "ScoreRow",
    "ScoringIdentity",
    "ScoringRow",
    "Spent",
]

P = ParamSpec("P")
T = TypeVar("T")

_REVIEW_WAIT_S = 5.0
"""A reviewer waits for a run's transaction, of which each takes a fraction of a second, but not for ever."""


class RunLog:
    """An open log. Every method raises `LogError` where the file is at fault; any thread may call any of them."""

    def __init__(self, path: Path, reader: Database, writer: Writer | None, note: str | None) -> None:
        """Use `RunLog.open`."""
        self.path = path
        self.journal_note = note
        """A sentence for the user where the file system forbids SQLite's usual journal, else None."""
        self._reader = reader
        self._reading = Lock()
        self._writer = writer
        self._locks: dict[int, RunLock] = {}
        self._scoring_locks: dict[int, RunLock] = {}

    @classmethod
    def open(cls, path: Path, read_only: bool = False) -> Self:
        """The log at `path`, made if there is none, unless `read_only`.

        Raises `LogError` for a file that is not a log, is damaged, newer than this version, or cannot be read or
        written here; such a file is left as it is.
        """
        if read_only:
            check_readable(path)
            return cls(path, open_readable(path), None, None)
        db = open_writable(path)
        note = journal_note(db, path)
        return cls(path, open_readable(path), Writer(db, str(path)), note)

    @classmethod
    def merge(cls, path: Path, others: Sequence[Path]) -> list[Merged]:
        """Brings what other logs hold into the one at `path`, made if there is none: from all of them or from none.

        Raises `LogError` for a log that cannot be read or is `path` itself, and where another process writes a run
        that one of theirs is part of.
        """
        with ExitStack() as stack:
            for other in others:
                if path.exists() and other.exists() and path.samefile(other):
                    raise LogError(f"{other} is the log that would be written to; name another log to import.")
            sources = [(other, stack.enter_context(open_other(other))) for other in others]
            log = stack.enter_context(cls.open(path))
            return log._write(log._merge, sources).result()

    def begin_run(self, identity: RunIdentity, features: Sequence[int], new: bool = False) -> RunRow:
        """Begins a run, or resumes or extends the latest one of the same identity, and holds it until `close`.

        A feature that failed counts as not done. Raises `LogError` if another process is writing that run.
        """
        return self._write(self._begin, identity, features, new).result()

    def add_evidence(self, run_id: int, feature: int, round: int, evidence: Sequence[Evidence]) -> Future[None]:
        """Keeps one round's evidence, all of it or nothing.

        Encodes it in the calling thread, so that other writes do not wait for that.
        """
        rows = writing.evidence_rows(run_id, feature, round, evidence)
        return self._write(writing.add_rows, "evidence", rows)

    def add_rounds(self, run_id: int, rounds: Sequence[tuple[int, int, Sequence[Evidence]]]) -> Future[None]:
        """Keeps a round of evidence of each of several features, of all of them or of none: feature, round, pieces."""
        rows = [
            row for feature, round, pieces in rounds for row in writing.evidence_rows(run_id, feature, round, pieces)
        ]
        return self._write(writing.add_rows, "evidence", rows)

    def begin_call(self, run_id: int, request: Request, dispatch: Dispatch) -> Future[int]:
        """Keeps a request that is about to be sent; should nothing follow, it stands as lost. The call's id."""
        return self._write(writing.begin_call, run_id, request, dispatch)

    def begin_batch(
        self, run_id: int, scoring_id: int | None, provider: str, token: str, calls: Sequence[Packed]
    ) -> Future[Reserved]:
        """Keeps calls that are about to be sent together; should nothing follow, they are looked for."""
        return self._write(batches.begin_batch, run_id, scoring_id, provider, token, calls)

    def note_batch_sent(self, batch_id: int, provider_id: str) -> Future[None]:
        """Keeps what the provider calls a batch."""
        return self._write(batches.note_sent, batch_id, provider_id)

    def end_batch(self, batch_id: int, status: BatchStatus, note: str | None = None) -> Future[None]:
        """Keeps that nothing more is to be expected of a batch."""
        return self._write(batches.end_batch, batch_id, status, note)

    def open_batches(self, run_id: int, scoring_id: int | None = None) -> list[BatchRow]:
        """The batches whose answers are not in the log: of a run's loops, or of a scoring."""
        return self._read(batches.open_batches, run_id, scoring_id)

    def batches(self, run_id: int | None = None) -> list[BatchRow]:
        """The batches of a run, or all of them."""
        return self._read(batches.batches, run_id)

    def has_draw(self, run_id: int, request: Request, question: str) -> bool:
        """Tells whether another run or scoring has an answer to that question that this one was not given yet."""
        return self._read(identical.has_draw, run_id, request, question)

    def take_draw(self, run_id: int, request: Request, dispatch: Dispatch) -> Future[bool]:
        """Keeps such an answer as this request's own; false where there is none any more."""
        return self._write(identical.take_draw, run_id, request, dispatch)

    def hold_scoring(self, scoring_id: int) -> None:
        """Holds a scoring until `close`. Raises `LogError` if another process does."""
        if scoring_id not in self._scoring_locks:
            self._scoring_locks[scoring_id] = RunLock(self.path, scoring_id, "scoring")

    def end_call(self, call_id: int, answer: Answer) -> Future[None]:
        """Keeps what came of a request, good or not."""
        return self._write(writing.end_call, call_id, answer)

    def add_label(self, run_id: int, outcome: Outcome) -> Future[None]:
        """Keeps a feature's outcome; in place of a failed one, never of another. Of a probed one nothing is left to
        keep."""
        return self._write(writing.add_label, run_id, outcome)

    def finish_run(self, run_id: int) -> None:
        """Notes that nothing asked of the run is left."""
        self._write(writing.finish_run, run_id).result()

    def has_evidence(self, run_id: int, feature: int, round: int) -> bool:
        """Tells whether that round was probed."""
        return self._read(reading.has_evidence, run_id, feature, round)

    def evidence_of(self, run_id: int, feature: int, round: int) -> list[Evidence]:
        """One round's evidence as it was stored, empty when there is none."""
        return self._read(reading.evidence_of, run_id, feature, round)

    def evidence_rounds(self, run_id: int, feature: int) -> dict[int, list[Evidence]]:
        """A feature's evidence by round."""
        return self._read(reading.evidence_rounds, run_id, feature)

    def attempts_of(self, run_id: int, request: Request) -> list[CallRow]:
        """Every attempt at that question, in order; a good one is not asked again, so that nothing is paid twice."""
        return self._read(reading.attempts_of, run_id, request)

    def runs_of(self, subject: SubjectCard) -> dict[int, dict[str, Any]]:
        """The settings of every run of that very subject, on whatever device, by the run's number, latest first."""
        return self._read(reading.runs_of, subject)

    def done(self, identity: RunIdentity) -> frozenset[int]:
        """The features that the latest run of that identity is done with; empty if there is none."""
        return self._read(reading.done, identity)

    def spent(self, run_id: int, scoring_id: int | None = None) -> Spent:
        """Returns what the run's calls have used so far, by every invocation: those of its loops, or those of a
        scoring.
        """
        return self._read(reading.spent, run_id, scoring_id)

    def calls_of(self, run_id: int, feature: int) -> list[CallRow]:
        """Every attempt of a feature, in order."""
        return self._read(reading.calls_of, run_id, feature)

    def runs(self) -> list[RunSummary]:
        """Every run, oldest first."""
        return self._read(reading.runs)

    def run(self, run_id: int | None) -> RunSummary:
        """Returns that run, or the one that a command began or resumed last. Raises `LogError` if there is none."""
        wanted = self.latest_run() if run_id is None else run_id
        found = self._read(reading.runs, wanted) if wanted is not None else []
        if found:
            return found[0]
        known = self._read(reading.run_ids)
        if not known:
            raise LogError(f"{self.path} holds no run yet; interpret --features 0-20 makes one.")
        raise LogError(f"{self.path} has no run {wanted}; its latest runs are {', '.join(map(str, known[-5:]))}.")

    def latest_run(self) -> int | None:
        """The run that a command began or resumed last."""
        return self._read(reading.latest_run)

    def labels(
        self,
        run_id: int,
        search: str | None = None,
        status: Status | None = None,
        features: Collection[int] | None = None,
    ) -> list[LabelRow]:
        """Labels of a run by feature, those that meet every condition given.

        `search` finds labels and explanations that hold all of its words, each by its beginning or its stem; without
        a word in it (`=>`) it is looked for as it stands.
        """
        return self._read(reading.labels, run_id, search, status, features)

    def begin_corpus(self, identity: CorpusIdentity) -> int:
        """The corpus of that identity, made if there is none."""
        return self._write(examples.begin_corpus, identity).result()

    def note_pass(self, corpus_id: int, n_tokens: int | None, l0: float | None, explained: float | None) -> None:
        """Keeps what the pass over a corpus found out about it."""
        self._write(examples.note_pass, corpus_id, n_tokens, l0, explained).result()

    def add_collected(self, corpus_id: int, found: FeatureExamples, splitting: examples.Splitting) -> Future[None]:
        """Keeps a feature's activity and examples, each on the side of its document."""
        activity, rows = examples.collected_rows(corpus_id, found, splitting)
        return self._write(examples.add_collected, activity, rows)

    def add_corpus(
        self, identity: CorpusIdentity, found: Sequence[tuple[FeatureExamples, examples.Splitting]]
    ) -> Future[int]:
        """Keeps what was collected of several features under the corpus of that identity, all of it or nothing."""
        return self._write(examples.add_corpus, identity, found)

    def corpora(self, fingerprint: str | None = None) -> list[CorpusRow]:
        """The corpora of a subject, or all, the latest first."""
        return self._read(examples.corpora, fingerprint)

    def latest_corpus(self, fingerprint: str, features: Collection[int]) -> CorpusRow | None:
        """The latest of a subject's corpora that has examples of any of the features."""
        return self._read(examples.latest_corpus, fingerprint, features)

    def corpus_identity(self, corpus_id: int) -> str:
        """Returns the identity, in any log, of the corpus of that number. Raises `LogError` if there is none."""
        return self._read(examples.corpus_identity, corpus_id)

    def find_corpus(self, identity: str) -> int | None:
        """The number here of the corpus of that identity, where there is one."""
        return self._read(examples.find_corpus, identity)

    def collected_features(self, corpus_id: int) -> frozenset[int]:
        """The features whose examples the corpus has."""
        return self._read(examples.collected_features, corpus_id)

    def collected(
        self,
        corpus_id: int,
        feature: int,
        split: Split | None = None,
        kinds: Collection[ExampleKind] | None = None,
    ) -> FeatureExamples | None:
        """Returns a corpus's examples of a feature, of one side and some kinds or all; None if it was not looked at."""
        return self._read(examples.collected, corpus_id, feature, split, kinds)

    def find_scoring(self, identity: ScoringIdentity) -> int | None:
        """The scoring of that identity, where it was begun."""
        return self._read(scores.find_scoring, identity)

    def begin_scoring(self, identity: ScoringIdentity) -> int:
        """The scoring of that identity, made if there is none."""
        return self._write(scores.begin_scoring, identity).result()

    def add_scores(self, scoring_id: int, found: Sequence[ScoreRow]) -> Future[None]:
        """Keeps scores, in the place of those that a scorer has given the same variants of a label before."""
        return self._write(scores.add_scores, scoring_id, found)

    def scorings(self, run_id: int) -> list[ScoringRow]:
        """Returns the scorings of a run's labels, the latest first."""
        return self._read(scores.scorings, run_id)

    def scores(self, scoring_id: int, label_id: int | None = None) -> list[ScoreRow]:
        """The scores of a scoring, of one label or all, by feature."""
        return self._read(scores.scores, scoring_id, label_id)

    def latest_scores(self, run_id: int, label_id: int) -> tuple[ScoringRow, list[ScoreRow]] | None:
        """The latest scoring of a run that has scores of the label, and these; None where there is none."""
        return self._read(scores.latest_scores, run_id, label_id)

    def review(self, label_id: int, reviewer: str, review: Review) -> None:
        """Keeps what a reviewer says of a label, in a short transaction: while a run writes, and if open for reading.

        Raises `LogError`, and nothing is kept, where the log stays locked.
        """
        with one_transaction(self.path, _REVIEW_WAIT_S) as db:
            reviews.add_review(db, label_id, reviewer, review)

    def undo_review(self, label_id: int, reviewer: str) -> bool:
        """Takes back the reviewer's latest review of a label; False where none stands. Otherwise as `review`."""
        with one_transaction(self.path, _REVIEW_WAIT_S) as db:
            return reviews.undo_review(db, label_id, reviewer)

    def reviews_of(self, label_id: int) -> list[ReviewRow]:
        """Everything said of a label, oldest first, also what was taken back."""
        return self._read(reviews.reviews_of, [label_id])

    def add_calibration(self, found: Calibration) -> int:
        """Keeps a calibration beside those before it; its id."""
        return self._write(calibrations.add_calibration, found).result()

    def give_probabilities(self, calibration_id: int, given: Mapping[int, float | None]) -> None:
        """Keeps the probabilities of labels, in the place of those that they had."""
        self._write(calibrations.give_probabilities, calibration_id, given).result()

    def is_held(self, run_id: int) -> bool:
        """Tells whether a process is writing that run now."""
        return is_held(self.path, run_id)

    def ask(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer to a question of `agent.store.browsing` or another of its modules, which pages ask many of."""
        return self._read(query, *args, **kwargs)

    @property
    def comparisons(self) -> Comparisons:
        """The part of the log that is about settings compared."""
        return Comparisons(self._read, self._write)

    def close(self) -> None:
        """Writes what is queued, frees the runs and closes the file. Raises `LogError` if any write has failed."""
        with self._reading:
            self._reader.close()  # before the writer: the last to leave clears the journal away, and a reader cannot
        if self._writer is not None:
            self._writer.close()
        for lock in (*self._locks.values(), *self._scoring_locks.values()):
            lock.release()
        if self._writer is not None:
            self._writer.raise_fault()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes; a fault of the log does not hide the error that ended the block."""
        try:
            self.close()
        except LogError:
            if error is None:
                raise

    def _begin(self, db: Database, identity: RunIdentity, features: Sequence[int], new: bool) -> RunRow:
        # Finding and locking are one transaction: of two processes that begin the same run at once, one is refused.
        found = None if new else reading.find_run(db, identity)
        run_id = writing.add_run(db, identity) if found is None else found
        self._hold(run_id)
        done = writing.add_invocation(db, run_id, features, identity.subject.device)
        return RunRow(run_id, resumed=found is not None, done=done)

    def _merge(self, db: Database, sources: Sequence[tuple[Path, Database]]) -> list[Merged]:
        return [merging.merge(db, source, other, self._hold) for other, source in sources]

    def _hold(self, run_id: int) -> None:
        if run_id not in self._locks:
            self._locks[run_id] = RunLock(self.path, run_id)

    def _write(self, action: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._writer is None:
            raise LogError(f"The log {self.path} was opened for reading only.")
        return self._writer.submit(lambda db: action(db, *args, **kwargs))

    def _read(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._reading, log_errors(self.path):
            return query(self._reader, *args, **kwargs)
