"""Stand-ins for time, the API and the disk, shared by the tests of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from typing import Any

import anyio

from venice_batch.api.answers import Answer, Fault, Reply
from venice_batch.api.responses import AnswerHeaders, RateLimit, Reset
from venice_batch.model import Endpoint, ImageFile, Job, Sent


class _Timer:
    """Ends one wait; `over` once that has ended anyhow."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.over = False


class FakeClock:
    """Time that moves only when every task waits for it; use as an async context manager."""

    IDLE_TURNS = 40
    """Turns of the loop without news after which all tasks are taken to wait."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self.start_s = start_s
        self._now_s = start_s
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self._driver: asyncio.Task[None] | None = None
        self.waits: list[float] = []
        self.stopped_s = 0.0
        self.resumed_s = -float("inf")

    def stop(self, seconds: float) -> None:
        """Have the process stopped for so long, as by SIGSTOP: time goes on, nothing runs."""
        self._now_s += seconds
        self.stopped_s += seconds
        self.resumed_s = self._now_s

    def running(self) -> float:
        return self._now_s - self.stopped_s

    def resumed(self) -> float:
        return self.resumed_s

    def beating(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def now(self) -> float:
        return self._now_s

    def wall(self) -> float:
        return 1_800_000_000.0 + self._now_s

    async def wait(self, event: anyio.Event, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        with anyio.CancelScope() as scope:
            timer = _Timer(scope)
            if timeout_s != float("inf"):
                heapq.heappush(self._timers, (self._now_s + max(0.0, timeout_s), next(self._order), timer))
            await event.wait()
        timer.over = True

    async def __aenter__(self) -> FakeClock:
        self._driver = asyncio.create_task(self._drive())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._driver is not None
        self._driver.cancel()
        await asyncio.gather(self._driver, return_exceptions=True)

    async def _drive(self) -> None:
        while True:
            for _ in range(self.IDLE_TURNS):
                await asyncio.sleep(0)
            while self._timers:
                due_s, _, timer = heapq.heappop(self._timers)
                if not timer.over:
                    self._now_s = max(self._now_s, due_s)
                    timer.scope.cancel()
                    break


class Scripted:
    """One attempt's answer: a status or a fault, after `latency_s` seconds."""

    def __init__(
        self,
        status: int | None = 200,
        *,
        fault: Fault | None = None,
        message: str = "",
        retry_after_s: float | None = None,
        rate: RateLimit | None = None,
        latency_s: float = 1.0,
        raises: Exception | None = None,
        **headers: Any,
    ) -> None:
        self.status = status
        self.fault = fault
        self.message = message
        self.latency_s = latency_s
        self.raises = raises
        self.headers = AnswerHeaders(
            retry_after_s=retry_after_s, rate=rate or RateLimit(), ray="ray-1", date_unix_s=None, **headers
        )


OK = Scripted()


class FakeFetcher:
    """Answers from scripts by job prompt, else from `default`; keeps what it was asked and how many at a time."""

    def __init__(self, clock: FakeClock, scripts: dict[str, list[Scripted]] | None = None, default: Scripted = OK):
        self.clock = clock
        self.scripts = scripts or {}
        self.default = default
        self.asked: list[tuple[float, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def fetch(self, job: Job, body: dict[str, Any], sent: Sent | None = None) -> Reply:
        sent_s = self.clock.now()
        prompt = body["prompt"]
        self.asked.append((sent_s, prompt))
        self.bodies.append(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        script = self.scripts.get(prompt)
        answer = script.pop(0) if script else self.default
        try:
            await self.clock.wait(anyio.Event(), answer.latency_s)
        finally:
            self.in_flight -= 1
        if answer.raises is not None:
            raise answer.raises
        result = Answer(answer.status, answer.headers, answer.message, sent_s, self.clock.now(), answer.fault)
        if answer.status == 200 and answer.fault is None:
            return Reply(result, (ImageFile(f"images/{prompt}.png", 1, "0" * 64, "png", 1, 1),), None, 0.5, 0.25, 0.1)
        return Reply(result)


def job(prompt: str, *, model: str = "m", **fields: Any) -> Job:
    """A job whose id and prompt are `prompt`."""
    return Job(prompt, 1, 0, Endpoint.GENERATE, {"model": model, "prompt": prompt, **fields}, f"{prompt:0>32}"[:32])


def reset_in(seconds: float, *, limit: int = 20, remaining: int = 0) -> RateLimit:
    """Rate-limit headers of a window that ends in so many seconds."""
    return RateLimit(limit, remaining, Reset(in_s=seconds))
