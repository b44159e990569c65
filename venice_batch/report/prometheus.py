"""A run's numbers in the text format of Prometheus, for the textfile collector of its node exporter."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from venice_batch.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from venice_batch.model import Summary

    Sample = tuple[Mapping[str, str], float]

_LAST_SUCCESS = "venice_batch_last_success_timestamp_seconds"

_PREVIOUS = re.compile(rf"^{_LAST_SUCCESS}\{{.*\}} (\S+)$", re.MULTILINE)

_JOB_STATES = ("already_done", "already_rejected", "succeeded", "failed", "rejected", "pending")


def exposition(summary: Summary, *, previous: str = "") -> bytes:
    """Return the text for a `.prom` file, UTF-8 encoded.

    Every sample has the label `output`, so that the files of several folders go together. All metrics are gauges,
    because each run begins at zero. The time of the last success is the end of this run, or else the time in
    `previous`, the text of the run before; if there is neither, the metric is left out, as is every metric without a
    value. Format: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, samples: Iterable[Sample]) -> None:
        values = [({"output": summary.output, **labels}, value) for labels, value in samples]
        if not values:
            return
        metric = Gauge(name, text, tuple(values[0][0]), registry=registry)
        for labels, value in values:
            metric.labels(**{label: _utf8(text) for label, text in labels.items()}).set(value)

    began_unix_s = datetime.fromisoformat(summary.started_at).timestamp()
    ended_unix_s = began_unix_s + summary.elapsed_s
    gauge("venice_batch_exit_code", "Exit code of the last run.", [({}, summary.exit_code)])
    gauge("venice_batch_run_timestamp_seconds", "When the last run ended.", [({}, ended_unix_s)])
    gauge("venice_batch_run_duration_seconds", "How long the last run took.", [({}, summary.elapsed_s)])
    gauge(
        _LAST_SUCCESS,
        "When a run last ended with every job done (exit code 0).",
        [({}, time) for time in _last_success(summary.exit_code, ended_unix_s, previous)],
    )
    gauge(
        "venice_batch_jobs",
        "Jobs of the file by state.",
        [({"state": state}, getattr(summary, state)) for state in _JOB_STATES],
    )
    if summary.cost_usd is not None:
        gauge(
            "venice_batch_cost_usd",
            "Cost of the last run; no real money if the label sandbox is true.",
            [({"sandbox": "true"} if summary.sandbox else {}, summary.cost_usd)],
        )
    gauge(
        "venice_batch_unpriced_requests",
        "Requests of the last run whose price is not known and not in its cost.",
        [({}, summary.unpriced)],
    )
    gauge(
        "venice_batch_possibly_billed_requests",
        "Requests of the last run that may have been charged for an image that never arrived.",
        [({}, summary.possibly_billed)],
    )
    gauge(
        "venice_batch_errors",
        "Jobs of the last run without an image, by kind of error.",
        [({"kind": kind}, count) for kind, count in summary.errors.items()],
    )
    for field, name, text in (
        ("images", "venice_batch_images", "Images made by the last run."),
        ("bytes", "venice_batch_image_bytes", "Bytes of images made by the last run."),
        ("attempts", "venice_batch_requests", "Requests sent by the last run."),
        ("refused", "venice_batch_refused_requests", "Requests of the last run that were answered with 429."),
    ):
        gauge(name, text, [({"model": model}, getattr(lane, field)) for model, lane in summary.lanes.items()])
    gauge(
        "venice_batch_request_duration_seconds",
        "How long the last run's successful requests took.",
        _durations(summary),
    )
    return generate_latest(registry)


def _durations(summary: Summary) -> Iterable[Sample]:
    for model, lane in summary.lanes.items():
        for quantile, value in (
            ("0.5", lane.latency_s.p50),
            ("0.95", lane.latency_s.p95),
            ("0.99", lane.latency_s.p99),
        ):
            if value is not None:
                yield {"model": model, "quantile": quantile}, value


def _last_success(exit_code: int, ended_unix_s: float, previous: str) -> list[float]:
    if exit_code == ExitCode.OK:
        return [ended_unix_s]
    before = _PREVIOUS.search(previous)
    try:
        return [float(before[1])] if before else []
    except ValueError:
        return []


def _utf8(text: str) -> str:
    """Return `text` without lone surrogates, which stand for bytes of a folder's name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
