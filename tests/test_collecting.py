"""The example pass: counts, windows and activations are a plain one's; samples are fair; faults are told."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.collect import corpus_pass
from eval.collect import windows as windows_module
from eval.collect.corpora import CorpusFaults, Document, documents
from eval.collect.corpus_pass import Collection, CollectSettings, PassObserver, collect
from eval.collect.self_check import SelfCheck
from eval.errors import ExamplesError
from probes.examples import Example, FeatureExamples
from probes.hooks.activations import residual
from probes.presets import SubjectSource
from probes.sae_config import Hook
from probes.subject import Subject, load_subject
from tests.fitting import N_FEATURES, RULES, fitting, texts, with_config
from tests.plain_pass import PlainWindow, plain_windows
from tests.subjects import FAMILIES, tiny_subject

CHOSEN = [3, 60, 17, 0]
CONTEXT = 40
SMALL = CollectSettings(context=CONTEXT, top=5, per_cell=2, pool=30)
EXHAUSTIVE = CollectSettings(context=CONTEXT, top=400, per_cell=400, pool=400)
TOLERANCE = {"rel": 1e-3, "abs": 1e-4}


def run(subject: Subject, corpus: Sequence[Document], settings: CollectSettings = SMALL, **changes: Any) -> Collection:
    features = changes.pop("features", CHOSEN)
    return collect(subject, corpus, features, settings.model_copy(update=changes))


@pytest.fixture(autouse=True)
def many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, so that ranges grow and windows compete while the pass goes on."""
    monkeypatch.setattr(corpus_pass, "BATCH_TOKENS", 600)
    monkeypatch.setattr(corpus_pass, "forward_tokens", lambda _: 200)
    monkeypatch.setattr(windows_module, "_SORTED", 32)


@pytest.fixture(scope="module")
def corpus() -> list[Document]:
    return texts(60)


@pytest.fixture(scope="module")
def fit(subject_of: Callable[[str], Subject]) -> Subject:
    return fitting(subject_of("gemma"))


@pytest.fixture(scope="module")
def windows(fit: Subject, corpus: list[Document]) -> list[PlainWindow]:
    return plain_windows(fit, corpus, CONTEXT)


def where(example: Example) -> tuple[str, int]:
    return example.document, example.start


def assert_like_plain(found: FeatureExamples, windows: Sequence[PlainWindow], n_top: int) -> None:
    """Counts, and the strongest windows with their activations, are those of the plain pass."""
    values = [value for window in windows for value in window.values(found.feature) if value > 0]
    activity = found.activity
    assert activity is not None
    assert (activity.n_active, sum(activity.counts)) == (len(values), len(values))
    assert activity.n_tokens == sum(not special for window in windows for special in window.special)
    assert activity.maximum == pytest.approx(max(values), **TOLERANCE)
    assert activity.counts == pytest.approx(np.histogram(values, activity.edges)[0], abs=1)
    different = {window.ids: window for window in reversed(windows)}.values()
    peaks = sorted((max(window.values(found.feature)) for window in different), reverse=True)
    top = [example.peak for example in found.examples[:n_top]]
    assert top == pytest.approx([peak for peak in peaks[:n_top] if peak > 0], **TOLERANCE)
    for example in found.examples:
        assert_is_cut_of(example, windows)


def assert_is_cut_of(example: Example, windows: Sequence[PlainWindow]) -> None:
    """The example is a stretch of one window, with that window's activations, its peak among them."""
    n = len(example.tokens)
    [window] = [w for w in windows if w.document == example.document and 0 <= example.start - w.start <= len(w.ids) - n]
    first = example.start - window.start
    values = window.values(example.feature)
    assert example.token_ids == window.ids[first : first + n]
    assert list(example.activations) == pytest.approx(values[first : first + n], **TOLERANCE)
    assert example.peak == pytest.approx(max(values), **TOLERANCE)
    assert n == min(64, len(window.ids))


@pytest.mark.parametrize(("family", "rule"), list(product(FAMILIES, RULES)))
def test_the_pass_finds_what_a_plain_one_finds(
    subject_of: Callable[[str], Subject], corpus: list[Document], family: str, rule: str
) -> None:
    subject = fitting(subject_of(family), rule)
    found, windows = run(subject, corpus), plain_windows(subject, corpus, CONTEXT)
    assert list(found.features) == CHOSEN
    assert found.n_documents == len(corpus)
    for collected in found.features.values():
        assert_like_plain(collected, windows, SMALL.top)


