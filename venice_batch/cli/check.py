"""`venice-batch check`: every line's mistakes, then what a run would do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options

if TYPE_CHECKING:
    from venice_batch.jobfile import JobIndex


@click.command(context_settings=options.CONTEXT)
@click.argument("jobs")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="The run's output folder.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="A field for every job that lacks it.")
@options.as_json
def check(jobs: str, output: Path | None, settings: tuple[str, ...], as_json: bool) -> int:
    """Check every line of JOBS and say what a run would do; sends nothing."""
    from venice_batch.cli.run import default_output
    from venice_batch.jobfile import Defaults, JobIndex, open_source

    with open_source(jobs, sys.stdin.buffer) as source:
        index = JobIndex.build(source, defaults=Defaults.of(settings))
        return show_plan(index, output or default_output(jobs), as_json=as_json)


def show_plan(index: JobIndex, output: Path, *, as_json: bool) -> int:
    """Print the plan for people or scripts; returns the exit code."""
    from venice_batch.plan import plan

    found = plan(index, output)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found))
        return 0
    before = [f"{found.already_done} done before"] if found.already_done else []
    before += [f"{found.already_rejected} refused before"] if found.already_rejected else []
    click.echo(f"{found.jobs} jobs, all lines valid" + "".join(f", {part}" for part in before))
    rows: list[tuple[Any, ...]] = [(name, lane.requests, lane.images) for name, lane in found.lanes.items()]
    if rows:
        from venice_batch.cli.table import table

        click.echo(table(("model", "requests", "images"), rows))
    click.echo(f"{found.pending} requests would go out, into {output}")
    return 0
