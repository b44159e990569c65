"""The engine's part, played in simulated time around the package's own pacing."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from venice_batch.api.answers import Answer, Verdict
from venice_batch.api.responses import read_headers
from venice_batch.pacing.backoff import Backoff

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping

    from simulated_server import SimulatedServer

    from venice_batch.pacing.limiter import Permit, RateLimiter

_AGAIN = frozenset({Verdict.LIMITED, Verdict.BLOCKED, Verdict.OVERLOADED, Verdict.TRANSIENT})
_FREE_TRIES = 100
_TIMER_S = 0.001
"""No event loop's timer is finer than that."""


@dataclass(frozen=True, slots=True)
class Network:
    """One way takes `delay_s` and up to `jitter_s` more, so that requests may overtake each other."""

    delay_s: float = 0.03
    jitter_s: float = 0.02

    def draw(self, rng: random.Random) -> float:
        return self.delay_s + rng.uniform(0.0, self.jitter_s)


@dataclass(slots=True)
class SimulatedJob:
    """One job; `bad` is answered with 400. `counted` and `tries` are as in the contract's retry rules."""

    lane: str
    bad: bool = False
    images: int = 1
    counted: int = 0
    tries: int = 0


@dataclass(slots=True)
class Observed:
    """What a run looked like from the client's side; `first_refused_in_flight` before the first 429 came."""

    ended: Counter[str] = field(default_factory=Counter)
    most_in_flight: int = 0
    first_refused_in_flight: int | None = None
    makespan_s: float = 0.0
    stuck: bool = False


class SimulatedClient:
    """Runs jobs against a `SimulatedServer` through `RateLimiter`, with a heap for a clock.

    Like the engine: a lane holds twice the ceiling of jobs in hand, a backoff holds no slot, every answer has
    all lanes look again, and a wait ends by itself a little late.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        server: SimulatedServer,
        jobs: Mapping[str, Iterator[SimulatedJob]],
        rng: random.Random,
        *,
        network: Network,
        max_attempts: int = 6,
        others: tuple[int, float] = (0, 60.0),
    ) -> None:
        self.limiter = limiter
        self.server = server
        self.observed = Observed()
        self._rng = rng
        self._network = network
        self._max_attempts = max_attempts
        self._backoff = Backoff()
        self._jobs = dict(jobs)
        self._ready: dict[str, deque[SimulatedJob]] = {name: deque() for name in jobs}
        self._in_hand: Counter[str] = Counter()
        self._in_flight = 0
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._wakes_s = dict.fromkeys(jobs, 0.0)
        self._others = others
        for name in jobs:
            self._refill(name)
            self._compete(name)

    def run(self, until_s: float) -> Observed:
        """Run to the last job's end, or to `until_s`."""
        listed = read_headers(self.server.listing(self._now_s), wall_s=0.0)
        self.limiter.listed(Answer(200, listed, "", self._now_s - self._network.delay_s, self._now_s))
        self._pump()
        while self._events and any(self._in_hand.values()):
            self._now_s, _, happen = heapq.heappop(self._events)
            if self._now_s > until_s:
                self.observed.stuck = True
                break
            happen()
        self.observed.stuck = self.observed.stuck or any(self._in_hand.values())
        return self.observed

    def _at(self, moment_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment_s, next(self._numbers), happen))

    def _refill(self, name: str) -> None:
        while self._in_hand[name] < 2 * self.limiter.rules.concurrency:
            job = next(self._jobs[name], None)
            if job is None:
                return
            self._in_hand[name] += 1
            self._ready[name].append(job)

    def _compete(self, name: str) -> None:
        count, length_s = self._others
        for _ in range(count):
            moment_s = self._now_s + self._rng.uniform(0.0, length_s)
            self._at(moment_s, lambda moment_s=moment_s: self.server.taken_by_others(moment_s, name))  # type: ignore[misc]
        if count:
            self._at(self._now_s + length_s, lambda: self._compete(name))

    def _pump(self) -> None:
        """Let every lane send what it may, in turn."""
        waiting = [name for name, ready in self._ready.items() if ready]
        while waiting:
            waiting = [name for name in waiting if self._try(name)]

    def _try(self, name: str) -> bool:
        lane = self.limiter.lane(name)
        images = self._ready[name][0].images
        wait_s = self.limiter.wait_s(lane, self._now_s, images=images)
        if wait_s <= 0:
            self._send(self._ready[name].popleft(), self.limiter.send(lane, self._now_s, images=images))
            return bool(self._ready[name])
        if wait_s != float("inf"):
            wake_s = self._now_s + max(_TIMER_S, wait_s)
            if not self._now_s < self._wakes_s[name] <= wake_s:
                self._wakes_s[name] = wake_s
                self._at(wake_s, self._pump)
        return False

    def _send(self, job: SimulatedJob, permit: Permit) -> None:
        self._in_flight += 1
        self.observed.most_in_flight = max(self.observed.most_in_flight, self._in_flight)
        sent_s = self._now_s + 1e-4  # the client takes its own time after the permit's
        self._at(self._now_s + self._network.draw(self._rng), lambda: self._arrive(job, permit, sent_s))

    def _arrive(self, job: SimulatedJob, permit: Permit, sent_s: float) -> None:
        served = self.server.receive(self._now_s, job.lane, bad=job.bad, images=job.images)

        def leave() -> None:
            headers = self.server.leave(self._now_s, served)

            def received() -> None:
                answer = Answer(served.status, read_headers(headers, wall_s=0.0), served.message, sent_s, self._now_s)
                self._answered(job, permit, answer)

            self._at(self._now_s + self._network.draw(self._rng), received)

        self._at(self._now_s + served.takes_s, leave)

    def _answered(self, job: SimulatedJob, permit: Permit, answer: Answer) -> None:
        if answer.status == 429 and self.observed.first_refused_in_flight is None:
            self.observed.first_refused_in_flight = self._in_flight
        self._in_flight -= 1
        self.limiter.answered(permit, answer)
        verdict = answer.verdict
        job.tries += 1
        if not answer.waits_at_gate:
            job.counted += 1
        if verdict in _AGAIN and job.counted < self._max_attempts and job.tries < _FREE_TRIES:
            wait_s = 0.0 if answer.waits_at_gate else self._backoff.wait_s(max(1, job.counted), self._rng)
            self._at(self._now_s + wait_s, lambda: self._again(job))
        else:
            self.observed.ended["failed" if verdict in _AGAIN else verdict.value] += 1
            self.observed.makespan_s = self._now_s
            self._in_hand[job.lane] -= 1
            self._refill(job.lane)
        self._pump()

    def _again(self, job: SimulatedJob) -> None:
        self._ready[job.lane].append(job)
        self._pump()
