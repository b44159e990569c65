import anyio
import pytest
from fakes import FakeClock, job

from venice_batch.engine.feed import Feed


class Reading:
    """Jobs that count how many of them were read."""

    def __init__(self, count, error=None):
        self.read = 0
        self._count = count
        self._error = error

    def __iter__(self):
        for number in range(self._count):
            self.read += 1
            yield job(f"j{number}")
        if self._error is not None:
            raise self._error


def taken(feed):
    found = []
    while (one := feed.take()) is not None:
        found.append(one[0].id)
    return found


async def test_every_job_comes_once_and_in_order():
    assert taken(Feed(iter(Reading(5)), 2, FakeClock())) == ["j0", "j1", "j2", "j3", "j4"]


async def test_no_more_than_allowed_are_read_ahead():
    reading = Reading(100)
    feed = Feed(iter(reading), 3, FakeClock())
    assert reading.read == 0
    for number in range(10):
        feed.take()
        assert reading.read == number + 1 + 3


async def test_a_job_carries_the_moment_it_was_read():
    async with FakeClock() as clock:
        feed = Feed(iter(Reading(3)), 1, clock)
        first = feed.take()
        began_s = clock.now()
        await clock.wait(anyio.Event(), 5.0)
        second, third = feed.take(), feed.take()
    assert [moment for _, moment in (first, second, third)] == [began_s, began_s, began_s + 5.0]


async def test_what_reading_raises_is_raised_once_and_loses_no_job():
    feed = Feed(iter(Reading(2, ValueError("gone"))), 5, FakeClock())
    with pytest.raises(ValueError, match="gone"):
        feed.take()
    assert taken(feed) == ["j0", "j1"]
