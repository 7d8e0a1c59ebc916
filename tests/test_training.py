"""What SAEs are trained on and how: rows of documents, states of several hooks in one pass, what a batch keeps."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from probes.hooks.activations import residual
from probes.sae_config import Hook
from probes.subject import Subject
from probes.training.rows import activations_at, read_documents, rows_of
from probes.training.sparse import MatryoshkaBatchTopK, SparseRecipe, train_sparse

TEXTS = ["the cat sat on the mat", "a dog", "the ball in the garden of the old house and the dog ran after it"]
BOS = 1


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.jsonl.gz"])
def test_documents_are_the_lines_of_a_file_packed_or_not(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    file.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    assert read_documents(file) == TEXTS


def test_rows_hold_every_token_once_behind_what_stands_first(subject: Subject) -> None:
    rows = rows_of(TEXTS, subject.tokenizer, BOS, context=8, n_tokens=1000)
    expected = [subject.tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    assert rows.ids.shape[1] == 8
    assert rows.ids[:, 0].eq(BOS).all()
    assert not rows.is_text[:, 0].any()
    assert sorted(rows.ids[rows.is_text].tolist()) == sorted(id for ids in expected for id in ids)
    lengths = rows.is_text.sum(1).tolist()
    assert lengths == sorted(lengths, reverse=True)


def test_rows_end_at_the_number_of_tokens(subject: Subject) -> None:
    assert rows_of(TEXTS, subject.tokenizer, BOS, context=8, n_tokens=10).is_text.sum() == 10


def test_one_pass_gives_what_each_hook_has_on_text(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.training.rows.BATCH_TOKENS", 20)  # several batches, of several widths
    rows = rows_of(TEXTS, subject.tokenizer, BOS, context=8, n_tokens=1000)
    hooks = [Hook(layer, "post") for layer in (0, 1, 2)]
    found = activations_at(subject.model, rows, hooks, torch.float32)
    for hook in hooks:
        expected = residual(subject.model, rows.ids, hook)[rows.is_text]
        torch.testing.assert_close(found[hook], expected, rtol=1e-4, atol=1e-4)


def test_a_batch_keeps_k_activations_a_token_as_all_or_some_of_its_tokens_say() -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    for stride in (1, 8):
        recipe = SparseRecipe(n_features=32, prefixes=(16, 32), k=3, threshold_stride=stride)
        torch.manual_seed(0)
        model = MatryoshkaBatchTopK(16, recipe, torch.zeros(16))
        dense = model.dense(x)
        kept = dense[::stride] >= model._least(dense)
        assert int(kept.sum()) == 3 * len(dense[::stride])


def test_training_explains_what_sparse_directions_made(capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(24, 16, generator=generator), dim=1)
    codes = torch.rand(4000, 24, generator=generator) * (torch.rand(4000, 24, generator=generator) < 0.1)
    x = codes @ directions
    recipe = SparseRecipe(n_features=48, prefixes=(24, 48), k=3, steps=800, batch=256, dead_after=50)
    weights = train_sparse(recipe, x.half())
    capsys.readouterr()
    pre = (x - weights.b_dec) @ weights.W_enc + weights.b_enc
    active = pre * (pre > weights.threshold)
    error = (active @ weights.W_dec + weights.b_dec - x).square().sum()
    assert 1 - error / (x - x.mean(0)).square().sum() > 0.8
    assert float((active > 0).sum(1).float().mean()) == pytest.approx(3, abs=0.5)
