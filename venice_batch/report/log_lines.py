"""The lines of `--log-format json`: one class for each event, and the JSON Schema of them all.

Names are those of the manifest and the summary. What OpenTelemetry's semantic conventions have a name for has that
one, such as `http.response.status_code`; no name is the beginning of another, so that a store may nest them at dots.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, get_args

import msgspec

Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""The levels, the least grave first."""

Time = Annotated[
    str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", extra_json_schema={"format": "date-time"})
]
"""A moment as in RFC 3339, in UTC, with milliseconds."""

_STATUS, _TYPE, _MESSAGE = "http.response.status_code", "error.type", "error.message"
_ANSWER = {"status_code": _STATUS, "kind": _TYPE, "message": _MESSAGE}
_SERVER = {"server_address": "server.address", "server_port": "server.port"}


class LogLine(msgspec.Struct, kw_only=True):
    """What every line has.

    `time` is the moment of writing; `run_id` is the run's id as in its records, null for commands other than `run`.
    """

    time: Time = ""
    level: Level = "info"
    event: str = ""
    run_id: str | None = None


class RunStartedLine(LogLine, kw_only=True, rename={**_SERVER, "version": "service.version"}):
    """The run begins. Of the file's `jobs`, `done` need nothing more; `lanes` has the others by model.

    `reused` of the pending jobs take images of other folders; `expected_usd` is the published price of the rest, null
    if no price is known.
    """

    event: Literal["run_started"] = "run_started"
    output: str
    jobs: int
    done: int
    pending: int
    reused: int
    lanes: dict[str, int]
    expected_usd: float | None
    server_address: str | None
    server_port: int | None
    version: str


class WaitingLine(LogLine, kw_only=True):
    """Another run, `holder`, uses the output folder; this one waits up to `timeout_s` for it.

    The line comes every 30 seconds again, with the time that is left.
    """

    event: Literal["waiting"] = "waiting"
    output: str
    holder: str
    timeout_s: float


class LaneWaitingLine(LogLine, kw_only=True):
    """A model's requests wait for `wait_s` seconds; null: until an answer comes.

    `reason` is `window` (its quota is used up), `limited` (the API has asked for a wait), `overloaded`, `error_budget`
    (a pause, so that the API does not block the key) or `blocked` (it does).
    """

    event: Literal["lane_waiting"] = "lane_waiting"
    lane: str
    reason: Literal["window", "limited", "overloaded", "error_budget", "blocked"]
    wait_s: float | None


class AttemptFailedLine(LogLine, kw_only=True, rename=_ANSWER):
    """A request brought no image; `verdict` says what follows, `ray` is the id that the API's support asks for.

    A 429 has the verdict `limited`, or `blocked` after too many errors. The status is null if no answer came.
    `possibly_billed`: the server may have charged all the same.
    """

    event: Literal["attempt_failed"] = "attempt_failed"
    id: str
    lane: str
    verdict: str
    status_code: int | None
    kind: str
    message: str | None
    ray: str | None
    retry_after_s: float | None
    duration_s: float
    possibly_billed: bool


class RetryLine(LogLine, kw_only=True, rename={**_ANSWER, "number": "http.request.resend_count"}):
    """A job will be tried again: after `wait_s` seconds, or, if that is 0, as soon as its model may send.

    The other fields are those of the attempt that failed.
    """

    event: Literal["retry"] = "retry"
    id: str
    lane: str
    number: int
    wait_s: float
    status_code: int | None
    kind: str
    message: str | None
    ray: str | None
    retry_after_s: float | None


class UnreachableLine(LogLine, kw_only=True, rename={**_ANSWER, **_SERVER}):
    """No connection to the API; the run keeps trying until `gives_up_at`."""

    event: Literal["api_unreachable"] = "api_unreachable"
    kind: Literal["connect"] = "connect"
    message: str
    server_address: str | None
    server_port: int | None
    gives_up_at: Time


class ReachableLine(LogLine, kw_only=True):
    """A connection to the API has succeeded again."""

    event: Literal["api_reachable"] = "api_reachable"


class WaitEntry(msgspec.Struct, frozen=True):
    """One reason to wait: see `lane_waiting`, also `folder`, `limits` (the API is asked for them), `unreachable`,
    `backoff` (`count` failed jobs will be tried again) and `answers` (`count` requests are under way).
    """

    reason: str
    lane: str | None
    wait_s: float | None
    count: int


class ProgressLine(LogLine, kw_only=True):
    """How far the run is, every 30 seconds; `waits` says what it waits for, the gravest first.

    `jobs` counts the whole file, `done` includes earlier runs, `pending` have no outcome yet. `eta_s` is the time left,
    null while it is unknown. `quota_a_minute` is what the models at work allow, null without a known limit.
    `sandbox`: no real money was spent.
    """

    event: Literal["progress"] = "progress"
    jobs: int
    done: int
    failed: int
    rejected: int
    pending: int
    in_flight: int
    images: int
    bytes: int
    images_a_minute: float
    quota_a_minute: float | None
    retries: int
    spent_usd: float | None
    sandbox: bool
    elapsed_s: float
    eta_s: float | None
    waits: list[WaitEntry]


class JobEndedLine(LogLine, kw_only=True, rename=_ANSWER):
    """A job has ended and its record is written; status and error are those of its last attempt, if any was needed."""

    event: Literal["job_ended"] = "job_ended"
    id: str
    status: Literal["succeeded", "failed", "rejected"]
    lane: str
    files: list[str]
    status_code: int | None
    kind: str | None
    message: str | None
    attempts: int
    blurred: bool
    content_violation: bool
    possibly_billed: bool
    cost_usd: float | None
    total_s: float


