"""`interpret activations`: one feature's activation at each token of a text that is typed."""

import sys
from typing import Any

from rich.text import Text

from agent.cli.commands.probe import print_json
from agent.cli.terminal.display import console, facts
from agent.cli.terminal.heat import active_tokens, shaded
from agent.config import RunConfig
from agent.maxima import maximum_in
from eval.collect.typed import TypedText, read_typed
from probes.errors import FeatureError
from probes.features import parse_features
from probes.subject import load_subject

STANDARD_INPUT = "-"


def show_activations(config: RunConfig, feature: str, text: str, as_json: bool) -> None:
    """Prints a feature's activations on a text, shaded or as JSON; `-` reads standard input. Raises InterpretError."""
    subject = load_subject(config.subject)
    features = parse_features(feature, subject.card.n_features)
    if len(features) != 1:
        raise FeatureError(f"Feature {feature!r} is not one feature; give a single index.")
    typed = read_typed(subject, features[0], sys.stdin.read() if text == STANDARD_INPUT else text)
    maximum = maximum_in(config.log, subject.card.fingerprint, typed.feature)
    if as_json:
        print_json(typed_json(typed, maximum))
        return
    screen = console()
    name = f"feature {typed.feature} of {subject.card.name}, {subject.card.hook}"
    screen.print(facts([("feature", name), ("peak", peak_words(typed, maximum))]))
    screen.print(Text())
    screen.print(shaded(typed.tokens, typed.activations, screen.color_system is not None and not screen.no_color))
    if typed.peak > 0:
        screen.print(Text())
        screen.print(active_tokens(typed.tokens, typed.activations))


def peak_words(typed: TypedText, maximum: float | None) -> str:
    """Formats the highest activation, beside the highest in the log's examples if it has any."""
    if typed.peak <= 0:
        return f"not active at any of {len(typed.tokens):,} tokens"
    n_active = sum(activation > 0 for activation in typed.activations)
    share = "" if maximum is None else f", {typed.peak / maximum:.0%} of the highest in the log's texts"
    return f"{typed.peak:.3g}{share}; active at {n_active:,} of {len(typed.tokens):,} tokens"


def typed_json(typed: TypedText, maximum: float | None) -> dict[str, Any]:
    """Returns the activations as JSON; `maximum` is the highest activation in the log's examples, or null."""
    rows = zip(typed.token_ids, typed.tokens, typed.activations, strict=True)
    return {
        "feature": typed.feature,
        "maximum": maximum,
        "tokens": [{"token_id": i, "token": token, "activation": activation} for i, token, activation in rows],
    }
