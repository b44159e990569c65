"""The JSON log of a run."""

import io

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from records import IMAGE, attempt, failed, job, outcome, summary

from venice_batch.api.answers import Verdict
from venice_batch.cli.json_log import PROGRESS_S, JsonLog, JsonWriter, rfc3339, server_of
from venice_batch.events import (
    AttemptEnded,
    JobEnded,
    Notice,
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
from venice_batch.model import Attempt, Status
from venice_batch.pacing.lane import LaneState
from venice_batch.report.log_lines import schema

STARTED = RunStarted(
    "run-1", "out", 10, 0, ("sd", "flux"), pending={"sd": 6, "flux": 4}, base_url="https://api.test/api/v1"
)
REFUSED = Attempt(429, "slow down", 0.0, 12.5, "ray-9", 0.25)
VALIDATOR = Draft202012Validator(schema())


def attempted(verdict=Verdict.SUCCEEDED, made=None, kind="", **more):
    return AttemptEnded(job(), made or attempt(), verdict, LaneState("sd", 1, 4, 20, 0.0, 0.0, 0), kind=kind, **more)


EVERYTHING = (
    STARTED,
    attempted(),
    JobEnded(outcome()),
    JobEnded(failed("b")),
    Notice("careful"),
    Stopping("enough", 2),
    RunEnded(summary()),
)


class Bench:
    """A JSON log with a clock of its own."""

    def __init__(self, *, quiet=False, stream=None):
        self.now_s = 100.0
        self.stream = io.StringIO() if stream is None else stream
        writer = JsonWriter(self.stream, quiet=quiet, wall=lambda: 1_700_000_000.12345 + self.now_s - 100)
        self.log = JsonLog(writer, now=lambda: self.now_s)

    def tick(self, seconds=1):
        for _ in range(seconds):
            self.now_s += 1
            self.log.tick()

    def lines(self, kind=None):
        """The lines so far, all of them valid."""
        found = [orjson.loads(line) for line in self.stream.getvalue().splitlines()]
        for line in found:
            VALIDATOR.validate(line)
        return [line for line in found if kind in (None, line["event"])]


def json_log(*events, quiet=False):
    bench = Bench(quiet=quiet)
    for event in events:
        bench.log(event)
    return bench.lines()


def test_each_event_is_one_json_object_with_its_time():
    lines = json_log(*EVERYTHING)
    assert {line["time"] for line in lines} == {"2023-11-14T22:13:20.123Z"}
    assert {line["run_id"] for line in lines} == {"run-1"}
    assert [line["event"] for line in lines] == [
        "run_started", "job_ended", "job_ended", "notice", "stopping", "run_ended",
    ]  # fmt: skip
    assert [line["level"] for line in lines] == ["info", "info", "error", "warning", "warning", "info"]
    assert list(lines[0])[:4] == ["time", "level", "event", "run_id"]
    assert lines[0]["jobs"] == 10
    assert (lines[0]["server.address"], lines[0]["server.port"]) == ("api.test", 443)
    assert (lines[0]["lanes"], lines[0]["pending"]) == ({"sd": 6, "flux": 4}, 10)
    assert lines[1] | {"time": 0} == {
        "time": 0, "level": "info", "event": "job_ended", "run_id": "run-1", "id": "a", "status": "succeeded",
        "lane": "venice-sd35", "files": ["images/a.webp"], "http.response.status_code": 200, "error.type": None,
        "error.message": None, "attempts": 1, "blurred": False, "content_violation": False, "possibly_billed": False,
        "cost_usd": None, "total_s": 2.0,
    }  # fmt: skip
    assert (lines[2]["status"], lines[2]["error.type"], lines[2]["error.message"]) == (
        "failed", "server", "out of order",
    )  # fmt: skip
    assert (lines[3]["text"], lines[4]["reason"], lines[4]["in_flight"]) == ("careful", "enough", 2)
    assert (lines[5]["exit_code"], lines[5]["succeeded"], lines[5]["pending"]) == (0, 2, 0)


def test_a_quiet_log_has_warnings_and_errors_only():
    assert [line["event"] for line in json_log(*EVERYTHING, quiet=True)] == ["job_ended", "notice", "stopping"]
    assert json_log(*EVERYTHING, quiet=True)[0]["id"] == "b"


@pytest.mark.parametrize(
    ("exit_code", "level"), [(0, "info"), (1, "error"), (4, "error"), (75, "warning"), (143, "warning")]
)
def test_the_end_of_a_run_is_as_grave_as_its_exit_code(exit_code, level):
    (line,) = json_log(RunEnded(msgspec.structs.replace(summary(), exit_code=exit_code, reason="because")))
    assert (line["level"], line["exit_code"], line["reason"]) == (level, exit_code, "because")
    assert line["cost_usd"] == summary().cost_usd


def test_a_refusal_has_its_status_kind_and_ray():
    (line,) = json_log(attempted(Verdict.LIMITED, REFUSED, "rate_limited"))
    assert (line["event"], line["level"], line["verdict"]) == ("attempt_failed", "info", "limited")
    assert (line["http.response.status_code"], line["error.type"], line["ray"]) == (429, "rate_limited", "ray-9")
    assert (line["retry_after_s"], line["error.message"], line["id"]) == (12.5, "slow down", "a")


@pytest.mark.parametrize(
    ("verdict", "billed", "level"),
    [(Verdict.TRANSIENT, False, "info"), (Verdict.TRANSIENT, True, "warning"), (Verdict.BLOCKED, False, "warning")],
)
def test_a_failed_attempt_is_a_warning_if_it_may_cost_or_the_api_blocks(verdict, billed, level):
    (line,) = json_log(attempted(verdict, REFUSED, "server", possibly_billed=billed))
    assert (line["level"], line["possibly_billed"]) == (level, billed)


def test_a_retry_has_its_number_and_its_wait():
    (line,) = json_log(Retrying(job(), 2, 3.25, REFUSED, "rate_limited"))
    assert (line["event"], line["http.request.resend_count"], line["wait_s"]) == ("retry", 2, 3.25)
    assert (line["http.response.status_code"], line["error.type"], line["ray"]) == (429, "rate_limited", "ray-9")


def test_an_outage_is_logged_with_the_moment_at_which_the_run_gives_up():
    _, lost, found = json_log(STARTED, Unreachable("refused", 1_700_000_120.0), Reachable())
    assert (lost["event"], lost["level"], lost["error.type"]) == ("api_unreachable", "warning", "connect")
    assert (lost["error.message"], lost["gives_up_at"]) == ("refused", "2023-11-14T22:15:20.000Z")
    assert (lost["server.address"], lost["server.port"]) == ("api.test", 443)
    assert (found["event"], found["level"]) == ("api_reachable", "info")


def test_the_wait_for_another_run_is_logged():
    (line,) = json_log(Waiting("out", "process 7", 60.0))
    assert (line["event"], line["holder"], line["timeout_s"]) == ("waiting", "process 7", 60.0)


def test_the_wait_for_another_run_is_repeated_with_the_time_that_is_left():
    bench = Bench()
    bench.log(Waiting("out", "process 7", 70.0))
    bench.tick(95)
    assert [line["timeout_s"] for line in bench.lines()] == [70.0, 40.0, 10.0, 0.0]
    bench.log(STARTED)
    bench.tick(29)
    assert len(bench.lines("waiting")) == 4


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_the_log_is_json_in_every_locale(encoding):
    out = io.BytesIO()
    bench = Bench(stream=io.TextIOWrapper(out, encoding=encoding, errors="backslashreplace"))
    bench.log(Notice("né … 🎨"))
    assert orjson.loads(out.getvalue())["text"] == "né … 🎨"


def sending(opens_in_s, **more):
    return Sending(lambda: RunState((LaneState("sd", 1, 4, 20, 0.0, opens_in_s(), 0, **more),), 4, 0.0, 0.5))


def test_progress_is_logged_every_thirty_seconds_although_nothing_ends():
    bench = Bench()
    bench.tick(40)
    assert bench.lines() == []
    bench.log(STARTED)
    bench.log(sending(lambda: 0.0))
    bench.tick(95)
    lines = bench.lines("progress")
    assert [line["time"] for line in lines] == [
        rfc3339(1_700_000_000.12345 + 40 + after_s) for after_s in (PROGRESS_S, 2 * PROGRESS_S, 3 * PROGRESS_S)
    ]
    assert (lines[0]["jobs"], lines[0]["pending"], lines[0]["in_flight"], lines[0]["spent_usd"]) == (10, 10, 1, 0.5)
    assert lines[0]["waits"] == [{"reason": "answers", "lane": None, "wait_s": None, "count": 1}]
    bench.log(RunEnded(summary()))
    before = len(bench.lines())
    bench.tick(60)
    assert len(bench.lines()) == before


def test_each_wait_of_a_model_is_logged_when_it_begins():
    bench, opens_in_s = Bench(), 30.0
    bench.log(STARTED)
    bench.log(sending(lambda: opens_in_s))
    bench.tick(5)
    opens_in_s = 0.5  # goes on
    bench.tick()
    opens_in_s = 0.0
    bench.tick()
    opens_in_s = 0.5  # too short to mention
    bench.tick()
    opens_in_s = 59.0
    bench.tick(2)
    waits = bench.lines("lane_waiting")
    assert [(line["lane"], line["reason"], line["wait_s"]) for line in waits] == [
        ("sd", "window", 30.0), ("sd", "window", 59.0),
    ]  # fmt: skip


def test_a_quiet_log_has_neither_progress_nor_waits():
    bench = Bench(quiet=True)
    bench.log(STARTED)
    bench.log(sending(lambda: 30.0))
    bench.tick(65)
    assert bench.lines() == []


def test_a_wait_that_lasts_until_an_answer_comes_has_no_length():
    bench = Bench()
    bench.log(STARTED)
    bench.log(sending(lambda: float("inf")))
    bench.tick()
    assert [line["wait_s"] for line in bench.lines("lane_waiting")] == [None]


@given(st.text(st.characters(categories=["L", "C", "Z", "P"]), max_size=20))
def test_any_text_is_logged_as_valid_json_on_one_line(text):
    events = [RunStarted("r", text, 1, 0, ()), JobEnded(failed(text, message=text)), Notice(text), Stopping(text, 0)]
    assert [line["event"] for line in json_log(*events)] == ["run_started", "job_ended", "notice", "stopping"]
    if text.encode("utf-8", "replace").decode() == text:
        assert json_log(Notice(text))[0]["text"] == text


def test_text_that_is_not_unicode_is_logged_with_question_marks():
    files = (IMAGE, type(IMAGE)("images/\udcff.webp", 5, "0" * 64, "webp", 1, 1))
    assert json_log(JobEnded(outcome("\udcff", files=files)))[0]["files"] == ["images/a.webp", "images/?.webp"]


@pytest.mark.parametrize("hostile", ["\x1b[2J\x07", "a\rb", "a\nb", "\u202egnp", "\x9b31m", "\ud800", "\u2028"])
def test_no_control_character_reaches_the_log(hostile):
    bench = Bench()
    bench.log(Notice(hostile))
    assert bench.stream.getvalue().removesuffix("\n").isprintable()


class Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Closed(), None])
def test_a_closed_terminal_does_not_stop_a_run(stream):
    log = JsonLog(JsonWriter(stream))
    for event in EVERYTHING:
        log(event)


def test_a_rejected_job_without_an_answer_has_no_status():
    (line,) = json_log(JobEnded(failed("a", status=Status.REJECTED, attempts=())))
    assert (line["status"], line["attempts"]) == ("rejected", 0)


def test_the_server_of_an_address_has_the_schemes_port():
    assert server_of("http://[::1]:8642/api/v1") == ("::1", 8642)
    assert server_of("http://host/api") == ("host", 80)
    assert server_of("") == (None, None)
