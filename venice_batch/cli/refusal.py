"""An error that keeps a command from its work, as the one object of `--json`."""

from __future__ import annotations

from typing import Any

import click

from venice_batch.errors import ExitCode, JobsFileError, VeniceBatchError


def print_refusal(error: VeniceBatchError | click.UsageError) -> None:
    """Print `exit_code` and `reason`, as a run's summary has them, and the `problems` of a jobs file."""

    refusal: dict[str, Any] = {"exit_code": int(ExitCode.INVALID), "reason": " ".join(str(error).split())}
    if isinstance(error, VeniceBatchError):
        refusal["exit_code"] = int(error.exit_code)
    if isinstance(error, JobsFileError):
        shown = [
            {"line": problem.line, "field": problem.field, "what": problem.what, "source": problem.source}
            for problem in error.problems
        ]
        refusal["problems"] = {"total": error.total, "shown": shown}
    from venice_batch.cli.outfile import print_json

    print_json(refusal)
