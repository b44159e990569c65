"""`venice-batch export`: write a run's records for other programs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from venice_batch.cli import destinations, folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import Folder, Target, WholeNumber, option
from venice_batch.errors import FolderError, UsageError, one_line
from venice_batch.text_format import counted, size

if TYPE_CHECKING:
    from venice_batch.output.resume import LatestRecords
    from venice_batch.report.export.recipe import Embedder, Style

_TYPED = ParameterSource.COMMANDLINE
_FILE = Target(path_type=Path)
_FOLDER = Folder(path_type=Path)


@command()
@click.argument("folder", metavar="OUT", type=folders.AnyFolder(), shell_complete=options.complete_folders)
@option(
    "--csv", "csv_to", type=_FILE, metavar="FILE", help="Write a table with a row for each image; `-`: standard output."
)
@option("--parquet", "parquet_to", type=_FILE, metavar="FILE", help="Write the same table with typed columns.")
@option("--with-images", is_flag=True, help="Put the images into --parquet: a dataset, with prompts and a card.")
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
@option(
    "--imagefolder",
    type=_FOLDER,
    metavar="DIR",
    help="Write a dataset for Hugging Face: images, metadata.jsonl and a card.",
)
@option("--webdataset", type=_FOLDER, metavar="DIR", help="Write a dataset as tar shards of WebDataset, and a card.")
@option(
    "--shard-size",
    type=WholeNumber(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Images in each shard of --webdataset.",
)
@option("--captions", type=_FOLDER, metavar="DIR", help="Write images with their prompts beside them as .txt files.")
@options.layout("Link the images as the tree that a scorer reads; see docs/layouts.md.")
@option(
    "--to",
    "layout_to",
    type=_FOLDER,
    metavar="DIR",
    show_default="OUT/<layout>",
    help="Write the tree of --layout there.",
)
@option("--copy", is_flag=True, help="Copy images instead of linking them.")
@option(
    "--embed",
    type=click.Choice(["a1111", "xmp", "none"]),
    default="none",
    show_default=True,
    help="Write prompt, seed, model and id into the copies: as the text of Stable Diffusion programs, or as XMP.",
)
@option("--flagged", is_flag=True, help="Take images too that are blurred, a content violation or rejected by a mark.")
@click.pass_context
@folders.reads("folder")
def export(
    ctx: click.Context,
    folder: Path,
    csv_to: Path | None,
    parquet_to: Path | None,
    with_images: bool,
    openai_to: Path | None,
    images: str,
    imagefolder: Path | None,
    webdataset: Path | None,
    shard_size: int,
    captions: Path | None,
    layout: str | None,
    layout_to: Path | None,
    copy: bool,
    embed: Style | Literal["none"],
    flagged: bool,
) -> int:
    """Write the last record of each job in the folder OUT in other programs' formats.

    A file that ends in .gz or .zst is packed. Each file appears whole or not at all. A folder of an earlier export is
    updated. Datasets hold the images that are whole, without flags and not rejected.
    """
    from venice_batch.output import manifest
    from venice_batch.output.resume import LatestRecords

    datasets = {"imagefolder": imagefolder, "webdataset": webdataset, "captions": captions}
    _check(ctx, {"--csv": csv_to, "--parquet": parquet_to, "--openai": openai_to}, datasets, layout)
    if not (folder / manifest.NAME).is_file():
        raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
    if layout is not None and layout_to is None:
        folders.need_local(folder, "--layout cannot write into a bucket", "give --to DIR")
    if openai_to is not None and images == "paths":
        folders.need_local(folder, "--openai has no URLs of images in a bucket", "give --images base64")
    if parquet_to is not None:
        from venice_batch.report.export.table_files import require_parquet

        require_parquet()
    table_to = None if with_images else parquet_to
    if csv_to is not None or table_to is not None or openai_to is not None:
        records = LatestRecords(folder / manifest.NAME)
        if csv_to is not None or table_to is not None:
            _tables(records, folder, csv_to, table_to)
        if openai_to is not None:
            _openai(records, folder, openai_to, base64=images == "base64")
    if with_images and parquet_to is not None:
        _image_table(folder, parquet_to, flagged=flagged, embed=_embedder(embed, folder))
    for kind, target in datasets.items():
        if target is not None:
            embedder = _embedder(embed, folder)
            _dataset(folder, kind, target, copy=copy, flagged=flagged, shard_images=shard_size, embed=embedder)
    if layout is not None:
        target = layout_to or folder / layout
        _layout(folder, layout, target, copy=copy, flagged=flagged, embed=_embedder(embed, folder))
    return 0


def _check(
    ctx: click.Context, files: dict[str, Path | None], datasets: dict[str, Path | None], layout: str | None
) -> None:
    """Refuse options that make no sense together.

    Raises:
        UsageError: nothing is asked for, or an option lacks the one that it belongs to.
    """
    if not any((*files.values(), *datasets.values(), layout)):
        wanted = [f"{name} FILE" for name in files] + [f"--{name} DIR" for name in datasets]
        raise UsageError(f"give {', '.join(wanted)} or --layout NAME, or several")
    if layout is None and ctx.get_parameter_source("layout_to") is ParameterSource.COMMANDLINE:
        raise UsageError("--to needs --layout NAME")
    for name, path in files.items():
        if str(path) == "-" and name != "--csv":
            raise UsageError(f"{name} needs a file name; only --csv can go to standard output")
    for name, needed in (("with_images", files["--parquet"]), ("shard_size", datasets["webdataset"])):
        if needed is None and ctx.get_parameter_source(name) is _TYPED:
            other = "--parquet FILE" if name == "with_images" else "--webdataset DIR"
            raise UsageError(f"--{name.replace('_', '-')} needs {other}")
    has_images = any(datasets.values()) or layout is not None or ctx.params["with_images"]
    if not has_images and ctx.params["embed"] != "none" and ctx.get_parameter_source("embed") is _TYPED:
        raise UsageError(
            "--embed needs images to go into: --imagefolder, --webdataset, --captions, --layout or --with-images"
        )


def _embedder(style: Style | Literal["none"], folder: Path) -> Embedder | None:
    """Return what `--embed` asks for."""
    if style == "none":
        return None
    from venice_batch.output.manifest import NAME
    from venice_batch.output.resume import LatestRecords
    from venice_batch.report.export.recipe import Embedder
    from venice_batch.report.jobs_from import ParentWords

    return Embedder(style, ParentWords(LatestRecords(folder / NAME)))


def _dataset(
    folder: Path, kind: str, target: Path, *, copy: bool, flagged: bool, shard_images: int, embed: Embedder | None
) -> None:
    from venice_batch.output.annotations import read_annotations
    from venice_batch.output.manifest import NAME
    from venice_batch.report.export import datasets
    from venice_batch.report.export.choice import InJobOrder
    from venice_batch.report.export.place import Placer

    records, title = InJobOrder(folder / NAME), _name(target)
    with Placer(folder, target, copy, embed, kind=kind, flagged=flagged) as placer:
        if kind == "imagefolder":
            made = datasets.write_imagefolder(records, placer, title, annotations=read_annotations(folder))
        elif kind == "webdataset":
            scores = read_annotations(folder)
            made = datasets.write_webdataset(records, placer, title, shard_images=shard_images, annotations=scores)
        else:
            made = datasets.write_captions(records, placer)
        if not placer.images:
            _warn(placer.lines())
            raise FolderError(folder, "has no image to export")
    _warn([*placer.lines(), *(embed.lines() if embed else [])])
    links = {0: "", placer.images: ", linked"}.get(placer.linked, f", {placer.linked} of them linked")
    _report(target, f"{counted(placer.images, 'image')} ({size(placer.bytes)}{links}), {made}")


def _image_table(folder: Path, path: Path, *, flagged: bool, embed: Embedder | None) -> None:
    from venice_batch.output.annotations import read_annotations
    from venice_batch.output.manifest import NAME
    from venice_batch.report.export import card
    from venice_batch.report.export.choice import Choice, InJobOrder
    from venice_batch.report.export.datasets import ImageTable

    choice = Choice(folder, flagged=flagged)
    table = ImageTable(InJobOrder(folder / NAME), choice, embed, annotations=read_annotations(folder))
    with destinations.opened(path, is_json=False) as file:
        count = table.write(file)
        _warn([*choice.lines(), *(embed.lines() if embed else [])])
        if not count:
            raise FolderError(folder, "has no image to export")
    _report(path, f"{counted(count, 'row')} with images, {counted(len(table.columns) + 2, 'column')}")
    if card.write_beside(path, table.card(path.name)):
        _report(path.with_name(card.NAME), "the dataset's card")
    else:
        _warn([f"{path.with_name(card.NAME)} is not of an earlier export to {path.name}, so its card was not written"])


def _layout(folder: Path, name: str, target: Path, *, copy: bool, flagged: bool, embed: Embedder | None) -> None:
    from venice_batch.report.export.tree import write_tree

    tree = write_tree(folder, name, target, copy=copy, flagged=flagged, rewrite=embed)
    for text in (str(tree), *tree.notes):
        _report(target, text)
    _warn([*tree.warnings, *(embed.lines() if embed else [])])


def _name(folder: Path) -> str:
    return folder.resolve().name or "dataset"


def _warn(lines: list[str]) -> None:
    for line in lines:
        environment().messages.notice(f"warning: {line}")


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
