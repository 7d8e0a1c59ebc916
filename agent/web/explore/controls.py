"""The explore page's controls, one for each field of a probe's settings, and their conversion to settings.

Made from the fields themselves, so that a setting that is new in `probes.settings` has a control too. Keys are those of
the command line.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import urlencode

from pydantic import ValidationError

from agent.config import key_of
from agent.planning import EXPONENT_RANGE, SCALE_RANGE
from probes.errors import FeatureError
from probes.features import check_feature
from probes.presets import SubjectCard
from probes.settings import AUTO, PROMPTS, ProbeSettings, Value

MIN_CUTOFF = 1e-5
"""A smaller one would keep the device busy for minutes, and a page could not show the tree."""
MAX_TOKENS = 1000

Kind = Literal["number", "switch", "choice", "text"]


@dataclass(frozen=True)
class Slider:
    """A slider beside a number's field."""

    least: float
    most: float
    logarithmic: bool


@dataclass(frozen=True)
class Control:
    """The control of one setting. Its `default` is shown first, and used if the field is empty."""

    group: str
    field: str
    key: str
    kind: Kind
    default: str
    choices: tuple[str, ...] = ()
    slider: Slider | None = None
    hint: str = ""


@dataclass(frozen=True)
class ProbeQuery:
    """The query of a probe."""

    feature: int
    settings: ProbeSettings


@dataclass(frozen=True)
class ParsedQuery:
    """A parsed query. `question` is None if `errors` says what is wrong with which key."""

    question: ProbeQuery | None
    errors: Mapping[str, str]


_CHOICES = {
    "weights": ("words", "vocabulary", "encoder", "decoder", "blend:0.5", "auto"),
    "scale": ("auto",),
    "prompt": (AUTO, *PROMPTS),
}
_HINTS = {
    "weights": "words, vocabulary, encoder, decoder, blend:0.3, auto",
    "scale": "a number, or auto",
    "pca": "0.1,0.05",
    "contrast": "a probability, or off",
    "prompt": "auto, a name, or a text with one {ghost}",
    "maximum": "as the log has it",
    "pronoun": "a word of one token",
}
_NONE = {"pca": "0"}
"""What a field shows that has nothing in it."""
_OFF = {"contrast"}
"""Settings that take seconds of the device: off until they are asked for."""
_SLIDERS = {
    "weights": Slider(0, 1, logarithmic=False),  # from encoder to decoder
    "pca": Slider(0, 1, logarithmic=False),  # of the first component
    "scale": Slider(*SCALE_RANGE, logarithmic=True),
    "cutoff": Slider(1e-5, 0.1, logarithmic=True),
    "contrast": Slider(0.5, 1e-4, logarithmic=True),  # off at its left end, then the more the further right
    "exponent": Slider(*EXPONENT_RANGE, logarithmic=False),
    "top_k": Slider(1, 20, logarithmic=False),
    "max_depth": Slider(1, 50, logarithmic=False),
}


def controls(card: SubjectCard) -> list[Control]:
    """Makes every setting's control, in the order of the fields; the scale's range is in the subject's own units.

    A setting that is a file has none: this server opens no file that it was not started with.
    """
    made = [
        _control(group, name, field.annotation, field.default)
        for group, value in groups().items()
        for name, field in value.model_fields.items()
        if _kind(field.annotation)
    ]
    return [_scaled(control, card.default_scale) if control.field == "scale" else control for control in made]


def groups() -> dict[str, type[Value]]:
    """Returns the groups of a probe's settings by name."""
    parts = {name: field.annotation for name, field in ProbeSettings.model_fields.items()}
    return {name: part for name, part in parts.items() if isinstance(part, type) and issubclass(part, Value)}


def asked(query: Mapping[str, str], card: SubjectCard) -> ParsedQuery:
    """Parses a query's feature and settings; a missing or empty key means its default."""
    errors: dict[str, str] = {}
    given: dict[str, dict[str, str]] = {group: {} for group in groups()}
    for control in controls(card):
        text = query.get(control.key, "").strip() or ("off" if control.field in _OFF else "")
        if text and (text != control.default or control.field in _OFF):
            given[control.group][control.field] = text
    for group, fields in given.items():
        errors |= _faults(groups()[group], fields)
    feature = _feature(query.get("feature", "0"), card, errors)
    if errors or feature is None:
        return ParsedQuery(None, errors)
    parts = {group: _split(groups()[group], fields) for group, fields in given.items()}
    return ParsedQuery(ProbeQuery(feature, ProbeSettings.parse(parts)), {})


