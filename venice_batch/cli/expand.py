"""`venice-batch expand`: write every job of a file as a line of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from venice_batch.cli import column_options, destinations, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment

if TYPE_CHECKING:
    from pathlib import Path


@command(like="run")
@options.jobs_file
@destinations.outfile
@options.which_jobs
@options.allow_unknown
def expand(jobs: str, output: Path | None, **given: Any) -> int:
    """Write each job of JOBS as a native JSON line that needs no options.

    Combinations of a `matrix`, rows of a table and prompts of a text file become lines with their ids and the fields of
    --set. Nothing is written if any line is invalid. Contacts no server: `check` compares the jobs with the models.
    """
    from venice_batch.jobfile import JobIndex, native_line, open_source, oversize
    from venice_batch.output.naming import Naming

    defaults = options.job_defaults(given)
    part = options.part(given)
    with (
        destinations.opened(output) as file,
        open_source(jobs, environment().stdin_bytes, column_options.field_map(given)) as source,
    ):
        options.show_notices(source)
        index = JobIndex.build(
            source,
            defaults=defaults,
            examine=oversize,
            shard=given["shard"],
            part=part,
            name_of=Naming(has_ids=source.has_ids).plain_stem,
        )
        options.refuse_unused(index, given)
        options.show_part(index, part)
        file.writelines(map(native_line, index.jobs_in_order()))
    return 0
