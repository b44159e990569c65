"""The options that say how columns of a file become fields of jobs: `--from`, `--map`, `--unknown`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from venice_batch.cli import settings
from venice_batch.cli.config_file import files
from venice_batch.cli.job_settings import prompt_sets
from venice_batch.cli.parameters import group, option
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from venice_batch.jobfile.mapping import FieldMap
    from venice_batch.jobfile.sets import PromptSet


def complete_columns(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the `FIELD=` of a map; nothing after it."""
    from venice_batch.jobfile.mapping import METADATA, TARGETS

    return [] if "=" in incomplete else _starting(incomplete, (*(f"{name}=" for name in sorted(TARGETS)), METADATA))


def complete_sets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the names of prompt sets, the user's own included."""
    from venice_batch.jobfile.sets import packaged

    own: set[str] = set()
    with suppress(UsageError):
        own = {name for file in files() for name in prompt_sets(file)}
    return _starting(incomplete, sorted({*packaged(), *own}))


def _starting(incomplete: str, words: Iterable[str]) -> list[CompletionItem[str]]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


columns = group(
    option(
        "--from",
        "prompt_set",
        metavar="NAME",
        shell_complete=complete_sets,
        help="Read JOBS as a published prompt set; `venice-batch sets` lists them.",
    ),
    option(
        "--map",
        "field_map",
        multiple=True,
        in_files=False,
        metavar="FIELD=NAME",
        shell_complete=complete_columns,
        help="Take FIELD from the column NAME of JOBS, such as prompt=Caption, id=meta.key or metadata.tag=Tags.",
    ),
    option(
        "--unknown",
        type=click.Choice(["error", "metadata"]),
        show_default="error",
        help="With metadata, keep what is no field of a job as its metadata, as with the columns of a table.",
    ),
)


def chosen_set(given: Mapping[str, Any]) -> PromptSet | None:
    """Return the prompt set of `--from`, if the command has the option and it is given. Raises UsageError."""
    if not given.get("prompt_set"):
        return None
    from venice_batch.jobfile.sets import named

    return named(given["prompt_set"], settings.of_command().sets)


def field_map(given: Mapping[str, Any]) -> FieldMap | None:
    """Return how columns become fields, by `--map`, `[map]`, `--unknown` and `--from`; None if nothing is given.

    Raises:
        UsageError: a field or a prompt set does not exist.
    """
    remembered = settings.of_command().columns
    if not (given["field_map"] or given["unknown"] or given["prompt_set"] or remembered):
        return None
    from venice_batch.jobfile import sets
    from venice_batch.jobfile.mapping import entry, parse_map

    asked = parse_map(given["field_map"], allow_unknown=given.get("allow_unknown", False))
    kept = [entry(name, one.value, f"{one.where}: map.{name}") for name, one in remembered.items()]
    return sets.field_map(asked, kept, chosen_set(given), given["unknown"])
