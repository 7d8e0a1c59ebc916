"""Values as users give them: no option takes an empty one, no number is a switch, no digit string is too long."""

import os
from pathlib import Path

import click
import pytest

from agent.cli.interpret import interpret as commands_of
from agent.config import GROUPS, key_of, read_settings, resolve, settings_in_use
from probes.doors.given import fault_of, finite_number, shown, whole_number
from probes.errors import FeatureError, SettingsError
from probes.features import check_features, parse_features
from tests.fault_runs import Interpret

LONG = "9" * 5000
REQUIRED = {
    "run": ("--features", "0"),
    "examples": ("--features", "0"),
    "export": ("--to", "x.csv"),
    "fit": ("--labels", "1", "--to", "a"),
    "tree": ("0",),
    "tokens": ("0",),
    "show": ("0",),
    "replay": ("1",),
    "import": ("o.db",),
}
"""What each command cannot do without."""


def options_of(name: str) -> list[str]:
    return [
        parameter.opts[0]
        for parameter in commands_of.commands[name].params
        if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.hidden
    ]


@pytest.mark.parametrize("name", commands_of.commands)
def test_no_option_of_any_command_takes_an_empty_value(interpret: Interpret, name: str) -> None:
    options = options_of(name)
    assert options
    for option in options:
        for empty in ("", " ", "\t"):
            ran = interpret(name, *REQUIRED.get(name, ()), option, empty)
            told = f"interpret: {option} is empty; give a value, or leave it out.\n"
            assert (ran.status, ran.out, ran.err) == (2, "", told), option
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize("name", ["tree", "tokens", "show", "log", "score", "export", "replay", "import", "review"])
def test_no_argument_is_empty(interpret: Interpret, name: str) -> None:
    ran = interpret(name, "", *(REQUIRED["export"] if name == "export" else ()))
    assert (ran.status, "is empty" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("log", LONG),
        ("show", LONG),
        ("show", "1", "--run", LONG),
        ("show", "1", "--run", "9223372036854775808"),
        ("replay", LONG),
        ("score", "1", "--examples", LONG),
        ("score", "1", "--texts", LONG),
        ("compare", "--runs", f"1,{LONG}"),
        ("compare", "--runs", "1,2,3"),
        ("log", "0"),
        ("log", "-1"),
        ("log", "1_0"),
        ("log", "٣"),
        ("log", "1", "--min-confidence", "nan"),
        ("tree", "0", "--trim", "inf"),
        ("tree", "0", "--scale", "1e999"),
        ("tree", "0", "--pca", "0.1,nan"),
        ("tree", "0", "--seed-not-there", LONG),
        ("run", "--features", "0", "--seed", "4294967296"),
        ("run", "--features", "0", "--top-n", LONG),
        ("fit", "--labels", "1", "--to", "a", "--steps", LONG),
        ("serve", "--port", "65536"),
        ("tokens", LONG),
        ("tokens", f"0-{LONG}"),
        ("run", "--features", f"random:{LONG}"),
        ("\udcff",),
        ("log", "--log", "\udcff.db"),
        ("log", "--log", "a\0.db"),
        ("log", "--log", "a" * 300),
        ("examples", "--features", "0", "--model", "~no-such-user/m", "--sae", "s"),
        ("compare", "--features", "0", "--weights", "encoder,,decoder"),
    ],
)
def test_a_value_that_nothing_can_use_is_one_short_sentence(interpret: Interpret, arguments: tuple[str, ...]) -> None:
    ran = interpret(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert len(ran.err) < 600
    assert "an unexpected error occurred" not in ran.err
    assert [*Path().iterdir()] == []


def test_numbers_are_decimal_digits_that_a_log_can_keep() -> None:
    assert [whole_number(text) for text in ("0", "007", "9" * 18)] == [0, 7, 10**18 - 1]
    assert [whole_number(text) for text in ("", "-1", "1.0", " 1", "²", "٣", "9" * 19, LONG)] == [None] * 8
    assert [finite_number(text) for text in ("1e-3", " 2 ", "nan", "inf", "1e999", "x")] == [0.001, 2.0, *[None] * 4]


def test_what_cannot_be_shown_is_called_by_its_type() -> None:
    assert shown(10**5000) == "<int>"
    assert shown("a") == "'a'"
    assert len(shown("a" * 1000)) < 100


def test_faults_are_found_within_lists() -> None:
    assert fault_of(["a", ("b", " ")]) == "is empty"
    assert fault_of([0, False, None, "a", Path()]) is None


class TestSettingsFile:
    @pytest.mark.parametrize(("table", "key"), [(t, key_of(f)) for t, v in GROUPS.items() for f in v.model_fields])
    def test_takes_no_empty_value(self, own_folder: None, table: str, key: str) -> None:  # noqa: ARG002
        Path("s.toml").write_text(f'[{table}]\n{key} = ""\n')
        with pytest.raises(SettingsError, match=rf"s\.toml, {table}\.{key} is empty"):
            read_settings(Path("s.toml"))

    @pytest.mark.parametrize("value", ["true", "false"])
    @pytest.mark.parametrize(
        ("table", "key"),
        [
            ("tree", "cutoff"),
            ("tree", "contrast"),
            ("tree", "top-k"),
            ("vector", "scale"),
            ("vector", "ghost-tokens"),
            ("vector", "weights"),
            ("tokens", "exponent"),
            ("run", "seed"),
            ("run", "budget-usd"),
            ("run", "llm"),
            ("examples", "tokens"),
            ("score", "texts"),
            ("subject", "per-layer"),
        ],
    )
    def test_takes_no_switch_for_a_number_or_a_name(self, own_folder: None, table: str, key: str, value: str) -> None:  # noqa: ARG002
        Path("s.toml").write_text(f"[{table}]\n{key} = {value}\n")
        with pytest.raises(SettingsError, match=f"{key}="):
            resolve({}, Path("s.toml"))

    def test_takes_no_switch_within_a_list(self, own_folder: None) -> None:  # noqa: ARG002
        Path("s.toml").write_text("[vector]\npca = [true]\n")
        with pytest.raises(SettingsError, match="pca"):
            resolve({}, Path("s.toml"))

    def test_takes_switches_where_they_belong(self, own_folder: None) -> None:  # noqa: ARG002
        Path("s.toml").write_text("[vector]\ncentroid = false\n[run]\nagreement = true\n")
        config = resolve({}, Path("s.toml"))
        assert (config.probe.vector.centroid, config.agreement) == (False, True)

    def test_is_read_with_a_byte_order_mark_and_any_line_ends(self, own_folder: None) -> None:  # noqa: ARG002
        Path("s.toml").write_bytes(b"\xef\xbb\xbf[tree]\r\ncutoff = 0.05\r\n")
        assert resolve({}, Path("s.toml")).probe.tree.cutoff == 0.05

    @pytest.mark.parametrize(
        "text",
        [
            "[run]\nseed = " + "[" * 900 + "]" * 900,
            "[run]\nseed = " + "{a=" * 900 + "1" + "}" * 900,
            "a" + ".a" * 5000 + " = 1",
            "[run]\nlog." + "a." * 5000 + "a = 1",
            f"[run]\nseed = {LONG}",
            "[run]\nseed = 1979-05-27T07:32:00Z",
            "[run]\nseed = " + "9" * 4000,
            "[run]\nbudget-usd = inf",
            "[tree]\ncutoff = nan",
            '[run]\nlog = "a\\u0000b"',
            '[subject]\nmodel = "~no-such-user/m"\nsae = "s"',
            "[[run]]\nseed = 1",
            "run = 1",
        ],
    )
    def test_with_anything_odd_in_it_is_one_short_sentence(self, own_folder: None, text: str) -> None:  # noqa: ARG002
        Path("s.toml").write_text(text)
        with pytest.raises(SettingsError) as told:
            resolve({}, Path("s.toml"))
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 700

    @pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link to nowhere", "link to itself"])
    def test_that_is_no_file_is_neither_waited_for_nor_passed_over(self, own_folder: None, kind: str) -> None:  # noqa: ARG002
        place = Path("interpret.toml")
        match kind:
            case "fifo":
                os.mkfifo(place)
            case "folder":
                place.mkdir()
            case "device":
                place.symlink_to(os.devnull)
            case "link to nowhere":
                place.symlink_to("nowhere")
            case _:
                place.symlink_to(place)
        with pytest.raises(SettingsError, match=r"Settings file interpret\.toml"):
            resolve({})

    def test_that_may_not_be_looked_at_is_an_error(self, own_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG002
        def forbidden(*_args: object, **_kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "lstat", forbidden)
        monkeypatch.setattr(Path, "stat", forbidden)
        assert settings_in_use(None) is not None
        with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
            resolve({})

    def test_is_none_where_there_is_none(self, own_folder: None) -> None:  # noqa: ARG002
        assert settings_in_use(None) is None


class TestFeatures:
    @pytest.mark.parametrize(
        "text", [LONG, f"0-{LONG}", f"{LONG}-{LONG}", f"random:{LONG}", "random:0", "٣", "1-٣", "@"]
    )
    def test_are_checked_without_an_sae(self, text: str) -> None:
        with pytest.raises(FeatureError) as told:
            check_features(text)
        assert len(str(told.value)) < 200

    def test_in_a_file_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"\xef\xbb\xbf3\r\n5 # five\r\n")
        assert parse_features(f"@{tmp_path}/f", 10) == [3, 5]

    def test_in_a_pipe_are_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "f")
        with pytest.raises(FeatureError, match="is not a file"):
            check_features(f"@{tmp_path}/f")
