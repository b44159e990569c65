"""The values that flow through a run: a job goes in, an outcome comes out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

SCHEMA = 1
"""Version of the manifest's record; a reader keeps the fields that it does not know."""


class Endpoint(StrEnum):
    """The API's image endpoints that a job can name, below the base URL."""

    GENERATE = "/image/generate"
    GENERATIONS = "/images/generations"
    UPSCALE = "/image/upscale"
    EDIT = "/image/edit"
    MULTI_EDIT = "/image/multi-edit"
    BACKGROUND_REMOVE = "/image/background-remove"


UNNAMED: Mapping[Endpoint, str] = MappingProxyType(
    {
        Endpoint.GENERATE: "default",
        Endpoint.GENERATIONS: "default",
        Endpoint.UPSCALE: "upscaler",
        Endpoint.EDIT: "firered-image-edit",
        Endpoint.MULTI_EDIT: "firered-image-edit",
        Endpoint.BACKGROUND_REMOVE: "bria-bg-remover",
    }
)
"""The model of a request that names none: the API's documented default, or the only one that the endpoint has.

Upscaling and background removal take no model; these are the names that listings and rate limits have for theirs.
"""


class Job(msgspec.Struct, frozen=True):
    """One API request that the jobs file asks for.

    `request` is the effective body: the line's fields over the defaults, exactly as the user means them.
    `request_hash` names endpoint and body: the same id with another hash is another job.
    `line` counts the file's lines from 1, `index` its jobs from 0 (a line with a matrix holds several).
    `doubts` are what this version does not know of the request and lets pass, as (field, what).
    """

    id: str
    line: int
    index: int
    endpoint: Endpoint
    request: dict[str, Any]
    request_hash: str
    metadata: dict[str, Any] | None = None
    doubts: tuple[tuple[str, str], ...] = ()

    @property
    def model(self) -> str:
        """The model as the line names it, else the endpoint's own; `modelId` is its old name on edits."""
        model = self.request.get("model")
        if model is None:
            model = self.request.get("modelId", UNNAMED[self.endpoint])
        return str(model)

    @property
    def images(self) -> int:
        """How many images the request asks for, which is what it takes of its lane's window."""
        variants = self.request.get("variants")
        return variants if isinstance(variants, int) and variants > 0 else 1


