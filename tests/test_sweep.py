"""Settings that are found: the best candidate is chosen, once for all that hangs on it, kept, shown and replayed."""

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest
import torch
from rich.console import Console

from agent.cli.commands.probe import TreeOutput, show_tree
from agent.cli.terminal.sweep import sweep_table
from agent.config import RunConfig, resolve
from agent.evidence.digest import digest
from agent.llm.offline import Offline
from agent.log import codec
from agent.log.evidence import evidence_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.planning import Planner
from agent.replay import replay
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Proposal, SettingsChange
from eval.scoring.shown_examples import CorpusExamples
from probes import sweep
from probes.errors import SettingsError
from probes.evidence import Evidence, ProbeRequest, Sweep, TokenList, Tree, sweep_json
from probes.ghost.random_directions import random_directions
from probes.ghost.vectors import feature_vectors
from probes.null import contrast
from probes.null.agreement import agreement
from probes.null.directions import null_directions
from probes.null.null_file import NullFigures
from probes.probe import PROBES, run_probes
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.sweep import CHEAP, ENTROPY_WEIGHT, SCALES, WEIGHTS
from prompts import render
from tests.fakes import FakeExplainer, Notes
from tests.subjects import N_FEATURES, write_model, write_sae
from tests.test_agreement import contrasted, said
from tests.test_prompts import context

COARSE = TreeSettings(prompt="definition", cutoff=0.02, max_depth=4, contrast=None)
AUTO = ProbeSettings(vector=VectorSettings(weights="vocabulary", scale="auto"), tree=COARSE)
LABEL = Proposal(action="label", label="dog", confidence=0.8)


@dataclass
class Planted:
    """Stands for the probe of trees: how far a tree diverges is planted, by feature, side and multiple of the scale."""

    divergence: Callable[[int, str, float], float]
    default_scale: float
    bonus: Callable[[VectorSettings], float] = lambda _: 0.0
    null: Callable[[int, VectorSettings], float] = lambda feature, _: feature / 1000
    """How far the trees of the random features 0 to 98 diverge."""
    requests: list[ProbeRequest] = field(default_factory=list)

    def __call__(self, _subject: object, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        self.requests += requests
        return [self._tree(request) for request in requests]

    def null_figures(self, _subject: object, _settings: object, vectors: Sequence[VectorSettings]) -> list[NullFigures]:
        """Stands for the measured ones; entropies are those of the planted trees."""
        return [NullFigures(tuple(self.null(i, vector) for i in range(99)), (1.0,) * 99) for vector in vectors]

    def _tree(self, request: ProbeRequest) -> Tree:
        vector = request.settings.vector
        assert vector.distance is not None
        divergence = self.divergence(request.feature, vector.weights, vector.distance / self.default_scale)
        divergence += self.bonus(vector)
        return replace(contrasted(said(dog=0.5), 0.1, divergence), feature=request.feature, settings=request.settings)


@pytest.fixture
def plant(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, str, float], float]], Planted]:
    def plant(divergence: Callable[[int, str, float], float]) -> Planted:
        planted = Planted(divergence, subject.card.default_scale)
        monkeypatch.setattr(sweep.tree, "probe", planted)
        monkeypatch.setitem(PROBES, "tree", planted)
        monkeypatch.setattr(sweep, "null_figures", planted.null_figures)
        return planted

    return plant


def probed(subject: Subject, *requests: ProbeRequest) -> list[Evidence]:
    return run_probes(subject, requests)


def swept(subject: Subject, feature: int, settings: ProbeSettings = AUTO) -> Sweep:
    (found,) = probed(subject, ProbeRequest("sweep", feature, settings))
    assert isinstance(found, Sweep)
    return found


def cheap_tree(subject: Subject, vector: VectorSettings, prompt: str) -> Tree:
    settings = ProbeSettings(vector=vector, tree=CHEAP.model_copy(update={"prompt": prompt}))
    (tree,) = probed(subject, ProbeRequest("tree", 3, settings))
    assert isinstance(tree, Tree)
    return tree