class NoticeLine(LogLine, kw_only=True):
    """Something that you should know; the command goes on."""

    event: Literal["notice"] = "notice"
    text: str


class StoppingLine(LogLine, kw_only=True):
    """The run stops early: nothing more is sent, and `in_flight` requests may still finish."""

    event: Literal["stopping"] = "stopping"
    reason: str
    in_flight: int


class RunEndedLine(LogLine, kw_only=True):
    """The run has ended; the fields are those of `summary.json`. `reason` says why it ended early, else null."""

    event: Literal["run_ended"] = "run_ended"
    output: str
    exit_code: int
    reason: str | None
    jobs: int
    already_done: int
    already_rejected: int
    succeeded: int
    failed: int
    rejected: int
    pending: int
    reused: int
    images: int
    bytes: int
    blurred: int
    content_violations: int
    attempts: int
    retries: int
    refused: int
    blocks: int
    possibly_billed: int
    unpriced: int
    cost_usd: float | None
    sandbox: bool
    elapsed_s: float


class StepFailedLine(LogLine, kw_only=True, rename=_ANSWER):
    """A step after the run, named by its option, has failed; the run's result stays."""

    event: Literal["step_failed"] = "step_failed"
    step: str
    message: str


class ThumbnailsLine(LogLine, kw_only=True):
    """How many of the gallery's thumbnails are made."""

    event: Literal["thumbnails"] = "thumbnails"
    done: int
    total: int


class GalleryLine(LogLine, kw_only=True):
    """The gallery is written."""

    event: Literal["gallery_written"] = "gallery_written"
    path: str


class HookOutputLine(LogLine, kw_only=True, rename={"stream": "log.iostream"}):
    """A line that the command of `--on-finish` has printed; on standard error it is a warning."""

    event: Literal["hook_output"] = "hook_output"
    stream: Literal["stdout", "stderr"]
    text: str


class PlanLine(LogLine, kw_only=True):
    """What a run would do, by `check` or `--dry-run`: `pending` requests for `images` images.

    `cost_usd` leaves out `unpriced` requests, whose price is not known. `balance_suffices` is null if the balance is
    unknown. `warnings` counts those in the jobs file. `budget_left_usd` says what `--max-cost-per` leaves by window.
    """

    event: Literal["plan"] = "plan"
    output: str
    jobs: int
    already_done: int
    already_rejected: int
    reused: int
    pending: int
    images: int
    cost_usd: float
    unpriced: int
    expected_s: float
    balance_suffices: bool | None
    budget_left_usd: dict[str, float]
    warnings: int


class MergedLine(LogLine, kw_only=True):
    """`merge` has put `added` jobs into `output`, which now has `jobs`; `left_out` records could not be taken.

    `unrecognised` counts the kept answers of unknown formats that it brought.
    """

    event: Literal["merged"] = "merged"
    output: str
    jobs: int
    added: int
    images: int
    unrecognised: int
    left_out: int


class JobWarningLine(LogLine, kw_only=True):
    """A doubt about `count` lines of the jobs file: `lines` are the first of them."""

    event: Literal["job_warning"] = "job_warning"
    source: str
    lines: list[int]
    field: str
    what: str
    count: int


class JobProblemLine(LogLine, kw_only=True):
    """A mistake in the jobs file; `line` is null for the file as a whole, `field` for a line as a whole."""

    event: Literal["job_problem"] = "job_problem"
    source: str
    line: int | None
    field: str | None
    what: str


class CommandFailedLine(LogLine, kw_only=True, rename=_ANSWER):
    """The command has failed, or was stopped before a run began or after it ended; this is its last line.

    `error.type` is the exit code's name: `invalid`, `key_refused`, `out_of_money`, `folder_unusable`, `temporary`,
    `sigint` or `sigterm`.
    """

    event: Literal["command_failed"] = "command_failed"
    exit_code: int
    kind: str
    message: str


class CrashedLine(
    LogLine,
    kw_only=True,
    rename={"kind": "exception.type", "message": "exception.message", "stacktrace": "exception.stacktrace"},
):
    """A bug in venice-batch: please report it with this line."""

    event: Literal["crashed"] = "crashed"
    kind: str
    message: str
    stacktrace: str


LINES: tuple[type[LogLine], ...] = (
    RunStartedLine,
    WaitingLine,
    LaneWaitingLine,
    AttemptFailedLine,
    RetryLine,
    UnreachableLine,
    ReachableLine,
    ProgressLine,
    JobEndedLine,
    StoppingLine,
    RunEndedLine,
    StepFailedLine,
    ThumbnailsLine,
    GalleryLine,
    HookOutputLine,
    PlanLine,
    MergedLine,
    JobWarningLine,
    JobProblemLine,
    NoticeLine,
    CommandFailedLine,
    CrashedLine,
)
"""Every kind of line."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a line. Every field is always there; later versions may add some."""
    references, definitions = msgspec.json.schema_components(LINES, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        definition["description"] = inspect.cleandoc(definition["description"])
        definition["required"] = list(definition["properties"])
        for field in definition["properties"].values():
            field.pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of venice-batch's --log-format json",
        "anyOf": list(references),
        "$defs": definitions,
    }
