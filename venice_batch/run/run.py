"""How a run gets hold of an output folder that another run may be using."""

from __future__ import annotations

import os
import random
import secrets
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec

from venice_batch.clock import SystemClock
from venice_batch.errors import ExitCode, FolderError, FolderHeldError, StoppedWaitingError
from venice_batch.events import Notice, RunEnded, RunStarted, Waiting
from venice_batch.model import SCHEMA, SUMMARY, Summary
from venice_batch.money import micro_usd
from venice_batch.output import folder, manifest
from venice_batch.output.disk import Disk
from venice_batch.output.resume import Resume
from venice_batch.report.summary import Tally
from venice_batch.run.sending import Sender
from venice_batch.run.spending import Spending
from venice_batch.run.stop import Stop, StopSignal, stop_on_signals
from venice_batch.text_format import counted, json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from venice_batch.api.key import ApiKey
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job
    from venice_batch.run.settings import RunSettings


Held = TypeVar("Held")

POLL_S = 1.0
"""Time between two looks at the lock: a run takes minutes, and a look is three system calls."""


async def acquire_folder(
    stack: ExitStack,
    hold: Callable[[], AbstractContextManager[Held]],
    *,
    wait_s: float,
    clock: Clock,
    stop_signal: StopSignal,
    observe: Observer,
    handle_signals: bool,
) -> Held:
    """Enter `hold()` into `stack`, at once or within `wait_s` seconds; returns what it gives.

    There is no queue: of several runs that wait, any may be next.

    Raises:
        FolderHeldError: another run still holds the folder.
        StoppedWaitingError: the stop_signal, or with `handle_signals` a signal, has ended the waiting.
        FolderError: what else `hold` raises.
    """
    deadline_s = clock.now() + wait_s
    held = _try(stack, hold)
    if isinstance(held, FolderHeldError) and wait_s > 0:
        async with anyio.create_task_group() as side:
            if handle_signals:
                await side.start(stop_on_signals, stop_signal, side.cancel_scope)
            observe(Waiting(str(held.path), held.holder, wait_s))
            while isinstance(held, FolderHeldError) and stop_signal.stop is None:
                left_s = deadline_s - clock.now()
                if left_s <= 0:
                    break
                await clock.wait(stop_signal.event, min(left_s, POLL_S))
                held = _try(stack, hold)
            side.cancel_scope.cancel()
    if stop_signal.stop is not None:
        raise StoppedWaitingError(stop_signal.stop.reason, stop_signal.stop.code)
    if isinstance(held, FolderError):
        raise held
    return held


def _try(stack: ExitStack, hold: Callable[[], AbstractContextManager[Held]]) -> Held | FolderError:
    """What `hold` gives, or why it could not be entered: a task group would wrap what is raised."""
    try:
        return stack.enter_context(hold())
    except FolderError as error:
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """What a run has been through that no event tells.

    Of the `jobs` in the file `done` had succeeded before, `already_rejected` were refused before and not asked for
    again; `flagged` have a flag to fail on. `stop` is what ended it early, `spent_usd` None where no price is known.
    """

    run_id: str
    output: str
    started: datetime
    elapsed_s: float
    jobs: int
    done: int
    already_rejected: int
    flagged: int
    stop: Stop | None
    blocks: int
    spent_usd: float | None


def sum_up(course: RunTotals, tally: Tally) -> Summary:
    """The summary of a run, its exit code by the contract's table."""
    counts, times = tally.counts, tally.times
    ended = counts["succeeded"] + counts["failed"] + counts["rejected"]
    pending = course.jobs - course.done - course.already_rejected - ended
    stop = course.stop
    if stop is not None and stop.code is ExitCode.TEMPORARY and not pending:
        stop = None  # it came too late to keep anything from being done
    if stop is None and pending:
        # Only a second signal gets here without a reason of its own.
        stop = Stop(ExitCode.SIGINT, "stopped at once")
    code = stop.code if stop else ExitCode.OK
    if stop is None and (counts["failed"] or counts["rejected"] or course.already_rejected or course.flagged):
        code = ExitCode.SOME_FAILED
    return Summary(
        schema=SCHEMA,
        run_id=course.run_id,
        output=course.output,
        exit_code=int(code),
        reason=stop.reason if stop else None,
        started_at=course.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        elapsed_s=round(course.elapsed_s, 3),
        jobs=course.jobs,
        already_done=course.done,
        already_rejected=course.already_rejected,
        succeeded=counts["succeeded"],
        failed=counts["failed"],
        rejected=counts["rejected"],
        pending=pending,
        images=counts["images"],
        bytes=counts["bytes"],
        attempts=counts["attempts"],
        refused=counts["refused"],
        blocks=course.blocks,
        blurred=counts["blurred"],
        content_violations=counts["content_violations"],
        possibly_billed=counts["possibly_billed"],
        cost_usd=course.spent_usd,
        errors=dict(tally.errors),
        lanes=tally.lanes(),
        total_s=times.total_s,
        retries=counts["retries"],
        queue_s=times.queue_s,
        server_s=times.server_s,
        slowest=tally.slowest(),
        failures=tally.failures(),
        unpriced=counts["unpriced"],
        sandbox=tally.sandbox,
    )


def write_summary(root: Path, summary: Summary) -> None:
    """Put `summary.json` into the output folder, whole. Raises FolderError."""
    path = root / SUMMARY
    part = path.with_name(f".{path.name}{folder.PART_SUFFIX}")
    try:
        part.write_bytes(msgspec.json.format(json_bytes(summary), indent=2) + b"\n")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise folder.unusable(path, error) from error