def test_the_planted_best_scale_is_chosen_feature_by_feature(subject: Subject, plant) -> None:
    peaks = {0: 0.7, 1: 1.0, 2: SCALES[-1]}
    plant(lambda feature, _, multiple: 0.5 - 0.1 * abs(math.log(multiple / peaks[feature])))
    for feature, peak in peaks.items():
        found = swept(subject, feature)
        assert found.best.vector.distance == pytest.approx(peak * subject.card.default_scale)
        assert found.best.score == max(point.score or 0 for point in found.points)
        assert found.settings.vector == found.best.vector


def test_a_side_is_chosen_alone_and_with_its_scale(subject: Subject, plant) -> None:
    plant(lambda _, weights, multiple: 0.1 + 0.2 * (weights == "decoder") + 0.1 * (multiple == pytest.approx(1.4)))
    side = swept(subject, 0, ProbeSettings(vector=VectorSettings(weights="auto", scale=2.0)))
    assert [point.vector.weights for point in side.points] == [*WEIGHTS]
    assert (side.best.vector.weights, side.best.vector.scale) == ("decoder", 2.0)
    both = swept(subject, 0, ProbeSettings(vector=VectorSettings(weights="auto", scale="auto", centroid=False)))
    assert len(both.points) == len(WEIGHTS) * len(SCALES)
    assert both.best.vector.weights == "decoder"
    assert both.best.vector.distance == pytest.approx(1.4 * subject.card.default_scale)
    assert not any(point.vector.centroid for point in both.points)


def test_of_equals_the_subject_s_own_scale_is_kept(subject: Subject, plant) -> None:
    plant(lambda *_: 0.25)
    assert swept(subject, 0).best.vector.distance == pytest.approx(subject.card.default_scale)


BOTH = ProbeSettings(vector=VectorSettings(weights="auto", scale="auto"), tree=COARSE)


def test_a_sweep_s_best_is_compared_with_the_best_of_each_random_feature(subject: Subject, plant) -> None:
    """Every random feature diverges far in one candidate, another one each: so far that the planted .25 is rare."""
    planted = plant(lambda _, weights, multiple: 0.25 if (weights, multiple) == ("decoder", 1.0) else 0.0)
    vectors = list(dict.fromkeys(point.vector for point in swept(subject, 0, BOTH).points))
    assert len(vectors) == len(WEIGHTS) * len(SCALES)
    planted.null = lambda i, vector: 0.15 + i / 1000 if vector == vectors[i % len(vectors)] else 0.0
    tree, found = probed(subject, ProbeRequest("tree", 0, BOTH), ProbeRequest("sweep", 0, BOTH))
    assert isinstance(found, Sweep)
    assert isinstance(tree, Tree)
    assert tree.contrast is not None
    n_further = sum(0.15 + i / 1000 >= 0.25 for i in range(99))
    assert found.p_value == tree.contrast.p_value == (1 + n_further) / 100 == 0.01
    planted.null = lambda i, vector: 0.2 + i / 1000 if vector == vectors[i % len(vectors)] else 0.0
    tree, found = probed(subject, ProbeRequest("tree", 0, BOTH), ProbeRequest("sweep", 0, BOTH))
    assert isinstance(found, Sweep)
    assert isinstance(tree, Tree)
    assert tree.contrast is not None
    assert found.p_value == tree.contrast.p_value == pytest.approx(0.5)  # as far in one of theirs: 50 to 98
    assert tree.contrast.n_candidates == len(vectors)
    assert (tree.contrast.n_as_far, tree.contrast.verdict) == (49, "no different")


def test_a_vector_that_is_named_keeps_its_own_p_value(subject: Subject, plant) -> None:
    plant(lambda *_: 0.25)
    named = ProbeSettings(vector=VectorSettings(weights="vocabulary", scale=2.0), tree=COARSE)
    tree, found = probed(subject, ProbeRequest("tree", 0, named), ProbeRequest("sweep", 0, named))
    assert isinstance(found, Sweep)
    assert isinstance(tree, Tree)
    assert tree.contrast is not None
    assert found.p_value is None
    assert (tree.contrast.p_value, tree.contrast.n_candidates) == (0.02, 1)  # as planted


