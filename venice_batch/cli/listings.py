"""`venice-batch models`, `styles`, `limits`: what the API lists, as tables or JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from venice_batch.api.secret import ApiKey, find_key
from venice_batch.cli import options
from venice_batch.cli.command import command
from venice_batch.errors import ApiError, KeyMissingError, one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from venice_batch.api.client import ApiClient
    from venice_batch.catalogue import Catalogue, Listing, Model
    from venice_batch.catalogue.models import Kind

T = TypeVar("T")

use_list_at_hand = options.option(
    "--offline", is_flag=True, help="Ask nobody: show the last list that was had, or the packaged one."
)


@command(like="run")
@options.option(
    "--type",
    "kind",
    type=click.Choice(["image", "inpaint", "upscale"]),
    default="image",
    show_default=True,
    help="What the models do: make images, edit them, enlarge them.",
)
@options.base_url
@options.api_key_file
@options.use_sandbox
@use_list_at_hand
@options.as_json
def models(kind: Kind, base_url: str, api_key_file: Path | None, sandbox: bool, offline: bool, as_json: bool) -> int:
    """List the image models: price, sizes, limits, traits. Needs no key."""
    from venice_batch.catalogue.listing import renewed

    if offline:
        listing = _at_hand(base_url)
    else:
        entries = _listed(lambda api: api.models(kind), base_url, api_key_file, sandbox=sandbox)
        listing = renewed(entries, None, now_unix_s=time.time(), earlier=())
    if as_json:
        return _json(listing.of_kind(kind))
    catalogue = listing.catalogue(time.time())
    return _table(_HEADERS[kind], [_model_row(model, catalogue) for model in catalogue.of_kind(kind)])


@command(like="run")
@options.base_url
@options.api_key_file
@options.use_sandbox
@use_list_at_hand
@options.as_json
def styles(base_url: str, api_key_file: Path | None, sandbox: bool, offline: bool, as_json: bool) -> int:
    """List the names that `style_preset` takes. Needs no key."""
    if offline:
        listed = _at_hand(base_url).styles or ()
    else:
        listed = _listed(lambda api: api.styles(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        return _json(listed)
    click.echo("\n".join(map(one_line, listed)))
    return 0


@command(like="run")
@options.base_url
@options.api_key_file
@options.use_sandbox
@options.as_json
def limits(base_url: str, api_key_file: Path | None, sandbox: bool, as_json: bool) -> int:
    """Show the key's balances, its expiry and each model's images a minute and a day."""
    found = _ask(lambda api: api.limits(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        return _json(found)
    balances = ", ".join(f"{amount:g} {name}" for name, amount in found.balances.items()) or "none"
    click.echo(one_line(f"balance: {balances}; tier: {found.tier}; key expires: {found.key_expires or 'never'}"))
    if not found.access:
        click.echo("the key has no access (accessPermitted is false): requests that cost something are refused")
    rows = [(name, quota.rpm, quota.rpd) for name, quota in sorted(found.quotas.items())]
    return _table(("model", "a minute", "a day"), rows)


def connect(base_url: str, key: ApiKey | None) -> ApiClient:
    """A session with the API; without a key for what is open to all."""
    from venice_batch.api.client import ApiClient, ApiSettings
    from venice_batch.clock import SystemClock

    return ApiClient(ApiSettings(base_url=base_url), key or _NoKey(), SystemClock())


class _NoKey(ApiKey):
    """What is sent in a key's place where none is needed: nothing."""

    def __init__(self) -> None:
        super().__init__("none")

    def header(self) -> str:
        return ""

    def redact(self, text: str) -> str:
        return text

    def redact_bytes(self, body: bytes, *, whole: bool = True) -> bytes:
        return body


