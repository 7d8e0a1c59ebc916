"""How often the offline explainer labels random directions in place of features: a twentieth at most is the promise.

    python -m tests.bench.random_labels [--subject demo] [--n 200] [--weights words] [--seed 0] [--only-random]

Each random feature has an encoder direction and a decoder direction of its own. As many of the subject's own features,
drawn at random, stand beside them.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from agent.evidence.digest import digest
from agent.llm.offline import propose
from agent.planning import Planner, RoundPlan
from agent.schema import Proposal
from eval.metrics import proportion
from probes.evidence import ProbeRequest
from probes.ghost.base_prompt import all_resolved
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject
from tests.bench.probe_table import figure

ROUNDS = 3


def main() -> None:
    """Prints the shares that are labelled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default="demo")
    parser.add_argument("--n", default=200, type=int)
    parser.add_argument("--weights", default="words")
    parser.add_argument("--cutoff", default=0.001, type=float)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--only-random", action="store_true")
    given = parser.parse_args()
    subject = load_subject(SubjectSource(name=given.subject))
    scale = subject.card.default_scale
    probe = all_resolved(subject, ProbeSettings.parse({"tree": {"cutoff": given.cutoff}}))
    planner = Planner(probe, given.weights.split(","), scale)
    rng = np.random.default_rng(given.seed)
    features = rng.permutation(subject.card.n_features)[: given.n].tolist()
    if not given.only_random:
        _tell("features", proposals(subject, planner, features))
    _randomise(subject, given.seed)
    _tell("random directions", proposals(subject, planner, features))


@dataclass(frozen=True)
class Case:
    """A feature on its way."""

    plan: RoundPlan
    tried: Sequence[ProbeRequest] = ()
    history: Sequence[dict[str, Any]] = ()
    n_pieces: int = 0


def proposals(subject: Subject, planner: Planner, features: Sequence[int]) -> list[Proposal]:
    """What the offline explainer ends with, as in a run of `ROUNDS` rounds; a round of all features is one batch."""
    ended: dict[int, Proposal] = {}
    cases = {feature: Case(planner.first(feature)) for feature in features}
    while cases:
        made = iter(run_probes(subject, [request for case in cases.values() for request in case.plan.requests]))
        going: dict[int, Case] = {}
        for feature, case in cases.items():
            evidence = [*islice(made, len(case.plan.requests))]
            pieces = digest(evidence, planner.default_scale, first=case.n_pieces + 1)
            last = len(case.history) == ROUNDS - 1
            proposal = propose({"history": case.history, "evidence": pieces, "last": last})
            if proposal.action != "probe" or proposal.settings is None:
                ended[feature] = proposal
                continue
            tried = [*case.tried, *case.plan.requests]
            history = [*case.history, {"evidence": pieces, "asked": proposal.settings.model_dump(exclude_none=True)}]
            plan = planner.next(feature, proposal.settings, tried)
            going[feature] = Case(plan, tried, history, case.n_pieces + len(pieces))
        cases = going
    return [ended[feature] for feature in features]


def _randomise(subject: Subject, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in (subject.sae.W_enc, subject.sae.W_dec):
            weights.copy_(torch.randn(weights.shape, generator=generator))


def _tell(name: str, proposals: Sequence[Proposal]) -> None:
    found = [proposal for proposal in proposals if proposal.action == "label"]
    print(f"{name:18} labelled {figure(proportion(len(found), len(proposals)))}  {_words(found)}", flush=True)


def _words(proposals: Iterable[Proposal]) -> str:
    return ", ".join(f"{label} {n}" for label, n in Counter(p.label for p in proposals).most_common(5))


if __name__ == "__main__":
    main()
