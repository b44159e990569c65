"""`venice-batch merge`: shards' output folders into one."""

from __future__ import annotations

from pathlib import Path

import click

from venice_batch.cli import candidates, options
from venice_batch.cli.command import command
from venice_batch.errors import ExitCode, one_line
from venice_batch.text_format import counted


@command()
@click.argument(
    "folders",
    metavar="OUT…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=candidates.folders,
)
@options.option(
    "-o",
    "--output",
    required=True,
    type=options.Folder(path_type=Path),
    metavar="DIR",
    help="The folder to merge into, new or an output folder itself.",
)
@options.as_json
def merge(folders: tuple[Path, ...], output: Path, as_json: bool) -> int:
    """Join the manifests and images of the folders OUT, as of runs with --shard, into one.

    Of an id's records the latest counts. Images are hard links where that is possible. It can be repeated; a run into
    the folder finds all of it done.
    """
    from venice_batch.output.merge import merge as join

    merged = join(folders, output)
    for line in merged.left_out:
        click.echo(one_line(f"venice-batch: left out: {line}"), err=True)
    if as_json:
        from venice_batch.cli.text import json_line

        click.echo(json_line(merged))
    else:
        before = merged.jobs - merged.added
        click.echo(
            f"{counted(merged.jobs, 'job')} in {output}: {merged.added} added with {counted(merged.images, 'image')}, "
            f"{before} there before"
        )
    return ExitCode.SOME_FAILED if merged.left_out else ExitCode.OK
