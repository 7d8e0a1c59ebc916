"""A run that fails on every feature by one fault of the program ends; any other run goes on."""

from pathlib import Path

import pytest

import agent.run
from agent.breaker import ALIKE, INTERNAL, Breaker
from agent.errors import BrokenError
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome, Proposal
from tests.fakes import DOGS, SUBJECT, FakeExplainer, FakeProbes, Notes, config, in_loop

LABEL = Proposal(action="label", label="dog", confidence=0.8)


def failed(feature: int, reason: str = f"{INTERNAL}KeyError: 'E7'") -> Outcome:
    return Outcome(feature=feature, status="failed", rounds=0, reason=reason)


def verdicts(*outcomes: Outcome) -> list[bool]:
    """After which of them it ends the run."""
    breaker = Breaker()

    def ends(outcome: Outcome) -> bool:
        try:
            breaker.count(outcome)
        except BrokenError:
            return True
        return False

    return [*map(ends, outcomes)]


def test_the_fifth_of_the_first_failures_alike_ends_it() -> None:
    alike = [failed(n, f"{INTERNAL}ValueError: row {n} of 'x{n}'") for n in range(6)]
    assert verdicts(*alike) == [False] * 4 + [True, True]


@pytest.mark.parametrize(
    "other",
    [
        Outcome(feature=9, status="labelled", label="dog", confidence=0.5, rounds=1),
        Outcome(feature=9, status="abstained", rounds=1),
        failed(9, "not JSON"),
        failed(9, f"{INTERNAL}TypeError: no"),
    ],
)
@pytest.mark.parametrize("place", range(ALIKE))
def test_anything_else_among_them_shows_that_the_fault_is_not_everyones(other: Outcome, place: int) -> None:
    outcomes = [failed(n) for n in range(20)]
    outcomes.insert(place, other)
    assert not any(verdicts(*outcomes))


@in_loop
async def test_a_run_ends_with_the_fault_in_its_sentence_and_what_failed_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {feature: {"words": None, "encoder": None, "decoder": None} for feature in range(1, 100)}
    monkeypatch.setattr(agent.run, "run_probes", FakeProbes(definitions=broken))  # type: ignore[arg-type]
    with RunLog.open(tmp_path / "log.db") as log:
        observer = Notes()
        run = (RunSpec(config(concurrency=2), SUBJECT, FakeExplainer([LABEL])), log)
        report = await run_features(*run, range(1, 100), False, observer)
        assert isinstance(report.stopped, BrokenError)
        assert f"first {ALIKE} features all failed alike: {INTERNAL}" in str(report.stopped)
        assert ALIKE <= len(log.read(labels_of, report.run_id)) <= ALIKE + 2
        monkeypatch.setattr(agent.run, "run_probes", FakeProbes(default=DOGS))
        again = await run_features(*run, range(1, 100), False, Notes())
        assert (again.run_id, again.stopped) == (report.run_id, None)
        assert {row.status for row in log.read(labels_of, report.run_id)} == {"labelled"}
