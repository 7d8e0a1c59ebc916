"""Reads one round of evidence by rules: how far it differs from random directions, and which noun it names.

The digest is the only input. All constants of the rules are here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.evidence.digest import EvidenceLine, EvidencePiece, p_values
from agent.evidence.grades import Grade, grade
from agent.evidence.heads import head_of
from probes.settings import VOCABULARY, WORDS

OF_TOKENS = (WORDS, VOCABULARY)
"""Sides of trees that are made of the vocabulary list's tokens."""
SIGNIFICANT = 0.05
"""Largest p-value of a tree or list that may carry a label."""
ALONE = 0.02
"""Largest p-value, of all that was looked at taken together, at which a label needs no second side that says it."""
HOPELESS = 0.3
"""Where no p-value of the first round is as small, nothing more is looked at."""
TRUST: Mapping[Grade | None, float] = {"clear": 1.0, "good": 0.8, "fair": 0.6, "weak": 0.4, "none": 0.3, None: 0.5}
"""By the grade of the p-value of all that was looked at, what strength counts as confidence; None: nothing compared."""
SETTLED = 0.6
"""Strength at which a noun is taken as the label without looking further."""
ENOUGH = 0.3
"""Least strength of a label when there is nothing left to try."""
LEAD = 0.1
"""Least strength by which that label must be ahead of the next noun."""
AGREEMENT = 0.5
"""Weight of the mean over the trees that count against the largest of them."""
SUPPORT = 0.1
"""Share of what is missing to 1 that a noun gains when the word itself stands in a list or projection."""
BROAD_DISCOUNT = 0.5
BROAD = frozenset({"thing", "object", "person", "people", "place"})
"""Nouns that head definitions of nearly anything; their share counts by the discount."""
GENERIC_LIFT = 1.0
"""A noun of less lift heads definitions of nearly anything as well."""
BACKING = 2
"""First nouns of a tree that back a label of another side."""
FAMILY_AMONG = 8
"""First words of a vocabulary list among which a family is looked for: law, Law, laws, lawyers."""
FAMILY = 3
"""Fewest tokens of a family."""
NAMED = 3
"""Most words of a list that a label names."""
STEM_CHARS = 3
"""Fewest letters that its words begin with alike ..."""
STEM_SHARE = 0.6
"""... and the least part of the shorter word that these must be."""


@dataclass(frozen=True)
class EvidenceReading:
    """The content of one round of evidence."""

    pieces: Sequence[EvidencePiece] = ()
    best: str = ""
    """The strongest noun; empty where no definition has one."""
    strength: float = 0.0
    second: str = ""
    second_strength: float = 0.0
    shares: tuple[float, ...] = ()
    """The best noun's share in each of the trees that count."""
    of_vocabulary: bool = False
    """True if it rests on vocabulary weights."""
    listed: str = ""
    """The label from a vocabulary list if there is no noun: the word its first tokens spell and the next ones, or its
    first words."""
    is_family: bool = False
    """True if `listed` begins with a word whose forms are most of the first tokens."""
    is_stopgap: bool = False
    """True if `listed` is merely the first words, and trees may still give a noun."""

    @property
    def label(self) -> str:
        """The label that the reading proposes."""
        return self.listed or self.best

    @property
    def words(self) -> Sequence[str]:
        """The words of that label."""
        return self.listed.split(", ") if self.listed else [self.best]

    @property
    def certainty(self) -> float:
        """Strength less half of the runner-up's: 1 for a noun alone, half of its strength for an even tie."""
        return min(max(self.strength - self.second_strength / 2, 0.0), 1.0)

    @property
    def carries(self) -> bool:
        """True if it may be the label when nothing is left to try."""
        return bool(self.listed) or (self.strength >= ENOUGH and self.strength - self.second_strength >= LEAD)


def verdict(reading: EvidenceReading, pieces: Sequence[EvidencePiece]) -> float | None:
    """Returns the p-value of the evidence that a reading was chosen from; None if nothing was compared.

    What rests on the vocabulary has its list's, which is one however often its tree is grown anew, and tells features
    from random directions far better than trees do. Else the smallest times their number, which holds however they
    hang together (C. E. Bonferroni, 1936).
    """
    listed = p_values(vocabulary_lists(pieces)) if reading.of_vocabulary else []
    found = p_values(pieces)
    return listed[0] if listed else min(1.0, len(found) * min(found)) if found else None


