"""Histograms of durations, and a run counted from its events."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from records import IMAGE, attempt, failed, job, outcome

from venice_batch.api.answers import Verdict
from venice_batch.events import AttemptEnded, JobEnded, Notice, RunStarted
from venice_batch.model import Flags, LaneSummary, Percentiles, Reason, Reused, SlowJob, Status
from venice_batch.pacing.lane import LaneState
from venice_batch.report.summary import FEW, MOST_REASONS, Histogram, QuotaTally, QuotaUse, Tally


@given(st.lists(st.floats(1e-4, 1e5), min_size=1, max_size=2 * FEW))
def test_percentiles_are_the_nearest_rank_within_three_percent(values):
    counted = Histogram()
    for value in values:
        counted.add(value)
    found = counted.percentiles()
    for share, estimate in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = sorted(values)[-(-len(values) * share // 100) - 1]
        assert estimate == pytest.approx(exact, rel=0.03)


@given(st.lists(st.floats(1e-4, 1e5), min_size=1, max_size=FEW))
def test_percentiles_of_a_few_durations_are_exact(values):
    counted, half, other = Histogram(), Histogram(), Histogram()
    for place, value in enumerate(values):
        counted.add(value)
        (half if place % 2 else other).add(value)
    half.update(other)
    exact = [sorted(values)[-(-len(values) * share // 100) - 1] for share in (50, 95, 99)]
    found = counted.percentiles()
    assert [found.p50, found.p95, found.p99] == pytest.approx(exact, abs=1e-6)
    assert half.percentiles() == found


def test_many_durations_are_counted_and_not_kept():
    counted, more = Histogram(), Histogram()
    for number in range(FEW):
        counted.add(1.0 + number)
    more.add(7.0)
    assert counted.percentiles().p50 == FEW / 2
    counted.update(more)
    assert counted._few is None
    counted.update(more)
    assert counted.percentiles().p50 == pytest.approx(FEW / 2, rel=0.03)


def test_without_durations_there_are_no_percentiles():
    assert Histogram().percentiles() == Percentiles(None, None, None)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9])
def test_a_duration_of_nothing_counts_as_a_microsecond(value):
    counted = Histogram()
    counted.add(value)
    assert counted.percentiles().p50 == pytest.approx(1e-6, rel=0.06)


def test_a_histogram_does_not_grow_with_what_it_counts():
    counted = Histogram()
    for number in range(20_000):
        counted.add(1 + number / 20_000)
    assert len(counted._buckets) <= math.ceil(math.log(2) / math.log(1.05)) + 1


@given(st.lists(st.floats(1e-4, 1e5), max_size=50))
def test_every_duration_lies_within_its_bucket(values):
    counted = Histogram()
    for value in values:
        counted.add(value)
    buckets = counted.counts()
    assert list(buckets) == sorted(buckets)
    assert sum(buckets.values()) == len(values)
    bounds = [(Histogram.starts_at_s(bucket), Histogram.starts_at_s(bucket + 1)) for bucket in buckets]
    for value in values:
        assert any(low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9) for low, high in bounds)


LANE = LaneState("venice-sd35", 1, 4, 20, 19.0, 0.0, 0)


def tally(*events):
    counting = Tally()
    for event in events:
        counting(event)
    return counting


def tried(verdict=Verdict.SUCCEEDED, status=200, duration_s=1.0, model="venice-sd35", **more):
    return AttemptEnded(job(model=model), attempt(status, duration_s), verdict, LANE, **more)


def test_outcomes_are_counted_by_how_they_ended():
    found = tally(
        JobEnded(outcome("a", files=(IMAGE, IMAGE))),
        JobEnded(outcome("b", flags=Flags(blurred=True, content_violation=True))),
        JobEnded(failed("c")),
        JobEnded(failed("d", status=Status.REJECTED)),
    )
    counts = {"succeeded": 2, "failed": 1, "rejected": 1, "images": 3, "bytes": 15, "retries": 0}
    assert counts | {"blurred": 1, "content_violations": 1} == dict(found.counts)
    assert found.errors == {"server": 2}


def test_requests_that_may_have_been_charged_are_counted_however_their_job_ends():
    lost = tried(Verdict.TRANSIENT, None)
    found = tally(lost, replace(lost, possibly_billed=True), replace(lost, possibly_billed=True))
    assert found.counts["possibly_billed"] == 2


def test_only_jobs_that_succeeded_count_in_the_total_time():
    found = tally(JobEnded(outcome(total_s=2.0)), JobEnded(failed()))
    assert found.times.total_s.p99 == pytest.approx(2.0, rel=0.03)
    assert tally(JobEnded(failed())).times.total_s == Percentiles()


def test_a_quota_is_the_last_known_and_refused_requests_use_none_of_it():
    four = job()
    four.request["variants"] = 4
    fast = replace(LANE, window_limit=5, window_s=10.0)
    counting = QuotaTally()
    for event in (
        tried(),
        replace(tried(), job=four, lane=fast),
        replace(tried(Verdict.LIMITED, 429), lane=replace(LANE, window_limit=None)),
        replace(tried(model="flux"), lane=replace(LANE, window_limit=None)),
        JobEnded(outcome()),
    ):
        counting(event)
    assert counting.lanes == {"venice-sd35": QuotaUse(30.0, 5), "flux": QuotaUse(None, 1)}


def test_each_lane_has_its_own_share():
    found = tally(
        tried(duration_s=3.0),
        tried(Verdict.LIMITED, 429, duration_s=0.1),
        tried(Verdict.BLOCKED, 429),
        tried(Verdict.TRANSIENT, None, model="flux"),
        JobEnded(outcome("a", attempts=(attempt(429), attempt(duration_s=3.0)))),
        JobEnded(outcome("b", attempts=(attempt(500), attempt(duration_s=3.0)))),
        JobEnded(failed("c", lane="flux")),
    )
    lanes = found.lanes()
    sd = lanes["venice-sd35"]
    assert (sd.succeeded, sd.images, sd.bytes, sd.attempts, sd.refused, sd.retries) == (2, 2, 10, 3, 2, 2)
    seconds = [times.p50 for times in (sd.queue_s, sd.server_s, sd.latency_s, sd.total_s)]
    assert seconds == pytest.approx([0.3, 0.9, 3.0, 2.0], rel=0.03)
    assert lanes["flux"] == LaneSummary(0, 1, 0, 0, 0, 1, 0)
    assert found.counts["retries"] == 2


def test_a_lane_costs_what_its_requests_may_have_been_charged_with_or_without_an_image():
    lost = tried(Verdict.TRANSIENT, None, possibly_billed=True, spent_usd=0.1)
    record = outcome(attempts=(attempt(None), attempt()), flags=Flags(possibly_billed=True), cost_usd=None)
    lanes = tally(
        *(lost, tried(spent_usd=0.1), JobEnded(record)),
        *(tried(spent_usd=0.1), tried(Verdict.REJECTED, 400, spent_usd=0.0)),
        *(tried(model="unpriced"), tried(Verdict.REJECTED, 400, model="refused", spent_usd=0.0)),
    ).lanes()
    assert {name: lane.cost_usd for name, lane in lanes.items()} == {
        "venice-sd35": 0.3,
        "unpriced": None,
        "refused": 0.0,
    }


def test_requests_at_a_price_that_is_not_known_are_counted_if_they_cost_something():
    found = tally(
        *(tried(model="a"), tried(Verdict.TRANSIENT, None, model="a", possibly_billed=True)),
        *(tried(Verdict.REJECTED, 400, model="a"), tried(Verdict.LIMITED, 429, model="a"), tried(spent_usd=0.1)),
    )
    assert {name: lane.unpriced for name, lane in found.lanes().items()} == {"a": 2, "venice-sd35": 0}
    assert found.counts["unpriced"] == 2


def test_a_sandbox_is_recognised_by_its_answers():
    assert not tally(JobEnded(outcome())).sandbox
    assert tally(JobEnded(outcome(sandbox=True)), JobEnded(outcome("b"))).sandbox
    assert Tally(sandbox=True).sandbox, "a run that finds nothing to do gets no answer"


def test_lanes_come_in_the_order_of_the_jobs_file():
    ended = [JobEnded(outcome(lane=name)) for name in ("c", "x", "a")]
    assert list(tally(RunStarted("r", "out", 3, 0, ("a", "b", "c")), *ended).lanes()) == ["a", "c", "x"]


def test_the_slowest_jobs_are_kept_and_no_more():
    jobs = [JobEnded(outcome(str(number), total_s=float(number % 50))) for number in range(200)]
    slowest = tally(*jobs).slowest()
    assert [(slow.id, slow.total_s) for slow in slowest] == [
        ("49", 49.0), ("99", 49.0), ("149", 49.0), ("199", 49.0), ("48", 48.0),
    ]  # fmt: skip
    assert slowest[0] == SlowJob("49", "venice-sd35", 1, pytest.approx(0.3), 0.9, 49.0)


def test_reasons_of_failures_are_counted_with_the_first_ids():
    found = tally(
        JobEnded(failed("odd", message="no such style", status=Status.REJECTED)),
        *(JobEnded(failed(str(number))) for number in range(10)),
    ).failures()
    assert found == (
        Reason("failed", "server", "out of order", 10, ("0", "1", "2")),
        Reason("rejected", "server", "no such style", 1, ("odd",)),
    )


def test_of_very_many_reasons_the_first_are_kept_and_all_are_counted():
    found = tally(*(JobEnded(failed(str(number), message=f"no {number % 30}")) for number in range(300)))
    assert len(found.failures()) == MOST_REASONS
    assert found.failures()[0].count == 10
    assert found.errors == {"server": 300}


def test_other_events_count_nothing():
    found = tally(Notice("x"))
    assert not found.counts
    assert found.lanes() == {}


def test_percentiles_encode_as_json():
    assert msgspec.json.encode(Percentiles(1.5)) == b'{"p50":1.5,"p95":null,"p99":null}'


def test_reused_images_were_not_made_by_the_run():
    reused = outcome("b", total_s=0.001, attempts=(), cost_usd=0.0, reused=Reused("a", "r", "b"))
    tally = Tally()
    tally(JobEnded(reused))
    counts, lane = tally.counts, tally.lanes()["venice-sd35"]
    assert (counts["succeeded"], counts["reused"], counts["images"], counts["bytes"]) == (1, 1, 0, 0)
    assert (lane.reused, lane.total_s.p50, tally.slowest(), tally.failures()) == (1, None, (), ())
