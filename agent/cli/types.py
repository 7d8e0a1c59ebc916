"""Adds to click help texts under headings, a default command, and values such as lists of numbers."""

from typing import Any

import click

from probes.doors.given import MAX_DIGITS, fault_of, finite_number, shown, whole_number
from probes.settings import AUTO


class GroupedOption(click.Option):
    """An option that stands under a heading of the help text."""

    def __init__(self, *args: Any, heading: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.find_root().obj, dict):
        ctx.find_root().obj["debug"] = True


DEBUG = click.Option(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    help="Print the traceback of what goes wrong.",
)
"""An option of the group and of every command; sets `debug` in the dict that is the root context's object."""


class GroupedCommand(click.Command):
    """A command whose help lists its options under their headings, those without one first."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Called by click."""
        *own, last = super().get_params(ctx)
        return [*own, DEBUG, last]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Called by click, with what was typed."""
        self._refuse_unusable(ctx, [*args])
        return super().parse_args(ctx, args)

    def _refuse_unusable(self, ctx: click.Context, args: list[str]) -> None:
        """Raises UsageError for a value of any option that is empty or that cannot be stored."""
        typed, _, _ = self.make_parser(ctx).parse_args(args)
        for parameter in self.get_params(ctx):
            if fault := fault_of(typed.get(parameter.name or "")):
                raise click.UsageError(f"{_named(parameter)} {fault}; give a value, or leave it out.", ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Called by click for `--help`."""
        headings: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record:
                headings.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _named(parameter: click.Parameter) -> str:
    """Returns an option as it is typed, an argument as the help names it."""
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name


class Commands(click.Group):
    """A group with the default command `run` for arguments that begin with an option; refuses unknown commands."""

    command_class = GroupedCommand
    default = "run"
    ignore_unknown_options = True

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Called by click with what follows the group's own options."""
        if args[0].startswith("-"):
            args = [self.default, *args]
        elif args[0] not in self.commands:
            known = ", ".join(sorted(self.commands))
            raise click.UsageError(f"There is no command {shown(args[0])}; the commands are {known}.")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands, then the options of the default one."""
        super().format_options(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(f"Without a command, `{self.default}` is meant; its options:")
        self.commands[self.default].format_options(ctx, formatter)


class Whole(click.ParamType[int]):
    """A whole number between two others; by default any that a log can keep."""

    name = "n"

    def __init__(self, least: int = -(10**MAX_DIGITS) + 1, most: int = 10**MAX_DIGITS - 1) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number; fails with a usage error otherwise."""
        text = str(value).strip()
        digits = text.removeprefix("-")
        found = whole_number(digits)
        if found is None and not (digits.isascii() and digits.isdigit()):
            self.fail(f"{shown(text)} is not a whole number.", param, ctx)
        number = None if found is None else -found if text.startswith("-") else found
        if number is None or not self._least <= number <= self._most:
            self.fail(f"{shown(text)} is not from {self._least} to {self._most}.", param, ctx)
        return number


ROW_ID = Whole(1)
"""The number of a run, or of anything else that a log numbers."""


class Real(click.ParamType[float]):
    """A finite number."""

    name = "x"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number; fails with a usage error otherwise."""
        found = finite_number(str(value))
        if found is None:
            self.fail(f"{shown(value)} is not a finite number.", param, ctx)
        return found


def _floats(text: str, comma: str = ",") -> tuple[float, ...] | None:
    """Parses the finite numbers between commas; None if any part is not one."""
    numbers = [finite_number(part) for part in text.split(comma)]
    found = tuple(number for number in numbers if number is not None)
    return found if len(found) == len(numbers) else None


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers separated by commas."""

    name = "w[,w2,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Returns the numbers; fails with a usage error otherwise."""
        found = _floats(str(value))
        if found is None:
            self.fail(f"{shown(value)} is not a number, or several with commas between them.", param, ctx)
        return found


class Scale(click.ParamType[str | float]):
    """A scale, or the word for one that is found."""

    name = "x|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        """Returns the number or the word; fails with a usage error otherwise."""
        found = value if value == AUTO else finite_number(str(value))
        if found is None:
            self.fail(f"{shown(value)} is neither a finite number nor {AUTO}.", param, ctx)
        return found


class Shares(click.ParamType[tuple[tuple[float, ...], ...]]):
    """Weights of principal components to be compared: alternatives with commas, several components with a plus."""

    name = "w[+w2...][,...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[float, ...], ...]:
        """Returns a tuple of weights per alternative, empty for 0; fails with a usage error otherwise."""
        parts = [_floats(part, "+") for part in str(value).split(",")]
        if any(part is None for part in parts):
            self.fail(f"{shown(value)} is not like 0,0.1,0.1+0.05: a plus joins components of one setting.", param, ctx)
        return tuple(() if part == (0.0,) else part for part in parts if part is not None)


class ScaleList(click.ParamType[tuple[float | str | None, ...]]):
    """Scales to be compared; `default` is the subject's own, `auto` each feature's."""

    name = "x[,x2,...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | str | None, ...]:
        """None stands for the subject's own."""
        words = {"default": None, AUTO: AUTO}
        found = {part: words.get(part, finite_number(part)) for part in str(value).split(",")}
        if any(number is None and part not in words for part, number in found.items()):
            self.fail(f"{shown(value)} is not like 2.5,3.8,default,auto.", param, ctx)
        return tuple(found[part] for part in str(value).split(","))


class Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas."""

    name = "name[,name...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the names without outer spaces; unknown names are refused where they are used."""
        names = tuple(part.strip() for part in str(value).split(","))
        if not all(names):
            self.fail(f"{shown(value)} has an empty name between its commas.", param, ctx)
        return names
