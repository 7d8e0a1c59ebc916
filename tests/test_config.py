"""Defaults, then the settings file, then the command line; anything unknown or absurd is one sentence."""

from pathlib import Path

import click
import pytest

from agent.cli.given_options import by_key
from agent.cli.interpret import interpret
from agent.config import GROUPS, RunConfig, key_of, read_settings, resolve
from eval.scorers import SCORERS
from probes.errors import SettingsError
from probes.settings import ProbeSettings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings_file(text: str, name: str = "interpret.toml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def test_without_a_word_everything_is_as_the_fields_say() -> None:
    config = resolve({"scale": None, "llm": None})
    assert config == RunConfig()
    assert config.probe == ProbeSettings()
    assert config.weights_plan == ("words",)


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults() -> None:
    settings_file('[vector]\nscale = 2.5\npca = [0.1, 0.2]\n[tree]\ntop-k = 7\n[run]\nrounds = 2\nlog = "a.db"\n')
    config = resolve({"scale": 9.0, "log": Path("b.db"), "top-k": None})
    assert config.probe.vector.scale == 9.0
    assert config.probe.vector.pca == (0.1, 0.2)
    assert config.probe.tree.top_k == 7
    assert config.probe.tree.cutoff == ProbeSettings().tree.cutoff
    assert (config.rounds, config.log) == (2, Path("b.db"))


def test_another_file_can_be_named_and_replaces_the_one_in_the_folder() -> None:
    settings_file("[run]\nrounds = 2\n")
    other = settings_file("[run]\nseed = 5\n", "other.toml")
    config = resolve({}, other)
    assert (config.rounds, config.seed) == (RunConfig().rounds, 5)


def test_one_pca_weight_needs_no_list() -> None:
    settings_file("[vector]\npca = 0.3\n")
    assert resolve({}).probe.vector.pca == (0.3,)


def test_naming_weights_leaves_one_side_in_the_plan() -> None:
    config = resolve({"weights": "blend:0.3"})
    assert config.weights_plan == ("blend:0.3",)
    assert config.probe.vector.weights == "blend:0.3"


def test_the_command_lines_subject_replaces_the_files() -> None:
    settings_file('[subject]\nmodel = "m"\nsae = "s"\ndevice = "cpu"\n')
    assert resolve({}).subject.model == "m"
    config = resolve({"subject": "demo"})
    assert (config.subject.name, config.subject.model, config.subject.device) == ("demo", None, "cpu")
    settings_file('[subject]\nsubject = "demo"\n')
    config = resolve({"model": "m", "sae": "s"})
    assert (config.subject.name, config.subject.model, config.subject.sae) == (None, "m", "s")


def test_half_of_a_subject_may_stand_in_the_file() -> None:
    settings_file('[subject]\nmodel = "m"\n')
    assert resolve({"sae": "s"}).subject.model == "m"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tree]\ncutof = 1\n", ["tree.cutof", "interpret.toml", "did you mean cutoff"]),
        ("[forest]\ncutoff = 1\n", ["forest", "interpret.toml"]),
        ("rounds = 1\n", ["rounds", "interpret.toml"]),
        ("[tree]\ntop_k = 1\n", ["tree.top_k", "did you mean top-k"]),
        ("[tree\n", ["not valid TOML", "line 1"]),
        ("[tree]\ncutoff = 0\n", ["interpret.toml", "[tree]", "cutoff=0"]),
        ("[vector]\nscale = nan\n", ["[vector]", "scale=nan"]),
        ('[run]\nrounds = "many"\n', ["[run]", "rounds='many'"]),
        ('[subject]\nmodel = "m"\n', ["the model m comes without an SAE"]),
        ('[subject]\nsubject = "nobody"\n', ["nobody", "demo"]),
    ],
)
def test_a_faulty_file_is_one_sentence_naming_key_and_file(text: str, words: list[str]) -> None:
    settings_file(text)
    with pytest.raises(SettingsError) as caught:
        resolve({})
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_text() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        resolve({}, Path("nowhere.toml"))
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"binary\.toml is not UTF-8, from byte 1 on"):
        read_settings(Path("binary.toml"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", -1.0),
        ("scale", float("nan")),
        ("scale", float("inf")),
        ("cutoff", 0.0),
        ("cutoff", 1.5),
        ("top-k", 0),
        ("max-depth", 0),
        ("prompt", ""),
        ("prompt", "no place"),
        ("prompt", "{ghost} {ghost}"),
        ("exponent", 0.0),
        ("top-n", 0),
        ("pca", (0.7, 0.7)),
        ("pca", (-0.1,)),
        ("weights", "blend:2"),
        ("rounds", 0),
        ("concurrency", 0),
        ("seed", -1),
        ("llm", ""),
        ("device", "toaster"),
    ],
)
def test_absurd_values_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"--{key}[= ]"):
        resolve({key: value})


@pytest.mark.parametrize(("key", "value"), [("steer", "harder"), ("subject", "nobody"), ("per-layer", "ones")])
def test_a_setting_is_called_by_its_option_or_its_key_in_a_file(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"Setting --{key}='{value}' is not usable"):
        resolve({key: value})
    if key == "steer":
        settings_file(f'[steering]\n{key} = "{value}"\n')
        with pytest.raises(SettingsError, match=f"table .steering.: Setting {key}='{value}' is not usable"):
            resolve({})


OF_COMMANDS = {
    "features",
    "new",
    "dry-run",
    "imported",
    "form",
    "run-id",
    "corpus-id",
    "settings-file",
    "plot",
    "shard",
    "layers",
}
"""What stands on the command line alone."""


def test_every_field_of_every_group_is_an_option_of_a_command_and_the_other_way_round() -> None:
    keys = {key_of(field) for value in GROUPS.values() for field in value.model_fields}
    commands = [interpret.commands[name] for name in ("run", "examples", "score")]
    options = by_key({parameter.name: None for command in commands for parameter in command.params})
    assert options.keys() - OF_COMMANDS == keys


def test_keys_of_different_groups_differ() -> None:
    keys = [key_of(field) for value in GROUPS.values() for field in value.model_fields]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", ["run", "examples"])
def test_no_option_has_a_default_of_its_own(name: str) -> None:
    parsed = interpret.commands[name].make_context(name, ["--features", "1"]).params
    assert {key for key, value in parsed.items() if value not in (None, ())} <= {"features", "new", "dry_run"}


def test_the_help_names_every_scorer() -> None:
    options = {parameter.name: parameter for parameter in interpret.commands["score"].params}
    scorers = options["scorers"]
    assert isinstance(scorers, click.Option)
    assert all(name in (scorers.help or "") for name in SCORERS)
