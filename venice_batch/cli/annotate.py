"""`venice-batch annotate`: give images the values that scorers found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import option
from venice_batch.errors import ExitCode, UsageError, one_line
from venice_batch.output.originals import shown
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.report.annotate import Annotated

_MOST_NAMES = 8


@command()
@click.argument("folder", metavar="OUT", type=folders.AnyFolder(), shell_complete=options.complete_folders)
@click.argument("files", metavar="FILE…", nargs=-1, shell_complete=options.complete_files)
@option(
    "--key",
    metavar="COLUMN",
    allow_from_autoenv=False,
    show_default="id, path, file_name, sha256 and the like",
    help="The column that says which image a row is about.",
)
@option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    allow_from_autoenv=False,
    help="Take only this column; repeatable.",
)
@option("--prefix", default="", metavar="TEXT", allow_from_autoenv=False, help="Put TEXT before each name, as in clip.")
@option(
    "--remove",
    multiple=True,
    metavar="NAME",
    in_files=False,
    allow_from_autoenv=False,
    help="Take the value NAME away from all images; repeatable.",
)
@option("--dry-run", is_flag=True, allow_from_autoenv=False, help="Show what would be written; change nothing.")
@options.as_json
@folders.reads("folder")
def annotate(folder: Path, files: tuple[str, ...], remove: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Give the images in the folder OUT the values in FILE, as scorers write them; `-` is standard input.

    FILE holds JSON lines, a JSON array or a table (CSV, TSV). A row is about the image that its id, path, file_name or
    sha256 names; all other columns become annotations in OUT/annotations.jsonl. Gallery, report and export show them,
    and --fail-on judges by them. Exit code 1: some rows match no image. The command can be repeated.
    """
    from venice_batch.output.ledger import moment
    from venice_batch.report.annotate import annotate as join
    from venice_batch.report.annotate import sentences

    if not files and not remove:
        raise UsageError("give a file of scores, or - for standard input")
    done = join(
        folder,
        _contents(files),
        at=moment(environment().now()),
        key=given["key"],
        prefix=given["prefix"],
        columns=given["columns"],
        remove=remove,
        dry_run=given["dry_run"],
    )
    for sentence in sentences(done):
        environment().messages.notice(sentence)
    if as_json:
        from venice_batch.cli.text import json_line

        click.echo(json_line(done))
    else:
        click.echo(one_line(_told(done, folder, dry_run=given["dry_run"])))
    return ExitCode.SOME_FAILED if done.matched < done.rows else ExitCode.OK


def _told(done: Annotated, folder: Path, *, dry_run: bool) -> str:
    """Return the result in a line."""
    from venice_batch.output.annotations import NAME

    would = "would have " if dry_run else ""
    took, wrote = ("taken", "written") if dry_run else ("took", "wrote")
    parts = [f"{would}{took} away {counted(done.removed, 'value')}"] if done.removed else []
    if done.rows:
        some = ", ".join(done.names[:_MOST_NAMES])
        names = f"{some}, …" if len(done.names) > _MOST_NAMES else some
        about = f"{counted(done.images, 'image', grouped=True)} {'has' if done.images == 1 else 'have'} {names}"
        if done.written:
            parts += [f"{would}{wrote} {counted(done.written, 'value', grouped=True)}", about]
        else:
            parts.append(f"nothing new: {about} already")
    left = f" (left out, as the records have it: {', '.join(done.columns_left_out)})" if done.columns_left_out else ""
    return f"{shown(folder / NAME)}: {'; '.join(parts)}{left}"


def _contents(files: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield each file's name and content. Raises UsageError."""
    for name in files:
        if name == "-":
            stdin = environment().stdin_bytes
            if stdin is None:
                raise UsageError("nothing is connected to standard input")
            yield "standard input", stdin.read()
            continue
        try:
            yield name, Path(name).read_bytes()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(one_line(f"{name}: cannot be read: {why}")) from error
