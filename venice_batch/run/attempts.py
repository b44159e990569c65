"""One job from its first attempt to its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec
import tenacity

from venice_batch.api.answers import Answer, Fault, Verdict
from venice_batch.api.responses import AnswerHeaders
from venice_batch.catalogue import corrected, enhancement_micro_usd, price_micro_usd
from venice_batch.errors import ExitCode, FolderError, SourceError, UsageError
from venice_batch.events import AttemptEnded
from venice_batch.model import Attempt
from venice_batch.pacing.backoff import Backoff
from venice_batch.run.history import AGAIN, Trail, as_sent, rounded
from venice_batch.run.slots import LaneRefusedError
from venice_batch.run.spending import no_money
from venice_batch.run.stop import Stop, StoppedError, stop_reason

if TYPE_CHECKING:
    import random

    from venice_batch.api.client import ImageWriter, Reply
    from venice_batch.catalogue import Catalogue
    from venice_batch.clock import Clock
    from venice_batch.events import Observer
    from venice_batch.model import Endpoint, Job, Outcome
    from venice_batch.run.slots import Turnstile
    from venice_batch.run.spending import Cashier
    from venice_batch.run.stop import Reach, StopSwitch


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

    The run's clock, chance and switch are given, so that nothing here waits in a test.
    """

    def __init__(
        self,
        *,
        api: Api,
        sink: Sink,
        turnstile: Turnstile,
        switch: StopSwitch,
        reach: Reach,
        clock: Clock,
        rng: random.Random,
        rules: AttemptRules,
        cashier: Cashier,
        catalogue: Catalogue | None,
        run_id: str,
        observe: Observer,
    ) -> None:
        self._api = api
        self._sink = sink
        self._turnstile = turnstile
        self._switch = switch
        self._reach = reach
        self._clock = clock
        self._rng = rng
        self._rules = rules
        self._cashier = cashier
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
        trail = Trail(job, body, price, enhancement, enqueued_s, unix_s, now_s)
        try:
            reply = await self._tries(trail)
        except StoppedError:
            return None
        except LaneRefusedError as refusal:
            return trail.outcome(refusal.answer, None, run_id=self._run_id, now_s=self._clock.now())
        except SourceError as error:
            now_s = self._clock.now()
            answer = Answer(None, AnswerHeaders(), str(error), now_s, now_s, Fault.SOURCE)
            return trail.outcome(answer, None, run_id=self._run_id, now_s=now_s)
        except _TryAgainError as error:
            reply = error.reply
        remark = self._remark(trail, reply.answer)
        return trail.outcome(reply.answer, reply, run_id=self._run_id, now_s=self._clock.now(), remark=remark)

    def _is_over(self, trail: Trail) -> bool:
        """Whether a job that has no image yet is not to be tried again."""
        rules = self._rules
        return (
            trail.counted >= rules.max_attempts
            or trail.perhaps_paid >= rules.max_paid_attempts
            or trail.intercepted >= _MOST_INTERCEPTED
            or trail.sent_back >= _FREE_TRIES
        )

    def _remark(self, trail: Trail, answer: Answer) -> str:
        """What to add to the message of a job's last answer."""
        paid, most = trail.perhaps_paid, self._rules.max_paid_attempts
        if not answer.possibly_billed or paid < most or trail.counted >= self._rules.max_attempts:
            return ""
        attempts = "1 attempt" if paid == 1 else f"{paid} attempts"
        return f"; {attempts} may have been charged: to try again, run again or raise --max-paid-attempts"

    async def _tries(self, trail: Trail) -> Reply:
        """The first reply that needs no other; raises _TryAgainError with the last one when there is none."""
        try:
            return await self._attempt(trail)
        except _TryAgainError as error:
            made = [error]

        # A call through tenacity costs a tenth of what moving a small image costs: only a retry pays for it.
        async def attempt() -> Reply:
            if made:
                raise made.pop()
            return await self._attempt(trail)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_TryAgainError),
            stop=lambda state: self._is_over(trail),
            wait=lambda state: self._wait_s(trail, state),
            sleep=lambda delay_s: self._back_off(trail, delay_s),
            reraise=True,
        )
        return await retrying(attempt)

    async def _attempt(self, trail: Trail) -> Reply:
        """One attempt with its price set aside; what may have been charged counts as spent."""
        await self._cashier.reserve(trail.price)
        try:
            return await self._ask(trail)
        finally:
            self._cashier.settle(trail.price or 0, spent=trail.take_due())

    async def _ask(self, trail: Trail) -> Reply:
        job = trail.job
        began_s = self._clock.now()
        bucket = self._api.error_bucket(job.endpoint, trail.body)
        passage = await self._turnstile.enter(job.model, units=job.images, bucket=bucket)
        try:
            trail.rate_wait_s += self._clock.now() - began_s
            sent_s = self._clock.now()
            spent_before = self._cashier.purse.spent
            number = self._reach.sent()
            try:
                reply = await self._api.generate(job.endpoint, trail.body, self._sink.writer(job))
            except anyio.get_cancelled_exc_class():
                self._note_lost(trail, sent_s, "cancelled")
                raise
            except FolderError as error:
                self._note_lost(trail, sent_s, str(error))
                raise
            finally:
                self._reach.ended(number)
            passage.answer = answer = reply.answer
        finally:
            self._turnstile.leave(passage)
        known = self._reach.known
        verdict = self._reach.judge(answer, job.id)
        self._note(trail, answer, verdict)
        self._cashier.note(answer, price=trail.price or 0, due=trail.due, spent_before=spent_before)
        if verdict in (Verdict.KEY_REFUSED, Verdict.WRONG_ADDRESS):
            code = ExitCode.KEY_REFUSED if verdict is Verdict.KEY_REFUSED else ExitCode.TEMPORARY
            self._switch.request(Stop(code, stop_reason(answer, known=known)))
            raise StoppedError
        if verdict is Verdict.NO_MONEY:
            self._switch.request(Stop(ExitCode.OUT_OF_MONEY, no_money(answer.message)))
            raise StoppedError
        if verdict is Verdict.LANE_REFUSED:
            self._turnstile.refuse(job.model, answer)
        if verdict in AGAIN:
            raise _TryAgainError(reply)
        return reply

    def _note(self, trail: Trail, answer: Answer, verdict: Verdict) -> None:
        attempt = Attempt(
            status=answer.status,
            error=answer.message or None,
            wait_s=0.0,
            retry_after_s=answer.hint_s,
            ray=answer.headers.ray,
            duration_s=rounded(answer.received_s - answer.sent_s),
            sent_s=rounded(answer.sent_s - trail.enqueued_s),
        )
        trail.attempts.append(attempt)
        trail.perhaps_paid += answer.possibly_billed
        trail.intercepted += answer.fault is Fault.NOT_THE_API
        # Neither being told when to come again nor not reaching the API at all is the job's failure.
        if answer.waits_at_gate:
            trail.sent_back += 1
        elif answer.fault is Fault.CONNECT:
            trail.unreached += 1
        else:
            trail.counted += 1
            trail.unreached = 0
        lane = self._turnstile.traffic.lane(trail.job.model)
        state = lane.state(answer.received_s)
        spent_usd = trail.charge(answer)
        self._observe(AttemptEnded(trail.job, attempt, verdict, state, answer.possibly_billed, spent_usd))
        lost = self._reach.note(self._clock.running(), reached=answer.fault is not Fault.CONNECT)
        if lost is not None:
            self._switch.request(Stop(ExitCode.TEMPORARY, f"the API cannot be reached ({answer.message}); {lost}"))
            self._turnstile.wake()

    def _note_lost(self, trail: Trail, sent_s: float, why: str) -> None:
        """Tell of a request that the server may well have served, but whose image found no place."""
        now_s = self._clock.now()
        attempt = Attempt(None, why, 0.0, None, None, rounded(now_s - sent_s), rounded(sent_s - trail.enqueued_s))
        state = self._turnstile.traffic.lane(trail.job.model).state(now_s)
        spent_usd = trail.charge_in_full()
        self._observe(AttemptEnded(trail.job, attempt, Verdict.TRANSIENT, state, True, spent_usd))

    def _wait_s(self, trail: Trail, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        answer = error.reply.answer if isinstance(error, _TryAgainError) else None
        if answer is not None and answer.waits_at_gate:
            return 0.0
        failures = max(1, trail.counted + trail.unreached)
        if answer is not None and answer.verdict in (Verdict.WRONG_ADDRESS, Verdict.KEY_REFUSED):
            failures += 2  # what refuses on the way takes its time to come round, and no try is to be wasted
        backoff_s = self._rules.backoff.wait_s(failures, self._rng)
        hint_s = answer.hint_s if answer is not None else None
        return max(backoff_s, min(hint_s or 0.0, _LONGEST_HINT_S))

    async def _back_off(self, trail: Trail, delay_s: float) -> None:
        """Wait out a backoff, or until the run stops; the slot was given back when the attempt ended."""
        self._switch.check()
        trail.attempts[-1] = msgspec.structs.replace(trail.attempts[-1], wait_s=rounded(delay_s))
        if delay_s > 0:
            began_s = self._clock.now()
            await self._clock.wait(self._switch.event, delay_s)
            trail.backoff_s += self._clock.now() - began_s
        self._switch.check()
