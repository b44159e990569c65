from pathlib import Path

import anyio
import pytest
from fakes import FakeClock
from records import IMAGE, outcome

from venice_batch.engine.space import SpaceWatch
from venice_batch.engine.stop import StopSwitch
from venice_batch.errors import ExitCode
from venice_batch.events import JobEnded


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        yield clock


async def watched(clock, left_bytes, *, most=10):
    """The stop that comes of a job of two images of `IMAGE.bytes` when the disk has these bytes left, one look each."""
    switch, looks = StopSwitch(), iter(left_bytes)

    def free():
        left = next(looks, None)
        if left is None:
            raise OSError("gone")
        return left

    watch = SpaceWatch(Path("out"), free, switch, clock, most=lambda: most)
    watch(JobEnded(outcome(files=(IMAGE, IMAGE))))
    with anyio.fail_after(5):
        await watch.run()
    return switch.stop, clock.now() - clock.start_s


async def test_a_run_stops_while_there_is_room_for_what_is_under_way(clock):
    stop, after_s = await watched(clock, [10**9, 10 * 2 * IMAGE.bytes, 10 * 2 * IMAGE.bytes - 1])
    assert stop.code is ExitCode.FOLDER_UNUSABLE
    assert stop.reason.startswith("out: the disk is almost full: 0.0 MB are left")
    assert after_s == 3


async def test_a_disk_that_says_nothing_of_its_room_stops_nothing(clock):
    assert await watched(clock, [10**9]) == (None, 2)


async def test_before_the_first_image_any_room_will_do(clock):
    assert await watched(clock, [0, 0], most=0) == (None, 3)
