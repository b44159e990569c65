"""Work on pictures away from the event loop."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from venice_batch.sandbox import compression, source
from venice_batch.sandbox.art import edited_picture as retouch_picture
from venice_batch.sandbox.art import picture
from venice_batch.sandbox.art.sketch import sketches
from venice_batch.sandbox.retouch import Retouch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from PIL.Image import Image

    from venice_batch.sandbox.admission import Ticket
    from venice_batch.sandbox.art.sketch import Sketch
    from venice_batch.sandbox.request import Order
    from venice_batch.sandbox.settings import SandboxSettings


THREADS = 2
CACHED_PICTURES = 32
SEEDS = 999_999_999
INLINE_BYTES = 16 * 1024
"""Bodies up to this size are compressed at once: handing them to a thread would take longer."""


class Studio:
    """Draws, changes, opens, compresses: everything that would hold up other requests runs in its threads."""

    def __init__(self, settings: SandboxSettings, rng: random.Random) -> None:
        self._style, self._random, self._old = settings.draw, rng, settings.is_old
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sandbox-draw")
        self._draw: Callable[[Sketch], bytes] = functools.lru_cache(CACHED_PICTURES)(picture.draw)
        self._flat: dict[picture.PlainKey, bytes] = {}

    def close(self) -> None:
        """Wait for pictures that are being drawn, drop those that are not begun."""
        self._threads.shutdown(cancel_futures=True)

    async def pictures(self, ticket: Ticket) -> list[bytes]:
        """Return the image files that a ticket is for."""
        work = ticket.order
        if isinstance(work, Retouch):
            draw = functools.partial(retouch_picture.draw, work, self._style, blurred=ticket.adult and work.safe_mode)
            return [await asyncio.get_running_loop().run_in_executor(self._threads, draw)]
        if ticket.withheld:
            return [picture.black(work.width, work.height, ticket.format)] * work.variants
        drawn = sketches(work, self._seeds(work), self._style, adult=ticket.adult)
        if self._style == "plain":
            return [await self._plain(sketch) for sketch in drawn]
        return [await self._in_thread(self._draw, sketch) for sketch in drawn]

    async def open_image(self, named: object, urls: bool) -> Image | str:
        """Return the image that a request names; a text says what is wrong with it. Never raises."""
        data = await source.obtain(named, urls=urls)
        if isinstance(data, str):
            return data
        opened = functools.partial(retouch_picture.open_image, data, whole=self._style == "art", avif=not self._old)
        return await asyncio.get_running_loop().run_in_executor(self._threads, opened)

    async def compress(self, body: bytes, encoding: compression.Encoding) -> bytes:
        """Return a body in this encoding."""
        if len(body) <= INLINE_BYTES:
            return compression.compress(body, encoding)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, compression.compress, body, encoding)

    def _seeds(self, order: Order) -> list[int]:
        """Return a seed for each image: the order's for the first, others by chance; in era 2026-08 counted up."""
        first = self._random.randrange(SEEDS) if order.seed is None else order.seed
        if self._old:
            return [first + index for index in range(order.variants)]
        return [first, *(self._random.randrange(SEEDS) for _ in range(order.variants - 1))]

    async def _plain(self, sketch: Sketch) -> bytes:
        # Found here, a picture needs no thread: the way there and back would cost more than all the rest.
        name = picture.plain_key(sketch)
        if name not in self._flat:
            if len(self._flat) >= picture.PLAIN_PICTURES:
                self._flat.clear()
            self._flat[name] = await self._in_thread(picture.draw, sketch)
        return self._flat[name]

    async def _in_thread(self, draw: Callable[[Sketch], bytes], sketch: Sketch) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, draw, sketch)
