"""Options that several commands share, with their shell completion. Completion never uses the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from venice_batch.cli import column_options, settings
from venice_batch.cli.env import environment
from venice_batch.cli.folders import AnyFolder, FolderToWrite
from venice_batch.cli.parameters import Caps, Decorator, Folder, Share, Target, WholeNumber, group, option, stronger
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from venice_batch.catalogue import Listing
    from venice_batch.jobfile import Defaults, JobIndex, Part, Source

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


def complete_group_fields(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the last of the fields by which records are grouped."""
    from venice_batch.report.group_fields import field_names

    before, comma, begun = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in field_names() if name.startswith(begun)]


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
    type=FolderToWrite(),
    metavar="DIR",
    shell_complete=complete_folders,
    show_default="output/<name of JOBS>",
    help="Folder for images and manifest, or s3://BUCKET/PREFIX, az://…, gs://…; {date} is the day (UTC).",
)
bucket = group(
    option(
        "--scratch",
        type=Folder(path_type=Path),
        metavar="DIR",
        shell_complete=complete_folders,
        show_default="the system's folder for temporary files",
        help="With a bucket, keep what is under way in a temporary folder in DIR.",
    ),
    option(
        "--bucket-without-lock",
        is_flag=True,
        help="Use a store that ignores conditions, although nothing keeps two runs apart there.",
    ),
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
    type=WholeNumber(min=1),
    help="Ask each model for at most N images a minute, even if the API allows more.",
)
share = option(
    "--share",
    type=WholeNumber(min=1),
    default=1,
    show_default=True,
    help="Use 1/N of the account's quotas, for N runs that do not see each other, such as shards.",
)
pace = group(rpm, share)
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
    column_options.columns,
    option("--shard", type=Share(), help="Take only share I of N of the jobs; a job's id decides its share."),
    option(
        "--id",
        "ids",
        multiple=True,
        metavar="PATTERN",
        help="Take only jobs whose id or image's name matches, as in sea-*; repeatable.",
    ),
    option(
        "--sample",
        type=WholeNumber(min=1),
        help="Take only N jobs, chosen at random; the same ones in every run.",
    ),
    option("--seed", type=WholeNumber(min=0), default=None, help="Let --sample choose others."),
    option("--limit", type=WholeNumber(min=1), help="Take only the first N jobs."),
    default_fields,
    option(
        "--matrix",
        multiple=True,
        in_files=False,
        metavar="FIELD=A,B,C",
        help="Make one job for each of these values of every job that lacks FIELD; several FIELDs: each combination.",
        shell_complete=complete_job_fields,
    ),
    option(
        "--var",
        "variables",
        multiple=True,
        in_files=False,
        metavar="NAME=A,B,C",
        help="Put each of these values in place of {NAME} in prompts; NAME=@FILE reads one a line.",
    ),
    option(
        "--seed-policy",
        type=click.Choice(["keep", "pin", "split"]),
        default="keep",
        show_default=True,
        help="pin: give each job without a seed its own, the same in every run, so that the image can be made again. "
        "split: also make each of several variants a job with its own seed.",
    ),
)
reuse = option(
    "--reuse",
    multiple=True,
    type=AnyFolder(),
    metavar="DIR",
    shell_complete=complete_folders,
    help="Take images that the output folder DIR has of the same request instead of buying them; repeatable.",
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


LAYOUTS = ("geneval", "t2i-compbench", "hpsv2", "unigenbench", "dpg-grid", "flat")
"""The names of the layouts in `report.export.layouts`, which would slow down `--help`."""


def layout(what: str) -> Decorator:
    """Return the option `--layout` of a command that writes the tree of a scorer; `what` is its help."""
    return option("--layout", type=click.Choice(LAYOUTS), help=what)


def job_defaults(given: Mapping[str, Any]) -> Defaults:
    """Return the fields that every job gets, the weakest first: of a prompt set, of `[defaults]`, of `--set`.

    `given` holds a command's options; `seed_policy` and `allow_unknown` may be missing.

    Raises:
        UsageError: a field or a value is wrong.
    """
    from venice_batch.jobfile import Defaults
    from venice_batch.jobfile.variables import parse_matrix, parse_variables

    allow_unknown = given.get("allow_unknown", False)
    values: dict[str, Any] = {}
    models: dict[str, dict[str, Any]] = {}
    lists: dict[str, dict[str, Any]] = {"matrix": {}, "vars": {}}
    own = Defaults.of(given["settings"], given.get("seed_policy", "keep"), allow_unknown=allow_unknown)
    matrix = parse_matrix(given.get("matrix", ()), allow_unknown=allow_unknown)
    if both := sorted(own.values.keys() & matrix):
        raise UsageError(f"--set and --matrix both name {', '.join(both)}")
    if (chosen := column_options.chosen_set(given)) is not None:
        values |= {name: value for name, value in chosen.values.items() if name not in matrix}
    for keys, value in settings.job_values(allow_unknown=allow_unknown).items():
        name = keys[-1]
        if len(keys) == 1:
            values[name] = value
        elif keys[0] == "vars" or name not in own.values:  # --set is stronger than any file
            (models.setdefault(keys[1], {}) if keys[0] == "model" else lists[keys[0]])[name] = value
    return Defaults(
        {**values, **own.values},
        own.seeds,
        allow_unknown,
        models,
        {**lists["matrix"], **matrix},
        {**lists["vars"], **parse_variables(given.get("variables", ()))},
        part(given).seed if given.get("sample") else None,
    )


def part(given: Mapping[str, Any]) -> Part:
    """Return the part of the jobs that the options ask for. Raises UsageError."""
    from venice_batch.jobfile import Part

    if given["seed"] is not None and given["sample"] is None:
        raise UsageError("--seed chooses the jobs of --sample; to give the images a seed, use --set seed=N")
    return Part(given["ids"], given["sample"], given["seed"] or 0, given["limit"])


def refuse_unused(index: JobIndex, given: Mapping[str, Any]) -> None:
    """Raise UsageError for a variable of `--var` that no prompt names; one of a settings file may be for others."""
    named = [setting.partition("=")[0].strip() for setting in given["variables"]]
    if unused := [name for name in index.unused_variables if name in named]:
        raise UsageError(f"--var {unused[0]}: no prompt has {{{unused[0]}}}; nothing was sent")


def show_notices(source: Source) -> None:
    """Write what the user should know about the jobs file on standard error."""
    for text in source.notices:
        environment().messages.notice(text)


def show_part(index: JobIndex, chosen: Part) -> None:
    """Write how many jobs a part leaves out on standard error."""
    if chosen:
        from venice_batch.text_format import counted

        text = f"{chosen.text}: {len(index):,} of {counted(len(index) + index.left_out, 'job')}"
        environment().messages.notice(f"{text}; the others stay as they are")


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
