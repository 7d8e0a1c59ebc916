"""Loads the subjects of a command, each when it is needed, and a model that several share once."""

from collections.abc import Sequence

from probes.presets import SubjectSource
from probes.subject import Subject, load_subject


class SubjectLoader:
    """Loads subjects, and keeps the last one: they are large, and take long to load."""

    def __init__(self) -> None:
        self._kept: tuple[SubjectSource, Subject] | None = None
        self._ahead: dict[SubjectSource, Subject] = {}

    def __call__(self, source: SubjectSource) -> Subject:
        """Returns the subject; the kept one's model is its own too if both are loaded alike. Raises SubjectError."""
        if self._kept is None or self._kept[0] != source:
            beside = self._kept[1] if self._kept and _has_same_model(self._kept[0], source) else None
            self._kept = None  # before another one takes its place in memory
            self._kept = source, self._ahead.pop(source, None) or load_subject(source, beside)
        return self._kept[1]

    def ahead(self, sources: Sequence[SubjectSource]) -> list[Subject]:
        """Returns several subjects of one model, and has each until it is asked for. Raises SubjectError.

        Their large tensors are views of files: what is computed with them comes when they are asked for.
        """
        for source in sources:
            beside = next(iter(self._ahead.values()), None)
            self._ahead[source] = load_subject(source, beside)
        return [self._ahead[source] for source in sources]


def _has_same_model(one: SubjectSource, other: SubjectSource) -> bool:
    apart = {"name", "model", "sae", "input_scale", "bos", "opening"}
    return one.preset.model == other.preset.model and one.model_dump(exclude=apart) == other.model_dump(exclude=apart)
