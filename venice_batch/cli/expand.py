"""`venice-batch expand`: every job of a file as a line of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from venice_batch.cli import destinations, options
from venice_batch.cli.command import command

if TYPE_CHECKING:
    from pathlib import Path


@command(like="run")
@options.jobs_file
@destinations.outfile
@options.which_jobs
@options.allow_unknown
def expand(jobs: str, output: Path | None, **given: Any) -> int:
    """Write the jobs of JOBS as native JSON lines, one for each, that need no option to be the same jobs.

    Combinations of a `matrix`, rows of a table and prompts of a text become lines, fields of --set stand in them,
    and each has its id. Nothing is written if any line is invalid. Asks no server: `check` compares with the models.
    """
    from venice_batch.jobfile import JobIndex, native_line, open_source, oversize

    defaults = options.job_defaults(given)
    with destinations.opened(output) as file, open_source(jobs, getattr(sys.stdin, "buffer", None)) as source:
        index = JobIndex.build(source, defaults=defaults, examine=oversize, shard=given["shard"])
        file.writelines(map(native_line, index.jobs_in_order()))
    return 0
