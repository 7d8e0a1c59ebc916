"""A ghost made of a token's own row is that token, for every family; and the model is never changed."""

import pytest
import torch
from torch import Tensor, nn

from probes.errors import SubjectError
from probes.evidence import ProbeRequest
from probes.model.substitution import ghosts_at, input_scale, other_tables, rows_at
from probes.probe import run_probes
from probes.settings import PROMPTS, ProbeSettings, TreeSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids
from tests.family_models import random_model
from tests.family_table import FAMILIES

WORD = 290
"""Some ordinary token of the tiny vocabulary."""


def logits_of(subject: Subject, ids: list[int]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = subject.model(torch.tensor([ids])).logits
    return logits


def test_a_row_s_ghost_gives_the_plain_prompt_s_logits(any_subject: Subject) -> None:
    prompt = prompt_ids(any_subject.tokenizer, PROMPTS["definition"], any_subject.card.placeholder_id)
    with_word = list(prompt.ids)
    with_word[prompt.ghost_position] = WORD
    plain = logits_of(any_subject, with_word)
    ghost = any_subject.embedding[[WORD]] * any_subject.input_scale
    with ghosts_at(prompt.ghost_position, ghost, any_subject.embedder):
        haunted = logits_of(any_subject, list(prompt.ids))
    torch.testing.assert_close(haunted, plain, rtol=1e-5, atol=1e-5)
    # and the test can tell: the placeholder itself says something else
    assert not torch.allclose(logits_of(any_subject, list(prompt.ids)), plain, atol=1e-2)


def test_probing_leaves_every_weight_as_it_was(any_subject: Subject) -> None:
    before = {name: tensor.clone() for name, tensor in any_subject.model.state_dict().items()}
    settings = ProbeSettings(tree=TreeSettings(cutoff=1e-2, max_depth=3))
    run_probes(any_subject, [ProbeRequest(kind, 0, settings) for kind in ("tree", "tokens", "projection")])
    after = any_subject.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any_subject.embedder._forward_hooks


def test_the_ghost_leaves_even_after_an_error(subject: Subject) -> None:
    with pytest.raises(RuntimeError, match="trouble"), ghosts_at(0, subject.embedding[:1], subject.embedder):
        raise RuntimeError("trouble")
    assert not subject.embedder._forward_hooks


def test_a_ghost_replaces_one_position_and_not_one_token(subject: Subject) -> None:
    vectors = torch.arange(2.0)[:, None].expand(2, subject.card.d_model)
    with ghosts_at(1, vectors, subject.embedder):
        embedded = subject.embedder(torch.tensor([[7, 7, 7], [7, 7, 7]]))
    assert torch.equal(embedded[:, 1], vectors)
    own = subject.embedder(torch.tensor([7]))[0]
    assert all(torch.equal(embedded[row, place], own) for row in (0, 1) for place in (0, 2))


def test_not_even_an_embedding_that_hands_out_its_weights_is_changed() -> None:
    class Bare(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:
            return self.weight[None, : input.shape[1]]

    module = Bare(10, 4).requires_grad_(False)
    before = module.weight.clone()
    with ghosts_at(1, torch.ones(1, 4), module):
        assert module(torch.tensor([[0, 1, 2]]))[0, 1].eq(1).all()
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("id", [None, 5])
def test_another_table_finds_a_row_of_its_own_at_one_position(id: int | None) -> None:
    torch.manual_seed(0)
    tables = [Scaled(10, 4).requires_grad_(False), nn.Embedding(10, 3).requires_grad_(False)]
    ids = torch.tensor([[7, 8, 9], [1, 2, 3]])
    plain = [table(ids) for table in tables]
    with rows_at(1, tables, id):
        changed = [table(ids) for table in tables]
    for table, before, after in zip(tables, plain, changed, strict=True):
        row = torch.zeros(before.shape[-1]) if id is None else table(torch.tensor(id))
        assert torch.equal(after[:, 1], row.expand(2, -1))
        assert torch.equal(after[:, ::2], before[:, ::2])
        assert torch.equal(table(ids), before)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("llama", ()),
        ("gpt2", ()),  # its positions are a table too, but not of tokens
        ("opt", ()),
        ("gemma3 multimodal", ()),
        ("gemma3n", ("model.embed_tokens_per_layer",)),
        ("gemma4", ("model.embed_tokens_per_layer",)),
    ],
)
def test_tables_that_tokens_are_looked_up_in_again_are_found(name: str, names: tuple[str, ...]) -> None:
    model = random_model(FAMILIES[name].config)
    assert other_tables(model) == tuple(model.get_submodule(name) for name in names)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_scale_is_exact_where_the_module_s_dtype_holds_it() -> None:
    class Gemma(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * torch.tensor(45.2548, dtype=self.weight.dtype)

    torch.manual_seed(0)
    assert input_scale(Gemma(300, 16).to(torch.bfloat16)) == 45.25


class Scaled(nn.Embedding):
    """An embedding that multiplies its rows by a number which its dtype may not hold."""

    factor = 45.2548

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.factor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_scale_is_measured_on_the_module(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Scaled(300, 16).to(dtype)
    assert input_scale(module) == pytest.approx(45.2548, rel=1e-3)
    rows = module.weight[:50].detach()
    again = (rows.float() * input_scale(module)).to(dtype)
    torch.testing.assert_close(again, module(torch.arange(50)).detach())


def test_an_embedding_that_does_more_than_scale_is_refused() -> None:
    class Shifted(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 1

    with pytest.raises(SubjectError, match="Shifted"):
        input_scale(Shifted(30, 8))
