import threading
from pathlib import Path

import anyio
import pytest
from fakes import FakeClock
from records import IMAGE, outcome

from venice_batch.engine.space import KEPT_FREE_BYTES, LARGE_BYTES, UNKNOWN_BYTES, SpaceWatch
from venice_batch.engine.stop import Stop, StopSwitch
from venice_batch.errors import ExitCode, FolderError
from venice_batch.events import JobEnded

ENOUGH = object()


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        yield clock


MB = 1_000_000


def watch_of(clock, looks, *, most=10, recorded=0):
    """A watch of a disk that says this at each look, and what it may stop; it is stopped when no more is said."""
    switch, answers, asked = StopSwitch(), iter(looks), []

    def look():
        answer = next(answers, ENOUGH)
        if answer is ENOUGH:
            switch.request(Stop(ExitCode.TEMPORARY, "enough"))
            return None
        if isinstance(answer, FolderError):
            raise answer
        return answer if answer is None else answer + KEPT_FREE_BYTES

    def largest():
        asked.append(recorded)
        return recorded

    watch = SpaceWatch(Path("out"), look, switch, clock, most=lambda: most, recorded=largest)
    return watch, switch, asked


async def watched(clock, left_bytes, *, most=10):
    """The stop that comes of a job of two images of `IMAGE.bytes` when the disk has these bytes left, one look each."""
    watch, switch, _ = watch_of(clock, left_bytes, most=most)
    watch(JobEnded(outcome(files=(IMAGE, IMAGE))))
    with anyio.fail_after(5):
        await watch.run()
    return switch.stop, clock.now() - clock.start_s


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
    watch, switch, _ = watch_of(clock, [5 * IMAGE.bytes], most=1, recorded=IMAGE.bytes)
    assert await watch.begin(1, [].append) == 1
    for _ in range(3):
        watch(JobEnded(outcome(files=(IMAGE,))))
        assert switch.stop is None
    watch(JobEnded(outcome(files=(IMAGE,))))
    assert "almost full" in switch.stop.reason


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
    watch, switch, asked = watch_of(clock, [left_bytes], recorded=recorded)
    told = []
    assert await watch.begin(8, told.append) == room
    assert switch.stop is None
    assert bool(told) is (room < 8)
    if told:
        assert "MB are left; at most" in told[0].text
    assert bool(asked) is (left_bytes is not None and left_bytes < 8 * LARGE_BYTES)


@pytest.mark.parametrize(("left_bytes", "recorded"), [(30 * MB - 1, 30 * MB), (UNKNOWN_BYTES - 1, 0), (-5, 1)])
async def test_without_room_for_one_image_none_is_asked_for(clock, left_bytes, recorded):
    watch, switch, _ = watch_of(clock, [left_bytes], recorded=recorded)
    await watch.begin(8, [].append)
    assert switch.stop.code is ExitCode.FOLDER_UNUSABLE
    assert "an image may take" in switch.stop.reason


async def test_a_stop_does_not_wait_for_the_first_look(clock):
    going, switch = threading.Event(), StopSwitch()
    watch = SpaceWatch(Path("out"), lambda: going.wait(10) and None, switch, clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.begin, 8, [].append)
        await anyio.lowlevel.checkpoint()
        switch.request(Stop(ExitCode.SIGINT, "stopped"))
    assert not going.is_set()
    going.set()
