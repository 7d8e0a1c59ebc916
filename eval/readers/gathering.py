"""Gathers a reader's records feature by feature until they are a ReadResult."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from eval.errors import ExamplesError
from eval.readers.base import ReadRequest, ReadResult, RecordError, RecordFaults, Unit
from eval.readers.checks import named_by_text
from probes.examples import Activity, Baseline, Example, ExampleKind, FeatureExamples

N_STRATA = 10
_START_TOKENS = frozenset({"<bos>", "<s>", "<|endoftext|>", "<|begin_of_text|>"})
"""Where a text begins with one of these, it is left out: it is no text, and some features always activate on it."""


def stratum(peak: float, maximum: float) -> int:
    """Returns the tenth of the range from 0 to `maximum` that an activation lies in; 0 is the highest."""
    return min(N_STRATA - 1, int(N_STRATA * (1 - peak / maximum)))


class ExampleGatherer:
    """Examples, activity and baselines by feature."""

    def __init__(self, wanted: ReadRequest) -> None:
        self.wanted = wanted
        self.n_records = 0
        """Records read so far; a reader counts those of unwanted features too."""
        self._examples: dict[int, list[Example]] = defaultdict(list)
        self._baselines: dict[int, list[Baseline]] = defaultdict(list)
        self._activities: dict[int, Activity] = {}
        self._starts: dict[str, dict[tuple[str, ...], int]] = defaultdict(dict)
        """Of each document, where its texts begin: sources do not say, so they stand one behind the other."""

    def add_text(
        self,
        feature: int,
        tokens: Sequence[str],
        activations: Sequence[float],
        document: str = "",
        kind: ExampleKind | None = None,
    ) -> None:
        """One text with activations, as long as `tokens`; without `kind` it is activating where the feature activates.

        Raises RecordError where nothing of it is left or its kind contradicts its activations.
        """
        cut = 1 if tokens[0] in _START_TOKENS else 0
        tokens, activations = tuple(tokens[cut:]), tuple(activations[cut:])
        if not tokens:
            raise RecordError("it has no token but one that marks the start of a text")
        activates = max(activations) > 0
        if kind is not None and (kind == "activating") is not activates:
            raise RecordError(
                f"it is called {kind}, but the feature {'activates' if activates else 'never activates'} in it"
            )
        found = kind or ("activating" if activates else "random")
        document = document or named_by_text(tokens)
        self.add(Example(feature, found, document, tokens, activations, start=self._start(document, tokens, 1 - cut)))

    def _start(self, document: str, tokens: tuple[str, ...], first: int) -> int:
        """Returns a start for a text in its document: the same for the same text, and no two texts overlap.

        `first` is that of the document's first text: 0 where it is known to begin the document, else 1, since sources
        do not say whether it does.
        """
        starts = self._starts[document]
        if tokens not in starts:
            last = next(reversed(starts), None)
            starts[tokens] = first if last is None else starts[last] + len(last)
        return starts[tokens]

    def add(self, example: Example) -> None:
        """One example; its stratum is found later, when the feature's maximum is known."""
        self._examples[example.feature].append(example)

    def add_baseline(self, baseline: Baseline) -> None:
        """Somebody's label; the same one twice is kept once."""
        if baseline not in self._baselines[baseline.feature]:
            self._baselines[baseline.feature].append(baseline)

    def set_activity(self, activity: Activity) -> None:
        """Sets a feature's activity."""
        self._activities[activity.feature] = activity

    def reading(self, source: str, faults: RecordFaults, unit: Unit = "sae") -> ReadResult:
        """All of it, features in order. Raises ExamplesError where no record at all could be read."""
        sentences = faults.sentences
        if not self.n_records:
            why = f" The first fault: {sentences[0]}" if sentences else ""
            raise ExamplesError(f"No example could be read as {source}.{why}")
        features = sorted(self._examples.keys() | self._baselines.keys() | self._activities.keys())
        found = {feature: self._collected(feature) for feature in features}
        return ReadResult(source, found, self.n_records, sentences, unit)

    def _collected(self, feature: int) -> FeatureExamples:
        examples, activity = self._examples.get(feature, []), self._activities.get(feature)
        maximum = max([activity.maximum if activity else 0.0, *(example.peak for example in examples)])
        return FeatureExamples(
            feature=feature,
            activity=activity,
            examples=tuple(_in_stratum(example, maximum) for example in examples),
            baselines=tuple(self._baselines.get(feature, ())),
        )


def _in_stratum(example: Example, maximum: float) -> Example:
    return replace(example, quantile=stratum(example.peak, maximum)) if example.kind == "activating" else example
