"""`venice-batch merge`: join output folders into one."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from venice_batch.cli import folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import option
from venice_batch.errors import ExitCode, UsageError
from venice_batch.output.originals import shown
from venice_batch.text_format import counted


@command()
@click.argument(
    "sources",
    metavar="OUT…",
    nargs=-1,
    required=True,
    type=folders.AnyFolder(),
    shell_complete=options.complete_folders,
)
@option(
    "-o",
    "--output",
    required=True,
    type=folders.FolderToWrite(),
    metavar="DIR",
    help="Merge into DIR, a new folder or an output folder; it may be in a bucket.",
)
@options.as_json
@options.log_format
@folders.reads("sources", "output")
def merge(sources: tuple[Path, ...], output: Path, as_json: bool, log_format: str) -> int:
    """Join the manifests and images of the folders OUT, such as those of runs with --shard, into one.

    The latest record of an id counts, and an image's latest mark and annotations. Answers kept as unrecognised come
    along. Files become hard links where possible. The command can be repeated. A run into the folder finds all done.
    """
    from venice_batch.output.merge import merge as join

    messages = environment().messages
    if shown(output) in map(shown, sources):
        raise UsageError(f"{shown(output)} is the folder to merge into; name only the others")
    with folders.changing(output):
        merged = join(sources, output)
    merged = msgspec.structs.replace(merged, left_out=tuple(map(shown, merged.left_out)))
    for line in merged.left_out:
        messages.notice(f"left out: {line}")
    if messages.log is not None:
        from venice_batch.report.log_lines import MergedLine

        messages.log.write(
            MergedLine(
                output=shown(output),
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
            f"{counted(merged.jobs, 'job')} in {shown(output)}: {merged.added} added"
            f" with {counted(merged.images, 'image')}{kept}, {before} there before"
        )
    return ExitCode.SOME_FAILED if merged.left_out else ExitCode.OK
