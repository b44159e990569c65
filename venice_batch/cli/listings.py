"""`venice-batch models`, `styles`, `limits`: what the API lists, as tables or JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from venice_batch.api.key import ApiKey, find_key
from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.parameters import option
from venice_batch.errors import ApiError, KeyMissingError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from venice_batch.api.client import ApiClient
    from venice_batch.catalogue import Catalogue, Listing, Model
    from venice_batch.catalogue.changes import Changes
    from venice_batch.catalogue.models import ModelKind

T = TypeVar("T")

use_list_at_hand = option(
    "--offline", is_flag=True, help="Stay offline: use the cached list, or else the packaged one."
)


@command(like="run")
@click.argument("name", required=False, shell_complete=options.complete_models)
@option(
    "--type",
    "kind",
    type=click.Choice(["image", "inpaint", "upscale"]),
    show_default="image; any for NAME",
    help="What the models do: make images, edit them, enlarge them.",
)
@option(
    "--diff",
    is_flag=True,
    help="Compare with the list of the last time, or else the packaged one; exit 1 if models or prices have changed.",
)
@options.base_url
@options.api_key_file
@options.use_sandbox
@use_list_at_hand
@options.as_json
def models(
    name: str | None,
    kind: ModelKind | None,
    diff: bool,
    base_url: str,
    api_key_file: Path | None,
    sandbox: bool,
    offline: bool,
    as_json: bool,
) -> int:
    """List the image models: price, sizes, limits, traits; or all that is known of NAME. Needs no key."""
    from venice_batch.catalogue.listing import renewed
    from venice_batch.catalogue.models import KINDS

    if diff:
        if name or offline or sandbox:
            raise UsageError("--diff asks the API for all its models; give it without a NAME, --offline and --sandbox")
        return _show_changes(base_url, api_key_file, as_json=as_json)
    kinds = (kind,) if kind else KINDS if name else KINDS[:1]
    if offline:
        listing = _at_hand(base_url)
    else:
        entries = _listed(lambda api: _of_kinds(api, kinds), base_url, api_key_file, sandbox=sandbox)
        listing = renewed(entries, None, now_unix_s=time.time(), earlier=())
    if name is not None:
        return _show_model(name, kinds, listing, as_json=as_json)
    kind = kinds[0]
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
        self._models: dict[ModelKind, tuple[dict[str, Any], ...]] = {}
        self._styles: tuple[str, ...] | None = None

    async def models(self, kind: ModelKind = "image") -> tuple[dict[str, Any], ...]:
        if kind not in self._models:
            self._models[kind] = await self._api.models(kind)
        return self._models[kind]

    async def styles(self) -> tuple[str, ...]:
        if self._styles is None:
            self._styles = await self._api.styles()
        return self._styles


async def _of_kinds(api: _AskedOnce, kinds: tuple[ModelKind, ...]) -> tuple[dict[str, Any], ...]:
    """The models of these kinds; of several, those of a kind that the server does not know are left out."""
    found: tuple[dict[str, Any], ...] = ()
    for kind in kinds:
        try:
            found += await api.models(kind)
        except ApiError:
            if len(kinds) == 1 or kind == "image":
                raise
    return found


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
    """The cached or packaged list. Raises ApiError if there is none."""
    from venice_batch.catalogue import Cache, at_hand

    found = at_hand(base_url, Cache.of_user(), now_unix_s=time.time())
    click.echo(one_line(f"venice-batch: {found.notice}"), err=True)
    if found.listing is None:
        raise ApiError(
            "there is nothing to show offline: a server's list is kept when it is asked for, a local one's is not"
        )
    return found.listing


def _json(value: object) -> int:
    from venice_batch.cli.text import json_line

    click.echo(json_line(value))
    return 0


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> int:
    from venice_batch.cli.table import table

    click.echo(table(header, rows))
    return 0


def _show_model(name: str, kinds: tuple[ModelKind, ...], listing: Listing, *, as_json: bool) -> int:
    from venice_batch.catalogue.constraints import nearest

    catalogue = listing.catalogue(time.time())
    model = next((found for kind in kinds if (found := catalogue.resolve(name, kind))), None)
    if model is None:
        close = nearest(name, [known for kind in kinds for known in catalogue.names(kind)])
        hint = f" (nearest: {', '.join(close)})" if close else "; `venice-batch models` lists them"
        raise UsageError(one_line(f"no model {name!r} is listed{hint}"))
    if as_json:
        return _json(next(entry for entry in listing.entries if entry.get("id") == model.id))
    lines = _details(model, catalogue)
    width = max(len(label) for label, _ in lines)
    click.echo("\n".join(one_line(f"{label:<{width}}  {text}") for label, text in lines))
    return 0


_DOES = {"image": "makes images", "inpaint": "edits images", "upscale": "enlarges images"}


def _details(model: Model, catalogue: Catalogue) -> list[tuple[str, str]]:
    """All that is known of a model, as labels and texts."""
    from venice_batch.catalogue.capabilities import ignored_fields

    lines = [
        ("model", f"{model.id}{f' ({model.name})' if model.name else ''}, {_DOES[model.kind]}"),
        ("sizes", _sizes(model) if model.divisor and not model.by_ratio else ""),
        ("ratios", _choice(model.ratios, model.default_ratio)),
        ("tiers", _choice(model.resolutions, model.default_resolution)),
        ("qualities", _choice(model.qualities, model.default_quality)),
        *(("price", f"{usd} USD {of}") for of, usd in _price_list(model)),
        ("prompt", f"up to {model.prompt_limit:,} characters" if model.prompt_limit else ""),
        ("steps", f"up to {model.steps_max}" if model.steps_max and "steps" not in ignored_fields(model) else ""),
        ("images", f"up to {model.max_inputs} to edit together" if model.max_inputs else ""),
        ("references", f"up to {model.max_style_references}" if model.max_style_references else ""),
        ("background", "can be transparent" if model.transparent else ""),
        ("searches", "can search the web" if model.web_search else ""),
        ("ignores", ", ".join(ignored_fields(model))),
        ("traits", ", ".join(model.traits)),
        ("marks", ", ".join(_marks(model))),
    ]
    return [(label, text) for label, text in lines if text]


def _choice(offered: tuple[str, ...], default: str | None) -> str:
    return ", ".join(offered) + (f" (default {default})" if offered and default else "")


def _price_list(model: Model) -> list[tuple[str, str]]:
    """Each price of a model, as what it is for and the amount."""
    from venice_batch.money import usd_text

    pricing = model.pricing
    if model.kind == "upscale":
        return [(f"at {scale}x", usd_text(micro)) for scale, micro in pricing.scales.items()]
    found = []
    for tier in dict.fromkeys((*map(str.upper, model.resolutions), *pricing.tiers)):
        by_quality = {quality: micro for (of, quality), micro in pricing.qualities.items() if of == tier}
        ordered = [quality for quality in model.qualities if quality in by_quality]
        found += [(f"at {tier} {quality}", usd_text(by_quality[quality])) for quality in ordered]
        if not by_quality:
            micro = pricing.tiers.get(tier, pricing.image)
            found.append((f"at {tier}", "?" if micro is None else usd_text(micro)))
    if not found:
        found = [("an image", "?" if pricing.image is None else usd_text(pricing.image))]
    if pricing.input:
        beyond = f" beyond {pricing.included}" if pricing.included else ""
        found.append((f"for each picture to edit{beyond}", usd_text(pricing.input)))
    return found


def _show_changes(base_url: str, key_file: Path | None, *, as_json: bool) -> int:
    """Show what the API's list has changed since the last one; returns 1 if anything."""
    from venice_batch.catalogue import Cache, ask, at_hand
    from venice_batch.catalogue.changes import changes

    cache = Cache.of_user()
    if not cache.keeps(base_url):
        raise UsageError("--diff: no list of a server on this machine is kept; there is nothing to compare with")
    # Read before the API is asked: its answer takes the place of this one.
    before = at_hand(base_url, cache, now_unix_s=time.time()).listing
    found = _ask(
        lambda api: ask(api, base_url, cache, now_unix_s=time.time()), base_url, key_file, sandbox=False, public=True
    )
    after = found.listing
    if after is None or after.origin != "live":
        raise ApiError(f"no list to compare: {found.notice}")
    if before is None:
        click.echo(f"venice-batch: the first list of {one_line(base_url)} is kept; the next time compares", err=True)
        before = after
    changed = changes(before, after)
    since = time.strftime("%Y-%m-%d", time.gmtime(before.asked_unix_s))
    if as_json:
        import msgspec

        _json({"since": since, **msgspec.to_builtins(changed)})
    else:
        click.echo("\n".join(map(one_line, _change_lines(changed, since, after))))
    return 1 if changed else 0


