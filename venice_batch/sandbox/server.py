"""HTTP server of the sandbox."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from venice_batch.sandbox import (
    answer,
    catalogue,
    compression,
    fault_script,
    native_request,
    openai_request,
    pages,
)
from venice_batch.sandbox.desk import Desk, Ticket
from venice_batch.sandbox.order import Order
from venice_batch.sandbox.picture import draw
from venice_batch.sandbox.refusal import Refusal
from venice_batch.sandbox.sketch import Sketch, sketches
from venice_batch.sandbox.stats import Stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from venice_batch.sandbox.settings import SandboxSettings

MAX_BODY_BYTES = 32 * 1024 * 1024
DRAWING_THREADS = 2
CACHED_PICTURES = 32
VERSION = "sandbox"
_POLL_S = 0.02
_SEEDS = 999_999_999


def require_loopback(host: str) -> None:
    """Raises: ValueError unless `host` is localhost or a loopback address: the sandbox has no real
    authentication.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"the sandbox serves on loopback addresses only, not on {host!r}")


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
        self._threads = ThreadPoolExecutor(DRAWING_THREADS, thread_name_prefix="sandbox-draw")
        self._draw: Callable[[Sketch], bytes] = functools.lru_cache(CACHED_PICTURES)(draw)

    def stats(self) -> dict[str, Any]:
        """Return a snapshot of all counters, the same as GET /sandbox/stats."""
        return self._stats.snapshot(self._desk.ledger.charged_usd)

    def close(self) -> None:
        """Wait for pictures that are being drawn, drop those that are not begun."""
        self._threads.shutdown(cancel_futures=True)

    def application(self) -> web.Application:
        """Return the aiohttp application with all routes."""
        app = web.Application(middlewares=[self._errors_as_json], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(self._sign)
        app.router.add_get("/", self._welcome)
        app.router.add_get("/sandbox/stats", self._get_stats)
        app.router.add_post("/sandbox/reset", self._reset)
        api = "/api/v1"
        app.router.add_post(f"{api}/image/generate", self._generate)
        app.router.add_post(f"{api}/images/generations", self._generate)
        for path, page in self._pages().items():
            app.router.add_get(f"{api}{path}", self._reader(page))
        for path, page in self._private_pages().items():
            app.router.add_get(f"{api}{path}", self._reader(page, private=True))
        return app

    def _pages(self) -> Mapping[str, Callable[[str], object]]:
        listed = self._catalogue
        return {
            "/image/styles": lambda _: pages.styles(self._settings),
            "/models": lambda kind: pages.models(listed, kind),
            "/models/traits": lambda kind: pages.names(listed.traits, kind),
            "/models/compatibility_mapping": lambda kind: pages.names(listed.compatibility, kind),
        }

    def _private_pages(self) -> Mapping[str, Callable[[str], object]]:
        money = self._desk.ledger
        return {
            "/api_keys/rate_limits": lambda _: pages.rate_limits(
                self._settings, self._catalogue, money.balance_usd, self._clock()
            ),
            "/billing/balance": lambda _: pages.balance(money.balance_usd),
        }

    async def _welcome(self, _: web.Request) -> web.Response:
        return web.Response(text=pages.WELCOME)

    async def _get_stats(self, _: web.Request) -> web.Response:
        return _json(self.stats())

    async def _reset(self, _: web.Request) -> web.Response:
        self._stats.reset()
        self._desk.reset()
        return _json(self.stats())

    def _reader(self, page: Callable[[str], object], *, private: bool = False) -> Callable[[web.Request], Any]:
        async def read(request: web.Request) -> web.Response:
            self._stats.count("other_requests")
            refused = self._desk.knock(_key(request), self._clock()) if private else None
            body = refused or page(request.query.get("type", "text"))
            if isinstance(body, Refusal):
                return _json(body.native(), status=body.status, headers=body.headers)
            return await self._compressed(request, orjson.dumps(body), {})

        return read

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        openai = request.path.endswith("/images/generations")
        key = _key(request)
        self._stats.arrived(self._clock())
        try:
            response = await self._answer(request, key, openai=openai)
            if not 200 <= response.status < 300:
                self._stats.count("failed")
            return response
        finally:
            self._stats.left(self._clock())

    async def _answer(self, request: web.Request, key: str | None, *, openai: bool) -> web.StreamResponse:
        refused = self._desk.knock(key, self._clock())
        if refused:
            return self._refuse(refused, openai=openai)
        order = await self._read(request, openai=openai)
        entry = order if isinstance(order, Refusal) else self._desk.admit(order, self._clock())
        headers: dict[str, str] = {}
        if isinstance(order, Order):
            headers = {"x-venice-model-id": order.model.id, **self._desk.headers(order.model.id, self._clock())}
        if isinstance(entry, Refusal):
            self._desk.record_failure(key, self._clock())
            return self._refuse(entry, headers, openai=openai)
        headers["x-venice-balance-usd"] = f"{entry.balance_before_usd:.6f}".rstrip("0").rstrip(".")
        headers["x-venice-balance-diem"] = "0"
        charged = False
        try:
            response = await self._serve(request, entry, headers, openai=openai)
            charged = response.status == fault_script.CHARGED_STATUS and entry.fault != "reset-before"
        finally:
            self._desk.settle(entry, charged=charged)
        if response.status >= 300:
            self._desk.record_failure(key, self._clock())
        return response

    async def _read(self, request: web.Request, *, openai: bool) -> Order | Refusal:
        if request.content_type != "application/json":
            return Refusal(415, "Invalid content type. Send JSON with Content-Type: application/json")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return Refusal(400, "Invalid JSON in request body")
        except web.HTTPRequestEntityTooLarge:
            return Refusal(413, "Request body too large")
        if openai:
            return openai_request.read(body, self._catalogue)
        return native_request.read(body, self._catalogue)

    async def _serve(
        self, request: web.Request, ticket: Ticket, headers: dict[str, str], *, openai: bool
    ) -> web.StreamResponse:
        fault = ticket.fault
        self._stats.count("faults", by=bool(fault))
        if fault.isdigit() and not fault_script.from_gateway(int(fault)):
            refusal = fault_script.status_refusal(int(fault), self._settings.retry_after_503_s)
            return self._refuse(refusal, headers, openai=openai)
        if fault and fault not in fault_script.NEEDS_ANSWER:
            elsewhere = self._settings.redirect_to or "http://localhost:9/api/v1/image/generate"
            return await self._play(request, fault_script.bare(fault, elsewhere, self._random), headers)
        body = await self._draw_all(ticket)
        headers |= answer.headers(ticket, self._settings.deprecated)
        if fault:
            if fault == "slow":
                self._succeeded(ticket)
            is_json = ticket.order.delivery != "binary"
            headers["Content-Type"] = "application/json" if is_json else f"image/{ticket.order.format}"
            return await self._play(request, fault_script.spoil(fault, body, headers, is_json=is_json), headers)
        self._succeeded(ticket)
        if ticket.order.delivery == "binary":
            return web.Response(body=body, content_type=f"image/{ticket.order.format}", headers=headers)
        return await self._compressed(request, body, headers)

    def _succeeded(self, ticket: Ticket) -> None:
        self._stats.count("succeeded", ticket.order.model.id)
        self._stats.count("images", by=ticket.order.variants)

    async def _draw_all(self, ticket: Ticket) -> bytes:
        settings, order = self._settings, ticket.order
        started = time.monotonic()
        spread = self._random.uniform(-settings.latency_jitter, settings.latency_jitter)
        seed = self._random.randrange(_SEEDS) if order.seed is None else order.seed
        loop = asyncio.get_running_loop()
        images = [
            await loop.run_in_executor(self._threads, self._draw, sketch)
            for sketch in sketches(order, seed, settings.draw, adult=ticket.adult)
        ]
        # Drawing is part of the pretended inference, not added to it.
        rest_s = settings.latency_s * (1 + spread) / settings.speed - (time.monotonic() - started)
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        if order.delivery == "binary":
            return images[0]
        if order.delivery == "json":
            timing = answer.timing_ms(0.002, 0.001, time.monotonic() - started)
            return answer.native_json(order, images, timing, self._random)
        return answer.openai_json(order, images, int(self._clock()))

    async def _compressed(self, request: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
        encoding = compression.choose(request.headers.get("Accept-Encoding", "")) if self._settings.compress else ""
        if encoding and len(body) >= compression.WORTHWHILE_BYTES:
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(self._threads, compression.compress, body, encoding)
            headers = {**headers, "Content-Encoding": encoding, "Vary": "Accept-Encoding"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    def _refuse(self, refusal: Refusal, headers: Mapping[str, str] | None = None, *, openai: bool) -> web.Response:
        body = refusal.openai() if openai else refusal.native()
        return _json(body, status=refusal.status, headers={**(headers or {}), **refusal.headers})

    async def _play(
        self, request: web.Request, script: fault_script.Script, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=script.status or 200, headers={**headers, **script.headers})
        if script.declared_bytes is not None:
            response.content_length = script.declared_bytes
        try:
            if script.status:
                await response.prepare(request)
            for chunk in script.chunks:
                await response.write(chunk)
                if script.spread:
                    await asyncio.sleep(self._settings.stall_s / fault_script.SLOW_PIECES)
            if script.ending == "hold":
                await self._hold(request)
            if script.ending == "whole":
                await response.write_eof()
        except ConnectionError:
            # The client has left: that is what most of these faults provoke.
            return response
        if script.ending != "whole":
            _hang_up(request, abruptly=script.ending == "abort")
        return response

    async def _hold(self, request: web.Request) -> None:
        for _ in range(int(self._settings.stall_s / _POLL_S)):
            if request.transport is None or request.transport.is_closing():
                return
            await asyncio.sleep(_POLL_S)

    @web.middleware
    async def _errors_as_json(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as problem:
            kept = {"Allow": problem.headers["Allow"]} if "Allow" in problem.headers else {}
            return _json({"error": problem.reason}, status=problem.status, headers=kept)
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


def _key(request: web.Request) -> str | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _json(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def _hang_up(request: web.Request, *, abruptly: bool) -> None:
    if request.transport is None:
        return
    if not abruptly:
        request.transport.close()
        return
    raw = request.transport.get_extra_info("socket")
    if raw is not None:
        # Without lingering the kernel sends a reset, as a broken peer would, not an orderly end.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
