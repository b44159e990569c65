"""Compare prices, models and limits with those that somebody approved.

A change for the worse refuses the run: a higher price, a lower limit, another default, a model that is gone or was not
approved. A change for the better is only reported.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.catalogue.frozen import SANDBOX, FrozenLimits, FrozenQuota
from venice_batch.errors import ApiError, NotApprovedError, Problem, UsageError, one_line
from venice_batch.money import cost_text, micro_usd, usd_text
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from venice_batch.catalogue.frozen import Frozen, FrozenJobs, FrozenModel


_AT_MOST = ("prompt_limit", "steps_max", "max_inputs", "included_inputs", "max_style_references")
"""Limits that may rise, or disappear from the listing."""

_OFFERED = ("ratios", "resolutions", "qualities")
"""Choices that may grow. A model that gets its first choice, or loses the last, works in another way."""

_ABLE = ("web_search", "style_references", "style_reference_strength", "prompt_thinking", "transparent")
"""Abilities that a model may get."""


class Difference(NamedTuple):
    """One thing that is not as approved; `model` is "" for the jobs as a whole."""

    model: str
    what: str
    refuses: bool = True

    def __str__(self) -> str:
        return one_line(f"{self.model}: {self.what}" if self.model else self.what)


def hold_against(approved: Frozen, now: Frozen | None, *, path: Path, command: Sequence[str]) -> list[Difference]:
    """Return the differences from what the file at `path` approves, if none of them refuses the run.

    `now` is None if no list of models is known. In the sandbox, which nobody pays, prices of another server are not
    compared. `command` would approve what is now.

    Raises:
        NotApprovedError: something is not as approved.
        UsageError: the file is about another server.
        ApiError: there is no list to compare with.
    """
    if now is None:
        raise ApiError(one_line(f"{path}: cannot be compared, as no list of models is known for {approved.server}"))
    if approved.server != now.server:
        if now.server != SANDBOX:
            raise UsageError(one_line(f"{path}: is about prices of {approved.server}, not of {now.server}"))
        return [Difference("", f"not compared: it is about prices of {approved.server}", refuses=False)]
    found = differences(approved, now)
    found += _reservations(approved, now)
    refusing = [Problem(str(path), 0, one.model, one.what) for one in found if one.refuses]
    if refusing:
        remedy = f"approve with `{shlex.join(command)}`"
        older = _older(approved, now)
        raise NotApprovedError(refusing, f"{older}; {remedy}" if older else remedy)
    return found


def differences(approved: Frozen, now: Frozen) -> list[Difference]:
    """Return how `now` differs from what was approved; models that were approved and are not used are no difference."""
    meant = {(model.type, name): found for found, model in approved.models.items() for name in model.names}
    found: list[Difference] = []
    for name, model in now.models.items():
        before = approved.models.get(name)
        moved = [
            Difference(name, f"{alias!r} means this model now, and meant {earlier} when approved")
            for alias in model.names
            if (earlier := meant.get((model.type, alias), name)) != name
        ]
        found += moved
        if before is not None:
            found += _model_differences(name, before, model, approved.frozen_at, now.frozen_at)
        elif not moved:
            prices = ", ".join(f"{what} {_price(price)}" for what, price in model.prices_usd.items())
            found.append(Difference(name, f"the jobs use this model, which is not approved ({prices})"))
    if micro_usd(now.jobs.usd) > micro_usd(approved.jobs.usd):
        sums = f"{_jobs(now.jobs)} now, {_jobs(approved.jobs)} approved"
        found.append(Difference("", f"{sums}; --max-cost limits what a run may cost", refuses=False))
    return found


def _reservations(approved: Frozen, now: Frozen) -> Iterator[Difference]:
    """Yield what the comparison could not see."""
    if older := _older(approved, now):
        yield Difference("", older, refuses=False)
    if has_quotas(approved) and not has_quotas(now):
        yield Difference("", "quotas are not compared: the key's own limits are not known", refuses=False)


def has_quotas(one: Frozen) -> bool:
    """Return whether a key's own limits are frozen, too."""
    return any(model.quota is not None for model in one.models.values())