def test_random_rows_pass_as_often_as_they_should_after_a_sweep(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the best of 12 tested as if it had been the only one, more would."""
    monkeypatch.setattr(sweep, "SCALES", SCALES[::3])
    rows = [random_directions(subject.card.d_model, N_FEATURES, seed) for seed in (1, 2)]
    random_rows = replace(subject, sae=replace(subject.sae, W_enc=rows[0].T, W_dec=rows[1]))
    requests = [ProbeRequest("sweep", feature, BOTH) for feature in range(N_FEATURES)]
    found = [one for one in probed(random_rows, *requests) if isinstance(one, Sweep)]
    assert sum(one.p_value is not None and one.p_value <= 0.05 for one in found) <= 4  # 1.2 expected of 24
    assert sum(one.best.p_value is not None and one.best.p_value <= 0.05 for one in found) > 4


def test_random_features_are_the_same_for_all_sides_and_processes(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blend's directions are those of the same random features, and figures are measured once."""
    sides = ("encoder", "decoder", "blend:0.25")
    encoder, decoder, blend = (null_directions(subject, side, 8, 50, 7) for side in sides)
    mixed = torch.nn.functional.normalize(0.75 * encoder + 0.25 * decoder, dim=-1)
    assert torch.allclose(blend, mixed, atol=1e-6)
    assert (encoder * decoder).sum(dim=-1).mean().abs() < 0.15  # of independent ones .025 at most times six
    auto = ProbeSettings(vector=VectorSettings(weights="auto", scale=2.0), tree=COARSE)
    first = swept(subject, 3, auto)
    monkeypatch.setattr(contrast, "_MADE", WeakKeyDictionary())  # as another process would begin
    monkeypatch.setattr(contrast, "_measured", None)
    assert swept(subject, 3, auto) == first


def test_a_sweep_s_statistics_are_those_of_its_trees(subject: Subject) -> None:
    found = swept(subject, 3)
    for point in found.points:
        tree = cheap_tree(subject, point.vector, "definition")
        assert tree.contrast is not None
        first = [p for p, parent in zip(tree.probabilities, tree.parents, strict=True) if parent == 0]
        left = 1 - sum(first)
        assert point.divergence == pytest.approx(tree.contrast.divergence, rel=1e-3)
        assert point.p_value == pytest.approx(tree.contrast.p_value)
        assert point.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in [*first, left]), rel=1e-3)
        assert point.score == pytest.approx(point.divergence - ENTROPY_WEIGHT * point.entropy_bits)
    assert found.prompts[0] == "definition"
    trees = [cheap_tree(subject, found.best.vector, prompt) for prompt in found.prompts]
    assert found.agreement == pytest.approx(agreement(trees), rel=1e-3)


def test_what_was_found_is_what_other_evidence_is_made_with(subject: Subject) -> None:
    kinds = ("tree", "sweep", "tokens", "projection")
    tree, found, tokens, projection = probed(subject, *(ProbeRequest(kind, 3, AUTO) for kind in kinds))
    assert isinstance(found, Sweep)
    vector = found.best.vector
    assert tree.settings.vector == tokens.settings.vector == vector
    assert not projection.settings.vector.is_auto
    named = ProbeSettings(vector=vector, tree=COARSE)
    assert probed(subject, ProbeRequest("tokens", 3, named)) == [tokens]
    (alone,) = probed(subject, ProbeRequest("tree", 3, named))
    assert isinstance(tree, Tree)
    assert isinstance(alone, Tree)
    assert alone.token_ids == tree.token_ids


def test_one_sweep_does_for_all_that_hangs_on_it(subject: Subject, plant) -> None:
    planted = plant(lambda *_: 0.25)
    other = AUTO.model_copy(update={"tokens": AUTO.tokens.model_copy(update={"top_n": 3})})
    probed(subject, *(ProbeRequest(kind, 3, one) for kind in ("sweep", "tokens") for one in (AUTO, other)))
    assert len(planted.requests) == len(SCALES) + 2  # and the chosen one's trees of two other base prompts
    planted.requests.clear()
    probed(subject, ProbeRequest("projection", 3, AUTO), ProbeRequest("tokens", 3, ProbeSettings()))
    assert planted.requests == []


