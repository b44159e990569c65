"""HTTP server of the sandbox."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from venice_batch.sandbox import generate, listings
from venice_batch.sandbox.admission import Admission
from venice_batch.sandbox.catalogue import shipped, shipped_edits
from venice_batch.sandbox.edit import REMOVER_ID, EditReader
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.handler import PaidRequestHandler, error_response, json_response, key_of
from venice_batch.sandbox.limits import Bucket
from venice_batch.sandbox.renderer import Renderer
from venice_batch.sandbox.request_body import JSON_BYTES, BodyReader, is_loopback
from venice_batch.sandbox.stats import Stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from venice_batch.sandbox.request import EditRequest, GenerateRequest, Operation
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.settings import SandboxSettings

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = "sandbox"
OPERATIONS: tuple[Operation, ...] = ("upscale", "edit", "multi-edit", "background-remove")


class Sandbox:
    """One running sandbox; give a client its `base_url` instead of the API's."""

    def __init__(self, settings: SandboxSettings, clock: Callable[[], float]) -> None:
        self.base_url = ""
        self._settings = settings
        self._clock = clock
        self._random = random.Random()
        self._models, self._edit_models = shipped(), shipped_edits()
        self._stats = Stats(clock())
        self._admission = Admission(settings, self._stats)
        self._bodies = BodyReader(old=settings.is_old)
        self._renderer = Renderer(settings, self._random)
        self._paid = PaidRequestHandler(settings, self._admission, self._stats, self._renderer, clock, self._random)
        self._edits = EditReader(self._edit_models, settings, self._renderer.open_image)

    def stats(self) -> dict[str, Any]:
        """Return a snapshot of all counters, as GET /sandbox/stats does."""
        return self._stats.snapshot(self._admission.ledger.charged_usd)

    def close(self) -> None:
        """Wait for images that are being drawn; drop the rest."""
        self._renderer.close()

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
        for operation in OPERATIONS:
            app.router.add_post(f"{api}/image/{operation}", self._edit(operation))
        for path, listing in self._listings().items():
            app.router.add_get(f"{api}{path}", self._public(listing))
        for path, private in self._private_listings().items():
            app.router.add_get(f"{api}{path}", self._private(private))
        return app

    def _listings(self) -> Mapping[str, Callable[[str], object]]:
        """Return the listings that need no key, by path, as functions of the type of model."""
        models, edit_models = self._models, self._edit_models
        entries = [
            entry for entry in (*models.entries, *edit_models.entries) if entry["id"] not in self._settings.retired
        ]
        deprecated = self._settings.deprecated
        traits = {"image": models.traits, "inpaint": edit_models.traits}
        return {
            "/image/styles": lambda _: listings.styles(self._settings),
            "/models": lambda kind: listings.models(entries, kind, deprecated, self._clock()),
            "/models/traits": lambda kind: listings.names(traits, kind),
            "/models/compatibility_mapping": lambda kind: listings.names({"image": models.compatibility}, kind),
        }

    def _private_listings(self) -> Mapping[str, Callable[[str, Mapping[str, str]], object]]:
        """Return the listings that need a key, by path, as functions of the key and the query."""
        ledger = self._admission.ledger
        listed = (*self._models.models, *(entry["id"] for entry in self._edit_models.entries), REMOVER_ID)
        ids = [model_id for model_id in listed if model_id not in self._settings.retired]
        return {
            "/api_keys/rate_limits": lambda key, _: listings.rate_limits(
                self._settings, ids, ledger.spendable(key), self._clock()
            ),
            "/billing/balance": lambda *_: listings.balance(ledger),
            "/billing/usage-history": lambda _, query: listings.usage_history(
                self._settings, tuple(ledger.history), query
            ),
        }

    async def _welcome(self, _: web.Request) -> web.Response:
        return web.Response(text=listings.WELCOME)

    async def _get_stats(self, _: web.Request) -> web.Response:
        return json_response(self.stats())

    async def _reset(self, http: web.Request) -> web.Response:
        # A browser names the page that sends the request; other programs send no Origin.
        origin = http.headers.get("Origin")
        if origin is not None and origin != f"http://{http.host}":
            return json_response({"error": "a page of another origin cannot reset the sandbox"}, status=403)
        self._stats.reset()
        self._admission.reset()
        return json_response(self.stats())

    def _public(self, listing: Callable[[str], object]) -> Handler:
        async def serve(http: web.Request) -> web.Response:
            self._stats.count("other_requests")
            body = listing(http.query.get("type", listings.DEFAULT_TYPE))
            return await self._paid.compressed(http, orjson.dumps(body), {})

        return serve

    def _private(self, listing: Callable[[str, Mapping[str, str]], object]) -> Handler:
        async def serve(http: web.Request) -> web.Response:
            self._stats.count("other_requests")
            key, now = key_of(http), self._clock()
            body = self._admission.check_key(key, now) or listing(key or "", http.query)
            headers = self._admission.budget_headers(Bucket(key), now) if key and self._admission.knows(key) else {}
            if isinstance(body, ErrorAnswer):
                return error_response(body, headers, openai=False)
            return await self._paid.compressed(http, orjson.dumps(body), headers)

        return serve

    async def _generate(self, http: web.Request) -> web.StreamResponse:
        return await self._paid.serve(http, self._bodies.read_json, self._read_native)

    async def _generate_as_openai(self, http: web.Request) -> web.StreamResponse:
        openai = self._settings.openai_errors == "openai"
        return await self._paid.serve(http, self._bodies.read_json, self._read_openai, openai=openai)

    def _edit(self, operation: Operation) -> Handler:
        async def read(body: Body) -> EditRequest | ErrorAnswer:
            return await self._edits.read(operation, body)

        async def serve(http: web.Request) -> web.StreamResponse:
            return await self._paid.serve(http, self._bodies.read_form_or_json, read)

        return serve

    async def _read_native(self, body: Body) -> GenerateRequest | ErrorAnswer:
        return generate.read_native(body.value, self._models, self._settings)

    async def _read_openai(self, body: Body) -> GenerateRequest | ErrorAnswer:
        return generate.read_openai(body.value, self._models, self._settings)

    @web.middleware
    async def _errors_as_json(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as problem:
            kept = {"Allow": problem.headers["Allow"]} if "Allow" in problem.headers else {}
            return json_response({"error": problem.reason}, status=problem.status, headers=kept)
        except ConnectionError:
            # The client left in the middle of its request: nobody reads this answer, and the server is not at fault.
            return json_response({"error": "the request is incomplete"}, status=400)
        return response

    async def _sign(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "venice-batch-sandbox"
        response.headers["x-venice-sandbox"] = "true"
        response.headers["x-venice-version"] = VERSION
        response.headers["CF-RAY"] = f"{self._random.getrandbits(64):016x}-FRA"


def open_sandbox(
    settings: SandboxSettings, *, port: int, host: str, clock: Callable[[], float]
) -> AbstractAsyncContextManager[Sandbox]:
    """Return a context manager that serves a sandbox while it is entered; see `venice_batch.sandbox.serve`."""
    if not is_loopback(host):
        # The sandbox has no real authentication.
        raise ValueError(f"the sandbox serves on loopback addresses only, not on {host!r}")
    return _serving(settings, port=port, host=host, clock=clock)


@asynccontextmanager
async def _serving(
    settings: SandboxSettings, *, port: int, host: str, clock: Callable[[], float]
) -> AsyncIterator[Sandbox]:
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
