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

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parent.parent
SESSIONS = ("tutorial", "sweeps", "resuming", "budget")
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
