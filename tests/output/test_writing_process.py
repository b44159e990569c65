import contextlib
import errno
import os
import select
import signal
import subprocess
import sys

import anyio
import pytest

from venice_batch.output import writing_process
from venice_batch.output.memory import Memory
from venice_batch.output.orders import Done, Drop, Write
from venice_batch.output.threads import DiskThreads
from venice_batch.output.writing_process import WritingProcess


@contextlib.asynccontextmanager
async def working(images):
    memory = Memory(2)
    one = WritingProcess(str(images), memory, DiskThreads())
    await one.start()
    try:
        with anyio.fail_after(30):
            await one.greeted.wait()
        yield one, memory
    finally:
        await one.close()


async def test_what_is_in_a_buffer_is_written_by_another_process(tmp_path):
    async with working(tmp_path) as (one, memory):
        assert one.ready
        memory.fill(1, 0, b"image")
        assert await one.run(Write(".p", 1, 5)) == Done()
        assert (tmp_path / ".p").read_bytes() == b"image"
        assert await one.run(Drop((".p",))) == Done()
    assert os.listdir(tmp_path) == []
    assert not one.ready


def test_it_works_for_other_event_loops_than_the_standard_one(tmp_path):
    async def write():
        async with working(tmp_path) as (one, _):
            assert await one.run(Write(".p", 0, 1)) == Done()

    anyio.run(write, backend_options={"use_uvloop": True})


async def test_many_orders_at_a_time_get_each_its_own_answer(tmp_path):
    endings = {}

    async def ask(part):
        endings[part] = await one.run(Write(part, 0, 1))

    async with working(tmp_path) as (one, _), anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(ask, f".{number}" if number % 2 else f"missing/{number}")
    assert all((ending == Done()) == part.startswith(".") for part, ending in endings.items())
    assert len(endings) == len(os.listdir(tmp_path)) * 2 == 200


async def test_cancellation_waits_until_the_order_is_carried_out(tmp_path):
    async with working(tmp_path) as (one, _):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await one.run(Write(".p", 0, 1))
        assert os.listdir(tmp_path) == [".p"]


async def test_signals_that_end_a_run_do_not_end_it(tmp_path):
    async with working(tmp_path) as (one, _):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(one._process.pid, number)
        assert await one.run(Write(".p", 0, 1)) == Done()


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="no /proc")
async def test_it_knows_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "very-secret")
    async with working(tmp_path) as (one, _):
        for name in ("environ", "cmdline"):
            assert b"very-secret" not in await anyio.Path(f"/proc/{one._process.pid}/{name}").read_bytes()


async def test_killed_it_leaves_unanswered_what_was_asked_and_everything_after(tmp_path):
    async with working(tmp_path) as (one, _):
        os.kill(one._process.pid, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            endings = []

            async def ask():
                endings.append(await one.run(Write(".p", 0, 1)))

            tasks.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            os.kill(one._process.pid, signal.SIGKILL)
        assert not one.ready
        endings.append(await one.run(Write(".p", 0, 1)))
    assert endings == [None, None]


@pytest.mark.parametrize("interpreter", ["/no/such/python", "/bin/false"])
async def test_where_it_cannot_be_started_it_is_never_ready(tmp_path, monkeypatch, interpreter):
    monkeypatch.setattr(sys, "executable", interpreter)
    one = WritingProcess(str(tmp_path), Memory(1), DiskThreads())
    await one.start()
    if one._process is not None:
        one._process.wait(30)
        while one._transport is not None:
            await anyio.lowlevel.checkpoint()
    assert not one.ready
    assert await one.run(Drop(())) is None
    await one.close()


async def test_with_no_descriptors_left_it_is_never_ready(tmp_path, monkeypatch):
    def refuse():
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(writing_process.socket, "socketpair", refuse)
    one = WritingProcess(str(tmp_path), Memory(1), DiskThreads())
    await one.start()
    assert not one.ready
    await one.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd")
def test_it_does_not_outlive_a_process_that_is_killed(tmp_path):
    code = (
        "import anyio, signal, sys\n"
        "from venice_batch.output.memory import Memory\n"
        "from venice_batch.output.writing_process import WritingProcess\n"
        "from venice_batch.output.threads import DiskThreads\n"
        "async def main():\n"
        "    one = WritingProcess(sys.argv[1], Memory(1), DiskThreads())\n"
        "    await one.start()\n"
        "    await one.greeted.wait()\n"
        "    print(one._process.pid, flush=True)\n"
        "    await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        process = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([process], [], [], 30)
    os.close(process)
    assert ended
