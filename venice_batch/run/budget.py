"""What all runs with one budget file may spend together in a day, a week or a month (`--max-cost-per`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio

from venice_batch.errors import FolderError, UsageError
from venice_batch.money import micro_usd, usd_text
from venice_batch.output.ledger import Books, Entry, day_of, may_be_settled, moment, read_books, this_process
from venice_batch.text_format import span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from venice_batch.clock import Clock
    from venice_batch.output.disk import Disk
    from venice_batch.output.ledger import Ledger


class Window(StrEnum):
    """A span of the calendar, in UTC. A week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def bounds(self, unix_s: float) -> tuple[datetime, datetime]:
        """Return when the window around a moment has begun, and when the next one begins."""
        now = datetime.fromtimestamp(unix_s, UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if self is Window.DAY:
            return midnight, midnight + timedelta(days=1)
        if self is Window.WEEK:
            monday = midnight - timedelta(days=midnight.weekday())
            return monday, monday + timedelta(days=7)
        first = midnight.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1)


_NOW = {Window.DAY: "today", Window.WEEK: "this week", Window.MONTH: "this month"}

Caps = dict[Window, int]
"""The most that may be spent in each window, in millionths of a USD."""


NEEDS_FILE = "--max-cost-per needs --budget-file, where all runs write down what they spend"


def caps_of(amounts_usd: Mapping[str, float]) -> Caps:
    """Return caps from amounts in USD by the windows' names.

    Raises:
        UsageError: there is no such window, or an amount is none.
    """
    caps = {}
    for name, amount in amounts_usd.items():
        if name not in set(Window):
            raise UsageError(f"--max-cost-per: {name!r} is not one of {', '.join(Window)}")
        if not 0 <= amount < math.inf:
            raise UsageError(f"--max-cost-per: {name} must be an amount of USD")
        caps[Window(name)] = micro_usd(amount)
    return caps


def parse_caps(text: str) -> dict[str, float]:
    """Return the amounts in `day=5,month=60`. Raises UsageError."""
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        if not equals or name in amounts:
            why = f"names {name} twice" if equals else "is not WINDOW=USD,…"
            raise UsageError(f"--max-cost-per: {text!r} {why}; give amounts as in day=5,month=60")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise UsageError(f"--max-cost-per: {amount!r} is not an amount of USD") from None
    caps_of(amounts)
    return amounts


@dataclass(frozen=True, slots=True)
class Share:
    """One window of a budget: its cap and what is reserved or spent of it, in millionths of a USD; when it renews."""

    window: Window
    cap: int
    committed: int
    renews: datetime

    @property
    def left(self) -> int:
        """The amount that may still be spent, never below 0."""
        return max(0, self.cap - self.committed)


def shares(caps: Caps, books: Books, *, now_unix_s: float, sandbox: bool) -> list[Share]:
    """Return the windows of `caps`, the shortest first."""
    found = []
    for window in filter(caps.__contains__, Window):
        begins, ends = window.bounds(now_unix_s)
        committed = books.committed(day_of(begins.timestamp()), sandbox=sandbox)
        found.append(Share(window, caps[window], committed, ends))
    return found


def shares_in(path: Path | None, amounts_usd: Mapping[str, float], *, now_unix_s: float, sandbox: bool) -> list[Share]:
    """Return the windows of a budget as the file at `path` has them now; none without caps.

    Raises:
        UsageError: there are caps, but no file.
        FolderError: the file cannot be read, or it is no budget file.
    """
    caps = caps_of(amounts_usd)
    if path is None:
        if caps:
            raise UsageError(NEEDS_FILE)
        return []
    return shares(caps, read_books(path, now_unix_s=now_unix_s), now_unix_s=now_unix_s, sandbox=sandbox)


def shares_text(found: Sequence[Share], price: int | None) -> str:
    """Return how much of a budget is left, and whether that is enough for jobs of this price (None: not known)."""
    left = ", ".join(
        f"{usd_text(share.left)} of {_NOW[share.window]}'s {usd_text(share.cap)} USD left" for share in found
    )
    short = [share for share in found if price is not None and price > share.left]
    verdict = "whether that is enough is unknown" if price is None else "not enough for all" if short else "enough"
    return f"budget: {left}; {verdict}"


@dataclass(frozen=True, slots=True)
class Shortage:
    """A price that does not fit into `share`. If it `may_fit` later, requests under way may give money back."""

    share: Share
    may_fit: bool


