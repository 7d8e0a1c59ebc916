"""The pages over a small log, for tests: asked in process, through the guard, as a browser would."""

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from starlette.testclient import TestClient

from agent.log.examples import begin_corpus
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import finish_run
from agent.log.scores import add_scores, begin_scoring
from agent.web.server import make_app
from eval.graphs.graph import Graph
from tests import logged

TOKEN = "a-token"
ORIGIN = "http://127.0.0.1:8123"
OURS = {"Origin": ORIGIN}
"""What a browser says of a form on our own pages."""


@dataclass(frozen=True)
class Element:
    """A start tag."""

    name: str
    attributes: tuple[tuple[str, str | None], ...]

    @property
    def shape(self) -> tuple[str, ...]:
        """The tag and the names of its attributes."""
        return (self.name, *(name for name, _ in self.attributes))


class Parsed(HTMLParser):
    """A page as elements and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def client(
    log: RunLog, *, signed_in: bool = True, read_only: bool = False, reviewer: str = "ann", graph: Graph | None = None
) -> TestClient:
    """A browser at the pages over `log`, and of a graph if one is given."""
    app = make_app(log, TOKEN, read_only=read_only, reviewer=reviewer, graph=graph)
    found = TestClient(app, base_url=ORIGIN, follow_redirects=False)
    if signed_in:
        found.get(f"/?token={TOKEN}")
    return found


def scored_log(path: Path, n_labels: int = 40, seed: int = 0) -> RunLog:
    """A finished run of labels of every kind, scored by two scorers, and nothing reviewed; open for reading."""
    dice = random.Random(seed)
    words = ("dog", "cat", "running", "house", "of", "the", "kinds", "music")
    with RunLog.open(path) as log:
        run = log.begin_run(logged.identity(), range(n_labels))
        for feature in range(n_labels):
            status = dice.choice(("labelled", "labelled", "abstained", "failed"))
            said = " ".join(dice.choices(words, k=3))
            log.write(
                add_label,
                run.run_id,
                logged.outcome(
                    feature,
                    status=status,
                    label=said if status == "labelled" else "",
                    explanation=f"Words for {said}." if status == "labelled" else "",
                    confidence=dice.choice((None, 0.25, 0.5, 0.75)) if status == "labelled" else None,
                    reason="" if status == "labelled" else f"noise about {dice.choice(words)}",
                ),
            ).result()
        corpus_id = log.write(begin_corpus, logged.corpus_identity()).result()
        identity = logged.scoring_identity(run.run_id, corpus_id)
        settings = {"scorers": ["detection", "embedding"]}
        scoring_id = log.write(begin_scoring, identity.model_copy(update={"settings": settings})).result()
        for row in log.read(labels_of, run.run_id):
            log.write(add_scores, scoring_id, _scores(row.label_id, row.status, dice)).result()
        log.write(finish_run, run.run_id).result()
    return RunLog.open(path, read_only=True)


def unreleased_log(path: Path) -> None:
    """A log as versions before the first release made it."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in ("_sqlite_migrations (name TEXT)", "runs (id INTEGER)", "labels (id INTEGER)"):
            db.execute(f"CREATE TABLE {table}")


def _scores(label_id: int, status: str, dice: random.Random) -> Sequence[logged.ScoreRow]:
    if status == "failed":
        return []
    unscored = {"value": None, "reason": "no label: the explainer abstained"}
    return [
        logged.score(
            label_id,
            scorer=scorer,
            variant=variant,
            n=20,
            **(unscored if status == "abstained" else {"value": round(dice.random(), 1)}),
        )
        for scorer in ("detection", "embedding")
        for variant in ("label", "shuffled")
    ]
