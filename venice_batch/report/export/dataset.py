"""The rows of a dataset: an image, its text, and columns about it that have one type throughout."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, NamedTuple

from venice_batch.image_format import EXTENSIONS
from venice_batch.jobfile.pictures import FIELD
from venice_batch.output.folder import IMAGES, REJECTED
from venice_batch.output.naming import case_key
from venice_batch.report.export.columns import ColumnType, Row, columns, rows
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from venice_batch.model import ImageFile, Outcome
    from venice_batch.output.annotations import Annotations
    from venice_batch.report.export.columns import Cell, Column

_OF_TABLES = {
    "id": "id",
    "image": "image_number",
    "lane": "model",
    "width": "width",
    "height": "height",
    "format": "format",
    "sha256": "sha256",
    "cost_usd": "cost_usd",
    "sandbox": "sandbox",
    "parent_id": "parent_id",
    "enhanced_prompt": "enhanced_prompt",
}
"""The columns of a table that a dataset has too, with their names there: its `image` is the picture itself."""

_LEFT_OUT = frozenset({"prompt", "model", "modelId", "width", "height", "format", "return_binary", "variants"}).union(
    FIELD.values()
)
"""Fields of a request that say nothing more of an image, or that hold pictures and their paths."""

_TAKEN = frozenset({"file_name", "text", "image", *_OF_TABLES.values()})

_NAMES_A_FILE = re.compile(r"file_name(s?)$")
"""The end of a column's name that makes `datasets` read its values as paths of images."""

_SPACE = re.compile(r"\s+")


class Found(NamedTuple):
    """An image of the records, with its text."""

    row: Row
    record: Outcome
    image: ImageFile
    number: int
    text: str


class Images:
    """The images of records with their texts, one after the other; counts the jobs that have none.

    `records` is read twice at most, and again by each iteration.
    """

    def __init__(self, records: Iterable[Outcome]) -> None:
        self._records = records
        self._texts = Texts(records)
        self.without = 0

    def __iter__(self) -> Iterator[Found]:
        self.without = 0
        for record in self._records:
            self.without += not record.files
            text = self._texts.of(record)
            for number, image in enumerate(record.files, start=1):
                yield Found(Row(record, image, number), record, image, number, text)

    def left_out(self) -> list[str]:
        """Return a line about the jobs without an image, if there are any."""
        return [f"{counted(self.without, 'job')}: failed or rejected, no image"] if self.without else []


class Texts:
    """The text of each image: its prompt, or the prompt behind the image that it was made from.

    So an upscale keeps the text of its original. The prompt of an edit is its instruction.
    """

    def __init__(self, records: Iterable[Outcome]) -> None:
        """Read `records` once, or twice if there are derived images without a prompt."""
        self._prompts: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        if not any(record.parent is not None and not _prompt(record) for record in records):
            return
        for record in records:
            if prompt := _prompt(record):
                self._prompts[record.id] = prompt
            elif record.parent is not None:
                self._parents[record.id] = record.parent.id
            # A job of neither kind, such as an upscale of a local picture, has no text to give.

    def of(self, record: Outcome) -> str:
        """Return the text of a record's images; "" without any."""
        if prompt := _prompt(record):
            return prompt
        name = record.parent.id if record.parent is not None else ""
        seen: set[str] = set()
        while name in self._parents and name not in seen:
            seen.add(name)
            name = self._parents[name]
        return self._prompts.get(name, "")


def caption(text: str) -> str:
    """Return a text as one line: trainers read no more than the first line of a caption."""
    return _SPACE.sub(" ", text).strip()


def dataset_columns(records: Iterable[Outcome], annotations: Annotations | None = None) -> list[Column]:
    """Return the columns about an image that a dataset has besides the image and its text; reads `records` twice.

    First come those that every dataset may have, then the fields of the requests under their own names, then
    `metadata.KEY`, then `annotation.NAME`. Each holds values of one type, as `datasets` needs it. Left out are columns
    about the run, columns that are empty for all images, and pictures that were sent.
    """
    found: dict[str, Column] = {}
    for column in columns(records, annotations):
        name = _name(column.name)
        if name is not None and column.kind is not ColumnType.TIME:
            found.setdefault(name, dataclasses.replace(column, name=name))
    empty = dict(found)
    for row in rows(records):
        for name in [name for name, column in empty.items() if row.image and column.cell(row) is not None]:
            del empty[name]
    order = {name: place for place, name in enumerate(_OF_TABLES.values())}
    used = (column for name, column in found.items() if name not in empty)
    return sorted(used, key=lambda column: order.get(column.name, len(order)))


def values(table: list[Column], row: Row) -> dict[str, Cell]:
    """Return the row's cells by the names of their columns, without empty ones.

    `datasets` takes a column's type from the first rows. One that is empty there and not later is an error, while one
    that appears later is not.
    """
    cells = ((column.name, column.cell(row)) for column in table)
    return {name: cell for name, cell in cells if cell is not None}


class Names:
    """Gives each image of a dataset a name without ending that no other has, also where case does not count.

    Args:
        shape: makes a name from the path of an image below the folder `images`, without its ending.
    """

    def __init__(self, shape: Callable[[str], str] = lambda name: name) -> None:
        self._shape = shape
        self._taken: set[str] = set()

    def of(self, image: ImageFile) -> str:
        """Return the image's name; a number follows where another image has it."""
        name = wanted = self._shape(_stem(image.path)) or "_"
        copy = 1
        while (key := case_key(name)) in self._taken:
            copy += 1
            name = f"{wanted}-{copy}"
        self._taken.add(key)
        return name


def ending(image: ImageFile) -> str:
    """Return the ending of an image's name, with its dot."""
    return f".{EXTENSIONS.get(image.format, 'bin')}"


def _stem(path: str) -> str:
    """Return the path of an image below its folder, without its ending."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")] or [""]
    if len(parts) > 1 and parts[0] in (IMAGES, REJECTED):
        del parts[0]
    stem, _, _ = parts[-1].rpartition(".")
    return "/".join((*parts[:-1], stem or parts[-1]))


def _prompt(record: Outcome) -> str:
    """Return the prompt in a request, or the one that `jobs-from` noted of a job that takes none; "" without any."""
    for found in (record.request.get("prompt"), (record.metadata or {}).get("prompt")):
        if isinstance(found, str) and found.strip():
            return found
    return ""


def _name(name: str) -> str | None:
    """Return the name in a dataset of a table's column; None if a dataset has no such column."""
    kind, dot, field = name.partition(".")
    if not dot:
        return _OF_TABLES.get(name)
    if kind == "request":
        if field in _LEFT_OUT:
            return None
        name = name if field in _TAKEN else field
    return _NAMES_A_FILE.sub(r"filename\1", name)
