"""`--on-finish`: run a shell command with the run's result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.key import VARIABLE as KEY
from venice_batch.errors import HookError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from venice_batch.model import Summary

PATIENCE_S = 300.0
"""Seconds that the command may take: cron's next run waits for this one."""

_WITHHELD = (KEY, "VENICE_BATCH_ON_FINISH")
"""Variables that the command does not get: the key, and itself, as it may start a run."""


def on_finish(command: str, summary: Summary, output: Path, *, patience_s: float = PATIENCE_S) -> None:
    """Run `command` in the shell with the summary's JSON on its standard input, and wait for it.

    Its output goes to standard error, as standard output is the run's own. It has its own process group, which is
    killed after `patience_s` seconds or when this process is interrupted.

    Raises:
        HookError: it ended with a status other than 0, or not in time.
    """
    process = subprocess.Popen(  # noqa: S602 - the user's own command line, as in a crontab
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if sys.stderr is None else 2,
        env=environment(summary, output, os.environ),
        start_new_session=True,
    )
    try:
        process.communicate(msgspec.json.encode(summary) + b"\n", timeout=patience_s)
    except subprocess.TimeoutExpired:
        raise HookError(f"the command was stopped after {patience_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:  # Windows has no process groups: what the command has started goes on
                    process.kill()
            process.wait()
    if process.returncode < 0:
        raise HookError(f"the command was ended by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise HookError(f"the command ended with exit status {process.returncode}")


def environment(summary: Summary, output: Path, own: Mapping[str, str]) -> dict[str, str]:
    """Return the command's variables: `own` without the key, and the run's result."""
    kept = {name: value for name, value in own.items() if name not in _WITHHELD}
    return {
        **kept,
        "VENICE_BATCH_EXIT_CODE": str(summary.exit_code),
        "VENICE_BATCH_RUN_ID": summary.run_id,
        "VENICE_BATCH_FOLDER": str(output.absolute()),
        "VENICE_BATCH_REASON": summary.reason or "",
    }
