"""`venice-batch merge`: join output folders into one."""

from __future__ import annotations

from pathlib import Path

import click

from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import Folder, option
from venice_batch.errors import ExitCode
from venice_batch.text_format import counted


@command()
@click.argument(
    "folders",
    metavar="OUT…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=options.complete_folders,
)
@option(
    "-o",
    "--output",
    required=True,
    type=Folder(path_type=Path),
    metavar="DIR",
    help="Merge into DIR, a new folder or an output folder.",
)
@options.as_json
@options.log_format
def merge(folders: tuple[Path, ...], output: Path, as_json: bool, log_format: str) -> int:
    """Join the manifests and images of the folders OUT, such as those of runs with --shard, into one.

    The latest record of an id counts, and an image's latest mark and annotations. Answers kept as unrecognised come
    along. Files become hard links where possible. The command can be repeated. A run into the folder finds all done.
    """
    from venice_batch.output.merge import merge as join

    messages = environment().messages
    merged = join(folders, output)
    for line in merged.left_out:
        messages.notice(f"left out: {line}")
    if messages.log is not None:
        from venice_batch.report.log_lines import MergedLine

        messages.log.write(
            MergedLine(
                output=str(output),
                jobs=merged.jobs,
                added=merged.added,
                images=merged.images,
                unrecognised=merged.unrecognised,
                left_out=len(merged.left_out),
            )
        )
    if as_json:
        from venice_batch.cli.text import json_line

        click.echo(json_line(merged))
    elif messages.log is None:
        before = merged.jobs - merged.added
        others = (
            (merged.unrecognised, "unrecognised answer"),
            (merged.marks, "mark"),
            (merged.annotations, "annotation"),
        )
        kept = "".join(f" and {counted(number, what)}" for number, what in others if number)
        click.echo(
            f"{counted(merged.jobs, 'job')} in {output}: {merged.added} added with {counted(merged.images, 'image')}"
            f"{kept}, {before} there before"
        )
    return ExitCode.SOME_FAILED if merged.left_out else ExitCode.OK
