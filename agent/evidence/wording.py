"""Numbers, tokens and settings in the few words that tables and pictures have room for.

Everything returned is safe to print.
"""

from collections.abc import Sequence

from agent.evidence.printable import printable
from probes.evidence import IN_CONTEXT, ScoredToken, Sweep, TokenList, Tree
from probes.settings import GHOST, GHOST_TOKENS, WORDS, ProbeSettings, SteeringSettings, VectorSettings
from probes.tokenizer.token_text import folded_word

GHOST_SIGN = "▢"
"""Stands for the ghost token wherever a prompt is shown."""


def percent(probability: float) -> str:
    """Formats a proportion: `87%`, `3.2%`, `0.05%`, `4e-06`: two significant digits, at most five characters."""
    if probability >= 0.0995:
        return f"{probability:.0%}"
    if probability >= 0.0001:
        return f"{probability * 100:.1f}%" if probability >= 0.00995 else f"{probability * 100:.2f}%"
    return f"{probability:.0e}"


def token_words(token: str) -> str:
    """Formats one token, its leading and trailing spaces visible."""
    inner = printable(token.strip(" "))
    left = len(token) - len(token.lstrip(" "))
    right = len(token) - len(token.rstrip(" ")) if inner else 0
    return "␣" * left + inner + "␣" * right


def phrase_words(text: str, most: int = 80) -> str:
    """Formats a phrase of a tree, without its outer spaces, in at most `most` characters."""
    words = printable(text.strip(" ")) or token_words(text)
    return words if len(words) <= most else words[: most - 1] + "…"


def vector_words(settings: VectorSettings) -> str:
    """Describes a vector: `encoder, scale 3.8, no centroid, pca 0.1+0.05`."""
    return ", ".join([weights_words(settings), *place_words(settings)])


def weights_words(settings: VectorSettings) -> str:
    """Describes what a vector is made of: `encoder`, `2 words`."""
    own = settings.is_vocabulary and settings.ghost_tokens != GHOST_TOKENS
    if not own:
        return settings.weights
    several = f"{settings.ghost_tokens} words"
    return several if settings.weights == WORDS else f"{settings.weights} of {settings.ghost_tokens} tokens"


def place_words(settings: VectorSettings) -> list[str]:
    """Lists a vector's settings besides its weights."""
    parts: list[str] = []
    if settings.adapter is not None:
        parts.append(f"adapter {printable(str(settings.adapter))}")
    if settings.scale is not None:
        parts.append("scale auto" if settings.distance is None else f"scale {settings.distance:.4g}")
    if not settings.centroid:
        parts.append("no centroid")
    if any(settings.pca):
        parts.append("pca " + "+".join(f"{weight:g}" for weight in settings.pca))
    return parts


def place_beside(settings: VectorSettings, default_scale: float) -> str:
    """Describes the same with the scale as a multiple of the subject's default, in which explainers ask for it."""
    if settings.adapter is not None:
        return ", ".join(place_words(settings))
    scale = f"scale {(settings.distance or default_scale) / default_scale:.3g} x the default"
    return ", ".join([scale, *place_words(settings.model_copy(update={"scale": None}))])


def list_words(listed: TokenList) -> str:
    """Describes a token list: its vector and its method, and of a vocabulary list what makes the feature active."""
    settings = listed.settings
    if not settings.vector.is_vocabulary:
        return f"nearest tokens, {vector_words(settings.vector)}, exponent {settings.tokens.exponent:.3g}"
    return "; ".join(["vocabulary list, the tokens that activate it most when read alone", *activity_words(listed)])


def activity_words(listed: TokenList) -> list[str]:
    """Lists what a vocabulary list says of the feature's activity: its threshold, and if any token alone reaches it."""
    if not listed.tokens:
        return ["none: the feature has no encoder weights"]
    parts = [] if listed.threshold is None else [f"active above {listed.threshold:.3g}"]
    return [*parts, *(["no single token makes it active: it needs context"] if listed.note == IN_CONTEXT else [])]


def folded(tokens: Sequence[ScoredToken]) -> list[ScoredToken]:
    """Returns the first spelling of every word, whatever its case and the spaces around it."""
    return [tokens[same[0]] for same in spellings(tokens)]


def spellings(tokens: Sequence[ScoredToken]) -> list[list[int]]:
    """Returns the positions of each word's spellings, words in the order of their first."""
    found: dict[str, list[int]] = {}
    for place, token in enumerate(tokens):
        found.setdefault(folded_word(token.token) or token.token, []).append(place)
    return [*found.values()]


def sweep_words(sweep: Sweep) -> str:
    """Describes a sweep's choice: `chosen by divergence; p 0.03 among random features with a sweep of their own`."""
    chosen = f"chosen by {sweep.criterion}"
    if sweep.p_value is None:
        return chosen
    return f"{chosen}; p {sweep.p_value:.2g} among random features with a sweep of their own"


def agreement_words(sweep: Sweep) -> str:
    """Describes the agreement on the chosen vector: `base prompts definition, meaning, word agree to 0.41`."""
    prompts = ", ".join(map(printable, sweep.prompts))
    if sweep.agreement is None:
        return f"whether base prompts agree is unknown: fewer than two of {prompts} say anything"
    return f"base prompts {prompts} agree to {sweep.agreement:.2f}"


def tree_words(settings: ProbeSettings, vector: str | None = None) -> str:
    """Describes a tree's vector: `decoder, scale 3.8, clamped at 2x its maximum after the prompt`.

    The words of its `vector` may be given.
    """
    steering = settings.steering
    vector = vector or vector_words(settings.vector)
    if not steering.on:
        return vector
    return f"{vector if steering.ghost else 'a pronoun instead of a ghost'}, {_steering_words(steering)}"


def _steering_words(steering: SteeringSettings) -> str:
    done = "clamped at" if steering.mode == "clamp" else "steered by"
    where = {"ghost": "at the ghost" if steering.ghost else "there", "after": "after the prompt", "all": "everywhere"}
    return f"{done} {steering.strength:g}x its maximum {where[steering.at]}"


def prompt_words(tree: Tree) -> str:
    """Returns the prompt of a tree, with a sign for the ghost, or with the word in its place."""
    steering = tree.settings.steering
    stood = GHOST_SIGN if steering.ghost else steering.pronoun or GHOST_SIGN
    return printable(tree.prompt.replace(GHOST, stood))
