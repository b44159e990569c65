"""One job from its first attempt to its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec
import tenacity

from venice_batch.catalogue import corrected, price_micro_usd
from venice_batch.engine.stop import Stop, StoppedError
from venice_batch.engine.turnstile import LaneRefusedError
from venice_batch.errors import ExitCode, UsageError
from venice_batch.events import AttemptEnded
from venice_batch.model import SCHEMA, Attempt, Endpoint, Failure, Flags, Outcome, Status, Timing
from venice_batch.retry import Backoff, Fault, Verdict, failure_kind

if TYPE_CHECKING:
    import random

    from venice_batch.api.client import Reply
    from venice_batch.catalogue import Catalogue
    from venice_batch.clock import Clock
    from venice_batch.engine.purse import Purse
    from venice_batch.engine.reach import Reach
    from venice_batch.engine.stop import StopSwitch
    from venice_batch.engine.turnstile import Turnstile
    from venice_batch.events import Observer
    from venice_batch.model import Job
    from venice_batch.output.sink import ImageWriter, Sink
    from venice_batch.retry import Answer

_AGAIN = frozenset({Verdict.LIMITED, Verdict.BLOCKED, Verdict.OVERLOADED, Verdict.TRANSIENT})
_FREE_TRIES = 100
"""A server may have a job wait so often without that counting; past it something is wrong with the server."""
_LONGEST_HINT_S = 600.0
"""Of a server that asks one job alone to wait, as some do with a 500."""


class Api(Protocol):
    """What the engine needs of an API client."""

    async def generate(self, endpoint: Endpoint, body: dict[str, Any], writer: ImageWriter) -> Reply:
        """Make one attempt; see `ApiClient.generate`."""
        ...


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """How often and how a job is tried. `prefer_json`: ask for JSON even where binary would do."""

    max_attempts: int = 6
    backoff: Backoff = field(default_factory=Backoff)
    prefer_json: bool = False

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise UsageError("--max-attempts has to be at least 1")


class _TryAgainError(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(reply.answer.message)


@dataclass(slots=True)
class _Trail:
    """What a job has been through so far."""

    job: Job
    body: dict[str, Any]
    price: int | None  # in millionths of a USD
    enqueued_s: float
    enqueued_unix_s: float
    started_s: float
    attempts: list[Attempt] = field(default_factory=list)
    counted: int = 0
    sent_back: int = 0
    unreached: int = 0
    rate_wait_s: float = 0.0
    backoff_s: float = 0.0
    possibly_billed: bool = False
    attempts_billed: int = 0  # of the attempt under way: 1 once it may have been charged without an image


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
        purse: Purse,
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
        self._purse = purse
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
        trail = _Trail(job, body, price, enqueued_s, unix_s, now_s)
        try:
            reply = await self._tries(trail)
        except StoppedError:
            return None
        except LaneRefusedError as refusal:
            return self._outcome(trail, refusal.answer, None)
        except _TryAgainError as error:
            reply = error.reply
        return self._outcome(trail, reply.answer, reply)

    async def _tries(self, trail: _Trail) -> Reply:
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
            stop=lambda state: trail.counted >= self._rules.max_attempts or trail.sent_back >= _FREE_TRIES,
            wait=lambda state: self._wait_s(trail, state),
            sleep=lambda delay_s: self._back_off(trail, delay_s),
            reraise=True,
        )
        return await retrying(attempt)

    async def _attempt(self, trail: _Trail) -> Reply:
        """One attempt with its price set aside; what may have been charged counts as spent."""
        price = trail.price or 0
        await self._reserve(price)
        billed = False
        try:
            reply = await self._ask(trail)
            billed = reply.answer.verdict is Verdict.SUCCEEDED
        except (_TryAgainError, anyio.get_cancelled_exc_class()):
            billed = trail.attempts_billed > 0
            raise
        finally:
            trail.attempts_billed = 0
            self._purse.settle(price, billed=billed)
            self._turnstile.wake()
        return reply

    async def _reserve(self, price: int) -> None:
        while not self._purse.reserve(price):
            self._switch.check()
            if not self._purse.may_fit(price):
                spent = f"{self._purse.spent / 1e6:.2f} USD are spent"
                reason = f"--max-cost is reached: {spent}, the next job does not fit"
                self._switch.request(Stop(ExitCode.OUT_OF_MONEY, reason))
                raise StoppedError
            await self._turnstile.change()

    async def _ask(self, trail: _Trail) -> Reply:
        job = trail.job
        began_s = self._clock.now()
        async with self._turnstile.passing(job.model) as passage:
            trail.rate_wait_s += self._clock.now() - began_s
            sent_s = self._clock.now()
            try:
                reply = await self._api.generate(job.endpoint, trail.body, self._sink.writer(job))
            except anyio.get_cancelled_exc_class():
                self._note_cancelled(trail, sent_s)
                raise
            passage.answer = answer = reply.answer
        verdict = answer.verdict
        self._note(trail, answer, verdict)
        if verdict is Verdict.KEY_REFUSED:
            self._switch.request(Stop(ExitCode.KEY_REFUSED, f"the API refused the key: {answer.message}"))
            raise StoppedError
        if verdict is Verdict.NO_MONEY:
            self._switch.request(Stop(ExitCode.OUT_OF_MONEY, f"out of money: {answer.message}"))
            raise StoppedError
        if verdict is Verdict.WRONG_ADDRESS:
            self._switch.request(Stop(ExitCode.TEMPORARY, f"this is not the API: {answer.message}"))
            raise StoppedError
        if verdict is Verdict.LANE_REFUSED:
            self._turnstile.refuse(job.model, answer)
        if verdict in _AGAIN:
            raise _TryAgainError(reply)
        return reply

    def _note(self, trail: _Trail, answer: Answer, verdict: Verdict) -> None:
        attempt = Attempt(
            status=answer.status,
            error=answer.message or None,
            wait_s=0.0,
            retry_after_s=answer.hint_s,
            ray=answer.headers.ray,
            duration_s=_round(answer.received_s - answer.sent_s),
        )
        trail.attempts.append(attempt)
        trail.possibly_billed = trail.possibly_billed or answer.possibly_billed
        trail.attempts_billed = int(answer.possibly_billed)
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
        self._observe(AttemptEnded(trail.job, attempt, verdict, state, answer.possibly_billed))
        lost = self._reach.note(answer.received_s, reached=answer.fault is not Fault.CONNECT)
        if lost is not None:
            self._switch.request(Stop(ExitCode.TEMPORARY, f"the API cannot be reached ({answer.message}); {lost}"))
            self._turnstile.wake()

    def _note_cancelled(self, trail: _Trail, sent_s: float) -> None:
        """Tell of a request that was under way when everything stopped: the server may well have served it."""
        now_s = self._clock.now()
        trail.attempts_billed = 1
        attempt = Attempt(None, "cancelled", 0.0, None, None, _round(now_s - sent_s))
        lane = self._turnstile.traffic.lane(trail.job.model)
        self._observe(AttemptEnded(trail.job, attempt, Verdict.TRANSIENT, lane.state(now_s), possibly_billed=True))

    def _wait_s(self, trail: _Trail, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        answer = error.reply.answer if isinstance(error, _TryAgainError) else None
        if answer is not None and answer.waits_at_gate:
            return 0.0
        backoff_s = self._rules.backoff.wait_s(max(1, trail.counted + trail.unreached), self._rng)
        hint_s = answer.hint_s if answer is not None else None
        return max(backoff_s, min(hint_s or 0.0, _LONGEST_HINT_S))

    async def _back_off(self, trail: _Trail, delay_s: float) -> None:
        """Wait out a backoff, or until the run stops; the slot was given back when the attempt ended."""
        self._switch.check()
        trail.attempts[-1] = msgspec.structs.replace(trail.attempts[-1], wait_s=_round(delay_s))
        if delay_s > 0:
            began_s = self._clock.now()
            await self._clock.wait(self._switch.event, delay_s)
            trail.backoff_s += self._clock.now() - began_s
        self._switch.check()

    def _outcome(self, trail: _Trail, answer: Answer, reply: Reply | None) -> Outcome:
        job, head = trail.job, answer.headers
        succeeded = answer.verdict is Verdict.SUCCEEDED
        status = Status.FAILED if answer.verdict in _AGAIN else Status.REJECTED
        return Outcome(
            schema=SCHEMA,
            run_id=self._run_id,
            id=job.id,
            request_hash=job.request_hash,
            status=Status.SUCCEEDED if succeeded else status,
            lane=job.model,
            files=reply.files if reply else (),
            endpoint=job.endpoint,
            request=trail.body,
            metadata=job.metadata,
            attempts=tuple(trail.attempts),
            error=None if succeeded else Failure(failure_kind(answer), answer.status, answer.message),
            flags=Flags(
                blurred=head.blurred,
                content_violation=head.content_violation,
                possibly_billed=trail.possibly_billed,
                deprecated=head.deprecated,
                enhanced_prompt=head.enhanced_prompt,
            ),
            cost_usd=_cost_usd(trail, succeeded=succeeded),
            timing=self._timing(trail, reply),
            sandbox=head.sandbox,
        )

    def _timing(self, trail: _Trail, reply: Reply | None) -> Timing:
        at = datetime.fromtimestamp(trail.enqueued_unix_s, UTC).isoformat(timespec="milliseconds")
        return Timing(
            enqueued_at=at.replace("+00:00", "Z"),
            queued_s=_round(trail.started_s - trail.enqueued_s),
            rate_wait_s=_round(trail.rate_wait_s),
            backoff_s=_round(trail.backoff_s),
            ttfb_s=_round_or_none(reply.ttfb_s if reply else None),
            download_s=_round_or_none(reply.download_s if reply else None),
            write_s=_round_or_none(reply.write_s if reply else None),
            total_s=_round(self._clock.now() - trail.enqueued_s),
            server=reply.server if reply else None,
        )


def _cost_usd(trail: _Trail, *, succeeded: bool) -> float | None:
    """What the job has cost by the list; None where no price is known, or none can be relied on."""
    if trail.price is None or trail.possibly_billed:
        return None
    return trail.price / 1e6 if succeeded else 0.0


def as_sent(endpoint: Endpoint, request: dict[str, Any], *, prefer_json: bool) -> dict[str, Any]:
    """The body that is sent for `request`.

    A single image is asked for as binary, a quarter less to move and nothing to decode, unless the line says
    otherwise or JSON (which brings the server's own timing) is preferred.
    """
    if (
        endpoint is not Endpoint.GENERATE
        or prefer_json
        or "return_binary" in request
        or request.get("variants", 1) != 1
    ):
        return request
    # The API refuses `variants`, even 1, beside `return_binary`.
    body = {name: value for name, value in request.items() if name != "variants"}
    body["return_binary"] = True
    return body


def _round(value_s: float) -> float:
    return round(max(0.0, value_s), 6)


def _round_or_none(value_s: float | None) -> float | None:
    return None if value_s is None else _round(value_s)
