import contextlib
import errno
import os
import signal
import threading

import anyio
import pytest

from venice_batch.output.memory import BUFFER_BYTES, Memory
from venice_batch.output.orders import Done, Drop, Place, Trouble, Write
from venice_batch.output.workers import ORDER_BYTES, PILE, PROCESS_AFTER_BYTES, DiskWorkers


@contextlib.asynccontextmanager
async def team(tmp_path, *, file=None):
    memory = Memory(1)
    if file is not None:
        memory.file = file
    workers = DiskWorkers(str(tmp_path), memory)
    try:
        yield workers
    finally:
        await workers.close()


async def many_orders(workers):
    for _ in range(PROCESS_AFTER_BYTES // ORDER_BYTES):
        await workers.run(Drop(()))


async def pile_up(workers):
    going = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workers.threads.run, lambda: going.wait(10))
        await anyio.lowlevel.checkpoint()
        for _ in range(PILE):
            tasks.start_soon(workers.run, Drop(()))
        await anyio.lowlevel.checkpoint()
        going.set()


async def test_a_short_or_quiet_run_stays_with_threads(tmp_path):
    async with team(tmp_path) as workers:
        await pile_up(workers)
        assert await workers.choose() is workers
    async with team(tmp_path) as workers:
        await many_orders(workers)
        await workers.run(Drop(()))
        assert await workers.choose() is workers
        assert workers.process._process is None


async def test_a_long_run_whose_orders_pile_up_gets_a_process_when_it_has_started(tmp_path):
    async with team(tmp_path) as workers:
        await pile_up(workers)
        await many_orders(workers)
        assert await workers.choose() is workers  # which is there meanwhile
        with anyio.fail_after(30):
            await workers.process.greeted.wait()
        assert await workers.choose() is workers._through
    assert await workers.choose() is workers


async def test_large_images_get_one_after_fewer_orders(tmp_path):
    async with team(tmp_path) as workers:
        await pile_up(workers)
        await workers.run(Write(".a", 0, BUFFER_BYTES))
        assert await workers.choose() is workers
        assert workers.process._process is None
        for _ in range(PROCESS_AFTER_BYTES // BUFFER_BYTES - 1):
            await workers.run(Place((".a",), ("a",), Write(".a", 0, BUFFER_BYTES)))
        await workers.choose()
        assert workers.process._process is not None


@pytest.mark.parametrize("reason", ["no shared memory", "no interpreter", "frozen"])
async def test_where_no_process_can_be_had_threads_do_it_all(tmp_path, monkeypatch, reason):
    if reason == "no interpreter":
        monkeypatch.setattr("sys.executable", "")
    elif reason == "frozen":
        monkeypatch.setattr("sys.frozen", True, raising=False)
    async with team(tmp_path, file=-1 if reason == "no shared memory" else None) as workers:
        await pile_up(workers)
        await many_orders(workers)
        assert await workers.choose() is workers
        assert workers.process._process is None


async def test_when_a_run_stops_at_once_threads_take_over_from_a_process_that_stands_still(tmp_path):
    async with team(tmp_path) as workers, anyio.create_task_group() as run:
        await pile_up(workers)
        await many_orders(workers)
        await workers.choose()
        with anyio.fail_after(30):
            await workers.process.greeted.wait()
        worker = await workers.choose()
        os.kill(workers.process._process.pid, signal.SIGSTOP)
        endings = []

        async def order():
            endings.append(await worker.run(Write(".p", 0, 1)))

        run.start_soon(order)
        await anyio.lowlevel.checkpoint()
        assert not endings
        run.cancel_scope.cancel()
        workers.hurry()
    assert endings == [Done()]
    assert os.listdir(tmp_path) == [".p"]


async def test_nobody_waits_for_a_disk_that_does_not_answer(tmp_path):
    going = threading.Event()
    async with team(tmp_path) as workers, anyio.create_task_group() as run:
        workers._store.carry_out = lambda order: going.wait(10)
        endings = []

        async def order():
            endings.append(await workers.run(Drop(())))

        run.start_soon(order)
        await anyio.lowlevel.checkpoint()
        run.cancel_scope.cancel()
        workers.hurry()
        workers.abandon()
    assert endings == [Trouble(errno.ETIMEDOUT, "the disk does not answer")]
    going.set()


async def test_a_process_that_cannot_be_waited_for_is_left(tmp_path):
    async with team(tmp_path) as workers:
        await workers.process.start()
        process = workers.process._process
        workers.abandon()
    assert workers.process._process is None
    process.wait(10)
