"""Datasets as trainers read them: an imagefolder, shards of WebDataset, captions beside images, Parquet with images."""

from __future__ import annotations

import re
import tarfile
from contextlib import ExitStack
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from venice_batch.image_format import EXTENSIONS
from venice_batch.report.export.card import NAME as CARD
from venice_batch.report.export.card import Card, types
from venice_batch.report.export.dataset import Images, Names, caption, dataset_columns, ending, values
from venice_batch.report.export.table_files import Picture, write_image_parquet
from venice_batch.text_format import counted, json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from venice_batch.model import Outcome
    from venice_batch.output.annotations import Annotations
    from venice_batch.report.export.choice import Choice
    from venice_batch.report.export.place import Placer, Rewrite

METADATA = "metadata.jsonl"

SPLIT = "train"
"""The folder that holds the images of an imagefolder. Without one, `datasets` reads images that are called `test-1`,
or `eval 2`, as a split of their own, and none of the others."""

_OTHER_SPLITS = re.compile(
    r"(?i)(^|[-._ 0-9])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)($|[-._ 0-9])|^__|^\."
)
"""The names of folders that `datasets` takes for splits, or does not read."""


def write_imagefolder(
    records: Iterable[Outcome], placer: Placer, title: str, *, annotations: Annotations | None = None
) -> str:
    """Place all images in `train/` with `metadata.jsonl`, which has a line for each, and a card; return what was made.

    `annotations` become columns. Reads `records` several times; they have to be the same each time.
    """
    table, names, card, images = dataset_columns(records, annotations), Names(_in_one_split), Card(), Images(records)
    with placer.writing(f"{SPLIT}/{METADATA}", index=True) as lines:
        for row, record, image, number, text in images:
            path = names.of(image) + ending(image)
            if placer.put(record, number, f"{SPLIT}/{path}"):
                lines.write(json_bytes({"file_name": path, "text": text, **values(table, row)}) + b"\n")
                card.add(record, image, text)
    described = [("image", "image"), ("text", "string"), *types(table)]
    _write_card(placer, card, images, title, "imagefolder", described)
    return f"{METADATA} with {counted(len(table) + 2, 'column')}"


def write_captions(records: Iterable[Outcome], placer: Placer) -> str:
    """Place all images, each with its text beside it in a file of the same name that ends in `.txt`.

    The text is on one line. An image without a text has no such file.
    """
    names, count, without = Names(), 0, 0
    for _, record, image, number, text in Images(records):
        name = names.of(image)
        if placer.put(record, number, name + ending(image)):
            if line := caption(text):
                count += 1
                with placer.writing(f"{name}.txt") as file:
                    file.write(line.encode("utf-8", "replace"))
            else:
                without += 1
    none = f"; {counted(without, 'image')} without a prompt" if without else ""
    return f"{counted(count, 'caption')}{none}"


def write_webdataset(
    records: Iterable[Outcome],
    placer: Placer,
    title: str,
    *,
    shard_images: int = 1000,
    annotations: Annotations | None = None,
) -> str:
    """Write all images into shards of at most `shard_images` images, and a card.

    A sample has the image, `json` with the columns and `txt` with the prompt. The same images make the same bytes.
    """
    table, names, card, images = dataset_columns(records, annotations), Names(_key), Card(), Images(records)
    shards = 0
    with ExitStack() as until_full:
        for row, record, image, number, text in images:
            data = placer.content(record, number)
            if data is None:
                continue
            if card.images % shard_images == 0:
                until_full.close()
                file = until_full.enter_context(placer.writing(f"{shards:05}.tar", index=True))
                shard = until_full.enter_context(tarfile.open(mode="w|", fileobj=file, format=tarfile.PAX_FORMAT))
                shards += 1
            key = names.of(image)
            about = json_bytes({"text": text, **values(table, row)})
            for name, content in ((ending(image), data), (".json", about), (".txt", text.encode("utf-8", "replace"))):
                _add(shard, key + name, content)
            card.add(record, image, text)
    pictures = [(EXTENSIONS[name], "image") for name in card.formats]
    described = [*pictures, ("txt", "string"), ("json.text", "string")]
    described += [(f"json.{name}", kind) for name, kind in types(table)]
    _write_card(placer, card, images, title, "webdataset", described)
    last = f"{shards - 1:05}"
    return f"{counted(shards, 'shard')}: {f'{{00000..{last}}}' if shards > 1 else last}.tar"


class ImageTable:
    """All images with their texts and columns, for one Parquet file with a card."""

    def __init__(
        self,
        records: Iterable[Outcome],
        choice: Choice,
        rewrite: Rewrite | None = None,
        *,
        annotations: Annotations | None = None,
    ) -> None:
        """Read `records` for the columns; `rewrite` is as in `Placer`, and `annotations` become columns."""
        self._choice = choice
        self._rewrite = rewrite
        self._images = Images(records)
        self._card = Card()
        self.columns = dataset_columns(records, annotations)

    def write(self, file: BinaryIO) -> int:
        """Write the file and return the number of its rows. Call `require_parquet` first."""
        return write_image_parquet(self._pictures(), self.columns, file)

    def card(self, title: str) -> bytes:
        """Return the card of the dataset whose file has the name `title`; call it after `write`."""
        described = [("image", "image"), ("text", "string"), *types(self.columns)]
        load = f'dataset = load_dataset("parquet", data_files={json_bytes(title).decode()}, split="train")'
        left_out = [*self._choice.counts(), *self._images.left_out()]
        return self._card.text(title.partition(".")[0] or title, load, described, left_out)

    def _pictures(self) -> Iterator[Picture]:
        names = Names()
        for row, record, image, number, text in self._images:
            data = self._choice.read(record, number)
            if data is None:
                continue
            if self._rewrite is not None:
                data = self._rewrite(data, record, image, number)
            self._card.add(record, image, text)
            yield Picture(row, names.of(image) + ending(image), data, text)


def _in_one_split(name: str) -> str:
    """Return the name of an image without folders, if one of them would be taken for another split."""
    folders = name.split("/")[:-1]
    return name.replace("/", "_") if any(map(_OTHER_SPLITS.search, folders)) else name


def _key(name: str) -> str:
    """Return the key of a sample: without dots, as the kind of its content follows the first dot of a name.

    `datasets` skips names that begin with two underscores.
    """
    return re.sub("^_+", "_", re.sub("[/.]", "_", name))


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, and no time
    member.size = len(content)
    shard.addfile(member, BytesIO(content))


def _write_card(
    placer: Placer, card: Card, images: Images, title: str, kind: str, described: list[tuple[str, str]]
) -> None:
    load = f'dataset = load_dataset("{kind}", data_dir={json_bytes(title).decode()}, split="train")'
    left_out = [*placer.choice.counts(), *images.left_out()]
    with placer.writing(CARD) as file:
        file.write(card.text(title, load, described, left_out))
