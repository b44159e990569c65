"""The command `venice-batch` as a group: which subcommands there are, which one is meant."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from venice_batch._version import __version__
from venice_batch.cli.command import CONTEXT
from venice_batch.cli.options import WORDS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """A subcommand's module in this package, and what it does in a few words."""

    module: str
    told: str


HEADINGS = {
    "Make images": {
        "run": Entry("run", "Make the images of a jobs file that are missing yet."),
        "check": Entry("check", "Check and price every line; send nothing that costs."),
        "expand": Entry("expand", "Write every job as a line of its own."),
        "schema": Entry("schema", "Write the JSON Schema of a job, for editors."),
    },
    "Look at what was made": {
        "report": Entry("report", "Sum up an output folder; make its gallery."),
        "export": Entry("export", "Write its records as CSV, Parquet or OpenAI batch files."),
        "jobs-from": Entry("jobs_from", "Write its jobs as a jobs file, to redo or change them."),
        "merge": Entry("merge", "Join output folders into one."),
    },
    "Ask the API": {
        "models": Entry("models", "List the image models: price, sizes, limits, traits."),
        "styles": Entry("models", "List the style presets."),
        "limits": Entry("limits", "Show the key's balance and rate limits."),
    },
    "Set it up": {
        "config": Entry("config", "Show every setting and where it comes from."),
        "trust": Entry("trust", "Let a project's settings file name the API's server."),
        "completion": Entry("completion", "Print what makes bash, zsh or fish complete."),
        "sandbox": Entry("sandbox", "Serve a stand-in for the API: free, local, no AI."),
    },
}
"""The subcommands as `--help` has them, which imports none of their modules."""

COMMANDS = {name: entry for entries in HEADINGS.values() for name, entry in entries.items()}

EXAMPLES = (
    ("venice-batch jobs.jsonl --sandbox", "Try it: no key, no cost."),
    ("venice-batch check jobs.jsonl", "Every line checked and priced."),
    ("venice-batch jobs.jsonl --max-cost 5", "Make what is missing, for 5 USD at most."),
    ("venice-batch report output/jobs", "How it went."),
)
"""Commands and what they are for, as `--help` and the manual page show them."""


class DefaultToRun(click.Group):
    """A group that takes what is no subcommand for the jobs file of `run`, and loads subcommands when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"venice_batch.cli.{COMMANDS[cmd_name].module}"), cmd_name.replace("-", "_"))
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close and len(args) > 1 and not args[1].startswith("-") and not Path(args[0]).exists():
                raise click.UsageError(f"no such command {args[0]!r}; was {close[0]!r} meant?", ctx)
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands under their headings, in columns that are the same for all."""
        width = max(map(len, COMMANDS))
        for heading, entries in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), entry.told) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Commands and what may stand in their place: the jobs file and the options of `run`."""
        from click.shell_completion import CompletionItem

        run = self.get_command(ctx, "run")
        assert run is not None  # noqa: S101 - told to the type checker
        with click.Context(run, info_name="run", parent=ctx, resilient_parsing=True) as inner:
            options = run.shell_complete(inner, incomplete)
            jobs = run.params[0].shell_complete(inner, incomplete) if not incomplete.startswith("-") else []
        own = click.Command.shell_complete(self, ctx, incomplete)
        named = [
            CompletionItem(name, help=entry.told) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*named, *own, *options, *jobs]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = tuple(args)
        # `venice-batch -c 4 jobs.jsonl`: an option that is not the group's own belongs to `run`.
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help", "--version"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=DefaultToRun,
    context_settings=CONTEXT,
    subcommand_metavar="JOBS | COMMAND …",
    epilog="`venice-batch JOBS` is short for `venice-batch run JOBS`.\n\n\b\nExamples:\n"
    + "\n".join(f"  {example:38}{told}" for example, told in EXAMPLES),
)
@click.version_option(__version__, package_name="venice-batch", message="%(prog)s %(version)s")
def cli() -> None:
    """Make every image that a file of prompts asks for, once, within the Venice API's limits."""
