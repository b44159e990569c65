"""A manifest summed up."""

import pytest
from records import IMAGE, failed, outcome

from venice_batch.model import Status
from venice_batch.report import MOST_PROBLEMS, report
from venice_batch.summary import Percentiles


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


def test_only_the_last_record_of_an_id_counts():
    found = report([failed("a"), outcome("a"), outcome("b"), failed("b", message="gone")])
    lane = found.lanes["venice-sd35"]
    assert (lane.succeeded, lane.failed, lane.images) == (1, 1, 1)
    assert found.problems == ("b: failed: gone",)


def test_a_lane_without_success_has_no_times():
    assert report([failed()]).lanes["venice-sd35"].total_s == Percentiles()


@pytest.mark.parametrize("more", [0, 1, 7])
def test_of_many_problems_the_first_are_told_and_the_rest_counted(more):
    problems = report(failed(str(number)) for number in range(MOST_PROBLEMS + more)).problems
    assert problems[0] == "0: failed: out of order"
    assert problems[MOST_PROBLEMS:] == ((f"… and {more} more",) if more else ())


def test_a_problem_holds_no_control_characters():
    (problem,) = report([failed("a", message="\x1b[2Jgone\nb: succeeded")]).problems
    assert problem == "a: failed: \ufffd[2Jgone\ufffdb: succeeded"


def test_a_failure_without_its_reason_is_told_all_the_same():
    assert report([outcome("a", status=Status.FAILED, error=None, files=())]).problems == ("a: failed: ?",)
