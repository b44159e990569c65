"""A command's messages on standard error: lines for people, or JSON objects (`--log-format json`)."""

from __future__ import annotations

import re
import shlex
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from venice_batch.errors import ExitCode, JobsFileError, VeniceBatchError, one_line
from venice_batch.mistakes import UNKNOWN
from venice_batch.output.originals import shown
from venice_batch.text_format import counted

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from venice_batch.cli.json_log import JsonWriter
    from venice_batch.errors import Problem
    from venice_batch.report.log_lines import Level

OPTION = "--log-format"
VARIABLE = "VENICE_BATCH_LOG_FORMAT"


def asked_format(args: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the format that a command line or its variable asks for, before click has parsed anything."""
    found = environ.get(VARIABLE, "text")
    for place, arg in enumerate(args):
        if arg == "--":
            break
        if arg == OPTION:
            found = args[place + 1] if place + 1 < len(args) else found
        elif arg.startswith(f"{OPTION}="):
            found = arg.partition("=")[2]
    return found


class Messages:
    """The messages of one command.

    `log` writes JSON lines; it is None while messages are lines for people. `run_id` is the id of the command's run, if
    it begins one.
    """

    def __init__(self) -> None:
        self.log: JsonWriter | None = None
        self.run_id: str | None = None
        self._now: Callable[[], float] = time.time
        self._redirected = ExitStack()

    def settle(self, log_format: str, *, quiet: bool = False, now: Callable[[], float] | None = None) -> None:
        """Write messages in this format from now on; with `quiet`, a JSON log keeps warnings and errors only.

        In a JSON log, what Python itself prints (warnings, records of `logging`, lost exceptions) is a line too, until
        `close`. `now` is the clock of the lines, in Unix seconds.
        """
        self.close()
        self._now = now or self._now
        if log_format == "json":
            from venice_batch.cli.json_log import JsonWriter

            self.log = JsonWriter(sys.stderr, quiet=quiet, run_id=self.run_id, wall=self._now)
            self._redirect()

    def begin_run(self) -> str:
        """Return the id of the command's run; make it first if need be."""
        if self.run_id is None:
            from venice_batch.run.run import new_run_id

            self.run_id = new_run_id()
            if self.log is not None:
                self.log.run_id = self.run_id
        return self.run_id

    def close(self) -> None:
        """Write no more JSON lines."""
        self.log = None
        self._redirected.close()

    def notice(self, text: str, *, level: Level = "warning") -> None:
        """Write one line, unless `text` is empty."""
        if not text:
            return
        text = shown(text)
        if self.log is None:
            click.echo(one_line(f"venice-batch: {text}"), err=True)
        else:
            from venice_batch.report.log_lines import NoticeLine

            self.log.write(NoticeLine(level=level, text=text))

    def failed(self, text: str, code: ExitCode) -> int:
        """Write why the command failed; return its exit code."""
        if self.log is None:
            click.echo(one_line(f"venice-batch: {text}"), err=True)
        else:
            from venice_batch.report.log_lines import CommandFailedLine

            self.log.write(CommandFailedLine(level="error", exit_code=int(code), kind=code.name.lower(), message=text))
        return int(code)

    def problems(self, error: JobsFileError, hint: str) -> int:
        """Write each different mistake of a jobs file and the number of all, with a hint; return the exit code."""
        shown = f" (the first {error.covered} are shown)" if error.covered < error.total else ""
        text = f"{counted(error.total, error.noun)}{shown}; nothing was {error.undone}{hint}"
        if self.log is None:
            click.echo("\n".join(f"{problem}{_remedy(problem, error.columns)}" for problem in error.distinct), err=True)
            click.echo(f"venice-batch: {text}", err=True)
            return int(error.exit_code)
        from venice_batch.report.log_lines import JobProblemLine

        for problem in error.distinct:
            line, field = problem.line or None, problem.field or None
            what = f"{problem.what}{_remedy(problem, error.columns)}"
            self.log.write(JobProblemLine(level="error", source=problem.source, line=line, field=field, what=what))
        return self.failed(text, error.exit_code)

    def crashed(self, error: BaseException) -> None:
        """Write a JSON line about a bug, with its stack trace."""
        if self.log is not None:
            import traceback

            from venice_batch.report.log_lines import CrashedLine

            trace = "".join(traceback.format_exception(error))
            self.log.write(CrashedLine(level="error", kind=type(error).__name__, message=str(error), stacktrace=trace))

    def _redirect(self) -> None:
        import logging
        import threading
        import warnings

        def warn(message: Warning | str, category: type[Warning], *args: Any, **more: Any) -> None:
            self.notice(f"{category.__name__}: {message}")

        def lost(unraised: Any) -> None:  # noqa: ANN401 - of `sys` or of `threading`
            if (error := getattr(unraised, "exc_value", None)) is not None:
                self.crashed(error)

        for module, name, new in (
            (warnings, "showwarning", warn),
            (sys, "unraisablehook", lost),
            (threading, "excepthook", lost),
        ):
            self._redirected.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, new)
        handler = _handler(self)
        logging.getLogger().addHandler(handler)
        self._redirected.callback(logging.getLogger().removeHandler, handler)


_PROMPTS = ("prompt", "caption", "text", "description")
"""Parts of names that columns of prompts have, the likeliest first."""

_ABOUT_PROMPTS = ("id", "index", "length", "type", "count")
"""Words in names of columns that say something about a prompt."""


def _remedy(problem: Problem, columns: Sequence[str] = ()) -> str:
    """Return the option that helps against the same mistake on many lines; "" if none does.

    `columns` are names in the file that are no fields.
    """
    what, _, where = problem.what.partition("missing")
    if not what and where:
        return _option_for(problem.field, columns)
    if problem.what.startswith(f"{UNKNOWN}s ") or problem.what.startswith(f"{UNKNOWN}; the same "):
        return "; add --unknown metadata to keep what is no field, or --allow-unknown to send it"
    if problem.field == "id" and " is a number; an id is text" in problem.what:
        return "; or add --map id=id"
    if "this line goes to" in problem.what and "; the same " in problem.what:
        return f"; to keep it as metadata: --map metadata.{problem.field}={problem.field}"
    return ""


def _option_for(field: str, columns: Sequence[str]) -> str:
    """Return the option that gives many lines the field that they lack."""
    from venice_batch.jobfile.defaults import ALL_FIELDS

    if field not in ALL_FIELDS:
        return ""
    if field == "prompt":
        named = [name for name in columns if not set(re.split(r"[\W_]+", name.lower())) & set(_ABOUT_PROMPTS)]
        likely = [name for part in _PROMPTS for name in named if part in name.lower()]
        if likely:
            return f"; add --map {shlex.quote(f'prompt={likely[0]}')}"
    return f"; add --set {field}={'NAME' if field == 'model' else 'VALUE'}"


def _handler(messages: Messages) -> logging.Handler:
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                messages.crashed(record.exc_info[1])
            else:
                level: Level = "error" if record.levelno >= logging.ERROR else "warning"
                messages.notice(f"{record.name}: {record.getMessage()}", level=level)

    return Handler(logging.WARNING)


class InterruptedCommandError(VeniceBatchError):
    """A signal has ended the command outside a run."""

    def __init__(self, error: KeyboardInterrupt) -> None:
        self.exit_code = error.args[0] if error.args else ExitCode.SIGINT
        super().__init__(f"stopped by {self.exit_code.name}")
