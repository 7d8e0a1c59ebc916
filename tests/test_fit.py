"""Fitting an adapter: the loss is a plain forward's, the gradient reaches d + 1 numbers, a planted bias is found."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from probes.demo.ladder import definitions, named_concept, word_rows
from probes.demo.world import load_world
from probes.errors import SettingsError
from probes.ghost.adapter import FitSettings
from probes.ghost.fitting import Parts, fit, split
from probes.ghost.label_loss import LabelLoss, LabelPair, LabelRows, wording
from probes.ghost.vectors import directions
from probes.presets import SubjectSource
from probes.settings import PROMPTS
from probes.subject import Subject, load_subject
from probes.tokenizer.prompt import prompt_ids
from tests.subjects import N_FEATURES

WORDS = ("cat", "mat", "dog", "ball", "old", "house", "small", "garden", "of", "the")
PAIRS = [LabelPair(feature, word) for feature, word in enumerate(WORDS)]
PARTS = Parts(PAIRS[:5], PAIRS[5:8], PAIRS[8:])
SHORT = FitSettings(weights="encoder", steps=12, batch=3, wording="a {label}")


def mean(nats: Sequence[float]) -> float:
    return float(torch.tensor(nats).mean())


class TestLoss:
    @pytest.mark.parametrize("template", ["{label}", "a kind of {label}", 'a {label} that is"'])
    def test_it_is_the_mean_surprise_of_a_plain_forward(self, any_subject: Subject, template: str) -> None:
        subject = any_subject
        loss = LabelLoss(subject, FitSettings(wording=template, weights="decoder", batch=2))
        scale, bias = torch.tensor(0.5), torch.randn(subject.card.d_model, generator=torch.Generator().manual_seed(1))
        found = loss.each(loss.rows(PAIRS[:5]), scale, bias)
        expected = [plain_loss(subject, template, pair, scale, bias) for pair in PAIRS[:5]]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)

    def test_what_precedes_the_label_is_given(self, subject: Subject) -> None:
        found = wording(subject.tokenizer, "a kind of {label} thing", "cat")
        assert subject.tokenizer.decode(found.ids) == "a kind of cat thing"
        assert subject.tokenizer.decode(found.ids[: found.n_given]).rstrip() == "a kind of"
        assert wording(subject.tokenizer, "{label}", "cat").n_given == 0

    def test_special_tokens_in_a_label_are_spelt_out(self, subject: Subject) -> None:
        special = {*subject.tokenizer.all_special_ids, subject.card.placeholder_id}
        found = wording(subject.tokenizer, "{label}", "<eos> <unused0> <bos>")
        assert not special & {*found.ids}
        assert subject.tokenizer.decode(found.ids) == "<eos> <unused0> <bos>"

    def test_a_feature_without_weights_is_refused(self, subject: Subject) -> None:
        with pytest.raises(SettingsError, match=f"Feature {N_FEATURES - 1} has no direction by encoder weights to"):
            LabelLoss(subject, FitSettings(weights="encoder")).rows(
                [LabelPair(0, "cat"), LabelPair(N_FEATURES - 1, "dog")]
            )

    def test_a_label_beyond_the_model_s_positions_is_refused(self, subject: Subject) -> None:
        with pytest.raises(SettingsError, match="128 positions"):
            LabelLoss(subject, FitSettings(weights="encoder")).rows([LabelPair(0, "q" * 150)])


def plain_loss(subject: Subject, template: str, pair: LabelPair, scale: torch.Tensor, bias: torch.Tensor) -> float:
    """By the formula: one sequence on its own, embeddings given, one position after the other."""
    prompt = prompt_ids(subject.tokenizer, PROMPTS["definition"], subject.card.placeholder_id)
    words = wording(subject.tokenizer, template, pair.label)
    ids = torch.tensor([[*prompt.ids, *words.ids]])
    weights = subject.sae.W_dec[pair.feature]
    with torch.no_grad():
        embeds = subject.model.get_input_embeddings()(ids).clone()
        embeds[0, prompt.ghost_position] = (scale * weights / weights.norm() + bias) * subject.input_scale
        logits = subject.model(inputs_embeds=embeds, use_cache=False).logits[0].float()
    logits[:, subject.card.placeholder_id] = -torch.inf
    first = len(prompt.ids)
    nats = [
        -logits[first + at - 1].log_softmax(dim=0)[words.ids[at]].item() for at in range(words.n_given, len(words.ids))
    ]
    return sum(nats) / len(nats)


class TestFit:
    def test_the_gradient_reaches_scale_and_bias_and_nothing_else(self, subject: Subject) -> None:
        before = {name: parameter.clone() for name, parameter in subject.model.named_parameters()}
        loss = LabelLoss(subject, SHORT)
        scale, bias = torch.tensor(0.5, requires_grad=True), subject.centroid.clone().requires_grad_()
        loss.of(loss.rows(PAIRS), scale, bias).mean().backward()
        assert scale.grad is not None
        assert scale.grad != 0
        assert bias.grad is not None
        assert bias.grad.shape == (subject.card.d_model,)
        assert bias.grad.any()
        fit(subject, PARTS, SHORT)
        for name, parameter in subject.model.named_parameters():
            assert parameter.grad is None
            assert parameter.equal(before[name])

    @pytest.mark.parametrize("learn", ["both", "scale", "bias"])
    def test_only_what_is_to_be_learned_moves(self, subject: Subject, learn: str) -> None:
        found = fit(subject, PARTS, FitSettings.parse({**dict(SHORT), "learn": learn}))
        assert found.steps > 0
        assert (found.scale != pytest.approx(subject.card.default_scale)) == (learn != "bias")
        assert (not found.bias.equal(subject.centroid)) == (learn != "scale")

    def test_it_begins_with_the_unfitted_vector(self, subject: Subject) -> None:
        found = fit(subject, PARTS, SHORT)
        loss = LabelLoss(subject, SHORT)
        default = torch.tensor(subject.card.default_scale)
        for part, losses in ((PARTS.train, found.train), (PARTS.held_out, found.held_out)):
            assert losses.start == pytest.approx(loss.each(loss.rows(part), default, subject.centroid))
            assert losses.end == pytest.approx(loss.each(loss.rows(part), torch.tensor(found.scale), found.bias))
        assert mean(found.train.end) < mean(found.train.start)

    def test_equal_calls_give_equal_numbers_and_another_seed_others(self, subject: Subject) -> None:
        first, again = fit(subject, PARTS, SHORT), fit(subject, PARTS, SHORT)
        assert first.scale == again.scale
        assert first.bias.equal(again.bias)
        other = fit(subject, PARTS, FitSettings.parse({**dict(SHORT), "seed": 1}))
        assert not first.bias.equal(other.bias)

    def test_it_stops_where_the_validation_part_gets_no_better(self, subject: Subject) -> None:
        told: list[int] = []
        overshooting = {"steps": 500, "patience": 10, "learning_rate": 5.0}
        settings = FitSettings.parse({**dict(SHORT), **overshooting})
        found = fit(subject, PARTS, settings, told.append)
        assert sum(told) < 500
        assert mean(found.validation.end) <= mean(found.validation.start)
        if not found.steps:
            assert found.bias.equal(subject.centroid)

    def test_memory_is_bounded_by_the_batch(self, subject: Subject) -> None:
        sizes: list[int] = []
        handle = subject.embedder.register_forward_hook(lambda _m, args, _o: sizes.append(len(args[0])))
        try:
            fit(subject, PARTS, SHORT)
        finally:
            handle.remove()
        assert max(sizes) == SHORT.batch

    def test_no_number_is_one_sentence(self, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        def nats(_loss: LabelLoss, rows: LabelRows, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            return (rows.units @ bias) * scale * (torch.nan if scale.requires_grad else 1.0)

        monkeypatch.setattr(LabelLoss, "of", nats)
        with pytest.raises(SettingsError, match=r"The loss is nan at step 1, so nothing was fitted"):
            fit(subject, PARTS, SHORT)


class TestSplit:
    def test_every_pair_is_in_one_part_and_no_label_in_two(self) -> None:
        pairs = [
            LabelPair(feature, f"{'Label ' if feature % 2 else ' label  '}{feature % 15}") for feature in range(60)
        ]
        for seed in range(20):
            found = split(pairs, 0.3, seed)
            parts = (found.train, found.validation, found.held_out)
            assert sorted(pair.feature for part in parts for pair in part) == [*range(60)]
            labels = [{" ".join(pair.label.lower().split()) for pair in part} for part in parts]
            assert all(labels)
            assert sum(map(len, labels)) == len(set.union(*labels)) == 15

    def test_it_is_the_seed_s(self) -> None:
        assert split(PAIRS * 2, 0.2, 3) == split(PAIRS * 2, 0.2, 3)
        assert len({tuple(split(PAIRS * 2, 0.2, seed).held_out) for seed in range(5)}) > 1

    def test_nothing_need_be_held_out(self) -> None:
        assert split(PAIRS, 0.0, 0).held_out == []

    @pytest.mark.parametrize(
        ("pairs", "words"),
        [
            ([], "0 features with 0 labels"),
            (PAIRS[:9], "too few to fit an adapter on"),
            (PAIRS, "8 features with 8 labels are too few to fit an adapter on .2 more are held out."),
            ([LabelPair(feature, "dog") for feature in range(40)], "40 features with 1 labels"),
        ],
    )
    def test_too_few_labels_are_one_sentence(self, pairs: list[LabelPair], words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            split(pairs, 0.2, 0)


def test_a_planted_bias_is_found_and_helps_with_labels_never_seen() -> None:
    """Features of the demo whose directions are those of known words, seen from a point that is not the centroid."""
    demo = load_subject(SubjectSource(device="cpu"))
    rows, senses = word_rows(demo, load_world())
    chosen = range(0, len(rows), len(rows) // 48)
    offset = torch.randn(demo.card.d_model, generator=torch.Generator().manual_seed(3))
    offset *= demo.card.default_scale / offset.norm()
    columns = demo.sae.W_enc.clone()
    columns[:, : len(chosen)] = (rows[[*chosen]] - demo.centroid - offset).T
    subject = replace(demo, sae=replace(demo.sae, W_enc=columns))
    parts = split([LabelPair(feature, senses[at].concept) for feature, at in enumerate(chosen)], 0.3, seed=0)
    found = fit(subject, parts, FitSettings(weights="encoder", steps=60))
    assert torch.cosine_similarity(found.bias - subject.centroid, offset, dim=0) > 0.4
    for losses in (found.train, found.validation, found.held_out):
        assert mean(losses.end) < mean(losses.start) / 2
    assert named(subject, parts, subject.card.default_scale, subject.centroid) <= 0.1
    assert named(subject, parts, found.scale, found.bias) >= 0.4


def named(subject: Subject, parts: Parts, scale: float, bias: torch.Tensor) -> float:
    """The share of held-out features whose greedy definition names their concept."""
    vectors = scale * directions(subject, [pair.feature for pair in parts.held_out], "encoder") + bias
    concepts = [named_concept(text, load_world()) for text in definitions(subject, vectors)]
    return mean([float(name == pair.label) for name, pair in zip(concepts, parts.held_out, strict=True)])
