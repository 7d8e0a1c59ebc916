"""One feature under two settings: trees, token lists and what was measured of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.evidence.badge import Badge, list_badge
from agent.evidence.wording import list_words, vector_words
from agent.log.comparisons import ComparisonRow
from agent.log.evidence import evidence_by_id, evidence_keys
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.web.compare.comparison import Comparison
from agent.web.explore.controls import query_of
from agent.web.feature.evidence import ListPiece, list_bars, tree_caption
from agent.web.trees import Outline, badge, outline
from eval.compare.measures import REPORTED, UNITS
from eval.compare.verdict import figure
from probes.essence import essence_of
from probes.evidence import Evidence, TokenList, Tree
from probes.settings import ProbeKind, ProbeSettings


@dataclass(frozen=True)
class ComparedTree:
    """A tree for the template that draws trees."""

    name: str
    caption: str
    badge: Badge | None
    outline: Outline


@dataclass(frozen=True)
class SettingView:
    """One setting's evidence of the feature."""

    place: int
    name: str
    measured: Mapping[str, str]
    """Values by measure."""
    tree: ComparedTree | None
    tokens: ListPiece | None
    explored: str | None
    """The settings as a query of the explore page; None if its controls cannot express them."""


@dataclass(frozen=True)
class SettingViews:
    """Two settings, with the measures that either has a value of."""

    sides: Sequence[SettingView]
    measures: Mapping[str, str]


def sides(log: RunLog, row: ComparisonRow, found: Comparison, feature: int, places: Sequence[int]) -> SettingViews:
    """Returns the feature under the settings at these indices."""
    evidence = _evidence(log, row, feature, [found.settings[place] for place in places])
    made = [_side(found, row, place, feature, evidence) for place in places]
    return SettingViews(made, {name: UNITS[name] for name in REPORTED if any(name in side.measured for side in made)})


def tree_at(log: RunLog, row: ComparisonRow, setting: ProbeSettings, feature: int) -> Tree | None:
    """Returns the stored tree of the feature under a setting."""
    found = _evidence(log, row, feature, [setting], ("tree",)).get(essence_of("tree", setting))
    return found if isinstance(found, Tree) else None


def _side(
    found: Comparison, row: ComparisonRow, place: int, feature: int, evidence: Mapping[str, Evidence]
) -> SettingView:
    setting = found.settings[place]
    tree, tokens = (evidence.get(essence_of(kind, setting)) for kind in _KINDS)
    values = {name: own[feature] for name, own in found.values[setting].own.items() if feature in own}
    return SettingView(
        place=place,
        name=found.names[place] or vector_words(setting.vector),
        measured={name: figure(value) for name, value in values.items()},
        tree=ComparedTree("tree", tree_caption(tree), badge(tree), outline(tree)) if isinstance(tree, Tree) else None,
        tokens=_compared_list(tokens) if isinstance(tokens, TokenList) else None,
        explored=query_of(setting, row.subject),
    )


_KINDS: tuple[ProbeKind, ...] = ("tree", "tokens")


def _evidence(
    log: RunLog,
    row: ComparisonRow,
    feature: int,
    settings: Sequence[ProbeSettings],
    kinds: Sequence[ProbeKind] = _KINDS,
) -> dict[str, Evidence]:
    """Returns the stored evidence of the feature under these settings, of any run, by essence."""
    wanted = {essence_of(kind, setting) for setting in settings for kind in kinds}
    runs = [run.run_id for run in log.read(all_runs) if run.subject.get("fingerprint") == row.subject.fingerprint]
    keys = log.read(evidence_keys, runs, [feature])
    ids = {essence_of(key.kind, key.settings): key.evidence_id for key in keys if key.kind in kinds}
    ids = {essence: id for essence, id in ids.items() if essence in wanted}
    stored = log.read(evidence_by_id, ids.values())
    return {essence: stored[id] for essence, id in ids.items()}


def _compared_list(tokens: TokenList) -> ListPiece:
    return ListPiece("tokens", list_words(tokens), list_badge(tokens), list_bars(tokens))
