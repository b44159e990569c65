"""One job from its first attempt to its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec
import tenacity

from venice_batch.api.answers import Answer, Fault, Verdict
from venice_batch.api.requests import as_sent
from venice_batch.api.responses import AnswerHeaders
from venice_batch.catalogue import corrected, enhancement_micro_usd, price_micro_usd
from venice_batch.errors import ExitCode, FolderError, SourceError, UsageError
from venice_batch.events import AttemptEnded
from venice_batch.model import Attempt
from venice_batch.pacing.backoff import Backoff
from venice_batch.run.history import AGAIN, JobHistory, rounded
from venice_batch.run.slots import LaneRefusedError
from venice_batch.run.spending import no_money
from venice_batch.run.stop import Stop, StoppedError, stop_reason

if TYPE_CHECKING:
    import random

    from venice_batch.api.answers import Reply
    from venice_batch.api.client import ImageWriter
    from venice_batch.catalogue import Catalogue
    from venice_batch.clock import Clock
    from venice_batch.events import Observer
    from venice_batch.model import Endpoint, Job, Outcome
    from venice_batch.run.slots import Slots
    from venice_batch.run.spending import SpendingGuard
    from venice_batch.run.stop import Connectivity, StopSignal


_FREE_TRIES = 100
"""A server may have a job wait so often without that counting; past it something is wrong with the server."""
_MOST_INTERCEPTED = 2
"""A page that comes back for the same job is about that job, as far as can be told."""
_LONGEST_HINT_S = 600.0
"""Of a server that asks one job alone to wait, as some do with a 500."""


class Api(Protocol):
    """What the engine needs of an API client."""

    async def generate(self, endpoint: Endpoint, body: dict[str, Any], writer: ImageWriter) -> Reply:
        """Make one attempt; see `ApiClient.generate`."""
        ...

    def error_bucket(self, endpoint: Endpoint, body: dict[str, Any]) -> str:
        """Return where the errors of such a request count; "" for its lane's own bucket."""
        ...


class Sink(Protocol):
    """Where images go."""

    def writer(self, job: Job) -> ImageWriter:
        """A writer for one attempt at `job`."""
        ...


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """How often and how a job is tried. `prefer_json`: ask for JSON even where binary would do.

    `max_paid_attempts` bounds the attempts that may have been charged; the last of them may bring the image.
    """

    max_attempts: int = 6
    max_paid_attempts: int = 2
    backoff: Backoff = field(default_factory=Backoff)
    prefer_json: bool = False

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise UsageError("--max-attempts has to be at least 1")
        if self.max_paid_attempts < 1:
            raise UsageError("--max-paid-attempts has to be at least 1")


