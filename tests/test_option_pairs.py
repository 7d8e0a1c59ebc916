"""Options together: every pair of choices over run, compare and score ends in labels, figures or one sentence."""

import random
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir
from itertools import combinations, product
from pathlib import Path

import pytest
import torch

from agent.cli import main
from probes.ghost.adapter import Adapter, FitRecord, FitSettings, PartRecord, write_adapter
from tests.fault_runs import Interpret, Ran, commands, environment
from tests.score_commands import named, tiny_options

Case = Mapping[str, str]
AXES: dict[str, tuple[str, ...]] = {
    "command": ("run", "compare", "score"),
    "weights": ("words", "vocabulary", "encoder", "blend:0.3", "auto"),
    "steering": ("none", "add", "clamp", "no ghost"),
    "examples": ("none", "weights", "shown"),
    "adapter": ("none", "fitted"),
    "log": ("own", "imported"),
}
FEATURES = ("--features", "0-2")
SMALL = ("--cutoff", "0.05", "--max-depth", "3", "--prompt", "definition")
STEERED = {
    "none": (),
    "add": ("--steer", "add"),
    "clamp": ("--steer", "clamp", "--at", "all"),
    "no ghost": ("--steer", "clamp", "--no-ghost"),
}
_WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "dogs", "ran", "old", "houses", "larger")


def pairwise() -> list[Case]:
    """A few cases among which every two choices of different axes occur together; the same ones every time."""
    names = [*AXES]
    left = {pair for one, other in combinations(names, 2) for pair in product(_choices(one), _choices(other))}
    rng, cases = random.Random(0), list[Case]()
    while left:
        drawn = [{name: rng.choice(AXES[name]) for name in names} for _ in range(200)]
        best = max(drawn, key=lambda case: len(left & _pairs(case)))
        left -= _pairs(best)
        cases.append(best)
    return cases


def _choices(axis: str) -> list[tuple[str, str]]:
    return [(axis, choice) for choice in AXES[axis]]


def _pairs(case: Case) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return {*combinations(case.items(), 2)}


FITTED = ("encoder", "decoder", "vocabulary", "blend:0.3")
"""Weights that an adapter may be fitted to."""


def adapter_for(weights: str) -> str:
    """The file of the adapter for these weights, or of another where there can be none."""
    return f"{(weights if weights in FITTED else FITTED[0]).replace(':', '-')}.safetensors"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a subject, an adapter of it, and logs with and without examples."""
    folder = tmp_path_factory.mktemp("prepared")
    options = tiny_options(folder)
    subject = named(options)
    rng = random.Random(0)
    (folder / "corpus.txt").write_text("\n\n".join(" ".join(rng.choices(_WORDS, k=40)) for _ in range(60)))
    empty = PartRecord(features=(), start=(), end=())
    card = subject.card
    for weights in FITTED:
        record = FitRecord(
            subject=card.name, fingerprint=card.fingerprint, d_model=card.d_model, labels="none",
            settings=FitSettings(weights=weights), steps=1, train=empty, validation=empty, held_out=empty,
            versions={}, created="2026-01-01T00:00:00Z",
        )  # fmt: skip
        write_adapter(folder / adapter_for(weights), Adapter(0.75, torch.zeros(card.d_model), record))
    corpus = ("--corpus", "corpus.txt", "--tokens", "3000", "--context", "32")
    with environment(), chdir(folder), pytest.raises(SystemExit):
        main(["examples", *options, *FEATURES, *corpus, "--log", "with.db"])
    return folder


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Interpret]:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with environment():
        yield commands(capsys)


@pytest.fixture
def interpret(prepared: Path, plain: Interpret) -> Interpret:
    """The command line with the tiny subject named."""
    subject = ("--model", str(prepared / "model"), "--sae", str(prepared / "sae"), "--device", "cpu")
    return lambda command, *rest: plain(command, *subject, *rest)


def options(case: Case, prepared: Path) -> list[str]:
    file = prepared / adapter_for(case["weights"])
    adapter = ["--adapter", str(file)] if case["adapter"] == "fitted" else []
    shown = ["--evidence", "examples"] if case["examples"] == "shown" and case["command"] != "compare" else []
    return [*FEATURES, *SMALL, "--weights", case["weights"], *STEERED[case["steering"]], *adapter, *shown]


def refused(case: Case) -> bool:
    """Tells whether the case asks for what cannot be had, by the documented rules."""
    return (
        (case["adapter"] == "fitted" and case["weights"] not in FITTED)
        or (case["steering"] != "none" and case["examples"] == "none")  # no feature's maximum is known
        or (case["command"] != "compare" and case["examples"] == "shown")  # the rule-based explainer reads no text
    )


@pytest.mark.parametrize("case", pairwise(), ids=lambda case: "-".join(case.values()).replace(" ", "_"))
def test_options_together_end_in_a_result_or_in_one_sentence(
    case: Case, prepared: Path, interpret: Interpret, plain: Interpret
) -> None:
    if case["examples"] != "none":
        shutil.copy(prepared / "with.db", "log.db")
    command = "compare" if case["command"] == "compare" else "run"
    ran = interpret(command, *options(case, prepared), "--log", "log.db")
    _check(ran)
    assert (ran.status != 0) == refused(case), ran.err or ran.out
    if ran.status or case["command"] == "compare":
        return
    assert re.search(r"3 features: \d labelled, \d abstained, 0 failed", ran.out), ran.out
    log = "log.db"
    if case["log"] == "imported":
        imported = plain("import", "log.db", "--log", "other.db")
        _check(imported)
        assert imported.status == 0, imported.err
        log = "other.db"
    if case["command"] == "score":
        scored = interpret("score", "--scorers", "embedding", "--log", log)
        _check(scored)
        assert (scored.status == 0) == (case["examples"] != "none"), scored.err
        assert "unscored" in scored.out + scored.err or "embedding" in scored.out


def _check(ran: Ran) -> None:
    assert ran.status in (0, 1, 2)
    assert "Traceback" not in ran.out + ran.err
    if ran.status == 2:
        assert ran.err.strip().endswith("."), ran.err
