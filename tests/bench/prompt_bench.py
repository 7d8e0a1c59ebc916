"""Two versions of the templates side by side: label quality, tokens, cost, and what a prompt cache can keep.

    python -m tests.bench.prompt_bench --against REF_OR_FOLDER [--llm openai:qwen3-8b --base-url URL] [--log FILE]

The versions are the working tree's and those of a git ref, or of a folder. Both label the same features, the demo's
first `--features` with a known concept; differences are paired by feature. Without `--llm` a scripted explainer on the
loopback interface answers (`tests.bench.knowing`), which knows the concepts' words and reads nothing but the prompts.
With `--log` the answers are kept, and a question that was asked in the same words is answered from there at no cost, so
that a second run pays for changed prompts only; what such an answer once took is then not told.

The shared prefix is what two features' prompts begin with alike, system prompt and question together: the part that a
provider's cache can keep. The hit rate is what the server told of cached input tokens.
"""

import argparse
import asyncio
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from agent.config import RunConfig
from agent.evidence.digest import CHARS_PER_TOKEN
from agent.llm import make_explainer
from agent.log.calls import CallRow, calls_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from eval.metrics import Estimate, mean, paired_difference
from eval.scoring.known import names_concept
from probes.demo.shipped import load_truth
from probes.errors import SettingsError
from probes.subject import Subject, load_subject
from prompts import FOLDER, templates_in
from tests.bench.bench_overhead import Silent
from tests.bench.knowing import script
from tests.fault_runs import environment
from tests.llm_server import LLMServer

MEASURES = ("right", "labelled", "calls", "input tokens", "output tokens", "cost, $")


@dataclass(frozen=True)
class Version:
    """The outcome of one version of the templates."""

    rows: dict[int, LabelRow]
    calls: dict[int, list[CallRow]]

    def measures(self, feature: int) -> dict[str, float | None]:
        """Figures of one feature; None where the server did not tell."""
        truth, row, calls = load_truth(), self.rows[feature], self.calls[feature]
        label = row.label if row.status == "labelled" else None
        return {
            "right": float(names_concept(label, truth.features[feature], truth)),
            "labelled": float(label is not None),
            "calls": float(len(calls)),
            "input tokens": _total([None if call.cached else call.input_tokens for call in calls]),
            "output tokens": _total([None if call.cached else call.output_tokens for call in calls]),
            "cost, $": _total([None if call.cached else call.cost_usd for call in calls]),
        }

    @property
    def hit_rate(self) -> float | None:
        """Share of input tokens that the server had in its cache; None where it told of none."""
        calls = [call for calls in self.calls.values() for call in calls if not call.cached]
        told = [(call.cache_read_tokens, call.input_tokens) for call in calls]
        known = [(read, sent) for read, sent in told if read is not None and sent]
        return sum(read for read, _ in known) / sum(sent for _, sent in known) if known else None

    @property
    def prefix(self) -> tuple[float, float]:
        """Characters that two features' first prompts begin with alike, and those of a whole prompt, on average."""
        firsts = [_whole(calls[0]) for calls in self.calls.values() if calls]
        return fmean(shared(one, other) for one, other in pairwise(firsts)), fmean(map(len, firsts))


def labelled(log: RunLog, subject: Subject, features: Sequence[int], config: RunConfig) -> Version:
    """Runs once with the templates that are in force."""
    explainer = make_explainer(config.llm, config.base_url or "")
    explainer.check()
    report = asyncio.run(run_features(RunSpec(config, subject, explainer), log, features, True, Silent()))
    if report.stopped is not None:
        raise report.stopped
    rows = {row.feature: row for row in log.read(labels_of, report.run_id)}
    return Version(rows, {feature: log.read(calls_of, report.run_id, feature) for feature in features})


