"""The text log of a run."""

import io
import itertools
from datetime import datetime

import msgspec
import pytest
from records import IMAGE, attempt, failed, job, outcome, summary

from venice_batch.api.answers import Verdict
from venice_batch.cli.log import MAX_INTERVAL_S, MIN_INTERVAL_S, TextLog
from venice_batch.events import (
    AttemptEnded,
    JobEnded,
    Notice,
    Reachable,
    RunEnded,
    RunStarted,
    RunState,
    Sending,
    Stopping,
    Unreachable,
    Waiting,
)
from venice_batch.model import Status
from venice_batch.pacing.lane import LaneState

STARTED = RunStarted("run-1", "out", 10, 0, ("sd", "flux"))


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def attempted(verdict=Verdict.SUCCEEDED, model="venice-sd35"):
    return AttemptEnded(job(model=model), attempt(), verdict, LaneState("sd", 1, 4, 20, 0.0, 0.0, 0))


def text_log(*events, quiet=False, clock=None):
    stream = io.StringIO()
    log = TextLog(stream, quiet=quiet, now=clock or Clock())
    for event in events:
        log(event)
    return stream.getvalue().splitlines()


EVERYTHING = (
    STARTED,
    attempted(),
    JobEnded(outcome()),
    JobEnded(failed("b")),
    Notice("careful"),
    Stopping("enough", 2),
    RunEnded(summary()),
)


def test_the_first_line_says_what_there_is_to_do():
    assert text_log(STARTED) == ["10 jobs for sd, flux → out"]


def test_the_first_line_counts_jobs_done_before():
    assert text_log(RunStarted("run-1", "out", 10, 4, ("sd",))) == ["10 jobs for sd → out, 4 done before"]


def test_the_first_line_names_at_most_four_models():
    assert text_log(RunStarted("run-1", "out", 10, 0, tuple("abcdef"))) == ["10 jobs for a, b, c, d… → out"]


def test_a_job_without_image_is_logged_with_its_reason():
    events = [JobEnded(failed("b")), JobEnded(failed("c", status=Status.REJECTED, message="too big"))]
    assert text_log(*events) == ["b: failed: server: out of order", "c: rejected: server: too big"]


def test_progress_is_logged_at_intervals_and_not_with_every_job():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    log(STARTED)
    for _ in range(6):
        clock.now_s += MIN_INTERVAL_S / 2
        log(JobEnded(outcome(files=(IMAGE, IMAGE))))
    log(JobEnded(outcome()))
    assert stream.getvalue().splitlines()[1:] == [
        "2/10 done, 48 images a minute", "4/10 done, 48 images a minute", "6/10 done, 48 images a minute",
    ]  # fmt: skip


def test_progress_counts_jobs_done_before_and_failures():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    log(RunStarted("run-1", "out", 10, 4, ("sd",)))
    log(JobEnded(failed()))
    clock.now_s += 60
    log(JobEnded(outcome()))
    assert stream.getvalue().splitlines()[-1] == "5/10 done, 1 failed, 1 images a minute"


def log_at(elapsed_s, *events, pending=(("sd", 10),)):
    """Return the last line of a log whose events come `elapsed_s` after its start."""
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    log(RunStarted("run-1", "out", 10, 0, ("sd",), pending=dict(pending)))
    clock.now_s += elapsed_s
    for event in events:
        log(event)
    return stream.getvalue().splitlines()[-1]


def sending(opens_in_s):
    return Sending(lambda: RunState((LaneState("sd", 1, 4, 20, 0.0, opens_in_s, 0),), 4, 0.0, None))


@pytest.mark.parametrize(("opens_in_s", "said"), [(42.4, "42 s"), (4000.0, "1 h 6 min"), (3.0, None)])
def test_a_progress_line_mentions_a_long_wait_for_the_next_window(opens_in_s, said):
    line = log_at(MIN_INTERVAL_S, sending(opens_in_s), attempted())
    if said is None:
        assert "waits" not in line
    else:
        assert line.endswith(f", sd waits {said} for its next window")


