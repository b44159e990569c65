"""Attempts in this process and in others."""

import json
import os
import signal
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from fakes import job
from PIL import Image

from venice_batch import run_jobs
from venice_batch.api.answers import Fault
from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.clock import SystemClock
from venice_batch.errors import ExitCode, FolderError, ProcessesError, SourceError, UsageError
from venice_batch.events import JobEnded, Notice
from venice_batch.model import Endpoint, Job
from venice_batch.output.images import ImageFolder
from venice_batch.run import fetching
from venice_batch.run.fetching import LocalFetcher, ProcessFetcher
from venice_batch.run.fetching_child import Cancel, Fetched
from venice_batch.sandbox import SandboxSettings, serve

FAST = SandboxSettings(rpm=0, latency_s=0, draw="plain", failure_limit=0)
KEY = "sk-0123456789-very-secret"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path


@asynccontextmanager
async def fetcher(root, kind, *, count=1, sandbox=FAST, base_url=None, on_loss=lambda error: None, **folder):
    """A fetcher of that kind, with so many processes, and the sandbox that it asks."""
    async with serve(sandbox) as server:
        settings = ApiSettings(base_url=base_url or server.base_url, timeout_s=20)
        images, key, clock = ImageFolder(root, prefix="r", **folder), ApiKey(KEY), SystemClock()
        if kind == "local":
            async with ApiClient(settings, key, clock) as api:
                yield LocalFetcher(api, images), server
        else:
            async with ProcessFetcher(count, settings, key, images, clock, on_loss=on_loss) as found:
                yield found, server


def small(prompt, **fields):
    return job(prompt, model="venice-sd35", width=64, height=64, **fields)


async def fetch(found, one):
    with anyio.fail_after(30):
        return await found.fetch(one, one.request)


async def until(holds):
    """Return once `holds()`, which depends on other processes."""
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110 - the sleep leaves the processor to them
            await anyio.sleep(0.002)


async def is_asked(server, requests=1):
    """Return once so many requests, perhaps of other processes, are under way."""
    await until(lambda: server.stats()["in_flight"] >= requests)


def interpreter(monkeypatch, path, script):
    """Have processes started by a shell script; its arguments are those of an interpreter."""
    path = path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setattr(fetching.sys, "executable", str(path))


@pytest.fixture
def children(monkeypatch):
    """The processes that fetch, as they are started."""
    found = []

    class Seen(fetching._Child):
        def __init__(self, process):
            super().__init__(process)
            found.append(process)

    monkeypatch.setattr(fetching, "_Child", Seen)
    return found


def send_all(children, number):
    for process in children:
        with suppress(ProcessLookupError):
            process.send_signal(number)


BOTH = pytest.mark.parametrize("kind", ["local", pytest.param("processes", marks=pytest.mark.cover_commands)])


@BOTH
async def test_an_attempt_puts_its_images_in_place_and_says_what_they_are(root, kind):
    async with fetcher(root, kind) as (found, _):
        reply = await fetch(found, small("a", variants=2, return_binary=False))
    assert [file.path for file in reply.files] == ["images/a-1.webp", "images/a-2.webp"]
    assert reply.answer.status == 200
    assert reply.answer.sent_s < reply.answer.received_s
    assert reply.server is not None
    for file in reply.files:
        with Image.open(root / file.path) as image:
            assert image.size == (64, 64)


@BOTH
async def test_a_refusal_is_a_reply(root, kind):
    async with fetcher(root, kind) as (found, _):
        reply = await fetch(found, small("a", seed="seven"))
    assert reply.answer.status == 400
    assert os.listdir(root / "images") == []


@BOTH
async def test_a_name_that_is_taken_is_replaced_only_where_the_job_owns_it(root, kind):
    for name in ("a.webp", "b.webp"):
        (root / "images" / name).write_bytes(b"earlier")
    async with fetcher(root, kind, replaceable=lambda job_id: ["images/a.webp"]) as (found, _):
        replies = [await fetch(found, small(prompt)) for prompt in "ab"]
    assert [file.path for reply in replies for file in reply.files] == ["images/a.webp", "images/b~1.webp"]


@BOTH
async def test_a_folder_that_takes_no_image_is_an_error_with_its_path(root, kind):
    async with fetcher(root, kind) as (found, _):
        (root / "images").rmdir()
        with pytest.raises(FolderError, match="vanished") as caught:
            await fetch(found, small("a"))
    assert caught.value.path == root


