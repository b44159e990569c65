"""The program `venice-batch`, also as `python -m venice_batch`: signals in, exit code out."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from venice_batch.portable import TERMINATION_SIGNALS

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command with the process's arguments and exit with its code.

    While a run sends, it handles signals itself. At any other time the first signal ends the command at once, with the
    signal's exit code, and half-written files are removed.
    """
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)  # no signal interrupts an import
    from venice_batch.cli import main as cli
    from venice_batch.errors import ExitCode

    ends = []

    def end(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            ends.append(number)
        raise KeyboardInterrupt(ExitCode.SIGINT if number == signal.SIGINT else ExitCode.SIGTERM)

    # SIGINT too: an event loop replaces Python's own handler with one that only cancels, which has no effect before
    # something awaits.
    for number in TERMINATION_SIGNALS:
        # nohup has SIGHUP ignored, a shell SIGINT for a job in the background.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINATION_SIGNALS)
        code = cli.main(sys.argv[1:])
    except KeyboardInterrupt:
        code = int(ExitCode.SIGINT)
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the result stands
    code = int(ExitCode.SIGTERM) if ends and code == ExitCode.SIGINT else code
    disk = sys.modules.get("venice_batch.output.disk")
    if disk is not None and disk.has_blocked_threads():
        # Python would wait for them, perhaps forever.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
