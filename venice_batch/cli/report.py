"""`venice-batch report`: what an output folder holds."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from venice_batch.cli import candidates, options
from venice_batch.cli.command import command
from venice_batch.errors import FolderError


@command()
@click.argument("output", type=click.Path(path_type=Path), shell_complete=candidates.folders)
@options.as_json
def report(output: Path, as_json: bool) -> int:
    """Sum up the manifest in the folder OUTPUT; needs no network."""
    from venice_batch.output import manifest
    from venice_batch.output.latest import LatestRecords
    from venice_batch.report import report as sum_up

    if not (output / manifest.NAME).is_file():
        raise FolderError(output, "holds no manifest.jsonl; is it a run's output folder?")
    found = sum_up(LatestRecords(output / manifest.NAME))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found))
        return 0
    from venice_batch.cli.lane_tables import counts_table, times_table
    from venice_batch.cli.text import terminal_width

    width = terminal_width(sys.stdout)
    click.echo(counts_table(found.lanes, width))
    click.echo("\n" + times_table(found.lanes, width))
    if found.problems:
        click.echo()
    for line in found.problems:
        click.echo(line)
    return 0
