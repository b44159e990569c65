"""Options that several subcommands share."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
from click.shell_completion import CompletionItem

from venice_batch.cli import candidates, settings
from venice_batch.cli.parameters import Option, weightier
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from venice_batch.jobfile import Defaults, Shard
    from venice_batch.sandbox import SandboxSettings

Function = TypeVar("Function", bound="Callable[..., Any]")

option = partial(click.option, cls=Option)

WORDS = "venice_batch.words"
"""Where a context's `meta` has the words that the program was started with."""

VENICE = "https://api.venice.ai/api/v1"


class Decorator(Protocol):
    """What adds an option, or several, to a command."""

    def __call__(self, function: Function, /) -> Function: ...


def group(*members: Decorator, heading: str = "") -> Decorator:
    """Several options (or groups) as one decorator, in the order in which `--help` shows them under `heading`."""

    def add(function: Function) -> Function:
        before = len(_collected(function))
        for member in reversed(members):
            function = member(function)
        for parameter in _collected(function)[before:]:
            if heading and isinstance(parameter, Option):
                parameter.heading = heading
        return function

    return add


def _collected(function: Callable[..., Any]) -> list[click.Parameter]:
    """The parameters that click has hung on a function so far."""
    found: list[click.Parameter] = getattr(function, "__click_params__", [])
    return found


def today() -> str:
    """The day as `{date}` gives it in names: ISO 8601, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


class Target(click.Path):
    """A path to write to on this machine."""

    kind = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.Path
        from venice_batch.output.atomic_file import is_address

        if is_address(str(value)):
            shown = re.sub("//[^/]*@", "//***@", str(value))
            self.fail(
                f"{shown} is an address, not a {self.kind}; write to this machine and copy it from there", param, ctx
            )
        return super().convert(value, param, ctx)


class Folder(Target):
    """A folder to write to, in whose path `{date}` is the day."""

    kind = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.Path
        text = str(value)
        unknown = [field for field in re.findall(r"\{\w*\}", text) if field != "{date}"]
        if unknown:
            self.fail(f"{unknown[0]} stands for nothing in {text!r}; only {{date}} does", param, ctx)
        return super().convert(text.replace("{date}", today()), param, ctx)


jobs_file = click.argument("jobs", shell_complete=candidates.files)
output = option(
    "-o",
    "--output",
    type=Folder(path_type=Path),
    metavar="DIR",
    shell_complete=candidates.folders,
    show_default="output/<name of JOBS>",
    help="Folder for images and manifest; {date} is the day (UTC).",
)


def _without_password(ctx: click.Context, param: click.Parameter, address: str) -> str:
    # Here, before any message has the address; the client is asked, which takes long to import, only where it matters.
    if "@" in address:
        from venice_batch.api.client import ApiSettings

        ApiSettings(base_url=address)
    return address


base_url = option(
    "--base-url",
    default=VENICE,
    show_default=True,
    metavar="URL",
    callback=_without_password,
    help="Where the API is.",
)
api_key_file = option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the API key from FILE instead of VENICE_API_KEY.",
)
use_sandbox = option(
    "--sandbox", is_flag=True, help="Use a sandbox in this process instead of the API: free, local, no AI."
)
server = group(base_url, api_key_file, use_sandbox)
rpm = option("--rpm", type=click.IntRange(min=1), help="Most requests a minute for each model, whatever the API says.")


class Amount(click.FloatRange):
    """A finite number of at least 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as in click.FloatRange
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no amount", param, ctx)
        return found


class Share(click.ParamType["Shard"]):
    """I/N: one of N shares of the jobs."""

    name = "I/N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        from venice_batch.jobfile import Shard

        return Shard.of(str(value))


default_fields = option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A field for every job that lacks it.",
    callback=settings.job_settings,
    shell_complete=candidates.job_fields,
)
which_jobs = group(
    option("--shard", type=Share(), help="Only the I-th of N shares of the jobs, told apart by their ids."),
    default_fields,
    option(
        "--seed-policy",
        type=click.Choice(["keep", "pin", "split"]),
        default="keep",
        show_default=True,
        help="pin: give each job without a seed one of its own, the same at every run, so that it can be made again. "
        "split: also make each of several variants a job with its own seed.",
    ),
)
allow_unknown = option(
    "--allow-unknown",
    is_flag=True,
    help="Warn of fields, values and models that this version or the list does not know, and send them as written.",
)
checks = group(
    allow_unknown,
    option("--strict", is_flag=True, help="Take warnings for errors."),
    option("--offline", is_flag=True, help="Check by the last list of models, or the packaged one, without asking."),
)


def job_defaults(given: Mapping[str, Any]) -> Defaults:
    """Return what the options of `which_jobs` and `allow_unknown`, and the settings files, give to every job.

    Raises:
        UsageError: a field or a value is wrong.
    """
    from venice_batch.jobfile import Defaults

    if not given["allow_unknown"]:
        settings.check_job_fields()  # here, where it can say in which file
    return Defaults.of(given["settings"], given["seed_policy"], allow_unknown=given["allow_unknown"])


as_json = option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")


def is_sandbox(given: Mapping[str, Any]) -> bool:
    """Whether the options of `server` name a sandbox, or a server on this machine that may be one.

    What a sandbox made before then counts as done.

    Raises:
        UsageError: --sandbox is given beside an address.
    """
    from venice_batch.catalogue.listing import is_local

    if given["sandbox"] and given["base_url"] != VENICE:
        raise UsageError("--sandbox and --base-url name two servers; give one of them")
    return given["sandbox"] or is_local(given["base_url"])


