"""Serve one paid request, from its key to its answer."""

from __future__ import annotations

import asyncio
import binascii
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from aiohttp import web

from venice_batch.sandbox import faults, limits
from venice_batch.sandbox.catalogue import deprecation_headers
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.renderer import WORTHWHILE_BYTES, choose_encoding
from venice_batch.sandbox.request import EditRequest

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from venice_batch.sandbox.admission import Admission, AdmittedRequest
    from venice_batch.sandbox.renderer import Renderer
    from venice_batch.sandbox.request import Format, GenerateRequest, ImageRequest
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.settings import SandboxSettings
    from venice_batch.sandbox.stats import Stats

    ReadBody = Callable[[web.Request], Awaitable[Body | ErrorAnswer]]
    ReadRequest = Callable[[Body], Awaitable[ImageRequest | ErrorAnswer]]


class PaidRequestHandler:
    """Serves every endpoint that costs money: admission, faults, simulated inference, charge."""

    def __init__(
        self,
        settings: SandboxSettings,
        admission: Admission,
        stats: Stats,
        renderer: Renderer,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._settings, self._admission, self._stats, self._renderer = settings, admission, stats, renderer
        self._clock, self._random = clock, rng

    async def serve(
        self, http: web.Request, read_body: ReadBody, read_request: ReadRequest, *, openai: bool = False
    ) -> web.StreamResponse:
        """Answer one HTTP request; `openai` gives errors OpenAI's shape."""
        self._stats.arrived(self._clock())
        try:
            response = await self._answer(http, read_body, read_request, openai=openai)
            if not 200 <= response.status < 300:
                self._stats.count("failed")
            return response
        finally:
            self._stats.left(self._clock())

    async def compressed(self, http: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
        """Return a JSON answer in an encoding that the client accepts."""
        accepted = http.headers.get("Accept-Encoding", "") if self._settings.compress else ""
        encoding = choose_encoding(accepted) if len(body) >= WORTHWHILE_BYTES else ""
        if encoding:
            body = await self._renderer.compress(body, encoding)
            headers = {**headers, "Content-Encoding": encoding, "Vary": "Accept-Encoding"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _answer(
        self, http: web.Request, read_body: ReadBody, read_request: ReadRequest, *, openai: bool
    ) -> web.StreamResponse:
        admission, key = self._admission, key_of(http)
        error = admission.check_key(key, self._clock())
        if error:
            return error_response(error, openai=openai)
        body = await read_body(http)
        bucket = limits.bucket_of(key or "", None if isinstance(body, ErrorAnswer) else body)
        if not isinstance(body, ErrorAnswer):
            body = admission.check_failures(bucket, self._clock()) or body
        request = body if isinstance(body, ErrorAnswer) else await read_request(body)
        headers: dict[str, str] = {}
        if isinstance(request, ErrorAnswer):
            admitted: AdmittedRequest | ErrorAnswer = request
        else:
            now = self._clock()
            admitted = admission.admit(request, now, key or "")
            headers = {"x-venice-model-id": request.model_id, **admission.headers(request.model_id, now)}
        if isinstance(admitted, ErrorAnswer):
            if admitted.uses_error_budget:
                admission.record_failure(bucket, admitted.status, self._clock())
            headers |= admission.budget_headers(bucket, self._clock())
            return error_response(admitted, headers, openai=openai)
        headers |= admission.budget_headers(bucket, self._clock())
        headers["x-venice-balance-usd"] = _amount(admitted.balance_before_usd)
        headers["x-venice-balance-diem"] = _amount(admitted.diem_before)
        charged = False
        try:
            response = await self._process(http, admitted, headers, openai=openai)
            charged = response.status == faults.CHARGED_STATUS and admitted.fault != "reset-before"
        finally:
            admission.settle(admitted, charged=charged, now=self._clock())
        if response.status >= 300:
            admission.record_failure(bucket, response.status, self._clock())
            if not response.prepared:
                response.headers.update(admission.budget_headers(bucket, self._clock()))
        return response

    async def _process(
        self, http: web.Request, admitted: AdmittedRequest, headers: dict[str, str], *, openai: bool
    ) -> web.StreamResponse:
        fault, request = admitted.fault, admitted.request
        self._stats.count("faults", by=bool(fault))
        if fault.isdigit() and not faults.from_gateway(int(fault)):
            error = faults.injected_error(int(fault), self._settings.retry_after_503_s)
            return error_response(error, headers, openai=openai)
        if fault and fault not in faults.NEEDS_ANSWER:
            elsewhere = self._settings.redirect_to or f"http://localhost:9{http.path}"
            faulty = faults.faulty_answer(fault, elsewhere, self._random)
            return await faults.send(http, faulty, headers, self._settings.stall_s)
        body = await self._body(admitted)
        headers |= answer_headers(admitted)
        headers |= deprecation_headers(request.model_id, self._settings.deprecated, self._clock())
        is_json = request.delivery != "binary"
        if fault:
            if fault == "slow":
                self._count_success(admitted)
            headers["Content-Type"] = "application/json" if is_json else f"image/{admitted.format}"
            faulty = faults.corrupted(fault, body, headers, is_json=is_json)
            return await faults.send(http, faulty, headers, self._settings.stall_s)
        self._count_success(admitted)
        if not is_json:
            return web.Response(body=body, content_type=f"image/{admitted.format}", headers=headers)
        return await self.compressed(http, body, headers)

    def _count_success(self, admitted: AdmittedRequest) -> None:
        if admitted.violation:
            self._stats.count("violations")
        if not admitted.withheld:
            self._stats.count("succeeded", admitted.request.model_id)
            self._stats.count("images", by=admitted.request.variants)

    async def _body(self, admitted: AdmittedRequest) -> bytes:
        settings, request = self._settings, admitted.request
        started = time.monotonic()
        spread = self._random.uniform(-settings.latency_jitter, settings.latency_jitter)
        images = await self._renderer.images(admitted)
        # Drawing is part of the simulated inference, not added to it.
        rest_s = settings.latency_of(request.model_id) * (1 + spread) / settings.speed - (time.monotonic() - started)
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        if isinstance(request, EditRequest) or request.delivery == "binary":
            return images[0]
        if request.delivery == "json":
            timing = timing_ms(0.002, 0.001, time.monotonic() - started)
            return native_json(request, images, timing, self._random)
        return openai_json(request, images, int(self._clock()), admitted.format)


def key_of(http: web.Request) -> str | None:
    """Return the bearer key of a request: None without an Authorization header, "" if the header has no key."""
    if "Authorization" not in http.headers:
        return None
    scheme, _, key = http.headers["Authorization"].partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer that is never compressed."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def error_response(error: ErrorAnswer, headers: Mapping[str, str] | None = None, *, openai: bool) -> web.Response:
    """Return an error answer with its own headers and these; `openai` gives it OpenAI's shape."""
    body = error.openai() if openai else error.native()
    return json_response(body, status=error.status, headers={**(headers or {}), **error.headers})


def answer_headers(admitted: AdmittedRequest) -> dict[str, str]:
    """Return the x-venice-* headers of a good answer."""
    request = admitted.request
    headers = {
        "x-venice-is-blurred": _flag(admitted.adult and request.safe_mode),
        "x-venice-is-content-violation": _flag(admitted.violation),
        "x-venice-is-adult-model-content-violation": "false",
    }
    if isinstance(request, EditRequest):
        headers["x-venice-model-name"] = request.model_name
    if request.enhanced_prompt:
        headers["x-venice-enhanced-prompt"] = quote(request.enhanced_prompt, safe="")
    return headers


def native_json(
    request: GenerateRequest, images: Sequence[bytes], timing: Mapping[str, int], rng: random.Random
) -> bytes:
    """Return the JSON of POST /image/generate with the images in base64; `timing` is in milliseconds."""
    # Joined once from its parts: base64 needs no escaping, and an encoder would copy a 4K PNG for nothing.
    parts = [b'{"id":"generate-image-%d","images":["' % rng.randrange(10**9, 10**10)]
    parts.append(b'","'.join(binascii.b2a_base64(image, newline=False) for image in images))
    parts += [b'"],"request":', orjson.dumps(request.received), b',"timing":', orjson.dumps(timing), b"}"]
    return b"".join(parts)


def openai_json(request: GenerateRequest, images: Sequence[bytes], created: int, format_: Format) -> bytes:
    """Return the JSON of POST /images/generations, with base64 or data URLs as the request asks."""
    before = b'"b64_json":"' if request.delivery == "b64_json" else b'"url":"data:image/%s;base64,' % format_.encode()
    parts = [b'{"created":%d,"data":[{' % created, before]
    parts.append(b'"},{'.join(binascii.b2a_base64(image, newline=False) for image in images))
    parts.append(b'"}]}')
    return b"".join(parts)


def timing_ms(queue_s: float, preparation_s: float, inference_s: float) -> dict[str, int]:
    """Return the timing object of an answer, in whole milliseconds."""
    parts = [round(span * 1000) for span in (inference_s, preparation_s, queue_s)]
    names = ("inferenceDuration", "inferencePreprocessingTime", "inferenceQueueTime")
    return {**dict(zip(names, parts, strict=True)), "total": sum(parts)}


def _amount(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _flag(value: bool) -> str:
    return "true" if value else "false"
