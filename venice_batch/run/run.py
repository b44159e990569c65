"""The course of a run, from its lock to its summary."""

from __future__ import annotations

import random
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from venice_batch.clock import SystemClock
from venice_batch.errors import ExitCode, FolderError
from venice_batch.events import Notice, RunEnded, RunStarted
from venice_batch.model import SUMMARY, Summary
from venice_batch.money import micro_usd
from venice_batch.output import folder, manifest
from venice_batch.output.disk import Disk
from venice_batch.output.ledger import Ledger
from venice_batch.output.resume import Resume
from venice_batch.report.collect import Collector, FailOn, FlaggedJobs, collect
from venice_batch.report.summary import Tally
from venice_batch.run.budget import Budget, caps_of
from venice_batch.run.chains import ChainedJobs
from venice_batch.run.folder_wait import Waiting, hold_output
from venice_batch.run.recovery import recovered
from venice_batch.run.reuse import Reuser, foreseen, reusable_images
from venice_batch.run.sending import Sender, image_folder
from venice_batch.run.spending import Spending
from venice_batch.run.stop import Stop, StopSignal
from venice_batch.run.totals import RunTotals, sum_up, write_summary
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from venice_batch.api.key import ApiKey
    from venice_batch.bucket.folder import BucketFolder, BucketHold
    from venice_batch.bucket.journal import Journal
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job, Outcome
    from venice_batch.output.reuse import ReusableImages
    from venice_batch.run.settings import RunSettings

_MOST_IDS = 5
"""Ids that the notice about jobs rejected before names."""


def new_run_id() -> str:
    """Return an id for a run: the moment (UTC), and enough chance that no other run of that second has it."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


async def run_batch(
    index: JobIndex,
    key: ApiKey,
    settings: RunSettings,
    *,
    observers: Sequence[Observer] = (),
    collectors: Sequence[Collector] = (),
    clock: Clock | None = None,
    rng: random.Random | None = None,
    run_id: str | None = None,
) -> Summary:
    """Run the jobs of `index` that the output folder does not hold yet, and return the summary.

    A job's image and record are on disk when its `JobEnded` is observed. Cancelling stops at once; recorded jobs stay,
    and the next run continues from there.

    After the last job the manifest is read once, for `fail_on` and for `collectors`. Each collector receives the last
    record of every id in the folder; if it cannot, its `error` says why. `run_id` defaults to a new one.

    Raises:
        FolderError: the folder or the budget file could not be used from the start (later, the summary says so).
        StoppedWaitingError: a signal came while another run had the folder.
    """
    run = _Run(
        index,
        key,
        settings,
        observers,
        collectors,
        clock or SystemClock(),
        rng or random.Random(),
        run_id or new_run_id(),
    )
    with ExitStack() as held:
        await run.hold(held)
        await run.open_budget(held)
        return await run.run()


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane's jobs, without those that need nothing more; `jobs` also leaves out those that wait for others."""

    index: JobIndex
    number: int
    is_settled: Callable[[int], bool]
    pending: int

    @property
    def name(self) -> str:
        return self.index.lanes[self.number]

    def jobs(self) -> Iterator[Job]:
        waiting = self.index.chains.links
        skip = (lambda place: place in waiting or self.is_settled(place)) if waiting else self.is_settled
        return self.index.pending(self.number, skip)


