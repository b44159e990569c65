"""`venice-batch report`: sum up an output folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import Target, option
from venice_batch.errors import FolderError, one_line


@command()
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path), shell_complete=options.complete_folders)
@option(
    "--gallery",
    is_flag=True,
    default=True,
    show_default="yes",
    help="Write the folder's gallery.html too; --no-gallery does not.",
)
@option(
    "--html",
    type=Target(path_type=Path),
    metavar="FILE",
    help="Write the gallery to FILE instead; moving FILE or OUT breaks its links to the images.",
)
@options.as_json
def report(output: Path, gallery: bool, html: Path | None, as_json: bool) -> int:
    """Sum up the manifest in the folder OUT and make its gallery. Needs no network."""
    from venice_batch.output import manifest
    from venice_batch.output.latest import LatestRecords
    from venice_batch.report.tables import report as sum_up

    if not (output / manifest.NAME).is_file():
        raise FolderError(output, "holds no manifest.jsonl; is it a run's output folder?")
    found = sum_up(LatestRecords(output / manifest.NAME))
    if as_json:
        import msgspec

        from venice_batch.cli.text import json_line

        page = _page(output, gallery, html)
        # A path need not be text.
        named = page and os.fsencode(page).decode("utf-8", "replace")
        click.echo(json_line({**msgspec.structs.asdict(found), "gallery": named}))
        return 0
    from venice_batch.cli.closing import counts_table, times_table
    from venice_batch.cli.text import terminal_width
    from venice_batch.money import cost_text

    width = terminal_width(sys.stdout)
    cost = cost_text(found.cost_usd, found.unpriced, sandbox_usd=found.sandbox_usd)
    sandbox = found.sandbox_usd > 0 and found.sandbox_usd == found.cost_usd
    click.echo(counts_table(found.lanes, width, sandbox=sandbox))
    click.echo("\n" + times_table(found.lanes, width))
    if cost:
        click.echo(f"\ncost: {cost}")
    if found.problems:
        click.echo()
    for line in found.problems:
        click.echo(line)
    if page := _page(output, gallery, html):
        click.echo(one_line(f"gallery: {page}"))
    return 0


def _page(output: Path, gallery: bool, html: Path | None) -> Path | None:
    """Make the gallery if it is asked for; return its path."""
    from venice_batch.cli.gallery import make_gallery

    return make_gallery(output, html) if gallery or html else None
