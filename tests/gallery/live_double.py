"""A server that stands in for `venice-batch view`: it serves a folder's page, and does what a test says."""

import asyncio
import json
import threading
from concurrent.futures import Future
from contextlib import suppress

from aiohttp import web

TOKEN = "token"


class LiveDouble:
    """Serves `page`'s folder below `/token/`, in a thread.

    `posts` holds the marks that came; the answer to each is `status`, after `gate` is open. `events` are sent to
    every page that asks.
    """

    def __init__(self, page):
        self._root = page.parent
        self._html = page.read_text().replace("<body>", '<body data-live="1">').replace(
            "base-uri", "connect-src 'self'; base-uri"
        )  # fmt: skip
        self.posts, self.resumed, self.status, self.error = [], [], 204, ""
        self.port = 0
        self._events = []
        self._streams = set()

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.gate = self._call(self._event())
        self._call(self.start())
        return self

    def __exit__(self, *exc_info):
        self._loop.call_soon_threadsafe(self.gate.set)
        self._call(self._stop())
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _end_tasks():
        # The server does not know yet of a connection that it has just accepted; the end of its task closes it.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def send(self, name, value):
        """Send an event to all pages, those to come too."""

        async def sent():
            self._events.append((name, value))
            for wakened in self._streams:
                wakened.set()

        self._call(sent())

    def hold(self):
        """Answer no marks until `release`."""
        self._loop.call_soon_threadsafe(self.gate.clear)

    def release(self):
        self._loop.call_soon_threadsafe(self.gate.set)

    def stop(self):
        """Go away, as when the command ends; `come_back` on the same port."""
        self._call(self._stop())

    def come_back(self):
        self._call(self.start())

    def _call(self, coroutine) -> object:
        found: Future[object] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return found.result(30)

    async def _event(self):
        gate = asyncio.Event()
        gate.set()
        return gate

    async def start(self):
        app = web.Application()
        app.router.add_get(f"/{TOKEN}/", self._page)
        app.router.add_post(f"/{TOKEN}/marks", self._marks)
        app.router.add_get(f"/{TOKEN}/events", self._stream)
        app.router.add_static(f"/{TOKEN}/", self._root)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self):
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # the turns of the loop in which closed connections are let go
            await asyncio.sleep(0)

    async def _page(self, _):
        return web.Response(text=self._html, content_type="text/html")

    async def _marks(self, request):
        marks = await request.json()
        await self.gate.wait()
        self.posts.append(marks)
        if self.status == 204:
            return web.Response(status=204)
        return web.json_response({"error": self.error}, status=self.status)

    async def _stream(self, request):
        position = int(request.headers.get("Last-Event-ID", -1)) + 1
        self.resumed.append(position)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"retry: 50\n\n")
        wakened = asyncio.Event()
        self._streams.add(wakened)
        try:
            with suppress(ConnectionError):
                while True:
                    wakened.clear()
                    for number in range(position, len(self._events)):
                        name, value = self._events[number]
                        await stream.write(f"id: {number}\nevent: {name}\ndata: {json.dumps(value)}\n\n".encode())
                    position = len(self._events)
                    await wakened.wait()
        finally:
            self._streams.discard(wakened)
        return stream
