"""`venice-batch schema`: what a job may hold, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from venice_batch.cli import destinations, options
from venice_batch.cli.command import command

if TYPE_CHECKING:
    from pathlib import Path


@command(like="run")
@destinations.outfile
@options.default_fields
@options.option("--array", is_flag=True, help="Of an array of jobs, which is what an editor takes for one file.")
def schema(output: Path | None, settings: tuple[str, ...], array: bool, **_: Any) -> int:
    """Write the JSON Schema (draft 2020-12) of a line of a jobs file.

    It knows every endpoint, field and type, and suggests the models and styles of the packaged list. A field that
    --set gives, or a settings file, need not stand in the line. What depends on the model is for `check` to say.
    """
    import orjson

    from venice_batch.catalogue import snapshot
    from venice_batch.catalogue.capabilities import offers
    from venice_batch.jobfile import Defaults
    from venice_batch.jobfile.schema import schema as schema_of

    listing = snapshot()
    suggestions = offers(listing.catalogue(listing.asked_unix_s), listing.styles or ())
    found = schema_of(Defaults.of(settings).values, suggestions, array=array)
    with destinations.opened(output) as file:
        file.write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return 0
