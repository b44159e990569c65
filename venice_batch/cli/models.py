"""`venice-batch models` and `styles`: the API's lists, as tables or JSON."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options
from venice_batch.cli.commands import command
from venice_batch.cli.connection import ask_api, live_list, offline_list
from venice_batch.cli.parameters import option
from venice_batch.cli.text import json_line, table, terminal_width
from venice_batch.errors import ApiError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from venice_batch.catalogue import Catalogue, Listing, Model
    from venice_batch.catalogue.changes import Changes
    from venice_batch.catalogue.models import ModelKind

offline_option = option("--offline", is_flag=True, help="Stay offline: use the cached list, or else the packaged one.")


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
    help="Compare with the last list, or else the packaged one; exit 1 if models or prices have changed.",
)
@options.base_url
@options.api_key_file
@options.use_sandbox
@offline_option
@options.prints_json("one JSON array, or one object for NAME and --diff,")
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
    """List the image models: price, sizes, limits, traits; or everything known about NAME. Needs no key."""
    from venice_batch.catalogue.listing import renewed
    from venice_batch.catalogue.models import KINDS

    if diff:
        if name or offline or sandbox:
            raise UsageError("--diff compares all models with the API's; it takes no NAME, --offline or --sandbox")
        return _show_changes(base_url, api_key_file, as_json=as_json)
    kinds = (kind,) if kind else KINDS if name else KINDS[:1]
    if offline:
        listing = offline_list(base_url)
    else:
        with _offline_hint(base_url, lambda listing: any(map(listing.of_kind, kinds))):
            entries = live_list(lambda lists: lists.of_kinds(kinds), base_url, api_key_file, sandbox=sandbox)
        listing = renewed(entries, None, now_unix_s=time.time(), earlier=())
    if name is not None:
        return _show_model(name, kinds, listing, as_json=as_json)
    kind = kinds[0]
    if as_json:
        return _json(listing.of_kind(kind))
    catalogue = listing.catalogue(time.time())
    rows = [_model_row(model, catalogue) for model in catalogue.of_kind(kind)]
    click.echo(table(_HEADERS[kind], rows, width=terminal_width(sys.stdout)))
    return 0


@command(like="run")
@options.base_url
@options.api_key_file
@options.use_sandbox
@offline_option
@options.prints_json("one JSON array")
def styles(base_url: str, api_key_file: Path | None, sandbox: bool, offline: bool, as_json: bool) -> int:
    """List the values of `style_preset`. Needs no key."""
    if offline:
        listed = offline_list(base_url).styles or ()
    else:
        with _offline_hint(base_url, lambda listing: bool(listing.styles)):
            listed = live_list(lambda lists: lists.styles(), base_url, api_key_file, sandbox=sandbox)
    if as_json:
        return _json(listed)
    click.echo("\n".join(map(one_line, listed)))
    return 0


@contextmanager
def _offline_hint(base_url: str, has_it: Callable[[Listing], bool]) -> Iterator[None]:
    """Add to the error of a server that cannot be asked what `--offline` would show, if that list `has_it`."""
    from venice_batch.catalogue import Cache, at_hand

    try:
        yield
    except ApiError as error:
        if error.status is not None and error.status < 500:
            raise  # the server has said what is wrong
        listing = at_hand(base_url, Cache.of_user(), now_unix_s=time.time()).listing
        if listing is None or not has_it(listing):
            raise
        raise ApiError(f"{error}; --offline shows {listing.described(time.time())}", error.status) from error


def _json(value: object) -> int:
    click.echo(json_line(value))
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
    """Return everything known about a model, as labels and texts."""
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
    """Return a model's prices, each as the item and the amount."""
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
    """Print how the API's list differs from the last one. Return 1 if it does."""
    from venice_batch.catalogue import Cache, ask, at_hand
    from venice_batch.catalogue.changes import changes

    cache = Cache.of_user()
    if not cache.keeps(base_url):
        raise UsageError("--diff: lists of a server on this machine are not cached; there is nothing to compare with")
    # Read before the API is asked, whose answer replaces it in the cache.
    before = at_hand(base_url, cache, now_unix_s=time.time()).listing
    found = ask_api(
        lambda api: ask(api, base_url, cache, now_unix_s=time.time()), base_url, key_file, sandbox=False, public=True
    )
    after = found.listing
    if after is None or after.origin != "live":
        raise ApiError(f"no list to compare: {found.notice}")
    if before is None:
        click.echo(
            f"venice-batch: the first list of {one_line(base_url)} is cached; the next --diff compares with it",
            err=True,
        )
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
        # Where models share a trait, it names the first of them.
        ", ".join(trait for trait in model.traits if catalogue.resolve(trait, model.kind) is model) or None,
        ", ".join(_marks(model)) or None,
    )


def _sizes(model: Model) -> str:
    from venice_batch.catalogue.capabilities import REFUSES_PIXELS, is_of

    by_ratio = model.by_ratio or is_of(model, REFUSES_PIXELS)
    if not by_ratio and model.divisor is None and model.resolutions:
        return f"at {'/'.join(model.resolutions)}"
    if not by_ratio:
        return f"pixels by {model.divisor}" if model.divisor else "pixels"
    return f"ratio at {'/'.join(model.resolutions)}" if model.resolutions else "ratio"


def _prices(model: Model) -> str:
    from venice_batch.money import usd_text

    pricing = model.pricing
    found = list(pricing.qualities.values()) or list(pricing.tiers.values())
    if not found and pricing.image is not None:
        found = [pricing.image]
    # The API also lists prices of upscaling with every image model.
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
