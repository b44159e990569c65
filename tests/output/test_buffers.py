import anyio

from venice_batch.output.buffers import Buffers


async def test_who_finds_no_buffer_waits_for_the_first_that_is_given_back():
    buffers = Buffers(1)
    number = await buffers.take()
    taken = []

    async def wait():
        taken.append(await buffers.take())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        assert taken == []
        buffers.give_back(number)
    assert taken == [number]


async def test_who_gives_up_waiting_takes_no_buffer_along():
    buffers = Buffers(1)
    number = await buffers.take()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await buffers.take()
    buffers.give_back(number)
    assert await buffers.take() == number
