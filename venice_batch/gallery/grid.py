"""A sweep as one picture: its images in a grid, with labels."""

from __future__ import annotations

import itertools
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from venice_batch.errors import UsageError
from venice_batch.gallery.sweeps import SweepFinder
from venice_batch.gallery.thumbnails import MOST_PIXELS
from venice_batch.output import manifest
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.plain_files import PlainFiles
from venice_batch.output.resume import LatestRecords

if TYPE_CHECKING:
    from pathlib import Path

    from venice_batch.gallery.sweeps import Sweep
    from venice_batch.model import Outcome

LARGEST_CELL = 512
"""Pixels of a cell's side, at most."""
SMALLEST_CELL = 48
"""Pixels of a cell's side, at least."""
MOST_GRID_PIXELS = 32_000_000
"""Pixels of all cells together, so that a grid takes about 100 MB while it is drawn."""
LONGEST_SIDE = 30_000
"""Pixels of a grid's side; few programs show larger images."""

_GAP = 8
_MARGIN = 24
_MOST_PROMPT_LINES = 6
_SHOWN_NAMES = 5
_PAPER, _INK, _SOFT, _WELL = "#ffffff", "#1a1917", "#615d56", "#eceae5"

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Cell(NamedTuple):
    """A job's images, by their paths in the folder, and the word that stands for missing ones."""

    files: tuple[str, ...]
    status: str


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
    drawn = _Drawing(sweep, prompt, cells, PlainFiles(root)).draw()
    with whole_file(path) as file:
        drawn.save(file, "PNG", compress_level=4)
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
    raise UsageError(f"--grid-of {which}: there is no such sweep; there are {known}")


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
    small = (file for file in outcome.files if 0 < (file.width or 0) * (file.height or 0) <= MOST_PIXELS)
    return _Cell(tuple(file.path for file in small), str(outcome.status) if not outcome.files else "no image to show")


