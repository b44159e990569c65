"""A sandbox for each test, its client, and a clock that only the test moves."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest

from venice_batch.sandbox import SandboxSettings, serve

START = 1_800_000_000.25


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    status: int
    headers: "aiohttp.typedefs.LooseHeaders"
    body: bytes
    json: object


class Api:
    """One sandbox with an HTTP session to it."""

    def __init__(self, sandbox, session, clock):
        self.sandbox, self.session, self.clock = sandbox, session, clock
        self.url = sandbox.base_url

    async def post(self, body=None, path="/image/generate", key="k", raw=None, headers=None):
        auth = {"Authorization": f"Bearer {key}"} if key else {}
        sent = {"json": body} if raw is None else {"data": raw}
        async with self.session.post(
            self.url + path, **sent, headers={**auth, **(headers or {})}, allow_redirects=False
        ) as response:
            return await self._answer(response)

    async def get(self, path, key="k", headers=None):
        auth = {"Authorization": f"Bearer {key}"} if key else {}
        url = path if path.startswith("http") else self.url + path
        async with self.session.get(url, headers={**auth, **(headers or {})}) as response:
            return await self._answer(response)

    async def _answer(self, response):
        body = await response.read()
        is_json = response.content_type == "application/json"
        try:
            parsed = await response.json() if is_json and body else None
        except ValueError:
            parsed = None
        return Answer(response.status, response.headers, body, parsed)


@pytest.fixture
def native():
    """The smallest native request, with changes."""
    return lambda **changes: {
        "model": "venice-sd35",
        "prompt": "a canal",
        "width": 64,
        "height": 64,
        "seed": 1,
        **changes,
    }


@pytest.fixture
async def start():
    """Start sandboxes: `api = await start(rpm=3)`; they are fast by default."""
    async with AsyncExitStack() as stack:

        async def run(**settings):
            clock = Clock()
            fast = {"latency_s": 0.0, "draw": "plain", "rpm": 0, **settings}
            sandbox = await stack.enter_async_context(serve(SandboxSettings(**fast), clock=clock))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Api(sandbox, session, clock)

        yield run
