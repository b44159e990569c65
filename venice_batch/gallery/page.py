"""The page as a whole, from a manifest to a file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
import msgspec
from markupsafe import Markup

from venice_batch._version import __version__
from venice_batch.gallery.cards import Shelf, card
from venice_batch.gallery.charts import charts
from venice_batch.gallery.overview import contents, cost_sentence, figures, progress_text
from venice_batch.gallery.scales import count, duration, usd
from venice_batch.gallery.sweeps import Candidate, find_sweeps
from venice_batch.gallery.thumbnails import available, make_thumbnails
from venice_batch.gallery.timeline import timeline
from venice_batch.output import manifest
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.latest import LatestRecords
from venice_batch.report.tables import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from venice_batch.gallery.overview import Contents


NAME = "gallery.html"

_SCRIPTS = ("dom", "address", "items", "layout", "sheet", "viewer", "sweeps", "problems", "main")
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%23147a8a' d='M1 1h6v8H1zM9 1h6v4H9zM9 7h6v8H9zM1 11h6v4H1z'/%3E%3C/svg%3E"
)


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page that was written: where, how many images it shows, and whether it has thumbnails.

    `refused` tells of files that records name and that are no plain files of the folder ("": there are none).
    """

    path: Path
    images: int
    has_thumbnails: bool
    refused: str = ""


def write_gallery(
    root: Path, page: Path | None = None, *, told: Callable[[int, int], None] = lambda made, of: None
) -> Gallery:
    """Write the page of the output folder `root` to `page` (default: `gallery.html` in it).

    The page shows the last record of each id; it is replaced whole or not at all. Where Pillow is installed, images
    that have no thumbnail get one first, in `root/thumbnails`; `told` hears how many of how many are made. The folder
    may come from anybody: no link in it is followed, one that stands where the page belongs is replaced.

    Raises:
        FolderError: the manifest cannot be read, or the page not be written.
    """
    page = page or root / NAME
    is_inside = page.parent.resolve() == root.resolve()
    records = LatestRecords(root / manifest.NAME)
    held = contents(records)
    has_thumbnails = available()
    thumbnails = make_thumbnails(root, held.files, told=told) if has_thumbnails else frozenset()
    shelf = Shelf(root, _base(root, page), thumbnails)
    with whole_file(page, follow=not is_inside) as file:
        file.writelines(_rendered(root, records, held, shelf))
    return Gallery(page, len(held.files), has_thumbnails, str(shelf.refusals))


def _base(root: Path, page: Path) -> str:
    """How the page reaches the folder: "" from within it, else a relative path with a slash at its end."""
    way = os.path.relpath(root.resolve(), page.parent.resolve())
    return "" if way == "." else f"{way}/"


def _rendered(root: Path, records: LatestRecords, held: Contents, shelf: Shelf) -> Iterator[bytes]:
    found = report(records)
    history = timeline(records)
    sweeps = find_sweeps(Candidate(number, outcome.id, outcome.request) for number, outcome in enumerate(records))
    environment = _environment()
    style, script = Markup(_read("page.css")), Markup(_script())  # noqa: S704 - the package's own
    stream = environment.get_template("page.html").generate(
        title=root.resolve().name or str(root),
        version=__version__,
        policy=_policy(style, script),
        icon=_ICON,
        style=style,
        script=script,
        figures=figures(found, held, history),
        held=held,
        history=history,
        began=_moment(history.runs[0].began_unix_s) if history.runs else "",
        ended=_moment(history.ended_unix_s) if history.runs else "",
        progress_text=progress_text(history, held),
        cost_text=cost_sentence(found, held),
        lanes=found.lanes,
        lane_names=script_json(list(found.lanes)),
        sweeps=script_json(sweeps),
        jobs=_joined(script_json(card(outcome, shelf)) for outcome in records),
        **charts(found, held, history),
    )
    return (piece.encode("utf-8", "replace") for piece in stream)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("venice_batch.gallery"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "duration": duration, "usd": usd}
    return environment


def _joined(values: Iterable[Markup]) -> Iterator[Markup]:
    for number, value in enumerate(values):
        yield Markup(",\n") + value if number else value


def _read(name: str) -> str:
    return files("venice_batch.gallery").joinpath("templates", name).read_text("utf-8")


def _script() -> str:
    """The page's parts as one script, whose names are nobody else's."""
    parts = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _policy(style: str, script: str) -> str:
    """What the page may do: run its own script and style, show images beside it, and ask nobody for anything."""
    return (
        f"default-src 'none'; img-src 'self' data: file:; style-src {_source(style)}; script-src {_source(script)};"
        " base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _moment(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%-d %B %Y, %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time beyond all calendars"


_encoder = msgspec.json.Encoder()

# Of these only "<" can end a script element (HTML, "restrictions for contents of script elements"); the others keep
# the text whole in XHTML, in attributes and before readers that take U+2028 for the end of a line.
_ESCAPED = re.compile("[<>&\u2028\u2029]")


def script_json(value: object) -> Markup:
    """`value` as JSON that can stand in a `<script type="application/json">`, whatever its strings hold."""
    text = _encoder.encode(value).decode()
    return Markup(_ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", text))  # noqa: S704 - escaped just here
