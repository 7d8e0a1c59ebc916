"""A feature's page in one picture, to be passed on."""

from collections.abc import Iterator

from agent.drawing.card import CardToken, PictureCard
from agent.web.feature.view import FeaturePage

WORDS = 8


def card_of(view: FeaturePage, address: str, wording: str | None, hidden: bool) -> PictureCard:
    """Returns the picture of a page; `hidden` leaves out what a blind reviewer is not to see."""
    row = view.row
    said = (
        {"labelled": row.label, "abstained": "(abstained)", "failed": "(failed)"}[row.status] if row else "(no label)"
    )
    example = view.texts.activating[0].tokens if view.texts and view.texts.activating else ()
    return PictureCard(
        place=f"feature {address} · {view.run.subject['name']} · {view.run.subject['hook']}",
        label=wording or said,
        words=_words(view),
        example=[CardToken(token.text, token.shade / 10) for token in example],
        facts=[*_facts(view, hidden)],
    )


def _words(view: FeaturePage) -> list[str]:
    """Returns words of the examples; without examples the first tokens of a list."""
    if view.texts and view.texts.activates_on:
        return [*view.texts.activates_on[:WORDS]]
    lists = (listed for side in view.evidence.sides for listed in side.lists)
    return [token.token.strip() for listed in list(lists)[:1] for token in listed.rows[:WORDS]]


def _facts(view: FeaturePage, hidden: bool) -> Iterator[str]:
    activity = view.texts.activity if view.texts else None
    if activity is not None and activity.frequency is not None:
        yield f"active at {100 * activity.frequency:.3g} % of {activity.n_tokens:,} tokens"
    main = view.scored.main if view.scored and not hidden else None
    if main is not None:
        yield f"{main.block.scorer} {main.label.value} {main.label.interval}, n {main.label.n:,}"
