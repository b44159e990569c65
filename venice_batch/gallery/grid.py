"""A sweep as one picture: its images in a grid, with labels."""

from __future__ import annotations

import math
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from venice_batch.errors import FolderError, UsageError
from venice_batch.gallery.sweeps import SweepFinder
from venice_batch.gallery.thumbnails import BOX, FOLDER, MOST_PIXELS, thumbnail_name
from venice_batch.output import manifest
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.plain_files import PlainFiles
from venice_batch.output.resume import LatestRecords

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from venice_batch.gallery.sweeps import Sweep
    from venice_batch.model import ImageFile, Outcome

LARGEST_CELL = 512
"""Pixels of a cell's side, at most."""
SMALLEST_CELL = 48
"""Pixels of a cell's side, at least."""
MOST_GRID_PIXELS = 32_000_000
"""Pixels of all cells together, so that a grid takes about 100 MB while it is drawn."""
LONGEST_SIDE = 30_000
"""Pixels of a grid's side; few programs show larger images."""
NARROWEST = 480
"""Pixels of a grid's width at least, for its name and the prompt."""

_GAP = 8
_MARGIN = 24
_MOST_PROMPT_LINES = 6
_SHOWN_NAMES = 5
_PAPER, _INK, _SOFT, _WELL = "#ffffff", "#1a1917", "#615d56", "#eceae5"

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_EAST_ASIAN = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_CLOSING = "\u3001\u3002\u300d\u300f\u3011\uff01\uff09\uff0c\uff1a\uff1b\uff1f"
_UNIT = re.compile(rf"\s?(?:[{_EAST_ASIAN}][{_CLOSING}]*|[^\s{_EAST_ASIAN}]+)")
"""What stays on one line: a word, or a character of Chinese, Japanese or Korean with the punctuation that closes it."""
_FONTS = ("DejaVuSans.ttf", "Arial Unicode.ttf", "segoeui.ttf")
_EAST_ASIAN_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
)


class _Cell(NamedTuple):
    """A job's images, and the words that stand for them if none can be shown."""

    files: tuple[ImageFile, ...]
    words: str


def write_grid(root: Path, path: Path, which: str | None = None) -> Path:
    """Write a sweep of the output folder `root` to `path` as a PNG; return `path`.

    The rows and columns are those of the gallery; of a sweep by three or more fields, every value of the further
    fields has rows of its own. Images are decoded a few at a time and scaled at once to the size of their cells.

    Args:
        root: the folder; it may come from anybody, so no link in it is followed.
        path: the file to write, whole or not at all.
        which: the sweep's name in the gallery, or the id of one of its jobs; not needed if there is only one.

    Raises:
        UsageError: there is no such sweep, `which` is missing, or the grid is too large for one image.
        FolderError: the manifest cannot be read, or the file cannot be written.
    """
    records = LatestRecords(root / manifest.NAME)
    finder, wanted = SweepFinder(), None
    for number, outcome in enumerate(records):
        finder.add(number, outcome.id, outcome.request, outcome.index)
        if outcome.id == which:
            wanted = number
    sweep = choose(finder.sweeps(), which, wanted)
    numbers = {cell[-1] for cell in sweep.cells}
    cells, prompts = dict[int, _Cell](), set[str]()
    for number, outcome in enumerate(records):
        if number in numbers:
            cells[number] = _cell(outcome)
            prompts.add(str(outcome.request.get("prompt", "")))
    prompt = prompts.pop() if len(prompts) == 1 else ""
    drawing = _Drawing(sweep, prompt, cells, PlainFiles(root))
    drawing.fill()
    with whole_file(path) as file:
        drawing.image.save(file, "PNG", compress_level=4)
    return path


def choose(sweeps: list[Sweep], which: str | None, number: int | None = None) -> Sweep:
    """Return the sweep that has the job with this number on the page, else the one that is called `which`.

    Raises:
        UsageError: no sweep or several could be meant.
    """
    if not sweeps:
        raise UsageError("--grid: there is no sweep in this folder; a line with a matrix makes one")
    names = [sweep.name for sweep in sweeps]
    known = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    if which is None:
        if len(sweeps) == 1:
            return sweeps[0]
        raise UsageError(f"--grid: there are {len(sweeps)} sweeps ({known}); choose one with --grid-of NAME")
    of_job = [sweep for sweep in sweeps if any(cell[-1] == number for cell in sweep.cells)]
    found = of_job or [sweep for sweep in sweeps if sweep.name == which]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"--grid-of {which}: {len(found)} sweeps have this name; give the id of one of the jobs")
    raise UsageError(f"--grid-of {which}: there is no such sweep; they are called {known}")