def weigh_servers(ctx: click.Context) -> None:
    """Where both are given, have `--sandbox` or `--base-url` put the other aside if it was given with more weight.

    So the command line's `--sandbox` does not quarrel with an address in a file of settings.
    """
    if not (ctx.params.get("sandbox") and "base_url" in ctx.params):
        return
    stronger = weightier(ctx, "sandbox", "base_url")
    if stronger == "sandbox":
        ctx.params["base_url"] = VENICE
    elif stronger == "base_url":
        ctx.params["sandbox"] = False


@dataclass(frozen=True, slots=True)
class _Knob:
    name: str
    setting: str
    kind: click.ParamType[Any]
    help: str


_KNOBS = (
    _Knob("rpm", "rpm", click.IntRange(min=0), "Requests a minute for each model; 0 lifts the limit."),
    _Knob("latency", "latency_s", click.FloatRange(min=0), "Seconds that making an image takes."),
    _Knob("speed", "speed", click.FloatRange(min=0.001), "Time compression: minutes and latencies shrink by this."),
    _Knob("capacity", "capacity", click.IntRange(min=0), "Images a model makes at a time, 503 beyond; 0: any number."),
    _Knob("fault-rate", "fault_rate", click.FloatRange(0, 1), "Share of requests that fail on purpose."),
    _Knob("faults", "fault_kinds", click.STRING, "Kinds of those failures, separated by commas (500,reset-mid,…)."),
    _Knob("balance", "balance_usd", click.FloatRange(min=0), "USD to spend until it answers 402."),
    _Knob("draw", "draw", click.Choice(["art", "plain"]), "Pictures, or flat colours at high speed."),
)


def sandbox_options(prefix: str = "") -> Decorator:
    """The sandbox's settings as options `--<prefix>rpm` and so on; read them with `sandbox_settings`."""

    def add(function: Function) -> Function:
        function = option(
            f"--{prefix}set",
            "sandbox_set",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any other setting of the sandbox, by its name in SandboxSettings.",
        )(function)
        for knob in reversed(_KNOBS):
            function = option(
                f"--{prefix}{knob.name}", f"sandbox_{knob.setting}", type=knob.kind, default=None, help=knob.help
            )(function)
        return function

    return add


def sandbox_settings(given: Mapping[str, Any]) -> SandboxSettings:
    """The settings that the options in `given` ask for, the sandbox's defaults for the rest.

    Raises:
        UsageError: an unknown setting, or a value that it cannot have.
    """
    from venice_batch.sandbox import SandboxSettings

    values: dict[str, Any] = {}
    for knob in _KNOBS:
        value = given[f"sandbox_{knob.setting}"]
        if value is not None:
            values[knob.setting] = tuple(value.split(",")) if knob.name == "faults" else value
    kinds = {field.name: str(field.type) for field in fields(SandboxSettings)}
    for setting in given["sandbox_set"]:
        name, equals, text = setting.partition("=")
        if not equals or name not in kinds:
            known = ", ".join(sorted(kinds))
            raise UsageError(f"{setting!r} is no setting of the sandbox, NAME=VALUE with one of: {known}")
        values[name] = _typed(kinds[name], name, text)
    for name, value in values.items():
        if value != value:  # NaN, which passes every check of a range
            raise UsageError(f"the sandbox: {name} must be a number")
    try:
        return SandboxSettings(**values)
    except ValueError as error:
        raise UsageError(f"the sandbox: {error}") from error


def _typed(kind: str, name: str, text: str) -> object:
    try:
        if kind.startswith(("int", "float")):
            return float(text) if kind.startswith("float") else int(text)
        if kind.startswith("bool"):
            return _BOOLEANS[text.lower()]
        if kind.startswith(("tuple", "frozenset")):
            parts = text.split(",")
            return frozenset(parts) if kind.startswith("frozenset") else tuple(parts)
        if kind.startswith("Mapping"):
            if text.startswith("{"):
                raise ValueError("JSON would be split at its commas")
            pairs = (pair.split(":", 1) for pair in text.split(","))
            value_of: type[int | float | str] = int if "int]" in kind else float if "float]" in kind else str
            return {int(key) if "Mapping[int" in kind else key: value_of(value) for key, value in pairs}
    except (KeyError, ValueError) as error:
        form = "KEY:VALUE,KEY:VALUE" if kind.startswith("Mapping") else kind
        raise UsageError(f"{text!r} is no value for the sandbox's {name} ({form})") from error
    return text


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 90, 1.5m, 2h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        # Numbers come from defaults and from a config file.
        match = _DURATION.fullmatch(str(value).strip().lower())
        seconds = float(match.group(1)) * _UNITS_S[match.group(2)] if match else 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is no duration; give seconds, or 90s, 15m, 2h", param, ctx)
        return seconds


class AnyOf(click.ParamType[tuple[str, ...]]):
    """One or more of a few words, separated by commas; `short` are other spellings for some."""

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
        """The words that the last one may become, after those that are there."""
        before, comma, begun = incomplete.rpartition(",")
        return [CompletionItem(before + comma + word) for word in self._words if word.startswith(begun)]
