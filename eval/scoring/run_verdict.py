"""Tells whether an agent beat its own first answer, and one shot over top examples, on held-out examples; at what cost.

By the latest scoring that has them, pairs kept. What cannot be told has a reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from agent.log.calls import CallRow, calls_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import ScoreRow, scores_of, scorings_of
from agent.loop import PURPOSE, SECOND
from eval.metrics import Estimate, paired_difference
from eval.scoring.score_run import HELD_OUT
from eval.scoring.variants import escalates, proposes_again

RIVALS = {
    "before": "its labels before they were escalated",
    "first": "its own first answer",
    "one_shot": "one shot over top examples",
}
"""Variants that an agent's label must beat to be worth its calls, and their words."""
_ONE_SHOT = "one_shot"
_BEFORE = "labels before they were escalated"


@dataclass(frozen=True)
class Costs:
    """Calls, tokens and dollars, on average over features."""

    calls: float
    tokens: float | None
    """None where a server did not tell."""
    usd: float | None
    """None where no price is known."""

    def __str__(self) -> str:
        tokens = "tokens unknown" if self.tokens is None else f"{self.tokens:,.0f} tokens"
        return f"{self.calls:.1f} calls, {tokens}, " + ("cost unknown" if self.usd is None else f"${self.usd:.4f}")


@dataclass(frozen=True)
class Verdict:
    """The agent's label against one rival, by one scorer."""

    scorer: str
    rival: str
    """A variant."""
    ahead: Estimate
    """Mean of label less rival over the features that have both."""
    agent: Costs
    """Of the same features, as is the rival's."""
    rivals: Costs

    def sentence(self) -> str:
        """Says who is ahead, by how much and at what cost."""
        ahead, words = self.ahead, RIVALS[self.rival]
        interval = "" if ahead.low is None or ahead.high is None else f" [{ahead.low:+.2f}, {ahead.high:+.2f}]"
        return (
            f"The agent against {words}, by {self.scorer}: {_judgement(ahead)}, {ahead.value:+.2f}{interval} over "
            f"{ahead.n:,} features, for {self.agent} a feature in place of {self.rivals}."
        )


def verdicts(log: RunLog, run: RunSummary, seed: int = 0) -> list[Verdict]:
    """Compares by every scorer whose scores have both; the latest scoring that has any counts."""
    for scoring in log.read(scorings_of, run.run_id):
        scores = [score for score in log.read(scores_of, scoring.scoring_id) if score.part == HELD_OUT]
        found = [*_verdicts(log, run, scoring.scoring_id, scores, seed)]
        if found:
            return found
    return []


def verdict_sentences(log: RunLog, run: RunSummary) -> Iterator[str]:
    """Yields a sentence for each verdict, or one that says why there is none; none for a run that answers but once."""
    if not (proposes_again(run) or escalates(run)):
        return
    found = verdicts(log, run)
    for verdict in found:
        yield verdict.sentence()
    if not found:
        earlier, words = ("first answers", "first answer") if proposes_again(run) else (_BEFORE, _BEFORE)
        why = f"its {earlier}" if log.read(scorings_of, run.run_id) else "its labels"
        yield (
            f"Whether the agent beat its {words} and one shot over top examples is unscored, because {why} have "
            f"no scores; interpret score {run.run_id} makes them, with --llm those of one shot too."
        )


def _verdicts(
    log: RunLog, run: RunSummary, scoring_id: int, scores: Sequence[ScoreRow], seed: int
) -> Iterator[Verdict]:
    for scorer in dict.fromkeys(score.scorer for score in scores):
        values = {(s.variant, s.feature): s.value for s in scores if s.scorer == scorer and s.value is not None}
        for rival in RIVALS:
            both = sorted(feature for variant, feature in values if variant == rival and ("label", feature) in values)
            if both:
                labels, others = [[values[variant, f] for f in both] for variant in ("label", rival)]
                calls = [log.read(calls_of, run.run_id, feature) for feature in both]
                agent = [[call for call in made if call.scoring_id is None] for made in calls]
                ahead = paired_difference(labels, others, seed)
                rivals = _costs([_of_rival(made, rival, scoring_id) for made in calls])
                yield Verdict(scorer, rival, ahead, _costs(agent), rivals)


def _of_rival(calls: Sequence[CallRow], rival: str, scoring_id: int) -> list[CallRow]:
    """The calls that a rival's label took: those up to the first label, those before another explainer, or one shot in
    that scoring.
    """
    if rival == _ONE_SHOT:
        return [call for call in calls if call.purpose == _ONE_SHOT and call.scoring_id == scoring_id]
    if rival == "before":
        loops = [call for call in calls if call.scoring_id is None]
        second = next((n for n, call in enumerate(loops) if call.purpose == SECOND), len(loops))
        return loops[:second]
    mine = [call for call in calls if call.scoring_id is None and call.purpose == PURPOSE]
    labelled = [n for n, call in enumerate(mine, start=1) if call.answer is not None and call.answer.get("label")]
    return mine[: labelled[0]] if labelled else mine


def _costs(calls: Sequence[Sequence[CallRow]]) -> Costs:
    """Of each feature's calls; what is unknown of one is unknown of all."""
    tokens = [_sum([_tokens(call) for call in made]) for made in calls]
    dollars = [_sum([call.cost_usd for call in made]) for made in calls]
    return Costs(fmean(map(len, calls)), _mean(tokens), _mean(dollars))


def _tokens(call: CallRow) -> int | None:
    return None if call.input_tokens is None or call.output_tokens is None else call.input_tokens + call.output_tokens


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)


def _judgement(ahead: Estimate) -> str:
    if ahead.low is None or ahead.high is None:
        return "no difference" if not ahead.value else "not told apart"
    return "ahead" if ahead.low > 0 else "behind" if ahead.high < 0 else "not told apart"
