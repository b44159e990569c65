"""HTTP server of the sandbox."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from venice_batch.sandbox import catalogue, openai_request
from venice_batch.sandbox import generate as native_request
from venice_batch.sandbox import listings as pages
from venice_batch.sandbox.admission import Desk
from venice_batch.sandbox.edit import REMOVER_ID, RetouchReader
from venice_batch.sandbox.error_budget import Bucket
from venice_batch.sandbox.errors import Refusal
from venice_batch.sandbox.handler import Till, json_response, key_of
from venice_batch.sandbox.renderer import Studio
from venice_batch.sandbox.request_body import JSON_BYTES, Intake
from venice_batch.sandbox.retouch_catalogue import shipped_retouch
from venice_batch.sandbox.stats import Stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from venice_batch.sandbox.request import Order
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.retouch import Kind, Retouch
    from venice_batch.sandbox.settings import SandboxSettings

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = "sandbox"
RETOUCHES: tuple[Kind, ...] = ("upscale", "edit", "multi-edit", "background-remove")


class Sandbox:
    """One running sandbox: `base_url` is what a client takes instead of the API's."""

    def __init__(self, settings: SandboxSettings, clock: Callable[[], float]) -> None:
        self.base_url = ""
        self._settings = settings
        self._clock = clock
        self._random = random.Random()
        self._catalogue = catalogue.shipped()
        self._stats = Stats(clock())
        self._desk = Desk(settings, self._stats)
        self._intake = Intake(old=settings.is_old)
        self._studio = Studio(settings, self._random)
        self._till = Till(settings, self._desk, self._stats, self._studio, clock, self._random)
        self._retouching = shipped_retouch()
        self._retouches = RetouchReader(self._retouching, settings, self._studio.open_image)

    def stats(self) -> dict[str, Any]:
        """Return a snapshot of all counters, the same as GET /sandbox/stats."""
        return self._stats.snapshot(self._desk.ledger.charged_usd)

    def close(self) -> None:
        """Wait for pictures that are being drawn, drop those that are not begun."""
        self._studio.close()

    def application(self) -> web.Application:
        """Return the aiohttp application with all routes."""
        app = web.Application(middlewares=[self._errors_as_json], client_max_size=JSON_BYTES)
        app.on_response_prepare.append(self._sign)
        app.router.add_get("/", self._welcome)
        app.router.add_get("/sandbox/stats", self._get_stats)
        app.router.add_post("/sandbox/reset", self._reset)
        api = "/api/v1"
        app.router.add_post(f"{api}/image/generate", self._generate)
        app.router.add_post(f"{api}/images/generations", self._generate_as_openai)
        for kind in RETOUCHES:
            app.router.add_post(f"{api}/image/{kind}", self._retouch(kind))
        for path, page in self._pages().items():
            app.router.add_get(f"{api}{path}", self._reader(page))
        for path, page in self._private_pages().items():
            app.router.add_get(f"{api}{path}", self._private_reader(page))
        return app

    def _pages(self) -> Mapping[str, Callable[[str], object]]:
        listed, retouching = self._catalogue, self._retouching
        entries = [
            entry for entry in (*listed.entries, *retouching.entries) if entry["id"] not in self._settings.retired
        ]
        deprecated = self._settings.deprecated
        traits = {"image": listed.traits, "inpaint": retouching.traits}
        return {
            "/image/styles": lambda _: pages.styles(self._settings),
            "/models": lambda kind: pages.models(entries, kind, deprecated, self._clock()),
            "/models/traits": lambda kind: pages.names(traits, kind),
            "/models/compatibility_mapping": lambda kind: pages.names({"image": listed.compatibility}, kind),
        }

    def _private_pages(self) -> Mapping[str, Callable[[str], object]]:
        """Return the pages that need a key, as functions of it."""
        money = self._desk.ledger
        listed = (*self._catalogue.models, *(entry["id"] for entry in self._retouching.entries), REMOVER_ID)
        ids = [model_id for model_id in listed if model_id not in self._settings.retired]
        return {
            "/api_keys/rate_limits": lambda key: pages.rate_limits(
                self._settings, ids, money.spendable(key), self._clock()
            ),
            "/billing/balance": lambda _: pages.balance(money),
        }

    async def _welcome(self, _: web.Request) -> web.Response:
        return web.Response(text=pages.WELCOME)

    async def _get_stats(self, _: web.Request) -> web.Response:
        return json_response(self.stats())

    async def _reset(self, request: web.Request) -> web.Response:
        # A browser names the page that asks; other programs name none.
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            return json_response({"error": "asked for by a page of another origin"}, status=403)
        self._stats.reset()
        self._desk.reset()
        return json_response(self.stats())

    def _reader(self, page: Callable[[str], object]) -> Handler:
        async def read(request: web.Request) -> web.Response:
            self._stats.count("other_requests")
            body = page(request.query.get("type", pages.DEFAULT_TYPE))
            return await self._till.compressed(request, orjson.dumps(body), {})

        return read

    def _private_reader(self, page: Callable[[str], object]) -> Handler:
        async def read(request: web.Request) -> web.Response:
            self._stats.count("other_requests")
            key, now = key_of(request), self._clock()
            body = self._desk.knock(key, now) or page(key or "")
            headers = self._desk.budget_headers(Bucket(key), now) if key and self._desk.knows(key) else {}
            if isinstance(body, Refusal):
                return json_response(body.native(), status=body.status, headers={**headers, **body.headers})
            return await self._till.compressed(request, orjson.dumps(body), headers)

        return read

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        return await self._till.serve(request, self._intake.read_json, self._read_native)

    async def _generate_as_openai(self, request: web.Request) -> web.StreamResponse:
        openai = self._settings.openai_errors == "openai"
        return await self._till.serve(request, self._intake.read_json, self._read_openai, openai=openai)

    def _retouch(self, kind: Kind) -> Handler:
        async def read(body: Body) -> Retouch | Refusal:
            return await self._retouches.read(kind, body)

        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._till.serve(request, self._intake.read_form_or_json, read)

        return serve

    async def _read_native(self, body: Body) -> Order | Refusal:
        return native_request.read(body.value, self._catalogue, self._settings)

    async def _read_openai(self, body: Body) -> Order | Refusal:
        return openai_request.read(body.value, self._catalogue, self._settings)

    @web.middleware
    async def _errors_as_json(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as problem:
            kept = {"Allow": problem.headers["Allow"]} if "Allow" in problem.headers else {}
            return json_response({"error": problem.reason}, status=problem.status, headers=kept)
        except ConnectionError:
            # The client left while it was sending: nobody reads the answer, and it is no fault of the server.
            return json_response({"error": "the request was not sent to its end"}, status=400)
        return response

    async def _sign(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "venice-batch-sandbox"
        response.headers["x-venice-sandbox"] = "true"
        response.headers["x-venice-version"] = VERSION
        response.headers["CF-RAY"] = f"{self._random.getrandbits(64):016x}-FRA"


@asynccontextmanager
async def open_sandbox(
    settings: SandboxSettings, *, port: int, host: str, clock: Callable[[], float]
) -> AsyncIterator[Sandbox]:
    """Serve a sandbox until the context is left; see `venice_batch.sandbox.serve`."""
    sandbox = Sandbox(settings, clock)
    runner = web.AppRunner(sandbox.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        name = f"[{host}]" if ":" in host else host
        sandbox.base_url = f"http://{name}:{runner.addresses[0][1]}/api/v1"
        yield sandbox
    finally:
        await runner.cleanup()
        sandbox.close()
