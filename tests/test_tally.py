"""A run counted as it happens."""

from dataclasses import replace

import msgspec
import pytest
from records import IMAGE, attempt, failed, job, outcome

from venice_batch.events import AttemptEnded, JobEnded, Notice
from venice_batch.model import Flags, Status
from venice_batch.pacing.lane import LaneState
from venice_batch.retry import Verdict
from venice_batch.summary import LaneSummary, Percentiles
from venice_batch.tally import Tally

LANE = LaneState("venice-sd35", 1, 4, 20, 19.0, 0.0, 0)


def tally(*events):
    counting = Tally()
    for event in events:
        counting(event)
    return counting


def tried(verdict=Verdict.SUCCEEDED, status=200, duration_s=1.0, model="venice-sd35"):
    return AttemptEnded(job(model=model), attempt(status, duration_s), verdict, LANE)


def test_outcomes_are_counted_by_how_they_ended():
    found = tally(
        JobEnded(outcome("a", files=(IMAGE, IMAGE))),
        JobEnded(outcome("b", flags=Flags(blurred=True, content_violation=True))),
        JobEnded(failed("c")),
        JobEnded(failed("d", status=Status.REJECTED)),
    )
    counts = {"succeeded": 2, "failed": 1, "rejected": 1, "images": 3, "bytes": 15}
    assert counts | {"blurred": 1, "content_violations": 1} == dict(found.counts)
    assert found.errors == {"server": 2}


def test_requests_that_may_have_been_charged_are_counted_whatever_becomes_of_their_job():
    lost = tried(Verdict.TRANSIENT, None)
    found = tally(lost, replace(lost, possibly_billed=True), replace(lost, possibly_billed=True))
    assert found.counts["possibly_billed"] == 2


def test_only_jobs_that_succeeded_count_in_the_total_time():
    found = tally(JobEnded(outcome(total_s=2.0)), JobEnded(failed()))
    assert found.total_s().p99 == pytest.approx(2.0, rel=0.03)
    assert tally(JobEnded(failed())).total_s() == Percentiles()


def test_each_lane_has_its_own_share():
    found = tally(
        tried(duration_s=3.0),
        tried(Verdict.LIMITED, 429, duration_s=0.1),
        tried(Verdict.BLOCKED, 429),
        tried(Verdict.TRANSIENT, None, model="flux"),
        JobEnded(outcome("a")),
        JobEnded(failed("b", lane="flux")),
    ).lanes()
    third = found["venice-sd35"].latency_s.p50
    assert third == pytest.approx(3.0, rel=0.03)
    assert found["venice-sd35"] == LaneSummary(1, 0, 0, 1, 5, 3, 2, Percentiles(third, third, third))
    assert found["flux"] == LaneSummary(0, 1, 0, 0, 0, 1, 0, Percentiles())


def test_other_events_count_nothing():
    found = tally(Notice("x"))
    assert not found.counts
    assert found.lanes() == {}


def test_percentiles_encode_as_json():
    assert msgspec.json.encode(Percentiles(1.5)) == b'{"p50":1.5,"p95":null,"p99":null}'
