"""The command `venice-batch`: which subcommand runs, and what becomes of its errors."""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch._version import __version__
from venice_batch.cli.options import WORDS
from venice_batch.errors import ExitCode, JobsFileError, VeniceBatchError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "run",
    "check": "check",
    "expand": "expand",
    "schema": "schema",
    "models": "listings",
    "styles": "listings",
    "limits": "listings",
    "report": "report",
    "jobs-from": "jobs_from",
    "export": "export",
    "merge": "merge",
    "sandbox": "sandbox",
    "config": "config",
    "completion": "completion",
}
"""Each subcommand's module in this package."""

EXAMPLES = (
    ("venice-batch jobs.jsonl --sandbox", "Try it: no key, no cost."),
    ("venice-batch check jobs.jsonl", "Every line checked and priced."),
    ("venice-batch jobs.jsonl --max-cost 5", "Make what is missing in output/jobs, for 5 USD at most."),
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
        command = getattr(import_module(f"venice_batch.cli.{COMMANDS[cmd_name]}"), cmd_name.replace("-", "_"))
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Commands and what may stand in their place: the jobs file and the options of `run`."""
        run = self.get_command(ctx, "run")
        assert run is not None  # noqa: S101 - told to the type checker
        with click.Context(run, info_name="run", parent=ctx, resilient_parsing=True) as inner:
            options = run.shell_complete(inner, incomplete)
            jobs = run.params[0].shell_complete(inner, incomplete) if not incomplete.startswith("-") else []
        return [*super().shell_complete(ctx, incomplete), *options, *jobs]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = tuple(args)
        # `venice-batch -c 4 jobs.jsonl`: an option that is not the group's own belongs to `run`.
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help", "--version"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=DefaultToRun,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "VENICE_BATCH"},
    epilog="`venice-batch JOBS` is short for `venice-batch run JOBS`.\n\n\b\nExamples:\n"
    + "\n".join(f"  {example:38}{told}" for example, told in EXAMPLES),
)
@click.version_option(__version__, package_name="venice-batch", message="%(prog)s %(version)s")
def cli() -> None:
    """Make every image that a file of prompts asks for, once, within the Venice API's limits."""


def run_cli(args: list[str] | None = None) -> int:
    """Run the command line `args` (default: the process's own); returns the exit code, prints errors."""
    try:
        return _run(args)
    except OSError as error:
        # Most likely standard output or standard error, closed or full: there may be nobody to be told.
        with contextlib.suppress(OSError):
            click.echo(f"venice-batch: {error}", err=True)
        return int(ExitCode.FOLDER_UNUSABLE)


def _run(args: list[str] | None) -> int:
    if instruction := os.environ.get("_VENICE_BATCH_COMPLETE"):
        from venice_batch.cli.completion import answer

        return answer(instruction)
    try:
        code = cli.main(args, prog_name="venice-batch", standalone_mode=False)
        return int(code or 0)
    except JobsFileError as error:
        click.echo(str(error), err=True)
        more = error.total - len(error.problems)
        counted = f"{error.total} problems" if error.total > 1 else "1 problem"
        shown = f" (the first {len(error.problems)} are shown)" if more else ""
        click.echo(f"venice-batch: {counted}{shown}; nothing was sent{_mistyped(error)}", err=True)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from venice_batch.ci import github

            for line in github.of_problems(error.problems, os.environ):
                click.echo(line, err=True)
        return int(error.exit_code)
    except VeniceBatchError as error:
        click.echo(f"venice-batch: {error}", err=True)
        return int(error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return int(ExitCode.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return int(ExitCode.INVALID)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "venice-batch"
        click.echo(f"venice-batch: {error.format_message()} (see: {command} --help)", err=True)
        return int(ExitCode.INVALID)
    except KeyboardInterrupt:
        return int(ExitCode.SIGINT)
    except SystemExit:
        # Without its standalone mode click exits for one reason only: the reader (`| head`) has gone.
        return 128 + signal.SIGPIPE


def _mistyped(error: JobsFileError) -> str:
    name = error.problems[0].source if error.problems else ""
    if Path(name).exists() or error.problems[0].line:
        return ""
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f" (was the command `{close[0]}` meant?)" if close else ""


def main() -> None:
    """The entry point of the installed command."""
    sys.exit(run_cli())