class Status(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"


class ImageFile(msgspec.Struct, frozen=True):
    """One image on disk; `path` is relative to the output folder, `format` is that of the bytes.

    `width` and `height` are null where the bytes do not tell them in any way that is known here.
    """

    path: str
    bytes: int
    sha256: str
    format: str
    width: int | None
    height: int | None


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One HTTP request: what came back (`status` null when nothing did) and how long it took.

    `wait_s` is the backoff that followed it, `retry_after_s` what the server asked for, `ray` the id that
    the API's support asks for. `sent_s` counts from the job's `enqueued_at`; older records do not have it.
    """

    status: int | None
    error: str | None
    wait_s: float
    retry_after_s: float | None
    ray: str | None
    duration_s: float
    sent_s: float | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a job has no image. `kind` is one of a small set of words (see the manifest's page)."""

    kind: str
    status: int | None
    message: str


class Flags(msgspec.Struct, frozen=True):
    """What the server said beside the image; `possibly_billed`: charged perhaps, though no image came."""

    blurred: bool = False
    content_violation: bool = False
    possibly_billed: bool = False
    deprecated: str | None = None
    enhanced_prompt: str | None = None

    def has(self, flag: str) -> bool:
        """Whether the flag of that name is set, or says anything."""
        value = getattr(self, flag)
        return value is not None and value is not False


class ServerTiming(msgspec.Struct, frozen=True, rename="camel"):
    """The server's own account of its time, in ms as received."""

    inference_duration: float | None = None
    inference_preprocessing_time: float | None = None
    inference_queue_time: float | None = None
    total: float | None = None


class Timing(msgspec.Struct, frozen=True):
    """Where a job's time went, in seconds.

    `queued_s`: read from the file until first allowed to ask for its turn; `rate_wait_s`: waiting for the
    lane's window, gate or a slot; `backoff_s`: between attempts; `ttfb_s`, `download_s`, `write_s`: of the
    attempt that counted; `total_s`: from enqueued to finished.
    """

    enqueued_at: str
    queued_s: float
    rate_wait_s: float
    backoff_s: float
    ttfb_s: float | None
    download_s: float | None
    write_s: float | None
    total_s: float
    server: ServerTiming | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job ended; encoded as JSON it is the manifest's record.

    `sandbox` marks what the sandbox made, so that no later run takes it for the real thing; it stands in no other
    record. `at_most_usd` stands only where `cost_usd` is null because an attempt is possibly billed: all attempts that
    were or may have been charged, at their prices. `unrecognised` stands only where a whole answer is no image that is
    known here: the paths of its files, which are kept.
    """

    schema: int
    run_id: str
    id: str
    request_hash: str
    status: Status
    lane: str
    files: tuple[ImageFile, ...]
    endpoint: Endpoint
    request: dict[str, Any]
    metadata: dict[str, Any] | None
    attempts: tuple[Attempt, ...]
    error: Failure | None
    flags: Flags
    cost_usd: float | None
    timing: Timing
    sandbox: bool = False
    at_most_usd: float | None = None
    unrecognised: tuple[str, ...] = ()

    @property
    def spent_usd(self) -> float | None:
        """What the job has cost, or may have cost, as the run has counted it; None where it is not known."""
        return self.at_most_usd if self.cost_usd is None else self.cost_usd

    @property
    def is_unpriced(self) -> bool:
        """Whether the job has or may have cost something that is not known."""
        may_cost = self.status is Status.SUCCEEDED or self.flags.possibly_billed
        return may_cost and self.spent_usd is None


SUMMARY = "summary.json"
"""Its name in the output folder."""


class Percentiles(msgspec.Struct, frozen=True):
    """Durations in seconds, each within 3 %; null when there was none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class LaneSummary(msgspec.Struct, frozen=True):
    """One model's share of the run.

    `retries` are the attempts after each job's first. `cost_usd` is what this run's requests have cost by the
    published prices, what may have been charged without an image included; null where they are not known. `unpriced`
    requests were or may have been charged at a price that is not known, which is not in `cost_usd`. The percentiles are
    of jobs that succeeded: `queue_s` all that a job waited for its turns, `server_s` until the first
    byte of the answer that counted, `latency_s` that attempt as a whole, `total_s` from enqueued to finished.
    """

    succeeded: int
    failed: int
    rejected: int
    images: int
    bytes: int
    attempts: int
    refused: int
    retries: int = 0
    cost_usd: float | None = None
    unpriced: int = 0
    queue_s: Percentiles = Percentiles()
    server_s: Percentiles = Percentiles()
    latency_s: Percentiles = Percentiles()
    total_s: Percentiles = Percentiles()


class SlowJob(msgspec.Struct, frozen=True):
    """One of the jobs that took longest; `server_s` is of the attempt that counted, null where it has none."""

    id: str
    lane: str
    attempts: int
    queue_s: float
    server_s: float | None
    total_s: float


class Reason(msgspec.Struct, frozen=True):
    """Why `count` jobs have no image, and the ids of the first few of them."""

    status: str
    kind: str
    message: str
    count: int
    ids: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True):
    """What a run did; written as `summary.json` and, with `--json`, to standard output.

    `jobs` counts the file's; `already_done` had succeeded before, `already_rejected` were not asked for again,
    `pending` have no outcome yet. `refused` counts 429 answers to this run, `possibly_billed` the requests that
    may have been charged for an image that never arrived, `retries` the attempts after each job's first. `cost_usd`
    is what this run has spent by the published prices, what may have been charged without an image included; null
    where they are not known. `unpriced` requests were or may have been charged at a price that is not known, which is
    not in `cost_usd`. `sandbox`: the answers came from a sandbox, so no real money was spent. `reason` says why a run
    ended early, else null. `slowest` are the few jobs that took longest, `failures` the commonest reasons of those
    without image; the worst comes first.
    """

    schema: int
    run_id: str
    output: str
    exit_code: int
    reason: str | None
    started_at: str
    elapsed_s: float
    jobs: int
    already_done: int
    already_rejected: int
    succeeded: int
    failed: int
    rejected: int
    pending: int
    images: int
    bytes: int
    attempts: int
    refused: int
    blocks: int
    blurred: int
    content_violations: int
    possibly_billed: int
    cost_usd: float | None
    errors: dict[str, int]
    lanes: dict[str, LaneSummary]
    total_s: Percentiles
    retries: int = 0
    queue_s: Percentiles = Percentiles()
    server_s: Percentiles = Percentiles()
    slowest: tuple[SlowJob, ...] = ()
    failures: tuple[Reason, ...] = ()
    unpriced: int = 0
    sandbox: bool = False

    @property
    def sandbox_usd(self) -> float:
        """The part of the cost that a sandbox pretended to charge: all or nothing."""
        return self.cost_usd or 0.0 if self.sandbox else 0.0