class _TryAgainError(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(reply.answer.message)


class JobRunner:
    """Runs jobs by the contract's rules; tenacity drives the attempts of each.

    The run's clock, chance and stop_signal are given, so that nothing here waits in a test.
    """

    def __init__(
        self,
        *,
        api: Api,
        sink: Sink,
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
        self._api = api
        self._sink = sink
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
        """The job's outcome, or None when the run stops first and the job stays pending.

        Raises:
            FolderError: its images could not be stored.
        """
        now_s = self._clock.now()
        unix_s = self._clock.wall() - (now_s - enqueued_s)
        request = job.request if self._catalogue is None else corrected(job, self._catalogue)
        body = as_sent(job.endpoint, request, prefer_json=self._rules.prefer_json)
        price = None if self._catalogue is None else price_micro_usd(job, self._catalogue)
        enhancement = 0 if price is None else enhancement_micro_usd(job.endpoint, job.request)
        history = JobHistory(job, body, price, enhancement, enqueued_s, unix_s, now_s)
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
        remark = self._remark(history, reply.answer)
        return history.outcome(reply.answer, reply, run_id=self._run_id, now_s=self._clock.now(), remark=remark)

    def _is_over(self, history: JobHistory) -> bool:
        """Whether a job that has no image yet is not to be tried again."""
        rules = self._rules
        return (
            history.attempts_used >= rules.max_attempts
            or history.maybe_billed >= rules.max_paid_attempts
            or history.intercepted >= _MOST_INTERCEPTED
            or history.deferrals >= _FREE_TRIES
        )

    def _remark(self, history: JobHistory, answer: Answer) -> str:
        """What to add to the message of a job's last answer."""
        paid, most = history.maybe_billed, self._rules.max_paid_attempts
        if not answer.possibly_billed or paid < most or history.attempts_used >= self._rules.max_attempts:
            return ""
        attempts = "1 attempt" if paid == 1 else f"{paid} attempts"
        return f"; {attempts} may have been charged: to try again, run again or raise --max-paid-attempts"

    async def _tries(self, history: JobHistory) -> Reply:
        """The first reply that needs no other; raises _TryAgainError with the last one when there is none."""
        try:
            return await self._attempt(history)
        except _TryAgainError as error:
            made = [error]

        # A call through tenacity costs a tenth of what moving a small image costs: only a retry pays for it.
        async def attempt() -> Reply:
            if made:
                raise made.pop()
            return await self._attempt(history)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_TryAgainError),
            stop=lambda state: self._is_over(history),
            wait=lambda state: self._wait_s(history, state),
            sleep=lambda delay_s: self._back_off(history, delay_s),
            reraise=True,
        )
        return await retrying(attempt)

    async def _attempt(self, history: JobHistory) -> Reply:
        """One attempt with its price set aside; what may have been charged counts as spent."""
        await self._money.reserve(history.price)
        try:
            return await self._ask(history)
        finally:
            self._money.settle(history.price or 0, spent=history.take_due())

    async def _ask(self, history: JobHistory) -> Reply:
        job = history.job
        began_s = self._clock.now()
        bucket = self._api.error_bucket(job.endpoint, history.body)
        permit = await self._slots.acquire(job.model, units=job.images, bucket=bucket)
        try:
            history.rate_wait_s += self._clock.now() - began_s
            sent_s = self._clock.now()
            spent_before = self._money.spending.spent
            number = self._connectivity.sent()
            try:
                reply = await self._api.generate(job.endpoint, history.body, self._sink.writer(job))
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
        if verdict in AGAIN:
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
        history.attempts.append(attempt)
        history.maybe_billed += answer.possibly_billed
        history.intercepted += answer.fault is Fault.NOT_THE_API
        # Neither being told when to come again nor not reaching the API at all is the job's failure.
        if answer.waits_at_gate:
            history.deferrals += 1
        elif answer.fault is Fault.CONNECT:
            history.connect_failures += 1
        else:
            history.attempts_used += 1
            history.connect_failures = 0
        lane = self._slots.limiter.lane(history.job.model)
        state = lane.state(answer.received_s)
        spent_usd = history.charge(answer)
        self._observe(AttemptEnded(history.job, attempt, verdict, state, answer.possibly_billed, spent_usd))
        lost = self._connectivity.note(self._clock.running(), reached=answer.fault is not Fault.CONNECT)
        if lost is not None:
            self._stop_signal.request(Stop(ExitCode.TEMPORARY, f"the API cannot be reached ({answer.message}); {lost}"))
            self._slots.wake()

    def _note_lost(self, history: JobHistory, sent_s: float, why: str) -> None:
        """Tell of a request that the server may well have served, but whose image found no place."""
        now_s = self._clock.now()
        attempt = Attempt(None, why, 0.0, None, None, rounded(now_s - sent_s), rounded(sent_s - history.enqueued_s))
        state = self._slots.limiter.lane(history.job.model).state(now_s)
        spent_usd = history.charge_in_full()
        self._observe(AttemptEnded(history.job, attempt, Verdict.TRANSIENT, state, True, spent_usd))

    def _wait_s(self, history: JobHistory, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        answer = error.reply.answer if isinstance(error, _TryAgainError) else None
        if answer is not None and answer.waits_at_gate:
            return 0.0
        failures = max(1, history.attempts_used + history.connect_failures)
        if answer is not None and answer.verdict in (Verdict.WRONG_ADDRESS, Verdict.KEY_REFUSED):
            failures += 2  # what refuses on the way takes its time to come round, and no try is to be wasted
        backoff_s = self._rules.backoff.wait_s(failures, self._rng)
        hint_s = answer.hint_s if answer is not None else None
        return max(backoff_s, min(hint_s or 0.0, _LONGEST_HINT_S))

    async def _back_off(self, history: JobHistory, delay_s: float) -> None:
        """Wait out a backoff, or until the run stops; the slot was given back when the attempt ended."""
        self._stop_signal.check()
        history.attempts[-1] = msgspec.structs.replace(history.attempts[-1], wait_s=rounded(delay_s))
        if delay_s > 0:
            began_s = self._clock.now()
            await self._clock.wait(self._stop_signal.event, delay_s)
            history.backoff_s += self._clock.now() - began_s
        self._stop_signal.check()
