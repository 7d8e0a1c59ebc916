"""Trees, token lists and features that a notebook displays when a cell ends with one.

    from agent.notebook import open_log, open_subject

    subject = open_subject("demo")
    subject.tree(121, scale=2.5)
    subject.tokens(121, weights="decoder")
    open_log("interpret.db").feature(121)

Each view's `value` is the evidence itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from agent.cli.commands.export import exported
from agent.config import GROUPS
from agent.drawing.svg import tree_svg
from agent.errors import LogError
from agent.evidence.badge import list_badge
from agent.evidence.branches import Trim
from agent.evidence.wording import folded, list_words, token_words
from agent.export.card import FeatureCard, card
from agent.export.html import environment
from agent.groups import RunGroup
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from probes.errors import SettingsError
from probes.evidence import Evidence, ProbeRequest, TokenList, Tree
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeKind, ProbeSettings
from probes.subject import Subject, load_subject

_TRIM = Trim(most=120)
_TREES = 4
"""Most of a feature that are drawn."""


@dataclass(frozen=True)
class TreeView:
    """A definition tree, displayed as a dendrogram."""

    value: Tree
    trim: Trim = _TRIM

    def trimmed(self, least: float) -> "TreeView":
        """Returns the same tree, drawn down to this probability."""
        return TreeView(self.value, Trim(least=least))

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto;white-space:pre">{tree_svg(self.value, self.trim)}</div>'

    def __repr__(self) -> str:
        return f"<definition tree of feature {self.value.feature}, {self.value.n_nodes - 1:,} nodes>"


@dataclass(frozen=True)
class TokensView:
    """A token list, displayed as a table."""

    value: TokenList

    def _repr_html_(self) -> str:
        found = self.value
        badge = list_badge(found)
        title = f"feature {found.feature}: {list_words(found)}{f'; {badge.brief}' if badge else ''}"
        tokens = folded(found.tokens) if found.settings.vector.is_vocabulary else found.tokens
        rows = [(rank, token_words(token.token), token) for rank, token in enumerate(tokens, start=1)]
        return environment().get_template("tokens.html.j2").render(title=title, rows=rows)

    def __repr__(self) -> str:
        return f"<token list of feature {self.value.feature}, {len(self.value.tokens):,} tokens>"


@dataclass(frozen=True)
class FeatureView:
    """One feature of a run, as a card with its trees."""

    card: FeatureCard
    evidence: Sequence[Evidence]
    """Evidence of all rounds, in order."""

    def _repr_html_(self) -> str:
        trees = [Markup(TreeView(item)._repr_html_()) for item in self.evidence if isinstance(item, Tree)][:_TREES]
        return environment().get_template("feature.html.j2").render(card=self.card, trees=trees)

    def __repr__(self) -> str:
        return f"<feature {self.card.feature}: {self.card.label or self.card.status}>"


@dataclass(frozen=True)
class SubjectView:
    """A loaded subject to probe, feature by feature."""

    value: Subject

    def tree(self, feature: int, **settings: Any) -> TreeView:
        """Grows a definition tree. `settings` are those of `interpret tree`: weights, scale, pca, prompt, cutoff, ...

        The vector is made of the tokens that activate the feature, unless `weights` says otherwise. Raises
        InterpretError.
        """
        found = self._probed("tree", feature, settings)
        assert isinstance(found, Tree)
        return TreeView(found)

    def tokens(self, feature: int, **settings: Any) -> TokensView:
        """Lists the tokens that activate the feature most when read alone, or those nearest to its vector.

        The former with `weights="vocabulary"`, the default; `settings` are those of `interpret tokens`. Raises
        InterpretError.
        """
        found = self._probed("tokens", feature, settings)
        assert isinstance(found, TokenList)
        return TokensView(found)

    def _probed(self, kind: ProbeKind, feature: int, settings: Mapping[str, Any]) -> Evidence:
        return run_probes(self.value, [ProbeRequest(kind, feature, _probe_settings(settings))])[0]


@dataclass(frozen=True)
class LogView:
    """A log to look features up in."""

    path: Path

    def feature(self, feature: int, run: int | None = None) -> FeatureView:
        """Returns a feature of that run, or of the latest one. Raises LogError."""
        with RunLog.open(self.path, read_only=True) as log:
            summary = log.read(chosen_run, run)
            labels = log.read(labels_of, summary.run_id, features=[feature])
            if not labels:
                raise LogError(
                    f"Run {summary.run_id} in {self.path} has no label of feature {feature}; it was asked for "
                    f"{summary.features or 'none'}."
                )
            found = exported(log, RunGroup((summary,)), {summary.run_id: labels})
            [record] = found.records
            evidence = found.evidence(record)
            return FeatureView(card(record, found.label_of(record), evidence, found.collected(record)), evidence)


def open_subject(
    name: str | None = None, *, model: str | None = None, sae: str | None = None, device: str = "auto"
) -> SubjectView:
    """Loads a subject by its name, `demo` unless given, or a model and an SAE. Raises InterpretError."""
    given = {"name": name, "model": model, "sae": sae}
    source = {key: value for key, value in given.items() if value is not None}
    return SubjectView(load_subject(SubjectSource.parse({**source, "device": device})))


def open_log(path: str | Path) -> LogView:
    """Opens the log at `path`, read anew for each feature. Raises LogError if there is none."""
    with RunLog.open(Path(path), read_only=True):
        return LogView(Path(path))


def _probe_settings(settings: Mapping[str, Any]) -> ProbeSettings:
    """Sorts settings into their groups. Raises SettingsError for an unknown one."""
    groups = {group: GROUPS[group].model_fields for group in ProbeSettings.model_fields if group in GROUPS}
    known = [name for fields in groups.values() for name in fields]
    if unknown := [name for name in settings if name not in known]:
        raise SettingsError(f"There is no setting {unknown[0]!r} of a probe; there are {', '.join(known)}.")
    return ProbeSettings.parse(
        {group: {name: settings[name] for name in fields if name in settings} for group, fields in groups.items()}
    )
