"""What a run waits for."""

import math

import pytest
from records import attempt, job, outcome, summary

from venice_batch.api.answers import Verdict
from venice_batch.events import (
    AttemptEnded,
    JobEnded,
    Reachable,
    Retrying,
    RunEnded,
    RunStarted,
    RunState,
    Sending,
    Stopping,
    Unreachable,
    Waiting,
)
from venice_batch.model import Reused
from venice_batch.pacing.lane import LaneState
from venice_batch.report.progress import ProgressMeter
from venice_batch.report.waits import Wait, WaitMeter, WaitReason

STARTED = RunStarted("r", "out", 20, 0, ("sd", "flux"), pending={"sd": 10, "flux": 10})


class Bench:
    def __init__(self):
        self.now_s = 100.0
        self.meters = [meter(lambda: self.now_s) for meter in (ProgressMeter, WaitMeter)]

    def see(self, *events):
        for event in events:
            for meter in self.meters:
                meter(event)
        return self

    @property
    def waits(self):
        progress, waits = self.meters
        return waits.waits(progress.progress())


def lane(name="sd", *, opens_in_s=0.0, in_flight=0, **more):
    return LaneState(name, in_flight, 4, 20, 0.0, opens_in_s, 0, **more)


def sending(*lanes, held_s=0.0):
    return Sending(lambda: RunState(lanes, 4, held_s, None))


def attempted(verdict, model="sd", job_id="a"):
    return AttemptEnded(job(job_id, model), attempt(), verdict, lane(model))


def test_nothing_is_awaited_before_the_run_and_after_it():
    bench = Bench()
    assert bench.waits == []
    bench.see(STARTED, sending(lane(opens_in_s=9.0)), RunEnded(summary()))
    assert bench.waits == []


def test_the_folder_is_awaited_until_the_run_has_it():
    bench = Bench().see(Waiting("out", "process 7", 60.0))
    bench.now_s += 20
    (wait,) = bench.waits
    assert (wait.reason, wait.wait_s) == (WaitReason.FOLDER, 40.0)
    assert wait.text == "process 7 is still using out; waiting up to 40 s more"
    assert bench.see(STARTED).waits == [Wait(WaitReason.LIMITS)]


def test_a_holder_that_may_be_dead_is_not_said_to_use_the_folder():
    (wait,) = Bench().see(Waiting("s3://b/x", "process 7", 60.0, may_be_dead=True)).waits
    assert wait.text == "process 7 holds s3://b/x and has not renewed its lock yet; waiting up to 1 min more"


def test_images_of_other_folders_are_taken_before_anything_is_asked():
    bench = Bench().see(RunStarted("r", "out", 3, 0, ("sd",), pending={"sd": 3}, reused=1))
    assert bench.waits == [Wait(WaitReason.REUSE)]
    assert bench.waits[0].text == "taking images of other folders"
    assert bench.see(JobEnded(outcome("a", reused=Reused("b", "r", "a")))).waits == [Wait(WaitReason.LIMITS)]


def test_a_run_with_nothing_to_send_asks_for_no_limits():
    assert Bench().see(RunStarted("r", "out", 3, 3, ("sd",), pending={"sd": 0})).waits == []


@pytest.mark.parametrize(
    ("state", "verdict", "reason", "text"),
    [
        ({}, Verdict.SUCCEEDED, WaitReason.WINDOW, "sd waits 31 s for its next window"),
        ({"gate_s": 31.0}, Verdict.LIMITED, WaitReason.LIMITED, "sd waits 31 s as the API has asked (429)"),
        ({"gate_s": 31.0}, Verdict.OVERLOADED, WaitReason.OVERLOADED, "sd waits 31 s because it is overloaded"),
        (
            {"held_s": 40.0},
            Verdict.REJECTED,
            WaitReason.ERROR_BUDGET,
            "sd waits 40 s after errors, so that the API does not block it",
        ),
        (
            {"held_s": 40.0},
            Verdict.BLOCKED,
            WaitReason.BLOCKED,
            "sd waits 40 s because the API blocks it after too many errors",
        ),
    ],
)
def test_a_models_wait_has_its_reason(state, verdict, reason, text):
    bench = Bench().see(STARTED, sending(lane(opens_in_s=31.0, **state)), attempted(verdict))
    (wait,) = bench.waits
    assert (wait.reason, wait.lane, wait.text) == (reason, "sd", text)


def test_the_model_that_waits_longest_comes_first():
    lanes = (lane(opens_in_s=9.0), lane("flux", opens_in_s=math.inf, in_flight=2))
    assert Bench().see(STARTED, sending(*lanes)).waits == [
        Wait(WaitReason.WINDOW, None, "flux"),
        Wait(WaitReason.WINDOW, 9.0, "sd"),
        Wait(WaitReason.ANSWERS, count=2),
    ]
    assert Wait(WaitReason.WINDOW, None, "flux").text == "flux waits for its next window"
    assert Wait(WaitReason.ANSWERS, count=2).text == "2 under way"


def test_an_outage_goes_before_everything_else():
    bench = Bench().see(STARTED, sending(lane(opens_in_s=9.0, in_flight=1)), Unreachable("refused", 1_800_000_000.0))
    assert [wait.reason for wait in bench.waits] == [WaitReason.UNREACHABLE, WaitReason.ANSWERS]
    assert bench.waits[0].text.startswith("the API cannot be reached: refused, trying until ")
    assert [wait.reason for wait in bench.see(Reachable()).waits] == [WaitReason.WINDOW, WaitReason.ANSWERS]


def test_jobs_that_back_off_are_counted_until_they_are_tried_again():
    bench = Bench().see(STARTED, sending(lane()))
    bench.see(*(Retrying(job(name), 1, wait_s, attempt(500), "server") for name, wait_s in (("a", 4.0), ("b", 8.0))))
    bench.see(Retrying(job("c"), 1, 0.0, attempt(429), "rate_limited"))  # its lane's gate says so
    assert bench.waits == [Wait(WaitReason.BACKOFF, 8.0, count=2)]
    assert bench.waits[0].text == "2 failed jobs will be tried again within 8 s"
    bench.now_s += 5
    assert bench.waits == [Wait(WaitReason.BACKOFF, 3.0, count=1)]
    assert bench.see(attempted(Verdict.SUCCEEDED, job_id="b")).waits == []
    bench.see(Retrying(job("d"), 1, 9.0, attempt(500), "server"), JobEnded(outcome("d")))
    assert bench.waits == []


def test_a_run_that_stops_waits_for_nothing_but_answers():
    bench = Bench().see(STARTED, sending(lane(opens_in_s=9.0, in_flight=1)), Stopping("enough", 1))
    assert bench.waits == [Wait(WaitReason.ANSWERS, count=1)]
    assert Wait(WaitReason.LIMITS).text == "asking the API for the key's limits"
