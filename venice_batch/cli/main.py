"""Run a command line in this process: arguments in, exit code out, every error as one line."""

from __future__ import annotations

import contextlib
import difflib
import io
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from venice_batch.cli.commands import COMMANDS, cli
from venice_batch.cli.env import Environment
from venice_batch.cli.messages import InterruptedCommandError, asked_format
from venice_batch.cli.text import unwritten
from venice_batch.errors import ExitCode, JobsFileError, VeniceBatchError
from venice_batch.mistakes import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator


_CRASHED = 1
"""Exit code of a program that Python ends with a traceback."""

_READER_GONE = 128 + 13
"""Exit code that a shell reports for a program ended by SIGPIPE."""


def main(args: list[str], env: Environment | None = None) -> int:
    """Run `venice-batch` with `args` in `env` (default: the process's own); print errors and return the exit code."""
    env = env or Environment.of_process()
    with env.as_standard_streams(), _any_text_printable(env.stdout), contextlib.closing(env.messages):
        try:
            return _run(args, env)
        except UnicodeEncodeError as error:
            what = f"{error.object!r} cannot be a file name under this locale ({error.encoding})"
            return env.messages.failed(f"{what}; set LC_ALL=C.UTF-8", ExitCode.INVALID)
        except OSError as error:
            with contextlib.suppress(OSError):  # standard error may be closed or full, too
                env.messages.failed(unwritten(error), ExitCode.FOLDER_UNUSABLE)
            return int(ExitCode.FOLDER_UNUSABLE)
        except Exception as error:
            if env.messages.log is None:
                raise
            env.messages.crashed(error)
            return _CRASHED


def _run(args: list[str], env: Environment) -> int:
    env.messages.settle(asked_format(args, env.environ), now=env.now)
    if any("\0" in arg for arg in args):
        return env.messages.failed(
            "an argument holds a NUL character, which no path or option can have", ExitCode.INVALID
        )
    if instruction := env.environ.get("_VENICE_BATCH_COMPLETE"):
        from venice_batch.cli.completion import answer

        return answer(cli, instruction)
    try:
        code = cli.main(args, prog_name="venice-batch", standalone_mode=False, obj=env)
        return int(code or 0)
    except JobsFileError as error:
        return _problems(error, env)
    except InterruptedCommandError as error:
        if env.messages.log is None:
            click.echo(err=True)  # ends the line on which the terminal has printed ^C
            return int(error.exit_code)
        return env.messages.failed(str(error), error.exit_code)
    except VeniceBatchError as error:
        return env.messages.failed(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return int(ExitCode.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return int(ExitCode.INVALID)
    except click.ClickException as error:
        return env.messages.failed(_message(error), ExitCode.INVALID)
    except SystemExit:
        # Outside its standalone mode click exits for one reason only: the reader (`| head`) has gone.
        return _READER_GONE


@contextlib.contextmanager
def _any_text_printable(stream: TextIO | None) -> Iterator[None]:
    """Print a question mark for letters that the locale lacks and for bytes that are not text, instead of failing."""
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


def _message(error: click.ClickException) -> str:
    """Return click's error as one line that begins with the option or argument at fault."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and error.param:
        name = (
            max(error.param.opts, key=len) if isinstance(error.param, click.Option) else error.param.human_readable_name
        )
        message = f"{name}: {error.message.rstrip('.')}"
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "venice-batch"
    return f"{message} (see: {command} --help)"


def _problems(error: JobsFileError, env: Environment) -> int:
    """Print the mistakes of a jobs file, their number, and on GitHub an annotation for each; return the exit code."""
    code = env.messages.problems(error, _hint(error))
    if env.is_on_github:
        from venice_batch.report import github

        for line in github.problem_annotations(error.distinct, env.environ, error.title):
            click.echo(line, err=True)
    return code


def _hint(error: JobsFileError) -> str:
    """Return a hint: the jobs file may be a published set, or the missing file a mistyped command; "" if neither."""
    if any(one.what.startswith(UNKNOWN) or one.mistake[1:] == ("prompt", "missing") for one in error.problems):
        from venice_batch.jobfile.sets import recognised

        found = recognised(error.columns)
        return f"; this may be a file of {found.name}: try --from {found.name}" if found is not None else ""
    name = error.problems[0].source if error.problems else ""
    if Path(name).exists() or error.problems[0].line:
        return ""
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f" (did you mean the command `{close[0]}`?)" if close else ""
