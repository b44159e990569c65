"""Write an output folder's images as the tree that a scorer walks."""

from __future__ import annotations

import json
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from venice_batch.errors import TwiceError, UsageError
from venice_batch.output import manifest
from venice_batch.output.plain_files import on_disk
from venice_batch.report.export.choice import InJobOrder
from venice_batch.report.export.journal import Part
from venice_batch.report.export.layouts import LAYOUTS, Spot, is_cut, line_of, style_of
from venice_batch.report.export.pixels import UndecodableError, UnlikeError, as_png, grid
from venice_batch.report.export.place import Placer
from venice_batch.report.export.samples import Samples
from venice_batch.report.export.tally import Tally
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from venice_batch.model import Job, Outcome
    from venice_batch.report.export.layouts import Layout
    from venice_batch.report.export.pixels import Grid
    from venice_batch.report.export.place import Rewrite
    from venice_batch.report.export.samples import Configuration, Place

_LINES = "metadata.jsonl"


class Tree(NamedTuple):
    """The tree that was written: `images` of `prompts`, of `configurations` models or settings, in `files`.

    `notes` say how to use it, `warnings` what it lacks; each is a sentence for the user.
    """

    images: int
    files: int
    prompts: int
    configurations: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{counted(self.images, 'image', grouped=True)} of {counted(self.prompts, 'prompt', grouped=True)}"
        text += f" in {counted(self.files, 'grid', grouped=True)}" if self.files != self.images else ""
        return text + (f", {self.configurations} models or settings" if self.configurations > 1 else "")


def write_tree(
    folder: Path,
    name: str,
    target: Path,
    *,
    copy: bool = False,
    flagged: bool = False,
    rewrite: Rewrite | None = None,
    jobs: Callable[[], Iterable[Job]] | None = None,
) -> Tree:
    """Write the images of the output folder `folder` to `target` in the layout `name`.

    Images are links where they can be; those of a format that the scorer does not look for become PNG with the same
    pixels. Each model has a folder of its own if there are several, and so has each combination of other fields that a
    line varies. The next export into the target updates it.

    Args:
        folder: the output folder; its records may come from anybody.
        name: one of `LAYOUTS`.
        target: the folder to write.
        copy: copy images instead of linking them.
        flagged: take images that are flagged or rejected, see `Choice`.
        rewrite: makes an image's new content, as for `Placer`; it comes after the change to PNG.
        jobs: yields all jobs of the jobs file, whose lines number the prompts then. Images of no job are left out.
            None: the records number them, as far as they can.

    Raises:
        UsageError: no job has a prompt, or the style of one is not known.
        FolderError: the folder cannot be read, or the target cannot be written.
    """
    layout = LAYOUTS[name]
    records = InJobOrder(folder / manifest.NAME)
    samples = Samples(records, None if jobs is None else jobs())
    if not samples.configurations:
        raise UsageError(f"--layout {name}: no job of {folder} has a prompt")
    roots = _Roots(layout, folder.resolve().name, samples.configurations)
    roots.survey(zip(records, samples.places, strict=False), zip(jobs() if jobs else (), samples.of_jobs, strict=False))
    with ExitStack() as stack, ThreadPoolExecutor(os.cpu_count()) as threads:

        def placer(below: str) -> Placer:
            kind = f"layout {name}"
            made = Placer(folder, target / below, copy=copy, rewrite=rewrite, kind=kind, flagged=flagged)
            return stack.enter_context(made)

        # An earlier tree is emptied even if no image is left.
        placers = {} if layout.has_styles else {"": placer("")}
        writer = _Writer(layout, samples, placer, placers, threads, rewrite)
        try:
            for record, place in zip(records, samples.places, strict=False):
                if place is not None:
                    writer.add(record, place, roots)
            return writer.finish()
        except TwiceError as error:
            placed = zip(records, samples.places, strict=False)
            named = (
                record.id
                for record, place in placed
                if place is not None
                for _, root, below, spot in _spots(record, place, samples, roots)
                if target / root / below / on_disk(layout.path(spot) + layout.suffix) == error.path
            )
            ids = list(islice(named, 2))
            if len(set(ids)) < 2:
                raise
            what = f"{ids[0]!r} and {ids[1]!r} would both have this name"
            remedy = f"give one another id, index or item_id, and run into a new folder with --reuse {folder}"
            raise TwiceError(error.path, f"{what}; {remedy}: nothing is bought") from error


