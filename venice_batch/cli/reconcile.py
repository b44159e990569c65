"""`venice-batch reconcile`: compare a folder's records with the account's usage history."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from venice_batch.cli import folders, options
from venice_batch.cli.commands import command
from venice_batch.cli.connection import ask_api
from venice_batch.cli.env import environment
from venice_batch.cli.text import json_line, table, terminal_width
from venice_batch.errors import ExitCode, FolderError, KeyRefusedError, UsageError, one_line
from venice_batch.money import usd_text
from venice_batch.output.originals import shown
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from venice_batch.api.client import ApiClient
    from venice_batch.catalogue import Catalogue
    from venice_batch.model import Outcome
    from venice_batch.report.reconcile import Expected, Reconciliation, Usage

SHOWN = 20
"""Jobs with missing images that are listed; `--json` has them all."""


@command(like="run")
@click.argument(
    "outputs",
    metavar="OUT…",
    nargs=-1,
    required=True,
    type=folders.AnyFolder(),
    shell_complete=options.complete_folders,
)
@options.base_url
@options.api_key_file
@options.as_json
@folders.reads("outputs")
def reconcile(outputs: tuple[Path, ...], base_url: str, api_key_file: Path | None, as_json: bool) -> int:
    """Compare the records in the folders OUT with the account's usage history: was each image charged, and what else?

    Needs an ADMIN key. Exits with 1 if an image is missing in the history, or if a charge for the same models during
    one of the runs is in no record.
    """
    from venice_batch.catalogue import Cache, at_hand, snapshot

    listing = at_hand(base_url, Cache.of_user(), now_unix_s=environment().now()).listing or snapshot()
    catalogue = listing.catalogue(environment().now())
    charges, costs = _read(outputs, catalogue)
    where = one_line(", ".join(map(shown, outputs)))
    if not charges:
        if as_json:
            click.echo(json_line({"images": 0, "found": 0}))
        else:
            click.echo(f"{where}: no record of an image that was charged; nothing to compare")
        return 0

    async def ask(api: ApiClient) -> tuple[Usage, bool]:
        return await _history(api, charges, catalogue)

    try:
        usage, is_sandbox = ask_api(ask, base_url, api_key_file, sandbox=False)
    except KeyRefusedError as error:
        raise KeyRefusedError(f"reconcile needs an ADMIN key: {error}", error.status) from None
    return _show(where, charges, costs, usage, is_sandbox=is_sandbox, as_json=as_json)


def _read(outputs: tuple[Path, ...], catalogue: Catalogue) -> tuple[list[Expected], Counter[tuple[bool, str]]]:
    """Return what the records say was or may have been charged, and their costs by sandbox or not and by model."""
    from venice_batch.output import manifest
    from venice_batch.report.reconcile import expected

    paths = [output / manifest.NAME for output in outputs]
    for path in paths:
        if not path.is_file():
            raise FolderError(path.parent, "holds no manifest.jsonl; is it a run's output folder?")
    charges: list[Expected] = []
    costs: Counter[tuple[bool, str]] = Counter()
    seen: set[tuple[str, str, str]] = set()
    # All records, not only the last of each id: a job may have been paid for in several runs.
    for outcome in (outcome for path in paths for _, outcome in manifest.numbered_outcomes(path)):
        key = (outcome.run_id, outcome.id, outcome.timing.enqueued_at)
        if key in seen:
            continue
        seen.add(key)
        model = _model_id(outcome, catalogue)
        costs[outcome.sandbox, model] += round((outcome.spent_usd or 0.0) * 1e6)
        charges += expected(outcome, model)
    return charges, costs


def _model_id(outcome: Outcome, catalogue: Catalogue) -> str:
    """Return the id of the model that made a record's images; jobs may name a trait instead."""
    from venice_batch.catalogue.prices import KIND

    kind = KIND.get(outcome.endpoint)
    model = None if kind is None else catalogue.resolve(outcome.lane, kind)
    return outcome.lane if model is None else model.id