class _Run:
    def __init__(
        self,
        index: JobIndex,
        key: ApiKey,
        settings: RunSettings,
        observers: Sequence[Observer],
        collectors: Sequence[Collector],
        clock: Clock,
        rng: random.Random,
        run_id: str,
    ) -> None:
        self.index = index
        self.key = key
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.tally = Tally(sandbox=self.settings.own_sandbox)
        own = (self.tally,) if settings.bucket is None else (self.tally, settings.bucket)
        self.observers: tuple[Observer, ...] = (*own, *observers)
        self.collectors = tuple(collectors)
        self.stop_signal = StopSignal()
        self.disk = Disk()
        self.held: folder.Hold | BucketHold  # from the moment that the run has its folder
        self.bucket = settings.bucket
        self.segments: Journal | None = None
        self.run_id = run_id
        limit = settings.options.max_cost_usd
        self.spending = Spending(None if limit is None else micro_usd(limit))
        self.budget: Budget | None = None
        self.notices: list[str] = []

    async def hold(self, until_left: ExitStack) -> None:
        """Keep other runs out of the output folder or bucket. Raises what `run_batch` raises."""
        waiting: Waiting = {
            "wait_s": self.settings.options.lock_wait_s,
            "clock": self.clock,
            "stop_signal": self.stop_signal,
            "observe": self.observe,
            "handle_signals": self.settings.handle_signals,
        }
        if self.bucket is not None:
            self.bucket.redact = self.key.redact
            self.segments = self.bucket.segments(self.run_id)
        self.held = await hold_output(until_left, self.settings, waiting, run_id=self.run_id, disk=self.disk)

    async def open_budget(self, until_left: ExitStack) -> None:
        """Open the budget file, if the run has one. Raises FolderError."""
        options = self.settings.options
        if options.budget_file is None:
            return
        path = Path(options.budget_file)
        ledger = Ledger(path, run_id=self.run_id, durable=options.durable, wall=self.clock.wall)
        is_new = await self.disk.ask(ledger.open)
        if is_new:
            self.notices.append(f"{path} is new: no run has spent anything of this budget yet")
        until_left.callback(lambda: None if self.disk.is_abandoned else ledger.close())  # closing may wait for the disk
        output = self.settings.place if self.bucket else str(self.settings.output.absolute())
        caps = caps_of(options.max_cost_per_usd)
        self.budget = Budget(ledger, caps, self.clock, self.disk, run_id=self.run_id, output=output)
        self.budget.timeout_s = options.timeout_s

    def observe(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    async def run(self) -> Summary:
        started = datetime.now(UTC)
        began_s = self.clock.now()
        path = self.settings.output / manifest.NAME
        sink = None if self.segments is None else self.segments.write
        journal = manifest.Manifest(path, durable=self.settings.is_flushed, disk=self.disk, sink=sink)
        repaired = journal.open()
        journal.on_moved = lambda error: self.stop_signal.request(Stop(error.exit_code, str(error)))
        try:
            known, notices = await recovered(self.index, self.settings, journal, self.disk, self.held.check)
            self.notices += notices
            lanes = self._lanes(known)
            done = known.done
            reusable = reusable_images(self.index, self.settings, known)
            to_reuse = foreseen(self.index, self.settings, reusable)
            rejected = len(self.index) - done - sum(lane.pending for lane in lanes)
            notice = self._rejected_notice(known, rejected) if rejected else ""
            self.observe(
                RunStarted(
                    self.run_id,
                    self.settings.place,
                    len(self.index),
                    done,
                    self.index.lanes,
                    pending={lane.name: lane.pending for lane in lanes if lane.pending},
                    expected_usd=self._expected_usd(known, to_reuse),
                    base_url=self.settings.api.base_url,
                    reused=len(to_reuse),
                )
            )
            for text in (*self.held.notices, *self.notices, *([repaired] if repaired else []), *known.notices):
                self.observe(Notice(text))
            if self.bucket is not None:
                await self.disk.run(self.bucket.running)
            if reusable is not None:
                await self._reuse(reusable, known, journal)
                lanes = self._lanes(known)
            chained = self._chained(known)
            if self.bucket is not None and chained is not None:
                await self.disk.ask(partial(self.bucket.copy().fetch_all, known.parents.images()))
            sender = self._sender(chained)
            if self.stop_signal.stop is None and any(lane.pending for lane in lanes):
                await sender.send(lanes, known, journal, deadline_s=began_s + self.settings.options.max_time_s)
        finally:
            journal.close()
        self._tell_if_moved(journal)
        totals = RunTotals(
            run_id=self.run_id,
            output=self.settings.place,
            started=started,
            elapsed_s=self.clock.now() - began_s,
            jobs=len(self.index),
            done=done + (chained.found_done if chained else 0),
            already_rejected=rejected + (chained.found_rejected if chained else 0),
            flagged=self._read_back(stalled=sender.stalled),
            known_rejected_ok=self.settings.options.known_rejected == "ok",
            stop=self.stop_signal.stop or sender.parked,
            kept_back=chained.kept_back() if chained else (),
            blocks=sender.blocks,
            spent_usd=None if self.settings.catalogue is None else self.spending.spent / 1e6,
        )
        summary = sum_up(totals, self.tally)
        if notice and summary.exit_code in (ExitCode.OK, ExitCode.SOME_FAILED):
            self.observe(Notice(notice))
        if sender.stalled:
            text = f"{self.settings.place}: {sender.stalled}; the last files may be missing"
            self.observe(Notice(f"{text}, and {SUMMARY} was not written"))
        else:
            summary = self._write(summary)
            if self.bucket is not None:
                summary = await self._publish(self.bucket, summary)
        self.observe(RunEnded(summary))
        return summary

    async def _reuse(self, reusable: ReusableImages, known: Resume, journal: manifest.Manifest) -> None:
        for text in reusable.notices:
            self.observe(Notice(text))
        reuser = Reuser(
            found=reusable,
            images=image_folder(self.settings, self.index, known, self.disk, self.run_id),
            journal=journal,
            known=known,
            stop_signal=self.stop_signal,
            clock=self.clock,
            run_id=self.run_id,
            observe=self.observe,
            handle_signals=self.settings.handle_signals,
        )
        await reuser.run()

    def _write(self, summary: Summary) -> Summary:
        """Write the summary into its file; return it, changed if that failed."""
        try:
            write_summary(self.settings.output, summary)
        except FolderError as error:
            return self._unwritten(summary, error)
        return summary

    async def _publish(self, bucket: BucketFolder, summary: Summary) -> Summary:
        """Join the records of the run, and copy manifest and summary into the bucket, unless another run has it now."""

        def publish() -> None:
            self.held.check()
            if self.segments is not None:
                self.segments.compact()
            bucket.publish([manifest.NAME, SUMMARY])
            bucket.ended()

        try:
            await self.disk.run(publish)
        except FolderError as error:
            return self._unwritten(summary, error)
        except OSError as error:
            return self._unwritten(summary, folder.unusable(self.settings.output, error))
        return summary

    def _unwritten(self, summary: Summary, error: FolderError) -> Summary:
        """Report a file that could not be written at the end: it is lost, the result is not."""
        if summary.reason != str(error):
            self.observe(Notice(str(error)))
        reason = summary.reason or str(error)
        return msgspec.structs.replace(summary, exit_code=int(error.exit_code), reason=reason)

    def _sender(self, chained: ChainedJobs | None) -> Sender:
        return Sender(
            index=self.index,
            key=self.key,
            settings=self.settings,
            clock=self.clock,
            rng=self.rng,
            stop_signal=self.stop_signal,
            spending=self.spending,
            budget=self.budget,
            run_id=self.run_id,
            observe=self.observe,
            held=self.held,
            disk=self.disk,
            chained=chained,
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

    def _chained(self, known: Resume) -> ChainedJobs | None:
        return ChainedJobs(self.index, known, self._is_settled(known), self.observe) if self.index.chains else None

    def _is_settled(self, known: Resume) -> Callable[[int], bool]:
        return known.is_done if self.settings.options.retry_rejected else known.is_settled

    def _rejected_notice(self, known: Resume, count: int) -> str:
        """Return the sentence about the `count` jobs that were rejected before; read the first few for their ids."""

        def is_other(place: int) -> bool:
            return known.is_done(place) or not known.is_settled(place)

        jobs = chain.from_iterable(self.index.pending(number, is_other) for number in range(len(self.index.lanes)))
        ids = [job.id for job in islice(jobs, _MOST_IDS)]
        return rejected_notice(count, ids, is_ok=self.settings.options.known_rejected == "ok")

    def _expected_usd(self, known: Resume, taken: ReusableImages | tuple[()]) -> float | None:
        """Return the sum of the known prices of the jobs left to buy; None if no price is known."""
        preflight = self.settings.preflight
        if preflight is None:
            return None
        is_settled = self._is_settled(known)
        bills = preflight.bills(not is_settled(place) and place not in taken for place in range(len(self.index)))
        prices = [bill.micro_usd * count for bill, count in bills if bill.micro_usd is not None]
        return sum(prices) / 1e6 if prices else None

    def _read_back(self, *, stalled: str | None) -> int:
        """Pass the folder's records to the collectors; return the number of jobs that `fail_on` names.

        Raises:
            FolderError: there is something to fail on, and the manifest or the annotations cannot be read.
        """
        if stalled:
            for collector in self.collectors:
                collector.error = FolderError(self.settings.output, stalled)
            return 0
        fail_on = self.settings.options.fail_on
        flagged = FlaggedJobs(FailOn(fail_on, self.settings.output))
        asked = [flagged, *self.collectors] if fail_on else list(self.collectors)
        if asked:
            collect(self._records, asked, run_id=self.run_id)
        flagged.raise_error()
        for text in flagged.notices():
            self.observe(Notice(text))
        return flagged.count

    def _records(self) -> Iterator[tuple[int | None, Outcome]]:
        whole = None if self.bucket is None else self.bucket.whole(verify=False)
        sandbox = self.settings.may_be_sandbox
        known = Resume(self.index, self.settings.output, sandbox=sandbox, keep_all=True, whole=whole)
        return known.records()


def rejected_notice(count: int, ids: Sequence[str], *, is_ok: bool) -> str:
    """Return the line about `count` jobs that an earlier run's rejection still holds for, with the first few `ids`.

    It says what to do about them; unless `is_ok`, also how to let runs succeed without them.
    """
    it = "it" if count == 1 else "them"
    names = ", ".join(ids) + (", …" if count > len(ids) else "")
    text = f"{counted(count, 'job')} rejected in an earlier run ({names}): change {it} or use --retry-rejected"
    return text if is_ok else f"{text}; --known-rejected ok accepts {it}"