def _spots(record: Outcome, place: Place, samples: Samples, roots: _Roots) -> Iterator[tuple[int, str, str, Spot]]:
    """Yield each image of a job by its number from 1, with what `_Roots.of` says of it."""
    of_prompt = samples.configurations[place.configuration].samples
    for number in range(1, len(record.files) + 1):
        yield number, *roots.of(Spot(record, place.prompt, place.sample + number - 1, of_prompt), place.configuration)


class _Roots:
    """The folder of each image: that of an export with a journal of its own, and the one below it.

    HPSv2's scorer takes every name beside the folders of styles for a style. So each style is an export of its own,
    with its journal among the images. It reads one image of each prompt, so further samples have folders of their own.
    """

    def __init__(self, layout: Layout, folder: str, configurations: Sequence[Configuration]) -> None:
        self._has_styles = layout.has_styles
        self._folder = folder
        self._names = [one.name if len(configurations) > 1 else "" for one in configurations]
        self._numbers: dict[tuple[int, str], dict[int, int]] = {}

    def survey(self, records: Iterable[tuple[Outcome, Place | None]], jobs: Iterable[tuple[Job, Place | None]]) -> None:
        """Count the prompts of each style from 0, if there are several styles.

        Raises:
            UsageError: a record has no style. A job without one may have no record either.
        """
        if not self._has_styles:
            return
        found: dict[tuple[int, str], set[int]] = {}

        def add(job: Outcome | Job, place: Place | None) -> None:
            if place is not None:
                found.setdefault((place.configuration, style_of(job, self._folder)), set()).add(place.prompt)

        for record, place in records:
            add(record, place)
        for job, place in jobs:
            with suppress(UsageError):
                add(job, place)
        if len({style for _, style in found}) > 1:
            self._numbers = {key: {one: at for at, one in enumerate(sorted(of))} for key, of in found.items()}

    def of(self, spot: Spot, configuration: int) -> tuple[str, str, Spot]:
        """Return both folders, "" for none, and the spot with the number of the prompt that the scorer counts."""
        name = self._names[configuration]
        if not self._has_styles:
            return "", name, spot
        style = style_of(spot.record, self._folder)
        numbers = self._numbers.get((configuration, style))
        sample = f"sample-{spot.sample}" if spot.samples > 1 else ""
        parts = ["_".join(filter(None, (name, sample))), style]
        return "/".join(filter(None, parts)), "", spot._replace(prompt=numbers[spot.prompt]) if numbers else spot


class _Image(NamedTuple):
    """An image to place: its spot, its number in its record from 1, its placer and the folder below that.

    `prompt` is a key that the samples of a prompt share: its configuration and its number.
    """

    spot: Spot
    number: int
    prompt: tuple[int, int]
    placer: Placer
    below: str

    def path(self, layout: Layout) -> str:
        """Return the image's path below the placer's folder."""
        return f"{self.below}/{layout.path(self.spot)}{layout.suffix}".lstrip("/")

    @property
    def part(self) -> Part:
        """The image as a part of a file."""
        record = self.spot.record
        return Part(record.files[self.number - 1].sha256, record.id, self.number)

    def is_kept(self, path: str) -> bool:
        """Return whether an earlier tree has what would be made of the image, which is kept then."""
        is_taken = self.placer.choice.reason(self.spot.record, self.number) is None
        return is_taken and self.placer.keeps(path, (self.part,))

    def read(self) -> bytes | None:
        """Return the image's content; None if it is left out."""
        return self.placer.choice.read(self.spot.record, self.number)