def _change_lines(changed: Changes, since: str, after: Listing) -> list[str]:
    catalogue = after.catalogue(time.time())
    if not changed:
        return [f"no models or prices have changed since {since}"]
    lines = [f"since {since}:"]
    lines += [f"added     {name}: {_prices(catalogue.models[name])} USD" for name in changed.added]
    for name in changed.removed:
        successor = after.former.get(name)
        lines.append(f"removed   {name}" + (f"; use {successor}" if successor else ""))
    for one in changed.repriced:
        amounts = ("?" if usd is None else f"{usd:g}" for usd in (one.before, one.after))
        lines.append(f"repriced  {one.model}: {one.price} {' -> '.join(amounts)} USD")
    return lines


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
    if not model.by_ratio and model.divisor is None and model.resolutions:
        return f"at {'/'.join(model.resolutions)}"
    if not model.by_ratio:
        return f"pixels by {model.divisor}" if model.divisor else "pixels"
    return f"ratio at {'/'.join(model.resolutions)}" if model.resolutions else "ratio"


def _prices(model: Model) -> str:
    from venice_batch.money import usd_text

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
        marks.append(f"not in {'/'.join(model.regions)}")
    gone = model.deprecation
    if gone is not None:
        when = f" {gone.ends:%Y-%m-%d}" if gone.ends else ""
        marks.append(f"deprecated{when}" + (f" -> {gone.replacement}" if gone.replacement else ""))
    return marks
