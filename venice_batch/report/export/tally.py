"""What a scorer's tree lacks, counted while it is written, as sentences for the user."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from venice_batch.report.export.layouts import Layout
    from venice_batch.report.export.samples import Samples

_SPELLED = {"webp": "WebP"}


class First:
    """Counts things; as a text it is the id of the first job and the number of the others."""

    def __init__(self) -> None:
        self.count = 0
        self._id = ""

    def add(self, job_id: str, count: int = 1) -> None:
        """Count `count` more things of a job."""
        self.count += count
        self._id = self._id or job_id

    def __str__(self) -> str:
        return f"{self._id}, and {self.count - 1:,} more" if self.count > 1 else self._id


class Tally:
    """Counts about one tree.

    `missing` counts samples of jobs without image, `short` prompts without all images of their grid, `spare` images for
    which a grid has no cell, `unlike` prompts with images of different sizes, `without_tag` prompts without a tag
    of GenEval, `cut` names without the whole prompt. `changed` counts images by their format that got another one or
    another ending, `sizes` the sizes of a grid's cells.
    """

    def __init__(self, layout: Layout, samples: Samples) -> None:
        self._layout = layout
        self._samples = samples
        self.missing, self.short, self.unlike, self.undecodable = First(), First(), First(), First()
        self.without_tag, self.cut = First(), First()
        self.spare = 0
        self.changed: Counter[str] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()

    def notes(self) -> Iterator[str]:
        """Yield sentences about the images and how to score them."""
        layout = self._layout
        for kind, count in self.changed.items():
            images = counted(count, f"{_SPELLED.get(kind, kind.upper())} image", grouped=True)
            if layout.is_png:
                yield f"made PNG of {images}, with the same pixels; --set format=png makes PNG from the start"
            else:
                yield f"named {images} {layout.suffix} as they are; {layout.reader}'s scorer goes by their content"
        most = max(one.samples for one in self._samples.configurations)
        if layout.has_styles and most > 1:
            yield f"each of the {most} samples of a prompt has a folder of its own, sample-0 and so on; score each"
        if layout.is_grid and len(self.sizes) == 1:
            ((width, height),) = self.sizes
            if width == height:
                yield f"score it with --resolution {width} --pic-num {min(most, layout.samples)}"

    def warnings(self) -> Iterator[str]:
        """Yield sentences about what the tree lacks."""
        layout = self._layout
        if self.missing.count:
            rest = f"; {layout.if_missing}" if layout.if_missing else ""
            yield f"{counted(self.missing.count, 'sample')} missing, of jobs without image: {self.missing}{rest}"
        if self._samples.strangers:
            strangers = counted(self._samples.strangers, "job")
            yield f"left out {strangers} that the jobs file no longer has, or has with another request"
        if not self._samples.is_certain and layout.is_by_line:
            yield (
                "the records do not tell which lines the prompts come from, so their numbers may be wrong; run the"
                " whole jobs file with --layout, which sends nothing that is done"
            )
        if self._samples.unseen:
            yield f"{counted(self._samples.unseen, 'job')} of the jobs file without a record; run it again, then export"
        most = min(one.samples for one in self._samples.configurations)
        few = sum(one.short for one in self._samples.configurations)
        if layout.samples > most and not layout.is_grid:
            seeds = ",".join(map(str, range(1, layout.samples + 1)))
            yield (
                f"{layout.reader}'s scorer reads {layout.samples} samples of each prompt, and the jobs file makes"
                f" {most}; --matrix seed={seeds} makes {layout.samples}"
            )
        elif few and layout.samples:
            yield f"{counted(few, 'prompt')} with fewer than {most} samples in the jobs file"
        if self.short.count:
            yield f"left out {counted(self.short.count, 'prompt')} without all images of a grid: {self.short}"
        if self.spare:
            yield f"left out {counted(self.spare, 'image')}: a grid holds the first {layout.samples} of a prompt"
        if self.unlike.count:
            yield f"left out {counted(self.unlike.count, 'prompt')} with images of different sizes: {self.unlike}"
        if self.undecodable.count:
            what = counted(self.undecodable.count, "prompt" if layout.is_grid else "image")
            yield f"left out {what} that cannot be decoded: {self.undecodable}"
        if layout.is_grid and (len(self.sizes) > 1 or any(width != height for width, height in self.sizes)):
            sizes = ", ".join(sorted(f"{width}×{height}" for width, height in self.sizes)[:4])
            yield f"{layout.reader}'s scorer cuts squares of one size, and the images have {sizes}"
        if self.without_tag.count:
            what = counted(self.without_tag.count, "prompt")
            yield f"{what} without metadata.tag, which {layout.reader}'s scorer needs: {self.without_tag}"
        if self.cut.count:
            what = counted(self.cut.count, "name")
            yield f"{what} without the prompt as it is, which is too long or has / or _: {self.cut}"
