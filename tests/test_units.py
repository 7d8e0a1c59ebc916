"""Other tools' activations end in the SAE's own unit, in which features are steered, whatever unit they came in."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agent.cli.commands.run_texts import run_texts
from agent.config import resolve
from agent.errors import LogError
from agent.llm import make_explainer
from agent.log.examples import add_collected, begin_corpus, corpora_of, examples_of
from agent.log.run_log import RunLog
from agent.maxima import CorpusMaxima, maxima_of, maximum_in
from agent.run_spec import RunSpec
from eval.collect.corpora import Document
from eval.collect.corpus_pass import CollectSettings
from eval.collect.examples import harvest
from eval.collect.own_texts import Peak, read_peaks
from eval.collect.units import folded_lengths, in_own_unit, unit_of
from probes.examples import Activity, Example, FeatureExamples
from probes.subject import Subject
from tests.example_files import SAE, lines, write
from tests.fault_runs import Interpret
from tests.logged import corpus_identity
from tests.score_commands import LOG, N_FEATURES, named

FEATURES = range(2, 12)


def peaks(ratios: Mapping[int, float], length: float, n: int = 4) -> tuple[list[Peak], dict[int, float]]:
    """Peaks that claim so many times the length to the power of their ratio, and the lengths."""
    found = [Peak(f, 2.0 * length**power, 2.0) for f, power in ratios.items() for _ in range(n)]
    return found, dict.fromkeys(ratios, length)


@pytest.mark.parametrize("front", [(), ("so",)])
def test_a_peak_at_the_first_of_the_tokens_of_one_character_is_read_at_its_last(
    subject: Subject, front: tuple[str, ...]
) -> None:
    """Tools give a character of several tokens to the last of them."""
    tokens = (*front, "", "", "é", " cat")
    activations = (*[0.0] * len(front), 4.0, 0.0, 0.0, 0.0)
    found = {feature: Example(feature, "activating", "d", tokens, activations, start=0) for feature in (2, 3)}
    found[3] = replace(found[3], tokens=("", ""), activations=(4.0, 0.0))
    peaks = read_peaks(subject, {f: FeatureExamples(f, None, [example]) for f, example in found.items()})
    assert [(peak.feature, peak.claimed) for peak in peaks] == [(2, 4.0)]


@pytest.mark.parametrize("custom", ["sae", "length"])
@pytest.mark.parametrize("length", [0.2, 5.0])
@pytest.mark.parametrize(("power", "unit"), [(0.0, "sae"), (1.0, "length")])
def test_peaks_tell_the_unit_whatever_the_custom(power: float, unit: str, length: float, custom: Any) -> None:
    found = unit_of(*peaks({1: power, 2: power, 3: power, 4: 1 - power}, length), custom)
    assert (found.unit, found.agreeing.value, found.agreeing.n) == (unit, 0.75, 16)
    assert found.agreeing.low is not None
    assert found.agreeing.low < 0.75


@pytest.mark.parametrize(
    "asked",
    [
        peaks({1: 0.0}, 5.0, n=2),  # too few
        peaks({1: 0.0, 2: 1.0}, 5.0),  # as many for the one as for the other
        peaks({1: 0.5, 2: 0.5}, 5.0),  # for neither
        peaks({1: 0.0, 2: 0.0}, 1.2),  # like both
        ([Peak(1, 2.0, 0.0)] * 5, {1: 5.0}),  # silent
        ([], {1: 5.0}),
    ],
)
@pytest.mark.parametrize("custom", ["sae", "length"])
def test_where_peaks_do_not_tell_it_is_the_custom_one(asked: Any, custom: Any) -> None:
    found = unit_of(*asked, custom)
    assert (found.unit, found.agreeing.value) == (custom, None)
    assert found.agreeing.reason


def test_what_rows_are_brought_to_length_1_by(subject: Subject) -> None:
    sae = subject.sae
    lengths = sae.decoder.norm(dim=-1)
    last = len(lengths) - 1  # dead, with a row of zeros
    assert folded_lengths(sae, [3, last]) == {3: pytest.approx(float(lengths[3])), last: 1.0}
    assert folded_lengths(sae.scaled(0.5), [3])[3] == pytest.approx(2 * float(lengths[3]))
    scaling = replace(sae, config=replace(sae.config, scales_by_decoder_norm=True))
    assert folded_lengths(scaling, [3])[3] == pytest.approx(1.0)


def test_what_is_folded_is_what_sae_lens_makes_of_it(subject: Subject) -> None:
    """Rows of length 1 and encoder columns longer by as much, written out."""
    sae, x = subject.sae, torch.randn(20, subject.sae.config.d_model, generator=torch.Generator().manual_seed(0))
    assert sae.b_enc is not None
    norms = sae.decoder.norm(dim=-1).clamp(min=1e-8)
    folded = replace(sae, W_enc=sae.encoder * norms, W_dec=sae.decoder / norms[:, None], b_enc=sae.b_enc * norms)
    torch.testing.assert_close(folded.reconstruct(x), sae.reconstruct(x), rtol=1e-4, atol=1e-4)
    lengths = torch.tensor([*folded_lengths(sae, FEATURES).values()])
    torch.testing.assert_close(
        folded.encode(x)[:, FEATURES], sae.encode(x)[:, FEATURES] * lengths, rtol=1e-4, atol=1e-4
    )


def test_activity_and_texts_change_alike_and_nothing_else(subject: Subject) -> None:
    text = Example(3, "activating", "d", ("a", " cat"), (0.0, 3.0), start=4, quantile=0)
    activity = Activity(3, 100, 7, 3.0, (0.0, 1.5, 3.0), (4, 3))
    found, unit = in_own_unit(subject, {3: FeatureExamples(3, activity, (text,))}, "length")
    length = folded_lengths(subject.sae, [3])[3]
    assert unit.unit == "length"
    assert found[3].activity == replace(activity, maximum=3 / length, edges=(0.0, 1.5 / length, 3 / length))
    assert found[3].examples == (replace(text, activations=(0.0, 3 / length)),)
    assert in_own_unit(subject, found, "sae")[0] == found


def test_a_top_k_that_no_tool_folds_is_left_as_it_is(subject: Subject) -> None:
    text = Example(3, "activating", "d", ("a", " cat"), (0.0, 3.0))
    kept = replace(subject, sae=replace(subject.sae, config=replace(subject.sae.config, architecture="topk", k=30)))
    given = {3: FeatureExamples(3, None, (text,))}
    assert in_own_unit(kept, given, "length")[0] == given


@pytest.fixture(scope="module")
def uneven(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name the tiny subject with decoder rows of very different lengths; it activates as before."""
    folder = tmp_path_factory.mktemp("uneven") / "sae"
    place = tiny.index("--sae") + 1
    shutil.copytree(tiny[place], folder)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["W_dec"] = tensors["W_dec"] * torch.tensor([5.0, 0.2]).repeat(N_FEATURES // 2)[:, None]
    save_file(tensors, folder / "sae_weights.safetensors")
    return [*tiny[:place], str(folder), *tiny[place + 1 :]]


@pytest.fixture(scope="module")
def texts(tiny: list[str], uneven: list[str]) -> dict[int, tuple[list[str], list[float], float]]:
    """Of each feature its strongest text: tokens, activations by the subject, and the row's length."""
    words = ("the cat sat on the mat", "a small dog ran after the ball", "the old house in the garden")
    documents = [Document(str(n), f"{words[n % 3]} {n}") for n in range(40)]
    _, items = harvest(named(tiny), documents, [*FEATURES], CollectSettings(n_tokens=400, context=32))
    lengths = folded_lengths(named(uneven).sae, [*FEATURES])
    found = {}
    for item in items:
        activating = [example for example in item.found.examples if example.kind == "activating"]
        if activating:
            best = max(activating, key=lambda example: example.peak)
            found[best.feature] = ([*best.tokens], [*best.activations], lengths[best.feature])
    return found


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("form", ["neuronpedia", "saedashboard", "jsonl"])
def test_the_maximum_is_the_subjects_own(
    interpret: Interpret,
    uneven: list[str],
    texts: dict[int, tuple[list[str], list[float], float]],
    form: str,
    folded: bool,
) -> None:
    records = []
    for feature, (tokens, own, length) in texts.items():
        values = [value * (length if folded else 1.0) for value in own]
        records.append(
            {
                "neuronpedia": {**SAE, "index": feature, "tokens": tokens, "values": values},
                "saedashboard": {
                    "feature_index": feature,
                    "activations": [{"tokens": tokens, "values": values}],
                },
                "jsonl": {"feature": feature, "tokens": tokens, "activations": values},
            }[form]
        )
    if form == "saedashboard":
        file = write(Path("batch-0.json"), json.dumps({"model_id": "m", "features": records}).encode())
    else:
        file = write(Path("texts.jsonl"), lines(records))
    ran = interpret("examples", "--features", "2-11", *uneven, "--import", str(file))
    assert ran.status == 0, ran.err
    assert ("times the length of decoder rows, divided by it" in ran.out) is folded
    with RunLog.open(LOG) as log:
        (corpus,) = log.read(corpora_of)
        for feature, (_, own, _) in texts.items():
            kept = log.read(examples_of, corpus.corpus_id, feature, kinds=["activating"])
            assert kept is not None
            assert max(example.peak for example in kept.examples) == pytest.approx(max(own), rel=1e-4)


def test_what_an_older_version_imported_is_not_steered_by(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    text = Example(5, "activating", "d0", ("a", " cat"), (0.0, 2.5))
    found = FeatureExamples(5, Activity(5, 100, 1, 2.5, (0.0, 2.5), (1,)), (text,))
    with RunLog.open(path) as log:
        came: list[tuple[str, dict[str, Any]]] = [
            ("neuronpedia:m/6-res-jb", {}),
            ("jsonl:mine", {}),
            ("saedashboard:m", {"unit": "sae"}),
        ]
        for source, settings in came:
            identity = corpus_identity().model_copy(update={"source": source, "settings": settings})
            corpus_id = log.write(begin_corpus, identity).result()
            log.write(add_collected, corpus_id, found, {"d0": "shown"}).result()
        fingerprint = identity.subject.fingerprint
        known = {corpus.source: maxima_of(log, corpus).of(5) for corpus in log.read(corpora_of, fingerprint)}
        assert known == {"neuronpedia:m/6-res-jb": None, "jsonl:mine": 2.5, "saedashboard:m": 2.5}
    old = tmp_path / "old.db"
    with RunLog.open(old) as log:
        corpus_id = log.write(
            begin_corpus, corpus_identity().model_copy(update={"source": "neuronpedia:m/6-res-jb"})
        ).result()
        log.write(add_collected, corpus_id, found, {"d0": "shown"}).result()
        steered = resolve({"steer": "clamp", "evidence": "weights", "log": old})
        card = subject.card.model_copy(update={"fingerprint": fingerprint})
        wanted = RunSpec(steered, replace(subject, card=card), make_explainer("offline"))
        with pytest.raises(LogError, match="import them again, or give the number with --maximum"):
            run_texts(wanted, log, [5], new=True)
        assert CorpusMaxima(log, corpus_id).of(5) == 2.5  # a run of then is replayed as it was
    assert maximum_in(old, fingerprint, 5) is None
