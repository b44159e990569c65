"""Options that several commands share, with their shell completion. Completion never uses the network."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from venice_batch.cli import settings
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import Caps, Decorator, Folder, Share, Target, group, option, stronger
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from venice_batch.catalogue import Listing
    from venice_batch.jobfile import Defaults
    from venice_batch.sandbox import SandboxSettings

WORDS = "venice_batch.words"
"""Key of a context's `meta` that holds the program's arguments."""

VENICE = "https://api.venice.ai/api/v1"
"""The default address of the API."""

Items = list[CompletionItem[str]]


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Have the shell complete files."""
    return [CompletionItem(incomplete, type="file")]


def complete_folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Have the shell complete folders."""
    return [CompletionItem(incomplete, type="dir")]


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete models from the cached list, or else the packaged one."""
    return _starting(incomplete, _models(ctx))


def complete_job_fields(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete `FIELD=`, then the value where the field has only a few."""
    from venice_batch.jobfile.defaults import ALL_FIELDS
    from venice_batch.jobfile.request_check import few_values

    field, equals, _ = incomplete.partition("=")
    if not equals:
        return _starting(incomplete, (f"{name}=" for name in sorted(ALL_FIELDS)))
    if field == "model":
        values: Iterable[str] = _models(ctx)
    elif field == "style_preset":
        listing = _listing(ctx)
        values = (listing.styles if listing else None) or ()
    else:
        values = few_values(field)
    return _starting(incomplete, (f"{field}={value}" for value in values))


def _starting(incomplete: str, words: Iterable[str]) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _models(ctx: click.Context) -> list[str]:
    listing = _listing(ctx)
    return [] if listing is None else list(listing.catalogue(environment(ctx).now()).models)


def _listing(ctx: click.Context) -> Listing | None:
    from venice_batch.catalogue import Cache, at_hand

    address: Any = ctx.params.get("base_url") or VENICE
    return at_hand(address, Cache.of_user(), now_unix_s=environment(ctx).now()).listing


jobs_file = click.argument("jobs", shell_complete=complete_files)
output = option(
    "-o",
    "--output",
    type=Folder(path_type=Path),
    metavar="DIR",
    shell_complete=complete_folders,
    show_default="output/<name of JOBS>",
    help="Folder for images and manifest; {date} is the day (UTC).",
)


def _without_password(ctx: click.Context, param: click.Parameter, address: str) -> str:
    # Refused before any message can show the address. The client is slow to import: only if there may be a password.
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
    help="Address of the API.",
)
api_key_file = option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the API key from FILE instead of VENICE_API_KEY.",
)
use_sandbox = option(
    "--sandbox", is_flag=True, help="Use a sandbox in this process instead of the API: free, local, drawn images."
)
server = group(base_url, api_key_file, use_sandbox)
rpm = option(
    "--rpm",
    type=click.IntRange(min=1),
    help="Ask each model for at most N images a minute, even if the API allows more.",
)
budget = group(
    option(
        "--max-cost-per",
        type=Caps(),
        metavar="WINDOW=USD,…",
        help="Never spend more in a day, week or month (UTC), over all runs with the same --budget-file; exit 4.",
    ),
    option(
        "--budget-file",
        type=Target(path_type=Path),
        metavar="FILE",
        help="Write down in FILE what each request costs; all runs of a budget share one.",
    ),
)
default_fields = option(
    "--set",
    "settings",
    multiple=True,
    in_files=False,
    metavar="FIELD=VALUE",
    help="Give every job that lacks FIELD this value.",
    shell_complete=complete_job_fields,
)
which_jobs = group(
    option("--shard", type=Share(), help="Take only share I of N of the jobs; a job's id decides its share."),
    default_fields,
    option(
        "--seed-policy",
        type=click.Choice(["keep", "pin", "split"]),
        default="keep",
        show_default=True,
        help="pin: give each job without a seed its own, the same in every run, so that the image can be made again. "
        "split: also make each of several variants a job with its own seed.",
    ),
)
allow_unknown = option(
    "--allow-unknown",
    is_flag=True,
    help="Send fields, values and models that this version or the list does not know as written, with a warning.",
)
checks = group(
    allow_unknown,
    option("--strict", is_flag=True, help="Treat warnings as errors."),
    option("--offline", is_flag=True, help="Stay offline: check with the cached list of models, or the packaged one."),
)
frozen = option(
    "--frozen",
    type=click.Path(path_type=Path),
    metavar="FILE",
    shell_complete=complete_files,
    help="Refuse jobs whose prices, models or limits are worse than in FILE, from `check --freeze`; exit 2.",
)
log_format = option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Write messages as lines for people, or as one JSON object a line; with json, nothing else is printed.",
)


def prints_json(what: str) -> Decorator:
    """Return the option `--json` of a command that prints `what` with it; an error is always one object."""
    return option("--json", "as_json", is_flag=True, help=f"Print {what} on standard output, and nothing else there.")


as_json = prints_json("one JSON object")


def job_defaults(given: Mapping[str, Any]) -> Defaults:
    """Return the fields that every job gets: those of `[defaults]` in the settings files, then those of `--set`.

    `given` holds a command's options; `seed_policy` and `allow_unknown` may be missing.

    Raises:
        UsageError: a field or a value is wrong.
    """
    from venice_batch.jobfile import Defaults

    allow_unknown = given.get("allow_unknown", False)
    of_files = settings.job_fields(allow_unknown=allow_unknown)
    found = Defaults.of(given["settings"], given.get("seed_policy", "keep"), allow_unknown=allow_unknown)
    return Defaults({**of_files, **found.values}, found.seeds, allow_unknown)


def is_sandbox(given: Mapping[str, Any]) -> bool:
    """Return whether the run uses a sandbox, or a server on this machine that may be one.

    Only then do images that a sandbox made before count as done.

    Raises:
        UsageError: both `--sandbox` and an address are given.
    """
    from venice_batch.catalogue.listing import is_local

    if given["sandbox"] and given["base_url"] != VENICE:
        raise UsageError("--sandbox and --base-url name two servers; give one of them")
    return given["sandbox"] or is_local(given["base_url"])


def settle_server(ctx: click.Context) -> None:
    """If both `--sandbox` and `--base-url` are given, drop the one from the weaker source.

    `--sandbox` on the command line then overrides an address in a settings file.
    """
    if not (ctx.params.get("sandbox") and "base_url" in ctx.params):
        return
    kept = stronger(ctx, "sandbox", "base_url")
    if kept == "sandbox":
        ctx.params["base_url"] = VENICE
    elif kept == "base_url":
        ctx.params["sandbox"] = False


@dataclass(frozen=True, slots=True)
class _SandboxOption:
    """A setting of the sandbox that has an option of its own; `field` is its name in SandboxSettings."""

    name: str
    field: str
    kind: click.ParamType[Any]
    help: str


_SANDBOX_OPTIONS = (
    _SandboxOption("rpm", "rpm", click.IntRange(min=0), "Allow N images a minute for each model; 0: no limit."),
    _SandboxOption("latency", "latency_s", click.FloatRange(min=0), "Take X seconds to make an image."),
    _SandboxOption("speed", "speed", click.FloatRange(min=0.001), "Divide minutes and latencies by X."),
    _SandboxOption(
        "capacity", "capacity", click.IntRange(min=0), "Make N images of a model at a time, else 503; 0: no limit."
    ),
    _SandboxOption("fault-rate", "fault_rate", click.FloatRange(0, 1), "Make this share of the requests fail."),
    _SandboxOption("faults", "fault_kinds", click.STRING, "Fail in these ways, separated by commas (500,reset-mid,…)."),
    _SandboxOption("balance", "balance_usd", click.FloatRange(min=0), "Answer 402 after X USD."),
    _SandboxOption("draw", "draw", click.Choice(["art", "plain"]), "Draw pictures, or flat colours at high speed."),
)


def sandbox_options(prefix: str = "") -> Decorator:
    """Return the sandbox's settings as options `--<prefix>rpm` and so on; `sandbox_settings` reads them."""
    own = (
        option(f"--{prefix}{one.name}", f"sandbox_{one.field}", type=one.kind, default=None, help=one.help)
        for one in _SANDBOX_OPTIONS
    )
    return group(
        *own,
        option(
            f"--{prefix}set",
            "sandbox_set",
            multiple=True,
            metavar="NAME=VALUE",
            help="Change any other setting, named as in SandboxSettings.",
        ),
    )


def sandbox_settings(given: Mapping[str, Any]) -> SandboxSettings:
    """Return the sandbox's settings from the options in `given`; the others keep their defaults.

    Raises:
        UsageError: a setting is unknown, or cannot have this value.
    """
    from venice_batch.sandbox import SandboxSettings

    values: dict[str, Any] = {}
    for one in _SANDBOX_OPTIONS:
        value = given[f"sandbox_{one.field}"]
        if value is not None:
            values[one.field] = tuple(value.split(",")) if one.name == "faults" else value
    kinds = {field.name: str(field.type) for field in fields(SandboxSettings)}
    for setting in given["sandbox_set"]:
        name, equals, text = setting.partition("=")
        if not equals or name not in kinds:
            known = ", ".join(sorted(kinds))
            raise UsageError(f"{setting!r} is not a setting of the sandbox; give NAME=VALUE with one of: {known}")
        values[name] = _typed(kinds[name], name, text)
    for name, value in values.items():
        if value != value:  # NaN passes every check of a range
            raise UsageError(f"the sandbox: {name} must be a number")
    try:
        return SandboxSettings(**values)
    except ValueError as error:
        raise UsageError(f"the sandbox: {error}") from error


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _typed(kind: str, name: str, text: str) -> object:
    """Return `text` as a value of the annotation `kind`. Raises UsageError."""
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
        raise UsageError(f"{text!r} is not a value for the sandbox's {name} ({form})") from error
    return text
