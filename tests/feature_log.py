"""A log with one feature of which everything is known, the pages over it, and HTML read back, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from agent.llm.base import Usage
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.examples import add_collected, begin_corpus
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.scores import add_scores, begin_scoring
from agent.schema import Proposal, SettingsChange
from agent.web.server import make_app
from probes.evidence import Contrast, Evidence, Projection, ScoredToken, TokenList, Tree
from probes.examples import Activity, Baseline, Example, FeatureExamples
from probes.settings import ProbeSettings, VectorSettings
from tests import logged
from tests.trees import DOG

FEATURE = 5
TOKEN = "page-token"
PAGE = f"/runs/1/features/{FEATURE}"

_RUNNING = ("a", "bdi", "code", "mark")


@dataclass
class Html(HTMLParser):
    """A page read back: its elements, and its text as a reader sees it."""

    text: str = ""
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser; what is no part of running text stands apart."""
        self.elements.append((tag, dict(attrs)))
        self.text += "" if tag in _RUNNING else " "

    def handle_data(self, data: str) -> None:
        """Called by the parser."""
        self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that tag that has these."""
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]


def read(page: str) -> Html:
    """The page, read back; its text on one line."""
    html = Html()
    html.feed(page)
    html.text = " ".join(html.text.split())
    return html


def side(weights: str, words: str = "") -> list[Evidence]:
    """A tree and a token list of one vector."""
    settings = ProbeSettings(vector=VectorSettings(weights=weights, scale=3.8))
    tree = replace(DOG, feature=FEATURE, settings=settings)
    tokens = (ScoredToken(1, " dog" + words, 0.2), ScoredToken(2, " hound", 0.5), ScoredToken(3, "the", 1.0))
    return [tree, TokenList(FEATURE, settings, tokens)]


def with_contrast(tree: Tree, p_value: float = 0.01) -> Tree:
    """The tree with a null half as probable as it is, all nodes looked at but the last."""
    null = (*(p / 2 for p in tree.probabilities[:-1]), None)
    return replace(tree, contrast=Contrast(null, null, 1.25, p_value, 99))


def write_log(path: Path, words: str = "", **card: Any) -> None:
    """Everything about feature 5 in run 1, `words` put into every text of it; run 2 labels it too."""
    with RunLog.open(path) as log:
        sound = words.encode("utf-8", "replace").decode()  # what is stored as JSON holds no half of a surrogate pair
        identity = logged.identity(subject=logged.card(name=f"tiny{sound}", **card))
        run_id = log.begin_run(identity, [FEATURE, 8, 9]).run_id
        encoder, decoder = side("encoder", words), side("decoder", words)
        assert isinstance(decoder[0], Tree)
        tokens = (ScoredToken(7, " bark" + words, 9.5), ScoredToken(8, " tail", 4.0))
        writes = Projection(FEATURE, encoder[0].settings, tokens, (ScoredToken(9, " of", -3.0),))
        log.write(
            add_evidence, evidence_rows(run_id, FEATURE, 1, [*encoder, with_contrast(decoder[0]), decoder[1], writes])
        ).result()
        log.write(add_evidence, evidence_rows(run_id, FEATURE, 2, side("blend:0.5", words))).result()
        _add_calls(log, run_id, words, sound)
        label = logged.outcome(FEATURE, label="dogs" + words, explanation="Words for dogs." + words, evidence=("E1.1",))
        log.write(add_label, run_id, label).result()
        log.write(add_label, run_id, logged.outcome(8, label="wolves and dogs" + words)).result()
        log.write(add_label, run_id, logged.outcome(9, status="failed", label="", reason="no answer" + words)).result()
        _add_texts(log, run_id, identity, words)
        other = log.begin_run(logged.identity(subject=identity.subject, explainer="other"), [FEATURE]).run_id
        log.write(add_label, other, logged.outcome(FEATURE, label="canines" + words)).result()


@contextmanager
def client(path: Path, **options: Any) -> Iterator[TestClient]:
    """Somebody who has been let in."""
    with RunLog.open(path, read_only=True) as log:
        app = make_app(log, TOKEN, **options)
        with TestClient(app, base_url="http://127.0.0.1") as visitor:
            visitor.get(f"/?token={TOKEN}")
            yield visitor


def _add_calls(log: RunLog, run_id: int, words: str, sound: str) -> None:
    change = SettingsChange(weights="blend:0.5")
    probe = Proposal(action="probe", settings=change, reason="The sides disagree." + sound)
    settled = Proposal(action="label", label="dogs" + sound, confidence=0.7, reason="Both agree." + sound)
    for round, proposal in ((1, probe), (2, settled)):
        asked = logged.request(FEATURE, round=round, prompt=f"Round {round}.{words}")
        told = logged.answer("{}" + words, cost_usd=0.0125, duration_ms=1234.0, usage=Usage(1500, 70))
        logged.add_call(log, run_id, asked, replace(told, value=proposal))


def _add_texts(log: RunLog, run_id: int, identity: Any, words: str) -> None:
    def text(kind: Any, document: str, peak: float, neighbour: int | None = None) -> Example:
        tokens = ("see", f" {document}{words}", " run")
        return Example(FEATURE, kind, document, tokens, (0.0, peak, peak / 4), neighbour=neighbour, quantile=0)

    examples = [
        text("activating", "hound", 4.0),
        text("activating", "terrier", 2.0),
        text("random", "teapot", 0.0),
        text("neighbour", "wolf", 1.0, neighbour=8),
    ]
    activity = Activity(FEATURE, 1000, 10, 4.0, (0.0, 1.0, 2.0, 4.0), (0, 7, 3))
    found = FeatureExamples(FEATURE, activity, examples, [Baseline(FEATURE, "pets" + words, "someone" + words)])
    corpus_id = log.write(begin_corpus, logged.corpus_identity(subject=identity.subject)).result()
    sides = {"hound": "shown", "terrier": "held_out", "teapot": "held_out", "wolf": "held_out"}
    log.write(add_collected, corpus_id, found, sides).result()  # type: ignore[arg-type]
    scoring_id = log.write(begin_scoring, logged.scoring_identity(run_id, corpus_id)).result()
    label_id = log.read(labels_of, run_id, features=[FEATURE])[0].label_id
    items = [
        {"key": "terrier:0", "truth": True, "prediction": False, "reason": None},
        {"key": "teapot:0", "truth": False, "prediction": True, "reason": None},
    ]
    scores = [
        logged.score(label_id, value=0.25, low=0.1, high=0.4, n=2, items=items, metric="balanced_accuracy"),
        logged.score(label_id, variant="shuffled", label="cats" + words, value=0.5, low=0.3, high=0.7, n=2),
        logged.score(label_id, scorer="fuzzing", value=None, reason="the judge refused" + words, metric=""),
    ]
    log.write(add_scores, scoring_id, scores).result()
