"""The whole page: collect the records of a folder, then write one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
import msgspec
from markupsafe import Markup

from venice_batch._version import __version__
from venice_batch.gallery.cards import FolderImages, annotated, card, without_thumbnails
from venice_batch.gallery.charts import charts
from venice_batch.gallery.overview import Contents, cost_sentence, figures, progress_text
from venice_batch.gallery.sweeps import SweepFinder
from venice_batch.gallery.thumbnails import make_thumbnails, thumbnail_name
from venice_batch.gallery.timeline import TimelineBuilder, moment_text
from venice_batch.money import dollars
from venice_batch.output import manifest
from venice_batch.output.annotations import last_values
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.marks import read_marks
from venice_batch.output.resume import LatestRecords
from venice_batch.report.collect import Collector, Spool
from venice_batch.report.tables import ReportBuilder
from venice_batch.text_format import counted, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from venice_batch.gallery.cards import Annotated
    from venice_batch.gallery.timeline import Timeline
    from venice_batch.model import ImageFile, Outcome
    from venice_batch.output.marks import Mark
    from venice_batch.report.tables import Report


NAME = "gallery.html"
"""The page's name in an output folder."""

_SCRIPTS = (
    *("dom", "address", "items", "marks", "annotations", "said", "saving", "blind"),
    *("picture", "selection", "markbar", "layout", "arrivals", "sheet", "zoom", "viewer", "board"),
    *("marking", "sweeps", "problems", "main", "keys", "live"),
)
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%23147a8a' d='M1 1h6v8H1zM9 1h6v4H9zM9 7h6v8H9zM1 11h6v4H1z'/%3E%3C/svg%3E"
)


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page that was written, and the number of its images.

    `refused` is a sentence about files that records name but that are not plain files of the folder; "" if every file
    is one.
    """

    path: Path
    images: int
    refused: str = ""


class PageData:
    """All that the page of a folder shows, except the jobs' cards, which `add` returns and `rendered` takes.

    `base` is the relative path from the page to the folder `root`, with a slash at its end, or "". A `live` page is
    served by `venice-batch view`: it may talk to that server, and an image has another address when it changes.
    """

    def __init__(self, root: Path, base: str = "", *, live: bool = False) -> None:
        self._root = root
        self._live = live
        self._report = ReportBuilder()
        self._contents = Contents()
        self._timeline = TimelineBuilder()
        self._sweeps = SweepFinder()
        self._images = FolderImages(root, base, versioned=live)

    @property
    def files(self) -> list[ImageFile]:
        """All images of the jobs so far."""
        return self._contents.files

    @property
    def refused(self) -> str:
        """A sentence about files that records name but that are not plain files of the folder; "" if every file is."""
        return str(self._images.refusals)

    def add(self, outcome: Outcome) -> bytes:
        """Add a job and return its card as JSON for the page; each id must come once."""
        self._sweeps.add(self._contents.jobs, outcome.id, outcome.request, outcome.index)
        self._contents.add(outcome)
        self._timeline.add(outcome)
        self._report.add(outcome)
        return self.card(outcome)

    def card(self, outcome: Outcome) -> bytes:
        """Return a job's card as JSON for the page, and leave the figures as they are."""
        return _escaped(_encoder.encode(card(outcome, self._images)))

    def report(self) -> Report:
        """Return the report on the jobs so far, whose numbers the page shows."""
        return self._report.report()

    def rendered(
        self, cards: Iterable[bytes], marks: Iterable[Mark], annotations: Sequence[Annotated] = ()
    ) -> Iterator[bytes]:
        """Yield the page in pieces. `cards` are those of all jobs, in the order in which they were added."""
        found, held, history = self.report(), self._contents, self._timeline.timeline()
        style, script = Markup(_read("page.css")), Markup(_script())  # noqa: S704 - the package's own
        template = _environment().get_template("page.html")
        stream = template.generate(
            title=self._root.resolve().name or str(self._root),
            version=__version__,
            policy=_policy(style, script, live=self._live),
            icon=_ICON,
            style=style,
            script=script,
            live=self._live,
            figures=figures(found, held, history),
            held=held,
            history=history,
            worked=_period(history) if history.runs else "",
            ended=_moment(history.ended_unix_s) if history.runs else "",
            progress_text=progress_text(history, held),
            cost_text=cost_sentence(found, held),
            lanes=found.lanes,
            lane_names=script_json(list(found.lanes)),
            sweeps=script_json(self._sweeps.sweeps()),
            marks=script_json(list(marks)),
            annotations=script_json(annotations) if annotations else "",
            jobs=_listed(cards),
            **charts(found, held, history),
        )
        return (piece.encode("utf-8", "replace") for piece in stream)