async def _history(api: ApiClient, charges: list[Expected], catalogue: Catalogue) -> tuple[Usage, bool]:
    """Return the history of the times in which the records were made, and whether a sandbox has written it."""
    from venice_batch.report.reconcile import Usage, spans

    usage = Usage({one.model for one in charges}, catalogue.models)
    for since, until in spans(charges):
        async for page in api.usage_history(since, until):
            for row in page.rows:
                usage.add(row)
    return usage, api.listed is not None and api.listed.headers.sandbox


def _show(
    where: str,
    charges: list[Expected],
    costs: Counter[tuple[bool, str]],
    usage: Usage,
    *,
    is_sandbox: bool,
    as_json: bool,
) -> int:
    from venice_batch.report import reconcile as comparison

    compared = [one for one in charges if one.sandbox == is_sandbox]
    if not compared:
        whose, history = ("real", "a sandbox's") if is_sandbox else ("a sandbox's", "the account's")
        raise UsageError(f"{where}: its records are {whose}, and the usage history is {history}; is --base-url right?")
    costs_usd = {model: micro / 1e6 for (sandbox, model), micro in costs.items() if sandbox == is_sandbox}
    found = comparison.reconcile(compared, usage, costs_usd)
    if as_json:
        click.echo(json_line(found))
    else:
        for line in _lines(found, where, terminal_width(sys.stdout)):
            click.echo(line)
    return int(ExitCode.OK if found.is_settled else ExitCode.SOME_FAILED)


def _lines(found: Reconciliation, where: str, width: int | None) -> list[str]:
    """Return the comparison for people: a table, what differs, and the result last."""
    lines = [
        f"missing: {one.id}: {counted(one.images, 'image')} of {one.model}, {one.at}" for one in found.missing[:SHOWN]
    ]
    if len(found.missing) > SHOWN:
        lines.append(f"… and {len(found.missing) - SHOWN} more jobs; --json names them all")
    lines += _unrecorded(found)
    if found.possibly_billed:
        billed = counted(found.possibly_billed, "request")
        lines.append(f"possibly billed: {billed} without an image, {found.lost} of them charged")
    if found.others:
        products = ", ".join(list(found.others)[:3]) + (", …" if len(found.others) > 3 else "")
        lines.append(f"{counted(sum(found.others.values()), 'line')} of other products: {products}")
    lines.append(f"{where}: {found.since} to {found.until}" + (" (sandbox money)" if found.sandbox else ""))
    extra = sum(match.unrecorded for match in found.models.values())
    result = f"{found.found} of {counted(found.images, 'image')} found, {found.images - found.found} missing"
    lines.append(f"{result}; {extra} charged in no record")
    return [_table(found, width), "", *map(one_line, lines)]


def _unrecorded(found: Reconciliation) -> list[str]:
    """Return a line for each product and currency that was charged and is in no record."""
    lines = []
    for sku, currency in dict.fromkeys((row.sku, row.currency) for row in found.unrecorded):
        rows = [row for row in found.unrecorded if (row.sku, row.currency) == (sku, currency)]
        images, amount = sum(row.units for row in rows), round(sum(row.amount for row in rows), 6)
        period = rows[0].at if len(rows) == 1 else f"{rows[0].at} to {rows[-1].at}"
        lines.append(f"in no record: {sku}: {counted(images, 'image')}, {_amount(amount)} {currency}, {period}")
    return lines


def _table(found: Reconciliation, width: int | None) -> str:
    currencies = sorted({name for match in found.models.values() for name in match.charged})
    counts: list[tuple[int, ...]] = []
    amounts: list[tuple[float, ...]] = []
    for match in found.models.values():
        counts.append((match.images, match.found, match.missing, match.lost, match.unrecorded))
        amounts.append((match.recorded_usd, *(match.charged.get(name, 0.0) for name in currencies)))
    names = list(found.models)
    if len(names) > 1:
        names.append("in all")
        counts.append(tuple(map(sum, zip(*counts, strict=True))))
        amounts.append(tuple(map(sum, zip(*amounts, strict=True))))
    header = ("model", "images", "found", "missing", "no image", "no record")
    money = ("recorded usd", *(f"charged {name}" for name in currencies))
    rows = [(name, *row, *map(_amount, paid)) for name, row, paid in zip(names, counts, amounts, strict=True)]
    return table((*header, *money), rows, width=width, right=money)


def _amount(amount: float) -> str:
    return usd_text(round(amount * 1_000_000))
