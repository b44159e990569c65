"""The part of a run that sends: client, fetcher, pacing, money and workers, wired together."""

from __future__ import annotations

import asyncio
import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from venice_batch.api.client import ApiClient
from venice_batch.catalogue.models import KINDS
from venice_batch.errors import ApiError, ExitCode, KeyRefusedError, ProcessesError
from venice_batch.events import Notice, RunState, Sending
from venice_batch.model import UNNAMED
from venice_batch.output import folder, manifest
from venice_batch.output.images import ImageFolder
from venice_batch.output.naming import Naming
from venice_batch.output.resume import Ownership, has_records, largest_bytes
from venice_batch.pacing.limiter import RateLimiter
from venice_batch.run.attempts import JobRunner
from venice_batch.run.fetching import LocalFetcher, ProcessFetcher
from venice_batch.run.slots import Slots
from venice_batch.run.spending import SpendingGuard, in_micro_usd
from venice_batch.run.stop import Connectivity, DiskSpaceWatch, Stop, stop_on_signals
from venice_batch.run.workers import Pool

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from venice_batch.api.key import ApiKey
    from venice_batch.api.listings import Limits
    from venice_batch.bucket.folder import BucketHold
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.output.disk import Disk
    from venice_batch.output.resume import Resume
    from venice_batch.pacing.limiter import SendingRules
    from venice_batch.run.budget import Budget
    from venice_batch.run.chains import ChainedJobs
    from venice_batch.run.fetching import Fetcher
    from venice_batch.run.settings import RunSettings
    from venice_batch.run.spending import Spending
    from venice_batch.run.stop import StopSignal
    from venice_batch.run.workers import LaneJobs


DISK_S = 5.0
"""Time for the disk to finish after the grace period, or after a second signal; then it is abandoned."""

NO_ACCESS = "the key has no access (accessPermitted is false): the first request shows whether that is true"


