"""Moves of an explainer: senses that texts bear out, the best of several candidates, nearest features, writing with a
clamp; each in the loop, in the log and again from it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from agent.calls.asking import Asker
from agent.log import codec
from agent.log.evidence import evidence_rounds
from agent.log.labels import LabelRow, add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity
from agent.loop import Loop, system_prompt
from agent.moves.candidates import best_candidate
from agent.moves.ending import Findings, labelled
from agent.planning import Planner
from agent.prober import DeviceThread, Prober
from agent.schema import Candidate, Outcome, Proposal, Sense, SettingsChange
from probes.behaviour import Continuation, Continuations, Neighbours
from probes.columns import Columns
from probes.continuations import LENGTH, OPENINGS
from probes.evidence import Evidence, ExpectedText, Experiment, ProbeRequest, TextResult
from probes.ghost.token_states import token_states
from probes.ghost.vocabulary import token_lists
from probes.known_maxima import known_maxima
from probes.neighbours import NEIGHBOURS
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject
from probes.tokenizer.prompt import leading_ids
from tests.fakes import CARD, FakeExplainer, open_door
from tests.subjects import N_FEATURES

SETTINGS = ProbeSettings.parse({"vector": {"scale": CARD.default_scale}, "tree": {"prompt": "definition"}})
CLAMPED = SETTINGS.model_copy(update={"steering": SETTINGS.steering.model_copy(update={"mode": "clamp", "at": "all"})})
LABEL = Proposal(action="label", label="cats", confidence=0.5)


def experiment(*values: tuple[str, str, bool, float], maximum: float = 10.0) -> Experiment:
    results = (TextResult(ExpectedText(text, should, name), (text,), (value,)) for name, text, should, value in values)
    return Experiment(7, SETTINGS, tuple(results), maximum, True)


def ending(proposal: Proposal, *experiments: Experiment) -> Outcome:
    return labelled(Findings(7, frozenset({"E1.1"}), experiments), proposal, 2)


class TestSenses:
    TWO = Proposal(
        action="label",
        label="cats and mats",
        confidence=0.5,
        senses=(Sense(text="cats", evidence=("E1.1", "E9.9")), Sense(text="mats")),
    )

    def test_each_has_its_own_texts_counted_in_both_directions(self) -> None:
        ran = experiment(
            ("cats", "a cat", True, 9.0),
            ("cats", "a kitten", True, 0.0),
            ("cats", "a dog", False, 9.0),
            ("MATS ", "a mat", True, 9.0),
            ("mats", "a cot", False, 0.0),
        )
        cats, mats = ending(self.TWO, ran).senses
        assert (cats.n_activating, cats.n_positive, cats.n_not_activating, cats.n_near_misses) == (1, 2, 0, 1)
        assert (mats.n_activating, mats.n_positive, mats.n_not_activating, mats.n_near_misses) == (1, 1, 1, 1)
        assert cats.evidence == ("E1.1",), "an id that no line of evidence has is left out"

    def test_one_that_no_text_of_its_own_activates_is_dropped_and_that_is_said(self) -> None:
        found = ending(self.TWO, experiment(("cats", "a cat", True, 9.0), ("mats", "a mat", True, 0.9)))
        assert (found.status, found.label) == ("labelled", "cats")
        assert [(sense.text, sense.dropped) for sense in found.senses] == [("cats", False), ("mats", True)]
        assert 'Dropped "mats": its one text does not activate the feature.' in found.reason

    def test_a_label_of_which_nothing_is_left_is_an_abstention(self) -> None:
        nothing = experiment(("cats", "a cat", True, 0.0), ("mats", "a mat", True, 0.0))
        assert ending(self.TWO, nothing).status == "abstained"
        assert ending(LABEL, experiment(("cats", "a cat", True, 0.0))).status == "abstained"

    def test_what_was_not_tested_or_could_not_be_measured_stands(self) -> None:
        assert ending(self.TWO).label == "cats and mats"
        unmeasured = experiment(("cats", "a cat", True, 0.0), ("mats", "a mat", True, 0.0), maximum=0.0)
        assert ending(self.TWO, unmeasured).label == "cats and mats"
        (alone,) = ending(LABEL).senses
        assert (alone.text, alone.n_positive) == ("cats", 0)


class TestCandidates:
    SEVERAL = Proposal(
        action="label",
        label="cats",
        explanation="of cats",
        confidence=0.5,
        candidates=(
            Candidate(label="cats", texts=("a", "b")),
            Candidate(label="mats", explanation="of mats", texts=("c", "d")),
        ),
    )

    def test_the_one_whose_texts_activate_most_is_kept(self) -> None:
        ran = experiment(
            ("cats", "a", True, 4.0), ("cats", "b", True, 4.0), ("mats", "c", True, 9.0), ("mats", "d", True, 1.0)
        )
        assert best_candidate(self.SEVERAL, ran).label == "mats"
        capped = experiment(
            ("cats", "a", True, 6.0), ("cats", "b", True, 6.0), ("mats", "c", True, 99.0), ("mats", "d", True, 0.0)
        )
        assert best_candidate(self.SEVERAL, capped).label == "cats", "one text cannot count for more than its maximum"

    def test_nothing_that_was_said_of_the_other_label_stays(self) -> None:
        ran = experiment(("cats", "a", True, 4.0), ("mats", "c", True, 9.0))
        said = {"evidence": ("E1.1",), "senses": (Sense(text="cats"),), "activates_on": "cats", "promotes": "purring"}
        found = best_candidate(self.SEVERAL.model_copy(update={**said, "reason": "it is about cats"}), ran)
        assert (found.label, found.explanation, found.confidence) == ("mats", "of mats", None)
        assert (found.evidence, found.senses, found.activates_on, found.promotes, found.reason) == ((), (), "", "", "")

    def test_equals_and_what_cannot_be_measured_change_nothing(self) -> None:
        equal = experiment(("cats", "a", True, 4.0), ("mats", "c", True, 4.0))
        assert best_candidate(self.SEVERAL, equal) is self.SEVERAL
        assert best_candidate(self.SEVERAL, experiment(("mats", "c", True, 4.0), maximum=0.0)) is self.SEVERAL


def ran(subject: Subject, *requests: ProbeRequest) -> list[Evidence]:
    return run_probes(subject, requests)


@pytest.fixture(scope="module")
def demo() -> Subject:
    return load_subject(SubjectSource(name="demo", device="cpu"))


def test_neighbours_have_the_largest_cosines_and_tokens_tell_the_two_apart(subject: Subject) -> None:
    (found,) = ran(subject, ProbeRequest("neighbours", 3, SETTINGS))
    assert isinstance(found, Neighbours)
    rows = torch.nn.functional.normalize(subject.sae.decoder.float(), dim=1)
    cosines = rows @ rows[3]
    cosines[3] = -2
    values, features = cosines.topk(NEIGHBOURS)
    assert [one.feature for one in found.neighbours] == features.tolist()
    assert [one.cosine for one in found.neighbours] == pytest.approx(values.tolist(), abs=1e-5)
    for one in found.neighbours:
        assert all(pair.own > pair.other for pair in one.own)
        assert all(pair.other > pair.own for pair in one.other)
        gains = [pair.own - pair.other for pair in one.own]
        assert gains == sorted(gains, reverse=True)


def test_tokens_that_activate_two_features_make_both_active(demo: Subject) -> None:
    """The demo's SAE has thresholds far above 0, so that a positive pre-activation is not yet an activation."""
    features = range(20)
    n_shared = 0
    for found in run_probes(demo, [ProbeRequest("neighbours", feature, SETTINGS) for feature in features]):
        assert isinstance(found, Neighbours)
        active = {f: active_alone(demo, f) for f in (found.feature, *(one.feature for one in found.neighbours))}
        for one in found.neighbours:
            assert {pair.token for pair in (*one.own, *one.shared)} <= active[found.feature]
            assert {pair.token for pair in (*one.other, *one.shared)} <= active[one.feature]
            n_shared += len(one.shared)
    assert n_shared > 20


