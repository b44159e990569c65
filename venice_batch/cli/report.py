"""`venice-batch report`: sum up an output folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from venice_batch.cli import folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.formats import FORMATS
from venice_batch.cli.parameters import Target, WholeNumber, group, option, stronger
from venice_batch.errors import BucketError, FolderError, UsageError, one_line
from venice_batch.output.originals import shown
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.gallery import GalleryPage
    from venice_batch.report.tables import Report


@command()
@click.argument(
    "outputs",
    metavar="OUT [OUT2]",
    nargs=-1,
    required=True,
    type=folders.AnyFolder(),
    shell_complete=options.complete_folders,
)
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
@group(
    option(
        "--by",
        metavar="FIELD,…",
        shell_complete=options.complete_group_fields,
        help="Print a table by these fields: model, status, date, metadata.KEY, annotation.NAME, …",
    ),
    option("--sort", metavar="COLUMN", help="Sort the table by a column; with a - before it, the largest first."),
    option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        allow_from_autoenv=False,
        help="Count only images whose annotations meet this, as 'score<0.5'; repeatable: all of them.",
    ),
    option("--mean", metavar="NAME,…", show_default="the first that are numbers", help="Average these annotations."),
    option(
        "--cluster",
        metavar="FIELD",
        shell_complete=options.complete_group_fields,
        help="Let the intervals draw whole groups of images that are alike, as those of one prompt.",
    ),
    option(
        "--seed",
        type=WholeNumber(min=0),
        default=0,
        show_default=True,
        allow_from_autoenv=False,
        help="Seed of the bootstrap that makes the intervals.",
    ),
    option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default=None,
        show_default="text",
        help="Print text, Markdown, CSV or JSON.",
    ),
    heading="Tables",
)
@click.pass_context
@folders.reads("outputs")
def report(ctx: click.Context, /, outputs: tuple[Path, ...], **given: Any) -> int:
    """Sum up the manifest in the folder OUT and make its gallery. Needs no network, unless OUT is in a bucket.

    With --by, print a table of groups of jobs instead; with OUT2, compare two folders, job by job.
    """
    if len(outputs) > 2:
        raise UsageError(f"{one_line(str(outputs[2]))}: a third folder; report sums up one folder or compares two")
    form = _format(ctx)
    has_table = given["by"] is not None or len(outputs) == 2 or form in ("markdown", "csv")
    if not has_table:
        _refuse(ctx, ("sort", "where", "mean", "cluster", "seed"), "shapes a table; give --by FIELD,… too")
        return _summary(outputs[0], **{name: given[name] for name in _SUMMARY}, as_json=form == "json")
    _refuse(ctx, _SUMMARY, "belongs to the report without a table; leave out --by, --format and OUT2")
    if len(outputs) == 2:
        _refuse(ctx, ("sort", "where"), "is about the table of one folder; leave it out")
    from venice_batch.cli.report_tables import TableOptions, show_comparison, show_groups
    from venice_batch.report.group_fields import MODEL

    means = None if given["mean"] is None else tuple(name.strip() for name in given["mean"].split(","))
    table = TableOptions(
        given["by"] or MODEL, given["sort"] or "", means, given["where"], given["cluster"], given["seed"], form
    )
    return show_comparison(*outputs, table) if len(outputs) == 2 else show_groups(outputs[0], table)


def _format(ctx: click.Context) -> str:
    """Return the format that the options ask for; the one from the stronger source counts. Raises UsageError."""
    form: str | None = ctx.params["form"]
    if not ctx.params["as_json"]:
        return form or "text"
    if form in (None, "json"):
        return "json"
    kept = stronger(ctx, "as_json", "form")
    if kept is None:
        raise UsageError(f"--json and --format {form} name two formats; give one of them")
    return "json" if kept == "as_json" else str(form)


_SUMMARY = ("gallery", "html", "grid", "grid_of")
"""Parameters of the report without a table."""


def _refuse(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise UsageError for an option on the command line that does not fit the others."""
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and ctx.params[name] not in (None, False, ()):
            raise UsageError(f"--{name.replace('_', '-')} {why}")


def _summary(
    output: Path, *, gallery: bool, html: Path | None, grid: Path | None, grid_of: str | None, as_json: bool
) -> int:
    """Print what a folder holds in all, and write its pages."""
    from venice_batch.cli.gallery import check_name
    from venice_batch.output import manifest

    if html:
        check_name(html)
    if grid and grid.suffix.lower() != ".png":
        raise UsageError(f"--grid {grid}: give a name that ends in .png")
    if grid_of and not grid:
        raise UsageError("--grid-of chooses the sweep for --grid; give --grid FILE too")
    if not (output / manifest.NAME).is_file():
        raise FolderError(output, "holds no manifest.jsonl; is it a run's output folder?")
    if html:
        folders.need_local(output, "--html: a page on this machine cannot link to images in a bucket")
    found, page = _read(output, html, gallery=gallery)
    if grid:
        from venice_batch.gallery.grid import write_grid

        write_grid(output, grid, grid_of)
    if as_json:
        import msgspec

        from venice_batch.cli.text import json_line

        path = _written(page, output) if page else None
        made = {"gallery": path and _named(path)} | ({"grid": _named(grid)} if grid else {})
        click.echo(json_line({**msgspec.structs.asdict(found), **made}))
        return 0
    _show(found)
    if page:
        click.echo(one_line(f"gallery: {shown(_written(page, output))}"))
    if grid:
        click.echo(one_line(f"grid: {grid}"))
    return 0


def _named(path: Path) -> str:
    """Return a path as text, although it may hold bytes that are not."""
    return shown(os.fsencode(path).decode("utf-8", "replace"))


def _written(page: GalleryPage, output: Path) -> Path:
    """Write the page, for a bucket into that; return its path."""
    from venice_batch.cli.gallery import write_page

    copy = folders.copy_of(output)
    if copy is None:
        return write_page(page)
    from venice_batch.bucket.publish import note_thumbnails, publish_page

    note_thumbnails(copy)
    path = write_page(page)
    try:
        publish_page(copy, path)
    except BucketError as error:
        raise BucketError(error.path, f"{error.reason}; --no-gallery leaves the page out") from error
    return path


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
        *(one.text for one in found.ignored_seeds),
        f"flagged by the API: {flagged}" if flagged else "",
        f"pruned: {counted(found.pruned, 'rejected image')}" if found.pruned else "",
        f"cost: {cost}" if cost else "",
    ]
    sections = [
        [counts_table(found.lanes, width, sandbox=sandbox)],
        [times_table(found.lanes, width)],
        found.problems,
        [one_line(line) for line in last if line],
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
