"""The names that scorers of image models expect: one layout for each benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch import portable
from venice_batch.errors import UsageError
from venice_batch.output.naming import safe_name
from venice_batch.report.export.samples import line_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from venice_batch.model import Job, Outcome

GRID_CELLS = 4
"""Cells of a grid; DPG-Bench's scorer reads no more."""

LONGEST_BYTES = 255
"""Of a file's name, on most systems."""

STYLES = ("anime", "concept-art", "paintings", "photo")
"""HPSv2's styles: its files of prompts, and the folders that its scorer looks for."""


class Spot(NamedTuple):
    """An image of a job, by its prompt's number and its own among the `samples` of the prompt, from 0."""

    record: Outcome
    prompt: int
    sample: int
    samples: int

    @property
    def number(self) -> int:
        """The image's number if all samples of all prompts are counted through."""
        return self.prompt * self.samples + self.sample

    @property
    def text(self) -> str:
        """The prompt."""
        return str(self.record.request.get("prompt", ""))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a scorer wants its images.

    Attributes:
        reader: the scorer, for messages.
        path: names an image below the folder of its configuration, with `/` between folders.
        suffix: the ending of images. With `.png` all are made PNG; other endings say nothing of the content.
        samples: samples of each prompt that the scorer expects; 0 if it takes any number.
        if_missing: what the scorer does about a missing image.
        has_lines: each prompt's folder has a `metadata.jsonl` with the line of the prompt set.
        has_styles: each style of the prompts has a folder of its own.
        is_grid: the samples of a prompt are one image.
        names_prompts: the names of images begin with the prompt.
        is_by_line: names have the number of the prompt's line, not an id.
    """

    reader: str
    path: Callable[[Spot], str]
    suffix: str = ".png"
    samples: int = 0
    if_missing: str = ""
    has_lines: bool = False
    has_styles: bool = False
    is_grid: bool = False
    names_prompts: bool = False
    is_by_line: bool = True

    @property
    def is_png(self) -> bool:
        """Whether all images are PNG."""
        return self.suffix == ".png"


def line_of(record: Outcome) -> dict[str, Any]:
    """Return the line of the prompt set that a job was made of: its metadata and its prompt."""
    metadata = {name: value for name, value in (record.metadata or {}).items() if name != "vars"}
    return {**metadata, "prompt": record.request.get("prompt")}


def style_of(record: Outcome | Job, folder: str) -> str:
    """Return the style of HPSv2 that a job's prompt belongs to: its `metadata.style`, else the one that `folder` names.

    Raises:
        UsageError: neither names one.
    """
    given = (record.metadata or {}).get("style")
    if isinstance(given, str) and given:
        return safe_name(given)
    words = folder.casefold().replace("_", "-")
    named = [style for style in STYLES if re.search(rf"(?<![a-z]){style}(?![a-z])", words)]
    if len(named) == 1:
        return named[0]
    raise UsageError(
        f"--layout hpsv2: the folder's name {folder!r} has none of the styles {', '.join(STYLES)}, and"
        f" {record.id!r} has no metadata.style; run each of the set's files into a folder of its name"
    )


def _geneval(spot: Spot) -> str:
    return f"{spot.prompt:05}/samples/{spot.sample:04}"


def _compbench(spot: Spot) -> str:
    """Return the prompt and a number. The scorers take for the prompt what stands before the first underscore."""
    number = f"_{spot.number:06}"
    room = LONGEST_BYTES - len(number) - len(".png")
    wrong = _NOT_ON_WINDOWS if portable.IS_WINDOWS else _NOT_IN_NAMES
    text = wrong.sub(" ", spot.text).encode("utf-8", "replace")
    return f"samples/{text[:room].decode('utf-8', 'ignore')}{number}"


_NOT_IN_NAMES = re.compile(r"[/_\x00-\x1f\x7f]")
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\/_\x00-\x1f\x7f]')


def is_cut(spot: Spot) -> bool:
    """Return whether T2I-CompBench's name of an image does not have the whole prompt as it is."""
    return _compbench(spot) != f"samples/{spot.text}_{spot.number:06}"


def _unigenbench(spot: Spot) -> str:
    index = (spot.record.metadata or {}).get("index", line_id(spot.record))
    text = str(index)
    # Digits only, and no more than Python reads: true, -1 and the like are no index.
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else spot.prompt
    return f"{number}_{spot.sample}"


def _dpg(spot: Spot) -> str:
    item = (spot.record.metadata or {}).get("item_id", line_id(spot.record))
    return f"{spot.prompt:05}" if item is None else safe_name(str(item))


def _flat(spot: Spot) -> str:
    return f"{spot.number:05}"


def _hpsv2(spot: Spot) -> str:
    return f"{spot.prompt:05}"


LAYOUTS = {
    "geneval": Layout("GenEval", _geneval, has_lines=True),
    "t2i-compbench": Layout("T2I-CompBench", _compbench, names_prompts=True),
    "hpsv2": Layout(
        "HPSv2",
        _hpsv2,
        suffix=".jpg",
        samples=1,
        if_missing="its scorer scores another prompt's image instead",
        has_styles=True,
    ),
    "unigenbench": Layout(
        "UniGenBench", _unigenbench, samples=4, if_missing="its scorer stops at a missing image", is_by_line=False
    ),
    "dpg-grid": Layout("DPG-Bench", _dpg, samples=GRID_CELLS, is_grid=True, is_by_line=False),
    "flat": Layout("any program", _flat),
}
"""The layouts by their names, in the order of `--help`."""
