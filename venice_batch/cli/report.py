"""`venice-batch report`: sum up an output folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import Target, option
from venice_batch.errors import FolderError, UsageError, one_line
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from venice_batch.gallery import GalleryPage
    from venice_batch.report.tables import Report


@command()
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path), shell_complete=options.complete_folders)
@option(
    "--gallery",
    is_flag=True,
    default=True,
    show_default="yes",
    help="Also write gallery.html into the folder; --no-gallery turns this off.",
)
@option(
    "--html",
    type=Target(path_type=Path),
    metavar="FILE",
    help="Write the gallery to FILE instead; moving FILE or OUT breaks its links to the images.",
)
@option(
    "--grid",
    type=Target(path_type=Path),
    metavar="FILE",
    help="Also write a sweep's images to FILE as one PNG, with labels.",
)
@option(
    "--grid-of",
    metavar="NAME",
    help="The sweep for --grid, if there are several: its name in the gallery, or the id of one of its jobs.",
)
@options.as_json
def report(
    output: Path, gallery: bool, html: Path | None, grid: Path | None, grid_of: str | None, as_json: bool
) -> int:
    """Sum up the manifest in the folder OUT and make its gallery. Needs no network."""
    from venice_batch.cli.gallery import check_name, write_page
    from venice_batch.output import manifest

    if html:
        check_name(html)
    if grid and grid.suffix.lower() != ".png":
        raise UsageError(f"--grid {grid}: give a name that ends in .png")
    if grid_of and not grid:
        raise UsageError("--grid-of chooses the sweep for --grid; give --grid FILE too")
    if not (output / manifest.NAME).is_file():
        raise FolderError(output, "holds no manifest.jsonl; is it a run's output folder?")
    found, page = _read(output, html, gallery=gallery)
    if grid:
        from venice_batch.gallery.grid import write_grid

        write_grid(output, grid, grid_of)
    if as_json:
        import msgspec

        from venice_batch.cli.text import json_line

        path = write_page(page) if page else None
        made = {"gallery": path and _named(path)} | ({"grid": _named(grid)} if grid else {})
        click.echo(json_line({**msgspec.structs.asdict(found), **made}))
        return 0
    _show(found)
    if page:
        click.echo(one_line(f"gallery: {write_page(page)}"))
    if grid:
        click.echo(one_line(f"grid: {grid}"))
    return 0


def _named(path: Path) -> str:
    """Return a path as text, although it may hold bytes that are not."""
    return os.fsencode(path).decode("utf-8", "replace")


def _show(found: Report) -> None:
    """Print the tables, the jobs without an image and, last, flags and cost."""
    from venice_batch.cli.closing import counts_table, flags_text, times_table
    from venice_batch.cli.text import terminal_width
    from venice_batch.money import cost_text

    width = terminal_width(sys.stdout)
    cost = cost_text(found.cost_usd, found.unpriced, sandbox_usd=found.sandbox_usd)
    sandbox = found.sandbox_usd > 0 and found.sandbox_usd == found.cost_usd
    flagged = flags_text(found.blurred, found.content_violations)
    last = [
        f"flagged by the API: {flagged}" if flagged else "",
        f"pruned: {counted(found.pruned, 'rejected image')}" if found.pruned else "",
        f"cost: {cost}" if cost else "",
    ]
    sections = [
        [counts_table(found.lanes, width, sandbox=sandbox)],
        [times_table(found.lanes, width)],
        found.problems,
        [line for line in last if line],
    ]
    click.echo("\n\n".join("\n".join(lines) for lines in sections if lines))


def _read(output: Path, html: Path | None, *, gallery: bool) -> tuple[Report, GalleryPage | None]:
    """Read the records once; return the report on them, and the page with them if it is asked for."""
    from venice_batch.gallery import GalleryPage
    from venice_batch.output import manifest
    from venice_batch.output.resume import LatestRecords
    from venice_batch.report.tables import ReportBuilder

    if gallery or html:
        page = GalleryPage(output, html)
        page.read()
        return page.report(), page
    counts = ReportBuilder()
    for outcome in LatestRecords(output / manifest.NAME):
        counts.add(outcome)
    return counts.report(), None