@pytest.mark.parametrize(
    "changes", [{"prepends_bos": False}, {"hook": Hook(1, "pre")}, {"hook": Hook(0, "post")}, {"centres_input": True}]
)
def test_the_sae_s_configuration_is_followed(subject: Subject, corpus: list[Document], changes: dict[str, Any]) -> None:
    fit = fitting(subject, **{key: value for key, value in changes.items() if key == "hook"})
    changed = with_config(fit, **changes)
    found = run(changed, corpus)
    for collected in found.features.values():
        assert_like_plain(collected, plain_windows(changed, corpus, CONTEXT), SMALL.top)


def test_long_windows_are_cut_around_their_peaks(fit: Subject) -> None:
    corpus = texts(20, longest=300)
    found = run(fit, corpus, context=120)
    windows = plain_windows(fit, corpus, 120)
    assert any(len(window.ids) > 64 for window in windows)
    for collected in found.features.values():
        assert_like_plain(collected, windows, SMALL.top)
        for example in collected.examples:
            assert len(example.tokens) <= 64


def test_special_tokens_never_count(fit: Subject, corpus: list[Document]) -> None:
    eos = fit.tokenizer.eos_token_id
    found = run(fit, corpus[:15], EXHAUSTIVE, features=range(N_FEATURES))
    examples = [example for collected in found.features.values() for example in collected.examples]
    there = [(e, place) for e in examples for place, i in enumerate(e.token_ids or ()) if i == eos]
    assert there
    assert all(example.activations[place] == 0 for example, place in there)
    assert not any(fit.tokenizer.bos_token_id in (example.token_ids or ()) for example in examples)


def test_texts_join_to_what_was_read(fit: Subject) -> None:
    found = run(fit, texts(60, longest=20), EXHAUSTIVE, context=128)
    by_id = {document.id: document.text for document in texts(60, longest=20)}
    whole = [e for c in found.features.values() for e in c.examples if e.start == 0 and len(e.tokens) < 60]
    assert whole
    for example in whole:
        assert example.text == by_id[example.document]
    assert any("🙂" in example.tokens for example in whole)


@pytest.mark.parametrize("feature", CHOSEN)
def test_with_room_for_all_every_firing_window_is_kept_once_in_its_stratum(
    fit: Subject, corpus: list[Document], windows: list[PlainWindow], feature: int
) -> None:
    [collected] = run(fit, corpus, EXHAUSTIVE, features=[feature]).features.values()
    activating = {window.ids for window in windows if max(window.values(feature)) > 0}
    assert Counter(example.token_ids for example in collected.examples) == Counter(activating)
    highest = max(example.peak for example in collected.examples)
    for example in collected.examples:
        assert example.quantile is not None
        assert (9 - example.quantile) / 10 <= example.peak / highest + 1e-6
        assert example.peak / highest <= (10 - example.quantile) / 10 + 1e-6


def cell(example: Example, highest: float) -> int:
    """The sixteenth of the range up to a power of two the example's peak lies in."""
    return int(16 * example.peak / 2.0 ** math.frexp(highest)[1])


def test_the_sample_covers_the_range_and_repeats_no_top_window(fit: Subject, corpus: list[Document]) -> None:
    [collected] = run(fit, corpus, top=3, per_cell=2, features=[3]).features.values()
    assert len({where(example) for example in collected.examples}) == len(collected.examples)
    top, sample = collected.examples[:3], collected.examples[3:]
    highest = top[0].peak
    assert max(Counter(cell(example, highest) for example in sample).values()) <= 2
    everything = run(fit, corpus, EXHAUSTIVE, features=[3]).features[3].examples
    there = Counter(cell(example, highest) for example in everything)
    shown = Counter(cell(example, highest) for example in (*top, *sample))
    assert len(there) > 5
    assert set(shown) == set(there)
    assert all(shown[part] >= min(2, there[part]) for part in there)


def test_the_sample_is_fair(fit: Subject, corpus: list[Document]) -> None:
    """Over many seeds every window of a part of the range is drawn about as often as the others."""
    examples = run(fit, corpus, EXHAUSTIVE, features=[3]).features[3].examples
    highest = examples[0].peak
    everything = [example for example in examples if cell(example, highest) == 6]
    drawn: Counter[tuple[str, int]] = Counter()
    n_seeds = 40
    for seed in range(n_seeds):
        examples = run(fit, corpus, top=1, per_cell=1, features=[3], seed=seed).features[3].examples
        drawn.update(where(example) for example in examples if cell(example, highest) == 6)
    assert drawn.total() == n_seeds
    assert set(drawn) <= {where(example) for example in everything}
    share = n_seeds / len(everything)
    assert max(drawn.values()) <= share + 5 * math.sqrt(share)
    assert len(drawn) >= 0.5 * len(everything)


def test_the_same_seed_gives_the_same_and_another_seed_others(fit: Subject, corpus: list[Document]) -> None:
    first, again, other = (run(fit, corpus, seed=seed) for seed in (0, 0, 1))
    assert first.features == again.features
    assert first.pool.windows == again.pool.windows
    assert first.features != other.features
    assert first.features[3].activity == other.features[3].activity


