"""`venice-batch trust`: consent to the server that a project's settings file names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options, settings
from venice_batch.cli.commands import command
from venice_batch.cli.config_file import NAME, SettingsFile, files, read, remember
from venice_batch.cli.env import environment
from venice_batch.cli.parameters import is_bucket, option
from venice_batch.errors import UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@command()
@click.argument(
    "file", metavar="[FILE]", required=False, type=click.Path(path_type=Path), shell_complete=options.complete_files
)
@option("--yes", is_flag=True, allow_from_autoenv=False, in_files=False, help="Do not ask; for scripts.")
@option("--forget", is_flag=True, allow_from_autoenv=False, in_files=False, help="Withdraw the consent.")
@click.pass_context
def trust(ctx: click.Context, file: Path | None, yes: bool, forget: bool) -> int:
    """Let FILE, a project's venice-batch.toml (default: the nearest), decide which server gets the API key.

    It may then also name buckets, for which your credentials are used. Shows all settings in the file and asks. The
    consent covers the file's present content; a change needs another.
    """
    found = _project(file)
    if forget:
        remember(found, trusted=False)
        click.echo(one_line(f"{found.path} is no longer trusted"))
        return 0
    settings.check_all(ctx, [found])
    servers = [value for keys, value in _values(found.tables) if keys[-1] == "base-url"]
    buckets = _buckets(found.tables)
    if all(str(server).rstrip("/") == options.VENICE for server in servers) and not buckets:
        click.echo(one_line(f"{found.path} names no server other than {options.VENICE}: nothing needs your consent"))
        return 0
    from venice_batch.api.client import ApiSettings

    for server in dict.fromkeys(servers):
        ApiSettings(base_url=str(server))  # before it is shown: it may hold a password, or not be an address
        click.echo(one_line(f"the API key goes to {server}"))
    for what in buckets:
        click.echo(one_line(what))
    for keys, value in _values(found.tables):
        click.echo(one_line(f"  {'.'.join(keys)} = {value!r}"))
    if not yes:
        if not environment().can_ask:
            raise UsageError("trust: there is no terminal to ask on; read the file, then give --yes")
        if not click.confirm(one_line(f"Trust {found.path} as it is?"), err=True):
            click.echo("not trusted", err=True)
            return 1
    remember(found, trusted=True)
    click.echo(one_line(f"{found.path} is trusted until it changes"))
    return 0


def _project(path: Path | None) -> SettingsFile:
    """Return the file at `path`, else the project's nearest. Raises UsageError."""
    if path is not None:
        return read(path, is_project=True)
    found = [file for file in files() if file.is_project]
    if not found:
        raise UsageError(f"trust: there is no {NAME} here or above; give FILE")
    return found[0]


def _buckets(tables: Mapping[str, Any]) -> list[str]:
    """Return what the settings say about buckets, as sentences."""
    found = []
    for keys, value in _values(tables):
        addresses = filter(is_bucket, value if isinstance(value, list) else [value])
        found += [f"your credentials are used for {address}" for address in addresses]
        if keys[-1] == "bucket-without-lock" and value:
            found.append("a bucket without a lock is accepted, where two runs can disturb each other")
    return list(dict.fromkeys(found))


def _values(tables: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value of a file with its keys."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _values(value, (*above, key))
        else:
            yield (*above, key), value
