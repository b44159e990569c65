"""A run's numbers in the text format of Prometheus, for the textfile collector of its node exporter."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from venice_batch.model import Summary


_LAST_SUCCESS = "venice_batch_last_success_timestamp_seconds"

_PREVIOUS = re.compile(rf"^{_LAST_SUCCESS}\{{.*\}} (\S+)$", re.MULTILINE)


class _Gauge(NamedTuple):
    """One metric with its help and its samples: labels and value."""

    name: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def exposition(summary: Summary, *, previous: str = "") -> str:
    """The text for a `.prom` file. Every sample has the label `output`, so that files of several folders go together.

    All are gauges, as each run begins at zero. The time of the last success is this run's end, else the one that
    `previous`, the text of the run before, has; without either there is none. Format:
    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    lines = []
    for name, text, samples in _gauges(summary, previous):
        told = [f"{name}{{{_labels({'output': summary.output, **labels})}}} {value}" for labels, value in samples]
        if told:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", *told]
    return "\n".join(lines) + "\n"


def _gauges(summary: Summary, previous: str) -> Iterable[_Gauge]:
    began_unix_s = datetime.fromisoformat(summary.started_at).timestamp()
    ended_unix_s = began_unix_s + summary.elapsed_s
    yield _Gauge("venice_batch_exit_code", "Exit code of the last run.", [({}, summary.exit_code)])
    yield _Gauge("venice_batch_run_timestamp_seconds", "When the last run ended.", [({}, ended_unix_s)])
    yield _Gauge("venice_batch_run_duration_seconds", "How long the last run took.", [({}, summary.elapsed_s)])
    yield _Gauge(
        _LAST_SUCCESS,
        "When a run last ended with every job done (exit code 0).",
        [({}, time) for time in _last_success(summary.exit_code, ended_unix_s, previous)],
    )
    states = ("already_done", "already_rejected", "succeeded", "failed", "rejected", "pending")
    yield _Gauge(
        "venice_batch_jobs",
        "Jobs of the file by what has become of them.",
        [({"state": state}, getattr(summary, state)) for state in states],
    )
    if summary.cost_usd is not None:
        label = {"sandbox": "true"} if summary.sandbox else {}
        yield _Gauge(
            "venice_batch_cost_usd",
            "What the last run has spent; no real money where the label sandbox is true.",
            [(label, summary.cost_usd)],
        )
    yield _Gauge(
        "venice_batch_unpriced_requests",
        "Requests of the last run whose price is not known, and which are not in its cost.",
        [({}, summary.unpriced)],
    )
    yield _Gauge(
        "venice_batch_possibly_billed_requests",
        "Requests of the last run that may have been charged for an image that never arrived.",
        [({}, summary.possibly_billed)],
    )
    yield _Gauge(
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
        yield _Gauge(name, text, [({"model": model}, getattr(lane, field)) for model, lane in summary.lanes.items()])
    yield _Gauge(
        "venice_batch_request_duration_seconds",
        "How long the last run's successful requests took.",
        [
            ({"model": model, "quantile": quantile}, value)
            for model, lane in summary.lanes.items()
            for quantile, value in (
                ("0.5", lane.latency_s.p50),
                ("0.95", lane.latency_s.p95),
                ("0.99", lane.latency_s.p99),
            )
            if value is not None
        ],
    )


def _last_success(exit_code: int, ended_unix_s: float, previous: str) -> list[float]:
    if exit_code == ExitCode.OK:
        return [ended_unix_s]
    before = _PREVIOUS.search(previous)
    try:
        return [float(before[1])] if before else []
    except ValueError:
        return []


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    value = value.encode("utf-8", "replace").decode()  # a lone surrogate, of a folder's name that is no UTF-8
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