def test_the_size_of_batches_decides_nothing(
    fit: Subject, corpus: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = run(fit, corpus)
    monkeypatch.undo()
    large = run(fit, corpus)
    assert [w.token_ids for w in small.pool.windows] == [w.token_ids for w in large.pool.windows]
    for feature in CHOSEN:
        one, other = small.features[feature], large.features[feature]
        assert one.activity is not None
        assert other.activity is not None
        assert one.activity.n_active == other.activity.n_active
        assert one.activity.counts == other.activity.counts
        peaks = [[example.peak for example in found.examples[: SMALL.top]] for found in (one, other)]
        assert peaks[0] == pytest.approx(peaks[1], **TOLERANCE)


def test_the_pool_has_the_peaks_of_every_chosen_feature(fit: Subject) -> None:
    pool = run(fit, texts(30, longest=300), context=120, pool=25).pool
    windows = plain_windows(fit, texts(30, longest=300), 120)
    assert pool.features == tuple(CHOSEN)
    assert pool.peaks.shape == (25, len(CHOSEN))
    assert len({(w.document, w.start) for w in pool.windows}) == 25
    for stretch, peaks in zip(pool.windows, pool.peaks, strict=True):
        for feature, peak in zip(CHOSEN, peaks, strict=True):
            [window] = [
                w for w in windows if w.document == stretch.document and w.start <= stretch.start < w.start + 119
            ]
            first = stretch.start - window.start
            assert stretch.token_ids == window.ids[first : first + 64]
            assert peak == pytest.approx(max(window.values(feature)[first : first + 64]), **TOLERANCE)


@pytest.mark.parametrize("apart", [True, False])
def test_windows_of_the_same_tokens_are_kept_once_and_counted_each_time(
    fit: Subject, corpus: list[Document], apart: bool
) -> None:
    order = [(n, d) for n in range(3) for d in corpus] if apart else [(n, d) for d in corpus for n in range(3)]
    copies = [Document(f"{document.where}-{n}", document.text) for n, document in order]
    once, thrice = run(fit, corpus, EXHAUSTIVE), run(fit, copies, EXHAUSTIVE)
    assert len(once.pool.windows) == len(thrice.pool.windows)
    for feature in CHOSEN:
        one, three = once.features[feature], thrice.features[feature]
        assert one.activity is not None
        assert three.activity is not None
        assert three.activity.n_active == 3 * one.activity.n_active
        assert {e.token_ids for e in one.examples} == {e.token_ids for e in three.examples}
        assert len(one.examples) == len(three.examples)


def test_no_more_tokens_are_read_than_asked_for(fit: Subject, corpus: list[Document]) -> None:
    watch = Told()
    found = collect(fit, iter(corpus), CHOSEN, SMALL.model_copy(update={"n_tokens": 333}), watch)
    eos = fit.tokenizer.eos_token_id
    ids = [i for document in corpus for i in fit.tokenizer.encode(document.text, add_special_tokens=False)][:333]
    assert found.n_tokens == sum(watch.n_read) == sum(i != eos for i in ids)


def test_a_pass_that_is_told_to_stop_has_what_it_read(fit: Subject, corpus: list[Document]) -> None:
    watch = Told(most=1)
    found, whole = collect(fit, corpus, CHOSEN, SMALL, watch), run(fit, corpus)
    assert watch.checks == [found.check] == [whole.check]
    assert 0 < found.n_tokens == sum(watch.n_read) < whole.n_tokens
    assert watch.n_spelled == len(found.features) == len(CHOSEN)
    for collected in found.features.values():
        assert collected.activity is not None
        assert collected.activity.n_tokens == found.n_tokens


@dataclass
class Told(PassObserver):
    """Remembers what it is told, and stops a pass after so many batches."""

    most: int = 1000
    n_read: list[int] = field(default_factory=list)
    checks: list[SelfCheck] = field(default_factory=list)
    n_spelled: int = 0

    def checked(self, check: SelfCheck) -> None:
        self.checks.append(check)

    def read(self, n_tokens: int) -> None:
        assert self.checks
        self.n_read.append(n_tokens)

    def stops(self) -> bool:
        return len(self.n_read) >= self.most

    def spelled(self, of: int) -> None:
        assert of == len(CHOSEN)
        self.n_spelled += 1


def test_a_feature_that_never_fires_has_counts_and_no_examples(fit: Subject, corpus: list[Document]) -> None:
    assert fit.sae.threshold is not None
    deaf = replace(fit, sae=replace(fit.sae, threshold=fit.sae.threshold.index_fill(0, torch.tensor([17]), 1e9)))
    found = run(deaf, corpus)
    dead, live = found.features[17], found.features[3]
    assert dead.examples == []
    assert dead.activity is not None
    assert (dead.activity.n_active, dead.activity.maximum, dead.activity.counts) == (0, 0, ())
    assert dead.activity.n_tokens == found.n_tokens
    assert live.examples


def test_the_self_check_is_that_of_the_whole_sae(
    fit: Subject, corpus: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_pass, "BATCH_TOKENS", 100_000)
    monkeypatch.setattr(windows_module, "_SORTED", 1000)
    check, windows = run(fit, corpus).check, plain_windows(fit, corpus, CONTEXT)
    counted = [~torch.tensor(window.special) for window in windows]
    activations = torch.cat([window.activations[keep] for window, keep in zip(windows, counted, strict=True)])
    assert check.n_tokens == len(activations)
    assert check.l0 == pytest.approx(float((activations > 0).sum(1).float().mean()), rel=1e-3)
    ids = [torch.tensor([[fit.tokenizer.bos_token_id, *window.ids]]) for window in windows]
    states = [residual(fit.model, i, fit.sae.config.hook)[0, 1:] for i in ids]
    x = torch.cat([state[keep] for state, keep in zip(states, counted, strict=True)])
    error, variance = (fit.sae.reconstruct(x) - x).square().sum(), (x - x.mean(0)).square().sum()
    assert check.explained_variance == pytest.approx(float(1 - error / variance), rel=1e-3)


@pytest.fixture(scope="module")
def demo() -> Subject:
    return load_subject(SubjectSource(name="demo", device="cpu"))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            lambda s: with_config(s, hook=Hook(2, "post")),
            "at blocks.0.hook_resid_post it fits, so the layer is likely wrong",
        ),
        (lambda s: replace(s, sae=replace(s.sae, input_scale=5.0)), "0.2 times as large it fits, so the normalisation"),
        (lambda s: replace(s, sae=replace(s.sae, input_scale=0.05)), "20 times as large it fits, so the normalisation"),
        (lambda s: replace(s, sae=replace(s.sae, W_enc=-s.sae.W_enc)), "another model"),
    ],
    ids=["layer", "scaled up", "scaled down", "weights"],
)
def test_an_sae_that_does_not_fit_is_refused_with_the_likely_cause(
    demo: Subject, change: Callable[[Subject], Subject], cause: str
) -> None:
    with pytest.raises(ExamplesError, match="does not fit what it reads") as raised:
        run(change(demo), list(next_documents(300)), context=128)
    assert cause in str(raised.value)


