"""What an observer of a run is told, as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from venice_batch.api.answers import Verdict
    from venice_batch.model import Attempt, Job, Outcome, Summary
    from venice_batch.pacing.lane import LaneState


class RunStarted(msgspec.Struct, frozen=True):
    """The run begins: `jobs` in the file, of which `done` need nothing more.

    `pending` are those left to do of each lane that has any; by the published prices, where they are known, they
    cost `expected_usd`.
    """

    run_id: str
    output: str
    jobs: int
    done: int
    lanes: tuple[str, ...]
    pending: Mapping[str, int] = msgspec.field(default_factory=dict)
    expected_usd: float | None = None


class RunState(msgspec.Struct, frozen=True):
    """A run at one moment, for progress displays.

    `lanes` are those that have been used, with at most `concurrency` requests under way together. All of them wait
    `held_s` seconds for the API to forgive failures (0: none do; infinity: for an answer). `spent_usd` is None where
    no price is known.
    """

    lanes: tuple[LaneState, ...]
    concurrency: int
    held_s: float
    spent_usd: float | None


class Sending(msgspec.Struct, frozen=True):
    """Requests go out from now on; `state` tells how things stand whenever it is called on the event loop."""

    state: Callable[[], RunState]


class Waiting(msgspec.Struct, frozen=True):
    """Another run, `holder`, is using the output folder; this one gives up after `timeout_s` seconds."""

    output: str
    holder: str
    timeout_s: float


class AttemptEnded(msgspec.Struct, frozen=True):
    """One request is over; `lane` is the lane's state after it.

    `possibly_billed`: the server may have charged for an image that never arrived. `spent_usd` is what it adds to what
    the run has spent: its price if there is an image or may have been a charge, else 0; None where no price is known.
    """

    job: Job
    attempt: Attempt
    verdict: Verdict
    lane: LaneState
    possibly_billed: bool = False
    spent_usd: float | None = None


class JobEnded(msgspec.Struct, frozen=True):
    """A job is over and its record written."""

    outcome: Outcome


class Notice(msgspec.Struct, frozen=True):
    """Something the user should know that stops nothing."""

    text: str


class Stopping(msgspec.Struct, frozen=True):
    """Nothing more is sent; what is under way may finish."""

    reason: str
    in_flight: int


class RunEnded(msgspec.Struct, frozen=True):
    """The run is over."""

    summary: Summary


Event = Waiting | RunStarted | Sending | AttemptEnded | JobEnded | Notice | Stopping | RunEnded


class Observer(Protocol):
    """Told of every event, on the event loop: return soon and raise nothing."""

    def __call__(self, event: Event, /) -> None: ...
