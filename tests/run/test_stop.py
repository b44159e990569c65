import os
import signal
import threading
from pathlib import Path

import anyio
import pytest
from fakes import FakeClock
from records import IMAGE, outcome

from venice_batch.api.answers import Answer, Fault, Verdict
from venice_batch.api.responses import AnswerHeaders
from venice_batch.errors import ExitCode, FolderError
from venice_batch.events import JobEnded
from venice_batch.run.stop import (
    KEPT_FREE_BYTES,
    LARGE_BYTES,
    UNKNOWN_BYTES,
    Connectivity,
    DiskSpaceWatch,
    Patience,
    Stop,
    StopSignal,
    stop_on_signals,
    stop_reason,
)


def test_an_api_that_was_never_reached_is_given_up_soon():
    reach = Connectivity(Patience(first_s=15, later_s=120))
    assert reach.note(0, reached=False) is None
    assert reach.note(14, reached=False) is None
    assert "address" in reach.note(15, reached=False)


def test_an_outage_is_sat_out_for_longer():
    reach = Connectivity(Patience(first_s=15, later_s=120))
    reach.note(0, reached=True)
    assert reach.note(10, reached=False) is None
    assert reach.note(129, reached=False) is None
    assert "again" in reach.note(130, reached=False)


def test_one_connection_ends_an_outage():
    reach = Connectivity(Patience(first_s=15, later_s=120))
    reach.note(0, reached=True)
    reach.note(10, reached=False)
    reach.note(100, reached=True)
    assert reach.note(200, reached=False) is None


def test_the_time_until_an_outage_is_given_up_is_known():
    reach = Connectivity(Patience(first_s=15, later_s=120))
    assert reach.left_s(0) is None
    reach.note(10, reached=False)
    assert reach.left_s(12) == 13
    reach.note(20, reached=True)
    assert reach.left_s(20) is None
    reach.note(30, reached=False)
    assert reach.left_s(40) == 110


def page(status=403, *, at_s=0.0):
    return Answer(status, AnswerHeaders(), "a web page", at_s, at_s, Fault.NOT_THE_API, from_api=False)


def own(status=200, *, sent_s=0.0, received_s=None):
    return Answer(status, AnswerHeaders(), "said so", sent_s, sent_s if received_s is None else received_s)


def reached(*answers, known=False):
    reach = Connectivity(Patience(), known=known)
    for answer in answers:
        reach.judge(answer, "before")
    return reach


def judge(reach, answer, job):
    """One request after the other."""
    reach.ended(reach.sent())
    return reach.judge(answer, job)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(401, Verdict.KEY_REFUSED), (403, Verdict.KEY_REFUSED), (404, Verdict.WRONG_ADDRESS), (405, Verdict.WRONG_ADDRESS),
     (407, Verdict.WRONG_ADDRESS), (302, Verdict.WRONG_ADDRESS)],
)  # fmt: skip
def test_a_page_is_believed_at_once_where_the_api_has_never_answered(status, verdict):
    assert judge(reached(), page(status), "a") is verdict


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 410, 451])
@pytest.mark.parametrize("before", [own(), own(400), own(429), own(503)])
def test_a_page_after_any_answer_of_the_apis_is_its_jobs_own_trouble(status, before):
    assert judge(reached(before), page(status), "a") is Verdict.TRANSIENT


def test_an_address_that_was_good_before_the_run_counts_for_pages_and_not_for_redirects():
    assert judge(reached(known=True), page(403), "a") is Verdict.TRANSIENT
    assert judge(reached(known=True), page(302), "a") is Verdict.WRONG_ADDRESS
    assert judge(reached(own()), page(302), "a") is Verdict.TRANSIENT


def test_neither_a_gateways_500_nor_a_cut_answer_shows_that_the_api_is_there():
    gateway = Answer(502, AnswerHeaders(), "a web page", 0.0, 0.0, from_api=False)
    cut = Answer(200, AnswerHeaders(), "cut", 0.0, 0.0, Fault.CUT)
    timeout = Answer(None, AnswerHeaders(), "no answer", 0.0, 0.0, Fault.TIMEOUT)
    empty = Answer(200, AnswerHeaders(), "a web page instead of an image", 0.0, 0.0, Fault.NO_IMAGE)
    assert judge(reached(gateway, cut, timeout, empty), page(404), "a") is Verdict.WRONG_ADDRESS


