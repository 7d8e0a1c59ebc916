"""Finds the texts that stood in the prompts of a run's loop: none of them is held out, whatever corpus is scored on.

The prompts themselves are read, so that neither another seed, nor another name of the corpus, nor examples that were
collected anew can bring a text back that an explainer has seen.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.evidence.shown_examples import CLOSING, OPENING, cut, shown
from agent.log.calls import calls_of
from agent.log.examples import examples_of, find_corpus
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from eval.collect.split import ALIKE, SHINGLE, shingles
from probes.examples import Example

_QUOTED = re.compile(r'"(.*?)"')
_UNMARKED = str.maketrans("", "", OPENING + CLOSING)


class PromptLines:
    """The lines of prompts, each of which holds one text at most."""

    def __init__(self, prompts: Iterable[str]) -> None:
        lines = {line.translate(_UNMARKED) for prompt in prompts for line in prompt.splitlines()}
        self._lines_of: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self._short: set[tuple[str, ...]] = set()
        """Words of what stands in quotes, where they are too few for a shingle."""
        for number, line in enumerate(sorted(lines)):
            for shingle in shingles(line):
                self._lines_of[shingle].append(number)
            for quoted in _QUOTED.findall(line):
                self._short |= {words for words in shingles(quoted) if len(words) < SHINGLE}

    def hold(self, example: Example) -> bool:
        """Tells whether one line holds most of what a scorer would show of an example, `ALIKE` of its shingles."""
        own = shingles(shown(cut(example)))
        if not own.isdisjoint(self._short):
            return True
        shared = Counter(line for shingle in own for line in self._lines_of.get(shingle, ()))
        return any(n >= ALIKE * len(own) for n in shared.values())


@dataclass(frozen=True)
class PromptedExamples:
    """The examples that an explainer has seen of a feature."""

    prompts: PromptLines
    """In which labels were proposed and tried out."""
    examples: Sequence[Example]
    """Activating ones that the run's own corpus let it see."""
    documents: frozenset[str]
    """Of which a text stood in the prompts, by their names in that corpus: the rest of them is no news either."""

    @classmethod
    def of(cls, log: RunLog, run: RunSummary, feature: int) -> "PromptedExamples":
        """By the log's calls about the feature, those of scorers left out."""
        prompts = PromptLines(
            call.prompt for call in log.read(calls_of, run.run_id, feature) if call.scoring_id is None
        )
        corpus = run.settings.get("corpus")
        corpus_id = None if corpus is None else log.read(find_corpus, corpus)
        found = None if corpus_id is None else log.read(examples_of, corpus_id, feature, "shown")
        examples = [] if found is None else [*found.examples]
        documents = frozenset(example.document for example in examples if prompts.hold(example))
        return cls(prompts, [example for example in examples if example.kind == "activating"], documents)

    def less(self, examples: Sequence[Example]) -> list[Example]:
        """The examples without those that the explainer knows."""
        return [e for e in examples if e.document not in self.documents and not self.prompts.hold(e)]
