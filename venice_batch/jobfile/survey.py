"""A whole file read and checked in memory that does not grow with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.jobfile.defaults import Defaults
from venice_batch.jobfile.index import Ids, complaint
from venice_batch.jobfile.jobs import MAX_PROBLEMS, Findings, Jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from venice_batch.jobfile.jobs import Shard
    from venice_batch.jobfile.source import Source
    from venice_batch.model import Job


def survey(
    source: Source,
    *,
    defaults: Defaults | None = None,
    max_problems: int = MAX_PROBLEMS,
    examine: Callable[[Job], Iterable[tuple[str, str]]] | None = None,
    shard: Shard | None = None,
) -> int:
    """Read and check all of the file, once, and keep none of it; returns the number of jobs.

    Finds exactly what `JobIndex.build` does, with the same arguments. What finding ids that are used twice takes is
    in a temporary file: 34 bytes a job, from some 30,000 on.

    Raises:
        JobsFileError: as `JobIndex.build`.
        FolderError: there is no room for the temporary file.
    """
    jobs = Jobs(source, defaults or Defaults())
    findings = Findings(max_problems)
    count = 0
    with Ids() as ids:
        for job, offset, sub in jobs.valid(findings, examine=examine, shard=shard):
            ids.add(job, offset, sub)
            count += 1
        repeats, total = ids.repeats(max_problems)
    again = jobs.again()
    for repeat in repeats:
        job = again.job(repeat.offset, repeat.line, repeat.number, repeat.sub)
        findings.add(job.line, "id", complaint(job, repeat.first), source.name)
    findings.total += total - len(repeats)
    findings.raise_any()
    return count
