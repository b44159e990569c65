"""Run the commands of pages that are followed from top to bottom, in one folder, with the shell."""

import base64
import io
import os
import re
import sys
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from PIL import Image

from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.resume import LatestRecords

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parent.parent
SESSIONS = ("tutorial", "sweeps", "resuming", "budget", "comparing", "scores")
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def steps(page):
    """Return the page's commands, each with the output that the page shows."""
    found = []
    end = None
    for match in BLOCK.finditer((ROOT / "docs" / f"{page}.md").read_text()):
        language, block = match.groups()
        if language == "sh":
            found.append((block, []))
        elif found and not match.string[end : match.start()].strip():
            found[-1] = (found[-1][0], block.splitlines())
        end = match.end()
    return [step for step in found if not step[0].startswith("python3 -m venv")]


def masked(line):
    """Return a line without sizes and durations, which vary; counts and prices have to be as shown."""
    return " ".join(re.sub(r"\d+(\.\d+)? (s|ms|B|kB|MB)\b", r"# \2", line).split())


async def run(page, folder, replace=("", "")):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VENICE_BATCH_SANDBOX_LATENCY": "0",
        "VENICE_BATCH_SANDBOX_DRAW": "plain",
    }
    for commands, shown in steps(page):
        command = ["bash", "-e", "-c", "exec 2>&1\n" + commands.replace(*replace)]
        done = await anyio.run_process(command, cwd=folder, env=environment, check=False)
        printed = [masked(line) for line in done.stdout.decode().splitlines()]
        assert done.returncode == 0, (commands, printed)
        left = iter(printed)
        for line in shown:
            # Lines that are not shown may stand between those that are.
            found = line == "…" or any(one.startswith(masked(line)) for one in left)
            assert found, f"{line!r} of {page}.md in {printed}"


@pytest.mark.parametrize("page", SESSIONS)
async def test_the_page_can_be_followed(page, tmp_path):
    await run(page, tmp_path)


async def test_fifty_ideas_become_twelve_finals_in_five_commands(tmp_path):
    """The way that the tutorial shows, with marks made here instead of in the browser."""
    page = (ROOT / "docs/tutorial.md").read_text()
    shown = [line for line in page.splitlines() if line.startswith("venice-batch ") and "output/ideas" in line]
    assert len(shown) == 3
    make, (look, refine, tidy) = "venice-batch ideas.txt --set variants=4", shown
    assert make in page
    assert look.startswith("venice-batch view output/ideas")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VENICE_BATCH_SANDBOX_LATENCY": "0",
        "VENICE_BATCH_SANDBOX_DRAW": "plain",
        "VENICE_BATCH_SANDBOX_RPM": "0",
    }

    async def typed(command):
        done = await anyio.run_process(["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, env=environment)
        return done.stdout.decode()

    ideas = [f"A {what} {where}" for what in ["fox", "gondola", "lion", "bridge", "heron"] for where in "abcdefghij"]
    (tmp_path / "ideas.txt").write_text("".join(f"{idea}\n" for idea in ideas))
    toml = '[defaults]\nmodel = "venice-sd35"\nwidth = 256\nheight = 256\n[run]\nsandbox = true\n'
    (tmp_path / "venice-batch.toml").write_text(toml)
    assert "50 jobs: 50 succeeded; 200 images" in await typed(make)
    root = tmp_path / "output/ideas"
    records = sorted(LatestRecords(root / "manifest.jsonl"), key=lambda record: record.request["prompt"])
    with MarksFile(root) as marks:
        for at, record in enumerate(records):
            for number, file in enumerate(record.files, start=1):
                mark = "picked" if at < 12 and number == 1 + at % 4 else "rejected"
                marks.append([Mark(file.sha256, record.id, number, mark, None, "2026-01-01T00:00:00Z")])
    assert "12 jobs: 12 succeeded" in await typed(refine)
    # A name begins with the number of its idea's line.
    finals = sorted((path.name for path in (tmp_path / "output/stdin/images").iterdir()), key=lambda name: name[5:])
    assert len(finals) == 12
    for name, record in zip(finals, records[:12], strict=True):
        assert record.request["prompt"].lower().replace(" ", "-") in name
    assert "12 done before" in await typed(refine)
    assert "moved 188 rejected images" in await typed(tidy)
    assert "0 succeeded, 50 done before" in await typed(make)


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


async def test_the_page_on_other_servers_works_with_one_that_has_only_the_endpoint(tmp_path):
    asked = []

    async def generate(request):
        asked.append((request.headers["Authorization"], await request.json()))
        headers = {"x-ratelimit-limit-requests": "50", "x-ratelimit-reset-requests": "1m23s"}
        left = {"x-ratelimit-remaining-requests": str(50 - len(asked))}
        return web.json_response({"created": 1, "data": [{"b64_json": picture()}]}, headers={**headers, **left})

    app = web.Application()
    app.router.add_post("/v1/images/generations", generate)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        await run("openai-servers", tmp_path, ("http://localhost:8080", address))
    finally:
        await runner.cleanup()
    body = {"model": "sdxl", "size": "1024x1024", "response_format": "b64_json"}
    assert sorted(asked, key=lambda one: one[1]["prompt"]) == [
        ("Bearer none", {**body, "prompt": "A bridge"}),
        ("Bearer none", {**body, "prompt": "A lagoon"}),
    ]
    assert {path.name for path in (tmp_path / "output/jobs/images").iterdir()} == {"bridge.png", "lagoon.png"}
