"""Entries that come close together are written together; none waits longer than it has to."""

import asyncio
import threading

import anyio
import pytest

from venice_batch.output import gathering
from venice_batch.output.gathering import Gathering


class Writes:
    """Notes what is written together; holds the first call up while `going` is not set."""

    def __init__(self):
        self.calls = []
        self.going = threading.Event()
        self.going.set()

    def __call__(self, entries):
        self.calls.append(list(entries))
        assert self.going.wait(10)


@pytest.fixture
def long_gap(monkeypatch):
    """What waits for the time to be over would do so for a minute."""
    monkeypatch.setattr(gathering, "GATHER_S", 60.0)


async def add_all(gathered, entries):
    async with anyio.create_task_group() as tasks:
        for entry in entries:
            tasks.start_soon(gathered.add, entry)


async def test_an_entry_after_a_pause_is_written_at_once_be_others_enough_or_not(long_gap):
    writes = Writes()
    await Gathering(writes, enough=8).add("a")
    assert writes.calls == [["a"]]


async def test_entries_soon_after_a_trip_share_the_next_when_they_are_enough(long_gap):
    writes = Writes()
    gathered = Gathering(writes, enough=4)
    await gathered.add("first")
    await add_all(gathered, "abcd")
    assert writes.calls == [["first"], ["a", "b", "c", "d"]]


async def test_too_few_wait_until_the_time_is_over_and_no_longer(monkeypatch, long_gap):
    loop, departures = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def noted(when_s, *call, **options):
        departures.append(when_s - loop.time())
        return call_at(loop.time(), *call, **options)  # nothing is waited for

    monkeypatch.setattr(loop, "call_at", noted)
    writes = Writes()
    gathered = Gathering(writes, enough=4)
    await gathered.add("after a pause")
    await gathered.add("soon")
    first_s, second_s = departures
    assert first_s <= 0
    assert 50 < second_s <= 60
    assert writes.calls == [["after a pause"], ["soon"]]


async def test_where_one_is_enough_nothing_waits_for_others(long_gap):
    writes = Writes()
    gathered = Gathering(writes, enough=1)
    for entry in "abc":
        await gathered.add(entry)
    assert writes.calls == [["a"], ["b"], ["c"]]


async def test_all_that_come_during_a_trip_share_the_next_one(long_gap):
    writes = Writes()
    writes.going.clear()
    gathered = Gathering(writes, enough=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gathered.add, "first")
        while not writes.calls:
            await anyio.lowlevel.checkpoint()
        for entry in "abcde":
            tasks.start_soon(gathered.add, entry)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert writes.calls == [["first"]]
        writes.going.set()
    assert writes.calls == [["first"], ["a", "b", "c", "d", "e"]]


async def test_what_a_write_raises_is_raised_where_its_entries_were_added_and_the_next_are_written(long_gap):
    calls = []

    def write(entries):
        calls.append(entries)
        if len(calls) == 1:
            raise RuntimeError("a mistake of ours")

    gathered = Gathering(write)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await gathered.add("a")
    await gathered.add("b")
    assert calls == [["a"], ["b"]]


async def test_a_cancelled_entry_is_written_all_the_same_and_waited_for():
    writes, ended = Writes(), []
    writes.going.clear()
    gathered = Gathering(writes)

    async def one():
        await gathered.add("a")
        ended.append("a")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        while not writes.calls:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
        writes.going.set()
    assert (writes.calls, ended) == ([["a"]], ["a"])