def test_a_wait_of_unknown_length_is_not_mentioned():
    assert "waits" not in log_at(MIN_INTERVAL_S, sending(float("inf")), Stopping("enough", 0), attempted())


def test_the_time_left_is_logged_once_it_is_known():
    assert log_at(MIN_INTERVAL_S, attempted()).endswith("0 images a minute")
    assert log_at(MIN_INTERVAL_S, sending(0.0), attempted()).endswith("0 images a minute, about 1 min 3 s left")


def test_progress_lines_become_rarer_as_a_run_goes_on():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    moments = []
    for second in range(4000):
        clock.now_s = 100.0 + second
        log(attempted())
        if stream.tell():
            moments.append(second)
            stream.seek(0)
            stream.truncate()
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == sorted(gaps)
    assert (gaps[0], gaps[-1]) == (MIN_INTERVAL_S, MAX_INTERVAL_S)


class Bench:
    """A log with a clock of its own and a run whose lanes can be changed."""

    def __init__(self, *, quiet=False):
        self.clock, self.stream = Clock(), io.StringIO()
        self.log = TextLog(self.stream, quiet=quiet, now=self.clock)
        self.lanes = (LaneState("sd", 0, 4, 20, 20.0, 0.0, 0),)

    def begin(self):
        self.log(RunStarted("run-1", "out", 10, 0, ("sd",), pending={"sd": 10}))
        self.log(Sending(lambda: RunState(self.lanes, 4, 0.0, None)))

    def lane(self, **state):
        self.lanes = (msgspec.structs.replace(self.lanes[0], **state),)

    def tick(self, seconds=1):
        """Return the lines of so many seconds, with the second of each."""
        lines = []
        for second in range(1, seconds + 1):
            self.clock.now_s += 1
            self.log.tick()
            lines += [(second, line) for line in self.lines()]
        return lines

    def lines(self):
        """Return the lines since the last call."""
        found = self.stream.getvalue().splitlines()
        self.stream.seek(0)
        self.stream.truncate()
        return found


def test_a_line_comes_every_five_seconds_although_nothing_ends():
    bench = Bench()
    bench.begin()
    bench.lane(in_flight=3)
    bench.lines()
    lines = bench.tick(64)
    assert [second for second, _ in lines] == list(range(5, 65, 5))
    assert {line for _, line in lines} == {"0/10 done, 3 under way, 0 images a minute, about 30 s left"}


def test_a_line_comes_when_the_reason_to_wait_changes():
    bench = Bench()
    bench.begin()
    bench.lines()
    bench.lane(opens_in_s=31.0, window_left=0.0)
    ((second, line),) = bench.tick(2)
    assert (second, line.rpartition(", ")[2]) == (1, "sd waits 31 s for its next window")
    bench.log(attempted(Verdict.OVERLOADED, "sd"))
    bench.lane(opens_in_s=4.0, gate_s=4.0)
    ((second, line),) = bench.tick(2)
    assert (second, line.rpartition(", ")[2]) == (1, "sd waits 4 s because it is overloaded")


def test_the_same_wait_in_a_later_window_is_no_news():
    bench = Bench()
    bench.begin()
    bench.lane(opens_in_s=31.0, window_left=0.0)
    bench.tick(1)
    bench.lane(opens_in_s=0.0)
    assert bench.tick(1) == []
    bench.lane(opens_in_s=57.0)
    assert bench.tick(1) == []


def test_reasons_that_take_turns_have_few_lines():
    bench = Bench()
    bench.begin()
    bench.tick(1)
    bench.log(attempted(Verdict.OVERLOADED, "sd"))
    lines = []
    for second in range(600):
        bench.lane(opens_in_s=20.0, gate_s=20.0 * (second % 2))
        lines += bench.tick(1)
    assert {line.rpartition(", ")[2] for _, line in lines} == {
        "sd waits 20 s for its next window", "sd waits 20 s because it is overloaded",
    }  # fmt: skip
    assert len(lines) < 150


def test_a_moment_of_waiting_is_no_news_but_is_named():
    bench = Bench()
    bench.begin()
    bench.lines()
    bench.log(attempted(Verdict.OVERLOADED, "sd"))
    bench.lane(opens_in_s=0.2, gate_s=0.2)
    ((second, line),) = bench.tick(5)
    assert (second, line.rpartition(", ")[2]) == (5, "sd waits 1 s because it is overloaded")


