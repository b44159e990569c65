"""The values of a run: jobs go in, outcomes and a summary come out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

SCHEMA = 1
"""The version of the manifest's records; readers keep fields that they do not know."""


class Endpoint(StrEnum):
    """The image endpoints that a job can name, below the base URL."""

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
"""The model of a request that names none: the API's documented default, or the endpoint's only model.

Requests for upscaling and background removal cannot name a model; listings and rate limits use these names for theirs.
"""


class Parent(msgspec.Struct, frozen=True):
    """The image that a job was made from: the job that made it, its content and its number in that job, from 1."""

    id: str
    sha256: str
    variant: int


class Job(msgspec.Struct, frozen=True):
    """One API request from the jobs file.

    `request` is the effective body: the line's fields over the defaults.
    `request_hash` covers endpoint and body; the same id with another hash is another job.
    `line` counts the file's lines from 1, `index` its jobs from 0 (a line with a matrix holds several).
    `doubts` lists parts of the request that this version does not know and lets pass, as (field, message). `parent`
    names the image that the job was derived from, if any; the request is the same without it. `suffix` is the part of a
    name that distinguishes the jobs of one line, as in `__seed-1`.
    """

    id: str
    line: int
    index: int
    endpoint: Endpoint
    request: dict[str, Any]
    request_hash: str
    metadata: dict[str, Any] | None = None
    doubts: tuple[tuple[str, str], ...] = ()
    parent: Parent | None = None
    suffix: str = ""

    @property
    def model(self) -> str:
        """Return the model that the line names, else the endpoint's default; edits once called the field `modelId`."""
        model = self.request.get("model")
        if model is None:
            model = self.request.get("modelId", UNNAMED[self.endpoint])
        return str(model)

    @property
    def images(self) -> int:
        """Return how many images the request asks for; that many count against the lane's quota."""
        variants = self.request.get("variants")
        return variants if isinstance(variants, int) and variants > 0 else 1


