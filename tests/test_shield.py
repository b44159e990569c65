"""A wait that is sheltered ends when what it waits for ends, and cancellation comes after it."""

import asyncio

import anyio
import pytest

from venice_batch.shield import shelter, uninterrupted


class Waiter:
    """A task that makes two waits, then one that may be cut short; `log` tells how far it came."""

    def __init__(self):
        self.first, self.second, self.never = (asyncio.get_running_loop().create_future() for _ in range(3))
        self.log = []

    async def run(self):
        self.log.append(await uninterrupted(self.first))
        self.log.append(await uninterrupted(self.second))
        await self.never
        self.log.append("never")

    async def run_sheltered(self):
        with shelter():
            await self.run()


async def turns(count=5):
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("sheltered", [False, True])
async def test_a_cancelled_wait_goes_on_to_its_end_and_the_next_one_that_may_be_cut_is(sheltered):
    waiter = Waiter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter.run_sheltered if sheltered else waiter.run)
        await turns()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await turns()
            assert not waiter.log
            waiter.first.set_result("first")
            await turns()
            assert waiter.log == ["first"]
            waiter.second.set_result("second")
            await turns()
    assert waiter.log == ["first", "second"]
    assert waiter.never.cancelled()


async def test_between_waits_a_sheltered_task_is_cancelled_like_any_other():
    waiter = Waiter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter.run_sheltered)
        waiter.first.set_result("first")
        waiter.second.set_result("second")
        await turns()
        tasks.cancel_scope.cancel()
    assert waiter.log == ["first", "second"]


async def test_what_is_waited_for_may_fail_and_the_shelter_stands_for_the_next():
    waiter = Waiter()
    waiter.first.set_exception(OSError("no disk"))
    async with anyio.create_task_group() as tasks:
        with shelter():
            with pytest.raises(OSError, match="no disk"):
                await uninterrupted(waiter.first)
            tasks.cancel_scope.cancel()
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await waiter.never
            waiter.second.set_result("second")
            assert await uninterrupted(waiter.second) == "second"


async def test_a_task_that_another_starts_does_not_use_its_shelter():
    waiter, ended = Waiter(), []

    async def child():
        ended.append(await uninterrupted(waiter.first))

    async def parent():
        with shelter():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child)
                await waiter.never

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parent)
        await turns()
        tasks.cancel_scope.cancel()  # the parent is not shielded by what its child waits for
        with anyio.CancelScope(shield=True):
            await turns()
            assert waiter.never.cancelled()
            assert not ended
            waiter.first.set_result("first")
    assert ended == ["first"]


async def test_waits_within_waits_are_sheltered_to_the_outermost_end():
    waiter = Waiter()

    async def both():
        await uninterrupted(waiter.first)
        await waiter.second
        return "both"

    async def run():
        with shelter():
            waiter.log.append(await uninterrupted(both()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await turns()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            waiter.first.set_result(None)
            await turns()
            assert not waiter.second.cancelled()
            waiter.second.set_result(None)
    assert waiter.log == ["both"]