_MOST_FLAGGED = 5


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
        batch.held = await acquire_folder(
            held,
            lambda: folder.hold(
                settings.output, settings.naming.folders if settings.naming else (), durable=settings.options.durable
            ),
            wait_s=settings.options.lock_wait_s,
            clock=batch.clock,
            stop_signal=batch.stop_signal,
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

    @property
    def name(self) -> str:
        return self.index.lanes[self.number]

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
        self.stop_signal = StopSignal()
        self.disk = Disk()
        self.held: folder.Hold  # from the moment that the run has its folder
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        limit = settings.options.max_cost_usd
        self.spending = Spending(None if limit is None else micro_usd(limit))

    def observe(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    async def run(self) -> Summary:
        started = datetime.now(UTC)
        began_s = self.clock.now()
        path = self.settings.output / manifest.NAME
        journal = manifest.Manifest(path, durable=self.settings.options.durable, disk=self.disk)
        repaired = journal.open()
        journal.on_moved = lambda error: self.stop_signal.request(Stop(error.exit_code, str(error)))
        try:
            known = Resume(
                self.index,
                self.settings.output,
                verify=self.settings.options.verify,
                sandbox=self.settings.may_be_sandbox,
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
                    pending={lane.name: lane.pending for lane in lanes if lane.pending},
                    expected_usd=self._expected_usd(known),
                )
            )
            for text in (*self.held.notices, *([repaired] if repaired else []), *known.notices):
                self.observe(Notice(text))
            sender = self._sender()
            if any(lane.pending for lane in lanes):
                await sender.send(lanes, known, journal, deadline_s=began_s + self.settings.options.max_time_s)
        finally:
            journal.close()
        self._tell_if_moved(journal)
        course = RunTotals(
            run_id=self.run_id,
            output=str(self.settings.output),
            started=started,
            elapsed_s=self.clock.now() - began_s,
            jobs=len(self.index),
            done=done,
            already_rejected=rejected,
            flagged=0 if sender.is_stalled else self._flagged(),
            stop=self.stop_signal.stop or sender.parked,
            blocks=sender.blocks,
            spent_usd=None if self.settings.catalogue is None else self.spending.spent / 1e6,
        )
        summary = sum_up(course, self.tally)
        if sender.is_stalled:
            text = f"{self.settings.output}: the disk does not answer; what it was given last may not be there"
            self.observe(Notice(f"{text}, and {SUMMARY} was not written"))
        else:
            summary = self._write(summary)
        self.observe(RunEnded(summary))
        return summary

    def _write(self, summary: Summary) -> Summary:
        """Put the summary into its file; returns it with what came of that."""
        try:
            write_summary(self.settings.output, summary)
        except FolderError as error:
            # The run's own news is not lost with the file.
            self.observe(Notice(str(error)))
            reason = summary.reason or str(error)
            return msgspec.structs.replace(summary, exit_code=int(error.exit_code), reason=reason)
        return summary

    def _sender(self) -> Sender:
        return Sender(
            index=self.index,
            key=self.key,
            settings=self.settings,
            clock=self.clock,
            rng=self.rng,
            stop_signal=self.stop_signal,
            spending=self.spending,
            run_id=self.run_id,
            observe=self.observe,
            held=self.held,
            disk=self.disk,
        )

    def _tell_if_moved(self, journal: manifest.Manifest) -> None:
        if journal.moved is not None:
            self.stop_signal.request(Stop(journal.moved.exit_code, str(journal.moved)))
            if self.stop_signal.stop is None or self.stop_signal.stop.reason != str(journal.moved):
                self.observe(Notice(str(journal.moved)))

    def _lanes(self, known: Resume) -> list[_Lane]:
        is_settled = self._is_settled(known)
        lanes = []
        for number in range(len(self.index.lanes)):
            settled = sum(map(is_settled, self.index.places_of(number)))
            lanes.append(_Lane(self.index, number, is_settled, self.index.count(number) - settled))
        return lanes

    def _is_settled(self, known: Resume) -> Callable[[int], bool]:
        return known.is_done if self.settings.options.retry_rejected else known.is_settled

    def _expected_usd(self, known: Resume) -> float | None:
        """The known prices of what is left to do; None where none is known."""
        preflight = self.settings.preflight
        if preflight is None:
            return None
        is_settled = self._is_settled(known)
        bills = preflight.bills(not is_settled(place) for place in range(len(self.index)))
        prices = [bill.micro_usd * count for bill, count in bills if bill.micro_usd is not None]
        return sum(prices) / 1e6 if prices else None

    def _flagged(self) -> int:
        """How many jobs have a flag of `fail_on`; the first of them are told."""
        wanted = self.settings.options.fail_on
        if not wanted:
            return 0
        standing = Resume(self.index, self.settings.output, sandbox=self.settings.may_be_sandbox)
        flagged = 0
        first: list[str] = []
        for _, outcome in standing.outcomes():
            if any(map(outcome.flags.has, wanted)):
                flagged += 1
                first += [outcome.id] if flagged <= _MOST_FLAGGED else []
        if flagged:
            names = ", ".join(first) + (", …" if flagged > len(first) else "")
            self.observe(Notice(f"{counted(flagged, 'job')} with a flag of --fail-on: {names}"))
        return flagged
