"""delphi's files: the cache of latents, and the explanations of its runs with their scores.

A cache is a folder for each hook point with splits (eval/readers/delphi_cache.py). An explanation is
`HOOK_latentN.txt` with a JSON string; `scores/SCORER/HOOK_latentN.txt` has each text that an explanation was judged on,
and whether it was judged rightly. The cache tells nothing of features that it has no entry for, not even that they
never activated: delphi can be told to cache a few only.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from eval.errors import ExamplesError
from eval.readers import checks
from eval.readers.base import ReadRequest, ReadResult, RecordError, RecordFaults, Vocabulary
from eval.readers.delphi_cache import take_split
from eval.readers.files import files_in, records
from eval.readers.gathering import ExampleGatherer
from probes.examples import Baseline, BaselineScore

_SCORERS = {"fuzz": "fuzzing"}
"""Its names of scores that have another one here."""
_THRESHOLD = 0.5
"""Of a prediction that is a number."""
_EXPLANATION = re.compile(r"(.+)_(?:latent|feature)(\d+)\.txt")


def recognises(file: Path) -> bool:
    """Tells whether the file is a cache's split or an explanation."""
    if file.suffix != ".safetensors":
        return _EXPLANATION.fullmatch(file.name) is not None
    try:
        with safe_open(file, framework="pt") as stored:
            return {"locations", "activations"} <= set(stored.keys())
    except (OSError, SafetensorError):
        return False


def read(path: Path, wanted: ReadRequest) -> ReadResult:
    """A split, a hook point's folder, explanations, or a run's folder with both.

    Explanations beside a hook point's folder are found too. Raises ExamplesError where nothing can be read, where there
    is more than one hook point, and where token ids are not of the subject's vocabulary.
    """
    files = files_in(path, ".safetensors", ".txt")
    caches = [file for file in files if file.suffix == ".safetensors"]
    named = [file for file in files if _EXPLANATION.fullmatch(file.name)]
    scores = [file for file in named if _is_of_scores(file)]
    explanations = [file for file in named if not _is_of_scores(file)]
    if caches:
        beside = caches[0].parent.parent.parent
        explanations = explanations or _below(beside / "explanations")
        scores = scores or _below(beside / "scores")
    hook = _hook({file.resolve().parent.name for file in caches}) or _hook({_named(file)[0] for file in explanations})
    gathered, faults = ExampleGatherer(wanted), RecordFaults()
    for file in caches:
        with faults.at(file.name):
            take_split(file, gathered, faults, _vocabulary(wanted))
    judged = _scores([file for file in scores if _named(file)[0] == hook], faults)
    for file in explanations:
        if _named(file)[0] == hook:
            _take_explanation(gathered, faults, file, _author(file.parent, faults), judged.get(_named(file)[1], ()))
    return gathered.reading(f"delphi:{hook}" if hook else "delphi", faults)


def _is_of_scores(file: Path) -> bool:
    return file.resolve().parent.parent.name == "scores"


def _below(folder: Path) -> list[Path]:
    return [file for file in files_in(folder, ".txt") if _EXPLANATION.fullmatch(file.name)] if folder.is_dir() else []


def _scores(files: Iterable[Path], faults: RecordFaults) -> dict[int, list[BaselineScore]]:
    """Returns the scores by feature: the balanced accuracy over the texts with an answer, as delphi itself reports."""
    found: dict[int, list[BaselineScore]] = {}
    for file in files:
        for entry in records(file, faults):
            with faults.at(entry.where):
                truths = [*_verdicts(entry.value)]
                sides = [[said == there for there, said in truths if there is side] for side in (True, False)]
                if not all(sides):
                    raise RecordError("it has no answers about both activating and other texts")
                value = sum(sum(side) / len(side) for side in sides) / 2
                scorer = _SCORERS.get(file.parent.name, file.parent.name)
                score = BaselineScore(scorer=scorer, metric="balanced_accuracy", value=value, n=len(truths))
                found.setdefault(_named(file)[1], []).append(score)
    return found


def _verdicts(texts: object) -> Iterator[tuple[bool, bool]]:
    """Yields whether the feature is active on a text, and whether it was said to be; nothing of texts without an
    answer."""
    for text in texts if isinstance(texts, list) else ():
        there, said = (text.get("activating"), text.get("prediction")) if isinstance(text, dict) else (None, None)
        if isinstance(there, bool) and isinstance(said, bool | int | float):
            yield there, said >= _THRESHOLD


def _hook(names: set[str]) -> str:
    """The one hook point; empty where there is none."""
    if len(names) > 1:
        raise ExamplesError(
            f"delphi's files are of several hook points ({', '.join(sorted(names))}); name one's folder."
        )
    return next(iter(names), "")


def _vocabulary(wanted: ReadRequest) -> Vocabulary:
    if wanted.vocabulary is None:
        raise ExamplesError("delphi's cache holds token ids, no texts: name the subject whose tokens they are.")
    return wanted.vocabulary


def _named(file: Path) -> tuple[str, int]:
    """Hook point and feature of an explanation; no hook point where the name is not one's."""
    match = _EXPLANATION.fullmatch(file.name)
    return (match[1], int(match[2])) if match else ("", 0)


def _take_explanation(
    gathered: ExampleGatherer, faults: RecordFaults, file: Path, author: str, scores: Sequence[BaselineScore]
) -> None:
    feature = _named(file)[1]
    for entry in records(file, faults):
        with faults.at(entry.where):
            text = checks.as_text(entry.value)
            if not text:
                raise RecordError("it is not a JSON string with an explanation")
            gathered.n_records += 1
            if gathered.wanted.wants(feature):
                gathered.add_baseline(Baseline(feature, text, author, scores))


def _author(folder: Path, faults: RecordFaults) -> str:
    """delphi, and the model that explained, where the run's own settings lie beside the folder of explanations."""
    settings = folder.resolve().parent / "run_config.json"
    found = next(records(settings, faults), None) if settings.is_file() else None
    model = found.value.get("explainer_model") if found and isinstance(found.value, dict) else None
    return ", ".join(filter(None, ["delphi", checks.as_text(model)]))
