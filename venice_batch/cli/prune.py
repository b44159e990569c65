"""`venice-batch prune`: move the rejected images of an output folder out of the way, or delete them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from venice_batch.cli import folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import option
from venice_batch.errors import ExitCode, UsageError, one_line
from venice_batch.output.originals import shown
from venice_batch.text_format import counted, size


@command()
@click.argument("folder", metavar="OUT", type=folders.AnyFolder(), shell_complete=options.complete_folders)
@option("--rejected", is_flag=True, allow_from_autoenv=False, help="Move images marked as rejected to OUT/rejected/.")
@option("--delete", is_flag=True, in_files=False, allow_from_autoenv=False, help="Delete them instead of moving them.")
@option("--dry-run", is_flag=True, allow_from_autoenv=False, help="Show what would be done; change nothing.")
@options.as_json
@folders.reads("folder")
def prune(folder: Path, rejected: bool, delete: bool, dry_run: bool, as_json: bool) -> int:
    """Move the images in the folder OUT that you marked as rejected to OUT/rejected/, or delete them.

    Their records say so: no later run makes them again, and report, gallery, export and merge know where they are. The
    command can be stopped at any moment and repeated.
    """
    from venice_batch.output.prune import prune as remove

    if not rejected:
        raise UsageError("say which images to prune: --rejected")
    with nullcontext() if dry_run else folders.changing(folder):
        pruned = remove(folder, delete=delete, dry_run=dry_run)
    for line in pruned.left_out:
        environment().messages.notice(f"left where it is: {line}")
    if as_json:
        from venice_batch.cli.text import json_line

        click.echo(json_line(pruned))
    elif not pruned.images:
        click.echo(one_line(f"no rejected image in {shown(folder)} is left to {'delete' if delete else 'move'}"))
    else:
        done = {(False, False): "moved", (True, False): "deleted", (False, True): "would move"}
        verb = done.get((delete, dry_run), "would delete")
        where = "" if delete else f" to {shown(folder / 'rejected')}"
        click.echo(one_line(f"{verb} {counted(pruned.images, 'rejected image')} ({size(pruned.bytes)}){where}"))
    return ExitCode.SOME_FAILED if pruned.left_out else ExitCode.OK