def _older(approved: Frozen, now: Frozen) -> str:
    """Return a warning that the list at hand is older than the approved one; "" if it is not."""
    if now.list.listed_at >= approved.list.listed_at:
        return ""
    at_hand = f"compared with the {now.list.source} list of {now.list.listed_at:%Y-%m-%d}"
    return f"{at_hand}, older than the approved one of {approved.list.listed_at:%Y-%m-%d}"


def _model_differences(
    name: str, before: FrozenModel, after: FrozenModel, approved_at: datetime, now: datetime
) -> Iterator[Difference]:
    instead = f"; use {after.successor}" if after.successor else ""
    if before.listed and not after.listed:
        yield Difference(name, f"is no longer listed{instead}")
        return
    if after.listed and not before.listed:
        yield Difference(name, "is listed now; it was not when approved", refuses=False)
    else:
        yield from _retirement(name, before, after, approved_at, now)
    for what, price in after.prices_usd.items():
        yield from _repriced(name, what, before.prices_usd, price)
    if before.listed and after.listed:
        yield from _limits(name, before.limits, after.limits)
    if before.quota is not None and after.quota is not None:
        for field in FrozenQuota.__struct_fields__:
            yield from _at_most(name, field, getattr(before.quota, field), getattr(after.quota, field))


def _retirement(
    name: str, before: FrozenModel, after: FrozenModel, approved_at: datetime, now: datetime
) -> Iterator[Difference]:
    was_retired = before.retires is not None and before.retires <= approved_at
    is_retired = after.retires is not None and after.retires <= now
    instead = f"; the API may use {after.successor} in its place" if after.successor else ""
    if is_retired and not (was_retired and before.successor == after.successor):
        yield Difference(name, f"was retired on {after.retires:%Y-%m-%d}{instead}")
    elif before.retires != after.retires and after.retires is not None:
        yield Difference(name, f"will be retired on {after.retires:%Y-%m-%d}{instead}", refuses=False)


def _repriced(name: str, what: str, before: Mapping[str, float | None], price: float | None) -> Iterator[Difference]:
    article = "an" if what[0] in "aeiou" else "a"
    label = f"price of {article} {what}"
    if what not in before:
        yield Difference(name, f"{label}: not approved, {_price(price)} now")
        return
    earlier = before[what]
    if earlier == price:
        return
    is_lower = earlier is not None and price is not None and micro_usd(price) <= micro_usd(earlier)
    before_that = "not known when approved" if earlier is None else f"{_price(earlier)} approved"
    yield Difference(name, f"{label}: {before_that}, {_price(price)} now", refuses=not is_lower)


def _limits(name: str, before: FrozenLimits, after: FrozenLimits) -> Iterator[Difference]:
    for field in FrozenLimits.__struct_fields__:
        earlier, value = getattr(before, field), getattr(after, field)
        if earlier == value:
            continue
        if field in _AT_MOST:
            yield from _at_most(name, field, earlier, value)
        elif field in _ABLE:
            yield Difference(name, f"{field}: {_text(earlier)} approved, {_text(value)} now", refuses=earlier is True)
        elif field in _OFFERED and earlier and value:
            yield from _choices(name, field, earlier, value)
        else:
            yield Difference(name, f"{field}: {_text(earlier)} approved, {_text(value)} now")


def _choices(name: str, field: str, earlier: tuple[str, ...], value: tuple[str, ...]) -> Iterator[Difference]:
    if lost := [one for one in earlier if one not in value]:
        yield Difference(name, f"{field}: {', '.join(lost)} approved, not offered now")
    if gained := [one for one in value if one not in earlier]:
        yield Difference(name, f"{field}: {', '.join(gained)} offered now, not when approved", refuses=False)


def _at_most(name: str, field: str, earlier: int | None, value: int | None) -> Iterator[Difference]:
    if earlier != value:
        is_lower = value is not None and (earlier is None or value < earlier)
        yield Difference(name, f"{field}: {_text(earlier)} approved, {_text(value)} now", refuses=is_lower)


def _jobs(sums: FrozenJobs) -> str:
    return f"{counted(sums.jobs, 'job')} for {cost_text(sums.usd, sums.unpriced)}"


def _price(amount_usd: float | None) -> str:
    return "not known" if amount_usd is None else f"{usd_text(micro_usd(amount_usd))} USD"


def _text(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