class GalleryPage(Collector):
    """The page of an output folder: collects the records, one at a time, then writes itself.

    `path` defaults to `gallery.html` in the folder `root`. The jobs' data waits in a temporary file, because it stands
    at the end of the page; a few hundred bytes an image stay in memory.
    """

    def __init__(self, root: Path, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or root / NAME
        self._root = root
        self._data = PageData(root, _base(root, self.path))
        self._cards = Spool()

    def add(self, place: int | None, outcome: Outcome) -> None:
        """Add a job, whichever jobs file it came from; each id must come once."""
        self._cards.write(self._data.add(outcome) + b"\n")

    def read(self) -> None:
        """Add the last record of each id in the folder's manifest. Raises FolderError if it cannot be read."""
        for outcome in LatestRecords(self._root / manifest.NAME):
            self.add(None, outcome)

    def report(self) -> Report:
        """Return the report on the jobs so far, whose numbers the page shows."""
        return self._data.report()

    def write(self, *, on_progress: Callable[[int, int], None] = lambda made, of: None) -> Gallery:
        """Make the thumbnails that are missing, then write the page, whole or not at all. Call it once.

        The page shows the marks and annotations that the folder holds now. `on_progress` is called with the number of
        thumbnails made so far and the number to make. A link in the page's place is replaced within the folder, and
        followed elsewhere.

        Raises:
            FolderError: the page or a thumbnail cannot be written, or the marks or annotations cannot be
                read.
        """
        files = self._data.files
        marks = read_marks(self._root).values()
        annotations = [annotated(key, values) for key, values in last_values(self._root).items()]
        thumbnails = make_thumbnails(self._root, files, on_progress=on_progress)
        broken = {name for file in files if (name := thumbnail_name(file)) is not None and name not in thumbnails}
        lines = (line.rstrip(b"\n") for line in self._cards.drain())
        cards = (without_thumbnails(line, broken) if broken else line for line in lines)
        is_inside = self.path.parent.resolve() == self._root.resolve()
        with whole_file(self.path, follow=not is_inside) as page:
            page.writelines(self._data.rendered(cards, marks, annotations))
        return Gallery(self.path, len(files), self._data.refused)


def write_gallery(
    root: Path, page: Path | None = None, *, on_progress: Callable[[int, int], None] = lambda made, of: None
) -> Gallery:
    """Write the page of the output folder `root` to `page` (default: `gallery.html` in it).

    The page shows the last record of each id. The folder may come from anybody: no link in it is followed. For
    `on_progress` and guarantees see `GalleryPage.write`.

    Raises:
        FolderError: the manifest cannot be read, or the page or a thumbnail cannot be written.
    """
    made = GalleryPage(root, page)
    made.read()
    return made.write(on_progress=on_progress)


def _base(root: Path, page: Path) -> str:
    """Return the path from the page to the folder: "" from within it, else relative with a slash at its end."""
    way = os.path.relpath(os.path.realpath(root), os.path.realpath(page.parent))  # neither fails on a loop of links
    return "" if way == "." else f"{way}/"


@cache  # it keeps the compiled templates, which take longer than a page of a few hundred jobs
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("venice_batch.gallery"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": partial(counted, grouped=True), "duration": duration, "dollars": dollars}
    return environment


def _read(name: str) -> str:
    return files("venice_batch.gallery").joinpath("templates", name).read_text("utf-8")


def _script() -> str:
    """Return the parts of the page's script as one, with names of its own scope."""
    parts = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _policy(style: str, script: str, *, live: bool) -> str:
    """Return the page's content security policy: its own script and style, images beside it, no other server."""
    reached = "img-src 'self' data:; connect-src 'self'" if live else "img-src 'self' data: file:"
    return (
        f"default-src 'none'; {reached}; style-src {_source(style)}; script-src {_source(script)};"
        " base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _period(history: Timeline) -> str:
    """Return when the runs were: their beginning, and if there are several their end; no minute or day twice."""
    began, ended = _moment(history.runs[0].began_unix_s), _moment(history.ended_unix_s)
    if len(history.runs) == 1 or began == ended:
        return began
    day, comma, time = ended.rpartition(", ")
    is_one_day = comma and began.startswith(f"{day}, ")
    return f"{began.removesuffix(' UTC')} – {time}" if is_one_day else f"{began} – {ended}"


def _moment(unix_s: float) -> str:
    return moment_text(unix_s, "%-d %B %Y, %H:%M UTC")


_encoder = msgspec.json.Encoder()
_BETWEEN = Markup(",\n")

# Only "<" can end a script element (HTML, "restrictions for contents of script elements"). The others keep the text
# whole in XHTML, in attributes, and for readers that take U+2028 as the end of a line.
_ESCAPED = re.compile("[<>&\u2028\u2029]")


def script_json(value: object) -> Markup:
    """Return `value` as JSON for a `<script type="application/json">`, whatever its strings hold."""
    return Markup(_escaped(_encoder.encode(value)).decode())  # noqa: S704 - escaped just here


def _listed(cards: Iterable[bytes]) -> Iterator[Markup]:
    for number, line in enumerate(cards):
        yield (_BETWEEN if number else Markup()) + Markup(line.decode())  # noqa: S704 - `PageData.card` escapes


def _escaped(json: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", json.decode()).encode()