def test_a_dead_feature_keeps_the_default_and_has_no_figures(subject: Subject) -> None:
    found = swept(subject, N_FEATURES - 1)
    assert found.best.vector.distance == pytest.approx(subject.card.default_scale)
    assert {(point.score, point.divergence, point.entropy_bits) for point in found.points} == {(None, None, None)}
    assert found.agreement is None
    assert codec.summary_of(found) == ""


@pytest.mark.parametrize("value", ["automatic", "", -1, 0, float("nan"), float("inf"), 2e4, [1]])
def test_a_scale_is_a_number_or_auto(value: object) -> None:
    with pytest.raises(SettingsError, match=r"scale=.*or auto"):
        VectorSettings.parse({"scale": value})
    assert [VectorSettings.parse({"scale": one}).scale for one in ("auto", "2.5", 3, None)] == ["auto", 2.5, 3.0, None]


@pytest.mark.parametrize(
    ("field", "value"),
    [("centroid", "maybe"), ("centroid", "auto"), ("pca", "auto"), ("pca", ("a",)), ("pca", (0.9, 0.9))],
)
def test_centroid_and_components_are_values_and_nothing_to_be_found(field: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"^Setting {field}.*"):
        VectorSettings.parse({field: value})


def test_auto_may_stand_in_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[vector]\nscale = "auto"\nweights = "auto"\n')
    config = resolve({}, tmp_path / "mine.toml")
    assert (config.probe.vector.scale, config.weights_plan) == ("auto", ("auto",))
    with pytest.raises(SettingsError, match="cannot be auto"):
        feature_vectors(None, [0], config.probe.vector)  # type: ignore[arg-type]  # refused before any subject is read


def test_a_sweep_is_stored_and_read_back(subject: Subject) -> None:
    assert swept(subject, N_FEATURES - 1).p_value is None
    for found in (swept(subject, 3), swept(subject, N_FEATURES - 1)):
        stored = codec.encode(found)
        back = codec.decode("sweep", found.feature, found.settings, stored)
        assert (back, codec.encode(back)) == (found, stored)
        assert codec.size_of(found) == len(SCALES)
        told = json.loads(json.dumps(sweep_json(found)))
        assert told["p_value"] == found.p_value
        assert [point["chosen"] for point in told["points"]].index(True) == found.chosen


def test_a_prompt_and_a_terminal_show_the_curve(subject: Subject) -> None:
    found = swept(subject, 3)
    piece = digest([found, said(dog=0.5)], subject.card.default_scale)[0]
    assert piece["sweep"] is not None
    text = render("explain", context(evidence=[piece])).text
    assert text.count(": score ") == len(SCALES)
    (line,) = [line for line in text.splitlines() if line.endswith(", chosen")]
    multiple = (found.best.vector.distance or 0.0) / subject.card.default_scale
    assert f"scale {multiple:.3g} x the default" in line  # as explainers ask for it
    console = Console(width=120)
    with console.capture() as captured:
        console.print(sweep_table(found))
    shown = captured.get()
    assert f"chosen by {found.criterion}; p {found.p_value:.2g} among random features" in " ".join(shown.split())
    assert f"by {found.criterion}." in text
    assert all(f"{point.score:.3f}" in shown for point in found.points)


def test_of_a_vector_that_is_named_the_agreement_is_told_alone(subject: Subject) -> None:
    named = ProbeSettings(vector=VectorSettings(weights="vocabulary", scale=2.0), tree=COARSE)
    found = swept(subject, 3, named)
    assert [point.vector for point in found.points] == [named.vector]
    trees = [cheap_tree(subject, named.vector, prompt) for prompt in found.prompts]
    assert found.agreement == pytest.approx(agreement(trees), rel=1e-3)
    text = render("explain", context(evidence=digest([found], subject.card.default_scale))).text
    assert "E1: agreement of base prompts\nThe trees of 3 base prompts (vocabulary, scale " in text
    assert f"agree to {found.agreement:.2f} (1:" in text
    assert "Chosen" not in text
    console = Console(width=120)
    with console.capture() as captured:
        console.print(sweep_table(found))
    assert captured.get() == f"base prompts definition, meaning, word agree to {found.agreement:.2f}\n"


