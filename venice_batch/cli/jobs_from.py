"""`venice-batch jobs-from`: write an earlier run's jobs as a jobs file, unchanged or changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import destinations, folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import AnyOf, WholeNumber, group, option
from venice_batch.errors import FolderError, UsageError, one_line
from venice_batch.model import Flags, Status
from venice_batch.output.originals import shown

if TYPE_CHECKING:
    from venice_batch.report.jobs_from import Changes, Choice, Derivation


_which = group(
    option("--status", multiple=True, type=AnyOf(*Status), help="Only jobs with this status."),
    option("--flag", multiple=True, type=AnyOf(*Flags.__struct_fields__), help="Only jobs with one of these flags."),
    option(
        "--model",
        "models",
        multiple=True,
        metavar="MODEL",
        shell_complete=options.complete_models,
        help="Only jobs of this model; repeatable.",
    ),
    option(
        "--id",
        "ids",
        multiple=True,
        metavar="PATTERN",
        help="Only jobs whose id matches, as in sea-*; sea-7#2 is the second image of sea-7; repeatable.",
    ),
    option(
        "--ids-from",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE",
        help="Only these ids, one a line.",
    ),
    option("--picked", is_flag=True, allow_from_autoenv=False, help="Only images that you marked as picked."),
    option("--rejected", is_flag=True, allow_from_autoenv=False, help="Only images that you marked as rejected."),
    option(
        "--min-rating",
        type=WholeNumber(1, 5),
        allow_from_autoenv=False,
        help="Only images that you gave a rating of N or more.",
    ),
    option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        allow_from_autoenv=False,
        help="Only images with an annotation like score<0.5 or label=cat; repeatable, all must hold.",
    ),
    heading="Which jobs and images",
)

_new = group(
    option(
        "--upscale",
        type=click.Choice(["2", "4"]),
        allow_from_autoenv=False,
        help="Make each image 2 or 4 times as wide and high.",
    ),
    option("--edit", metavar="PROMPT", allow_from_autoenv=False, help="Change each image as PROMPT says."),
    option("--cut-out", is_flag=True, allow_from_autoenv=False, help="Remove each image's background."),
    option(
        "--vary",
        type=WholeNumber(1, 1000),
        allow_from_autoenv=False,
        help="Make N more images like each, with new seeds.",
    ),
    heading="New jobs from the images",
)

_changes = group(
    option(
        "--set",
        "settings",
        multiple=True,
        metavar="FIELD=VALUE",
        allow_from_autoenv=False,
        shell_complete=options.complete_job_fields,
        help="Replace a field.",
    ),
    option("--unset", multiple=True, metavar="FIELD", allow_from_autoenv=False, help="Drop a field."),
    option(
        "--suffix",
        default="",
        metavar="TEXT",
        allow_from_autoenv=False,
        help="Add TEXT to each id; to that of a new job in place of -x2, -cutout and the like.",
    ),
    options.allow_unknown,
    heading="Changes",
)


@command()
@click.argument(
    "sources",
    metavar="OUT|IMAGE…",
    nargs=-1,
    required=True,
    type=folders.AnyFolder(),
    shell_complete=options.complete_folders,
)
@destinations.outfile
@_which
@_new
@_changes
@folders.reads("sources")
def jobs_from(sources: tuple[Path, ...], output: Path | None, **given: Any) -> int:
    """Write the jobs in the folder OUT's manifest as a jobs file: all, or those that meet every condition.

    Unchanged jobs are the same jobs: a run into OUT finds them done. Several values of one condition mean any of them;
    --status and --flag also take them separated by commas. With --upscale, --edit, --cut-out or --vary it writes new
    jobs, one for each image: `venice-batch jobs-from OUT --picked --upscale 2 | venice-batch -`.

    From images, or folders of them, it writes the jobs that they hold: those of `export --embed`, and the parameters of
    Stable Diffusion programs.
    """
    from venice_batch.jobfile import native_line
    from venice_batch.output import manifest
    from venice_batch.output.annotations import Annotations, read_annotations
    from venice_batch.output.marks import read_marks
    from venice_batch.output.resume import LatestRecords
    from venice_batch.report.conditions import parse_condition
    from venice_batch.report.jobs_from import Choice, ParentWords, jobs_of

    folder = sources[0]
    path = folder / manifest.NAME
    if _has_images(sources):
        return _from_images(sources, output, given)
    if not path.is_file():
        raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
    changes = _changes_of(given)
    derivation = _derivation(given)
    if derivation is not None and derivation.endpoint is not None:
        folders.need_local(folder, "the new jobs would send images that are in a bucket")
    if given["vary"] and "seed" in changes.values:
        raise UsageError("--vary chooses the seeds; leave out --set seed")
    marked = frozenset(mark for mark in ("picked", "rejected") if given[mark])
    where = tuple(parse_condition(text, "--where") for text in given["where"])
    annotations = read_annotations(folder) if where else Annotations()
    has_marks = bool(marked or given["min_rating"])
    choice = Choice(
        statuses=frozenset(status for word in given["status"] for status in word),
        flags=frozenset(flag for word in given["flag"] for flag in word),
        models=frozenset(given["models"]),
        ids=given["ids"],
        listed=frozenset() if given["ids_from"] is None else _listed(given["ids_from"]),
        marked=marked,
        min_rating=given["min_rating"],
        marks=read_marks(folder) if has_marks else {},
        where=where,
        annotations=annotations,
    )
    with destinations.opened(output) as file:
        records = LatestRecords(path)
        jobs = jobs_of(
            records.numbered(),
            choice=choice,
            changes=changes,
            source=shown(path),
            derivation=derivation,
            words=ParentWords(records),
            allow_unknown=given["allow_unknown"],
        )
        file.writelines(map(native_line, jobs))
        _refuse_unmet(choice, path)
        if not file.tell():
            why = f"no record in {path} matches"
            if has_marks and not choice.marks:
                why = f"no image in {folder} is marked yet (venice-batch view {folder})"
            elif missing := [one.name for one in where if one.name not in annotations.names]:
                has = f"there is {', '.join(annotations.names[:10])}" if annotations.names else "there are none yet"
                why = f"no image in {folder} has the annotation {missing[0]!r}; {has}"
            click.echo(one_line(f"venice-batch: {shown(why)}; no jobs were written"), err=True)
    return 0


_ABOUT_RECORDS = (
    "status", "flag", "models", "ids", "ids_from", "picked", "rejected", "min_rating", "upscale", "edit", "cut_out",
    "vary",
)  # fmt: skip
"""Options that need the records of an output folder."""


def _has_images(sources: tuple[Path, ...]) -> bool:
    """Return whether the sources are images, or folders of them, instead of an output folder.

    Raises:
        UsageError: there is an output folder beside something else.
    """
    from venice_batch.output import manifest
    from venice_batch.report.image_jobs import image_files

    for source in sources:
        if (source / manifest.NAME).is_file():
            if len(sources) > 1:
                raise UsageError(f"{source} is an output folder; give it alone, or else only images and their folders")
            return False
    if len(sources) > 1 or not sources[0].is_dir():
        return len(sources) > 1 or sources[0].is_file() or bool(sources[0].suffix)
    return next(image_files(sources), None) is not None


def _from_images(sources: tuple[Path, ...], output: Path | None, given: dict[str, Any]) -> int:
    """Write the jobs that images hold."""
    from venice_batch.catalogue import Cache, at_hand
    from venice_batch.catalogue.models import KINDS
    from venice_batch.jobfile import native_line
    from venice_batch.report.image_jobs import ImageJobs, image_files

    for param in click.get_current_context().command.params:
        if param.name in _ABOUT_RECORDS and given[param.name] not in ((), None, False):
            raise UsageError(f"{param.opts[0]} is about the records of an output folder; images hold only their recipe")
    now = environment().now()
    listing = at_hand(options.VENICE, Cache.of_user(), now_unix_s=now).listing
    models = None if listing is None else listing.catalogue(now)

    def is_model(name: str) -> bool:
        return models is None or any(models.resolve(name, kind) is not None for kind in KINDS)

    found = ImageJobs(_changes_of(given), is_model=is_model, allow_unknown=given["allow_unknown"])
    with destinations.opened(output) as file:
        file.writelines(map(native_line, found.jobs(image_files(sources))))
        for notice in found.notices:
            click.echo(f"venice-batch: {notice}", err=True)
        if not file.tell():
            click.echo("venice-batch: no jobs were written", err=True)
    return 0


def _changes_of(given: dict[str, Any]) -> Changes:
    """Return the changes that the options ask for. Raises UsageError."""
    from venice_batch.jobfile import parse_field, parse_setting
    from venice_batch.report.jobs_from import Changes

    allow_unknown = given["allow_unknown"]
    values = dict(parse_setting(setting, allow_unknown=allow_unknown) for setting in given["settings"])
    without = frozenset(name if allow_unknown else parse_field(name, "--unset") for name in given["unset"])
    if both := sorted(without & values.keys()):
        raise UsageError(f"--set and --unset both name {', '.join(both)}")
    return Changes(values, without, given["suffix"])


def _derivation(given: dict[str, Any]) -> Derivation | None:
    """Return the kind of new jobs that the options ask for. Raises UsageError if they ask for several."""
    from venice_batch.report.jobs_from import Derivation

    options = {"--upscale": "upscale", "--edit": "edit", "--cut-out": "cut_out", "--vary": "vary"}
    asked = [option for option, name in options.items() if given[name] not in (None, False)]
    if len(asked) > 1:
        raise UsageError(
            f"{' and '.join(asked)} make different jobs; give one, run it, then use the other on its output"
        )
    if given["upscale"]:
        return Derivation.upscale(int(given["upscale"]))
    if given["edit"] is not None:
        return Derivation.edit(given["edit"])
    if given["cut_out"]:
        return Derivation.cut_out()
    return Derivation.vary(given["vary"]) if given["vary"] else None


def _listed(path: Path) -> frozenset[str]:
    """Return the ids in a file, one a line, without blank lines. Raises UsageError."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = _stdin() if str(path) == "-" else path.read_bytes()
        ids = frozenset(line for line in text.decode("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--ids-from: {name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not ids:
        raise UsageError(f"--ids-from: {name} holds no ids")
    return ids


def _stdin() -> bytes:
    stdin = environment().stdin_bytes
    if stdin is None:
        raise UsageError("--ids-from: nothing is connected to standard input")
    return stdin.read()


def _refuse_unmet(choice: Choice, path: Path) -> None:
    """Refuse ids without a record: a typing mistake must not silently drop a job."""
    unmet = choice.unmet
    if unmet:
        shown = ", ".join(map(repr, unmet[:5])) + (f" and {len(unmet) - 5} more" if len(unmet) > 5 else "")
        raise UsageError(one_line(f"no record in {path} has the id {shown}; nothing was written"))