@BOTH
async def test_a_picture_that_is_gone_is_an_error_of_its_job(root, kind, tmp_path):
    picture = {"path": str(tmp_path / "gone.png"), "sha256": "0" * 64}
    one = Job("a", 1, 0, Endpoint.EDIT, {"image": picture, "prompt": "p"}, "0" * 32)
    async with fetcher(root, kind) as (found, _):
        with pytest.raises(SourceError, match=r"gone\.png"):
            await fetch(found, one)


@BOTH
async def test_a_cancelled_attempt_leaves_no_file(root, kind):
    slow = replace(FAST, latency_s=30)
    async with fetcher(root, kind, sandbox=slow) as (found, server), anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, found, small("a"))
        await is_asked(server)
        tasks.cancel_scope.cancel()
    assert os.listdir(root / "images") == []


async def test_attempts_are_spread_over_all_processes(root):
    slow = replace(FAST, latency_s=0.2)
    async with fetcher(root, "processes", count=2, sandbox=slow) as (found, _), anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(fetch, found, small(f"p{number}"))
        await anyio.lowlevel.checkpoint()
        assert [len(child.waiting) for child in found._children] == [3, 3]
    assert len(os.listdir(root / "images")) == 6


async def test_a_killed_process_may_have_been_charged_for_and_the_others_go_on(root):
    async with fetcher(root, "processes", count=2, sandbox=replace(FAST, latency_s=30)) as (found, server):
        replies = []

        async def one():
            replies.append(await fetch(found, small("a")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await is_asked(server)
            busy = next(child for child in found._children if child.waiting)
            os.kill(busy._process.pid, signal.SIGKILL)
        (reply,) = replies
        assert reply.answer.fault is Fault.CUT
        assert reply.answer.possibly_billed
        assert [child.is_alive for child in found._children].count(True) == 1
        (other,) = (child for child in found._children if child is not busy)
        other.kill()
        await until(lambda: not other.is_alive)
        with pytest.raises(ProcessesError, match="has died") as caught:
            await fetch(found, small("b"))
    assert caught.value.exit_code is ExitCode.TEMPORARY
    assert "SIGKILL" in caught.value.cause


async def test_the_key_stands_in_no_command_line_and_no_environment(root):
    async with fetcher(root, "processes", count=1) as (found, _):
        await fetch(found, small("a"))
        process = Path(f"/proc/{found._children[0]._process.pid}")
        seen = {name: (process / name).read_bytes() for name in ("cmdline", "environ")}
    for name in ("cmdline", "environ"):
        assert KEY.encode() not in seen[name]


@pytest.mark.cover_commands
async def test_a_mistake_in_a_process_is_raised_here_without_the_key(root):
    deep = KEY
    for _ in range(300):
        deep = [deep]  # deeper than a request can be written; a check of the jobs file refuses it
    async with fetcher(root, "processes", count=1) as (found, _):
        with pytest.raises(RuntimeError, match="process that fetches") as caught:
            await found.fetch(small("a"), {"prompt": deep})
    assert KEY not in str(caught.value)


async def test_without_an_interpreter_only_one_process_can_be_had(root, monkeypatch):
    monkeypatch.setattr(fetching.sys, "executable", "")
    with pytest.raises(UsageError, match="--processes"):
        async with fetcher(root, "processes", count=2):
            pass


async def test_a_run_with_processes_records_what_one_without_does(tmp_path):
    common = {"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
    jobs = [{"id": f"j{n}", "seed": n + 1, **common} for n in range(20)]
    async with serve(FAST) as sandbox:
        for processes in (1, 2):
            summary = await run_jobs(
                jobs, tmp_path / str(processes), api_key=KEY, base_url=sandbox.base_url, processes=processes
            )
            assert (summary.exit_code, summary.succeeded) == (0, 20)
    found = [
        {
            record["id"]: [(file["path"], file["sha256"]) for file in record["files"]]
            for record in map(json.loads, (tmp_path / str(processes) / "manifest.jsonl").read_text().splitlines())
        }
        for processes in (1, 2)
    ]
    assert found[0] == found[1]


async def test_the_death_of_the_last_process_is_reported_though_nothing_is_under_way(root, children):
    lost = []
    async with fetcher(root, "processes", count=2, on_loss=lost.append) as (found, _):
        await fetch(found, small("a"))
        os.kill(children[0].pid, signal.SIGTERM)  # ignored: the parent decides
        os.kill(children[0].pid, signal.SIGKILL)
        await until(lambda: found._children[0].ended.is_set())
        assert lost == []
        os.kill(children[1].pid, signal.SIGKILL)
        await until(lambda: lost)
    (error,) = lost
    assert str(error) == (
        "every process that fetched images has died (killed by SIGKILL, perhaps for lack of memory); "
        "run the same command again, or without --processes"
    )


@pytest.mark.cover_commands
async def test_processes_that_end_with_the_fetcher_are_not_reported(root, children):
    lost = []
    async with fetcher(root, "processes", count=2, on_loss=lost.append):
        pass
    assert [process.returncode for process in children] == [0, 0]
    assert lost == []


async def test_processes_that_end_before_they_are_ready_have_sent_nothing(root, monkeypatch, tmp_path):
    interpreter(monkeypatch, tmp_path, "exit 3")
    async with fetcher(root, "processes", count=2) as (found, server):
        with pytest.raises(ProcessesError, match=r"\(exit status 3\); run the same command again"):
            await fetch(found, small("a"))
        assert server.stats()["requests"] == 0


async def test_attempts_go_to_a_process_that_has_started(root, monkeypatch, tmp_path):
    python = fetching.sys.executable
    interpreter(monkeypatch, tmp_path, f'mkdir "{tmp_path}/first" 2>/dev/null && exit 3\nexec "{python}" "$@"')
    async with fetcher(root, "processes", count=2) as (found, _), anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(fetch, found, small(f"p{number}"))
    assert len(os.listdir(root / "images")) == 4


async def test_lines_that_an_interpreter_prints_at_its_start_do_no_harm(root, monkeypatch, tmp_path):
    python = fetching.sys.executable
    interpreter(monkeypatch, tmp_path, f'echo Welcome to this machine\nexec "{python}" "$@"')
    async with fetcher(root, "processes") as (found, _):
        assert (await fetch(found, small("a"))).answer.status == 200


async def test_an_interpreter_that_prints_without_end_counts_as_died(root, monkeypatch, tmp_path):
    interpreter(monkeypatch, tmp_path, "exec yes")
    async with fetcher(root, "processes", count=1) as (found, _):
        with pytest.raises(ProcessesError, match="has died"):
            await fetch(found, small("a"))


async def test_a_process_that_cannot_be_started_is_an_error_with_its_reason(root, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching.sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(ProcessesError, match=r"cannot be started .*gone: No such file") as caught:
        async with fetcher(root, "processes"):
            pass
    assert caught.value.exit_code is ExitCode.TEMPORARY


async def test_a_request_that_its_dead_process_has_not_read_is_a_cut_connection(root, children):
    async with fetcher(root, "processes", count=1) as (found, _):
        await fetch(found, small("a"))
        send_all(children, signal.SIGSTOP)
        replies = []

        async def lost():
            replies.append(await found.fetch(small("b"), {"prompt": "p" * 1_000_000}))  # no pipe takes it at once

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lost)
            await until(lambda: found._children[0].waiting)
            send_all(children, signal.SIGKILL)
    assert replies[0].answer.fault is Fault.CUT


@pytest.mark.parametrize("can_be_killed", [True, False], ids=["stopped", "cannot be killed"])
async def test_nobody_waits_for_an_abandoned_process(root, children, monkeypatch, can_be_killed):
    async with fetcher(root, "processes", sandbox=replace(FAST, latency_s=30)) as (found, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch, found, small("a"))
            await is_asked(server)
            send_all(children, signal.SIGSTOP)
            tasks.cancel_scope.cancel()
            if not can_be_killed:
                monkeypatch.setattr(fetching._Child, "kill", lambda self: None)
                monkeypatch.setattr(fetching, "_ENDS_WITHIN_S", 0.01)
            assert found.abandon() == "a process that fetches images does not answer"
        assert not any(child.waiting for child in found._children)
        monkeypatch.undo()
        send_all(children, signal.SIGKILL)


async def test_the_output_of_an_abandoned_process_is_closed(root, children):
    async with fetcher(root, "processes") as (found, _):
        await fetch(found, small("a"))
        found.abandon()
    with pytest.raises(anyio.ClosedResourceError):
        await children[0].stdout.receive()


async def test_an_idle_process_that_does_not_end_is_no_loss(root, children):
    async with fetcher(root, "processes") as (found, _):
        await fetch(found, small("a"))
        send_all(children, signal.SIGSTOP)
        assert found.abandon() is None
        assert not found._images.disk.is_abandoned


async def test_a_process_that_does_not_end_is_killed(root, children, monkeypatch):
    async with fetcher(root, "processes", count=1) as (found, _):
        await fetch(found, small("a"))
        send_all(children, signal.SIGSTOP)
        monkeypatch.setattr(fetching, "_ENDS_WITHIN_S", 0.05)
    assert not found._children[0].is_alive


@pytest.mark.cover_commands
async def test_an_answer_that_comes_in_spite_of_a_cancellation_is_kept(root, monkeypatch):
    send, replies = fetching._Child.send, []

    async def send_others(self, message):
        if not isinstance(message, Cancel):
            await send(self, message)

    monkeypatch.setattr(fetching._Child, "send", send_others)
    async with fetcher(root, "processes", sandbox=replace(FAST, latency_s=0.2)) as (found, server):

        async def one():
            replies.append(await fetch(found, small("a")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await is_asked(server)
            tasks.cancel_scope.cancel()
    assert [reply.answer.status for reply in replies] == [200]


async def test_a_disk_that_does_not_answer_is_named_before_a_process(root):
    answers = threading.Event()
    async with fetcher(root, "processes") as (found, _), anyio.create_task_group() as tasks:
        disk = found._images.disk

        async def wait():
            with pytest.raises(OSError, match="does not answer"):
                await disk.run(answers.wait)

        tasks.start_soon(wait)
        await until(lambda: disk.is_waiting)
        assert found.abandon() == "the disk does not answer"
    answers.set()


@pytest.mark.parametrize(
    ("returncode", "cause"),
    [(0, "exit status 0"), (-signal.SIGSEGV, "killed by SIGSEGV"), (-signal.SIGRTMIN - 1, "killed by signal 35")],
)
def test_the_end_of_a_process_in_words(returncode, cause):
    assert fetching._cause(returncode) == cause


async def test_the_first_process_to_die_is_not_the_last_though_others_have_not_begun(root, monkeypatch):
    lost, start = [], ProcessFetcher._start

    async def start_one(self, number):
        await start(self, number)
        if number == 0:
            self._children[0].kill()
            await self._children[0].ended.wait()

    monkeypatch.setattr(ProcessFetcher, "_start", start_one)
    async with fetcher(root, "processes", count=2, on_loss=lost.append) as (found, _):
        assert (await fetch(found, small("a"))).answer.status == 200
    assert lost == []


JOBS = [
    {"id": f"j{n}", "model": model, "prompt": "p", **size}
    for n in range(12)
    for model, size in [(("venice-sd35", {"width": 64, "height": 64}), ("qwen-image-2", {}))[n % 2]]
]
"""Jobs in two lanes."""


def manifest_of(output):
    return [json.loads(record) for record in (output / "manifest.jsonl").read_text().splitlines()]


@asynccontextmanager
async def a_run(output, sandbox, *, jobs=JOBS, **options):
    """A run in two processes that goes on while the block lasts; its summary is in the list afterwards."""
    summaries = []

    async def run():
        with anyio.fail_after(40):
            options_ = {"base_url": sandbox.base_url, "processes": 2, **options}
            summaries.append(await run_jobs(jobs, output, api_key=KEY, **options_))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield summaries


async def test_a_run_whose_processes_all_die_ends_with_75_and_the_next_one_does_the_rest(tmp_path, children):
    output = tmp_path / "out"
    for _ in range(2):
        async with serve(replace(FAST, latency_s=30)) as sandbox:
            async with a_run(output, sandbox, concurrency=6) as summaries:
                await is_asked(sandbox, 6)
                send_all(children, signal.SIGKILL)
            asked = sandbox.stats()["requests"]
        (summary,) = summaries
        assert (summary.exit_code, summary.pending) == (75, len(JOBS))
        assert summary.reason.startswith("every process that fetched images has died (killed by SIGKILL")
        assert summary.attempts == summary.possibly_billed >= asked  # some were sent to a process that was dying
        assert json.loads((output / "summary.json").read_text())["exit_code"] == 75
        children.clear()
    async with serve(FAST) as sandbox:
        async with a_run(output, sandbox) as summaries:
            pass
        assert sandbox.stats()["images"] == len(JOBS)
    assert (summaries[0].exit_code, summaries[0].succeeded) == (0, len(JOBS))
    assert len(manifest_of(output)) == len(JOBS)


async def test_a_job_that_may_not_be_charged_again_is_recorded_when_the_last_process_dies(tmp_path, children):
    slow, options = replace(FAST, latency_s=30), {"concurrency": 4, "max_paid_attempts": 1}
    async with serve(slow) as sandbox, a_run(tmp_path / "out", sandbox, **options) as summaries:
        await is_asked(sandbox, 4)
        send_all(children, signal.SIGKILL)
    (summary,) = summaries
    assert summary.exit_code == 75
    assert summary.failed >= 4  # more, if some were sent to a process that was dying
    assert summary.pending == len(JOBS) - summary.failed
    assert [record["flags"]["possibly_billed"] for record in manifest_of(tmp_path / "out")] == [True] * summary.failed


async def test_a_run_that_waits_for_its_window_ends_at_once_when_the_last_process_dies(tmp_path, children):
    async with serve(replace(FAST, rpm=2)) as sandbox:
        output = tmp_path / "out"
        async with a_run(output, sandbox) as summaries:
            await until(lambda: (output / "manifest.jsonl").exists() and len(manifest_of(output)) == 4)
            send_all(children, signal.SIGKILL)
    (summary,) = summaries
    assert (summary.exit_code, summary.succeeded, summary.possibly_billed) == (75, 4, 0)


@pytest.mark.parametrize("broken", ["exit 1", None], ids=["ends at once", "does not start"])
async def test_a_run_whose_processes_do_not_start_sends_nothing_and_ends_with_75(tmp_path, monkeypatch, broken):
    async with serve(FAST) as sandbox:
        with monkeypatch.context() as at:
            if broken is None:
                at.setattr(fetching.sys, "executable", str(tmp_path / "gone"))
            else:
                interpreter(at, tmp_path, broken)
            async with a_run(tmp_path / "out", sandbox) as summaries:
                pass
        (summary,) = summaries
        assert (summary.exit_code, summary.pending) == (75, len(JOBS))
        assert (summary.attempts, summary.possibly_billed, summary.cost_usd or 0) == (0, 0, 0)
        assert "--processes" in summary.reason
        assert sandbox.stats()["requests"] == 0
        async with a_run(tmp_path / "out", sandbox) as summaries:
            pass
    assert (summaries[0].exit_code, summaries[0].succeeded) == (0, len(JOBS))


async def test_processes_that_die_after_the_last_job_do_no_harm(tmp_path, children):
    def kill(event):
        if isinstance(event, JobEnded):
            send_all(children, signal.SIGKILL)

    async with serve(FAST) as sandbox, a_run(tmp_path / "out", sandbox, jobs=JOBS[:1], on_event=kill) as summaries:
        pass
    assert (summaries[0].exit_code, summaries[0].reason) == (0, None)


async def test_a_process_that_does_not_answer_is_named_when_the_grace_is_over(tmp_path, children, monkeypatch):
    monkeypatch.setattr("venice_batch.run.sending.DISK_S", 0.05)
    notices = []

    def keep(event):
        if isinstance(event, Notice):
            notices.append(event.text)

    output = tmp_path / "out"
    slow, options = replace(FAST, latency_s=30), {"max_time_s": 3.0, "grace_s": 0.05, "on_event": keep}
    async with serve(slow) as sandbox, a_run(output, sandbox, **options) as summaries:
        await is_asked(sandbox)
        send_all(children, signal.SIGSTOP)
    (summary,) = summaries
    assert (summary.exit_code, summary.pending) == (75, len(JOBS))
    assert summary.possibly_billed == summary.attempts > 0
    assert notices[-1] == (
        f"{output}: a process that fetches images does not answer; "
        "the last files may be missing, and summary.json was not written"
    )


@pytest.mark.parametrize("path", ["s3://bucket/run", "/out"])
async def test_an_error_of_a_process_names_the_folder_or_bucket_as_it_is(root, monkeypatch, path):
    async def refused(self, request):
        return Fetched(1, folder=(path, "is full"))

    async with fetcher(root, "processes") as (found, _):
        monkeypatch.setattr(type(found._children[0]), "ask", refused)
        with pytest.raises(FolderError, match=f"^{path}: is full"):
            await fetch(found, small("a"))