class _Writer:
    """Places the images of a tree, decodes several at a time, and counts what it does."""

    def __init__(
        self,
        layout: Layout,
        samples: Samples,
        placer: Callable[[str], Placer],
        placers: dict[str, Placer],
        threads: ThreadPoolExecutor,
        rewrite: Rewrite | None,
    ) -> None:
        self._layout = layout
        self._samples = samples
        self._make_placer = placer
        self._placers = placers
        self._threads = threads
        self._rewrite = rewrite
        self._images = self._files = 0
        self._prompts: set[tuple[int, int]] = set()
        self._tally = Tally(layout, samples)
        self._gathered: dict[tuple[int, int], list[_Image]] = {}
        self._under_way: deque[tuple[Future[Any], Callable[[Any], None], str]] = deque()

    def add(self, record: Outcome, place: Place, roots: _Roots) -> None:
        """Place the images of a job."""
        if missing := place.images - len(record.files):
            self._tally.missing.add(record.id, missing)
        samples = self._samples.configurations[place.configuration].samples
        cells = min(samples, self._layout.samples)
        for number, root, below, spot in _spots(record, place, self._samples, roots):
            if root not in self._placers:
                self._placers[root] = self._make_placer(root)
            image = _Image(spot, number, (place.configuration, place.prompt), self._placers[root], below)
            if not self._layout.is_grid:
                self._put(image)
            elif spot.sample >= cells:
                self._tally.spare += 1
            elif cells == 1:
                file = record.files[number - 1]
                if file.width and file.height:
                    self._tally.sizes[file.width, file.height] += 1
                self._put(image)
            else:
                self._gather(image, cells)

    def finish(self) -> Tree:
        """Wait for what is under way; return the result."""
        self._settle(0)
        for images in self._gathered.values():
            self._tally.short.add(images[0].spot.record.id)
        lines = dict.fromkeys(line for placer in self._placers.values() for line in placer.lines())
        return Tree(
            self._images,
            self._files,
            len({prompt for _, prompt in self._prompts}),
            len(self._samples.configurations),
            tuple(self._tally.notes()),
            (*self._tally.warnings(), *lines),
        )

    def _put(self, image: _Image) -> None:
        record = image.spot.record
        kind = record.files[image.number - 1].format
        path = image.path(self._layout)
        if not self._layout.is_png or kind == "png":
            if image.placer.put(record, image.number, path):
                if not self._layout.is_png and kind != "jpeg":
                    self._tally.changed[kind] += 1
                self._placed(image)
            return
        if image.is_kept(path):
            self._placed(image)
            return
        data = image.read()
        if data is None:
            return

        def write(png: bytes) -> None:
            if self._rewrite is not None:
                file = msgspec.structs.replace(record.files[image.number - 1], format="png")
                png = self._rewrite(png, record, file, image.number)
            with image.placer.writing(path, of=(image.part,)) as out:
                out.write(png)
            self._tally.changed[kind] += 1
            self._placed(image)

        self._start(lambda: as_png(data), write, record.id)

    def _gather(self, image: _Image, cells: int) -> None:
        """Keep an image until the others of its grid are there."""
        if not image.placer.choice.takes(image.spot.record, image.number):
            return
        images = self._gathered.setdefault(image.prompt, [])
        images.append(image)
        if len(images) < cells:
            return
        del self._gathered[image.prompt]
        images.sort(key=lambda one: one.spot.sample)
        path, of = images[0].path(self._layout), tuple(one.part for one in images)

        def placed(width: int | None, height: int | None) -> None:
            if width and height:
                self._tally.sizes[width, height] += 1
            self._files += 1
            self._images += cells
            self._prompts.add(image.prompt)

        if image.placer.keeps(path, of):
            file = image.spot.record.files[image.number - 1]
            placed(file.width, file.height)
            return
        contents = [data for one in images if (data := one.read()) is not None]
        if len(contents) < cells:
            self._tally.short.add(image.spot.record.id)
            return

        def write(found: Grid) -> None:
            with image.placer.writing(path, of=of) as out:
                out.write(found.png)
            placed(found.width, found.height)

        self._start(lambda: grid(contents), write, image.spot.record.id)

    def _placed(self, image: _Image) -> None:
        """Count an image, and write its prompt's line with the first one."""
        self._images += 1
        self._files += 1
        if self._layout.names_prompts and is_cut(image.spot):
            self._tally.cut.add(image.spot.record.id)
        if image.prompt in self._prompts:
            return
        self._prompts.add(image.prompt)
        if not self._layout.has_lines:
            return
        line = line_of(image.spot.record)
        if "tag" not in line:
            self._tally.without_tag.add(image.spot.record.id)
        folder = image.path(self._layout).rsplit("/", 2)[0]
        with image.placer.writing(f"{folder}/{_LINES}") as out:
            out.write(json.dumps(line).encode() + b"\n")

    def _start(self, make: Callable[[], Any], write: Callable[[Any], None], job_id: str) -> None:
        """Make something in a thread and write it here, in the order of the calls."""
        self._under_way.append((self._threads.submit(make), write, job_id))
        self._settle(2 * (os.cpu_count() or 1))

    def _settle(self, most: int) -> None:
        """Write what is made, until at most this number of images is under way."""
        while len(self._under_way) > most:
            made, write, job_id = self._under_way.popleft()
            try:
                found = made.result()
            except UnlikeError:
                self._tally.unlike.add(job_id)
            except UndecodableError:
                self._tally.undecodable.add(job_id)
            else:
                write(found)
