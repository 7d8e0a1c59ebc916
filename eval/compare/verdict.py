"""States in a sentence what figures allow to be said, or that nothing could be shown."""

from collections.abc import Callable

from eval.compare.measures import UNITS
from eval.compare.report import PairedComparison, SettingChoice, SettingPair
from eval.metrics import Estimate
from probes.settings import ProbeSettings

Names = Callable[[ProbeSettings], str]


def verdict(pair: SettingPair, names: Names) -> str:
    """One setting against another."""
    return versus_words(names(pair.setting), names(pair.baseline), pair.versus, UNITS[pair.measure])


def versus_words(ours: str, theirs: str, versus: PairedComparison, unit: str) -> str:
    """The sentence for two sides of any name and a measure in any unit."""
    d = versus.difference
    n = f"{d.n:,} features"
    if d.value is None:
        return f"{ours} and {theirs} cannot be compared by {unit}: {d.reason}."
    if not versus.is_enough:
        few = "One feature is" if d.n == 1 else f"{n} are"
        return f"{few} too few to tell {ours} from {theirs}: {unit} {_signed(d.value)} {interval(d)}".rstrip() + "."
    if not versus.is_shown:
        return (
            f"No difference between {ours} and {theirs} could be shown: {_sized(unit, _signed(d.value), interval(d))}, "
            f"{ours} {_odds(versus.wins, versus.ties, versus.losses, n)}."
        )
    wins, losses = (versus.wins, versus.losses) if d.value > 0 else (versus.losses, versus.wins)
    better, worse = (ours, theirs) if d.value > 0 else (theirs, ours)
    size = _sized(f"{unit} higher by", figure(abs(d.value)), interval(d, d.value < 0))
    if wins > d.n / 2:
        equal = f", equal on {percent(versus.ties, d.n)}" if versus.ties else ""
        return f"{better} beats {worse} on {percent(wins, d.n)} of {n}{equal}; {size}."
    average = "on average" if wins > losses else "only on average"
    return f"{better} is ahead of {worse} {average}, {size}; {_odds(wins, versus.ties, losses, n)}."


def _sized(*words: str) -> str:
    """Returns a figure with its unit and interval, as far as they are known."""
    return " ".join(filter(None, words))


def _odds(wins: int, ties: int, losses: int, n: str) -> str:
    total = wins + ties + losses
    equal = f", equal on {percent(ties, total)}" if ties else ""
    return f"better on {percent(wins, total)} of {n}, worse on {percent(losses, total)}{equal}"


def choice_words(choice: SettingChoice, names: Names) -> str:
    """Says which setting was chosen, and how it does on features that it was not chosen on."""
    unit = UNITS[choice.measure]
    chosen = f"Chosen by {unit} on {choice.n_development:,} features: {names(choice.setting)}."
    there = f"On the other half its {unit} is {estimate_words(choice.reported)} (n = {choice.reported.n:,})."
    if choice.pair is None:
        return f"{chosen} {there} That is the baseline itself."
    return f"{chosen} {there} There: {verdict(choice.pair, names)}"


def estimate_words(e: Estimate) -> str:
    """`.731 [.702, .760]`."""
    return "unmeasured" if e.value is None else " ".join(filter(None, [figure(e.value), interval(e)]))


def percent(k: int, n: int) -> str:
    """`61%`; of few among many `<1%`, which is not none."""
    return "<1%" if 0 < k / n < 0.005 else f"{k / n:.0%}"


def figure(value: float) -> str:
    """Three digits behind the point; `.031`, `1.204`, `-.010`."""
    text = f"{value:.3f}"
    text = "0.000" if text == "-0.000" else text
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.startswith(("1", "-1")) else text


def interval(e: Estimate, flipped: bool = False) -> str:
    """`[.018, .044]`; of the difference the other way round where `flipped`."""
    if e.low is None or e.high is None:
        return ""
    low, high = (-e.high, -e.low) if flipped else (e.low, e.high)
    return f"[{figure(low)}, {figure(high)}]"


def _signed(value: float) -> str:
    text = figure(value)
    return text if text.startswith("-") else f"+{text}"
