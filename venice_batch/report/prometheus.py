"""A run's numbers in the text format of Prometheus, for the textfile collector of its node exporter.

Every metric is in every file, from the first run on, so that `absent()` means a missing file. What has not happened
yet is 0; a duration that was not measured is NaN. A metric by model or by kind has one sample without that label until
there is a model or a kind.
"""

from __future__ import annotations

import math
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from venice_batch.errors import ExitCode
from venice_batch.model import LaneSummary
from venice_batch.report.summary import QuotaUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from venice_batch.model import Summary


class Sample(NamedTuple):
    """A value and its labels, without the label `output`."""

    labels: Mapping[str, str]
    value: float


_Values = dict[str, list[Sample]]
"""The samples of each metric."""

_PREFIX = "venice_batch_"

_RUN, _COMPLETION = "run_timestamp_seconds", "last_completion_timestamp_seconds"
_SUCCESS, _REJECTION = "last_success_timestamp_seconds", "last_rejection_timestamp_seconds"
_QUOTA = "quota_images_per_minute"
_IMAGES_TOTAL, _SPENT_TOTAL = "images_total", "spent_usd_total"

_HELP = {
    "exit_code": "Exit code of the last run, even one that could not begin.",
    _RUN: "When the last run ended, even one that could not begin.",
    _COMPLETION: "When a run last ended with no job pending (exit code 0 or 1); 0: never.",
    _SUCCESS: "When a run last ended with exit code 0; 0: never.",
    _REJECTION: "When a run last had a request rejected for good; 0: never.",
    "run_duration_seconds": "How long the last run took.",
    "jobs": "Jobs of the file by state.",
    "cost_usd": "Cost of the last run at the known prices; no real money if the label sandbox is true.",
    "unpriced_requests": "Requests of the last run whose price is not known and not in its cost.",
    "possibly_billed_requests": "Requests of the last run that may have been charged for an image that never arrived.",
    "errors": "Jobs of the last run without an image, by kind of error.",
    "images": "Images made by the last run.",
    "image_bytes": "Bytes of images made by the last run.",
    "requests": "Requests sent by the last run.",
    "refused_requests": "Requests of the last run that were answered with 429.",
    "retries": "Requests of the last run after each job's first.",
    _QUOTA: "Images a minute that the API allows; 0: not known.",
    "quota_used_ratio": "Share of the quota of its minutes that the last run used.",
    "request_duration_seconds": "How long the last run's successful requests took.",
    _IMAGES_TOTAL: "Images made by all runs that this file has seen.",
    _SPENT_TOTAL: "Cost of all runs that this file has seen; no real money if the label sandbox is true.",
}
"""Every metric without its prefix, in the order of the file. Those in `_total` are counters, the rest gauges."""

_JOB_STATES = ("already_done", "already_rejected", "succeeded", "failed", "rejected", "pending")

_BY_MODEL = {
    "images": "images",
    "bytes": "image_bytes",
    "attempts": "requests",
    "refused": "refused_requests",
    "retries": "retries",
}
"""Fields of a lane's summary, and their metrics."""

_REAL: Mapping[str, str] = {}
_SANDBOX: Mapping[str, str] = {"sandbox": "true"}