class _Drawing:
    """The picture of a sweep: a title, the prompt, labels and cells."""

    def __init__(self, sweep: Sweep, prompt: str, cells: dict[int, _Cell], files: PlainFiles) -> None:
        self._sweep = sweep
        self._prompt = "" if prompt == sweep.name else prompt
        self._cells = cells
        self._files = files
        self._drawing = threading.Lock()

    def draw(self) -> Image.Image:
        axes, down, across = self._sweep.axes, self._sweep.down, self._sweep.across
        rest = [at for at in range(len(axes)) if at not in (down, across)]
        sides = [*rest] if down is None else [*rest, down]
        # Only combinations that have a job get rows.
        taken = {tuple(cell[at] for at in sides) for cell in self._sweep.cells}
        rows = [row for row in itertools.product(*(range(len(axes[at].values)) for at in sides)) if row in taken]
        columns = axes[across].values
        side = cell_side(len(columns), len(rows))
        text = _font(max(12, min(20, side // 12)))
        title = _font(26)
        line = _height(text)

        labels = [
            [f"{axes[at].field}: {axes[at].values[place]}" for at, place in zip(sides, row, strict=True)]
            for row in rows
        ]
        widest = max((text.getlength(part) for parts in labels for part in parts), default=0)
        left = _MARGIN + (min(int(widest), max(140, side)) + 2 * _GAP if sides else 0)
        width = max(left + len(columns) * (side + _GAP) - _GAP + _MARGIN, 480)
        room = width - 2 * _MARGIN
        heading = [(part, title, _INK) for part in wrapped(self._sweep.name, title, room, 2)]
        heading += [(part, text, _SOFT) for part in wrapped(self._prompt, text, room, _MOST_PROMPT_LINES)]
        heads = [wrapped(value, text, side, 3) for value in (f"{axes[across].field}: {value}" for value in columns)]
        top = _MARGIN + sum(_height(font) for _, font, _ in heading) + _GAP
        first = top + line * max(map(len, heads)) + _GAP
        image = Image.new("RGB", (width, first + len(rows) * (side + _GAP) - _GAP + _MARGIN), _PAPER)
        draw = ImageDraw.Draw(image)

        y = _MARGIN
        for part, font, colour in heading:
            draw.text((_MARGIN, y), part, fill=colour, font=font)
            y += _height(font)
        for number, parts in enumerate(heads):
            for place, part in enumerate(parts):
                draw.text((left + number * (side + _GAP), top + place * line), part, fill=_INK, font=text)
        for number, parts in enumerate(labels):
            shown = [piece for part in parts for piece in wrapped(part, text, left - _MARGIN - _GAP, 2)]
            for place, part in enumerate(shown[: max(1, side // line)]):
                at = (_MARGIN, first + number * (side + _GAP) + place * line)
                draw.text(at, part, fill=_INK, font=text)

        numbers = {row: number for number, row in enumerate(rows)}
        tasks = []
        for cell in self._sweep.cells:
            row = numbers[tuple(cell[at] for at in sides)]
            place = (left + cell[across] * (side + _GAP), first + row * (side + _GAP))
            tasks.append((cell[-1], place))
        # Pillow releases the interpreter's lock while it decodes and scales.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            made = threads.map(lambda task: self._fill(image, draw, text, side, *task), tasks)
            try:
                for _ in made:
                    pass
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for all of the others
                raise
        return image

    def _fill(
        self, image: Image.Image, draw: ImageDraw.ImageDraw, font: _Font, side: int, number: int, at: tuple[int, int]
    ) -> None:
        """Draw a job's images into its cell; several share it."""
        files, status = self._cells[number]
        across = math.ceil(math.sqrt(len(files)))
        part = side // max(1, across)
        is_empty = True
        for place, path in enumerate(files):
            small = self._small(path, part if across == 1 else part - 2)
            if small is None:
                continue
            is_empty = False
            x = at[0] + place % across * part + (part - small.width) // 2
            y = at[1] + place // across * part + (part - small.height) // 2
            with self._drawing:
                image.paste(small, (x, y))
        if is_empty:
            with self._drawing:
                draw.rectangle((*at, at[0] + side - 1, at[1] + side - 1), fill=_WELL)
                for place, words in enumerate(wrapped(status if not files else "no image to show", font, side - 12, 3)):
                    draw.text((at[0] + 6, at[1] + 6 + place * _height(font)), words, fill=_SOFT, font=font)

    def _small(self, path: str, side: int) -> Image.Image | None:
        try:
            with self._files.open(path) as opened, Image.open(opened, formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
                if image.width * image.height > MOST_PIXELS:
                    return None  # the record gave another size
                image.draft("RGB", (side, side))
                has_alpha = image.has_transparency_data
                small = image.convert("RGBA" if has_alpha else "RGB")
            scale = min(side / small.width, side / small.height)
            size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
            small = small.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
            if not has_alpha:
                return small
            paper = Image.new("RGB", small.size, _PAPER)
            paper.paste(small, mask=small.getchannel("A"))
            return paper
        except Exception:  # noqa: BLE001 - a decoder may raise anything on a damaged image; a word stands for it
            return None


def wrapped(text: str, font: _Font, room: float, most: int) -> list[str]:
    """Return `text` as at most `most` lines no wider than `room` pixels; "…" stands for what is left out."""
    # Control characters have no shape, and a lone surrogate makes drawing raise.
    words = "".join(char if char.isprintable() else " " for char in text[:2000]).split()
    lines: list[str] = []
    while words:
        if len(lines) == most:
            lines[-1] = _cut(f"{lines[-1]}…", font, room)
            break
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= room:
            count += 1
        lines.append(_cut(" ".join(words[:count]), font, room))
        words = words[count:]
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
def _font(size: int) -> _Font:
    """Return a font of the system that has many scripts, else Pillow's own, which is Latin only."""
    for name in ("DejaVuSans.ttf", "Arial Unicode.ttf", "segoeui.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size=size)