def test_pages_for_three_jobs_in_a_row_mean_that_everything_is_refused():
    reach = reached(own())
    assert [judge(reach, page(), job) for job in "aab"] == [Verdict.TRANSIENT] * 3
    assert judge(reach, page(404), "c") is Verdict.WRONG_ADDRESS


def test_anything_of_the_apis_between_begins_the_row_anew():
    reach = reached(own())
    for between in (own(), own(400), own(503)):
        assert [judge(reach, page(), job) for job in "ab"] == [Verdict.TRANSIENT] * 2
        judge(reach, between, "good")


def test_pages_are_weighed_against_images_that_were_under_way_before_them():
    reach = reached(own())
    slow = reach.sent()
    assert [judge(reach, page(), job) for job in "abcde"] == [Verdict.TRANSIENT] * 5
    reach.ended(slow)
    assert judge(reach, page(), "f") is Verdict.WRONG_ADDRESS


def test_what_was_sent_after_the_first_page_delays_nothing():
    reach = reached(own())
    assert judge(reach, page(), "a") is Verdict.TRANSIENT
    reach.sent()
    assert judge(reach, page(), "b") is Verdict.TRANSIENT
    assert judge(reach, page(), "c") is Verdict.WRONG_ADDRESS


@pytest.mark.parametrize("status", [401, 403])
def test_the_apis_own_refusal_of_a_key_that_never_worked_is_believed_at_once(status):
    assert judge(reached(known=True), own(status), "a") is Verdict.KEY_REFUSED
    assert judge(reached(own(503)), own(status), "a") is Verdict.KEY_REFUSED


def test_a_key_that_has_worked_is_refused_once_a_later_request_is_refused_too():
    reach = reached(own())
    assert judge(reach, own(401, sent_s=1, received_s=2), "a") is Verdict.TRANSIENT
    assert judge(reach, own(401, sent_s=1.5, received_s=3), "b") is Verdict.TRANSIENT, "it was under way already"
    assert judge(reach, own(401, sent_s=2.5, received_s=3), "c") is Verdict.KEY_REFUSED


def test_an_image_clears_the_key_of_doubt():
    reach = reached(own())
    for moment in range(5):
        assert judge(reach, own(401, sent_s=10 * moment), "a") is Verdict.TRANSIENT
        assert judge(reach, own(sent_s=10 * moment + 5), "b") is Verdict.SUCCEEDED


def test_what_only_one_model_refuses_is_no_refusal_of_the_key():
    reach = reached(own())
    only_pro = Answer(401, AnswerHeaders(), "This model is only available to Pro users", 0.0, 0.0)
    assert [judge(reach, only_pro, job) for job in "ab"] == [Verdict.LANE_REFUSED] * 2


@pytest.mark.parametrize(
    ("answer", "known", "reason"),
    [
        (own(401), True, "the API refused the key: said so"),
        (page(403), False, "the key was refused, though not in the API's own words: a web page; is --base-url right?"),
        (page(404), False, "this is not the API: a web page; is --base-url right?"),
        (
            page(404),
            True,
            "something on the way to the API refuses everything: a web page; run the same command again later",
        ),
    ],
)
def test_the_reason_of_a_stop_says_who_refused_what(answer, known, reason):
    assert stop_reason(answer, known=known) == reason


@pytest.fixture
def before():
    """Somebody who received all of these signals before; the numbers that came."""
    came = []
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in former:
        signal.signal(number, lambda number, frame: came.append(number))
    yield came
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_go_to_the_run_while_it_listens_and_then_to_whoever_had_them(before, number):
    stop_signal = StopSignal()
    async with anyio.create_task_group() as tasks:
        await tasks.start(stop_on_signals, stop_signal, anyio.CancelScope())
        os.kill(os.getpid(), number)
        with anyio.fail_after(10):
            await stop_signal.event.wait()
        assert not before
        tasks.cancel_scope.cancel()
    assert stop_signal.stop.code is (ExitCode.SIGINT if number is signal.SIGINT else ExitCode.SIGTERM)
    os.kill(os.getpid(), number)
    assert before == [number]


ENOUGH = object()


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        yield clock


MB = 1_000_000


def watch_of(clock, looks, *, most=10, recorded=0):
    """A watch of a disk that says this at each look, and what it may stop; it is stopped when no more is said."""
    stop_signal, answers, asked = StopSignal(), iter(looks), []

    def look():
        answer = next(answers, ENOUGH)
        if answer is ENOUGH:
            stop_signal.request(Stop(ExitCode.TEMPORARY, "enough"))
            return None
        if isinstance(answer, FolderError):
            raise answer
        return answer if answer is None else answer + KEPT_FREE_BYTES

    def largest():
        asked.append(recorded)
        return recorded

    watch = DiskSpaceWatch(Path("out"), look, stop_signal, clock, most=lambda: most, recorded=largest)
    return watch, stop_signal, asked


