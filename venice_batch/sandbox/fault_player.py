"""Faulty answers on the wire."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

from venice_batch.sandbox import faults

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_S = 0.02


async def play(
    request: web.Request, script: faults.Script, headers: Mapping[str, str], stall_s: float
) -> web.StreamResponse:
    """Send a script to its end or until the client leaves; a held connection is held `stall_s` at most."""
    response = web.StreamResponse(status=script.status or 200, headers={**headers, **script.headers})
    if script.declared_bytes is not None:
        response.content_length = script.declared_bytes
    try:
        if script.status:
            await response.prepare(request)
        for chunk in script.chunks:
            await response.write(chunk)
            if script.spread:
                await asyncio.sleep(stall_s / faults.SLOW_PIECES)
        if script.ending == "hold":
            await _hold(request, stall_s)
        if script.ending == "whole":
            await response.write_eof()
    except ConnectionError:
        # The client has left: that is what most of these faults provoke.
        return response
    if script.ending != "whole":
        _hang_up(request, abruptly=script.ending == "abort")
    return response


async def _hold(request: web.Request, stall_s: float) -> None:
    for _ in range(int(stall_s / _POLL_S)):
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(_POLL_S)


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
