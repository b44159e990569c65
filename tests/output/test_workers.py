import contextlib
import threading

import anyio
import pytest

from venice_batch.output.memory import Memory
from venice_batch.output.orders import Drop
from venice_batch.output.threads import BACKLOG
from venice_batch.output.workers import PROCESS_AFTER_ORDERS, DiskWorkers


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


async def some_orders(workers, count):
    for _ in range(count):
        await workers.run(Drop(()))


async def pile_up(workers):
    going = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workers.threads.run, lambda: going.wait(10))
        await anyio.lowlevel.checkpoint()
        for _ in range(2 * BACKLOG):
            tasks.start_soon(workers.run, Drop(()))
        await anyio.lowlevel.checkpoint()
        going.set()


async def test_a_short_or_quiet_run_stays_with_threads(tmp_path):
    async with team(tmp_path) as workers:
        await pile_up(workers)
        assert await workers.choose() is workers
    async with team(tmp_path) as workers:
        await some_orders(workers, PROCESS_AFTER_ORDERS + 1)
        assert await workers.choose() is workers
        assert workers.process._process is None


async def test_a_long_run_whose_orders_pile_up_gets_a_process_when_it_has_started(tmp_path):
    async with team(tmp_path) as workers:
        await pile_up(workers)
        await some_orders(workers, PROCESS_AFTER_ORDERS)
        assert await workers.choose() is workers  # which is there meanwhile
        with anyio.fail_after(30):
            await workers.process.greeted.wait()
        assert await workers.choose() is workers.process
    assert await workers.choose() is workers


@pytest.mark.parametrize("reason", ["no shared memory", "no interpreter", "frozen"])
async def test_where_no_process_can_be_had_threads_do_it_all(tmp_path, monkeypatch, reason):
    if reason == "no interpreter":
        monkeypatch.setattr("sys.executable", "")
    elif reason == "frozen":
        monkeypatch.setattr("sys.frozen", True, raising=False)
    async with team(tmp_path, file=-1 if reason == "no shared memory" else None) as workers:
        await pile_up(workers)
        await some_orders(workers, PROCESS_AFTER_ORDERS)
        assert await workers.choose() is workers
        assert workers.process._process is None
