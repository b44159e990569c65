"""A run in numbers, `summary.json`."""

from __future__ import annotations

import msgspec


class Percentiles(msgspec.Struct, frozen=True):
    """Durations in seconds, each within 3 %; null when there was none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class LaneSummary(msgspec.Struct, frozen=True):
    """One model's share of the run; the percentiles are of successful attempts."""

    succeeded: int
    failed: int
    rejected: int
    images: int
    bytes: int
    attempts: int
    refused: int
    latency_s: Percentiles


class Summary(msgspec.Struct, frozen=True):
    """What a run did; written as `summary.json` and, with `--json`, to standard output.

    `jobs` counts the file's; `already_done` had succeeded before, `already_rejected` were not asked for again,
    `pending` have no outcome yet. `refused` counts 429 answers to this run, `possibly_billed` the requests that
    may have been charged for an image that never arrived. `cost_usd` is what this run has spent by the
    published prices, what may have been charged without an image included; null where they are not known. `reason`
    says why a run ended early, else null.
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
