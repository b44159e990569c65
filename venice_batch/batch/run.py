"""The course of a run, from its lock to its summary."""

from __future__ import annotations

import random
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from venice_batch.batch.sending import Sender
from venice_batch.batch.summing_up import Course, sum_up, write_summary
from venice_batch.catalogue import micro_usd
from venice_batch.clock import SystemClock
from venice_batch.engine.purse import Purse
from venice_batch.engine.stop import Stop, StopSwitch
from venice_batch.engine.turn import take_turn
from venice_batch.errors import FolderError
from venice_batch.events import Notice, RunEnded, RunStarted
from venice_batch.output import folder, manifest
from venice_batch.output.resume import Resume
from venice_batch.output.standing import Standing
from venice_batch.summary import SUMMARY, Summary
from venice_batch.tally import Tally
from venice_batch.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from venice_batch.api.secret import ApiKey
    from venice_batch.batch.settings import RunSettings
    from venice_batch.clock import Clock
    from venice_batch.events import Event, Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job

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
        batch.held = await take_turn(
            held,
            lambda: folder.hold(
                settings.output, settings.naming.folders if settings.naming else (), durable=settings.durable
            ),
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
        self.switch = StopSwitch()
        self.held: folder.Hold  # from the moment that the run has its folder
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        limit = settings.max_cost_usd
        self.purse = Purse(None if limit is None else micro_usd(limit))

    def observe(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    async def run(self) -> Summary:
        started = datetime.now(UTC)
        began_s = self.clock.now()
        path = self.settings.output / manifest.NAME
        journal = manifest.Manifest(path, durable=self.settings.durable, writers=self.settings.workers)
        repaired = journal.open()
        journal.told = lambda error: self.switch.request(Stop(error.exit_code, str(error)))
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
                    pending={lane.name: lane.pending for lane in lanes if lane.pending},
                    expected_usd=self._expected_usd(known),
                )
            )
            for text in (*self.held.notices, *([repaired] if repaired else []), *known.notices):
                self.observe(Notice(text))
            sender = self._sender()
            if any(lane.pending for lane in lanes):
                await sender.send(lanes, known, journal, deadline_s=began_s + self.settings.max_time_s)
        finally:
            journal.close()
        self._tell_if_moved(journal)
        course = Course(
            run_id=self.run_id,
            output=str(self.settings.output),
            started=started,
            elapsed_s=self.clock.now() - began_s,
            jobs=len(self.index),
            done=done,
            already_rejected=rejected,
            flagged=0 if sender.is_stalled else self._flagged(),
            stop=self.switch.stop or sender.parked,
            blocks=sender.blocks,
            spent_usd=None if self.settings.catalogue is None else self.purse.spent / 1e6,
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
            switch=self.switch,
            purse=self.purse,
            run_id=self.run_id,
            observe=self.observe,
            held=self.held,
        )

    def _tell_if_moved(self, journal: manifest.Manifest) -> None:
        if journal.moved is not None:
            self.switch.request(Stop(journal.moved.exit_code, str(journal.moved)))
            if self.switch.stop is None or self.switch.stop.reason != str(journal.moved):
                self.observe(Notice(str(journal.moved)))

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
            self.observe(Notice(f"{counted(flagged, 'job')} with a flag of --fail-on: {names}"))
        return flagged
