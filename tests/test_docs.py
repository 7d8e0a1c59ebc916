"""README and docs: at most 200 lines, commands that the command line takes, links that lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent.cli.interpret import interpret
from tests import feature_log

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(interpret [^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each command of `interpret` on a page; an ellipsis stands for options that were left out."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for block in _FENCED.findall(text) for line in block.splitlines()]
    for line in [*lines, *_INLINE.findall(_FENCED.sub("", text))]:
        if line.startswith("interpret ") and " - " not in line:
            yield [word for word in shlex.split(line, comments=True)[1:] if word != "..."]


CASES = [
    pytest.param(arguments, id=f"{page.name}: {' '.join(arguments)[:80]}")
    for page in PAGES
    if page.name != "reference.md"
    for arguments in commands(page)
]


def test_there_are_commands() -> None:
    assert len(CASES) > 30


@pytest.mark.parametrize("arguments", CASES)
def test_the_command_line_takes_it(arguments: list[str]) -> None:
    context = click.Context(interpret, info_name="interpret", obj={})
    name, command, rest = interpret.resolve_command(context, arguments)
    assert command is not None
    try:
        command.make_context(name, [*rest], parent=context)
    except click.MissingParameter:
        assert len(rest) <= 1, arguments  # a command that is only named, in prose


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"https?://|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_what_is_compressed_in_the_log_is_read_as_the_reference_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feature_log.write_log(tmp_path / "demo.db")
    blocks = _FENCED.findall((ROOT / "docs" / "reference.md").read_text(encoding="utf-8"))
    recipe = next(block for block in blocks if "def unpacked" in block)
    exec(recipe.replace("demo.db", str(tmp_path / "demo.db")).replace("38", str(feature_log.FEATURE)), {})
    assert "{'prompt': " in capsys.readouterr().out


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_every_page_is_in_the_site() -> None:
    named = re.findall(r"\S+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(page.name for page in PAGES[1:])
