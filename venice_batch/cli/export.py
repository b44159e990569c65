"""`venice-batch export`: a run's records for other programs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from venice_batch.cli import candidates, destinations, options
from venice_batch.cli.command import command
from venice_batch.errors import FolderError, UsageError, one_line

if TYPE_CHECKING:
    from venice_batch.output.latest import LatestRecords

_FILE = options.Target(path_type=Path)


@command()
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path), shell_complete=candidates.folders)
@options.option(
    "--csv", "csv_to", type=_FILE, metavar="FILE", help="A table, a row for each image; `-`: standard output."
)
@options.option("--parquet", "parquet_to", type=_FILE, metavar="FILE", help="The same table with typed columns.")
@options.option(
    "--openai", "openai_to", type=_FILE, metavar="FILE", help="OpenAI batch output; failures go to FILE's -errors."
)
@options.option(
    "--images",
    type=click.Choice(["paths", "base64"]),
    default="paths",
    show_default=True,
    help="How --openai gives images: as file:// URLs, or in the lines.",
)
def export(folder: Path, csv_to: Path | None, parquet_to: Path | None, openai_to: Path | None, images: str) -> int:
    """Write the last record of each job in the folder OUT in formats of other programs.

    A file that ends in .gz or .zst is packed; each appears in full or not at all.
    """
    from venice_batch.output import manifest
    from venice_batch.output.latest import LatestRecords

    if csv_to is None and parquet_to is None and openai_to is None:
        raise UsageError("give --csv FILE, --parquet FILE or --openai FILE, or several of them")
    for option, path in (("--parquet", parquet_to), ("--openai", openai_to)):
        if str(path) == "-":
            raise UsageError(f"{option} needs the name of a file; only --csv goes to standard output")
    if not (folder / manifest.NAME).is_file():
        raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
    if parquet_to is not None:
        from venice_batch.report.export import parquet

        parquet.require()
    records = LatestRecords(folder / manifest.NAME)
    if csv_to is not None or parquet_to is not None:
        _tables(records, csv_to, parquet_to)
    if openai_to is not None:
        _openai(records, folder, openai_to, base64=images == "base64")
    return 0


def _tables(records: LatestRecords, csv_to: Path | None, parquet_to: Path | None) -> None:
    from venice_batch.report.export import csv_file, parquet
    from venice_batch.report.export.columns import columns

    table = columns(records)
    for path, write in ((csv_to, csv_file.write), (parquet_to, parquet.write)):
        if path is not None:
            with destinations.opened(path, is_json=False) as file:
                count = write(records, table, file)
            _tell(path, f"{_counted(count, 'row')}, {_counted(len(table), 'column')}")


def _openai(records: LatestRecords, folder: Path, path: Path, *, base64: bool) -> None:
    from venice_batch.output.plain_files import Refusals
    from venice_batch.report.export.openai import lines

    errors_path = errors_beside(path)
    counts, refusals = [0, 0], Refusals()
    with ExitStack() as stack:
        files = [stack.enter_context(destinations.opened(place)) for place in (path, errors_path)]
        for line in lines(records, folder, base64=base64, refusals=refusals):
            files[line.is_error].write(line.text)
            counts[line.is_error] += 1
    _tell(path, _counted(counts[False], "line"))
    _tell(errors_path, _counted(counts[True], "line"))
    if refusals.count:
        click.echo(one_line(f"venice-batch: warning: {refusals}"), err=True)


def errors_beside(path: Path) -> Path:
    """The error file of the output file `path`: `batch-errors.jsonl.gz` of `batch.jsonl.gz`."""
    packed = path.suffix if path.suffix in (".gz", ".zst") else ""
    plain = path.with_suffix("") if packed else path
    return plain.with_name(f"{plain.stem}-errors{plain.suffix}{packed}")


def _tell(path: Path, what: str) -> None:
    click.echo(one_line(f"{path}: {what}"), err=True)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