async def watched(clock, left_bytes, *, most=10):
    """The stop that comes of a job of two images of `IMAGE.bytes` when the disk has these bytes left, one look each."""
    watch, stop_signal, _ = watch_of(clock, left_bytes, most=most)
    watch(JobEnded(outcome(files=(IMAGE, IMAGE))))
    with anyio.fail_after(5):
        await watch.run()
    return stop_signal.stop, clock.now() - clock.start_s


async def test_a_run_stops_while_there_is_room_for_what_is_under_way(clock):
    stop, after_s = await watched(clock, [10**9, 2 * 10 * 2 * IMAGE.bytes, 2 * 10 * 2 * IMAGE.bytes - 1])
    assert stop.code is ExitCode.FOLDER_UNUSABLE
    assert stop.reason.startswith("out: the disk is almost full: 0.0 MB are left")
    assert after_s == 3


async def test_a_disk_that_says_nothing_of_its_room_stops_nothing(clock):
    stop, after_s = await watched(clock, [10**9, None, None])
    assert (stop.reason, after_s) == ("enough", 4)


async def test_before_the_first_image_any_room_will_do(clock):
    stop, after_s = await watched(clock, [0, 0], most=0)
    assert (stop.reason, after_s) == ("enough", 3)


async def test_a_folder_that_can_be_used_no_longer_stops_the_run(clock):
    error = FolderError(Path("out/.lock"), "was moved")
    stop, after_s = await watched(clock, [10**9, error])
    assert (stop, after_s) == (Stop(ExitCode.FOLDER_UNUSABLE, "out/.lock: was moved"), 2)


async def test_between_two_looks_what_is_written_is_reckoned_with(clock):
    watch, stop_signal, _ = watch_of(clock, [5 * IMAGE.bytes], most=1, recorded=IMAGE.bytes)
    assert await watch.begin(1, [].append) == 1
    for _ in range(3):
        watch(JobEnded(outcome(files=(IMAGE,))))
        assert stop_signal.stop is None
    watch(JobEnded(outcome(files=(IMAGE,))))
    assert "almost full" in stop_signal.stop.reason


@pytest.mark.parametrize(
    ("left_bytes", "recorded", "room"),
    [
        (None, 0, 8),
        (8 * LARGE_BYTES, 100 * MB, 8),  # so much room that no size is asked for
        (100 * MB, 0, 8),
        (100 * MB, 5 * MB, 8),
        (100 * MB, 30 * MB, 3),
        (60 * MB, 30 * MB, 2),
        (30 * MB, 30 * MB, 1),
        (5 * UNKNOWN_BYTES, 0, 5),
    ],
)
async def test_at_the_start_as_many_may_be_under_way_as_there_is_room_for(clock, left_bytes, recorded, room):
    watch, stop_signal, asked = watch_of(clock, [left_bytes], recorded=recorded)
    told = []
    assert await watch.begin(8, told.append) == room
    assert stop_signal.stop is None
    assert bool(told) is (room < 8)
    if told:
        assert "MB are left; at most" in told[0].text
    assert bool(asked) is (left_bytes is not None and left_bytes < 8 * LARGE_BYTES)


@pytest.mark.parametrize(("left_bytes", "recorded"), [(30 * MB - 1, 30 * MB), (UNKNOWN_BYTES - 1, 0), (-5, 1)])
async def test_without_room_for_one_image_none_is_asked_for(clock, left_bytes, recorded):
    watch, stop_signal, _ = watch_of(clock, [left_bytes], recorded=recorded)
    await watch.begin(8, [].append)
    assert stop_signal.stop.code is ExitCode.FOLDER_UNUSABLE
    assert "an image may take" in stop_signal.stop.reason


async def test_a_stop_does_not_wait_for_the_first_look(clock):
    going, stop_signal = threading.Event(), StopSignal()
    watch = DiskSpaceWatch(Path("out"), lambda: going.wait(10) and None, stop_signal, clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.begin, 8, [].append)
        await anyio.lowlevel.checkpoint()
        stop_signal.request(Stop(ExitCode.SIGINT, "stopped"))
    assert not going.is_set()
    going.set()
