"""The way of one paid request, from its key to its answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from venice_batch.sandbox import answer, compression, deprecation, error_budget, faults
from venice_batch.sandbox.errors import Refusal
from venice_batch.sandbox.fault_player import play
from venice_batch.sandbox.retouch import Retouch

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

    from venice_batch.sandbox.admission import Desk, Ticket, Work
    from venice_batch.sandbox.renderer import Studio
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.settings import SandboxSettings
    from venice_batch.sandbox.stats import Stats

    Take = Callable[[web.Request], Awaitable[Body | Refusal]]
    Reader = Callable[[Body], Awaitable[Work | Refusal]]


class Till:
    """Serves every endpoint that costs money: admission, faults, pretended inference, charge."""

    def __init__(
        self,
        settings: SandboxSettings,
        desk: Desk,
        stats: Stats,
        studio: Studio,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._settings, self._desk, self._stats, self._studio = settings, desk, stats, studio
        self._clock, self._random = clock, rng

    async def serve(
        self, request: web.Request, take: Take, read: Reader, *, openai: bool = False
    ) -> web.StreamResponse:
        """Answer a request: `take` returns its body, `read` the order in it; `openai` gives errors OpenAI's shape."""
        self._stats.arrived(self._clock())
        try:
            response = await self._answer(request, take, read, openai=openai)
            if not 200 <= response.status < 300:
                self._stats.count("failed")
            return response
        finally:
            self._stats.left(self._clock())

    async def compressed(self, request: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
        """Return a JSON answer in the encoding that the client asks for."""
        accepted = request.headers.get("Accept-Encoding", "") if self._settings.compress else ""
        encoding = compression.choose(accepted) if len(body) >= compression.WORTHWHILE_BYTES else ""
        if encoding:
            body = await self._studio.compress(body, encoding)
            headers = {**headers, "Content-Encoding": encoding, "Vary": "Accept-Encoding"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _answer(self, request: web.Request, take: Take, read: Reader, *, openai: bool) -> web.StreamResponse:
        key = key_of(request)
        refused = self._desk.knock(key, self._clock())
        if refused:
            return _refuse(refused, openai=openai)
        body = await take(request)
        bucket = error_budget.bucket_of(key or "", None if isinstance(body, Refusal) else body)
        order = body if isinstance(body, Refusal) else self._desk.blocked(bucket, self._clock()) or await read(body)
        headers: dict[str, str] = {}
        if isinstance(order, Refusal):
            entry: Ticket | Refusal = order
        else:
            now = self._clock()
            entry = self._desk.admit(order, now, key or "")
            headers = {"x-venice-model-id": order.model_id, **self._desk.headers(order.model_id, now)}
        if isinstance(entry, Refusal):
            if entry.counted:
                self._desk.record_failure(bucket, entry.status, self._clock())
            headers |= self._desk.budget_headers(bucket, self._clock())
            return _refuse(entry, headers, openai=openai)
        headers |= self._desk.budget_headers(bucket, self._clock())
        headers["x-venice-balance-usd"] = _amount(entry.balance_before_usd)
        headers["x-venice-balance-diem"] = _amount(entry.diem_before)
        charged = False
        try:
            response = await self._work(request, entry, headers, openai=openai)
            charged = response.status == faults.CHARGED_STATUS and entry.fault != "reset-before"
        finally:
            self._desk.settle(entry, charged=charged)
        if response.status >= 300:
            self._desk.record_failure(bucket, response.status, self._clock())
            if not response.prepared:
                response.headers.update(self._desk.budget_headers(bucket, self._clock()))
        return response

    async def _work(
        self, request: web.Request, ticket: Ticket, headers: dict[str, str], *, openai: bool
    ) -> web.StreamResponse:
        fault, order = ticket.fault, ticket.order
        self._stats.count("faults", by=bool(fault))
        if fault.isdigit() and not faults.from_gateway(int(fault)):
            refusal = faults.status_refusal(int(fault), self._settings.retry_after_503_s)
            return _refuse(refusal, headers, openai=openai)
        if fault and fault not in faults.NEEDS_ANSWER:
            elsewhere = self._settings.redirect_to or f"http://localhost:9{request.path}"
            script = faults.bare(fault, elsewhere, self._random)
            return await play(request, script, headers, self._settings.stall_s)
        body = await self._body(ticket)
        headers |= answer.headers(ticket)
        headers |= deprecation.headers(order.model_id, self._settings.deprecated, self._clock())
        is_json = order.delivery != "binary"
        if fault:
            if fault == "slow":
                self._succeeded(ticket)
            headers["Content-Type"] = "application/json" if is_json else f"image/{ticket.format}"
            script = faults.spoil(fault, body, headers, is_json=is_json)
            return await play(request, script, headers, self._settings.stall_s)
        self._succeeded(ticket)
        if not is_json:
            return web.Response(body=body, content_type=f"image/{ticket.format}", headers=headers)
        return await self.compressed(request, body, headers)

    def _succeeded(self, ticket: Ticket) -> None:
        if ticket.violation:
            self._stats.count("violations")
        if not ticket.withheld:
            self._stats.count("succeeded", ticket.order.model_id)
            self._stats.count("images", by=ticket.order.variants)

    async def _body(self, ticket: Ticket) -> bytes:
        settings, order = self._settings, ticket.order
        started = time.monotonic()
        spread = self._random.uniform(-settings.latency_jitter, settings.latency_jitter)
        images = await self._studio.pictures(ticket)
        # Drawing is part of the pretended inference, not added to it.
        rest_s = settings.latency_of(order.model_id) * (1 + spread) / settings.speed - (time.monotonic() - started)
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        if isinstance(order, Retouch) or order.delivery == "binary":
            return images[0]
        if order.delivery == "json":
            timing = answer.timing_ms(0.002, 0.001, time.monotonic() - started)
            return answer.native_json(order, images, timing, self._random)
        return answer.openai_json(order, images, int(self._clock()), ticket.format)


def key_of(request: web.Request) -> str | None:
    """Return the bearer key of a request: None without an Authorization header, "" if the header has no key."""
    if "Authorization" not in request.headers:
        return None
    scheme, _, key = request.headers["Authorization"].partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer that is never compressed."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def _amount(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _refuse(refusal: Refusal, headers: Mapping[str, str] | None = None, *, openai: bool) -> web.Response:
    body = refusal.openai() if openai else refusal.native()
    return json_response(body, status=refusal.status, headers={**(headers or {}), **refusal.headers})
