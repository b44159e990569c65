"""The card of a dataset: its README, with the header that the Hugging Face Hub reads."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from venice_batch.errors import one_line
from venice_batch.money import cost_text, micro_usd, usd_text
from venice_batch.output.atomic_file import whole_file
from venice_batch.output.plain_files import open_plain
from venice_batch.report.export.columns import ColumnType
from venice_batch.text_format import counted, size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from venice_batch.model import ImageFile, Outcome
    from venice_batch.report.export.columns import Column

NAME = "README.md"

_SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))
_TYPES = {
    ColumnType.BOOL: "bool",
    ColumnType.INT: "int64",
    ColumnType.FLOAT: "float64",
    ColumnType.TEXT: "string",
    ColumnType.TIME: "timestamp[ms, tz=UTC]",
}
_MARK = re.compile(r"\n<!-- venice-batch export ([0-9a-f]{16}) -->\n$")

_MEANINGS = {
    "text": "the prompt; for an image made from another one without a prompt, as by an upscale, that one's",
    "txt": "the same as `json.text`",
    "id": "the job that made the image",
    "image_number": "the number of the image in its job, from 1",
    "model": "the model that made it",
    "width": "in pixels",
    "height": "in pixels",
    "format": "the image format, read from the bytes",
    "sha256": "the digest of the image as it was received",
    "cost_usd": "the price by the model's list of prices, divided among the images of the job",
    "sandbox": "whether a simulator drew the image instead of the model",
    "parent_id": "the job whose image this one was made from",
    "enhanced_prompt": "the prompt as the server rewrote it",
}


@dataclass(slots=True)
class _Share:
    """The images of one model."""

    images: int = 0
    bytes: int = 0
    micro_usd: int = 0
    unpriced: int = 0
    sandbox: int = 0


class Card:
    """Counts the images of a dataset as they are added, and writes its card.

    The card holds nothing of the key or of this computer, and no time of its own: the same images make the same card.
    """

    def __init__(self) -> None:
        self._models: dict[str, _Share] = {}
        self._formats: Counter[str] = Counter()
        self._days: tuple[str, str] | None = None
        self._jobs: set[int] = set()
        self.images = self.without_text = 0

    def add(self, record: Outcome, image: ImageFile, text: str) -> None:
        """Count an image of the dataset."""
        share = self._models.setdefault(record.lane, _Share())
        share.images += 1
        share.bytes += image.bytes
        share.sandbox += record.sandbox
        if record.spent_usd is None:
            share.unpriced += 1
        else:
            share.micro_usd += round(micro_usd(record.spent_usd) / len(record.files))
        self._formats[image.format] += 1
        self._jobs.add(hash(record.id))
        self.images += 1
        self.without_text += not text
        if (day := _day(record.timing.enqueued_at)) is not None:
            first, last = self._days or (day, day)
            self._days = min(first, day), max(last, day)

    @property
    def formats(self) -> list[str]:
        """Return the formats of the images, the most common first."""
        return [name for name, _ in self._formats.most_common()]

    def text(
        self,
        title: str,
        load: str,
        columns: Sequence[tuple[str, str]],
        left_out: Sequence[str] = (),
    ) -> bytes:
        """Return the card.

        Args:
            title: the dataset's name.
            load: the statement of Python that loads it.
            columns: names and types of its columns, as `datasets` calls these.
            left_out: a line for each reason why images are not in it.
        """
        title = one_line(title)
        parts = [
            self._header(title),
            f"# {_plain(title)}\n\n{self._summary()}",
            self._table(),
            f"## Load it\n\n```python\nfrom datasets import load_dataset\n\n{load}\n```",
            _described(columns),
        ]
        if left_out:
            parts.append("\n".join(("## Not in the dataset", "", *(f"- {line}" for line in left_out))))
        text = "\n\n".join(parts) + "\n"
        return f"{text}{_mark(text)}".encode("utf-8", "replace")

    def _header(self, title: str) -> str:
        category = next((name for name, limit in _SIZES if self.images < limit), "n>10M")
        lines = [
            f"pretty_name: {_quoted(title)}",
            "task_categories:",
            "- text-to-image",
            "size_categories:",
            f"- {category}",
            "annotations_creators:",
            "- machine-generated",
            "tags:",
            "- synthetic",
            "- ai-generated",
            "- venice-batch",
        ]
        return "\n".join(("---", *lines, "---"))

    def _summary(self) -> str:
        sandbox = sum(share.sandbox for share in self._models.values())
        if sandbox == self.images:
            made = (
                "**No image is by a real model: the sandbox of venice-batch, a simulator, has drawn all of them**, and "
                "no real money was spent."
            )
        else:
            made = "AI models have made all images from text prompts; none is a photograph or the work of a person."
            if sandbox:
                made += (
                    f" **{counted(sandbox, 'image')} of them {'is' if sandbox == 1 else 'are'} no model's: "
                    "the sandbox of venice-batch, a simulator, has drawn them** (column `sandbox`)."
                )
        first, last = self._days or ("", "")
        when = "" if not first else f", made on {first}" if first == last else f", made from {first} to {last} (UTC)"
        names = ", ".join(f"{name} ({count})" for name, count in self._formats.most_common())
        total = size(sum(share.bytes for share in self._models.values()))
        return (
            f"{counted(self.images, 'image', grouped=True)} of {counted(len(self._jobs), 'job', grouped=True)}{when}. "
            f"{made}\n\nFormats: {_plain(names)}; {total} in all. Requested and exported with venice-batch. This card "
            "names no licence: add the one that the models' terms allow you to give."
        )

    def _table(self) -> str:
        """Return the models with their images and prices."""
        lines = ["## Models", "", "| model | images | USD | USD an image |", "|---|---:|---:|---:|"]
        for name, share in sorted(self._models.items(), key=lambda item: (-item[1].images, item[0])):
            priced = share.images - share.unpriced
            cost = f"{'≥ ' if share.unpriced else ''}{usd_text(share.micro_usd)}" if priced else "?"
            each = usd_text(round(share.micro_usd / priced)) if priced else "?"
            lines.append(f"| {_plain(name)} | {share.images:,} | {cost} | {each} |")
        total = sum(share.micro_usd for share in self._models.values())
        unpriced = sum(share.unpriced for share in self._models.values())
        sandbox = sum(share.sandbox for share in self._models.values())
        amount = None if unpriced == self.images else total / 1e6
        sandbox_usd = amount or 0.0 if sandbox == self.images else 0.0
        text = cost_text(amount, unpriced, sandbox_usd=sandbox_usd) or "price not known"
        lines += ["", f"In all: {text}, by the lists of prices at that time."]
        return "\n".join(lines)


def types(table: Sequence[Column]) -> list[tuple[str, str]]:
    """Return the names and types of columns as `datasets` calls these."""
    return [(column.name, _TYPES[column.kind]) for column in table]


def write_beside(path: Path, text: bytes) -> bool:
    """Write a card to `README.md` beside the file `path`; return False if another text or card is there, which stays.

    Raises:
        FolderError: it cannot be written.
    """
    place = path.with_name(NAME)
    try:
        with os.fdopen(open_plain(place), "rb") as file:
            before = file.read().decode("utf-8", "replace")
        if not _is_unchanged(before) or _titles(before) != _titles(text.decode()):
            return False
    except FileNotFoundError:
        pass
    except OSError:
        return False
    with whole_file(place, follow=False) as file:
        file.write(text)
    return True


def _is_unchanged(text: str) -> bool:
    """Return whether this is a card that nobody has changed."""
    found = _MARK.search(text)
    return found is not None and _mark(text[: found.start()]) == found[0]


def _titles(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("# ")]


def _mark(text: str) -> str:
    """Return the last line of a card, by which it is known again."""
    return f"\n<!-- venice-batch export {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def _described(columns: Sequence[tuple[str, str]]) -> str:
    lines = ["## Columns", "", "| column | type | holds |", "|---|---|---|"]
    for name, kind in columns:
        code = one_line(name).replace("`", "'").replace("|", "\\|")
        lines.append(f"| `{code}` | {kind} | {_meaning(name, kind)} |")
    return "\n".join(lines)


def _meaning(name: str, kind: str) -> str:
    name = name.removeprefix("json.")
    if kind == "image":
        return "the image"
    if name.startswith("metadata."):
        return "given with the job"
    if name.startswith("annotation."):
        return "said of the image afterwards, as by a scorer"
    return _MEANINGS.get(name, "a field of the request")


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, also in a table."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", one_line(text))


def _quoted(text: str) -> str:
    """Return text as a string of YAML, which has those of JSON."""
    return msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()


def _day(moment: str) -> str | None:
    try:
        found = datetime.fromisoformat(moment)
        return (found.astimezone(UTC) if found.tzinfo else found).date().isoformat()
    except (ValueError, OverflowError):
        return None
