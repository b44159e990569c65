"""The command `venice-batch` as a program: its arguments in, an exit code out, errors told in a line."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from venice_batch import portable
from venice_batch.cli.commands import COMMANDS, cli
from venice_batch.cli.text import unwritten
from venice_batch.errors import ExitCode, JobsFileError, VeniceBatchError, one_line
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


_READER_GONE = 128 + 13
"""What a shell reports of a program that SIGPIPE has ended."""


def run_cli(args: list[str] | None = None) -> int:
    """Run the command line `args` (default: the process's own); returns the exit code, prints errors."""
    with _readable_output():
        return _guarded(sys.argv[1:] if args is None else args)


@contextlib.contextmanager
def _readable_output() -> Iterator[None]:
    """Have letters that the locale lacks, and bytes that are no text, printed as a question mark, not raised."""
    stream = sys.stdout
    errors = getattr(stream, "errors", None)
    if errors != "strict" or not isinstance(stream, io.TextIOWrapper):
        yield
        return
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):  # full, or closed
            stream.reconfigure(errors=errors)


def _guarded(args: list[str]) -> int:
    try:
        return _run(args)
    except UnicodeEncodeError as error:
        what = f"{error.object!r} cannot be a file's name under this locale ({error.encoding})"
        click.echo(one_line(f"venice-batch: {what}; set LC_ALL=C.UTF-8"), err=True)
        return int(ExitCode.INVALID)
    except OSError as error:
        # Standard error may be closed or full as well: there may be nobody to be told.
        with contextlib.suppress(OSError):
            click.echo(f"venice-batch: {unwritten(error)}", err=True)
        return int(ExitCode.FOLDER_UNUSABLE)


def _run(args: list[str]) -> int:
    if any("\0" in arg for arg in args):
        click.echo("venice-batch: an argument holds a NUL character, which no path and no option has", err=True)
        return int(ExitCode.INVALID)
    if instruction := os.environ.get("_VENICE_BATCH_COMPLETE"):
        from venice_batch.cli.completion import answer

        return answer(instruction)
    try:
        code = cli.main(args, prog_name="venice-batch", standalone_mode=False)
        return int(code or 0)
    except JobsFileError as error:
        click.echo(str(error), err=True)
        more = error.total - len(error.problems)
        shown = f" (the first {len(error.problems)} are shown)" if more else ""
        click.echo(
            f"venice-batch: {counted(error.total, 'problem')}{shown}; nothing was {error.undone}{_mistyped(error)}",
            err=True,
        )
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from venice_batch.report import github

            for line in github.problem_annotations(error.problems, os.environ):
                click.echo(line, err=True)
        return int(error.exit_code)
    except VeniceBatchError as error:
        click.echo(one_line(f"venice-batch: {error}"), err=True)
        return int(error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return int(ExitCode.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return int(ExitCode.INVALID)
    except click.ClickException as error:
        click.echo(one_line(f"venice-batch: {_told(error)}"), err=True)
        return int(ExitCode.INVALID)
    except KeyboardInterrupt:
        return int(ExitCode.SIGINT)
    except SystemExit:
        # Without its standalone mode click exits for one reason only: the reader (`| head`) has gone.
        return _READER_GONE


def _told(error: click.ClickException) -> str:
    """What click found wrong, as every other message here is: one line, what is at fault first."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and error.param:
        name = (
            max(error.param.opts, key=len) if isinstance(error.param, click.Option) else error.param.human_readable_name
        )
        message = f"{name}: {error.message.rstrip('.')}"
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "venice-batch"
    return f"{message} (see: {command} --help)"


def _mistyped(error: JobsFileError) -> str:
    name = error.problems[0].source if error.problems else ""
    if Path(name).exists() or error.problems[0].line:
        return ""
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f" (was the command `{close[0]}` meant?)" if close else ""


def main() -> None:
    """The entry point of the installed command.

    Outside of a run's sending, which has its own way, the first signal ends it at once, whatever it is at: SIGTERM and
    SIGHUP as Ctrl-C does, with their own code. What it was about to write is cleared away.
    """
    ends = []

    def end(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            ends.append(number)
        raise KeyboardInterrupt

    # SIGINT too: in place of Python's own handler an event loop sets one that only cancels what runs, and that is heard
    # no sooner than it waits for something.
    for number in portable.TERMINATION_SIGNALS:
        # nohup has SIGHUP ignored, a shell SIGINT for a job in the background
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        if hasattr(signal, "pthread_sigmask"):  # held back while all this was imported
            signal.pthread_sigmask(signal.SIG_UNBLOCK, portable.TERMINATION_SIGNALS)
        code = run_cli()
    except KeyboardInterrupt:
        code = int(ExitCode.SIGINT)
    for number in portable.TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # what the run came to is settled
    code = int(ExitCode.SIGTERM) if ends and code == ExitCode.SIGINT else code
    disk = sys.modules.get("venice_batch.output.disk")
    if disk is not None and disk.has_blocked_threads():
        # Python would wait for them, perhaps for ever.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