def shortage(
    price: int, caps: Caps, books: Books, *, now_unix_s: float, sandbox: bool, is_open: Callable[[Entry], bool]
) -> Shortage | None:
    """Return why `price` does not fit into the budget now; None if it fits.

    `is_open` says of an open reservation whether its money may come back. The shortage that lasts longest counts.
    """
    short = [found for found in shares(caps, books, now_unix_s=now_unix_s, sandbox=sandbox) if price > found.left]
    if not short:
        return None
    may_come_back = Books()
    for entry in filter(is_open, books.open.values()):
        may_come_back.add(entry)
    at_least = shares(caps, may_come_back, now_unix_s=now_unix_s, sandbox=sandbox)
    back = {share.window: share.committed for share in at_least}
    for share in reversed(short):
        if share.committed - back[share.window] + price > share.cap:
            return Shortage(share, may_fit=False)
    return Shortage(short[0], may_fit=True)


def shortage_text(share: Share, price: int, *, now_unix_s: float) -> str:
    """Return why the run stops at a job of this price, and when to run it again."""
    window, cap, next_job = share.window, usd_text(share.cap), f"the next job's {usd_text(price)}"
    if price > share.cap:
        return f"--max-cost-per: {next_job} USD are more than the {cap} USD of a {window}"
    spent = f"{usd_text(share.committed)} of {_NOW[window]}'s {cap} USD are spent"
    return f"--max-cost-per: {spent}, {next_job} do not fit; {renewal_text(share, now_unix_s=now_unix_s)}"


def renewal_text(share: Share, *, now_unix_s: float) -> str:
    """Return when the next window begins: "the next day begins at 00:00 UTC (in 3 h)"."""
    when = "at 00:00 UTC" if share.window is Window.DAY else f"on {share.renews:%Y-%m-%d}, 00:00 UTC"
    return f"the next {share.window} begins {when} (in {span(share.renews.timestamp() - now_unix_s)})"


_MARGIN_S = 60.0
"""Added to a request's time limit: after that, no run waits any longer for its money to come back."""


class Budget:
    """A run's part in a budget that it shares with other runs, through a budget file.

    A price is written down before its request is sent, and settled afterwards. All runs together never have more
    reserved and spent than the caps allow. With `sandbox` the money of sandboxes is meant, which is counted apart from
    real money. `timeout_s` is how long a request may take.
    """

    def __init__(self, ledger: Ledger, caps: Caps, clock: Clock, disk: Disk, *, run_id: str, output: str) -> None:
        """Share the budget in `ledger`, which is open, in the name of the run into `output`."""
        self.caps = caps
        self.sandbox = False
        self.timeout_s = 300.0
        self._ledger = ledger
        self._clock = clock
        self._disk = disk
        self._run_id = run_id
        self._output = output
        self._process = this_process()
        self._requests = 0
        self._turn = anyio.Lock()

    @property
    def path(self) -> Path:
        """The budget file."""
        return self._ledger.path

    async def reserve(self, price: int, *, model: str, job: str) -> int | Shortage:
        """Write down that a request for this job may cost `price`; return its number, for `settle`.

        If it does not fit, return why not; nothing is written then.

        Raises:
            FolderError: the budget file can no longer be used.
        """
        found: list[Shortage] = []

        def decide(books: Books) -> tuple[Entry, ...]:
            now = self._clock.wall()

            def is_open(entry: Entry) -> bool:
                return entry.sandbox == self.sandbox and may_be_settled(entry, now)

            short = shortage(price, self.caps, books, now_unix_s=now, sandbox=self.sandbox, is_open=is_open)
            if short is not None:
                found.append(short)
                return ()
            self._requests += 1
            entry = Entry(
                at=moment(now),
                entry="reserved",
                run_id=self._run_id,
                request=self._requests,
                micro_usd=price,
                model=model,
                job=job,
                output=self._output,
                process=self._process,
                ends=moment(now + self.timeout_s + _MARGIN_S),
                sandbox=self.sandbox,
            )
            return (entry,)

        async with self._turn:
            await self._update(decide)
            return found[0] if found else self._requests

    async def settle(self, number: int, *, spent: int) -> None:
        """Write down what a request has cost. Cancellation does not interrupt it.

        Raises:
            FolderError: the budget file can no longer be used; the request counts as spent.
        """
        entry = Entry(moment(self._clock.wall()), "settled", self._run_id, number, spent)
        with anyio.CancelScope(shield=True):
            async with self._turn:
                await self._update(lambda books: (entry,))

    def shortage_text(self, short: Shortage, price: int) -> str:
        """Return why the run stops at a job of this price, and when to run it again."""
        return shortage_text(short.share, price, now_unix_s=self._clock.wall())

    async def _update(self, decide: Callable[[Books], tuple[Entry, ...]]) -> None:
        try:
            await self._disk.run(lambda: self._ledger.update(decide))
        except OSError as error:  # the disk was abandoned; the file's own errors come as FolderError
            raise FolderError(self._ledger.path, str(error.strerror or error)) from error
