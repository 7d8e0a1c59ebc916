"""What a command imports before its first word: help and logs need no model, and a model's command speaks first."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.full_logs import fill

HEAVY = (
    "torch",
    "transformers",
    "scipy",
    "sklearn",
    "matplotlib",
    "anthropic",
    "openai",
    "genai_prices",
    "httpx2",
    "sentence_transformers",
    "huggingface_hub",
    "starlette",
    "uvicorn",
    "jinja2",
)
NO_TABLES = ("rich", "sqlite_utils", "numpy")
"""What the help and a refused command line can do without as well."""
WATCHED = """
import sys

class Watched:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        if text.strip():
            self.stream.write("\\n".join(sys.modules))
            self.stream.flush()
            import os
            os._exit(0)
    def __getattr__(self, name):
        return getattr(self.stream, name)

real = sys.stdout
sys.stdout = sys.stderr = Watched(real)
if "--on-a-terminal" in sys.argv:
    sys.argv.remove("--on-a-terminal")
    Watched.isatty = lambda self: True
from agent.cli.main import main
main(sys.argv[1:])
"""
"""Prints what is imported when the first word is to be printed, and ends there."""


def imported(folder: Path, *arguments: str) -> set[str]:
    """The packages that are imported before the command's first word."""
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        cwd=folder,
        env={**__import__("os").environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert ran.stdout, ran.stderr
    return {name.partition(".")[0] for name in ran.stdout.split()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    fill(folder / "interpret.db", [5])
    return folder


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("log", "--log", ""), ("nonsense",)])
def test_help_and_refusals_import_next_to_nothing(folder: Path, arguments: tuple[str, ...]) -> None:
    assert not imported(folder, *arguments).intersection((*HEAVY, *NO_TABLES))


@pytest.mark.parametrize("arguments", [("log",), ("log", "1"), ("show", "5"), ("log", "--json")])
def test_logs_are_read_without_models_statistics_and_providers(folder: Path, arguments: tuple[str, ...]) -> None:
    assert not imported(folder, *arguments).intersection(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--features", "0"),
        ("examples", "--features", "0"),
        ("score", "1"),
        ("tree", "0", "--on-a-terminal"),
        ("tokens", "0", "--json", "--on-a-terminal"),
        ("compare", "--features", "0"),
        ("taxonomy",),
        ("fit", "--labels", "1", "--to", "a.safetensors"),
    ],
)
def test_a_command_with_a_model_speaks_before_it_imports_one(folder: Path, arguments: tuple[str, ...]) -> None:
    assert not imported(folder, *arguments).intersection(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--features", "x"),
        ("--features", "0", "--llm", "nobody"),
        ("--features", "0", "--log", "/"),
        ("tree", "x"),
        ("tree", "0", "--svg", "interpret.db"),
        ("score", "1", "--features", "@nowhere"),
        ("examples", "--features", "random:0"),
        ("compare", "--features", "9-1"),
        ("fit", "--labels", "1", "--to", "nowhere/a"),
    ],
)
def test_what_can_be_refused_is_refused_before_a_model_is_imported(folder: Path, arguments: tuple[str, ...]) -> None:
    assert not imported(folder, *arguments).intersection(HEAVY)
