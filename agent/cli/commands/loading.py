"""Loads the subjects of a command, each when it is needed, and a model that several share once."""

from probes.presets import SubjectSource
from probes.subject import Subject, load_subject


class SubjectLoader:
    """Loads subjects, and keeps the last one: they are large, and take long to load."""

    def __init__(self) -> None:
        self._kept: tuple[SubjectSource, Subject] | None = None

    def __call__(self, source: SubjectSource) -> Subject:
        """Returns the subject; the kept one's model is its own too if both are loaded alike. Raises SubjectError."""
        if self._kept is None or self._kept[0] != source:
            beside = self._kept[1] if self._kept and _has_same_model(self._kept[0], source) else None
            self._kept = None  # before another one takes its place in memory
            self._kept = source, load_subject(source, beside)
        return self._kept[1]


def _has_same_model(one: SubjectSource, other: SubjectSource) -> bool:
    apart = {"name", "model", "sae", "input_scale", "bos"}
    return one.preset.model == other.preset.model and one.model_dump(exclude=apart) == other.model_dump(exclude=apart)