def version_folder(version: str, folder: Path) -> Path:
    """Returns a folder with a version's templates; what it lacks is the working tree's. Raises SettingsError."""
    for path in FOLDER.glob("*.md.j2"):
        (folder / path.name).write_bytes(path.read_bytes())
    if Path(version).is_dir():
        texts = {path.name: path.read_bytes() for path in Path(version).glob("*.md.j2")}
    else:
        names = _git("ls-tree", "--name-only", version, "prompts/").decode().split()
        texts = {Path(name).name: _git("show", f"{version}:{name}") for name in names if name.endswith(".md.j2")}
    if not texts:
        raise SettingsError(f"{version} holds no templates; name a git ref or a folder that has some.")
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    return folder


def shared(one: str, other: str) -> int:
    """Returns how many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def lines(then: Version, now: Version, seed: int) -> Iterator[str]:
    """Yields what is printed: both versions, and how far the working tree's is ahead."""
    features = sorted(then.rows)
    told = {feature: (then.measures(feature), now.measures(feature)) for feature in features}
    yield f"{'per feature':14} {'then':>22} {'now':>22} {'difference':>24}"
    for name in MEASURES:
        one, other = ([told[feature][side][name] for feature in features] for side in (0, 1))
        gap = paired_difference(other, one, seed)
        yield f"{name:14} {_words(mean(one, seed)):>22} {_words(mean(other, seed)):>22} {_words(gap, '+'):>24}"
    prefixes = [f"{share / whole:.2f}, {share / CHARS_PER_TOKEN:,.0f} t" for share, whole in (then.prefix, now.prefix)]
    yield f"{'shared prefix':14} {prefixes[0]:>22} {prefixes[1]:>22}"
    rates = ["not told" if rate is None else f"{rate:.2f}" for rate in (then.hit_rate, now.hit_rate)]
    yield f"{'cache hits':14} {rates[0]:>22} {rates[1]:>22}"
    changed = [f for f in features if then.rows[f].label != now.rows[f].label]
    yield f"{len(features)} features, {len(changed)} labels differ: {', '.join(map(str, changed[:20])) or 'none'}"


def _whole(call: CallRow) -> str:
    return call.system + call.prompt


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _words(found: Estimate, sign: str = "") -> str:
    if found.value is None:
        return "not told"
    form = f"{sign}.2f" if abs(found.value) < 100 else f"{sign},.0f"
    interval = "" if found.low is None or found.high is None else f" [{found.low:{form}}, {found.high:{form}}]"
    return f"{found.value:{form}}{interval}"


def _git(*arguments: str) -> bytes:
    ran = subprocess.run(["git", *arguments], capture_output=True, check=False, cwd=FOLDER.parent)
    if ran.returncode:
        raise SettingsError(f"git {' '.join(arguments)}: {ran.stderr.decode().strip() or 'failed'}.")
    return ran.stdout


def main() -> None:
    """Labels by both versions and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="HEAD")
    parser.add_argument("--features", default=60, type=int)
    parser.add_argument("--llm")
    parser.add_argument("--base-url")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--cutoff", default=0.01, type=float)
    parser.add_argument("--budget-tokens", default=2_000_000, type=int)
    parser.add_argument("--seed", default=0, type=int)
    given = parser.parse_args()
    features = sorted(load_truth().features)[: given.features]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "then").mkdir()
        try:
            old = version_folder(given.against, folder / "then")
        except SettingsError as error:
            parser.error(str(error))
        llm, url = given.llm, given.base_url
        if llm is None:
            stack.enter_context(environment())
            llm, url = "openai:model-a", stack.enter_context(LLMServer(script)).base_url("openai")
        settings = {"llm": llm, "base_url": url, "rounds": given.rounds, "budget_tokens": given.budget_tokens}
        config = RunConfig.parse({**settings, "probe": {"tree": {"cutoff": given.cutoff}}})
        logs = [stack.enter_context(RunLog.open(path)) for path in _paths(given.log, folder)]
        subject = load_subject(config.subject)
        with templates_in(old):
            then = labelled(logs[0], subject, features, config)
        for line in lines(then, labelled(logs[-1], subject, features, config), given.seed):
            print(line)


def _paths(log: Path | None, folder: Path) -> list[Path]:
    """One log for both versions where one was named; else one each, so that no version pays for the other."""
    return [folder / "then.db", folder / "now.db"] if log is None else [log]


if __name__ == "__main__":
    main()
