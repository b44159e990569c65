"""What is asked of the disk for an attempt's images, with what comes of it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from venice_batch.model import ImageFile


class Write(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Add the first `size` bytes of a buffer to the temporary file `part`, of which `at` bytes are there already."""

    part: str
    buffer: int
    size: int
    at: int = 0


class Place(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Give each of `parts` its name, all of them or none.

    `write` is carried out first. `stems` are the names without extension, one for each part. `owned` are the paths
    that may be replaced; None: what they are has not been looked up, so being in the way ends in `Taken`. `durable`:
    the files and their folder reach the disk first. `all_came`: HTTP itself has told that nothing is missing.
    """

    parts: tuple[str, ...]
    stems: tuple[str, ...]
    write: Write | None = None
    owned: tuple[str, ...] | None = None
    durable: bool = False
    all_came: bool = True


class Drop(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Remove `parts`."""

    parts: tuple[str, ...]


class Done(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Carried out; `files` are what was placed, in the order of the parts."""

    files: tuple[ImageFile, ...] = ()


class NoImage(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A part is no whole image, so that nothing was placed."""

    why: str


class Unrecognised(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A part is no image known here; all parts are kept, at `paths`, none of them among the images."""

    paths: tuple[str, ...]


class Taken(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Something stands under the name of a part; nothing was placed, and the same may be asked again with `owned`."""


class Trouble(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The operating system refused; nothing was placed."""

    errno: int
    why: str


Order: TypeAlias = Write | Place | Drop
Ending: TypeAlias = Done | NoImage | Unrecognised | Taken | Trouble


def written_bytes(order: Order) -> int:
    """How much of a buffer `order` has written."""
    write = order.write if isinstance(order, Place) else order
    return write.size if isinstance(write, Write) else 0
