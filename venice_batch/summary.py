"""A run in numbers, `summary.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

SUMMARY = "summary.json"
"""Its name in the output folder."""


def as_json(value: object, *, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """`value` as JSON, whatever is in it: for each byte of a file's name that is no text stands a question mark."""
    try:
        return msgspec.json.encode(value, enc_hook=enc_hook)
    except UnicodeEncodeError:
        plain = json.dumps(msgspec.to_builtins(value, enc_hook=enc_hook), ensure_ascii=False, separators=(",", ":"))
        return plain.encode("utf-8", "replace")


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
