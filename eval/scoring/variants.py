"""The labels that a scoring measures: the run's own, and those it must beat, in the order of a report."""

from agent.log.runs import RunSummary

VARIANTS = {
    "label": "the run's label",
    "first": "the first proposed",
    "before": "before it was escalated",
    "known": "known concept's name",
    "one_shot": "one shot over top examples",
    "baseline": "the source's label",
    "tokens": "top tokens only",
    "shuffled": "another feature's",
    "feature": "none: labelled features",
    "unlabelled": "none: features without a label",
    "mixed": "none: examples of several features",
}
"""By the names that the log has, what tables and pages call them. The last three are of scorers that read no label."""

OF_FEATURES = ("feature", "unlabelled")
"""What a scorer that reads no label scores in place of the run's label: a feature that has one, or has none."""


def variant_words(variant: str) -> str:
    """Returns what people read for a variant; a log's own name where it is none of ours."""
    return VARIANTS.get(variant, variant)


def escalates(run: RunSummary) -> bool:
    """Tells whether a stronger explainer was asked about features whose label was doubtful."""
    return "escalation" in run.settings


def proposes_again(run: RunSummary) -> bool:
    """Tells whether a run's labels may differ from those that were proposed first."""
    settings = run.settings
    return bool(settings.get("feedback") or settings.get("tests") or settings.get("candidates", 1) > 1)
