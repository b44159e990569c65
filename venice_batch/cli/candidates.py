"""What a shell may complete where: files, folders, job fields, models. No network is asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from venice_batch.catalogue import Listing

Items = list[CompletionItem[str]]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The shell's own completion of files."""
    return [CompletionItem(incomplete, type="file")]


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """The shell's own completion of folders."""
    return [CompletionItem(incomplete, type="dir")]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Models of the last list that was had, or of the packaged one."""
    return _starting(incomplete, _models(ctx))


def job_fields(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """`FIELD=`, and after it the values of a field that has only a few."""
    from venice_batch.jobfile.defaults import ALL_FIELDS
    from venice_batch.jobfile.request_check import few_values

    field, equals, _ = incomplete.partition("=")
    if not equals:
        return _starting(incomplete, (f"{name}=" for name in sorted(ALL_FIELDS)))
    if field == "model":
        values: Iterable[str] = _models(ctx)
    elif field == "style_preset":
        values = _styles(ctx)
    else:
        values = few_values(field)
    return _starting(incomplete, (f"{field}={value}" for value in values))


def _starting(incomplete: str, words: Iterable[str]) -> Items:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _models(ctx: click.Context) -> list[str]:
    listing = _listing(ctx)
    return [] if listing is None else list(listing.catalogue(time.time()).models)


def _styles(ctx: click.Context) -> tuple[str, ...]:
    listing = _listing(ctx)
    return (listing.styles if listing else None) or ()


def _listing(ctx: click.Context) -> Listing | None:
    from venice_batch.catalogue import Cache, at_hand
    from venice_batch.cli.options import VENICE

    address: Any = ctx.params.get("base_url") or VENICE
    return at_hand(address, Cache.of_user(), now_unix_s=time.time()).listing
