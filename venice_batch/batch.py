"""A whole run: a jobs file into an output folder."""

from __future__ import annotations

import math
import os
import random
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import msgspec

from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.catalogue import micro_usd
from venice_batch.catalogue.listing import is_local
from venice_batch.clock import SystemClock
from venice_batch.engine.attempts import AttemptRules, JobRunner
from venice_batch.engine.cashier import Cashier
from venice_batch.engine.pool import Pool
from venice_batch.engine.purse import Purse
from venice_batch.engine.reach import Patience, Reach
from venice_batch.engine.signals import stop_on_signals
from venice_batch.engine.stop import Stop, StopSwitch
from venice_batch.engine.turn import take_turn
from venice_batch.engine.turnstile import Turnstile
from venice_batch.errors import ApiError, ExitCode, FolderError, KeyRefusedError, UsageError
from venice_batch.events import Notice, RunEnded, RunStarted, RunState, Sending
from venice_batch.model import SCHEMA
from venice_batch.naming import Naming
from venice_batch.output import folder, manifest
from venice_batch.output.resume import Ownership, Resume
from venice_batch.output.sink import DiskSink
from venice_batch.output.standing import Standing
from venice_batch.pacing.traffic import SendingRules, Traffic
from venice_batch.summary import Summary
from venice_batch.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from venice_batch.api.listings import Limits
    from venice_batch.api.secret import ApiKey
    from venice_batch.catalogue import Catalogue, Preflight
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job

SUMMARY = "summary.json"

_MOST_FLAGGED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Everything that a run is told besides its jobs and its key.

    `naming` is settled on the jobs of the index; without it images are named after their jobs' ids. `catalogue`
    has the models' prices and spellings; without it neither is known. `max_cost_usd` is never spent beyond, by those
    prices. `preflight` has examined every job of the index; without it what they will cost is not foretold.
    `fail_on` names flags (of `Flags`): a run ends as if a job had failed when any job's outcome has one of them, be it
    of an earlier run.
    `retry_rejected`: ask again for what the API has refused before. `verify`: hash the files of finished jobs.
    `durable`: fsync each image and record. `lock_wait_s`: how long to wait for another run in the folder, which counts
    for no other limit. `max_time_s`: stop sending after so long. `max_failures`: stop after
    so many jobs without an image. `grace_s`: how long what is under way may take after a stop.
    """

    output: Path
    naming: Naming | None = None
    catalogue: Catalogue | None = None
    preflight: Preflight | None = None
    max_cost_usd: float | None = None
    api: ApiSettings = field(default_factory=ApiSettings)
    sending: SendingRules = field(default_factory=SendingRules)
    attempts: AttemptRules = field(default_factory=AttemptRules)
    patience: Patience = field(default_factory=Patience)
    fail_on: frozenset[str] = frozenset()
    retry_rejected: bool = False
    verify: bool = False
    durable: bool = False
    lock_wait_s: float = 0.0
    max_time_s: float = math.inf
    max_failures: int | None = None
    grace_s: float = 300.0
    handle_signals: bool = False

    def __post_init__(self) -> None:
        if not self.max_time_s > 0:
            raise UsageError("--max-time has to be a positive number of seconds")
        if self.max_failures is not None and self.max_failures < 1:
            raise UsageError("--max-failures has to be at least 1")
        if self.max_cost_usd is not None and not self.max_cost_usd >= 0:
            raise UsageError("--max-cost has to be an amount of USD")

    @property
    def may_be_sandbox(self) -> bool:
        """Whether the API is on this machine, so that what a sandbox made before counts as done."""
        return is_local(self.api.base_url)


async def run_batch(
    index: JobIndex,
    key: ApiKey,
    settings: RunSettings,
    *,
    observers: Sequence[Observer] = (),
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> Summary:
    """Run the jobs of `index` that the output folder does not hold yet; returns when all that can be done is.

    A job's image and record are on disk when its `JobEnded` is observed. Cancelling stops at once; what has been
    recorded stays, and the next run goes on from there.

    Raises:
        FolderError: the folder could not be used from the start (later, the summary says so).
        StoppedWaitingError: a signal came while another run had the folder.
    """
    batch = _Batch(index, key, settings, observers, clock or SystemClock(), rng or random.Random())
    with ExitStack() as held:
        await take_turn(
            held,
            lambda: folder.hold(settings.output, settings.naming.folders if settings.naming else ()),
            wait_s=settings.lock_wait_s,
            clock=batch.clock,
            switch=batch.switch,
            observe=batch.observe,
            handle_signals=settings.handle_signals,
        )
        return await batch.run()


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane's jobs but for those that need nothing more."""

    index: JobIndex
    number: int
    is_settled: Callable[[int], bool]
    pending: int

    def jobs(self) -> Iterator[Job]:
        return self.index.pending(self.number, self.is_settled)


