"""`venice-batch limits`: the key's balances, and each model's quota."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.connection import ask_api
from venice_batch.cli.text import json_line, table, terminal_width
from venice_batch.errors import one_line

if TYPE_CHECKING:
    from pathlib import Path


@command(like="run")
@options.base_url
@options.api_key_file
@options.use_sandbox
@options.as_json
def limits(base_url: str, api_key_file: Path | None, sandbox: bool, as_json: bool) -> int:
    """Show the key's balances and expiry, and each model's images a minute and a day."""
    found = ask_api(lambda api: api.limits(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        click.echo(json_line(found))
        return 0
    balances = ", ".join(f"{amount:g} {name}" for name, amount in found.balances.items()) or "none"
    click.echo(one_line(f"balance: {balances}; tier: {found.tier}; key expires: {found.key_expires or 'never'}"))
    if not found.access:
        click.echo("the key has no access (accessPermitted is false): the API refuses requests that cost money")
    rows = [(name, quota.rpm, quota.rpd) for name, quota in sorted(found.quotas.items())]
    click.echo(table(("model", "a minute", "a day"), rows, width=terminal_width(sys.stdout)))
    return 0
