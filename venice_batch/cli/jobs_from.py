"""`venice-batch jobs-from`: write an earlier run's jobs as a jobs file, unchanged or changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import destinations, options
from venice_batch.cli.commands import command
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import AnyOf, group, option
from venice_batch.errors import FolderError, UsageError, one_line
from venice_batch.model import Flags, Status

if TYPE_CHECKING:
    from venice_batch.report.jobs_from import Choice, Derivation


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
        type=click.IntRange(1, 5),
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
        type=click.IntRange(1, 1000),
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
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path), shell_complete=options.complete_folders)
@destinations.outfile
@_which
@_new
@_changes
def jobs_from(folder: Path, output: Path | None, **given: Any) -> int:
    """Write the jobs in the folder OUT's manifest as a jobs file: all, or those that meet every condition.

    Unchanged jobs are the same jobs: a run into OUT finds them done. Several values of one condition mean any of them;
    --status and --flag also take them separated by commas. With --upscale, --edit, --cut-out or --vary it writes new
    jobs, one for each image: `venice-batch jobs-from OUT --picked --upscale 2 | venice-batch -`.
    """
    from venice_batch.jobfile import native_line, parse_field, parse_setting
    from venice_batch.output import manifest
    from venice_batch.output.annotations import Annotations, read_annotations
    from venice_batch.output.marks import read_marks
    from venice_batch.output.resume import LatestRecords
    from venice_batch.report.conditions import parse_condition
    from venice_batch.report.jobs_from import Changes, Choice, ParentWords, jobs_of

    path = folder / manifest.NAME
    if not path.is_file():
        raise FolderError(folder, f"holds no {manifest.NAME}; is it a run's output folder?")
    allow_unknown = given["allow_unknown"]
    values = dict(parse_setting(setting, allow_unknown=allow_unknown) for setting in given["settings"])
    without = frozenset(name if allow_unknown else parse_field(name, "--unset") for name in given["unset"])
    if both := sorted(without & values.keys()):
        raise UsageError(f"--set and --unset both name {', '.join(both)}")
    derivation = _derivation(given)
    if given["vary"] and "seed" in values:
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
    changes = Changes(values, without, given["suffix"])
    with destinations.opened(output) as file:
        records = LatestRecords(path)
        jobs = jobs_of(
            records.numbered(),
            choice=choice,
            changes=changes,
            source=str(path),
            derivation=derivation,
            words=ParentWords(records),
            allow_unknown=allow_unknown,
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
            click.echo(one_line(f"venice-batch: {why}; no jobs were written"), err=True)
    return 0


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