def next_documents(n: int) -> list[Document]:
    stream = documents("demo", CorpusFaults())
    return [next(stream) for _ in range(n)]


def test_the_demo_fits_as_its_card_says(demo: Subject) -> None:
    check = run(demo, next_documents(600), context=128).check
    assert check.explained_variance == pytest.approx(0.93, abs=0.05)
    assert check.l0 == pytest.approx(5.7, rel=0.2)


def test_an_activation_that_is_no_number_is_told_with_feature_and_document(tmp_path: Path) -> None:
    fit = fitting(tiny_subject(tmp_path))
    [bad] = fit.tokenizer.encode("~", add_special_tokens=False)
    fit.embedder.weight.data[bad] = torch.nan
    corpus = [Document("the bad one", "a cat ~ sat " * 30), *texts(30)]
    with pytest.raises(ExamplesError, match="Feature 3 has the activation nan in document the bad one#"):
        run(fit, corpus)


def test_infinite_activations_are_told_too(tmp_path: Path) -> None:
    fit = fitting(tiny_subject(tmp_path))
    [bad] = fit.tokenizer.encode("~", add_special_tokens=False)
    fit.embedder.weight.data[bad] = 1e38
    with pytest.raises(ExamplesError, match="in document the bad one#"):
        run(fit, [*texts(30), Document("the bad one", "a cat ~ sat")])


@pytest.mark.parametrize("corpus", [[], [Document("a", "")]])
def test_an_empty_corpus_is_one_sentence(fit: Subject, corpus: list[Document]) -> None:
    with pytest.raises(ExamplesError, match="holds no text"):
        run(fit, corpus)


def test_windows_longer_than_the_model_takes_are_refused(fit: Subject, corpus: list[Document]) -> None:
    with pytest.raises(ExamplesError, match=r"Windows of 200 tokens are too long: .* takes up to 128"):
        run(fit, corpus, context=200)


def test_a_tokenizer_of_another_model_is_told(fit: Subject, corpus: list[Document]) -> None:
    small = replace(fit, card=fit.card.model_copy(update={"vocab": 100}))
    with pytest.raises(ExamplesError, match="but the model knows only 100"):
        run(small, corpus)


def test_the_torch_threads_are_as_they_were(fit: Subject, corpus: list[Document]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert run(fit, corpus).features == run(fit, corpus).features
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
