import os

import anyio
import pytest

from venice_batch.output.buffers import BUFFER_BYTES, Buffers, InheritedBuffers


async def test_what_was_filled_is_read_by_the_process_that_inherits_the_memory():
    buffers = Buffers(2)
    number = await buffers.take()
    assert buffers.fill(number, 0, b"abc") == 3
    assert buffers.fill(number, 3, b"de") == 2
    assert bytes(buffers.read(number)[:5]) == b"abcde"
    assert bytes(InheritedBuffers(buffers.file).read(number)[:5]) == b"abcde"


async def test_a_buffer_takes_what_it_has_room_for_and_spills_into_no_other():
    buffers = Buffers(2)
    buffers.fill(1, 0, b"other")
    assert buffers.fill(0, BUFFER_BYTES - 2, b"abc") == 2
    assert bytes(buffers.read(0)[-2:]) == b"ab"
    assert bytes(buffers.read(1)[:5]) == b"other"


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


def _no_memory(*args):
    raise OSError("not here")


@pytest.mark.parametrize("missing", ["memfd_create", "ftruncate"])
async def test_without_memory_that_can_be_shared_the_buffers_serve_this_process(monkeypatch, missing):
    monkeypatch.setattr(os, missing, _no_memory)
    buffers = Buffers(2)
    assert buffers.file == -1
    buffers.fill(1, 0, b"abc")
    assert bytes(buffers.read(1)[:3]) == b"abc"


async def test_a_system_that_knows_no_shared_memory_is_none_to_stop_at(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert Buffers(1).file == -1


async def test_the_descriptor_goes_with_the_buffers():
    buffers = Buffers(1)
    file = buffers.file
    del buffers
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
