"""An option of a command, and the types of values that options take."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from venice_batch.cli.env import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.types import OptionHelpExtra

    from venice_batch.jobfile import Shard

Function = TypeVar("Function", bound="Callable[..., Any]")

PREFIX = "VENICE_BATCH_"
"""First part of the name of each option's variable."""


class Option(click.Option):
    """An option that also reads VENICE_BATCH_<ITS NAME>; `--no-<name>` turns a switch off again.

    `allow_from_autoenv=False`: it reads no variable, because its name has another meaning in other commands.
    `in_files=False`: no settings file can set it.
    `heading`: where `--help` lists it ("": under "Options"); `group` sets it.
    """

    def __init__(self, *args: Any, in_files: bool = True, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.heading = ""
        self.in_files = in_files
        self.envvar = PREFIX + self.long_name.upper().replace("-", "_") if self.allow_from_autoenv else None
        if self.metavar is None and isinstance(self.type, click.types.IntParamType | click.types.FloatParamType):
            self.metavar = "N" if isinstance(self.type, click.types.IntParamType) else "X"
        if self.is_bool_flag and not self.long_name.startswith("no-"):
            self.secondary_opts.append(f"--no-{self.long_name}")

    @property
    def long_name(self) -> str:
        """The name as in `--long-name`, without the dashes."""
        return max(self.opts, key=len).lstrip("-")

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the two columns of `--help`; the docs explain `--no-<name>` once for all switches."""
        record = super().get_help_record(ctx)
        return record and (record[0].partition(" / ")[0], record[1])

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Return the texts in brackets after the help: only the default, as an error message names the range."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra and isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value, None where it is unset or empty."""
        return environment(ctx).environ.get(str(self.envvar)) or None

    def process_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 - as in click
        """Convert the value; an error about a variable's value names the variable."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(self.name or "") is not ParameterSource.ENVIRONMENT:
                raise
            raise click.BadParameter(f"{error.message.rstrip('.')} (from {self.envvar})", ctx, self) from None


option = partial(click.option, cls=Option)


class Decorator(Protocol):
    """Adds one or several options to a command."""

    def __call__(self, function: Function, /) -> Function: ...


def group(*members: Decorator, heading: str = "") -> Decorator:
    """Return one decorator for several options or groups; `--help` lists them in this order under `heading`."""

    def add(function: Function) -> Function:
        before = len(_parameters(function))
        for member in reversed(members):
            function = member(function)
        for parameter in _parameters(function)[before:]:
            if heading and isinstance(parameter, Option):
                parameter.heading = heading
        return function

    return add


def _parameters(function: Callable[..., Any]) -> list[click.Parameter]:
    """Return the parameters that click has attached to a function so far."""
    found: list[click.Parameter] = getattr(function, "__click_params__", [])
    return found


def value_from_file(option: Option, value: object, folder: Path) -> object:
    """Return a file's `value` for click's `default_map`. Raises click.BadParameter if the option does not take it."""
    if not option.multiple:
        return _single(option, value, folder)
    if not isinstance(value, list):
        raise click.BadParameter("expected a list, as the option can be given several times")
    return [_single(option, item, folder) for item in value]


def _single(option: Option, value: object, folder: Path) -> object:
    if option.is_bool_flag:
        if not isinstance(value, bool):
            raise click.BadParameter("expected true or false")
        return value
    kinds, expected = _toml_types(option.type)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise click.BadParameter(f"expected {expected}")
    option.type.convert(value, option, None)  # as written: joined to the folder, an address would pass for a path
    if isinstance(option.type, click.Path) and not is_bucket(value):
        return str(folder / Path(str(value)).expanduser())
    return value


def _toml_types(kind: click.ParamType[Any]) -> tuple[tuple[type, ...], str]:
    """Return the types that TOML may have for an option of this kind, and their name."""
    match kind:
        case click.types.IntParamType():
            return (int,), "an integer"
        case click.types.FloatParamType():
            return (int, float), "a number"
        case click.Choice() | click.Path() | click.types.StringParamType():
            return (str,), "a quoted string"
        case _:
            return (str, int, float), "a number or a quoted string"


def is_bucket(value: object) -> bool:
    """Return whether an option's value is the address of a bucket."""
    if not isinstance(value, str) or "://" not in value:
        return False
    from venice_batch.bucket import address

    return address.is_bucket(value)


def stronger(ctx: click.Context, one: str, other: str) -> str | None:
    """Return which parameter has the stronger source: command line, environment, file, default; None if equal."""
    sources = list(ParameterSource)  # the strongest first
    first, second = (sources.index(ctx.get_parameter_source(name) or sources[-1]) for name in (one, other))
    return None if first == second else one if first < second else other


def record_fault(path: Path, root: Path | None = None) -> str:
    """Return why a command may not write to `path`, a file of an output folder, whose content has cost money.

    "" if it may. `root` is an output folder whether or not it has a manifest yet.
    """
    from venice_batch.model import SUMMARY
    from venice_batch.output import annotations, folder, marks

    place = Path(os.path.realpath(path))
    own = {folder.MANIFEST, folder.RUN_FILE, *folder.LOCKS, marks.NAME, annotations.NAME, SUMMARY}
    found = [place.parent] if place.name in own else []
    found += [inner.parent for inner in place.parents if inner.name in folder.FOLDERS]
    for output in found:
        if _has_records(output / folder.MANIFEST) or (root is not None and output == Path(os.path.realpath(root))):
            return f"{path} belongs to an output folder's records and images; choose another name"
    return ""


def _has_records(path: Path) -> bool:
    """Return whether a file called like a manifest is one: other programs have files of this name, too."""
    try:
        with open(path, "rb") as file:
            start = file.read(4096).lstrip()
    except OSError:
        return False
    return not start or b'"run_id"' in start.partition(b"\n")[0] or not start.startswith(b"{")


class Target(click.Path):
    """A path to write to on this machine; a file must not be one that an output folder consists of."""

    kind = "file"
    instead = "write to this machine and copy it from there"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.Path
        from venice_batch.output.atomic_file import is_address

        if is_address(str(value)):
            shown = re.sub("//[^/]*@", "//***@", str(value))
            self.fail(f"{shown} is an address, not a {self.kind}; {self.instead}", param, ctx)
        path = super().convert(value, param, ctx)
        if self.kind == "file" and (what := record_fault(Path(str(value)))):
            self.fail(what, param, ctx)
        return path


class Folder(Target):
    """A folder to write to; `{date}` in its path is the day."""

    kind = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.Path
        return super().convert(self.dated(str(value), param, ctx), param, ctx)

    def dated(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `text` with the day in place of `{date}`. Raises click.BadParameter for another field."""
        unknown = [field for field in re.findall(r"\{\w*\}", text) if field != "{date}"]
        if unknown:
            self.fail(f"{text!r} has an unknown field {unknown[0]}; only {{date}} is replaced", param, ctx)
        return text.replace("{date}", environment(ctx).today)


class WholeNumber(click.IntRange):
    """A whole number within limits."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.IntRange
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(_no_number(value, self), param, ctx)


class Number(click.FloatRange):
    """A finite number within limits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.FloatRange
        found = math.nan
        with suppress(click.BadParameter):
            found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(_no_number(value, self), param, ctx)
        return found


def _no_number(value: object, kind: WholeNumber | Number) -> str:
    shown = repr(value) if isinstance(value, str) and not _NUMBER.fullmatch(value) else value
    limits = f"from {kind.min} to {kind.max}" if kind.max is not None else f"of {kind.min} or more"
    return f"{shown} is not a {kind.name} {limits}"


_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Caps(click.ParamType[dict[str, float]]):
    """Amounts in USD for a day, a week or a month: day=5,month=60."""

    name = "window=usd,…"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        from venice_batch.run.budget import parse_caps

        return value if isinstance(value, dict) else parse_caps(str(value))


class Share(click.ParamType["Shard"]):
    """I/N: one of N shares of the jobs."""

    name = "I/N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        from venice_batch.jobfile import Shard

        return Shard.of(str(value))


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 90, 1.5m, 2h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = _DURATION.fullmatch(str(value).strip().lower())  # defaults and settings files give numbers
        seconds = float(match.group(1)) * _UNITS_S[match.group(2)] if match else 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is not a duration; give seconds, or 90s, 15m, 2h", param, ctx)
        return seconds


class AnyOf(click.ParamType[tuple[str, ...]]):
    """One or more of a few words, separated by commas; `short` maps other spellings to a word."""

    name = "words"

    def __init__(self, *words: str, **short: str) -> None:
        self._words = [str(word) for word in words]
        self._short = short

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self._words)}]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        spelled = (word.strip() for word in str(value).split(","))
        given = tuple(self._short.get(word, word) for word in spelled)
        for word in given:
            if word not in self._words:
                self.fail(f"{word!r} is not one of {', '.join(self._words)}", param, ctx)
        return given

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Complete the last word and keep those before it."""
        before, comma, begun = incomplete.rpartition(",")
        return [CompletionItem(before + comma + word) for word in self._words if word.startswith(begun)]


class FlagsOrConditions(AnyOf):
    """As `AnyOf`, or conditions on annotations: blurred,score<0.5. A comma within quotes separates nothing."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        from venice_batch.errors import UsageError
        from venice_batch.report.conditions import is_condition, parse_condition

        given: list[str] = []
        for word in _BETWEEN_COMMAS.findall(str(value)):
            try:
                given += [str(word).strip()] if is_condition(word) else super().convert(word, param, ctx)
                if is_condition(word):
                    parse_condition(word, "--fail-on")
            except UsageError as error:
                self.fail(str(error).removeprefix("--fail-on: "), param, ctx)
        return tuple(given)


_BETWEEN_COMMAS = re.compile(r"""(?:[^,"']|"[^"]*"|'[^']*'|["'])+""")
