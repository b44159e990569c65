"""Attempts in this process and in others."""

import json
import os
import signal
from contextlib import asynccontextmanager
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
from venice_batch.errors import FolderError, SourceError, UsageError
from venice_batch.model import Endpoint, Job
from venice_batch.output.images import ImageFolder
from venice_batch.run import fetching
from venice_batch.run.fetching import LocalFetcher, ProcessFetcher
from venice_batch.sandbox import SandboxSettings, serve

FAST = SandboxSettings(rpm=0, latency_s=0, draw="plain", failure_limit=0)
KEY = "sk-0123456789-very-secret"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path


@asynccontextmanager
async def fetcher(root, kind, *, count=2, sandbox=FAST, base_url=None, **folder):
    """A fetcher of that kind and the sandbox that it asks."""
    async with serve(sandbox) as server:
        settings = ApiSettings(base_url=base_url or server.base_url, timeout_s=20)
        images, key, clock = ImageFolder(root, prefix="r", **folder), ApiKey(KEY), SystemClock()
        if kind == "local":
            async with ApiClient(settings, key, clock) as api:
                yield LocalFetcher(api, images), server
        else:
            async with ProcessFetcher(count, settings, key, images, clock) as found:
                yield found, server


def small(prompt, **fields):
    return job(prompt, model="venice-sd35", width=64, height=64, **fields)


async def fetch(found, one):
    with anyio.fail_after(30):
        return await found.fetch(one, one.request)


async def is_asked(server):
    """Return once a request, perhaps of another process, is under way."""
    with anyio.fail_after(20):
        while not server.stats()["in_flight"]:
            await anyio.lowlevel.checkpoint()


BOTH = pytest.mark.parametrize("kind", ["local", "processes"])


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
    async with fetcher(root, "processes", sandbox=slow) as (found, _), anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(fetch, found, small(f"p{number}"))
        await anyio.lowlevel.checkpoint()
        assert [len(child.waiting) for child in found._children] == [3, 3]
    assert len(os.listdir(root / "images")) == 6


async def test_a_killed_process_may_have_been_charged_for_and_the_others_go_on(root):
    async with fetcher(root, "processes", sandbox=replace(FAST, latency_s=30)) as (found, server):
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
        with anyio.fail_after(20):
            while other.is_alive:
                await anyio.lowlevel.checkpoint()
        with pytest.raises(FolderError, match="has died"):
            await fetch(found, small("b"))


async def test_the_key_stands_in_no_command_line_and_no_environment(root):
    async with fetcher(root, "processes", count=1) as (found, _):
        await fetch(found, small("a"))
        process = Path(f"/proc/{found._children[0]._process.pid}")
        seen = {name: (process / name).read_bytes() for name in ("cmdline", "environ")}
    for name in ("cmdline", "environ"):
        assert KEY.encode() not in seen[name]


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
        async with fetcher(root, "processes"):
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
