"""`report --by` and `report A B`: tables of groups of jobs, and of two folders compared."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from venice_batch.cli.env import environment
from venice_batch.cli.formats import (
    Shown,
    csv_bytes,
    estimate_texts,
    markdown_table,
    markdown_text,
    percent_text,
    text_table,
)
from venice_batch.cli.text import folded, json_line, terminal_width
from venice_batch.errors import FolderError, UsageError, one_line
from venice_batch.money import amount_text, cost_text
from venice_batch.output import manifest
from venice_batch.output.annotations import Annotations, read_annotations
from venice_batch.output.originals import shown
from venice_batch.output.resume import LatestRecords
from venice_batch.report.conditions import parse_condition
from venice_batch.report.group_fields import cluster_field, group_fields, refuse_absent, value_text
from venice_batch.text_format import counted, seconds, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from venice_batch.report.comparison import Comparison, GroupDifference, ImageDifference, Some
    from venice_batch.report.export.columns import Cell
    from venice_batch.report.group_fields import GroupField
    from venice_batch.report.groups import GroupRow, GroupTable
    from venice_batch.report.intervals import Estimate


class TableOptions(NamedTuple):
    """The options of `report` that both kinds of tables have."""

    by: str
    sort: str
    means: tuple[str, ...] | None
    where: tuple[str, ...]
    cluster: str | None
    seed: int
    format: str


def records_of(folder: Path) -> LatestRecords:
    """Return the last record of each job in a folder. Raises FolderError."""
    if not (folder / manifest.NAME).is_file():
        raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
    return LatestRecords(folder / manifest.NAME)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Do not look for unused cycles: records and groups have none, and looking takes a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_no_garbage()
def show_groups(folder: Path, options: TableOptions) -> int:
    """Print the jobs of a folder in groups."""
    from venice_batch.report.groups import GroupBuilder

    records, annotations = records_of(folder), read_annotations(folder)
    conditions = [parse_condition(text, "--where") for text in options.where]
    _refuse_unknown("--mean", options.means or (), annotations)
    _refuse_unknown("--where", (one.name for one in conditions), annotations)
    builder = GroupBuilder(
        group_fields(options.by),
        annotations,
        means=options.means,
        cluster=_cluster(options.cluster, records, annotations),
        where=(lambda values: all(one.is_met(values) for one in conditions)) if conditions else None,
    )
    for outcome in records:
        builder.add(outcome)
    if empty := builder.empty_fields:
        refuse_absent(empty, records, annotations)
    found = builder.table(seed=options.seed, sort=options.sort)
    notes = [one.text for one in found.ignored_seeds]
    if conditions:
        images = counted(found.images, "image")
        notes.insert(0, f"{found.total.images} of {images} meet --where {' and '.join(map(str, conditions))}")
    if found.left_out:
        notes.append(f"{counted(found.left_out, 'more annotation')}; choose with --mean")
    if options.format == "json":
        click.echo(json_line(found))
    elif options.format == "csv":
        _print_csv(*_group_cells(found), notes)
    else:
        total = found.total
        cost = cost_text(total.cost_usd, total.unpriced, sandbox_usd=total.sandbox_usd)
        said = _intervals(total.annotations.values(), found) if found.groups else "no job counts"
        notes = [said, *notes, f"cost: {cost}" if cost else ""]
        _print([_shown_groups(found)], notes, options.format)
    return 0


def _refuse_unknown(option: str, names: Iterable[str], *annotations: Annotations) -> None:
    """Raise UsageError for an annotation that no image has; `option` names it."""
    import difflib

    known = {name for one in annotations for name in one.names}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name[:80], known, n=3, cutoff=0.5) or sorted(known)[:3]
            hint = f"nearest: {', '.join(close)}" if close else "there are no annotations; `annotate` adds them"
            raise UsageError(one_line(f"{option}: no image has an annotation {name!r} ({hint})"))


def _cluster(text: str | None, records: LatestRecords, annotations: Annotations) -> GroupField | None:
    """Return the field of `--cluster`, None if it is not given. Raises UsageError if no record has it."""
    if text is None:
        return None
    field = cluster_field(text)
    if all(field.of(record) is None for record in records):
        refuse_absent([field], records, annotations, option="--cluster")
    return field


def _print(tables: Iterable[Shown], notes: Iterable[str], form: str) -> None:
    """Print tables and notes for people, as text or in Markdown."""
    width = terminal_width(sys.stdout)
    if form == "markdown":
        parts = [markdown_table(shown) for shown in tables]
        parts += [markdown_text(note) for note in notes if note]
    else:
        parts = [text_table(shown, width) for shown in tables]
        lines = [line for note in notes if note for line in folded(one_line(note), width)]
        parts += ["\n".join(lines)] if lines else []
    click.echo("\n\n".join(parts))


def _print_csv(header: Sequence[str], rows: Iterable[Sequence[Cell]], notes: Iterable[str]) -> None:
    from venice_batch.cli.destinations import opened

    with opened(None, is_json=False) as file:
        file.write(csv_bytes(header, rows))
    for note in notes:
        environment().messages.notice(note, level="info")


def _intervals(estimates: Iterable[Estimate | None], found: GroupTable) -> str:
    """Return what the numbers in brackets are."""
    methods = {one.method for one in estimates if one}
    means = f", means: {_bootstrap(found)}" if methods - {"wilson", None} else ""
    return f"in brackets: 95 % intervals; shares: Wilson{means}"


def _bootstrap(found: GroupTable | Comparison) -> str:
    return f"bootstrap{f' of clusters by {found.cluster}' if found.cluster else ''}, seed {found.seed}"


def _usd(cost_usd: float | None, unpriced: int) -> str:
    return amount_text(cost_usd, unpriced) or "-"


def _shown_groups(found: GroupTable) -> Shown:
    """Return the groups as people read them, with a last row for all jobs."""
    rows = [*found.groups, *([found.total] if len(found.groups) > 1 else [])]
    labels = [tuple(value_text(value) for value in row.values.values()) for row in found.groups]
    labels += [("in all", *[""] * (len(found.by) - 1))] if len(rows) > len(labels) else []
    columns: dict[str, list[str]] = {"jobs": [str(row.jobs) for row in rows]}
    for name in ("failed", "rejected"):
        if getattr(found.total, name):
            columns[name] = [str(getattr(row, name)) for row in rows]
    columns["success"] = [percent_text(row.success) for row in rows]
    columns["images"] = [str(row.images) for row in rows]
    is_sandbox = found.total.sandbox_usd > 0 and found.total.sandbox_usd == found.total.cost_usd
    columns["sandbox usd" if is_sandbox else "usd"] = [_usd(row.cost_usd, row.unpriced) for row in rows]
    columns["server p50 s"] = [seconds(row.server_s.p50) for row in rows]
    columns["p95 s"] = [seconds(row.server_s.p95) for row in rows]
    header, cells = list(columns), list(columns.values())
    for name in found.total.annotations:
        estimates = [row.annotations[name] for row in rows]
        if any((one.n if one else 0) != row.images for one, row in zip(estimates, rows, strict=True)):
            header.append("n")
            cells.append([str(one.n if one else 0) for one in estimates])
        header.append(name)
        cells.append(estimate_texts(estimates))
    body = [(*label, *figures) for label, *figures in zip(labels, *cells, strict=True)]
    return Shown((*found.by, *header), body, len(found.by))


def _group_cells(found: GroupTable) -> tuple[list[str], Iterator[list[Cell]]]:
    """Return the groups as the header and the rows of a CSV file."""
    header = [*found.by, "jobs", "succeeded", "failed", "rejected", "success", "success_low", "success_high", "images"]
    header += ["cost_usd", "unpriced", "sandbox_usd", "server_p50_s", "server_p95_s"]
    names = list(found.total.annotations)
    header += [f"annotation.{name}{end}" for name in names for end in ("", "_low", "_high", "_n")]
    return header, (_row_cells(row, names) for row in found.groups)


def _row_cells(row: GroupRow, names: Iterable[str]) -> list[Cell]:
    cells: list[Cell] = [_cell(value) for value in row.values.values()]
    cells += [row.jobs, row.succeeded, row.failed, row.rejected, *_of(row.success)[:3], row.images]
    cells += [row.cost_usd, row.unpriced, row.sandbox_usd, row.server_s.p50, row.server_s.p95]
    for name in names:
        cells += _of(row.annotations[name])
    return cells


def _of(estimate: Estimate | None) -> list[Cell]:
    return [estimate.mean, estimate.low, estimate.high, estimate.n] if estimate else [None, None, None, 0]


def _cell(value: Any) -> Cell:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, bool | int | float | str | None) else value_text(value)


@_no_garbage()
def show_comparison(a: Path, b: Path, options: TableOptions) -> int:
    """Print two folders compared."""
    from venice_batch.report.compare import Comparer

    folders = (a, b)
    records = [records_of(folder) for folder in folders]
    annotations = read_annotations(a), read_annotations(b)
    _refuse_unknown("--mean", options.means or (), *annotations)
    fields = group_fields(options.by)
    for field in fields:
        if field.annotation:
            raise UsageError(
                f"--by {field.name}: two folders are compared by fields of jobs, not by annotations of images"
            )
    cluster = _cluster(options.cluster, records[0], annotations[0])
    comparer = Comparer(fields, annotations, means=options.means, cluster=cluster)
    for outcome in records[0]:
        comparer.add_first(outcome)
    if empty := comparer.empty_fields:
        refuse_absent(empty, records[0], annotations[0])
    keeps_images = options.format in ("csv", "json")
    images = [
        image for outcome in records[1] for image in comparer.add_second(outcome) if keeps_images
    ]  # fmt: skip
    images.sort(key=lambda image: (image.id, image.image or 0))
    found = comparer.comparison(*map(shown, folders), seed=options.seed)
    notes = _comparison_facts(found)
    if comparer.left_out:
        notes.append(f"{counted(comparer.left_out, 'more annotation')} in both; choose with --mean")
    if options.format == "json":
        click.echo(json_line({**msgspec.structs.asdict(found), "images": images}))
    elif options.format == "csv":
        _print_csv(*_image_cells(images, list(found.total.annotations)), notes)
    else:
        folder_names = f"A: {found.a}; B: {found.b}"
        _print(_shown_comparison(found), [folder_names, *notes, *_comparison_notes(found)], options.format)
    return 0


def _comparison_facts(found: Comparison) -> list[str]:
    """Return which jobs were compared and how they have changed, in sentences."""
    total = found.total
    only = [
        f"{jobs.count} only in {side} ({_ids(jobs)})"
        for side, jobs in (("A", found.only_a), ("B", found.only_b))
        if jobs.count
    ]
    facts = [", ".join((f"{counted(total.jobs, 'job')} in both", *only))]
    facts += [
        f"{change.a} in A, {change.b} in B: {counted(change.jobs.count, 'job')} ({_ids(change.jobs)})"
        for change in found.status_changes
    ]
    if other := total.jobs - total.same_requests:
        facts.append(f"{other} of {counted(total.jobs, 'job')} had another request in B")
    return facts


def _ids(jobs: Some) -> str:
    return ", ".join(jobs.ids) + (", …" if jobs.count > len(jobs.ids) else "")


def _comparison_notes(found: Comparison) -> list[str]:
    """Return what people should know besides, in sentences: what the numbers in brackets are, what both cost."""
    total = found.total
    notes = []
    if any(one.difference for one in total.annotations.values()):
        notes.append(f"in brackets: 95 % intervals of the mean of B - A: {_bootstrap(found)}")
    costs = [cost_text(side.cost_usd, side.unpriced, sandbox_usd=side.sandbox_usd) for side in (total.a, total.b)]
    if any(costs):
        notes.append(f"cost of the jobs in both: {costs[0] or '-'} in A, {costs[1] or '-'} in B")
    return notes


def _shown_comparison(found: Comparison) -> list[Shown]:
    """Return the groups of a comparison as people read them, and below a table of the annotations."""
    rows = [*found.groups, *([found.total] if len(found.groups) != 1 else [])]
    labels = [_label(row, found.by) for row in rows]
    header = (
        *found.by,
        "jobs",
        "done A",
        "B",
        "usd A",
        "B",
        "server p50 s A",
        "B",
        "p95 s A",
        "B",
        "size A",
        "B",
        "equal files",
    )
    figures = [(*label, *_figures(row)) for label, row in zip(labels, rows, strict=True)]
    tables = [Shown(header, figures, len(found.by))]
    names = [name for name, one in found.total.annotations.items() if one.n]
    if not names:
        return tables
    body: list[tuple[str, ...]] = []
    for name in names:
        values = [row.annotations[name] for row in rows]
        texts = estimate_texts([one.difference for one in values])
        body += [
            (*label, name, str(one.n), _mean(one.a), _mean(one.b), text, str(one.changed))
            for label, one, text in zip(labels, values, texts, strict=True)
            if one.n
        ]
    return [*tables, Shown((*found.by, "annotation", "n", "A", "B", "B - A", "changed"), body, len(found.by) + 1)]


def _label(row: GroupDifference, by: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(value_text, row.values.values())) or ("in all", *[""] * (len(by) - 1))


def _figures(row: GroupDifference) -> tuple[str, ...]:
    pairs = [
        (str(side.succeeded), _usd(side.cost_usd, side.unpriced), seconds(side.server_s.p50),
         seconds(side.server_s.p95), size(side.bytes))
        for side in (row.a, row.b)
    ]  # fmt: skip
    equal = f"{row.equal_files} of {row.compared_files}" if row.compared_files else "-"
    return (str(row.jobs), *(text for pair in zip(*pairs, strict=True) for text in pair), equal)


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _image_cells(images: Iterable[ImageDifference], names: Sequence[str]) -> tuple[list[str], list[list[Cell]]]:
    """Return the images of a comparison as the header and the rows of a CSV file."""
    pairs = ("model", "status", "cost_usd", "server_s", "total_s", "bytes")
    header = ["id", "image", "same_request", "equal_file"]
    header += [f"{name}_{side}" for name in (*pairs, *(f"annotation.{name}" for name in names)) for side in "ab"]
    rows = []
    for image in images:
        row: list[Cell] = [image.id, image.image, image.same_request, image.equal_file]
        for pair in pairs:
            row += getattr(image, pair)
        for name in names:
            row += image.annotations.get(name, (None, None))
        rows.append(row)
    return header, rows