def exposition(
    summary: Summary,
    *,
    previous: str = "",
    models: Iterable[str] = (),
    quotas: Mapping[str, QuotaUse] = MappingProxyType({}),
) -> bytes:
    """Return the text for a `.prom` file after a run, UTF-8 encoded.

    Every sample has the label `output`, so that the files of several folders go together. `previous` is the text of the
    run before: times of other runs and the counters continue from there, whatever folder it was for. `models` are
    those of the jobs file; each has its samples even if the run did not use it. `quotas` holds what the run used of the
    API's quotas, by model; a quota is remembered from earlier runs.
    Format: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    before = _read(previous)
    values = _nothing()
    ended_unix_s = datetime.fromisoformat(summary.started_at).timestamp() + summary.elapsed_s
    values["exit_code"] = [Sample({}, summary.exit_code)]
    values[_RUN] = [Sample({}, ended_unix_s)]
    values["run_duration_seconds"] = [Sample({}, summary.elapsed_s)]
    for name, is_now in (
        (_COMPLETION, summary.exit_code in (ExitCode.OK, ExitCode.SOME_FAILED)),
        (_SUCCESS, summary.exit_code == ExitCode.OK),
        (_REJECTION, summary.rejected > 0),
    ):
        values[name] = [Sample({}, ended_unix_s if is_now else _value(before, name))]
    values["jobs"] = [Sample({"state": state}, getattr(summary, state)) for state in _JOB_STATES]
    values["unpriced_requests"] = [Sample({}, summary.unpriced)]
    values["possibly_billed_requests"] = [Sample({}, summary.possibly_billed)]
    values["errors"] = [Sample({"kind": kind}, count) for kind, count in summary.errors.items()]
    lanes = {**dict.fromkeys(models, _UNUSED), **summary.lanes}
    for field, name in _BY_MODEL.items():
        values[name] = [Sample({"model": model}, getattr(lane, field)) for model, lane in lanes.items()]
    values[_QUOTA], values["quota_used_ratio"] = [], []
    for model in lanes:
        use = quotas.get(model, QuotaUse())
        a_minute = use.a_minute or _value(before, _QUOTA, {"model": model})
        values[_QUOTA].append(Sample({"model": model}, a_minute))
        values["quota_used_ratio"].append(Sample({"model": model}, _share(use.images, a_minute, summary.elapsed_s)))
    values["request_duration_seconds"] = [sample for model, lane in lanes.items() for sample in _durations(model, lane)]
    values[_IMAGES_TOTAL] = [Sample({}, _value(before, _IMAGES_TOTAL) + summary.images)]
    cost_usd = summary.cost_usd or 0.0
    costs = ((_REAL, cost_usd - summary.sandbox_usd), (_SANDBOX, summary.sandbox_usd))
    values["cost_usd"] = [Sample(labels, usd) for labels, usd in costs]
    values[_SPENT_TOTAL] = [
        Sample(labels, round(_value(before, _SPENT_TOTAL, labels) + usd, 6)) for labels, usd in costs
    ]
    return _text(values, summary.output)


def failed_start(output: str, exit_code: int, ended_unix_s: float, *, previous: str = "") -> bytes:
    """Return the text for a `.prom` file after a run that could not begin.

    Only the exit code and the time of the last run are its own; everything else stays as `previous` has it.
    """
    values = {**_nothing(), **_read(previous)}
    values["exit_code"] = [Sample({}, exit_code)]
    values[_RUN] = [Sample({}, ended_unix_s)]
    return _text(values, output)


_UNUSED = LaneSummary(0, 0, 0, 0, 0, 0, 0)


def _nothing() -> _Values:
    """Return the values of all metrics before the first run."""
    values = {name: [Sample({}, 0.0)] for name in _HELP}
    values["jobs"] = [Sample({"state": state}, 0.0) for state in _JOB_STATES]
    values["cost_usd"] = values[_SPENT_TOTAL] = [Sample(_REAL, 0.0), Sample(_SANDBOX, 0.0)]
    values["request_duration_seconds"] = [Sample({}, math.nan)]
    return values


def _read(text: str) -> _Values:
    """Return the values that a `.prom` file holds; lines that are no sample of ours are passed over."""
    values: _Values = {}
    for line in text.split("\n"):
        if not line.startswith(_PREFIX):
            continue
        try:
            (family,) = text_string_to_metric_families(line)
            (sample,) = family.samples
        except (ValueError, IndexError):
            continue
        name = sample.name.removeprefix(_PREFIX)
        if name in _HELP:
            labels = {label: value for label, value in sample.labels.items() if label != "output"}
            values.setdefault(name, []).append(Sample(labels, sample.value))
    return values


def _value(values: _Values, name: str, labels: Mapping[str, str] = _REAL) -> float:
    """Return one value that `_read` has found; 0 if there is none, or none that makes sense."""
    found = next((sample.value for sample in values.get(name, ()) if sample.labels == labels), 0.0)
    return found if math.isfinite(found) and found > 0 else 0.0


def _durations(model: str, lane: LaneSummary) -> Iterator[Sample]:
    times = lane.latency_s
    for quantile, value in (("0.5", times.p50), ("0.95", times.p95), ("0.99", times.p99)):
        yield Sample({"model": model, "quantile": quantile}, math.nan if value is None else value)


def _share(images: int, quota_a_minute: float, elapsed_s: float) -> float:
    """Return the share of its quota that a model used, from 0 to 1; a minute that was begun counts in full."""
    return min(1.0, images / (quota_a_minute * (elapsed_s // 60 + 1))) if quota_a_minute else 0.0


def _text(values: _Values, output: str) -> bytes:
    return generate_latest(_Registry(values, output))


class _Registry:
    """The values as the Prometheus client takes them."""

    def __init__(self, values: _Values, output: str) -> None:
        self._values = values
        self._output = output

    def collect(self) -> Iterator[Metric]:
        nothing = _nothing()
        for name, text in _HELP.items():
            samples = self._values[name] or nothing[name]
            make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = make(_PREFIX + name, text)
            for labels, value in samples:
                family.add_sample(
                    _PREFIX + name,
                    {key: _utf8(word) for key, word in {**labels, "output": self._output}.items()},
                    value,
                )
            yield family


def _utf8(text: str) -> str:
    """Return `text` without lone surrogates, which stand for bytes of a folder's name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
