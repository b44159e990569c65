"""HTTP server of the live page: the page, its images, what changes, and the marks that a person makes."""

from __future__ import annotations

import hmac
import re
import secrets
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from aiohttp import web

from venice_batch.errors import FolderError
from venice_batch.gallery.thumbnails import FOLDER as THUMBNAILS
from venice_batch.output.disk import Disk
from venice_batch.output.marks import MarksFile
from venice_batch.text_format import json_bytes
from venice_batch.view.images import Images
from venice_batch.view.live import LiveFolder, check
from venice_batch.view.requests import MARKS_BYTES, MarksError, is_from_page, marks_in, path_below

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from venice_batch.gallery.cards import Annotated
    from venice_batch.output.marks import Mark
    from venice_batch.view.live import Changes, State

HOST = "127.0.0.1"

EVERY_S = 0.25
"""Seconds between two looks at the folder: a new image is to be seen within one."""
HEARTBEAT_S = 15.0
"""Seconds after which a connection without news gets a comment, so that a broken one is noticed."""

_AT_ONCE = 500
"""Cards, or annotated images, in one event."""
_MOST_PAGES = 64
"""Pages whose positions are remembered until they ask for events."""

_HEADERS = {
    "Server": "venice-batch",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_NOT_KEPT = {"Cache-Control": "no-store"}
_FOR_EVER = "private, max-age=31536000, immutable"
_IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""For an image that is opened by itself: nothing in it runs or loads anything."""


class ViewServer:
    """One live page; `address` is where it is."""

    def __init__(self, root: Path, *, every_s: float = EVERY_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.port = 0
        self._root = root
        self._every_s = every_s
        self._heartbeat_s = heartbeat_s
        self._token = secrets.token_urlsafe(32)
        self._once = ""
        self._folder = LiveFolder(root)
        self._busy = anyio.Lock()
        self._writing = anyio.Lock()
        self._disk = Disk()
        self._images = Images(root, self._folder)
        self._is_read = anyio.Event()
        self._changed = anyio.Event()
        self._wanted = anyio.Event()
        self._pages: list[int] = []
        self._oldest = 0

    @property
    def address(self) -> str:
        """The page's address, with its token."""
        return f"http://{HOST}:{self.port}/{self._token}/"

    def address_to_open(self) -> str:
        """Return an address that leads to the page once; for a command line, which other users can see."""
        self._once = secrets.token_urlsafe(32)
        return f"http://{HOST}:{self.port}/{self._once}"

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=MARKS_BYTES)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._answer)
        app.on_response_prepare.append(_sign)
        return app

    async def follow(self) -> None:
        """Read the folder, then whatever is new in it, until cancelled."""
        async with anyio.create_task_group() as tasks:
            is_first = True
            while True:
                with suppress(FolderError):  # it may be on its way back
                    async with self._busy:
                        has_changed = await self._disk.ask(self._folder.update)
                    if has_changed or is_first:
                        self._changed.set()
                        self._changed = anyio.Event()
                if is_first:
                    self._is_read.set()
                    tasks.start_soon(self._make_thumbnails)
                    is_first = False
                with anyio.move_on_after(self._every_s):
                    await self._wanted.wait()
                self._wanted = anyio.Event()

    def close(self) -> None:
        """Drop the thumbnails that have not been begun."""
        self._images.close()

    async def _make_thumbnails(self) -> None:
        while True:
            changed = self._changed
            await self._images.make_missing()
            await changed.wait()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = request.headers
        hosts, origins, sites = (headers.getall(name, []) for name in ("Host", "Origin", "Sec-Fetch-Site"))
        if not is_from_page(hosts, origins, sites, port=self.port):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        raw_path = request.rel_url.raw_path
        if self._once and hmac.compare_digest(raw_path.encode(), f"/{self._once}".encode()):
            self._once = ""
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": f"/{self._token}/", **_NOT_KEPT})
        path = path_below(raw_path, self._token)
        await self._is_read.wait()
        if path == "marks" and request.method == "POST":
            return await self._take_marks(request)
        if path is None or request.method not in ("GET", "HEAD"):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        if path == "":
            return await self._page()
        if path == "events" and request.method == "GET":
            return await self._events(request)
        return await self._image(request, path)

    async def _page(self) -> web.Response:
        async with self._busy:
            body = await self._disk.ask(self._folder.page)
            self._pages = sorted([*self._pages, self._folder.position])[:_MOST_PAGES]
            self._oldest = self._oldest or self._folder.position
        headers = {"Content-Security-Policy": "frame-ancestors 'none'", **_NOT_KEPT}
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    async def _image(self, request: web.Request, path: str) -> web.StreamResponse:
        version = request.query.get("v", "")
        image = self._folder.file(path)
        if image is None:
            folder, _, name = path.partition("/")
            image = self._folder.thumbnail_of(name) if folder == THUMBNAILS else None
            if image is None:
                return web.Response(status=HTTPStatus.NOT_FOUND)
            data = await self._images.thumbnail(name)
            if data is not None:
                headers = {"Cache-Control": _FOR_EVER, "Content-Security-Policy": _IMAGE_POLICY}
                return web.Response(body=data, content_type="image/webp", headers=headers)
            version = ""
        found = await self._images.open(image.path)
        if found is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        try:
            is_same = bool(version) and image.sha256.startswith(version) and found.size_bytes == image.bytes
            headers = {
                "Cache-Control": _FOR_EVER if is_same else "no-cache",
                "ETag": found.tag,
                "Content-Security-Policy": _IMAGE_POLICY,
            }
            if request.headers.get("If-None-Match") == found.tag:
                return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
            headers |= {"Content-Type": found.type, "Content-Length": str(found.size_bytes)}
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            if request.method == "GET":
                left = found.size_bytes
                async for portion in found.portions():
                    left -= len(portion)
                    await response.write(portion)
                if left:  # the file has shrunk: only the end of the connection can say so
                    response.force_close()
            return response
        finally:
            found.close()

    async def _take_marks(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send marks as application/json")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "these are too many bytes for one request")
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            marks = marks_in(body, self._folder.has_image, at=at)
            if marks:
                async with self._writing:
                    await self._disk.run(lambda: self._write(marks))
        except MarksError as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        except FolderError as error:
            return _refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        self._wanted.set()  # other pages show them at once
        return web.Response(status=HTTPStatus.NO_CONTENT)

    def _write(self, marks: list[Mark]) -> None:
        # Opened each time, so that marks never go to a file that was moved or removed.
        with MarksFile(self._root) as file:
            file.append(marks)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        position = self._position_of(request.headers.get("Last-Event-ID", ""))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", **_NOT_KEPT})
        await response.prepare(request)
        state: State | None = None
        with suppress(ConnectionError):
            while True:
                changed = self._changed
                async with self._busy:
                    changes, now = self._folder.since(position), self._folder.state
                    scored = self._folder.annotated_since(position)
                text = b"".join(_events_of(changes, scored, None if now == state else now))
                await response.write(text or b": nothing new\n\n")
                position, state = changes.position, now
                with anyio.move_on_after(self._heartbeat_s):
                    await changed.wait()
        return response

    def _position_of(self, last_event_id: str) -> int:
        """Return the position from which a page needs the changes: that of its last event, else of the page itself.

        Which page asks is not known, so it is the oldest of those that have not asked yet, or the oldest of all. A page
        may get a change twice, which does no harm, but misses none.
        """
        if re.fullmatch("[0-9]{1,18}", last_event_id):
            return int(last_event_id)
        if not self._pages:
            return self._oldest
        oldest = self._pages[0]
        self._pages.pop()
        return oldest


def _events_of(changes: Changes, scored: list[Annotated], state: State | None) -> Iterator[bytes]:
    """Yield the events that bring a page up to date. Only the last has an id: before it the page lacks something."""
    events = [
        (b"jobs", b"[%b]" % b",".join(changes.cards[at : at + _AT_ONCE]))
        for at in range(0, len(changes.cards), _AT_ONCE)
    ]
    events += [(b"marks", json_bytes(changes.marks))] if changes.marks else []
    events += [(b"annotations", json_bytes(scored[at : at + _AT_ONCE])) for at in range(0, len(scored), _AT_ONCE)]
    events += [(b"state", json_bytes(state))] if state else []
    for number, (name, data) in enumerate(events, 1):
        position = b"id: %d\n" % changes.position if number == len(events) else b""
        yield b"%bevent: %b\ndata: %b\n\n" % (position, name, data)


def _refused(status: HTTPStatus, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def open_server(
    root: Path, *, port: int = 0, every_s: float = EVERY_S, heartbeat_s: float = HEARTBEAT_S
) -> AbstractAsyncContextManager[ViewServer]:
    """Return a context manager that serves the page while it is entered; see `venice_batch.view.serve`."""
    check(root)
    return _serving(ViewServer(root, every_s=every_s, heartbeat_s=heartbeat_s), port)


@asynccontextmanager
async def _serving(server: ViewServer, port: int) -> AsyncIterator[ViewServer]:
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        server.port = runner.addresses[0][1]
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.follow)
                yield server
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            # The group is this function's own affair: an exception of the block goes out as it is.
            if len(raised.exceptions) == 1:
                raise raised.exceptions[0] from None
            raise
    finally:
        await runner.cleanup()
        server.close()
