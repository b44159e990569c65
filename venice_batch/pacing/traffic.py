"""Whether the run may send now, over all lanes together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import UsageError
from venice_batch.pacing.budget import BlockRule, FailureBudget
from venice_batch.pacing.lane import Lane, LaneState, Quota
from venice_batch.pacing.period import Ends
from venice_batch.pacing.skew import ClockSkew
from venice_batch.retry import Fault, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from venice_batch.retry import Answer


@dataclass(frozen=True, slots=True)
class SendingRules:
    """What bounds a run's sending, whatever the API says.

    `concurrency` is the ceiling over all lanes. `rpm` caps every lane's window. `minute_s` is how long the
    API's minute is: 60, less on a time-compressed sandbox.
    """

    concurrency: int = 16
    rpm: int | None = None
    minute_s: float = 60.0
    block: BlockRule = field(default_factory=BlockRule)

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UsageError("--concurrency has to be at least 1")
        if self.rpm is not None and self.rpm < 1:
            raise UsageError("--rpm has to be at least 1")


class Ticket(msgspec.Struct, frozen=True):
    """Leave to send one request; to be handed back with the answer."""

    lane: Lane
    sent_s: float
    settled: int = 0
    """How many of the lane's requests had their answers when this one was sent."""


class Traffic:
    """The gates of all lanes, the failure budget and the ceiling: pure arithmetic on given moments.

    `ask` then `send` then `answered` (or `given_up`), in any interleaving. Guarantees, whatever the
    answers: never more under way than the ceiling, nothing sent while a gate is closed, never more
    failures in the block rule's window than its budget affords.
    """

    def __init__(
        self,
        rules: SendingRules,
        rng: random.Random,
        *,
        quotas: Mapping[str, Quota] | None = None,
        day_ends_s: float = math.inf,
    ) -> None:
        self.rules = rules
        self.budget = FailureBudget(rules.block)
        self.blocks = 0
        self._rng = rng
        self._quotas = dict(quotas or {})
        self._day_ends_s = day_ends_s
        self._lanes: dict[str, Lane] = {}
        self._skew = ClockSkew()
        self._in_flight = 0
        self._blocked_until_s = -math.inf

    def lane(self, name: str) -> Lane:
        """The lane of that name, made when first asked for."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(
                name,
                quota=self._quotas.get(name, Quota()),
                ceiling=self.rules.concurrency,
                minute_s=self.rules.minute_s,
                rpm_cap=self.rules.rpm,
                day_ends_s=self._day_ends_s,
                rng=self._rng,
            )
        return lane

    def wait_s(self, lane: Lane, now_s: float) -> float:
        """Seconds until `lane` may send one more; 0 now, infinity while only an answer can help."""
        wait = max(lane.wait_s(now_s), self.held_s(now_s))
        if wait > 0:
            return wait
        return math.inf if self._in_flight >= self.rules.concurrency else 0.0

    def held_s(self, now_s: float) -> float:
        """Seconds that every lane waits, for the API's block to end or the failure budget to recover; else 0."""
        return max(0.0, self.budget.wait_s(now_s), self._blocked_until_s - now_s)

    def send(self, lane: Lane, now_s: float) -> Ticket:
        """Count one request of `lane` as sent; only right after `wait_s` gave 0."""
        self._in_flight += 1
        self.budget.sent()
        return Ticket(lane, now_s, lane.sent(now_s))

    def answered(self, ticket: Ticket, answer: Answer) -> None:
        """Learn from the answer to `ticket`'s request."""
        now_s = answer.received_s
        verdict = answer.verdict
        self._in_flight -= 1
        # A connection that never came about is no failed request to the server, nor is a broken 200.
        failed = verdict is not Verdict.SUCCEEDED and answer.fault not in (Fault.CONNECT, Fault.NO_IMAGE)
        self.budget.answered(now_s, failed=failed)
        headers = answer.headers
        if headers.date_unix_s is not None:
            self._skew.observe(headers.date_unix_s, answer.sent_s, now_s)
        if verdict is Verdict.BLOCKED:
            self._block(answer, ticket.sent_s)
        ticket.lane.answered(answer, sent_s=ticket.sent_s, settled=ticket.settled, ends=self._ends(answer))

    def given_up(self, ticket: Ticket, now_s: float) -> None:
        """The request was cancelled before its answer; the server may count it as failed."""
        self._in_flight -= 1
        self.budget.answered(now_s, failed=True)
        ticket.lane.given_up()

    def states(self, now_s: float) -> tuple[LaneState, ...]:
        """Every lane's snapshot, in order of first use."""
        return tuple(lane.state(now_s) for lane in self._lanes.values())

    def _block(self, answer: Answer, sent_s: float) -> None:
        is_news = sent_s >= self._blocked_until_s
        self.blocks += is_news
        if is_news or answer.hint_s is not None:
            wait_s = self.rules.block.block_s if answer.hint_s is None else answer.hint_s
            self._blocked_until_s = max(self._blocked_until_s, answer.received_s + wait_s)

    def _ends(self, answer: Answer) -> Ends | None:
        """The answer's reset on the run's clock, as well as it can be known."""
        reset = answer.headers.rate.reset
        if reset is None:
            return None
        if reset.in_s is not None:
            # The server has written it at some time between.
            ends = Ends(answer.sent_s + reset.in_s, answer.received_s + reset.in_s)
        elif reset.unix_s is not None and (known := self._skew.local(reset.unix_s)):
            ends = known
        else:
            return None
        # A window that was open before the answer came is over a window's length after it, whatever the clocks.
        bound_s = answer.received_s + self.rules.minute_s
        return Ends(ends.earliest_s, bound_s) if ends.earliest_s < bound_s < ends.latest_s else ends