def active_alone(subject: Subject, feature: int) -> set[str]:
    """The tokens that make a feature active when they are read alone, by the SAE's whole encoding."""
    states = token_states(subject)
    found = [Columns(subject.sae, [feature]).encode(block[None])[0, :, 0] > 0 for block in states.blocks(subject)]
    return {subject.text_of(int(id)) for id in states.ids[torch.cat(found).cpu()]}


def test_a_feature_that_no_single_token_activates_has_no_maximum_there(demo: Subject) -> None:
    listed = token_lists(demo, range(300), 1)
    never = [feature for feature, active in enumerate(listed.activates) if not active]
    assert any(listed.leading.values[feature, 0] > 0 for feature in never)
    requests = [ProbeRequest("continuations", feature, SETTINGS) for feature in never]
    assert known_maxima(demo, requests) == [0.0] * len(never)
    (found,) = run_probes(demo, requests[:1])
    assert isinstance(found, Continuations)
    assert (found.lines, bool(found.reason)) == ((), True)


def continued_plainly(subject: Subject, opening: str, feature: int | None, amount: float) -> str:
    """Greedy decoding, one text, the feature held by a hook on the block that the SAE reads after."""
    tokenizer, sae = subject.tokenizer, subject.sae
    front = [*leading_ids(tokenizer), *tokenizer.encode(opening, add_special_tokens=False)]

    def hold(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        active = sae.encode(output)[..., feature]
        return output + (amount - active)[..., None] * sae.decoder_rows([feature])[0]

    layer = subject.model.model.layers[sae.config.hook.layer]
    handle = None if feature is None else layer.register_forward_hook(hold)
    ids = torch.tensor([front])
    with torch.inference_mode():
        for _ in range(LENGTH):
            ids = torch.cat([ids, subject.model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    if handle is not None:
        handle.remove()
    return tokenizer.decode(ids[0, len(front) :], skip_special_tokens=True)


def test_openings_are_continued_as_by_plain_greedy_decoding_with_the_feature_held(subject: Subject) -> None:
    strong = CLAMPED.model_copy(update={"steering": CLAMPED.steering.model_copy(update={"strength": 4.0})})
    (found,) = ran(subject, ProbeRequest("continuations", 3, strong, maximum=20.0))
    assert isinstance(found, Continuations)
    assert found.amount == pytest.approx(80.0)
    assert [line.opening for line in found.lines] == [*OPENINGS]
    assert [line.text for line in found.lines] == [continued_plainly(subject, o, 3, 80.0) for o in OPENINGS]
    lengths = subject.sae.decoder_rows([3, found.other or 0]).norm(dim=-1).tolist()
    beside = 80.0 * lengths[0] / lengths[1]
    assert [line.beside for line in found.lines] == [
        continued_plainly(subject, o, found.other, beside) for o in OPENINGS
    ]
    assert [line.text for line in found.lines] != [continued_plainly(subject, o, None, 0.0) for o in OPENINGS]


def test_a_feature_that_nothing_activates_is_not_clamped_and_that_is_said(subject: Subject) -> None:
    (found,) = ran(subject, ProbeRequest("continuations", N_FEATURES - 1, CLAMPED))
    assert isinstance(found, Continuations)
    assert (found.lines, found.other) == ((), None)
    assert "nothing to clamp it at" in found.reason


def test_the_log_gives_back_what_it_was_given(subject: Subject) -> None:
    (near,) = ran(subject, ProbeRequest("neighbours", 3, SETTINGS))
    lines = (Continuation("The", ' "\x00 \ud83d', "</evidence>"),)
    for kind, found in (("neighbours", near), ("continuations", Continuations(7, CLAMPED, 2.5, True, 3, lines))):
        payload = codec.encode(found)
        again = codec.decode(kind, found.feature, found.settings, payload)
        assert codec.encode(again) == payload
        assert type(again) is type(found)
    assert again == found


def planner(subject: Subject, tests: bool = True, candidates: int = 1) -> Planner:
    probe = ProbeSettings.parse(
        {"vector": {"scale": subject.card.default_scale}, "tree": {"prompt": "definition", "cutoff": 0.2}}
    )
    return Planner(probe, ("vocabulary",), subject.card.default_scale, tests=tests, candidates=candidates)


async def _labelled(log: RunLog, subject: Subject, explainer: FakeExplainer, plans: Planner) -> Outcome:
    identity = RunIdentity(subject=subject.card, settings={}, explainer="fake", templates={})
    run_id = log.begin_run(identity, [3], new=True).run_id
    async with Prober(DeviceThread(partial(run_probes, subject))) as prober:
        asker = Asker(explainer, log, run_id, open_door())
        loop = Loop(run_id, subject.card, plans, 3, prober, asker, log, system="")
        outcome = await loop.label_feature(3)
    await asyncio.wrap_future(log.write(add_label, run_id, outcome))
    return outcome


def in_the_loop(
    path: Path, subject: Subject, answers: Sequence[Proposal], plans: Planner
) -> tuple[LabelRow, FakeExplainer, dict[int, list[Evidence]]]:
    explainer = FakeExplainer([*answers])
    with RunLog.open(path) as log:
        asyncio.run(_labelled(log, subject, explainer, plans))
        (row,) = log.read(labels_of, 1)
        return row, explainer, dict(log.read(evidence_rounds, 1, 3))


def test_the_loop_compares_and_steers_and_shows_what_came(subject: Subject, tmp_path: Path) -> None:
    steer = Proposal(action="steer", settings=SettingsChange(clamp=2.0), reason="what does it do?")
    asked = [Proposal(action="compare", reason="which one?"), steer, LABEL]
    row, explainer, rounds = in_the_loop(tmp_path / "log.db", subject, asked, planner(subject))
    assert (row.label, row.rounds) == ("cats", 3)
    assert [type(rounds[number][0]) for number in (2, 3)] == [Neighbours, Continuations]
    assert "## Nearest features" in explainer.requests[1].prompt
    assert "## Written with the feature clamped" in explainer.requests[2].prompt
    assert "which one?" in explainer.requests[2].prompt


def test_what_a_run_does_not_allow_is_refused_without_a_probe(subject: Subject, tmp_path: Path) -> None:
    asked = [Proposal(action="compare", reason="which one?"), LABEL]
    row, explainer, rounds = in_the_loop(tmp_path / "log.db", subject, asked, planner(subject, tests=False))
    assert row.label == "cats"
    assert 2 not in rounds
    assert "not experimented on in this run" in explainer.requests[1].prompt


def test_the_best_candidate_is_found_by_running_their_texts(subject: Subject, tmp_path: Path) -> None:
    def peak(text: str) -> float:
        ids = subject.tokenizer.encode(text, add_special_tokens=False)
        request = ProbeRequest("experiment", 3, SETTINGS, (ExpectedText(text, True),), 1.0)
        (found,) = ran(subject, request)
        assert isinstance(found, Experiment)
        assert ids
        return found.results[0].peak or 0.0

    words = ("cat", "mat", "the", "sat", "on", "a")
    strong, weak = max(words, key=peak), min(words, key=peak)
    assert peak(strong) > peak(weak)
    answer = LABEL.model_copy(
        update={
            "label": "weak one",
            "candidates": (Candidate(label="weak one", texts=(weak,)), Candidate(label="strong one", texts=(strong,))),
        }
    )
    row, _, rounds = in_the_loop(tmp_path / "log.db", subject, [answer], planner(subject, candidates=2))
    assert row.label == "strong one"
    assert [type(item) for item in rounds[2]] == [Experiment]
    row, _, rounds = in_the_loop(tmp_path / "other.db", subject, [answer], planner(subject))
    assert row.label == "weak one", "where one label may be proposed, the others are not run"
    assert 2 not in rounds


def test_senses_and_scopes_are_in_the_log(subject: Subject, tmp_path: Path) -> None:
    answer = TestSenses.TWO.model_copy(update={"activates_on": "the word cat", "promotes": "sat"})
    row, _, _ = in_the_loop(tmp_path / "log.db", subject, [answer], planner(subject))
    assert [sense.text for sense in row.senses] == ["cats", "mats"]
    assert (row.activates_on, row.promotes) == ("the word cat", "sat")


def test_moves_are_explained_only_where_they_can_be_made(subject: Subject) -> None:
    everything = system_prompt(planner(subject, candidates=3))
    nothing = system_prompt(planner(subject, tests=False))
    assert all(word in everything for word in ("`compare`", "`steer`", "`candidates`"))
    assert not any(word in nothing for word in ("`compare`", "`steer`", "`candidates`"))
    sharp = replace(planner(subject), probe=ProbeSettings.parse({"tokens": {"exponent": 2.5}}))
    assert "; 2.5 unless asked for." in system_prompt(sharp)