class Status(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"


class ImageFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image on disk; `path` is relative to the output folder, `format` follows from the bytes.

    `width` and `height` are null if they cannot be read from the bytes. `pruned` appears once a person has rejected the
    image and pruned it: `moved` (`path` is where) or `deleted`. It need not be there then, and is not made again.
    """

    path: str
    bytes: int
    sha256: str
    format: str
    width: int | None
    height: int | None
    pruned: str | None = None


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One HTTP request: its answer (`status` null if none came) and its duration.

    `wait_s` is the backoff after it, `retry_after_s` the wait that the server asked for, `ray` the id that the API's
    support asks for. `sent_s` counts from the job's `enqueued_at`; older records do not have it.
    """

    status: int | None
    error: str | None
    wait_s: float
    retry_after_s: float | None
    ray: str | None
    duration_s: float
    sent_s: float | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a job has no image. `kind` is one of the few words that the page on the manifest lists."""

    kind: str
    status: int | None
    message: str


class Flags(msgspec.Struct, frozen=True):
    """What the server said besides the image; `possibly_billed`: it may have charged although no image came."""

    blurred: bool = False
    content_violation: bool = False
    possibly_billed: bool = False
    deprecated: str | None = None
    enhanced_prompt: str | None = None

    def has(self, flag: str) -> bool:
        """Return whether the flag of that name is set or holds a text."""
        value = getattr(self, flag)
        return value is not None and value is not False


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """What the record of an attempt's images needs to know of the attempt and of those before it.

    The job was enqueued at `enqueued_unix_s` by this machine's clock, and the request sent `waited_s` seconds later.
    Amounts are millionths of a USD: `price` and `enhancement` as in `run.history`, `spent` by the attempts before.
    `maybe_billed` counts those that may have been charged without an image.
    """

    enqueued_unix_s: float
    waited_s: float
    price: int | None
    enhancement: int
    spent: int
    maybe_billed: int


class Purchase(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image and what its record needs beside the job, noted in case the run is killed before it writes the record.

    It is image `number`, from 1, of the `count` that one answer brought; that took `took_s` seconds.
    """

    id: str
    request_hash: str
    file: ImageFile
    sent: Sent
    number: int
    count: int
    took_s: float
    ray: str | None = None
    flags: Flags = Flags()
    sandbox: bool = False


class ServerTiming(msgspec.Struct, frozen=True, rename="camel"):
    """The server's own timing, in ms as received."""

    inference_duration: float | None = None
    inference_preprocessing_time: float | None = None
    inference_queue_time: float | None = None
    total: float | None = None


class Timing(msgspec.Struct, frozen=True):
    """Where a job's time went, in seconds.

    `queued_s`: from being read until a worker takes it up; `rate_wait_s`: waiting for the lane's window, gate or a
    slot; `backoff_s`: between attempts; `ttfb_s`, `download_s`, `write_s`: of the attempt that counted; `total_s`: from
    enqueued to finished.
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


class Reused(msgspec.Struct, frozen=True):
    """Where the images of a record were taken from: the folder's name, and the run and the job that bought them."""

    folder: str
    run_id: str
    id: str


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job ended; its JSON is the manifest's record.

    `index` is the job's place in its jobs file, from 0; older records do not have it. It says in what order the file
    lists them, while records stand in the order in which jobs ended.

    Five fields are left out of most records. `sandbox` marks records of the sandbox, so that no later run takes them
    for real ones. `at_most_usd` appears if `cost_usd` is null because an attempt is possibly billed: the price of all
    attempts that were or may have been charged. `unrecognised` appears if a whole answer is not a known image: the
    paths of its files, which are kept. `parent` names the image that the job was derived from. `reused` says where the
    images come from if they were not bought for this job; nothing was sent, and `cost_usd` is 0.
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
    parent: Parent | None = None
    index: int | None = None
    reused: Reused | None = None

    @property
    def spent_usd(self) -> float | None:
        """Return what the job has cost, or may have cost at most; None if that is unknown."""
        return self.at_most_usd if self.cost_usd is None else self.cost_usd

    @property
    def is_unpriced(self) -> bool:
        """Return whether the job was or may have been charged at an unknown price."""
        may_cost = self.status is Status.SUCCEEDED or self.flags.possibly_billed
        return may_cost and self.spent_usd is None


SUMMARY = "summary.json"
"""The summary's name in the output folder."""


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles of durations in seconds: exact for up to 200 durations, else within 3 %; null if there were none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class LaneSummary(msgspec.Struct, frozen=True):
    """One model's share of the run.

    `retries` counts the attempts after each job's first. `cost_usd` is the published price of this run's requests,
    including those that may have been charged without an image; null if no price is known. `unpriced` counts requests
    that were or may have been charged at an unknown price, which `cost_usd` leaves out. `reused` of the jobs that
    succeeded took images of another folder, which `images` and `bytes` leave out. The percentiles cover the others that
    succeeded: `queue_s` is the wait for a worker, the window, the gate and a slot, `server_s` the time to the first
    byte of the answer that counted, `latency_s` that whole attempt, `total_s` from enqueued to finished.
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
    reused: int = 0


class SlowJob(msgspec.Struct, frozen=True):
    """One of the slowest jobs; `server_s` is the time to the first byte of the attempt that counted, if any."""

    id: str
    lane: str
    attempts: int
    queue_s: float
    server_s: float | None
    total_s: float


class Reason(msgspec.Struct, frozen=True):
    """A reason why `count` jobs have no image, with the ids of the first few."""

    status: str
    kind: str
    message: str
    count: int
    ids: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True):
    """What a run did; written to `summary.json` and, with `--json`, to standard output.

    `jobs` counts the jobs of the file: `already_done` succeeded in an earlier run, `already_rejected` were rejected
    then and not sent again, `pending` have no outcome yet. Of those that `succeeded` now, `reused` took images of
    another folder; `images` and `bytes` are about the others. `refused` counts 429 answers in this run,
    `possibly_billed` the requests that may have been charged for an image that never arrived, `retries` the attempts
    after each job's first. `cost_usd` is what this run spent at the published prices, including requests that may have
    been charged without an image; null if no price is known. `unpriced` counts requests that were or may have been
    charged at an unknown price, which `cost_usd` leaves out. `sandbox`: a sandbox was asked, so no real money was
    spent; one that the run has not started itself is known by its answers. `reason` says why a run ended early, else
    null. `slowest` lists a few of the slowest jobs and `failures` the most common reasons for missing images, the worst
    first. `waiting` lists why pending jobs could not go on: the job whose image they work on failed, was rejected, or
    has no picked image yet.
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
    waiting: tuple[Reason, ...] = ()
    reused: int = 0

    @property
    def sandbox_usd(self) -> float:
        """Return the part of the cost that a sandbox pretended to charge: all of it or 0."""
        return self.cost_usd or 0.0 if self.sandbox else 0.0