def test_an_outage_has_a_line_of_its_own_and_is_named_until_it_is_over():
    bench = Bench()
    bench.begin()
    bench.tick(3)
    bench.lines()
    bench.log(Unreachable("connection refused", datetime(2026, 1, 31, 22, 14).timestamp()))
    said = "the API cannot be reached: connection refused, trying until 22:14:00"
    assert bench.lines() == [said]
    assert bench.tick(6) == [(5, f"0/10 done, 0 images a minute, {said}")]
    bench.log(Reachable())
    assert bench.lines() == ["the API can be reached again"]
    assert "reached" not in bench.tick(5)[-1][1]


def test_the_wait_for_another_run_is_named_with_the_time_that_is_left():
    bench = Bench()
    assert bench.tick(9) == []
    bench.log(Waiting("out", "process 7", 60.0))
    assert bench.lines() == ["process 7 is using out; waiting up to 60 s for it"]
    assert bench.tick(11) == [
        (5, "process 7 is still using out; waiting up to 55 s more"),
        (10, "process 7 is still using out; waiting up to 50 s more"),
    ]


def test_the_question_for_the_keys_limits_is_named():
    bench = Bench()
    bench.log(RunStarted("run-1", "out", 10, 0, ("sd",), pending={"sd": 10}))
    bench.lines()
    assert bench.tick(1) == [(1, "0/10 done, 0 images a minute, asking the API for the key's limits")]


def test_a_stop_is_named_while_requests_finish():
    bench = Bench()
    bench.begin()
    bench.log(Stopping("stopped by SIGTERM", 2))
    bench.lane(in_flight=2, opens_in_s=30.0)
    assert bench.tick(5)[-1] == (5, "0/10 done, 2 under way, 0 images a minute, stopping")


def test_other_models_that_wait_are_counted():
    bench = Bench()
    bench.log(RunStarted("run-1", "out", 10, 0, ("sd", "flux"), pending={"sd": 5, "flux": 5}))
    bench.lanes = tuple(LaneState(name, 0, 4, 20, 0.0, wait_s, 0) for name, wait_s in (("sd", 9.0), ("flux", 31.0)))
    bench.log(Sending(lambda: RunState(bench.lanes, 4, 0.0, None)))
    bench.lines()
    ((_, line),) = bench.tick(1)
    assert line.endswith("flux waits 31 s for its next window, 1 other model waiting too")


def test_nothing_is_written_after_the_end():
    bench = Bench()
    bench.begin()
    bench.log(RunEnded(summary()))
    bench.lines()
    assert bench.tick(70) == []


def test_a_quiet_log_does_not_tick():
    bench = Bench(quiet=True)
    bench.begin()
    assert bench.tick(70) == []


def test_a_stop_is_logged_with_its_reason_and_the_requests_under_way():
    assert text_log(Stopping("SIGINT", 3)) == ["stopping: SIGINT; 3 under way may still finish"]


def test_a_quiet_log_has_failures_notices_and_stops_only():
    assert text_log(*EVERYTHING, quiet=True) == [
        "b: failed: server: out of order", "careful", "stopping: enough; 2 under way may still finish",
    ]  # fmt: skip


def test_a_quiet_log_has_no_progress_lines():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=True, now=clock)
    clock.now_s += 2 * MIN_INTERVAL_S
    log(JobEnded(outcome()))
    log(attempted())
    assert stream.getvalue() == ""


@pytest.mark.parametrize("hostile", ["\x1b[2J\x07", "a\rb", "a\nb", "\u202egnp", "\x9b31m", "\ud800", "\u2028"])
def test_no_control_character_reaches_the_log(hostile):
    lines = text_log(JobEnded(failed("a", message=hostile)), Notice(hostile), Stopping(hostile, 0))
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


class Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Closed(), None])
def test_a_closed_terminal_does_not_stop_a_run(stream):
    log = TextLog(stream, quiet=False)
    for event in EVERYTHING:
        log(event)
