"""The outside world of a command: streams, environment variables and the clock."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, TextIO

import click

from venice_batch.cli.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Environment:
    """Streams, variables and clock of one command; tests pass their own.

    `stdin`, `stdout` and `stderr` are None where nothing is connected. `environ` holds the options' variables and those
    of CI; libraries (`platformdirs`, aiohttp) read the process's own. `now` returns Unix seconds. `messages` writes
    what the command says besides its results.
    """

    stdin: TextIO | None
    stdout: TextIO | None
    stderr: TextIO | None
    environ: Mapping[str, str]
    now: Callable[[], float] = time.time
    messages: Messages = field(default_factory=Messages, compare=False)

    @classmethod
    def of_process(cls) -> Environment:
        """Return the process's own streams, variables and clock."""
        return cls(sys.stdin, sys.stdout, sys.stderr, os.environ)

    @property
    def stdin_bytes(self) -> BinaryIO | None:
        """Standard input as bytes; None where nothing is connected."""
        return getattr(self.stdin, "buffer", None)

    @property
    def stdout_bytes(self) -> BinaryIO | None:
        """Standard output as bytes; None where nothing is connected."""
        return getattr(self.stdout, "buffer", None)

    @property
    def can_ask(self) -> bool:
        """Whether a person at a terminal can answer a question."""
        return self.stdin is not None and self.stdin.isatty()

    @property
    def is_on_github(self) -> bool:
        """Whether the command runs in GitHub Actions, which reads commands from its output."""
        return self.environ.get("GITHUB_ACTIONS") == "true"

    @property
    def today(self) -> str:
        """The day in ISO 8601 (UTC), as `{date}` gives it in names."""
        return f"{datetime.fromtimestamp(self.now(), UTC):%Y-%m-%d}"

    @contextmanager
    def as_standard_streams(self) -> Iterator[None]:
        """Make these the process's streams for the duration of a block: click, rich and logging write there."""
        before = sys.stdin, sys.stdout, sys.stderr
        sys.stdin, sys.stdout, sys.stderr = self.stdin, self.stdout, self.stderr
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def environment(context: click.Context | None = None) -> Environment:
    """Return the environment of `context` (default: the running command), or else of the process."""
    context = context or click.get_current_context(silent=True)
    return (context and context.find_object(Environment)) or Environment.of_process()
