"""Work for threads: draw, change and open images, compress JSON."""

from __future__ import annotations

import asyncio
import functools
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from venice_batch.sandbox.art import edited_picture, picture
from venice_batch.sandbox.request import EditRequest
from venice_batch.sandbox.request_body import read_image

try:
    import brotli
except ImportError:  # not a dependency: clients ask for br only if they have the package themselves
    brotli = None

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from PIL.Image import Image

    from venice_batch.sandbox.admission import AdmittedRequest
    from venice_batch.sandbox.art.picture import Sketch
    from venice_batch.sandbox.request import GenerateRequest
    from venice_batch.sandbox.settings import SandboxSettings

Encoding = Literal["", "gzip", "br"]

THREADS = 2
CACHED_IMAGES = 32
PLAIN_IMAGES = 512
"""Number of plain images in the cache: encoding one for each request would limit throughput."""
SEEDS = 999_999_999
WORTHWHILE_BYTES = 512
"""Size from which on a body is compressed."""
INLINE_BYTES = 16 * 1024
"""Bodies up to this size are compressed at once: a thread would take longer."""


class Renderer:
    """Does in its threads all work on images and bodies that would hold up other requests."""

    def __init__(self, settings: SandboxSettings, rng: random.Random) -> None:
        self._style, self._random, self._old = settings.draw, rng, settings.is_old
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sandbox-draw")
        self._draw: Callable[[Sketch], bytes] = functools.lru_cache(CACHED_IMAGES)(picture.draw)
        self._plain_images: dict[picture.PlainKey, bytes] = {}

    def close(self) -> None:
        """Wait for work that has begun; drop the rest."""
        self._threads.shutdown(cancel_futures=True)

    async def images(self, admitted: AdmittedRequest) -> list[bytes]:
        """Return the image files for an admitted request."""
        request = admitted.request
        if isinstance(request, EditRequest):
            blurred = admitted.adult and request.safe_mode
            draw = functools.partial(edited_picture.draw, request, self._style, blurred=blurred)
            return [await asyncio.get_running_loop().run_in_executor(self._threads, draw)]
        if admitted.withheld:
            return [picture.black(request.width, request.height, admitted.format)] * request.variants
        drawn = picture.sketches(request, self._seeds(request), self._style, adult=admitted.adult)
        if self._style == "plain":
            return [await self._plain(sketch) for sketch in drawn]
        return [await self._in_thread(self._draw, sketch) for sketch in drawn]

    async def open_image(self, source: object, urls: bool) -> Image | str:
        """Return the image that a request contains or, if `urls` allows it, links to.

        Returns a message if it cannot be opened. Never raises.
        """
        data = await read_image(source, urls=urls)
        if isinstance(data, str):
            return data
        opened = functools.partial(edited_picture.open_image, data, whole=self._style == "art", avif=not self._old)
        return await asyncio.get_running_loop().run_in_executor(self._threads, opened)

    async def compress(self, body: bytes, encoding: Encoding) -> bytes:
        """Return a body in this encoding."""
        if len(body) <= INLINE_BYTES:
            return compress(body, encoding)
        return await asyncio.get_running_loop().run_in_executor(self._threads, compress, body, encoding)

    def _seeds(self, request: GenerateRequest) -> list[int]:
        """Return a seed for each image: the request's for the first, random ones after; in era 2026-08 counted up."""
        first = self._random.randrange(SEEDS) if request.seed is None else request.seed
        if self._old:
            return [first + index for index in range(request.variants)]
        return [first, *(self._random.randrange(SEEDS) for _ in range(request.variants - 1))]

    async def _plain(self, sketch: Sketch) -> bytes:
        # An image found here needs no thread: the way there and back would cost more than everything else.
        key = picture.plain_key(sketch)
        if key not in self._plain_images:
            if len(self._plain_images) >= PLAIN_IMAGES:
                self._plain_images.clear()
            self._plain_images[key] = await self._in_thread(picture.draw, sketch)
        return self._plain_images[key]

    async def _in_thread(self, draw: Callable[[Sketch], bytes], sketch: Sketch) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, draw, sketch)


def choose_encoding(accept_encoding: str) -> Encoding:
    """Return the encoding for an Accept-Encoding header: br before gzip, "" if the client asks for neither."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";q=")
        weights[name.strip()] = _weight(weight)
    if brotli is not None and weights.get("br", 0) > 0:
        return "br"
    return "gzip" if weights.get("gzip", 0) > 0 else ""


def compress(body: bytes, encoding: Encoding) -> bytes:
    """Return the body in this encoding, at the fastest level: base64 of images gains little from better levels."""
    if encoding == "br":
        return bytes(brotli.compress(body, quality=1))
    if encoding == "gzip":
        packer = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
        return packer.compress(body) + packer.flush()
    return body


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
