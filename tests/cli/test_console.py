"""What is said of a run, to people and to programs."""

import io

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, attempt, failed, job, outcome

from venice_batch.cli.console import EVERY_S, JsonLog, TextLog, closing, observer, size
from venice_batch.events import AttemptEnded, JobEnded, Notice, RunEnded, RunStarted, Stopping
from venice_batch.model import Status
from venice_batch.pacing.lane import LaneState
from venice_batch.retry import Verdict
from venice_batch.summary import Percentiles, Summary

STARTED = RunStarted("run-1", "out", 10, 0, ("sd", "flux"))
SUMMARY = Summary(
    schema=1,
    run_id="run-1",
    output="out",
    exit_code=0,
    reason=None,
    started_at="2026-01-01T00:00:00Z",
    elapsed_s=12.34,
    jobs=3,
    already_done=0,
    already_rejected=0,
    succeeded=3,
    failed=0,
    rejected=0,
    pending=0,
    images=3,
    bytes=4_500_000,
    attempts=4,
    refused=1,
    blocks=0,
    blurred=0,
    content_violations=0,
    possibly_billed=0,
    cost_usd=None,
    errors={},
    lanes={},
    total_s=Percentiles(1.5, 2.5, 3.5),
)


def summary(**changes):
    return msgspec.structs.replace(SUMMARY, **changes)


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def attempted(opens_in_s):
    return AttemptEnded(job(), attempt(), Verdict.SUCCEEDED, LaneState("sd", 1, 4, 20, 0.0, opens_in_s, 0))


def text_log(*events, quiet=False, clock=None):
    stream = io.StringIO()
    log = TextLog(stream, quiet=quiet, now=clock or Clock())
    for event in events:
        log(event)
    return stream.getvalue().splitlines()


def json_log(*events, quiet=False):
    stream = io.StringIO()
    log = JsonLog(stream, quiet=quiet, wall=lambda: 1_700_000_000.12345)
    for event in events:
        log(event)
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


EVERYTHING = (
    STARTED,
    attempted(0.0),
    JobEnded(outcome()),
    JobEnded(failed("b")),
    Notice("careful"),
    Stopping("enough", 2),
    RunEnded(SUMMARY),
)


def test_a_run_begins_with_what_there_is_to_do():
    assert text_log(STARTED) == ["10 jobs for sd, flux → out"]


def test_what_an_earlier_run_did_is_said_at_the_start():
    assert text_log(RunStarted("run-1", "out", 10, 4, ("sd",))) == ["10 jobs for sd → out, 4 done before"]


def test_of_many_models_the_first_are_named():
    assert text_log(RunStarted("run-1", "out", 10, 0, tuple("abcdef"))) == ["10 jobs for a, b, c, d… → out"]


def test_a_job_without_image_is_told_with_its_reason():
    events = [JobEnded(failed("b")), JobEnded(failed("c", status=Status.REJECTED, message="too big"))]
    assert text_log(*events) == ["b: failed: server: out of order", "c: rejected: server: too big"]


def test_progress_is_told_now_and_then_and_not_with_every_job():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    log(STARTED)
    for _ in range(6):
        clock.now_s += EVERY_S / 2
        log(JobEnded(outcome(files=(IMAGE, IMAGE))))
    log(JobEnded(outcome()))
    assert stream.getvalue().splitlines()[1:] == [
        "2/10 done, 48 images a minute", "4/10 done, 48 images a minute", "6/10 done, 48 images a minute",
    ]  # fmt: skip


def test_progress_counts_what_was_done_before_and_what_failed():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    log(RunStarted("run-1", "out", 10, 4, ("sd",)))
    log(JobEnded(failed()))
    clock.now_s += 60
    log(JobEnded(outcome()))
    assert stream.getvalue().splitlines()[-1] == "5/10 done, 1 failed, 1 images a minute"


@pytest.mark.parametrize(
    ("opens_in_s", "elapsed_s", "said"), [(42.4, EVERY_S, True), (42.4, 1.0, False), (3.0, EVERY_S, False)]
)
def test_a_long_wait_for_the_next_window_is_told_when_a_line_is_due(opens_in_s, elapsed_s, said):
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=False, now=clock)
    clock.now_s += elapsed_s
    log(attempted(opens_in_s))
    assert stream.getvalue().endswith("sd waits 42 s for its next window\n") == said


def test_a_stop_tells_its_reason_and_what_is_under_way():
    assert text_log(Stopping("SIGINT", 3)) == ["stopping: SIGINT; 3 under way may still finish"]


def test_quiet_leaves_what_fails_and_what_stops():
    assert text_log(*EVERYTHING, quiet=True) == [
        "b: failed: server: out of order", "careful", "stopping: enough; 2 under way may still finish",
    ]  # fmt: skip
    assert [line["event"] for line in json_log(*EVERYTHING, quiet=True)] == ["job_ended", "notice", "stopping"]
    assert json_log(*EVERYTHING, quiet=True)[0]["id"] == "b"


