"""`venice-batch export`: write a run's records for other programs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from venice_batch.cli import destinations, options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import Target, option
from venice_batch.errors import FolderError, UsageError, one_line
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from venice_batch.output.resume import LatestRecords

_FILE = Target(path_type=Path)


@command()
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path), shell_complete=options.complete_folders)
@option(
    "--csv", "csv_to", type=_FILE, metavar="FILE", help="Write a table with a row for each image; `-`: standard output."
)
@option("--parquet", "parquet_to", type=_FILE, metavar="FILE", help="Write the same table with typed columns.")
@option(
    "--openai",
    "openai_to",
    type=_FILE,
    metavar="FILE",
    help="Write OpenAI batch output; errors go to FILE-errors.",
)
@option(
    "--images",
    type=click.Choice(["paths", "base64"]),
    default="paths",
    show_default=True,
    help="Give images in --openai as file:// URLs, or inside the lines.",
)
def export(folder: Path, csv_to: Path | None, parquet_to: Path | None, openai_to: Path | None, images: str) -> int:
    """Write the last record of each job in the folder OUT in other programs' formats.

    A file that ends in .gz or .zst is packed. Each file appears whole or not at all.
    """
    from venice_batch.output import manifest
    from venice_batch.output.resume import LatestRecords

    if csv_to is None and parquet_to is None and openai_to is None:
        raise UsageError("give --csv FILE, --parquet FILE or --openai FILE, or several")
    for name, path in (("--parquet", parquet_to), ("--openai", openai_to)):
        if str(path) == "-":
            raise UsageError(f"{name} needs a file name; only --csv can go to standard output")
    if not (folder / manifest.NAME).is_file():
        raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
    if parquet_to is not None:
        from venice_batch.report.export.table_files import require_parquet

        require_parquet()
    records = LatestRecords(folder / manifest.NAME)
    if csv_to is not None or parquet_to is not None:
        _tables(records, folder, csv_to, parquet_to)
    if openai_to is not None:
        _openai(records, folder, openai_to, base64=images == "base64")
    return 0


def _tables(records: LatestRecords, folder: Path, csv_to: Path | None, parquet_to: Path | None) -> None:
    from venice_batch.output.annotations import read_annotations
    from venice_batch.report.export.columns import columns
    from venice_batch.report.export.table_files import write_csv, write_parquet

    table = columns(records, read_annotations(folder))
    for path, write in ((csv_to, write_csv), (parquet_to, write_parquet)):
        if path is not None:
            with destinations.opened(path, is_json=False) as file:
                count = write(records, table, file)
            _report(path, f"{counted(count, 'row')}, {counted(len(table), 'column')}")


def _openai(records: LatestRecords, folder: Path, path: Path, *, base64: bool) -> None:
    from venice_batch.output.plain_files import Refusals
    from venice_batch.report.export.openai import lines

    errors_path = destinations.errors_beside(path)
    counts, refusals = [0, 0], Refusals()
    with ExitStack() as stack:
        files = [stack.enter_context(destinations.opened(place)) for place in (path, errors_path)]
        for line in lines(records, folder, base64=base64, refusals=refusals):
            files[line.is_error].write(line.text)
            counts[line.is_error] += 1
    _report(path, counted(counts[False], "line"))
    _report(errors_path, counted(counts[True], "line"))
    if refusals.count:
        click.echo(one_line(f"venice-batch: warning: {refusals}"), err=True)


def _report(path: Path, what: str) -> None:
    click.echo(one_line(f"{path}: {what}"), err=True)
