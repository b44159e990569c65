"""One job as the page's data, made from its record."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from venice_batch.gallery.thumbnails import FOLDER, thumbnail_name
from venice_batch.model import Attempt, Endpoint, Failure, ImageFile, Outcome, ServerTiming, Status
from venice_batch.output.annotations import Value
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, Refusals
from venice_batch.output.prune import DELETED
from venice_batch.report.jobs_from import Changes, prompt_of
from venice_batch.report.tables import time_spent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

LONGEST_LINE = 32_000
"""Characters of a job's line that the page shows in full. In a longer line, long values are cut."""
LONGEST_VALUE = 2_000
"""Characters of a value that is cut."""

VERSION = 16
"""Characters of an image's hash in its address on a live page."""

_AGAIN = Changes(without=frozenset({"return_binary"}))
"""The same job again. The run decides how its image is transferred."""

_THUMB = re.compile(rb',"thumb":"[^"]*%b/([0-9a-f]+\.webp)"' % FOLDER.encode())

State = Literal["", "missing", "changed", "pruned"]


class Picture(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image: `src` and `thumb` are URLs relative to the page, "" where there is no such file.

    `state` is "" if the file matches its record, else `missing`, `changed` if its size differs, or `pruned` if it is
    missing because a person rejected it.
    """

    name: str
    src: str
    width: int
    height: int
    bytes: int
    format: str
    sha256: str
    thumb: str = ""
    state: State = ""


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """The page's data on one job. It is kept small, as a page may hold ten thousand.

    `line` is the job as a line of a jobs file; `is_cut` if it had to be shortened. `prompt` are the words that made a
    derived image, if its request does not hold them all. `spent` holds the fields of
    `TimeSpent` that are not 0. `attempts` are left out if the first attempt brought the image.
    """

    line: str
    status: Status
    lane: str
    at: str
    total_s: float
    spent: dict[str, float]
    pictures: tuple[Picture, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    flags: tuple[str, ...] = ()
    error: Failure | None = None
    cost_usd: float | None = None
    at_most_usd: float | None = None
    server: ServerTiming | None = None
    deprecated: str | None = None
    enhanced_prompt: str | None = None
    is_cut: bool = False
    prompt: str = ""


class Annotated(msgspec.Struct, frozen=True, array_like=True):
    """An image's annotations on the page. Of its hash the beginning is enough to know that it is the same image."""

    id: str
    image: int
    sha256: str
    values: dict[str, Value]


def annotated(key: tuple[str, str, int], values: dict[str, Value]) -> Annotated:
    """Return the annotations of the image that is known by its job's id, hash and number."""
    job_id, sha256, image = key
    return Annotated(job_id, image, sha256[:VERSION], values)


class FolderImages:
    """The images of an output folder `root`, as the page links to them.

    `base` is the relative path from the page to the folder, with a slash at its end, or "". `refusals` counts the files
    that records name but that are no plain files of the folder. With `versioned` the address of an image changes with
    its content.
    """

    def __init__(self, root: Path, base: str = "", *, versioned: bool = False) -> None:
        self._files = PlainFiles(root)
        self._base = quote(os.fsencode(base))
        self._versioned = versioned
        self.refusals = Refusals()

    def picture(self, file: ImageFile, job_id: str = "") -> Picture:
        """Return an image as the page shows it. It never points outside the output folder, whatever the record says.

        A path that leads to no plain file of the folder is missing, and is added to the `refusals`. The thumbnail may
        not exist yet; `without_thumbnails` removes those that could not be made.
        """
        state = self._state(file, job_id)
        name = thumbnail_name(file)
        has_thumb = not state and name is not None
        version = f"?v={quote(file.sha256[:VERSION], safe='')}" if self._versioned and not state else ""
        return Picture(
            name=file.path,
            src="" if state in ("missing", "pruned") else self._base + quote(file.path) + version,
            width=max(1, file.width or 1),
            height=max(1, file.height or 1),
            bytes=file.bytes,
            format=file.format,
            sha256=file.sha256,
            thumb=f"{self._base}{FOLDER}/{name}" if has_thumb else "",
            state=state,
        )

    def _state(self, file: ImageFile, job_id: str) -> State:
        if file.pruned == DELETED:
            return "pruned"
        try:
            size = self._files.size(file.path)
        except NoPlainFileError as error:
            self.refusals.add(job_id, error)
            return "missing"
        except OSError:
            return "pruned" if file.pruned else "missing"
        return "" if size == file.bytes else "changed"


def card(outcome: Outcome, images: FolderImages) -> Card:
    """Return the page's data on one job."""
    line, is_cut = job_line(outcome)
    prompt = prompt_of(outcome)
    return Card(
        line=line,
        status=outcome.status,
        lane=outcome.lane,
        at=outcome.timing.enqueued_at,
        total_s=round(outcome.timing.total_s, 4),
        spent={name: round(value, 4) for name, value in msgspec.structs.asdict(time_spent(outcome)).items() if value},
        pictures=tuple(images.picture(file, outcome.id) for file in outcome.files),
        attempts=outcome.attempts if len(outcome.attempts) > 1 or outcome.error else (),
        flags=tuple(flags(outcome)),
        error=outcome.error,
        cost_usd=outcome.cost_usd,
        at_most_usd=outcome.at_most_usd,
        server=outcome.timing.server,
        deprecated=outcome.flags.deprecated,
        enhanced_prompt=outcome.flags.enhanced_prompt,
        is_cut=is_cut,
        prompt="" if prompt == outcome.request.get("prompt") else _shortened(prompt),
    )


def without_thumbnails(line: bytes, broken: Collection[str]) -> bytes:
    """Return a card's JSON without the thumbnails of these names."""
    # A quote within a string is escaped, so that the pattern matches nothing but the field of a picture.
    return _THUMB.sub(lambda match: b"" if match[1].decode() in broken else match[0], line)


def flags(outcome: Outcome) -> Iterable[str]:
    """Return the flags of a job that the page can filter by, besides model and status."""
    known = outcome.flags
    found = {
        "sandbox": outcome.sandbox,
        "blurred": known.blurred,
        "content violation": known.content_violation,
        "possibly billed": known.possibly_billed,
        "deprecated model": known.deprecated is not None,
        "enhanced prompt": known.enhanced_prompt is not None,
        "retried": len(outcome.attempts) > 1,
        "reused": outcome.reused is not None,
    }
    return (name for name, is_so in found.items() if is_so)


def job_line(outcome: Outcome) -> tuple[str, bool]:
    """Return the job as a line of a jobs file, and whether it was shortened for the page.

    A line that was not shortened is the same job to a run: it has the record's id and request hash. Characters that
    are invisible, or that change the direction of the text around them, are escaped.
    """
    fields = _AGAIN.apply(outcome)
    if outcome.endpoint is Endpoint.GENERATE:
        del fields["endpoint"]
    line = _encoded(fields)
    if len(line) <= LONGEST_LINE:
        return line, False
    return _encoded({name: _shortened(value) for name, value in fields.items()}), True


def _encoded(fields: dict[str, Any]) -> str:
    text = msgspec.json.encode(fields).decode()
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _shortened(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text):,} characters)"
