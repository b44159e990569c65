"""A job's record as the page's own data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from venice_batch.gallery.thumbnails import FOLDER, thumbnail_name
from venice_batch.model import Attempt, Endpoint, Failure, ImageFile, Outcome, ServerTiming, Status
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, Refusals
from venice_batch.report.jobs_from import Changes
from venice_batch.report.tables import time_spent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

LONGEST_LINE = 32_000
"""Characters of a job that the page shows in full; of a longer one, long values are cut."""
LONGEST_VALUE = 2_000

_AGAIN = Changes(without=frozenset({"return_binary"}))
"""The same job again; how its image travels is the run's business."""

State = Literal["", "missing", "changed"]


class Picture(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image: `src` and `thumb` are URLs relative to the page, "" where there is no such file.

    `state`: whether the file is as its record says, gone, or has another size by now.
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
    """What the page knows of a job; a byte less in it is 10 kB less in a page of many.

    `line` is its line for a jobs file, `is_cut` when it had to be shortened. `spent` tells where its time went by the
    fields of `TimeSpent`, without those that are nothing; `attempts` are left out where the only one brought the image.
    """

    line: str
    status: Status
    lane: str
    at: str
    total_s: float
    spent: dict[str, float]
    pictures: tuple[Picture, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    marks: tuple[str, ...] = ()
    error: Failure | None = None
    cost_usd: float | None = None
    at_most_usd: float | None = None
    server: ServerTiming | None = None
    deprecated: str | None = None
    enhanced_prompt: str | None = None
    is_cut: bool = False


class Shelf:
    """Where a page finds the images: the output folder `root`, reached from the page by `base`.

    `base` is "" or a relative path that ends with a slash.
    """

    def __init__(self, root: Path, base: str = "", thumbnails: Collection[str] = frozenset()) -> None:
        self._files = PlainFiles(root)
        self._base = quote(os.fsencode(base))
        self._thumbnails = thumbnails
        self.refusals = Refusals()

    def picture(self, file: ImageFile, job_id: str = "") -> Picture:
        """`file` as the page shows it. Never points outside the output folder, whatever the record says.

        What is no plain file there is missing, and counts among the `refusals`.
        """
        state = self._state(file, job_id)
        name = thumbnail_name(file)
        has_thumb = not state and name in self._thumbnails
        return Picture(
            name=file.path,
            src="" if state == "missing" else self._base + quote(file.path),
            width=max(1, file.width or 1),
            height=max(1, file.height or 1),
            bytes=file.bytes,
            format=file.format,
            sha256=file.sha256,
            thumb=f"{self._base}{FOLDER}/{name}" if has_thumb else "",
            state=state,
        )

    def _state(self, file: ImageFile, job_id: str) -> State:
        try:
            size = self._files.size(file.path)
        except NoPlainFileError as error:
            self.refusals.add(job_id, error)
            return "missing"
        except OSError:
            return "missing"
        return "" if size == file.bytes else "changed"


def card(outcome: Outcome, shelf: Shelf) -> Card:
    """The page's data about one job."""
    line, is_cut = job_line(outcome)
    return Card(
        line=line,
        status=outcome.status,
        lane=outcome.lane,
        at=outcome.timing.enqueued_at,
        total_s=round(outcome.timing.total_s, 4),
        spent={name: round(value, 4) for name, value in msgspec.structs.asdict(time_spent(outcome)).items() if value},
        pictures=tuple(shelf.picture(file, outcome.id) for file in outcome.files),
        attempts=outcome.attempts if len(outcome.attempts) > 1 or outcome.error else (),
        marks=tuple(marks(outcome)),
        error=outcome.error,
        cost_usd=outcome.cost_usd,
        at_most_usd=outcome.at_most_usd,
        server=outcome.timing.server,
        deprecated=outcome.flags.deprecated,
        enhanced_prompt=outcome.flags.enhanced_prompt,
        is_cut=is_cut,
    )


def marks(outcome: Outcome) -> Iterable[str]:
    """What the page can filter by besides model and status, as it calls them."""
    flags = outcome.flags
    found = {
        "sandbox": outcome.sandbox,
        "blurred": flags.blurred,
        "content violation": flags.content_violation,
        "possibly billed": flags.possibly_billed,
        "deprecated model": flags.deprecated is not None,
        "enhanced prompt": flags.enhanced_prompt is not None,
        "retried": len(outcome.attempts) > 1,
    }
    return (name for name, is_so in found.items() if is_so)


def job_line(outcome: Outcome) -> tuple[str, bool]:
    """The line of a jobs file that asks for the same again, with whether it had to be shortened for the page.

    A line that was not is the same job to a run: its id and request hash are the record's. What has no shape on a
    screen, or turns the text about it, stands escaped.
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


def _shortened(value: object) -> object:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text):,} characters)"
