"""The events of a run, which observers receive as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from venice_batch.api.answers import Verdict
    from venice_batch.model import Attempt, Job, Outcome, Summary
    from venice_batch.pacing.lane import LaneState


class RunStarted(msgspec.Struct, frozen=True):
    """The run begins.

    `jobs` counts the file's jobs, `done` those that need nothing more, `pending` the others by lane. `reused` of the
    pending jobs take images of other folders. `expected_usd` is the published price of the rest; None if a price is
    unknown. `base_url` is the API's address.
    """

    run_id: str
    output: str
    jobs: int
    done: int
    lanes: tuple[str, ...]
    pending: Mapping[str, int] = msgspec.field(default_factory=dict)
    expected_usd: float | None = None
    base_url: str = ""
    reused: int = 0


class RunState(msgspec.Struct, frozen=True):
    """A snapshot of a run, for progress displays.

    `lanes` are the lanes used so far; together they have at most `concurrency` requests in flight. `held_s` is how
    many seconds all lanes wait because of the error budget (0: they do not wait; infinity: until an answer arrives).
    `spent_usd` is None where no price is known.
    """

    lanes: tuple[LaneState, ...]
    concurrency: int
    held_s: float
    spent_usd: float | None


class Sending(msgspec.Struct, frozen=True):
    """Requests are sent from now on; call `state` on the event loop for a snapshot of the run."""

    state: Callable[[], RunState]


class Waiting(msgspec.Struct, frozen=True):
    """Another run, `holder`, uses the output folder; this run gives up after `timeout_s` seconds.

    `may_be_dead`: the holder has not been seen to live. Then it loses the folder after these seconds.
    """

    output: str
    holder: str
    timeout_s: float
    may_be_dead: bool = False


class AttemptEnded(msgspec.Struct, frozen=True):
    """One request has ended; `lane` is the lane's state after it.

    `possibly_billed`: the server may have charged for an image that never arrived. `spent_usd` is the request's price
    if an image came or a charge is possible, else 0; None where no price is known. `kind` is the kind of the failure as
    in records; "" if an image came.
    """

    job: Job
    attempt: Attempt
    verdict: Verdict
    lane: LaneState
    possibly_billed: bool = False
    spent_usd: float | None = None
    kind: str = ""


class Retrying(msgspec.Struct, frozen=True):
    """A job is tried again after `wait_s` seconds, or, if that is 0, as soon as its lane lets it.

    `number` counts the job's retries, this one included; `last` is the attempt that failed, `kind` the kind of its
    failure.
    """

    job: Job
    number: int
    wait_s: float
    last: Attempt
    kind: str


class Unreachable(msgspec.Struct, frozen=True):
    """No connection to the API; the run keeps trying until `gives_up_unix_s`. `reason` says what failed."""

    reason: str
    gives_up_unix_s: float


class Reachable(msgspec.Struct, frozen=True):
    """A connection to the API has succeeded again."""


class JobEnded(msgspec.Struct, frozen=True):
    """A job has ended and its record is written."""

    outcome: Outcome


class JobKept(msgspec.Struct, frozen=True):
    """A pending job of this lane needs nothing after all: the image that it works on came out as it was before.

    Its earlier outcome holds: it is done, or else it was rejected.
    """

    lane: str
    done: bool


class Notice(msgspec.Struct, frozen=True):
    """A warning for the user; the run goes on."""

    text: str


class Stopping(msgspec.Struct, frozen=True):
    """The run stops: nothing more is sent, and `in_flight` requests may still finish."""

    reason: str
    in_flight: int


class RunEnded(msgspec.Struct, frozen=True):
    """The run has ended."""

    summary: Summary


Event = (
    Waiting
    | RunStarted
    | Sending
    | AttemptEnded
    | Retrying
    | Unreachable
    | Reachable
    | JobEnded
    | JobKept
    | Notice
    | Stopping
    | RunEnded
)


class Observer(Protocol):
    """A callable that gets every event on the event loop; it must return soon and raise nothing."""

    def __call__(self, event: Event, /) -> None: ...