@dataclass(slots=True, kw_only=True)
class Sender:
    """Send a run's jobs, once.

    Afterwards, even if it was cancelled: `blocks` counts how often the API blocked its user, `parked` is the reason why
    a lane's jobs were left pending while others went on (or None), and `stalled` says in words what has stopped
    answering (or None).
    """

    index: JobIndex
    key: ApiKey
    settings: RunSettings
    clock: Clock
    rng: random.Random
    stop_signal: StopSignal
    spending: Spending
    budget: Budget | None
    run_id: str
    observe: Observer
    held: folder.Hold | BucketHold
    disk: Disk
    chained: ChainedJobs | None = None
    blocks: int = 0
    parked: Stop | None = None
    stalled: str | None = None
    _abandoning: asyncio.TimerHandle | None = None

    async def send(
        self, lanes: Sequence[LaneJobs], known: Resume, journal: manifest.Manifest, *, deadline_s: float
    ) -> None:
        """Return when every job of `lanes` has its record, or the run has been stopped; the stop signal says which.

        Nothing is sent after the moment `deadline_s` of the clock.
        """
        try:
            await self._send(lanes, known, journal, deadline_s)
        except ProcessesError as error:  # at the start
            self._stop(error)
        finally:
            if self._abandoning is not None:
                self._abandoning.cancel()

    async def _send(
        self, lanes: Sequence[LaneJobs], known: Resume, journal: manifest.Manifest, deadline_s: float
    ) -> None:
        async with (
            ApiClient(self.settings.api, self.key, self.clock) as api,
            self._fetcher(api, known) as fetcher,
            anyio.create_task_group() as side,
        ):
            if self.settings.handle_signals:
                side.start_soon(stop_on_signals, self.stop_signal, side.cancel_scope)
            hurry = partial(self._hurry, fetcher)
            side.start_soon(_when_cancelled, hurry)
            if self.settings.options.max_time_s != math.inf:
                side.start_soon(self._stop_at, deadline_s)
            limits = await self._limits(api)
            if limits is not None and not limits.access:
                self.observe(Notice(NO_ACCESS))
            space = self._space()
            room = await space.begin(self.settings.sending.concurrency, self.observe)
            if self.stop_signal.stop is not None:
                side.cancel_scope.cancel()
                return
            limiter = self._limiter(limits, replace(self.settings.sending, concurrency=room))
            space.most = lambda: limiter.most_in_flight
            if api.listed is not None:
                limiter.listed(api.listed)
            self.observe(Sending(lambda: self._state(limiter)))
            slots = Slots(limiter, self.clock, self.stop_signal, deadline_s=deadline_s)
            runner = JobRunner(
                fetcher=fetcher,
                slots=slots,
                stop_signal=self.stop_signal,
                connectivity=Connectivity(self.settings.patience, known=self._has_answered(api, known)),
                clock=self.clock,
                rng=self.rng,
                rules=self.settings.attempts,
                money=self._money(api, limits, slots),
                catalogue=self.settings.catalogue,
                run_id=self.run_id,
                observe=self.observe,
            )
            side.start_soon(space.run)

            def observe(event: Event) -> None:
                space(event)
                self.observe(event)

            pool = Pool(
                runner=runner,
                journal=journal,
                slots=slots,
                stop_signal=self.stop_signal,
                clock=self.clock,
                observe=observe,
                workers=self.settings.workers,
                grace_s=self.settings.options.grace_s,
                max_failures=self.settings.options.max_failures,
                hurry=hurry,
                chained=self.chained,
            )
            try:
                await pool.run(lanes)
            finally:
                self.blocks = limiter.errors.blocks
                self.parked = slots.parked
            side.cancel_scope.cancel()

    @staticmethod
    def _has_answered(api: ApiClient, known: Resume) -> bool:
        """Return whether the API has answered at this address before the first request of this run."""
        return known.done > 0 or (api.listed is not None and api.listed.from_api)

    def _fetcher(self, api: ApiClient, known: Resume) -> AbstractAsyncContextManager[Fetcher]:
        settings = self.settings
        images = image_folder(settings, self.index, known, self.disk, self.run_id)
        if settings.options.processes == 1:
            return nullcontext(LocalFetcher(api, images))
        count = settings.options.processes
        bucket = settings.bucket
        return ProcessFetcher(count, settings.api, self.key, images, self.clock, on_loss=self._stop, bucket=bucket)

    def _stop(self, error: ProcessesError) -> None:
        self.stop_signal.request(Stop(error.exit_code, str(error)))

    def _hurry(self, fetcher: Fetcher) -> None:
        """Abandon a disk or process that does not answer within `DISK_S`, now that all under way was cancelled."""

        def abandon() -> None:
            self.stalled = fetcher.abandon()

        loop = asyncio.get_running_loop()
        self._abandoning = self._abandoning or loop.call_later(DISK_S, abandon)

    def _space(self) -> DiskSpaceWatch:
        root = self.settings.output

        def look() -> int | None:
            self.held.check()
            return folder.free_bytes(root)

        return DiskSpaceWatch(
            root, look, self.stop_signal, self.clock, recorded=lambda: largest_bytes(root / manifest.NAME)
        )

    def _state(self, limiter: RateLimiter) -> RunState:
        now_s = self.clock.now()
        return RunState(
            lanes=limiter.states(now_s),
            concurrency=self.settings.sending.concurrency,
            held_s=limiter.held_s(now_s),
            spent_usd=None if self.settings.catalogue is None else self.spending.spent / 1e6,
        )

    def _limiter(self, limits: Limits | None, rules: SendingRules) -> RateLimiter:
        """Return a limiter with the quotas that the key may read, if it may."""
        untested = frozenset(filter(self._is_unlisted, self.index.lanes))
        if limits is None:
            return RateLimiter(rules, self.rng, untested=untested)
        ends_unix_s = limits.day_ends_unix_s
        day_ends_s = math.inf if ends_unix_s is None else self.clock.now() + ends_unix_s - self.clock.wall()
        return RateLimiter(rules, self.rng, quotas=limits.quotas, day_ends_s=day_ends_s, untested=untested)

    def _is_unlisted(self, lane: str) -> bool:
        """Return whether the list of models is known and lacks this one."""
        catalogue = self.settings.catalogue
        if catalogue is None or lane in UNNAMED.values():
            return False
        return all(catalogue.resolve(lane, kind) is None for kind in KINDS)

    def _money(self, api: ApiClient, limits: Limits | None, slots: Slots) -> SpendingGuard:
        """Return the guard of the run's money, with the balance if the key may read it."""
        if self.budget is not None:
            self.budget.sandbox = api.listed is not None and api.listed.headers.sandbox

        def notify(text: str) -> None:
            self.observe(Notice(text))

        guard = partial(SpendingGuard, self.spending, slots, self.stop_signal, budget=self.budget, notify=notify)
        if limits is None:
            return guard()

        async def ask() -> dict[str, int] | None:
            return _balances(await self._limits(api))

        if (balances := _balances(limits)) is not None:
            self.spending.update_balances(balances, spent_before=0)
        return guard(ask_balances=ask)

    async def _limits(self, api: ApiClient) -> Limits | None:
        """Return what the API lists for the key; None if it lists nothing, or if the run is stopped meanwhile."""
        limits = None
        async with anyio.create_task_group() as asking:

            async def give_up() -> None:
                await self.stop_signal.event.wait()
                asking.cancel_scope.cancel()

            asking.start_soon(give_up)
            try:
                limits = await api.limits()
            except KeyRefusedError:
                pass  # a key for inference only, as far as is known
            except ApiError as error:
                if error.status not in (None, 404, 405, 501):
                    self.observe(Notice(f"the key's rate limits are unknown: {error}"))
            asking.cancel_scope.cancel()
        return limits

    async def _stop_at(self, deadline_s: float) -> None:
        await self.clock.wait(anyio.Event(), deadline_s - self.clock.now())
        self.stop_signal.request(
            Stop(
                ExitCode.TEMPORARY, f"--max-time of {self.settings.options.max_time_s:g} s is over; run again to go on"
            )
        )


def image_folder(settings: RunSettings, index: JobIndex, known: Resume, disk: Disk, prefix: str) -> ImageFolder:
    """Return the folder that a run's images go into; `prefix` begins the names of its temporary files."""
    path = settings.output / manifest.NAME
    bucket, children, places = settings.bucket, index.chains.children, index.chains.places
    return ImageFolder(
        settings.output,
        prefix=prefix,
        disk=disk,
        durable=settings.is_flushed,
        replaceable=Ownership(path, index, known) if has_records(settings.output) else None,
        stem=(settings.naming or Naming()).stem,
        store=None if bucket is None else bucket.images(prefix),
        keeps=lambda job_id: places.get(job_id) in children,
    )


async def _when_cancelled(call: Callable[[], None]) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        call()


def _balances(limits: Limits | None) -> dict[str, int] | None:
    """Return the listed balances, all 0 for a key without access; None if none of them pays for images."""
    if limits is None:
        return None
    if not limits.access:
        return dict.fromkeys(limits.spendable or ("USD",), 0)
    return in_micro_usd(limits.spendable) or None
