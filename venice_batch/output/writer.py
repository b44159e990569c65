"""What runs in the process that works on the disk for another.

    python -m venice_batch.output.writer SOCKET MEMORY FOLDER

The first two are descriptors that were inherited.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import msgspec

from venice_batch import portable
from venice_batch.output.memory import InheritedMemory
from venice_batch.output.orders import Order
from venice_batch.output.store import ImageStore

_RECEIVED_BYTES = 64 * 1024


def serve(link: socket.socket, store: ImageStore, parent: int) -> None:
    """Carry out the orders that come over `link`, a line each, and answer each with a line, after an empty one.

    Returns when the other end is closed; with process `parent` gone it touches nothing any more, since the next run
    may have the folder by then.
    """
    decoder = msgspec.json.Decoder(Order)
    encoder = msgspec.json.Encoder()
    rest = b""
    try:
        link.sendall(b"\n")
        while data := link.recv(_RECEIVED_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if os.getppid() != parent:
                    return
                link.sendall(encoder.encode(store.carry_out(decoder.decode(line))) + b"\n")
    except ConnectionError:
        return


def main() -> None:
    """Serve whoever has started this process."""
    for number in portable.TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    link, memory, images = sys.argv[1:]
    store = ImageStore(images, InheritedMemory(int(memory)).read)
    serve(socket.socket(fileno=int(link)), store, os.getppid())


if __name__ == "__main__":
    main()