def query_of(settings: ProbeSettings, card: SubjectCard) -> str | None:
    """Returns settings as a query without defaults; None if the controls cannot express them."""
    if settings.vector.adapter is not None:
        return None
    said = {}
    for control in controls(card):
        value = getattr(getattr(settings, control.group), control.field)
        words = "" if control.field == "scale" and value == card.default_scale else _words(value)
        if words and words != control.default:
            said[control.key] = words
    return urlencode(said)


def _feature(text: str, card: SubjectCard, errors: dict[str, str]) -> int | None:
    try:
        if not (text.isascii() and text.isdigit()):
            raise FeatureError(f"{text!r} is not a feature; give a number from 0 to {card.n_features - 1}.")
        return check_feature(int(text[:12]), card.n_features)
    except FeatureError as error:
        errors["feature"] = str(error)
        return None


def _faults(part: type[Value], fields: Mapping[str, str]) -> dict[str, str]:
    """Returns the errors in a group's values by key; errors of several values are at the first."""
    try:
        checked = part.model_validate(_split(part, fields))
    except ValidationError as error:
        faults: dict[str, str] = {}
        for fault in error.errors():
            field = str(fault["loc"][0]) if fault["loc"] else next(iter(fields))
            reason = fault["msg"].removeprefix("Value error, ")
            faults.setdefault(key_of(field), f"Setting {key_of(field)}={fields[field]!r} is not usable: {reason}.")
        return faults
    return {key_of(field): reason for field in fields if (reason := _too_much(field, getattr(checked, field)))}


def _too_much(field: str, value: Any) -> str:
    """Returns an error for a setting that takes too long for a page, though not for a command; else empty."""
    if field == "cutoff" and value < MIN_CUTOFF:
        return f"Setting cutoff={value:g} grows too large a tree for a page; give {MIN_CUTOFF:g} or more."
    if field == "top_n" and value > MAX_TOKENS:
        return f"Setting top-n={value} is too long a list for a page; give at most {MAX_TOKENS}."
    return ""


def _split(part: type[Value], fields: Mapping[str, str]) -> dict[str, Any]:
    """Splits texts with several values at their commas, unless a word is allowed."""
    many = {name for name, field in part.model_fields.items() if tuple in _origins(field.annotation)}
    return {
        name: [one.strip() for one in text.split(",")] if name in many and text != AUTO else text
        for name, text in fields.items()
    }


def _origins(annotation: Any) -> set[Any]:
    """Returns the origins of a type, or of the members of a union."""
    return {get_origin(one) for one in (annotation, *get_args(annotation))}


def _control(group: str, field: str, annotation: Any, default: Any) -> Control:
    kind, told = _kind(annotation) or ("text", ())
    return Control(
        group=group,
        field=field,
        key=key_of(field),
        kind=kind,
        default="off" if field in _OFF else _words(default) or _NONE.get(field, ""),
        choices=told or _CHOICES.get(field, ()),
        slider=_SLIDERS.get(field),
        hint=_HINTS.get(field, ""),
    )


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]] | None:
    """Returns the kind of a form's field for that type; a Literal brings its choices. None if it cannot be typed in."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = [part for part in get_args(annotation) if part is not type(None)][:1]
    if annotation is bool:
        return "switch", ()
    if annotation in (int, float):
        return "number", ()
    if get_origin(annotation) is Literal:
        return "choice", tuple(map(str, get_args(annotation)))
    return ("text", ()) if annotation is str or get_origin(annotation) is tuple else None


def _words(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def _scaled(control: Control, default_scale: float) -> Control:
    slider = Slider(SCALE_RANGE[0] * default_scale, SCALE_RANGE[1] * default_scale, logarithmic=True)
    return replace(control, default=f"{default_scale:.4g}", slider=slider)
