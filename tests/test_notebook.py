"""What a notebook shows: the lines that docs/notebook.md gives, run, and hostile tokens as text."""

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agent.errors import LogError
from agent.evidence.branches import Trim
from agent.evidence.printable import printable
from agent.notebook import SubjectView, TokensView, TreeView, open_log, open_subject
from probes.errors import FeatureError, SettingsError
from probes.evidence import ProbeRequest, ScoredToken, TokenList
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from tests.full_logs import fill, review
from tests.logged import outcome
from tests.trees import DOG, NASTY, tree_of


class Text(HTMLParser):
    """The elements and the text of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def view(subject: Subject) -> SubjectView:
    return SubjectView(subject)


def test_the_lines_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path("interpret.db"), [121])
    subject = open_subject("demo")
    tree = subject.tree(121, scale=2.5, cutoff=0.01)
    tokens = subject.tokens(121, weights="decoder")
    feature = open_log("interpret.db").feature(121)
    assert (tree.value.settings.vector.scale, tokens.value.settings.vector.weights) == (2.5, "decoder")
    for shown, tag in ((tree, "svg"), (tokens, "table"), (feature, "article")):
        assert tag in Text(shown._repr_html_()).tags
        assert "121" in repr(shown)


def test_a_tree_is_what_the_probe_returns(view: SubjectView, subject: Subject) -> None:
    settings = ProbeSettings(
        vector=VectorSettings(weights="blend:0.5", pca=(0.1,)), tree=TreeSettings(cutoff=0.01, top_k=3)
    )
    [expected] = run_probes(subject, [ProbeRequest("tree", 2, settings)])
    assert view.tree(2, weights="blend:0.5", pca=(0.1,), cutoff=0.01, top_k=3).value == expected


def test_a_list_is_what_the_probe_returns(view: SubjectView, subject: Subject) -> None:
    [expected] = run_probes(subject, [ProbeRequest("tokens", 2, ProbeSettings())])
    assert view.tokens(2).value == expected


def test_a_tree_is_trimmed_by_whoever_looks() -> None:
    whole, trimmed = TreeView(DOG, Trim()), TreeView(DOG).trimmed(0.3)
    assert "hound" in whole._repr_html_()
    assert "hound" not in trimmed._repr_html_()
    assert trimmed.value is DOG


@pytest.mark.parametrize("cell", [lambda view: view.tree(0, scael=1), lambda view: view.tokens(0, scale=-1)])
def test_settings_that_are_none(view: SubjectView, cell) -> None:
    with pytest.raises(SettingsError):
        cell(view)


def test_features_that_are_none(view: SubjectView, tmp_path: Path) -> None:
    with pytest.raises(FeatureError):
        view.tree(10**6)
    with pytest.raises(LogError, match="There is no log"):
        open_log(tmp_path / "none.db")
    fill(tmp_path / "log.db", [3])
    with pytest.raises(LogError, match="no label of feature 4; it was asked for 3"):
        open_log(tmp_path / "log.db").feature(4)
    with pytest.raises(LogError, match="no run 9"):
        open_log(str(tmp_path / "log.db")).feature(3, run=9)


def test_hostile_tokens_show_as_text() -> None:
    listed = TokenList(1, ProbeSettings(), tuple(ScoredToken(n, text, 0.5) for n, text in enumerate(NASTY)))
    tree = tree_of([([token], 0.9 / len(NASTY)) for token in NASTY])
    views = (TokensView(listed), NASTY), (TreeView(tree, Trim()), [token.partition('"')[0] for token in NASTY])
    for view, tokens in views:  # a definition ends at its closing quote
        shown = Text(view._repr_html_())
        assert not {"script", "bold"} & set(shown.tags)
        assert all(character.isprintable() or character == "\n" for character in shown.text)
        for token in tokens:
            assert printable(token.strip(" ")) in shown.text
    ElementTree.fromstring(TreeView(tree, Trim())._repr_html_())


def test_a_feature_shows_its_review_and_its_trees(tmp_path: Path) -> None:
    run_id = fill(tmp_path / "log.db", [3], {3: outcome(3, label="</article><script>")})
    review(tmp_path / "log.db", run_id, 3, "edit", label="hounds", note="they <b>bark</b>")
    shown = Text(open_log(tmp_path / "log.db").feature(3)._repr_html_())
    assert (shown.tags.count("article"), shown.tags.count("svg")) == (1, 1)
    assert not {"script", "b"} & set(shown.tags) - {"b"}
    for said in ("</article><script>", "edit by ann", "they <b>bark</b>", "a kind of dog that barks", "nearest to"):
        assert said in shown.text