class _Batch:
    def __init__(
        self,
        index: JobIndex,
        key: ApiKey,
        settings: RunSettings,
        observers: Sequence[Observer],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.index = index
        self.key = key
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.tally = Tally()
        self.observers: tuple[Observer, ...] = (self.tally, *observers)
        self.switch = StopSwitch()
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        limit = settings.max_cost_usd
        self.purse = Purse(None if limit is None else micro_usd(limit))
        self.blocks = 0
        self.parked: Stop | None = None

    def observe(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    async def run(self) -> Summary:
        started = datetime.now(UTC)
        began_s = self.clock.now()
        path = self.settings.output / manifest.NAME
        journal = manifest.Manifest(path, durable=self.settings.durable)
        repaired = journal.open()
        try:
            known = Resume(
                self.index, self.settings.output, verify=self.settings.verify, sandbox=self.settings.may_be_sandbox
            )
            lanes = self._lanes(known)
            done = known.done
            rejected = len(self.index) - done - sum(lane.pending for lane in lanes)
            self.observe(
                RunStarted(
                    self.run_id,
                    str(self.settings.output),
                    len(self.index),
                    done,
                    self.index.lanes,
                    pending={self.index.lanes[lane.number]: lane.pending for lane in lanes if lane.pending},
                    expected_usd=self._expected_usd(known),
                )
            )
            for text in (*([repaired] if repaired else []), *known.notices):
                self.observe(Notice(text))
            if any(lane.pending for lane in lanes):
                await self._send(lanes, known, journal, began_s)
        finally:
            journal.close()
        summary = self._summary(started, self.clock.now() - began_s, done, rejected, flagged=self._flagged())
        try:
            _write_summary(self.settings.output / SUMMARY, summary)
        except FolderError as error:
            # The run's own news is not lost with the file.
            reason = summary.reason or str(error)
            summary = msgspec.structs.replace(summary, exit_code=int(error.exit_code), reason=reason)
        self.observe(RunEnded(summary))
        return summary

    def _lanes(self, known: Resume) -> list[_Lane]:
        is_settled = self._is_settled(known)
        lanes = []
        for number in range(len(self.index.lanes)):
            settled = sum(map(is_settled, self.index.places_of(number)))
            lanes.append(_Lane(self.index, number, is_settled, self.index.count(number) - settled))
        return lanes

    def _is_settled(self, known: Resume) -> Callable[[int], bool]:
        return known.is_done if self.settings.retry_rejected else known.is_settled

    def _expected_usd(self, known: Resume) -> float | None:
        """The known prices of what is left to do; None where none is known."""
        preflight = self.settings.preflight
        if preflight is None:
            return None
        is_settled = self._is_settled(known)
        bills = preflight.bills(not is_settled(place) for place in range(len(self.index)))
        prices = [bill.micro_usd * count for bill, count in bills if bill.micro_usd is not None]
        return sum(prices) / 1e6 if prices else None

    async def _send(self, lanes: list[_Lane], known: Resume, journal: manifest.Manifest, began_s: float) -> None:
        deadline_s = began_s + self.settings.max_time_s
        async with ApiClient(self.settings.api, self.key, self.clock) as api, anyio.create_task_group() as side:
            if self.settings.handle_signals:
                side.start_soon(stop_on_signals, self.switch, side.cancel_scope)
            if self.settings.max_time_s != math.inf:
                side.start_soon(self._stop_at, deadline_s)
            limits = await self._limits(api)
            traffic = self._traffic(limits)
            self.observe(Sending(lambda: self._state(traffic)))
            turnstile = Turnstile(traffic, self.clock, self.switch, deadline_s=deadline_s)
            runner = JobRunner(
                api=api,
                sink=DiskSink(
                    self.settings.output,
                    run_id=self.run_id,
                    durable=self.settings.durable,
                    replaceable=Ownership(self.settings.output / manifest.NAME, self.index, known),
                    stem=(self.settings.naming or Naming()).stem,
                ),
                turnstile=turnstile,
                switch=self.switch,
                reach=Reach(self.settings.patience),
                clock=self.clock,
                rng=self.rng,
                rules=self.settings.attempts,
                cashier=self._cashier(api, limits, turnstile),
                catalogue=self.settings.catalogue,
                run_id=self.run_id,
                observe=self.observe,
            )
            pool = Pool(
                runner=runner,
                journal=journal,
                turnstile=turnstile,
                switch=self.switch,
                clock=self.clock,
                observe=self.observe,
                workers=2 * self.settings.sending.concurrency,
                grace_s=self.settings.grace_s,
                max_failures=self.settings.max_failures,
            )
            try:
                await pool.run(lanes)
            finally:
                self.blocks = traffic.blocks
                self.parked = turnstile.parked
            side.cancel_scope.cancel()

    def _state(self, traffic: Traffic) -> RunState:
        now_s = self.clock.now()
        return RunState(
            lanes=traffic.states(now_s),
            concurrency=self.settings.sending.concurrency,
            held_s=traffic.held_s(now_s),
            spent_usd=None if self.settings.catalogue is None else self.purse.spent / 1e6,
        )

    def _traffic(self, limits: Limits | None) -> Traffic:
        """Traffic with the quotas that the key may read; without any where it may not."""
        if limits is None:
            return Traffic(self.settings.sending, self.rng)
        ends_unix_s = limits.day_ends_unix_s
        day_ends_s = math.inf if ends_unix_s is None else self.clock.now() + ends_unix_s - self.clock.wall()
        return Traffic(self.settings.sending, self.rng, quotas=limits.quotas, day_ends_s=day_ends_s)

    def _cashier(self, api: ApiClient, limits: Limits | None, turnstile: Turnstile) -> Cashier:
        """A cashier that knows the balance, where the key may read it."""
        if limits is None:
            return Cashier(self.purse, turnstile, self.switch)

        async def ask() -> int | None:
            return _balance(await self._limits(api))

        if (balance := _balance(limits)) is not None:
            self.purse.balance_told(balance, spent_before=0)
        return Cashier(self.purse, turnstile, self.switch, ask_balance=ask)

    async def _limits(self, api: ApiClient) -> Limits | None:
        """What the API lists for the key; None where it does not, or when the run is stopped while it is asked."""
        limits = None
        async with anyio.create_task_group() as asking:

            async def give_up() -> None:
                await self.switch.event.wait()
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
        self.switch.request(
            Stop(ExitCode.TEMPORARY, f"--max-time of {self.settings.max_time_s:g} s is over; run again to go on")
        )

    def _flagged(self) -> int:
        """How many jobs have a flag of `fail_on`; the first of them are told."""
        wanted = self.settings.fail_on
        if not wanted:
            return 0
        standing = Standing(self.index, self.settings.output, sandbox=self.settings.may_be_sandbox)
        flagged = 0
        first: list[str] = []
        for _, outcome in standing.outcomes():
            if any(map(outcome.flags.has, wanted)):
                flagged += 1
                first += [outcome.id] if flagged <= _MOST_FLAGGED else []
        if flagged:
            names = ", ".join(first) + (", …" if flagged > len(first) else "")
            self.observe(Notice(f"{flagged} jobs have a flag of --fail-on: {names}"))
        return flagged

    def _summary(
        self, started: datetime, elapsed_s: float, done: int, already_rejected: int, *, flagged: int
    ) -> Summary:
        counts, times = self.tally.counts, self.tally.times
        ended = counts["succeeded"] + counts["failed"] + counts["rejected"]
        pending = len(self.index) - done - already_rejected - ended
        stop = self.switch.stop or self.parked
        if stop is not None and stop.code is ExitCode.TEMPORARY and not pending:
            stop = None  # it came too late to keep anything from being done
        if stop is None and pending:
            # Only a second signal gets here without a reason of its own.
            stop = Stop(ExitCode.SIGINT, "stopped at once")
        code = stop.code if stop else ExitCode.OK
        if stop is None and (counts["failed"] or counts["rejected"] or already_rejected or flagged):
            code = ExitCode.SOME_FAILED
        return Summary(
            schema=SCHEMA,
            run_id=self.run_id,
            output=str(self.settings.output),
            exit_code=int(code),
            reason=stop.reason if stop else None,
            started_at=started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            elapsed_s=round(elapsed_s, 3),
            jobs=len(self.index),
            already_done=done,
            already_rejected=already_rejected,
            succeeded=counts["succeeded"],
            failed=counts["failed"],
            rejected=counts["rejected"],
            pending=pending,
            images=counts["images"],
            bytes=counts["bytes"],
            attempts=counts["attempts"],
            refused=counts["refused"],
            blocks=self.blocks,
            blurred=counts["blurred"],
            content_violations=counts["content_violations"],
            possibly_billed=counts["possibly_billed"],
            cost_usd=None if self.settings.catalogue is None else self.purse.spent / 1e6,
            errors=dict(self.tally.errors),
            lanes=self.tally.lanes(),
            total_s=times.total_s,
            retries=counts["retries"],
            queue_s=times.queue_s,
            server_s=times.server_s,
            slowest=self.tally.slowest(),
            failures=self.tally.failures(),
        )


def _balance(limits: Limits | None) -> int | None:
    usd = None if limits is None else limits.spendable_usd
    return None if usd is None else micro_usd(usd)


def _write_summary(path: Path, summary: Summary) -> None:
    part = path.with_name(f".{path.name}{folder.PART_SUFFIX}")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
        os.replace(part, path)
    except OSError as error:
        raise folder.unusable(path, error) from error
