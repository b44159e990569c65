"""The records of a folder summed up."""

import msgspec
import pytest
from records import IMAGE, attempt, failed, job, outcome

from venice_batch.api.answers import Verdict
from venice_batch.events import AttemptEnded, JobEnded
from venice_batch.model import Flags, Percentiles, Reused, Status, Timing
from venice_batch.report.summary import Tally
from venice_batch.report.tables import MOST_PROBLEMS, ReportBuilder, TimeSpent, time_spent


def report(outcomes):
    builder = ReportBuilder()
    for one in outcomes:
        builder.add(one)
    return builder.report()


def test_an_empty_manifest_has_nothing_to_report():
    found = report([])
    assert (found.lanes, found.problems) == ({}, ())


def test_each_model_is_counted_for_itself():
    found = report(
        [
            outcome("a", files=(IMAGE, IMAGE), total_s=4.0),
            outcome("b", lane="flux"),
            failed("c", lane="flux"),
            failed("d", lane="flux", status=Status.REJECTED),
        ]
    )
    sd, flux = found.lanes["venice-sd35"], found.lanes["flux"]
    assert (sd.succeeded, sd.failed, sd.rejected, sd.images, sd.bytes) == (1, 0, 0, 2, 10)
    assert sd.total_s.p50 == pytest.approx(4.0, rel=0.03)
    assert (flux.succeeded, flux.failed, flux.rejected, flux.images, flux.bytes) == (1, 1, 1, 1, 5)


def test_attempts_are_counted_by_their_result():
    tries = (attempt(429, 0.1), attempt(500, 0.2), attempt(200, 1.5))
    lane = report([outcome("a", attempts=tries), outcome("b"), failed("c", attempts=(attempt(500),) * 2)]).lanes[
        "venice-sd35"
    ]
    assert (lane.attempts, lane.retries, lane.refused) == (6, 3, 1)


def test_a_job_that_was_never_sent_has_no_attempts_and_no_retries():
    lane = report([failed("a", attempts=())]).lanes["venice-sd35"]
    assert (lane.attempts, lane.retries) == (0, 0)


@pytest.mark.parametrize(
    ("costs", "expected"), [((None, None), None), ((0.01, None), 0.01), ((0.1, 0.2), 0.3), ((0.0, 0.0), 0.0)]
)
def test_costs_add_up_as_far_as_they_are_known(costs, expected):
    lane = report(outcome(str(number), cost_usd=cost) for number, cost in enumerate(costs)).lanes["venice-sd35"]
    assert lane.cost_usd == expected


def test_a_possibly_billed_job_counts_as_in_its_run_and_an_older_record_as_unpriced():
    lost = {"flags": Flags(possibly_billed=True)}
    found = report(
        [
            outcome("a", cost_usd=0.01),
            failed("b", at_most_usd=0.02, **lost),
            failed("c", **lost),
            outcome("d", lane="flux"),
            failed("e", lane="flux"),
        ]
    )
    assert [(lane.cost_usd, lane.unpriced) for lane in found.lanes.values()] == [(0.03, 1), (None, 1)]
    assert (found.cost_usd, found.unpriced, found.sandbox_usd) == (0.03, 2, 0.0)
    assert (report([]).cost_usd, report([]).unpriced) == (None, 0)


def test_sandbox_money_is_counted_separately():
    found = report([outcome("a", cost_usd=0.1, sandbox=True), outcome("b", cost_usd=0.2)])
    assert (found.cost_usd, found.sandbox_usd, found.lanes["venice-sd35"].sandbox_usd) == (0.3, 0.1, 0.1)


def test_flagged_jobs_are_counted():
    found = report(
        [
            outcome("a", flags=Flags(blurred=True)),
            outcome("b", lane="flux", flags=Flags(blurred=True)),
            failed("c", status=Status.REJECTED, flags=Flags(content_violation=True)),
        ]
    )
    assert (found.blurred, found.content_violations) == (2, 1)


