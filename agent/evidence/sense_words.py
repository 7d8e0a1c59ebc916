"""The senses and scopes of a label in words, for the terminal, the pages and exports; every text is safe to print."""

from collections.abc import Iterator
from typing import Protocol

from agent.evidence.printable import printable
from agent.schema import SenseResult
from probes.proportion import Proportion


class Scoped(Protocol):
    """A label with its scopes."""

    @property
    def activates_on(self) -> str:
        """Tokens and texts on which the feature activates."""
        ...

    @property
    def promotes(self) -> str:
        """Tokens that it makes more probable."""
        ...


def counts_words(sense: SenseResult) -> str:
    """Describes the results of a sense's texts: proportions with 95 % intervals and n."""
    told = []
    if sense.n_positive:
        share = Proportion(sense.n_activating, sense.n_positive)
        told.append(f"{share} of its {sense.n_positive} texts activate")
    if sense.n_near_misses:
        share = Proportion(sense.n_not_activating, sense.n_near_misses)
        told.append(f"{share} of {sense.n_near_misses} near misses do not")
    words = ", ".join(told) or "not tested"
    return f"dropped: {words}" if sense.dropped else words


def scope_lines(label: Scoped) -> Iterator[tuple[str, str]]:
    """The scopes that are known, each under its name."""
    for name, text in (("activates on", label.activates_on), ("promotes", label.promotes)):
        if text:
            yield name, printable(text)
