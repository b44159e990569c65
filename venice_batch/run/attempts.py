"""One job, from its first attempt to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec
import tenacity

from venice_batch.api.answers import Answer, Fault, Verdict, failure_kind
from venice_batch.api.requests import error_bucket
from venice_batch.api.responses import AnswerHeaders
from venice_batch.errors import ExitCode, FolderError, SourceError
from venice_batch.events import AttemptEnded, Reachable, Retrying, Unreachable
from venice_batch.model import Attempt
from venice_batch.run.history import begun, rounded
from venice_batch.run.retry import RETRIED, is_over, note, remark, wait_s
from venice_batch.run.slots import LaneRefusedError
from venice_batch.run.spending import no_money
from venice_batch.run.stop import Stop, StoppedError, stop_reason

if TYPE_CHECKING:
    import random

    from venice_batch.api.answers import Reply
    from venice_batch.catalogue import Catalogue
    from venice_batch.clock import Clock
    from venice_batch.events import Observer
    from venice_batch.model import Job, Outcome
    from venice_batch.run.fetching import Fetcher
    from venice_batch.run.history import JobHistory
    from venice_batch.run.retry import AttemptRules
    from venice_batch.run.slots import Slots
    from venice_batch.run.spending import SpendingGuard
    from venice_batch.run.stop import Connectivity, StopSignal


class _TryAgainError(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(reply.answer.message)


class JobRunner:
    """Runs jobs by the contract's rules; tenacity drives the attempts of each.

    Clock, chance and stop signal are given, so that nothing here waits in a test.
    """

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        slots: Slots,
        stop_signal: StopSignal,
        connectivity: Connectivity,
        clock: Clock,
        rng: random.Random,
        rules: AttemptRules,
        money: SpendingGuard,
        catalogue: Catalogue | None,
        run_id: str,
        observe: Observer,
    ) -> None:
        self._fetcher = fetcher
        self._slots = slots
        self._stop_signal = stop_signal
        self._connectivity = connectivity
        self._clock = clock
        self._rng = rng
        self._rules = rules
        self._money = money
        self._catalogue = catalogue
        self._run_id = run_id
        self._observe = observe

    async def run(self, job: Job, enqueued_s: float) -> Outcome | None:
        """Return the job's outcome, or None if the run stops first and the job stays pending.

        Raises:
            FolderError: its images could not be stored.
            ProcessesError: no process is left to fetch them.
        """
        now_s = self._clock.now()
        unix_s = self._clock.wall() - (now_s - enqueued_s)
        history = begun(
            job,
            self._catalogue,
            prefer_json=self._rules.prefer_json,
            enqueued_s=enqueued_s,
            enqueued_unix_s=unix_s,
            started_s=now_s,
        )
        try:
            reply = await self._tries(history)
        except StoppedError:
            return None
        except LaneRefusedError as refusal:
            return history.outcome(refusal.answer, None, run_id=self._run_id, now_s=self._clock.now())
        except SourceError as error:
            now_s = self._clock.now()
            answer = Answer(None, AnswerHeaders(), str(error), now_s, now_s, Fault.SOURCE)
            return history.outcome(answer, None, run_id=self._run_id, now_s=now_s)
        except _TryAgainError as error:
            reply = error.reply
        more = remark(history, reply.answer, self._rules)
        return history.outcome(reply.answer, reply, run_id=self._run_id, now_s=self._clock.now(), remark=more)

    async def _tries(self, history: JobHistory) -> Reply:
        """Return the first reply after which no other is needed; raise _TryAgainError with the last one if none is."""
        try:
            return await self._attempt(history)
        except _TryAgainError as error:
            made = [error]

        async def attempt() -> Reply:
            if made:
                raise made.pop()
            return await self._attempt(history)

        # A call through tenacity takes a quarter of the time that moving a small image takes: only a retry pays for it.
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_TryAgainError),
            stop=lambda state: is_over(history, self._rules),
            wait=lambda state: self._wait_s(history, state),
            sleep=lambda delay_s: self._back_off(history, delay_s),
            before_sleep=lambda state: self._report_retry(history, state),
            reraise=True,
        )
        return await retrying(attempt)

    async def _attempt(self, history: JobHistory) -> Reply:
        """Make one attempt with its price reserved; money that may have been charged counts as spent."""
        await self._money.reserve(history.price)
        try:
            return await self._ask(history)
        finally:
            booked, due = history.take_booked(), history.take_due()
            self._money.settle(history.price or 0, spent=due)
            await self._money.settle_booked(booked, spent=due)

    async def _ask(self, history: JobHistory) -> Reply:
        job = history.job
        began_s = self._clock.now()
        bucket = error_bucket(job.endpoint, history.body)

        async def book() -> None:
            history.booked = await self._money.book(history.price, model=job.model, job=job.id)

        before = book if self._money.has_budget else None
        permit = await self._slots.acquire(job.model, units=job.images, bucket=bucket, before=before)
        try:
            history.rate_wait_s += self._clock.now() - began_s
            sent_s = self._clock.now()
            spent_before = self._money.spending.spent
            number = self._connectivity.sent()
            try:
                reply = await self._fetcher.fetch(job, history.body, history.sent(sent_s))
            except anyio.get_cancelled_exc_class():
                self._note_lost(history, sent_s, "cancelled")
                raise
            except FolderError as error:
                self._note_lost(history, sent_s, str(error))
                raise
            finally:
                self._connectivity.ended(number)
            permit.answer = answer = reply.answer
        finally:
            self._slots.release(permit)
        known = self._connectivity.known
        verdict = self._connectivity.judge(answer, job.id)
        self._note(history, answer, verdict)
        self._money.note(answer, price=history.price or 0, due=history.due, spent_before=spent_before)
        if verdict in (Verdict.KEY_REFUSED, Verdict.WRONG_ADDRESS):
            code = ExitCode.KEY_REFUSED if verdict is Verdict.KEY_REFUSED else ExitCode.TEMPORARY
            self._stop_signal.request(Stop(code, stop_reason(answer, known=known)))
            raise StoppedError
        if verdict is Verdict.NO_MONEY:
            self._stop_signal.request(Stop(ExitCode.OUT_OF_MONEY, no_money(answer.message)))
            raise StoppedError
        if verdict is Verdict.LANE_REFUSED:
            self._slots.refuse(job.model, answer)
        if verdict in RETRIED:
            raise _TryAgainError(reply)
        return reply

    def _note(self, history: JobHistory, answer: Answer, verdict: Verdict) -> None:
        attempt = Attempt(
            status=answer.status,
            error=answer.message or None,
            wait_s=0.0,
            retry_after_s=answer.hint_s,
            ray=answer.headers.ray,
            duration_s=rounded(answer.received_s - answer.sent_s),
            sent_s=rounded(answer.sent_s - history.enqueued_s),
        )
        note(history, answer, attempt)
        lane = self._slots.limiter.lane(history.job.model)
        state = lane.state(answer.received_s)
        spent_usd = history.charge(answer)
        kind = "" if verdict is Verdict.SUCCEEDED else failure_kind(answer)
        self._observe(AttemptEnded(history.job, attempt, verdict, state, answer.possibly_billed, spent_usd, kind))
        now_s = self._clock.running()
        was_lost = self._connectivity.left_s(now_s) is not None
        lost = self._connectivity.note(now_s, reached=answer.fault is not Fault.CONNECT)
        left_s = self._connectivity.left_s(now_s)
        if was_lost and left_s is None:
            self._observe(Reachable())
        elif not was_lost and left_s is not None:
            self._observe(Unreachable(answer.message, self._clock.wall() + left_s))
        if lost is not None:
            self._stop_signal.request(Stop(ExitCode.TEMPORARY, f"the API cannot be reached ({answer.message}); {lost}"))
            self._slots.wake()

    def _note_lost(self, history: JobHistory, sent_s: float, why: str) -> None:
        """Report a request that the server may have served but whose image was lost here."""
        now_s = self._clock.now()
        attempt = Attempt(None, why, 0.0, None, None, rounded(now_s - sent_s), rounded(sent_s - history.enqueued_s))
        state = self._slots.limiter.lane(history.job.model).state(now_s)
        spent_usd = history.charge_in_full()
        self._observe(AttemptEnded(history.job, attempt, Verdict.TRANSIENT, state, True, spent_usd, Fault.CUT))

    def _wait_s(self, history: JobHistory, state: tenacity.RetryCallState) -> float:
        return wait_s(history, _last_answer(state), self._rules, self._rng)

    def _report_retry(self, history: JobHistory, state: tenacity.RetryCallState) -> None:
        if self._stop_signal.stop is None:
            kind = failure_kind(_last_answer(state))
            made = history.attempts
            self._observe(Retrying(history.job, len(made), rounded(state.upcoming_sleep), made[-1], kind))

    async def _back_off(self, history: JobHistory, delay_s: float) -> None:
        """Wait until the backoff is over or the run stops; the slot was released when the attempt ended."""
        self._stop_signal.check()
        history.attempts[-1] = msgspec.structs.replace(history.attempts[-1], wait_s=rounded(delay_s))
        if delay_s > 0:
            began_s = self._clock.now()
            await self._clock.wait(self._stop_signal.event, delay_s)
            history.backoff_s += self._clock.now() - began_s
        self._stop_signal.check()


def _last_answer(state: tenacity.RetryCallState) -> Answer:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _TryAgainError)  # noqa: S101  (tenacity waits after no other)
    return error.reply.answer
