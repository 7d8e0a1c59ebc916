"""Do p-values hold? Those of an SAE with random rows in place of its features, for trees and after sweeps.

    python -m tests.bench.null_p_values [--subject demo] [--n 400] [--seed 0] [--only REGEX]

Random rows say nothing, so 5 % of them may have p <= .05. Uniform: a Kolmogorov-Smirnov test of these rows against the
99 random features that all p-values rest on, which are a sample themselves; its p is small where p-values do not hold.
"If alone": the chosen candidate's own p-value, as if it had been the only one.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import ks_2samp

from agent.log.rows import now
from agent.log.runs import versions
from eval.metrics import proportion
from probes.evidence import ProbeRequest, Sweep, TokenList, Tree
from probes.ghost.random_directions import random_directions
from probes.null.contrast import N_RANDOM
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject
from tests.bench.probe_table import figure

WAYS = {
    "words": {"weights": "words"},
    "vocabulary": {"weights": "vocabulary"},
    "vocabulary --scale auto": {"weights": "vocabulary", "scale": "auto"},
    "encoder": {"weights": "encoder"},
    "decoder": {"weights": "decoder"},
    "encoder --scale auto": {"weights": "encoder", "scale": "auto"},
    "decoder --scale auto": {"weights": "decoder", "scale": "auto"},
    "--weights auto": {"weights": "auto"},
    "--weights auto --scale auto": {"weights": "auto", "scale": "auto"},
}
CUTOFF = 0.01
"""What lies below it decides no p-value."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default="demo")
    parser.add_argument("--n", default=400, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--only", default="", metavar="REGEX", help="of the ways in which trees are made")
    chosen = parser.parse_args()
    subject = with_random_rows(load_subject(SubjectSource(name=chosen.subject)), chosen.n, chosen.seed)
    print(now(), *(f"{package} {version}" for package, version in versions().items()), sep="  ")
    print(f"vocabulary lists, p <= .05   {_share(listed(subject, range(chosen.n)), 0.05)}")
    ways = [name for name in WAYS if re.search(chosen.only, name)]
    for line in lines(subject, range(chosen.n), ways):
        print(line, flush=True)


def with_random_rows(subject: Subject, n: int, seed: int) -> Subject:
    """The subject, its SAE's features replaced by n random encoder directions and n other decoder directions."""
    encoder, decoder = (random_directions(subject.card.d_model, n, 2 * seed + side) for side in (1, 2))
    return replace(subject, sae=replace(subject.sae, W_enc=encoder.T, W_dec=decoder))


def lines(subject: Subject, features: Sequence[int], ways: Sequence[str]) -> Iterator[str]:
    """One for each way."""
    yield f"{'':28} {'p <= .05':26} {'if alone':26} {'p <= .30':26} uniform"
    for name in ways:
        settings = ProbeSettings.parse({"vector": WAYS[name], "tree": {"cutoff": CUTOFF}})
        trees, alone = _p_values(subject, features, settings)
        shares = [_share(trees, 0.05), _share(alone, 0.05) if alone else "", _share(trees, 0.3)]
        yield f"{name:28} {' '.join(f'{one:26}' for one in shares)} {_uniformity(trees)}"


def listed(subject: Subject, features: Sequence[int]) -> list[float]:
    """The p-values of the lists of tokens that activate the features."""
    settings = ProbeSettings.parse({"vector": {"weights": "vocabulary"}})
    found = run_probes(subject, [ProbeRequest("tokens", feature, settings) for feature in features])
    return [one.p_value for one in found if isinstance(one, TokenList) and one.p_value is not None]


def _p_values(subject: Subject, features: Sequence[int], settings: ProbeSettings) -> tuple[list[float], list[float]]:
    """Those of trees, and of the candidates that were chosen, if any were; 1 where there was no tree."""
    kinds = ("tree", "sweep") if settings.vector.is_auto else ("tree",)
    found = run_probes(subject, [ProbeRequest(kind, feature, settings) for kind in kinds for feature in features])
    trees = [one.contrast.p_value if one.contrast else 1.0 for one in found if isinstance(one, Tree)]
    return trees, [one.best.p_value or 1.0 for one in found if isinstance(one, Sweep)]


def _share(p_values: Sequence[float], most: float) -> str:
    return figure(proportion(sum(p <= most for p in p_values), len(p_values)))


def _uniformity(p_values: Sequence[float]) -> str:
    """Of a random feature that others are held to, the p-value lies between those that are possible."""
    grid = (np.arange(N_RANDOM) + 1.5) / (1 + N_RANDOM)
    found = ks_2samp(p_values, grid)
    return f"D {found.statistic:.3f} p {found.pvalue:.2f}"


if __name__ == "__main__":
    main()
