"""`venice-batch report`: what an output folder holds."""

from __future__ import annotations

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
    from venice_batch.cli.console import size
    from venice_batch.cli.table import table

    rows = [
        (name, lane.succeeded, lane.failed, lane.rejected, lane.images, size(lane.bytes), lane.total_s.p50)
        for name, lane in found.lanes.items()
    ]
    click.echo(table(("model", "succeeded", "failed", "rejected", "images", "size", "p50 s"), rows))
    for line in found.problems:
        click.echo(line)
    return 0
