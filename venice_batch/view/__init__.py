"""The gallery as a live page: an output folder served on loopback, with a person's marks on its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from venice_batch.view.server import ViewServer

__all__ = ["serve"]


def serve(root: Path, *, port: int = 0) -> AbstractAsyncContextManager[ViewServer]:
    """Return an async context manager that serves the page of the output folder `root` while it is entered.

    Port 0 takes a free port. `address` of the entered object is the page's; whoever knows it can see the images and
    mark them. It serves at once, and reads the folder meanwhile. This call imports aiohttp; importing the package does
    not.

    Raises: OSError on entering if the port is taken; FolderError if `root` holds no manifest that can be read.
    """
    from venice_batch.view.server import open_server

    return open_server(root, port=port)
