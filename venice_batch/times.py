"""Where the time of jobs went, in percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.histogram import Histogram

if TYPE_CHECKING:
    from venice_batch.model import Outcome, Timing
    from venice_batch.summary import Percentiles


class Times:
    """Durations of the jobs that succeeded, not kept: `queue_s`, `server_s`, `latency_s` and `total_s`.

    `queue_s` is all that a job waited for its turns, `server_s` until the first byte of the answer that counted,
    `latency_s` that attempt as a whole, `total_s` from enqueued to finished.
    """

    def __init__(self) -> None:
        self._queue, self._server, self._latency, self._total = Histogram(), Histogram(), Histogram(), Histogram()

    def add(self, outcome: Outcome) -> None:
        """Count one job that succeeded."""
        timing = outcome.timing
        self._queue.add(queue_s(timing))
        self._total.add(timing.total_s)
        if timing.ttfb_s is not None:
            self._server.add(timing.ttfb_s)
        if outcome.attempts:
            self._latency.add(outcome.attempts[-1].duration_s)

    def update(self, other: Times) -> None:
        """Count all that `other` has counted, too."""
        self._queue.update(other._queue)
        self._server.update(other._server)
        self._latency.update(other._latency)
        self._total.update(other._total)

    @property
    def queue_s(self) -> Percentiles:
        return self._queue.percentiles()

    @property
    def server_s(self) -> Percentiles:
        return self._server.percentiles()

    @property
    def latency_s(self) -> Percentiles:
        return self._latency.percentiles()

    @property
    def total_s(self) -> Percentiles:
        return self._total.percentiles()


def queue_s(timing: Timing) -> float:
    """All that a job waited for its turns: for a worker, its lane's window, the gate and a slot."""
    return timing.queued_s + timing.rate_wait_s
