"""The senses of a label, each with the results of the texts that were run for it."""

from collections.abc import Iterable, Sequence

from agent.schema import Proposal, Sense, SenseResult
from probes.evidence import Experiment

SENSES = 3
"""Most senses of a label."""


def same_words(one: str, other: str) -> bool:
    """Tests if two names differ in case and spaces at most."""
    return one.casefold().split() == other.casefold().split()


def sense_results(proposal: Proposal, experiments: Sequence[Experiment]) -> list[SenseResult]:
    """Returns a label's senses, its own words if it names none, with their counts over all texts that name them."""
    senses = _distinct(proposal.senses)[:SENSES]
    if len(senses) < 2:
        evidence = senses[0].evidence if senses and senses[0].evidence else proposal.evidence
        names = [proposal.label, *(sense.text for sense in senses)]
        return [_result(Sense(text=proposal.label, evidence=evidence), names, experiments)]
    return [_result(sense, [sense.text], experiments) for sense in senses]


def _distinct(senses: Iterable[Sense]) -> list[Sense]:
    kept: list[Sense] = []
    for sense in senses:
        if not any(same_words(sense.text, other.text) for other in kept):
            kept.append(sense)
    return kept


def _result(sense: Sense, names: Sequence[str], experiments: Iterable[Experiment]) -> SenseResult:
    """Counts a sense's texts; those that could not be measured are left out."""
    told = [
        (result.asked.activates, held)
        for experiment in experiments
        for result in experiment.results
        if any(same_words(result.asked.hypothesis, name) for name in names)
        if (held := experiment.held(result)) is not None
    ]
    positive, near_misses = ([held for expected, held in told if expected is should] for should in (True, False))
    return SenseResult(
        text=" ".join(sense.text.split()),
        evidence=sense.evidence,
        n_positive=len(positive),
        n_activating=sum(positive),
        n_near_misses=len(near_misses),
        n_not_activating=sum(near_misses),
        dropped=bool(positive) and not any(positive),
    )
