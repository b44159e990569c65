"""The pictures that jobs send: find their files, and check whether the API will take them."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from venice_batch.errors import one_line
from venice_batch.jobfile.fields import Fault
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.image_format import ImageKind

LARGEST_BYTES = 25 * 1024 * 1024
"""A picture must be smaller than this. Source of this and the next four: the API's description of the endpoints of
2026-08-21, and Venice's published agent skills of 2026-10-02."""
SHORTEST_SIDE_PX = 64
FEWEST_PIXELS = 65_536
MOST_PIXELS = 33_177_600
MOST_UPSCALED_PIXELS = 16_777_216

FIELD = {
    Endpoint.UPSCALE: "image",
    Endpoint.EDIT: "image",
    Endpoint.MULTI_EDIT: "images",
    Endpoint.BACKGROUND_REMOVE: "image",
}
"""The field with the picture or pictures, for each endpoint that takes any."""

_KINDS = "JPEG, PNG, WebP, AVIF or HEIC image"
_FORMATS = frozenset({"jpeg", "png", "webp", "avif", "heic"})
_LONGEST_PATH = 4096
_WEB = ("http://", "https://")
# The first characters of base64 for each kind, and more of them than a file name without a dot may have. AVIF and HEIC
# begin with the length of a box, below 256, and "ftyp".
_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/|UklGR|R0lGOD|AAAA[A-Za-z0-9+/][GWm2]Z0eX)[A-Za-z0-9+/\s]{200,}={0,2}\s*")


@dataclass(frozen=True, slots=True)
class _Look:
    """The content of a file; `path` is absolute, so that it is valid in any current folder."""

    path: str
    sha256: str
    kind: ImageKind | None