def test_quiet_tells_no_progress_either():
    clock, stream = Clock(), io.StringIO()
    log = TextLog(stream, quiet=True, now=clock)
    clock.now_s += 2 * EVERY_S
    log(JobEnded(outcome()))
    log(attempted(99.0))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("hostile", ["\x1b[2J\x07", "a\rb", "a\nb", "\u202egnp", "\x9b31m", "\ud800", "\u2028"])
def test_nothing_that_a_terminal_acts_on_gets_through(hostile):
    lines = text_log(JobEnded(failed("a", message=hostile)), Notice(hostile), Stopping(hostile, 0))
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    stream = io.StringIO()
    JsonLog(stream, quiet=False)(Notice(hostile))
    assert stream.getvalue().removesuffix("\n").isprintable()
    assert all(line.isprintable() for line in closing(summary(reason=hostile, output=hostile)).split("\n"))


def test_closing_lines_stay_apart():
    assert closing(summary(reason="a\nb")).count("\n") == closing(summary(reason="ab")).count("\n")


def test_each_event_is_one_json_object_with_its_time():
    lines = json_log(*EVERYTHING)
    assert {line["time"] for line in lines} == {1_700_000_000.123}
    assert [line["event"] for line in lines] == [
        "run_started", "job_ended", "job_ended", "notice", "stopping", "run_ended",
    ]  # fmt: skip
    assert lines[0]["jobs"] == 10
    assert lines[1] | {"time": 0} == {
        "time": 0, "event": "job_ended", "id": "a", "status": "succeeded", "lane": "venice-sd35",
        "files": ["images/a.webp"], "error": None, "total_s": 2.0,
    }  # fmt: skip
    assert (lines[2]["status"], lines[2]["error"]) == ("failed", "out of order")
    assert (lines[3]["text"], lines[4]["reason"], lines[4]["in_flight"]) == ("careful", "enough", 2)
    assert (lines[5]["exit_code"], lines[5]["succeeded"], lines[5]["pending"]) == (0, 3, 0)


@given(st.text(st.characters(categories=["L", "C", "Z", "P"]), max_size=20))
def test_any_text_is_logged_as_valid_json_on_one_line(text):
    events = [RunStarted("r", text, 1, 0, ()), JobEnded(failed(text, message=text)), Notice(text), Stopping(text, 0)]
    assert [line["event"] for line in json_log(*events)] == ["run_started", "job_ended", "notice", "stopping"]
    if text.encode("utf-8", "replace").decode() == text:
        assert json_log(Notice(text))[0]["text"] == text


def test_text_that_is_no_unicode_is_logged_with_a_mark_in_its_place():
    files = (IMAGE, type(IMAGE)("images/\udcff.webp", 5, "0" * 64, "webp", 1, 1))
    assert json_log(JobEnded(outcome("\udcff", files=files)))[0]["files"] == ["images/a.webp", "images/?.webp"]


class Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_terminal_that_was_closed_stops_no_run(log_format):
    log = observer(log_format, Closed(), quiet=False)
    for event in EVERYTHING:
        log(event)


@pytest.mark.parametrize(("log_format", "kind"), [("text", TextLog), ("json", JsonLog)])
def test_the_format_asked_for_is_the_one_given(log_format, kind):
    assert isinstance(observer(log_format, io.StringIO(), quiet=False), kind)


def test_a_clean_run_closes_with_its_figures():
    assert closing(SUMMARY).split("\n") == [
        "3 jobs: 3 succeeded",
        "3 images, 4.5 MB in 12.3 s (4 requests, 1 refused, 0 blocks)",
        "a job took 1.50 s (p50), 2.50 s (p95) from its turn in the queue to its record",
        "in out: images, manifest.jsonl, summary.json",
    ]


def test_a_run_with_trouble_closes_with_all_of_it():
    lines = closing(
        summary(
            jobs=15,
            succeeded=0,
            already_done=1,
            failed=2,
            rejected=3,
            already_rejected=4,
            pending=5,
            possibly_billed=2,
            errors={"timeout": 1, "server": 4},
            reason="out of money",
            total_s=Percentiles(),
        )
    ).split("\n")
    assert lines[0] == "15 jobs: 0 succeeded, 1 done before, 2 failed, 7 rejected, 5 pending"
    assert lines[2:] == [
        "errors: 4 server, 1 timeout",
        "2 requests may have been charged for an image that never arrived",
        "4 were refused before; --retry-rejected asks again",
        "stopped: out of money",
        "in out: images, manifest.jsonl, summary.json",
    ]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2 * 10**9, "2.0 GB"),
        (5 * 10**12, "5000.0 GB"),
    ],
)
def test_sizes_are_written_in_powers_of_ten(count, expected):
    assert size(count) == expected