class _AskedOnce:
    """The API's listings, none of which is asked for twice."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._models: dict[Kind, tuple[dict[str, Any], ...]] = {}
        self._styles: tuple[str, ...] | None = None

    async def models(self, kind: Kind = "image") -> tuple[dict[str, Any], ...]:
        if kind not in self._models:
            self._models[kind] = await self._api.models(kind)
        return self._models[kind]

    async def styles(self) -> tuple[str, ...]:
        if self._styles is None:
            self._styles = await self._api.styles()
        return self._styles


def _listed(show: Callable[[_AskedOnce], Awaitable[T]], base_url: str, key_file: Path | None, *, sandbox: bool) -> T:
    """What is to be shown, live; the rest of the lists is asked for as well, so that all can be kept for `check`."""
    from venice_batch.catalogue import Cache, ask

    cache = Cache.of_user()

    async def go(api: ApiClient) -> T:
        lists = _AskedOnce(api)
        shown = await show(lists)
        if not sandbox and cache.keeps(base_url):
            await ask(lists, base_url, cache, now_unix_s=time.time())
        return shown

    return _ask(go, base_url, key_file, sandbox=sandbox, public=True)


def _ask(
    ask: Callable[[ApiClient], Awaitable[T]],
    base_url: str,
    key_file: Path | None,
    *,
    sandbox: bool,
    public: bool = False,
) -> T:
    import anyio

    async def go(url: str, key: ApiKey | None) -> T:
        async with connect(url, key) as api:
            return await ask(api)

    async def go_sandbox() -> T:
        from venice_batch.sandbox import serve

        async with serve() as server:
            return await go(server.base_url, ApiKey("sandbox"))

    if sandbox:
        return anyio.run(go_sandbox)
    try:
        key: ApiKey | None = find_key(key_file)
    except KeyMissingError:
        if not public:
            raise
        key = None
    return anyio.run(go, base_url, key)


def _at_hand(base_url: str) -> Listing:
    """The list that is had without asking. Raises ApiError if there is none."""
    from venice_batch.catalogue import Cache, at_hand

    found = at_hand(base_url, Cache.of_user(), now_unix_s=time.time())
    click.echo(one_line(f"venice-batch: {found.notice}"), err=True)
    if found.listing is None:
        raise ApiError(
            "there is nothing to show offline: a server's list is kept when it is asked for, a local one's is not"
        )
    return found.listing


def _json(value: object) -> int:
    import msgspec

    click.echo(msgspec.json.encode(value))
    return 0


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> int:
    from venice_batch.cli.table import table

    click.echo(table(header, rows))
    return 0


_HEADERS = {
    "image": ("model", "usd", "sizes", "prompt", "steps", "traits", "marks"),
    "inpaint": ("model", "usd", "sizes", "prompt", "images", "traits", "marks"),
    "upscale": ("model", "usd", "traits", "marks"),
}


def _model_row(model: Model, catalogue: Catalogue) -> tuple[Any, ...]:
    columns: dict[str, tuple[Any, ...]] = {
        "image": (_sizes(model), model.prompt_limit, model.steps_max),
        "inpaint": (_sizes(model), model.prompt_limit, model.max_inputs),
        "upscale": (),
    }
    return (
        model.id,
        _prices(model),
        *columns[model.kind],
        # Of models that share a trait the first is the one that the trait names.
        ", ".join(trait for trait in model.traits if catalogue.resolve(trait, model.kind) is model) or None,
        ", ".join(_marks(model)) or None,
    )


def _sizes(model: Model) -> str:
    if not model.by_ratio:
        return f"pixels by {model.divisor}" if model.divisor else "pixels"
    return f"ratio at {'/'.join(model.resolutions)}" if model.resolutions else "ratio"


def _prices(model: Model) -> str:
    from venice_batch.catalogue import usd_text

    pricing = model.pricing
    found = list(pricing.qualities.values()) or list(pricing.tiers.values())
    if not found and pricing.image is not None:
        found = [pricing.image]
    # The listing puts the prices of upscaling beside those of every image model, too.
    if model.kind == "upscale":
        found = list(pricing.scales.values())
    if not found:
        return "?"
    low, high = min(found), max(found)
    return usd_text(low) if low == high else f"{usd_text(low)}-{usd_text(high)}"


def _marks(model: Model) -> list[str]:
    marks = ["offline"] if model.offline else []
    if model.beta_users_only:
        marks.append("beta users only")
    elif model.beta:
        marks.append("beta")
    if model.regions:
        marks.append(f"for {'/'.join(model.regions)}")
    gone = model.deprecation
    if gone is not None:
        when = f" {gone.ends:%Y-%m-%d}" if gone.ends else ""
        marks.append(f"deprecated{when}" + (f" -> {gone.replacement}" if gone.replacement else ""))
    return marks