def trust(p_value: float | None) -> float:
    """Returns the factor from strength to confidence for evidence of that p-value."""
    return TRUST[None if p_value is None else grade(p_value)]


def read(pieces: Sequence[EvidencePiece]) -> EvidenceReading:
    """Reads the strongest nouns of the trees that count, and the common word of the vocabulary list."""
    counting = _counting(pieces)
    trees = [_shares(piece) for piece in counting]
    of_vocabulary = any(piece["side"] in OF_TOKENS for piece in counting)
    words = _listed(pieces)
    strengths = {noun: _strength(noun, trees, words) for noun in set().union(*trees)}
    ranked = sorted(strengths.items(), key=lambda item: (-item[1], item[0]))[:2]
    (best, strength), (second, second_strength) = (*ranked, ("", 0.0), ("", 0.0))[:2]
    shares = tuple(tree[best] for tree in trees) if best else ()
    listed, part = family(pieces)
    is_family = bool(listed)
    is_stopgap = not listed and not _says_nothing(pieces)
    if not listed and strength < ENOUGH:
        listed, part = first_words(pieces)
    if listed and (strength < ENOUGH or _is_generic(best, pieces)):
        return EvidenceReading(pieces, best, part, second, 0.0, shares, True, listed, is_family, is_stopgap)
    if _is_generic(best, pieces) and not any(_differs(piece) for piece in counting):
        strength = 0.0  # a noun that comes up for anything, in a tree like any
    return EvidenceReading(pieces, best, strength, second, second_strength, shares, of_vocabulary)


def is_backed(reading: EvidenceReading, pieces: Sequence[EvidencePiece]) -> bool:
    """Returns True if two sides give the label, or a list does; a blend is not a side of its own."""
    trees = [piece for piece in pieces if piece["kind"] == "tree" and not piece["side"].startswith("blend")]
    sides = {
        VOCABULARY if tree["side"] in OF_TOKENS else tree["side"]
        for tree in trees
        if reading.label in {line["text"] for line in tree["nouns"][:BACKING]}
    }
    return len(sides) > 1 or any(akin(one, word) for one in reading.words for word in _listed(pieces))


def is_sure(reading: EvidenceReading, p_value: float | None, pieces: Sequence[EvidencePiece]) -> bool:
    """Returns True if a reading of that p-value may be a label.

    A vocabulary tree is not backed by its own list, of which it is made.
    """
    if p_value is None:
        return True
    if reading.of_vocabulary:
        return p_value <= SIGNIFICANT
    return p_value <= ALONE or is_backed(reading, pieces)


def family(pieces: Sequence[EvidencePiece]) -> tuple[str, float]:
    """Returns the commonest word whose forms top a vocabulary list, with the first other words, and the proportion of
    its forms among the top tokens.

    One word says less than several: "event", "event, object". Empty if its forms are too few, or if random directions
    have such lists too.
    """
    for piece in _lists_up_to(SIGNIFICANT, pieces):
        groups, total = _groups(piece)
        words = (group for group in groups if next(iter(group)).isalpha())
        kin = max(words, key=lambda group: sum(group.values()), default={})
        if sum(kin.values()) >= FAMILY:
            others = [group for group in groups if group is not kin][: NAMED - 1]
            return ", ".join(map(_name, [kin, *others])), sum(kin.values()) / total
    return "", 0.0


def first_words(pieces: Sequence[EvidencePiece]) -> tuple[str, float]:
    """Returns the first words of a vocabulary list, one per word family, and their proportion of the first tokens.

    Empty unless the list differs as clearly as evidence must that stands alone.
    """
    for piece in _lists_up_to(ALONE, pieces):
        groups, total = _groups(piece)
        named = groups[:NAMED]
        return ", ".join(map(_name, named)), sum(sum(kin.values()) for kin in named) / total
    return "", 0.0


def _name(kin: Mapping[str, int]) -> str:
    """Returns the form with most spellings, the shortest of equals: a mere part of a word has few of them."""
    return max(kin, key=lambda word: (kin[word], -len(word)))


def _says_nothing(pieces: Sequence[EvidencePiece]) -> bool:
    """Returns True if every tree is like those of random directions."""
    found = p_values(piece for piece in pieces if piece["kind"] == "tree")
    return bool(found) and min(found) > HOPELESS