class Pictures:
    """The pictures that one jobs file names; relative paths start at `folder`.

    Each file is read once, when a job first names it. Its content is assumed to stay; the upload checks that.
    Memory: about 700 bytes a file.
    """

    __slots__ = ("_folder", "_seen")

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._seen: dict[str, _Look | str] = {}

    def settle(self, endpoint: Endpoint, request: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        """Return the request with every file as absolute `path` and `sha256`, and what is wrong with its pictures.

        Values of the wrong type are left to `request_check.faults`, images of other jobs to `chains`. A format or size
        that the API is not known to take is an open fault.
        """
        complaints: list[Fault] = []
        url = request.get("image_url")
        if isinstance(url, str) and not url.startswith(_WEB):
            what = "expected an http:// or https:// address; a file goes into image"
            complaints.append(Fault("image_url", what, is_open=False))
        field = FIELD[endpoint]
        value = request.get(field)
        if isinstance(value, list):
            settled: object = [
                self._settle(endpoint, item, f"{field}[{number}]", complaints) for number, item in enumerate(value)
            ]
        else:
            settled = self._settle(endpoint, value, field, complaints)
        return (request if settled == value else {**request, field: settled}), complaints

    def _settle(self, endpoint: Endpoint, value: object, field: str, complaints: list[Fault]) -> object:
        if isinstance(value, str) and value.startswith(_WEB):
            if endpoint is Endpoint.UPSCALE:
                what = f"{endpoint} takes no URL; download the picture, and give its path"
                complaints.append(Fault(field, what, is_open=True))
            return value
        path, sha256 = local_file(value)
        if path is not None:
            look = self._look(path)
            if isinstance(look, str):
                complaints.append(Fault(field, look, is_open=False))
                return value
            if sha256 is not None and sha256 != look.sha256:
                what = f"{one_line(path)} does not have this sha256; leave sha256 out to send the file as it is"
                complaints.append(Fault(field, what, is_open=False))
            # With both, a record says which picture was sent, and is a valid line itself.
            value = {"path": look.path, "sha256": look.sha256}
            kind, name = look.kind, f"{one_line(look.path)} is not a"
        elif isinstance(value, str) and value:
            found = _inline(value)
            if isinstance(found, str):
                complaints.append(Fault(field, found, is_open=False))
                return value
            kind, name = found, "holds no"
        else:
            return value
        if kind is None or kind.format not in _FORMATS:
            complaints.append(Fault(field, f"{name} {_KINDS}", is_open=True))
        elif kind.width and kind.height:
            sizes = size_faults(endpoint, kind.width, kind.height)
            complaints += [Fault(field, what, is_open=True) for what in sizes]
        return value

    def _look(self, path: str) -> _Look | str:
        known = self._seen.get(path)
        if known is None:
            known = self._seen[path] = self._read(path)
        return known

    def _read(self, path: str) -> _Look | str:
        # Imported late: a jobs file without pictures does not need it.
        from venice_batch.image_format import kind_of

        if len(path) > _LONGEST_PATH:
            return f"is {len(path):,} characters long; expected a path, a URL, or base64 of a {_KINDS}"
        try:
            place = os.path.abspath(os.path.join(self._folder, path))
            shown = one_line(place)
            # Before opening it: opening a pipe would wait for a writer.
            mode = os.stat(place).st_mode
            if not stat.S_ISREG(mode):
                return f"{shown} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}; expected a picture"
            with open(place, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size >= LARGEST_BYTES:
                    return f"{shown} has {size / 1e6:.1f} MB; the API takes less than {LARGEST_BYTES >> 20} MiB"
                if not size:
                    return f"{shown} is empty"
                kind = kind_of(file)
                file.seek(0)
                return _Look(place, hashlib.file_digest(file, "sha256").hexdigest(), kind)
        except FileNotFoundError:
            return f"no such file: {one_line(os.path.join(self._folder, path))}"
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            return f"{one_line(path)} cannot be read: {getattr(error, 'strerror', None) or error}"


def size_faults(endpoint: Endpoint, width: int, height: int) -> Iterator[str]:
    """Yield what is wrong with a picture of this size on `endpoint`."""
    pixels = width * height
    size = f"is {width}x{height}"
    if endpoint is not Endpoint.BACKGROUND_REMOVE and min(width, height) < SHORTEST_SIDE_PX:
        yield f"{size}; the API takes {SHORTEST_SIDE_PX} pixels or more a side"
    if endpoint is not Endpoint.BACKGROUND_REMOVE and pixels < FEWEST_PIXELS:
        yield f"{size}, {pixels:,} pixels; {endpoint} takes {FEWEST_PIXELS:,} (256x256) or more"
    if endpoint in (Endpoint.EDIT, Endpoint.MULTI_EDIT) and pixels > MOST_PIXELS:
        yield f"{size}, {pixels:,} pixels; {endpoint} takes at most {MOST_PIXELS:,}; shrink it"
    # The API reduces a scale of 4 to one that fits, but not a scale of 2.
    if endpoint is Endpoint.UPSCALE and 4 * pixels > MOST_UPSCALED_PIXELS:
        yield f"{size}; twice that has {4 * pixels:,} pixels, and {endpoint} makes at most {MOST_UPSCALED_PIXELS:,}"


def local_file(value: object) -> tuple[str | None, str | None]:
    """Return the path of a local file and its required hash; None if it is not a file, and if any hash will do."""
    if isinstance(value, dict):
        if "job" in value:
            return None, None  # another job's image, which is yet to be made
        path, sha256 = value.get("path"), value.get("sha256")
        return (path if isinstance(path, str) and path else None), (sha256 if isinstance(sha256, str) else None)
    if not isinstance(value, str) or not value or value.startswith(("data:", *_WEB)) or _BASE64.fullmatch(value):
        return None, None
    if value.startswith("file://"):
        address = urlsplit(value)
        # Another host's path does not exist here: return the whole text, which is not the name of a file.
        return (unquote(address.path) if address.netloc in ("", "localhost") else value), None
    return value, None


def base64_of(inline: str) -> str:
    """Return the base64 of a picture in the line itself, which is base64 or a data URL.

    Raises:
        ValueError: a data URL that is not base64.
    """
    if inline.startswith("data:"):
        kind, _, inline = inline.partition(",")
        if not kind.endswith(";base64"):
            raise ValueError("a data URL has to be base64: data:image/png;base64,…")
    return "".join(inline.split())


def _inline(text: str) -> ImageKind | str | None:
    """Return the kind of a picture in the line, None if it is unknown, or as text why it cannot be decoded."""
    import pybase64

    from venice_batch.image_format import kind_of

    try:
        data = pybase64.b64decode(base64_of(text), validate=True)
    except ValueError as error:
        return f"cannot be decoded: {error}"
    return kind_of(BytesIO(data))
