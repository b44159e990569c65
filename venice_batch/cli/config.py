"""`venice-batch config`: show every setting that applies here, and where it comes from."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from venice_batch.cli import options, settings
from venice_batch.cli.commands import COMMANDS, Command, command
from venice_batch.cli.parameters import Option
from venice_batch.errors import KeyMissingError, UsageError, one_line

if TYPE_CHECKING:
    from pathlib import Path


class Row(NamedTuple):
    """One setting: its value, and the source of the value."""

    name: str
    value: Any
    origin: str


@command()
@click.argument("of", metavar="[COMMAND]", type=click.Choice(list(COMMANDS)), default="run")
@options.as_json
@click.pass_context
def config(ctx: click.Context, of: str, as_json: bool) -> int:
    """Show the settings of COMMAND (default: run) that apply here, and where each comes from.

    Checks all tables of the settings files. Shows only whether there is an API key, never the key.
    """
    read: settings.Settled = ctx.meta[settings.SETTLED]
    settings.check_all(ctx, read.files)
    shown = settings.command_named(ctx, of)
    settled = settings.settle(ctx, shown, read.files, read.profile)
    rows, values = _rows(shown, settled, ctx.parent)
    fields = [Row(".".join(keys), setting.value, setting.where) for keys, setting in settled.job_fields.items()]
    takes_jobs = settings.takes_job_fields(shown)
    takes_columns = any(param.name == "field_map" for param in shown.params)
    columns = [Row(name, setting.value, setting.where) for name, setting in settled.columns.items() if takes_columns]
    key = _key(values["api_key_file"], rows) if "api_key_file" in values else None
    if as_json:
        from venice_batch.cli.text import json_line

        report = {
            "command": of,
            "files": [str(file.path) for file in read.files],
            "profile": read.profile,
            "options": {row.name: {"value": row.value, "from": row.origin} for row in rows},
            "defaults": {row.name: {"value": row.value, "from": row.origin} for row in fields} if takes_jobs else None,
            "map": {row.name: {"value": row.value, "from": row.origin} for row in columns} if takes_columns else None,
            "api_key": {"present": key.value == "present", "from": key.origin} if key else None,
        }
        click.echo(json_line(report))
        return 0
    from venice_batch.cli.text import table

    files = ", ".join(str(file.path) for file in read.files) or "none"
    profile = f"; profile: {read.profile}" if read.profile is not None else ""
    click.echo(one_line(f"files: {files}{profile}"))
    rows += [Row(f"defaults.{row.name}", row.value, row.origin) for row in fields if takes_jobs]
    rows += [Row(f"map.{row.name}", row.value, row.origin) for row in columns]
    rows += [key] if key else []
    click.echo(table((of, "value", "from"), [(row.name, _text(row.value), row.origin) for row in rows]))
    return 0


def _rows(shown: Command, settled: settings.Settled, parent: click.Context | None) -> tuple[list[Row], dict[str, Any]]:
    """Return the options that a file may set, with their values as the command would get them.

    Raises click.BadParameter if an option does not take the value of its variable.
    """
    listed = settings.settable(shown)
    # Only a command line gives arguments and required options.
    alone = click.Command(shown.name, params=[*map(copy, listed.values())])
    for option in alone.params:
        option.required = False
    context = alone.make_context(shown.name, [], parent=parent, default_map=settled.default_map)
    options.settle_server(context)
    return [
        Row(name, context.params[str(option.name)], _origin(option, context, settled))
        for name, option in listed.items()
        if not option.hidden
    ], context.params


def _origin(option: Option, context: click.Context, settled: settings.Settled) -> str:
    name = str(option.name)
    source = context.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return str(option.envvar)
    return settled.options[name].where if source is ParameterSource.DEFAULT_MAP else "default"


def _key(file: Path | None, rows: list[Row]) -> Row:
    from venice_batch.api.key import VARIABLE, find_key

    origin = next(f"{row.value} ({row.origin})" for row in rows if row.name == "api-key-file") if file else VARIABLE
    try:
        find_key(file)
    except KeyMissingError:
        return Row("API key", "absent", f"set {VARIABLE}, or give --api-key-file")
    except UsageError as error:
        return Row("API key", f"unusable: {error}", origin)
    return Row("API key", "present", origin)


def _text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or None
    if isinstance(value, dict):
        return ",".join(f"{name}={amount:g}" for name, amount in value.items())
    return value