def _groups(piece: EvidencePiece) -> tuple[list[dict[str, int]], int]:
    """Groups the first tokens of a list by word family; returns each word's number of spellings, and the total."""
    groups: list[dict[str, int]] = []
    for line in piece["tokens"][:FAMILY_AMONG]:
        word = plain(line["text"])
        home = next((group for group in groups if any(akin(word, other) for other in group)), None)
        if home is None:
            groups.append(home := {})
        home[word] = home.get(word, 0) + line["spellings"]
    return groups, sum(sum(group.values()) for group in groups)


def akin(one: str, other: str) -> bool:
    """Returns True if two words share a beginning long enough to be forms of one word."""
    shorter = min(len(one), len(other))
    alike = next((n for n in range(shorter) if one[n] != other[n]), shorter)
    return alike >= STEM_CHARS and alike >= STEM_SHARE * shorter


def names(piece: EvidencePiece, line: EvidenceLine, word: str) -> bool:
    """Returns True if a line of evidence contains `word`."""
    if piece["kind"] != "tree":
        return plain(line["text"]) == word
    text = line["text"]
    if text == word:
        return True
    head = head_of(text.removesuffix(" …"), closed=not text.endswith(" …"))
    return head is not None and head.word == word


def plain(token: str) -> str:
    """Returns a token as a plain word."""
    return token.strip().lower()


def _counting(pieces: Sequence[EvidencePiece]) -> list[EvidencePiece]:
    """Returns the trees that a label may rest on: the vocabulary's if its list differs, else others that differ."""
    trees = [piece for piece in pieces if piece["kind"] == "tree"]
    of_vocabulary = [piece for piece in trees if piece["side"] in OF_TOKENS]
    if of_vocabulary and _lists_up_to(SIGNIFICANT, pieces):
        return of_vocabulary
    differing = [piece for piece in trees if _differs(piece)]
    if vocabulary_lists(pieces):  # which does not differ, so what is made of its tokens says nothing either
        return [piece for piece in differing if piece["side"] not in OF_TOKENS]
    return [piece for piece in differing if piece["side"] in OF_TOKENS] or differing


def _differs(piece: EvidencePiece) -> bool:
    """Returns True if random directions rarely go as far, and for evidence that was not compared."""
    return piece["readout"] is None or piece["readout"]["p_value"] <= SIGNIFICANT


def vocabulary_lists(pieces: Sequence[EvidencePiece]) -> list[EvidencePiece]:
    """Returns the lists of tokens that activate the feature."""
    return [piece for piece in pieces if piece["kind"] == "tokens" and piece["side"] == VOCABULARY]


def _lists_up_to(p_value: float, pieces: Sequence[EvidencePiece]) -> list[EvidencePiece]:
    lists = vocabulary_lists(pieces)
    return [piece for piece in lists if piece["readout"] is not None and piece["readout"]["p_value"] <= p_value]


def _shares(tree: EvidencePiece) -> Counter[str]:
    return Counter({line["text"]: line["value"] for line in tree["nouns"]})


def _listed(pieces: Sequence[EvidencePiece]) -> set[str]:
    return {plain(line["text"]) for piece in pieces for line in [*piece["tokens"], *_raised(piece)]}


def _raised(piece: EvidencePiece) -> Sequence[EvidenceLine]:
    return piece["lines"] if piece["kind"] == "projection" else ()


def _strength(noun: str, trees: Sequence[Mapping[str, float]], listed: set[str]) -> float:
    shares = [tree[noun] for tree in trees]
    strength = AGREEMENT * sum(shares) / len(shares) + (1 - AGREEMENT) * max(shares)
    if noun in listed:
        strength += SUPPORT * (1 - strength)
    return strength * BROAD_DISCOUNT if noun in BROAD else strength


def _is_generic(noun: str, pieces: Sequence[EvidencePiece]) -> bool:
    lifts = [line["lift"] for piece in pieces for line in piece["nouns"] if line["text"] == noun]
    known = [lift for lift in lifts if lift is not None]
    return noun in BROAD or bool(known and max(known) < GENERIC_LIFT)


def experiments(pieces: Iterable[EvidencePiece]) -> list[EvidencePiece]:
    """Returns the texts that were run, in order."""
    return [piece for piece in pieces if piece["kind"] == "experiment"]