def test_times_are_of_jobs_that_succeeded():
    timing = Timing("2026-01-01T00:00:00.000Z", 1.0, 3.0, 0.5, 2.0, 0.25, 0.01, 8.0)
    slow = msgspec.structs.replace(timing, total_s=99.0)
    tries = (attempt(500, 0.75), attempt(200, 2.25))
    lane = report([outcome("a", timing=timing, attempts=tries), failed("b", timing=slow)]).lanes["venice-sd35"]
    found = {name: getattr(lane, name).p99 for name in ("queue_s", "server_s", "latency_s", "total_s")}
    assert found == pytest.approx({"queue_s": 4.0, "server_s": 2.0, "latency_s": 2.25, "total_s": 8.0}, rel=0.03)
    assert lane.spent_s == TimeSpent(1.0, 3.0, 0.5, 0.75, 2.0, 0.25, 0.01)


def test_without_an_image_every_attempt_was_in_vain():
    timing = Timing("2026-01-01T00:00:00.000Z", 1.0, 3.0, 0.5, 2.0, 0.25, None, 8.0)
    spent = time_spent(failed(timing=timing, attempts=(attempt(500, 0.75), attempt(500, 2.25))))
    assert spent == TimeSpent(queued_s=1.0, rate_wait_s=3.0, backoff_s=0.5, in_vain_s=3.0)


def test_a_time_that_was_not_taken_counts_as_none():
    timing = Timing("2026-01-01T00:00:00.000Z", 0.0, 0.0, 0.0, None, None, None, 1.0)
    lane = report([outcome(timing=timing, attempts=())]).lanes["venice-sd35"]
    assert (lane.server_s, lane.latency_s) == (Percentiles(), Percentiles())
    assert lane.spent_s == TimeSpent()


def test_report_and_summary_of_a_run_agree():
    """The counts that a run makes from its events equal those that a report makes from its records."""
    tries = (attempt(429, 0.1), attempt(200, 2.0))
    records = [outcome("a", files=(IMAGE, IMAGE), attempts=tries), outcome("b", lane="flux"), failed("c")]
    tally = Tally()
    for record in records:
        for number, one in enumerate(record.attempts):
            last = number == len(record.attempts) - 1 and record.status is Status.SUCCEEDED
            verdict = Verdict.SUCCEEDED if last else Verdict.LIMITED
            tally(AttemptEnded(job(record.id, record.lane), one, verdict, lane=None))
        tally(JobEnded(record))
    found = report(records).lanes
    for name, lane in tally.lanes().items():
        assert {field: getattr(found[name], field) for field in lane.__struct_fields__} == msgspec.structs.asdict(lane)


def test_a_lane_without_success_has_no_times():
    assert report([failed()]).lanes["venice-sd35"].total_s == Percentiles()


@pytest.mark.parametrize("more", [0, 1, 7])
def test_of_many_problems_the_first_are_listed_and_the_rest_counted(more):
    problems = report(failed(str(number)) for number in range(MOST_PROBLEMS + more)).problems
    assert problems[0] == "0: failed: out of order"
    assert problems[MOST_PROBLEMS:] == ((f"… and {more} more",) if more else ())


def test_a_problem_holds_no_control_characters():
    (problem,) = report([failed("a", message="\x1b[2Jgone\nb: succeeded")]).problems
    assert problem == "a: failed: \ufffd[2Jgone\ufffdb: succeeded"


def test_a_failure_without_its_reason_is_listed_too():
    assert report([outcome("a", status=Status.FAILED, error=None, files=())]).problems == ("a: failed: ?",)


def test_pruned_images_are_counted():
    moved, deleted = (msgspec.structs.replace(IMAGE, pruned=how) for how in ("moved", "deleted"))
    found = report([outcome("a", files=(IMAGE, moved)), outcome("b", files=(deleted,))])
    assert (found.pruned, found.lanes["venice-sd35"].images) == (2, 3)


def test_reused_jobs_are_counted_and_take_no_time():
    reused = outcome("b", total_s=0.001, attempts=(), cost_usd=0.0, reused=Reused("a", "r", "b"))
    lane = report([outcome("a", cost_usd=0.01), reused]).lanes["venice-sd35"]
    assert (lane.succeeded, lane.reused, lane.images, lane.cost_usd) == (2, 1, 2, 0.01)
    assert lane.total_s.p50 == 2.0
