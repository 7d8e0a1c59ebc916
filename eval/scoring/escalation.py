"""Tells what a stronger explainer was asked about, what it changed, and what it cost."""

from collections.abc import Iterator

from agent.log.calls import spent_on
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from eval.scoring.variants import escalates


def escalation_sentences(log: RunLog, run: RunSummary) -> Iterator[str]:
    """Yields a sentence about the features of a run that were escalated; nothing where none could be."""
    if not escalates(run):
        return
    second = run.settings["escalation"]
    rows = log.read(labels_of, run.run_id)
    asked = [row for row in rows if row.before is not None]
    changed = [row for row in asked if row.before is not None and _plain(row.label) != _plain(row.before.label)]
    gained = sum(row.before is not None and not row.before.label for row in changed)
    provider, _, model = second["explainer"].partition(" at ")[0].partition(":")
    spent = log.read(spent_on, run.run_id, provider, model)
    dollars = "cost unknown" if spent.cost_usd is None else f"${spent.cost_usd:,.4f}"
    yield (
        f"{len(asked):,} of {len(rows):,} features were escalated to {second['explainer']}, their label less sure than "
        f"{second['below']:g} or none: {len(changed):,} labels changed, {gained:,} of them from none, for "
        f"{spent.calls:,} calls, {spent.tokens:,} tokens, {dollars}."
    )


def _plain(label: str) -> str:
    return " ".join(label.casefold().split())
