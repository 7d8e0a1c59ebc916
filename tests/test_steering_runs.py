"""Steering as commands and runs know it: the maximum from the log, an explainer's wish, one sentence where it lacks."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import agent.run
from agent.cli import main
from agent.config import RunConfig, resolve
from agent.evidence.digest import digest
from agent.evidence.wording import prompt_words, tree_words
from agent.log.codec import decode, encode
from agent.log.examples import add_collected, begin_corpus
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.maxima import CorpusMaxima, maximum_in
from agent.planning import Planner, RoundPlan
from agent.replay import replay
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Proposal, SettingsChange
from eval.scoring.shown_examples import CorpusExamples
from probes.errors import SettingsError
from probes.essence import essence_of
from probes.evidence import Tree
from probes.presets import SubjectSource
from probes.settings import ProbeSettings, SteeringSettings
from probes.subject import load_subject
from tests.fakes import SUBJECT, FakeExplainer, FakeProbes, Notes, config
from tests.logged import collected, corpus_identity
from tests.subjects import write_model, write_sae
from tests.trees import DOG

PROBE = ProbeSettings.parse({"vector": {"scale": 2.0}})
CLAMP = Proposal(action="probe", settings=SettingsChange(clamp=3.0, clamp_at="all"), reason="flat")
LABEL = Proposal(action="label", label="dog", confidence=0.8)


@dataclass
class Known:
    """Maxima by feature."""

    by_feature: Mapping[int, float]

    def of(self, feature: int) -> float | None:
        return self.by_feature.get(feature)


def planner(steering: Mapping[str, object] | None = None, maxima: Known | None = None) -> Planner:
    probe = PROBE.model_copy(update={"steering": SteeringSettings.parse(steering or {"mode": "none"})})
    return Planner(probe, ("encoder", "decoder"), 2.0, maxima)


def kinds(plan: RoundPlan) -> list[str]:
    return [request.kind for request in plan.requests]


def test_a_steered_run_measures_each_feature_by_its_own_maximum() -> None:
    plans = planner({"mode": "clamp"}, Known({7: 2.5, 8: 4.0}))
    found = {f: {r.settings.steering.maximum for r in plans.first(f).requests if r.kind == "tree"} for f in (7, 8)}
    assert found == {7: {2.5}, 8: {4.0}}
    with pytest.raises(SettingsError, match="interpret examples --features 9"):
        plans.first(9)
    given = planner({"mode": "add", "maximum": 3.0}).first(9)
    assert {request.settings.steering.maximum for request in given.requests} == {3.0}


def test_without_a_ghost_the_sides_share_a_tree() -> None:
    plan = planner({"mode": "clamp", "ghost": False}, Known({7: 2.5})).first(7)
    assert kinds(plan) == ["tree", "tokens", "tokens", "projection"]


def test_an_explainer_may_have_a_feature_clamped_and_only_trees_are_grown_again() -> None:
    plans = planner(maxima=Known({7: 2.5}))
    first = plans.first(7).requests
    plan = plans.next(7, SettingsChange(clamp=99.0, clamp_at="after"), first)
    assert kinds(plan) == ["tree", "tree"]
    steering = plan.requests[0].settings.steering
    assert (steering.mode, steering.strength, steering.at, steering.maximum) == ("clamp", 8.0, "after", 2.5)
    assert plan.notes == ("clamp 99 was brought to 8",)
    again = plans.next(7, SettingsChange(clamp=8.0, clamp_at="after"), [*first, *plan.requests])
    assert "tried in an earlier round" in again.refusal


def test_other_wishes_leave_a_run_s_steering_as_it_is() -> None:
    plans = planner({"mode": "add", "strength": 1.5}, Known({7: 2.5}))
    plan = plans.next(7, SettingsChange(scale=1.5), plans.first(7).requests)
    assert {request.settings.steering.strength for request in plan.requests} == {1.5}


@pytest.mark.parametrize(
    ("feature", "change", "word"),
    [
        (9, SettingsChange(clamp=2.0), "interpret examples --features 9"),
        (7, SettingsChange(clamp=2.0, clamp_at="nowhere"), "steering.at='nowhere'"),
    ],
)
def test_a_clamp_that_cannot_be_granted_is_refused(feature: int, change: SettingsChange, word: str) -> None:
    plans = planner(maxima=Known({7: 2.5}))
    assert word in plans.next(feature, change, ()).refusal


def test_a_log_tells_the_maximum_of_the_latest_corpus_that_has_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    fingerprint = "f" * 64
    assert maximum_in(path, fingerprint, 5) is None
    with RunLog.open(path) as log:
        corpora = [log.write(begin_corpus, corpus_identity(seed=seed)).result() for seed in (0, 1)]
        for corpus, feature in zip(corpora, (5, 6), strict=True):
            log.write(add_collected, corpus, collected(feature), {"d0": "shown", "d1": "shown"}).result()
        log.write(begin_corpus, corpus_identity(seed=2)).result()  # empty
        assert [CorpusMaxima(log, corpora[1]).of(feature) for feature in (5, 6)] == [None, 2.5]
    assert maximum_in(path, fingerprint, 5) == 2.5
    assert maximum_in(path, "0" * 64, 5) is None


def test_a_run_in_which_an_explainer_clamps_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = FakeProbes()
    monkeypatch.setattr(agent.run, "run_probes", probes)
    explainer = FakeExplainer([CLAMP, LABEL])
    with RunLog.open(tmp_path / "log.db") as log:
        corpus = log.write(begin_corpus, corpus_identity()).result()
        log.write(add_collected, corpus, collected(0), {"d0": "shown", "d1": "shown"}).result()
        maxima = CorpusMaxima(log, corpus)
        asyncio.run(run_features(RunSpec(config(), SUBJECT, explainer, maxima=maxima), log, [0], False, Notes()))
        steered = [r.settings.steering for batch in probes.batches for r in batch if r.settings.steering.on]
        assert {(s.mode, s.strength, s.at, s.maximum) for s in steered} == {("clamp", 3.0, "all", 2.5)}
        assert "`clamp_at`" in explainer.requests[0].system
        found = asyncio.run(replay(log, log.read(all_runs)[-1], CorpusExamples))
        assert [(item.verdict, item.prompts_alike) for item in found] == [("identical", True)]
        identities = {RunSpec(config(), SUBJECT, explainer, None, m).identity.hash for m in (None, maxima)}
        assert len(identities) == 2


def test_without_maxima_nobody_is_told_of_clamping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.run, "run_probes", FakeProbes())
    explainer = FakeExplainer([LABEL])
    with RunLog.open(tmp_path / "log.db") as log:
        asyncio.run(run_features(RunSpec(config(), SUBJECT, explainer), log, [0], False, Notes()))
    assert "`clamp_at`" not in explainer.requests[0].system


def steered_tree(**steering: object) -> Tree:
    settings = SteeringSettings.parse({"mode": "clamp", "maximum": 2.5, **steering})
    return Tree(**{**vars(DOG), "settings": DOG.settings.model_copy(update={"steering": settings})})


def test_what_was_steered_is_said_in_a_few_words_and_kept() -> None:
    after, alone = steered_tree(at="after"), steered_tree(ghost=False, pronoun="it", strength=1.5)
    assert tree_words(after.settings) == "encoder, scale 3.8, clamped at 2x its maximum after the prompt"
    assert tree_words(alone.settings) == "a pronoun instead of a ghost, clamped at 1.5x its maximum there"
    assert tree_words(steered_tree(mode="add", at="all").settings).endswith("steered by 2x its maximum everywhere")
    assert '"it"' in prompt_words(alone)
    assert "clamped at 2x its maximum after the prompt, base prompt" in digest([after], 3.8)[0]["settings"]
    settings = ProbeSettings.model_validate_json(alone.settings.model_dump_json())
    stored = decode("tree", alone.feature, settings, encode(alone))
    assert stored.settings == alone.settings


def test_steered_trees_are_not_taken_for_others_of_the_same_vector() -> None:
    steered = steered_tree().settings
    assert essence_of("tree", steered) != essence_of("tree", DOG.settings)
    assert essence_of("tokens", steered) == essence_of("tokens", DOG.settings)


def test_the_settings_come_from_options_and_files(tmp_path: Path) -> None:
    file = tmp_path / "interpret.toml"
    file.write_text('[steering]\nsteer = "clamp"\nstrength = 3.0\n')
    config: RunConfig = resolve({"at": "after"}, file)
    assert (config.probe.steering.strength, config.probe.steering.at) == (3.0, "after")
    assert resolve({"steer": "none"}, file).probe.steering == SteeringSettings()
    with pytest.raises(SettingsError, match="choose --steer"):
        resolve({"strength": 3.0})


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("tiny")
    places = [write_model(folder / "model"), write_sae(folder / "sae")]
    return ["--model", str(places[0]), "--sae", str(places[1]), "--device", "cpu"]


def test_a_tree_by_command_is_steered_by_what_the_log_knows(
    subject: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        command = ["tree", "5", "--json", *subject, "--cutoff", "0.05", "--max-depth", "3", "--log", str(path)]
        with pytest.raises(SystemExit) as ended:
            main([*command, *arguments])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    path = tmp_path / "log.db"
    status, _, said = run("--steer", "clamp")
    assert status == 2
    assert "interpret examples --features 5" in said
    assert not path.exists()
    card = load_subject(SubjectSource(model=subject[1], sae=subject[3], device="cpu")).card
    with RunLog.open(path) as log:
        corpus = log.write(begin_corpus, corpus_identity(subject=card)).result()
        log.write(add_collected, corpus, collected(5), {"d0": "shown", "d1": "shown"}).result()
    known, given, plain = run("--steer", "clamp"), run("--steer", "clamp", "--maximum", "2.5"), run()
    assert known[0] == given[0] == plain[0] == 0
    trees = [json.loads(out) for _, out, _ in (known, given, plain)]
    assert trees[0] == trees[1]
    assert trees[0]["root"] != trees[2]["root"]
    assert trees[0]["settings"]["steering"]["maximum"] == 2.5
    assert "readout" not in trees[0]


def test_a_steered_run_without_any_text_is_refused_at_once(
    subject: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--features", "0-2", "--steer", "add", *subject, "--log", str(tmp_path / "log.db")])
    assert ended.value.code == 2
    assert "interpret examples" in capsys.readouterr().err
