"""`venice-batch schema`: write the JSON Schema of a job, for editors, or of a line of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from venice_batch.cli import destinations, options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@command(like="run")
@destinations.outfile
@options.default_fields
@option("--array", is_flag=True, help="Describe an array of jobs, as editors read one file.")
@option("--log", is_flag=True, help="Describe a line of --log-format json instead.")
def schema(output: Path | None, array: bool, log: bool, **given: Any) -> int:
    """Write the JSON Schema (draft 2020-12) of a line of a jobs file, or of a log.

    For jobs, it has every endpoint, field and type, and suggests the models and styles of the packaged list. A line may
    omit fields that --set or a settings file gives. `check` finds mistakes that depend on the model.
    """
    import orjson

    found = _of_log() if log else _of_job(options.job_defaults(given).values, array=array)
    with destinations.opened(output) as file:
        file.write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return 0


def _of_log() -> dict[str, Any]:
    from venice_batch.report.log_lines import schema as schema_of

    return schema_of()


def _of_job(defaults: Mapping[str, Any], *, array: bool) -> dict[str, Any]:
    from venice_batch.catalogue import snapshot
    from venice_batch.catalogue.capabilities import offers
    from venice_batch.jobfile.schema import schema as schema_of

    listing = snapshot()
    suggestions = offers(listing.catalogue(listing.asked_unix_s), listing.styles or ())
    return schema_of(defaults, suggestions, array=array)
