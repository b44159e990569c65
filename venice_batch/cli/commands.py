"""The command line in click's terms: the subcommands, their common options, and the group `venice-batch`."""

from __future__ import annotations

import difflib
import shlex
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from venice_batch._version import __version__
from venice_batch.cli import options, settings
from venice_batch.cli.config_file import is_trusted
from venice_batch.cli.env import environment
from venice_batch.cli.messages import InterruptedCommandError, asked_format
from venice_batch.cli.parameters import Option, is_bucket
from venice_batch.errors import ExitCode, JobsFileError, UsageError, VeniceBatchError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

OTHERS = "Other options"
"""Heading of the options that every command has."""

COLUMN = 30
"""Widest column of options in `--help`."""


class Command(click.Command):
    """A subcommand; settings files give its options' defaults, `--json` also its errors.

    `like` names another command: options that both have are read from that command's table too. `begins_run` gives its
    messages the id of a run, even if the run cannot begin.
    """

    def __init__(self, name: str | None, *, like: str = "", begins_run: bool = False, **attrs: Any) -> None:
        super().__init__(name, **attrs)
        self.like = like
        self.begins_run = begins_run
        for option in settings.settings_options():
            option.heading = OTHERS
            self.params.append(option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, then decide which server to use and in which format messages are."""
        is_json = "--json" in args  # click takes them out of the list
        messages = environment(ctx).messages
        takes_format = any(param.name == "log_format" for param in self.params) and not ctx.resilient_parsing
        if not takes_format:
            messages.settle(asked_format(args, {}))  # the variable is about other commands
        elif self.begins_run and messages.log is not None:
            messages.begin_run()
        try:
            left = super().parse_args(ctx, args)
            options.settle_server(ctx)
        except (click.UsageError, VeniceBatchError) as error:
            if takes_format and messages.log is None and (ctx.default_map or {}).get("log_format") == "json":
                messages.settle("json")
                if self.begins_run:
                    messages.begin_run()
            if is_json:
                _print_error(error)
            raise
        if takes_format:
            messages.settle(ctx.params["log_format"], quiet=ctx.params.get("quiet", False))
        return left

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as in click
        """Check where a settings file sends the key, then run the command."""
        try:
            if self.begins_run:
                environment(ctx).messages.begin_run()
            _check_server(ctx)
            _check_buckets(ctx)
            return super().invoke(ctx)
        except VeniceBatchError as error:
            if ctx.params.get("as_json"):
                _print_error(error)
            raise

    def sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Return the options as (how to write it, what it does) under their headings, as `--help` shows them."""
        found: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                heading = param.heading if isinstance(param, Option) else OTHERS  # click's own --help
                found.setdefault(heading or "Options", []).append(record)
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, all in columns of one width."""
        sections = self.sections(ctx)
        width = max(len(spec) for records in sections.values() for spec, _ in records if len(spec) <= COLUMN)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(spec.ljust(width), text) for spec, text in records], col_max=COLUMN)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Complete as click does; offer the `--no-` forms only after `--no`."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("--no"):
            return found
        negations = {name for param in self.params for name in param.secondary_opts}
        return [item for item in found if item.value not in negations]


def command(**attrs: Any) -> Callable[[Callable[..., int]], Command]:
    """Return a decorator that makes a function a subcommand; the function returns the exit code."""
    return click.command(cls=Command, context_settings=CONTEXT, **attrs)


def _check_server(ctx: click.Context) -> None:
    """Print which server a settings file sends the key to, unless `--quiet` or its variable is given.

    Raises:
        UsageError: the file is a project's, and the user has not consented to its server.
    """
    address = ctx.meta[settings.SETTLED].options.get("base_url")
    is_used = address and ctx.get_parameter_source("base_url") is ParameterSource.DEFAULT_MAP
    if not is_used or ctx.params["base_url"] != address.value or ctx.params.get("sandbox"):
        return
    shown = one_line(address.value)
    if address.file.is_project and address.value.rstrip("/") != options.VENICE and not is_trusted(address.file):
        consent = shlex.join(["venice-batch", "trust", str(address.file.path)])
        raise UsageError(f"{address.where}: the API key would go to {shown}; if that is right: {one_line(consent)}")
    if not ctx.params.get("quiet") or ctx.get_parameter_source("quiet") is ParameterSource.DEFAULT_MAP:
        environment(ctx).messages.notice(f"{address.where} sets the API's address to {shown}", level="info")


def _check_buckets(ctx: click.Context) -> None:
    """Refuse buckets of a project's file, and its consent to stores without locks, unless the user trusts the file.

    Raises:
        UsageError: the user has not consented.
    """
    for name, setting in ctx.meta[settings.SETTLED].options.items():
        is_used = ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
        if not is_used or not setting.file.is_project or is_trusted(setting.file):
            continue
        values = setting.value if isinstance(setting.value, list) else [setting.value]
        consent = one_line(shlex.join(["venice-batch", "trust", str(setting.file.path)]))
        if found := next(filter(is_bucket, values), None):
            what = f"your credentials would be used for {one_line(found)}"
            raise UsageError(f"{setting.where}: {what}; if that is right: {consent}")
        if name == "bucket_without_lock" and setting.value:
            what = "it accepts a bucket without a lock, where two runs can disturb each other"
            raise UsageError(f"{setting.where}: {what}; if that is right: {consent}")


def _print_error(error: VeniceBatchError | click.UsageError) -> None:
    """Print an error as JSON: `exit_code` and `reason` as in a run's summary, and the `problems` of a jobs file."""
    from venice_batch.cli.text import json_line

    found: dict[str, Any] = {"exit_code": int(ExitCode.INVALID), "reason": " ".join(str(error).split())}
    if isinstance(error, VeniceBatchError):
        found["exit_code"] = int(error.exit_code)
    if isinstance(error, JobsFileError):
        shown = [
            {"line": problem.line, "field": problem.field, "what": problem.what, "source": problem.source}
            for problem in error.problems
        ]
        found["problems"] = {"total": error.total, "shown": shown}
    click.echo(json_line(found))


class Entry(NamedTuple):
    """A subcommand's module in this package, and what it does in a few words."""

    module: str
    text: str


HEADINGS = {
    "Make images": {
        "run": Entry("run", "Make the images of a jobs file that are still missing."),
        "check": Entry("check", "Check and price every line; spend nothing."),
        "expand": Entry("expand", "Write every job as a line of its own."),
        "sets": Entry("sets", "List the published prompt sets that --from knows."),
        "schema": Entry("schema", "Write the JSON Schema of a job, for editors."),
    },
    "Look at the results": {
        "view": Entry("view", "Show an output folder as a live page; mark images by keyboard."),
        "report": Entry("report", "Sum up an output folder; make its gallery."),
        "annotate": Entry("annotate", "Give images the scores that other programs found."),
        "export": Entry("export", "Write its records as CSV, Parquet or OpenAI batch files."),
        "jobs-from": Entry("jobs_from", "Write its jobs as a jobs file, to redo or change them."),
        "prune": Entry("prune", "Move the images that you rejected out of the way."),
        "merge": Entry("merge", "Join output folders into one."),
    },
    "Ask the API": {
        "models": Entry("models", "List the image models: price, sizes, limits, traits."),
        "styles": Entry("models", "List the style presets."),
        "limits": Entry("limits", "Show the key's balance and rate limits."),
        "reconcile": Entry("reconcile", "Compare records with what the account was charged."),
    },
    "Set it up": {
        "config": Entry("config", "Show every setting and where it comes from."),
        "trust": Entry("trust", "Let a project's settings file choose the API's server."),
        "completion": Entry("completion", "Print the completion script for bash, zsh or fish."),
        "sandbox": Entry("sandbox", "Serve a stand-in for the API: free, local, drawn images."),
    },
}
"""The subcommands in the order of `--help`, which imports none of their modules."""

COMMANDS = {name: entry for entries in HEADINGS.values() for name, entry in entries.items()}

EXAMPLES = (
    ("venice-batch jobs.jsonl --sandbox", "Try it: no key, no cost."),
    ("venice-batch check jobs.jsonl", "Check and price every line."),
    ("venice-batch jobs.jsonl --max-cost 5", "Make the missing images for at most 5 USD."),
    ("venice-batch report output/jobs", "Show the results."),
)
"""Examples for `--help` and the manual page: a command, and what it is for."""


class DefaultToRun(click.Group):
    """The group `venice-batch`: `JOBS` is short for `run JOBS`, and a subcommand is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"venice_batch.cli.{COMMANDS[cmd_name].module}")
        found: Command = getattr(module, cmd_name.replace("-", "_"))
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close and len(args) > 1 and not args[1].startswith("-") and not Path(args[0]).exists():
                raise click.UsageError(f"no such command {args[0]!r}; did you mean {close[0]!r}?", ctx)
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as in click
        """Run the subcommand; a signal raises an error of our own, as click would print an empty line for it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedCommandError(error) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands under their headings, all in columns of one width."""
        width = max(map(len, COMMANDS))
        for heading, entries in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), entry.text) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Complete commands, and also the jobs file and the options of `run`, which may stand in their place."""
        from click.shell_completion import CompletionItem

        run = self.get_command(ctx, "run")
        assert run is not None  # noqa: S101 - for the type checker
        with click.Context(run, info_name="run", parent=ctx, resilient_parsing=True) as inner:
            of_run = run.shell_complete(inner, incomplete)
            jobs = run.params[0].shell_complete(inner, incomplete) if not incomplete.startswith("-") else []
        own = click.Command.shell_complete(self, ctx, incomplete)
        named = [
            CompletionItem(name, help=entry.text) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*named, *own, *of_run, *jobs]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[options.WORDS] = tuple(args)
        # `venice-batch -c 4 jobs.jsonl`: an option that the group does not have belongs to `run`.
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help", "--version"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=DefaultToRun,
    context_settings=CONTEXT,
    subcommand_metavar="JOBS | COMMAND …",
    epilog="`venice-batch JOBS` is short for `venice-batch run JOBS`.\n\n\b\nExamples:\n"
    + "\n".join(f"  {example:38}{text}" for example, text in EXAMPLES),
)
@click.version_option(__version__, package_name="venice-batch", message="%(prog)s %(version)s")
def cli() -> None:
    """Make every image that a file of prompts asks for, once, within the Venice API's limits."""