def test_a_plan_begins_with_a_sweep_of_each_side() -> None:
    planner = Planner(AUTO, ("encoder", "decoder"), 2.0)
    first = planner.first(7).requests
    assert [request.kind for request in first] == ["sweep", "tree", "tokens", "sweep", "tree", "tokens", "projection"]
    later = planner.next(7, SettingsChange(weights="blend:0.5"), first).requests
    assert [(request.kind, request.settings.vector.scale) for request in later] == [
        ("sweep", "auto"), ("tree", "auto"), ("tokens", "auto"),
    ]  # fmt: skip
    named = planner.next(7, SettingsChange(scale=1.5), first).requests
    assert {request.settings.vector.scale for request in named} == {3.0}
    assert "sweep" not in {request.kind for request in named}
    assert planner.next(7, SettingsChange(prompt="chat"), first).refusal


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Of a run on a tiny subject, coarse and cheap."""
    write_model(tmp_path / "model")
    write_sae(tmp_path / "sae")
    options = {"model": str(tmp_path / "model"), "sae": str(tmp_path / "sae"), "device": "cpu", "scale": "auto"}
    coarse = {"cutoff": 0.02, "max-depth": 4, "contrast": "off", "log": tmp_path / "log.db"}
    return resolve(options | coarse).model_copy(update={"weights_plan": ("encoder", "decoder")})


def test_a_run_finds_its_scales_resumes_and_replays(subject: Subject, config: RunConfig) -> None:
    def run(features: range, explainer: FakeExplainer | Offline) -> None:
        asyncio.run(run_features(RunSpec(config, subject, explainer), log, features, False, Notes()))

    with RunLog.open(config.log) as log:
        run(range(2), explainer := FakeExplainer([LABEL]))
        run(range(3), explainer)
        (summary,) = log.read(all_runs)
        assert (summary.n_labelled, summary.settings["probe"]["vector"]["scale"]) == (3, "auto")
        evidence = log.read(evidence_of, summary.run_id, 1, 1)
        assert [type(item).__name__ for item in evidence] == [
            *("Sweep", "Tree", "TokenList", "Sweep", "Tree", "TokenList", "Projection")
        ]
        encoder, tree, tokens = evidence[:3]
        assert isinstance(encoder, Sweep)
        assert isinstance(tree, Tree)
        assert isinstance(tokens, TokenList)
        assert encoder.best.vector == tree.settings.vector == tokens.settings.vector
        assert not any(item.settings.vector.is_auto for item in evidence)
        again = asyncio.run(replay(log, summary, CorpusExamples))
    assert [(item.verdict, item.prompts_alike) for item in again] == [("identical", True)] * 3


def test_a_run_with_a_named_scale_is_another_run(subject: Subject, config: RunConfig) -> None:
    named = config.model_copy(update={"probe": ProbeSettings()})
    assert RunSpec(config, subject, Offline()).identity.hash != RunSpec(named, subject, Offline()).identity.hash
    agreeing = named.model_copy(update={"agreement": True})
    assert RunSpec(agreeing, subject, Offline()).identity.hash != RunSpec(named, subject, Offline()).identity.hash


def test_a_tree_with_auto_is_printed_with_its_sweep(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    output = TreeOutput(as_json=True, as_dot=False, svg_file=None, png_file=None, least=None)
    with pytest.raises(SettingsError, match="no lift to be ranked by"):  # the config has its contrast off
        show_tree(config, "3", replace(output, rank="lift"))
    show_tree(config, "3", output)
    found = json.loads(capsys.readouterr().out)
    (chosen,) = [point for point in found["sweep"]["points"] if point["chosen"]]
    assert found["settings"]["vector"] == chosen["vector"]
    show_tree(config, "3", replace(output, as_json=False))
    shown = capsys.readouterr().out
    assert shown.index("chosen by") < shown.index("A typical definition")
    named = ProbeSettings(vector=VectorSettings(weights="vocabulary"), tree=COARSE)
    plain = config.model_copy(update={"probe": named, "agreement": True})
    show_tree(plain, "3", output)
    told = json.loads(capsys.readouterr().out)["sweep"]
    assert (len(told["points"]), 0 <= told["agreement"] <= 1) == (1, True)