def cell_side(columns: int, rows: int) -> int:
    """Return how many pixels wide and high each cell is: as large as fits into `MOST_GRID_PIXELS`, within limits.

    Raises:
        UsageError: the grid would be too large, even with the smallest cells.
    """
    side = min(
        LARGEST_CELL, math.isqrt(MOST_GRID_PIXELS // (columns * rows)), LONGEST_SIDE // max(columns, rows) - _GAP
    )
    if side < SMALLEST_CELL:
        raise UsageError(f"--grid: {columns:,} × {rows:,} images are too many for one picture; use the gallery")
    return side


def _cell(outcome: Outcome) -> _Cell:
    small = tuple(file for file in outcome.files if 0 < (file.width or 0) * (file.height or 0) <= MOST_PIXELS)
    return _Cell(small, "no image to show" if outcome.files else str(outcome.status))


def cell_size(side: int, ratios: Collection[float]) -> tuple[int, int]:
    """Return width and height of the cells for images of these ratios; one of them is `side`.

    Cells of images that are all wide, or all high, are no larger than these need.
    """
    narrowest, widest = min(ratios, default=1), max(ratios, default=1)
    return max(SMALLEST_CELL, round(side * min(1, widest))), max(SMALLEST_CELL, round(side / max(1, narrowest)))


class _Drawing:
    """The picture of a sweep: its name, the prompt, labels and cells."""

    def __init__(self, sweep: Sweep, prompt: str, cells: dict[int, _Cell], files: PlainFiles) -> None:
        self._cells = cells
        self._files = files
        self._lock = threading.Lock()
        # Of three or more fields, all but that of the columns make rows; only combinations with a job get one.
        axes, down, across = sweep.axes, sweep.down, sweep.across
        aside = [at for at in range(len(axes)) if at not in (down, across)] + ([] if down is None else [down])
        rows = sorted({tuple(cell[at] for at in aside) for cell in sweep.cells})
        columns = axes[across].values
        side = cell_side(len(columns), len(rows))
        ratios = [(file.width or 1) / (file.height or 1) for cell in cells.values() for file in cell.files]
        self._wide, self._high = wide, high = cell_size(side, ratios)

        shown = " ".join([sweep.name, prompt, *(value for axis in axes for value in axis.values)])
        is_east_asian = re.search(f"[{_EAST_ASIAN}]", shown) is not None
        large = _font(26, is_east_asian)
        self._font = font = _font(max(12, min(20, side // 12)), is_east_asian)
        named = [
            [f"{axes[at].field}: {axes[at].values[one]}" for at, one in zip(aside, row, strict=True)] for row in rows
        ]
        widest = max((font.getlength(part) for parts in named for part in parts), default=0)
        label = min(math.ceil(widest), max(140, wide)) if aside else 0
        left = _MARGIN + label + (2 * _GAP if aside else 0)
        width = max(left + len(columns) * (wide + _GAP) - _GAP + _MARGIN, NARROWEST)
        room = width - 2 * _MARGIN
        title = [(line, large, _INK) for line in wrapped(sweep.name, large, room, 2)]
        if prompt != sweep.name:
            title += [(line, font, _SOFT) for line in wrapped(prompt, font, room, _MOST_PROMPT_LINES)]
        heads = [wrapped(f"{axes[across].field}: {value}", font, wide, 3) for value in columns]
        top = _MARGIN + sum(_height(font) for _, font, _ in title) + _GAP
        first = top + _height(font) * max(map(len, heads)) + _GAP
        self.image = Image.new("RGB", (width, first + len(rows) * (high + _GAP) - _GAP + _MARGIN), _PAPER)
        self._draw = ImageDraw.Draw(self.image)

        y = _MARGIN
        for line, its_font, colour in title:
            self._draw.text((_MARGIN, y), line, fill=colour, font=its_font)
            y += _height(its_font)
        for number, lines in enumerate(heads):
            self._write(lines, left + number * (wide + _GAP), top)
        for number, parts in enumerate(named):
            lines = [line for part in parts for line in wrapped(part, font, label, 2)]
            self._write(lines[: max(1, high // _height(font))], _MARGIN, first + number * (high + _GAP))
        numbers = {row: number for number, row in enumerate(rows)}
        self._places = [
            (
                cell[-1],
                left + cell[across] * (wide + _GAP),
                first + numbers[tuple(cell[at] for at in aside)] * (high + _GAP),
            )
            for cell in sweep.cells
        ]

    def fill(self) -> None:
        """Draw all cells."""
        # Pillow releases the interpreter's lock while it decodes and scales.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            filled = threads.map(lambda place: self._fill(*place), self._places)
            try:
                for _ in filled:
                    pass
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for all of the others
                raise

    def _fill(self, number: int, left: int, top: int) -> None:
        """Draw a job's images into its cell; several share it."""
        files, words = self._cells[number]
        many = math.ceil(math.sqrt(len(files)))
        wide, high = self._wide // max(1, many), self._high // max(1, many)
        room = (wide, high) if many == 1 else (wide - 2, high - 2)
        is_empty = True
        for place, file in enumerate(files):
            small = self._small(file, room)
            if small is None:
                continue
            is_empty = False
            x = left + place % many * wide + (wide - small.width) // 2
            y = top + place // many * high + (high - small.height) // 2
            with self._lock:
                self.image.paste(small, (x, y))
        if is_empty:
            with self._lock:
                self._draw.rectangle((left, top, left + self._wide - 1, top + self._high - 1), fill=_WELL)
                self._write(wrapped(words, self._font, self._wide - 12, 3), left + 6, top + 6, _SOFT)

    def _small(self, file: ImageFile, room: tuple[int, int]) -> Image.Image | None:
        """Return an image scaled to `room`: from its thumbnail where that is large enough, as it is quicker to read."""
        name = thumbnail_name(file) if max(room) <= min(BOX) else None
        thumbnail = _small(self._files, f"{FOLDER}/{name}", room) if name else None
        return thumbnail or _small(self._files, file.path, room)

    def _write(self, lines: list[str], left: int, top: int, colour: str = _INK) -> None:
        for number, line in enumerate(lines):
            self._draw.text((left, top + number * _height(self._font)), line, fill=colour, font=self._font)


def _small(files: PlainFiles, path: str, room: tuple[int, int]) -> Image.Image | None:
    """Return an image at the size at which it fits into `room`; None if it cannot be read."""
    try:
        with files.open(path) as opened, Image.open(opened, formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
            if image.width * image.height > MOST_PIXELS:
                return None  # the record gave another size
            image.draft("RGB", room)
            has_alpha = image.has_transparency_data
            whole = image.convert("RGBA" if has_alpha else "RGB")
        scale = min(room[0] / whole.width, room[1] / whole.height)
        size = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
        small = whole.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        if not has_alpha:
            return small
        paper = Image.new("RGB", size, _PAPER)
        paper.paste(small, mask=small.getchannel("A"))
        return paper
    except FolderError:  # the folder is a copy, and its original cannot be reached
        raise
    except Exception:  # noqa: BLE001 - a decoder may raise anything on a damaged image; words stand for it
        return None


def wrapped(text: str, font: _Font, room: float, most: int) -> list[str]:
    """Return `text` as at most `most` lines no wider than `room` pixels; "…" ends a text that was cut."""
    # Control characters have no shape, and a lone surrogate makes drawing raise.
    units = _UNIT.findall(" ".join("".join(char if char.isprintable() else " " for char in text[:2000]).split()))
    lines: list[str] = []
    while units:
        if len(lines) == most:
            lines[-1] = _cut(f"{lines[-1]}…", font, room)
            break
        count = 1
        while count < len(units) and font.getlength("".join(units[: count + 1]).lstrip()) <= room:
            count += 1
        lines.append(_cut("".join(units[:count]).lstrip(), font, room))
        units = units[count:]
    return lines


def _cut(text: str, font: _Font, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= room else (low, middle - 1)
    return f"{text[:low].rstrip('…')}…"


def _height(font: _Font) -> int:
    return round((font.size if isinstance(font, ImageFont.FreeTypeFont) else 11) * 1.4)


@lru_cache(8)
def _font(size: int, is_east_asian: bool = False) -> _Font:
    """Return a font of the system that has many scripts, else Pillow's own, which is Latin only.

    `is_east_asian`: one for Chinese, Japanese and Korean, if the system has any.
    """
    for name in (*(_EAST_ASIAN_FONTS if is_east_asian else ()), *_FONTS):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size=size)
