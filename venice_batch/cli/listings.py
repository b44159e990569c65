"""`venice-batch models`, `styles`, `limits`: what the API lists, as tables or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from venice_batch.cli import options
from venice_batch.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from venice_batch.api.client import ApiClient

T = TypeVar("T")


@click.command(context_settings=options.CONTEXT)
@options.base_url
@options.api_key_file
@options.use_sandbox
@options.as_json
def models(base_url: str, api_key_file: Path | None, sandbox: bool, as_json: bool) -> int:
    """List the image models: price, sizes, limits."""
    listed = _ask(lambda api: api.models(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        return _json(listed)
    return _table(("model", "usd", "sizes", "prompt", "steps", "traits"), [_model_row(entry) for entry in listed])


@click.command(context_settings=options.CONTEXT)
@options.base_url
@options.api_key_file
@options.use_sandbox
@options.as_json
def styles(base_url: str, api_key_file: Path | None, sandbox: bool, as_json: bool) -> int:
    """List the names that `style_preset` takes."""
    listed = _ask(lambda api: api.styles(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        return _json(listed)
    click.echo("\n".join(map(one_line, listed)))
    return 0


@click.command(context_settings=options.CONTEXT)
@options.base_url
@options.api_key_file
@options.use_sandbox
@options.as_json
def limits(base_url: str, api_key_file: Path | None, sandbox: bool, as_json: bool) -> int:
    """Show the key's balances, its expiry and each model's requests a minute and a day."""
    found = _ask(lambda api: api.limits(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        return _json(found)
    balances = ", ".join(f"{amount:g} {name}" for name, amount in found.balances.items()) or "none"
    click.echo(one_line(f"balance: {balances}; tier: {found.tier}; key expires: {found.key_expires or 'never'}"))
    rows = [(name, quota.rpm, quota.rpd) for name, quota in sorted(found.quotas.items())]
    return _table(("model", "a minute", "a day"), rows)


def _ask(ask: Callable[[ApiClient], Awaitable[T]], base_url: str, key_file: Path | None, *, sandbox: bool) -> T:
    import anyio

    from venice_batch.api.client import ApiClient, ApiSettings
    from venice_batch.api.secret import ApiKey, find_key
    from venice_batch.clock import SystemClock

    async def go(url: str, key: ApiKey) -> T:
        async with ApiClient(ApiSettings(base_url=url), key, SystemClock()) as api:
            return await ask(api)

    async def go_sandbox() -> T:
        from venice_batch.sandbox import serve

        async with serve() as server:
            return await go(server.base_url, ApiKey("sandbox"))

    return anyio.run(go_sandbox) if sandbox else anyio.run(go, base_url, find_key(key_file))


def _json(value: object) -> int:
    import msgspec

    click.echo(msgspec.json.encode(value))
    return 0


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> int:
    from venice_batch.cli.table import table

    click.echo(table(header, rows))
    return 0


def _model_row(entry: dict[str, Any]) -> tuple[Any, ...]:
    spec = entry.get("model_spec") or {}
    constraints = spec.get("constraints") or {}
    if constraints.get("resolutions"):
        sizes = f"ratio at {'/'.join(constraints['resolutions'])}"
    elif constraints.get("aspectRatios"):
        sizes = "ratio"
    else:
        sizes = f"pixels by {constraints.get('widthHeightDivisor', 1)}"
    return (
        entry["id"],
        _prices(spec.get("pricing") or {}),
        sizes,
        constraints.get("promptCharacterLimit"),
        (constraints.get("steps") or {}).get("max"),
        ", ".join(spec.get("traits") or ()) or None,
    )


def _prices(pricing: dict[str, Any]) -> str:
    found = [pricing["generation"]["usd"]] if "generation" in pricing else []
    found += [price["usd"] for price in pricing.get("resolutions", {}).values()]
    found += [price["usd"] for tier in pricing.get("quality", {}).values() for price in tier.values()]
    if not found:
        return "?"
    low, high = min(found), max(found)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
