"""Read a folder of texts as a jobs file: one prompt a `.txt` file, whose name is the job's id."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson

from venice_batch.errors import Findings, JobsFileError, Problem
from venice_batch.jobfile.content import not_text
from venice_batch.jobfile.reading import BOM, MAX_LINE_BYTES, temporary
from venice_batch.jobfile.rewritten import Places, Rewritten
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ABOUT = ("readme", "license", "licence")
"""How the names of texts about the folder begin."""

_MOST_NAMES = 3
"""Files and folders that a notice names."""

_DIGITS = re.compile(r"(\d+)")


@contextmanager
def as_lines(folder: str) -> Iterator[tuple[BinaryIO, Rewritten]]:
    """Write the prompt of every `.txt` file of `folder` as a JSON line, in the natural order of the files' names.

    Yields the JSON lines, and what they do not say. Symbolic links are followed; subfolders are not read.

    Raises:
        JobsFileError: there is no such file, or one of them holds no prompt.
        OSError: the folder or a file cannot be read.
    """
    files: list[str] = []
    others: list[str] = []
    below: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                below.append(entry.name)
            else:
                (files if entry.is_file() and _is_prompt(entry.name) else others).append(entry.name)
    if not files:
        raise JobsFileError([Problem(folder, 0, "", _no_prompts(folder, below, others))])
    files.sort(key=natural)
    paths = [os.path.join(folder, name) for name in files]
    places = Places("file", files=paths)
    findings = Findings()
    findings.lines = len(files)
    with temporary() as spool:
        for number, (name, path) in enumerate(zip(files, paths, strict=True), start=1):
            try:
                job = {"id": _id(name), "prompt": _prompt(path)}
            except ValueError as error:
                findings.add(number, "", str(error), folder)
                job = None
            spool.write((orjson.dumps(job) if job else b"") + b"\n")
        findings.raise_any(places)
        spool.flush()
        yield spool, Rewritten(notices=tuple(filter(None, [_notice(folder, others, below)])), places=places)


def natural(name: str) -> tuple[list[int | str], str]:
    """Return a key that sorts names as people count: 2 before 10."""
    parts: list[int | str] = list(_DIGITS.split(name.lower()))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _is_prompt(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(".txt") and not lower.startswith((".", *_ABOUT))


def _id(name: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError("the file's name is not valid UTF-8; rename it")
    return name[: -len(".txt")]


def _prompt(path: str) -> str:
    """Return the text of a file. Raises ValueError."""
    with Path(path).open("rb") as file:
        content = file.read(MAX_LINE_BYTES + 1)
    if len(content) > MAX_LINE_BYTES:
        raise ValueError("is larger than 1 MB; expected one prompt")
    if (what := not_text(content)) is not None:
        raise ValueError(what)
    try:
        text = content.removeprefix(BOM).decode().replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        raise ValueError("not valid UTF-8; save the file as UTF-8") from None
    if not text:
        raise ValueError("is empty; expected a prompt")
    return text


def _no_prompts(folder: str, below: Sequence[str], others: Sequence[str]) -> str:
    what = "is a folder without .txt files; expected a file of jobs, or a folder with one prompt a .txt file"
    for name in sorted(below, key=natural):
        inner = os.path.join(folder, name)
        try:
            has_some = any(map(_is_prompt, os.listdir(inner)))
        except OSError:
            continue
        if has_some:
            return f"{what}; did you mean {inner!r}?"
    suffixes = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
    files = [name for name in sorted(others, key=natural) if name.lower().endswith(suffixes) and name[0] != "."]
    return f"{what}; did you mean {os.path.join(folder, files[0])!r}?" if files else what


def _notice(folder: str, others: Sequence[str], below: Sequence[str]) -> str:
    """Return a sentence about what is not read; "" if all is."""
    found = [
        f"{counted(len(names), noun)} ({', '.join(shown)}{', …' if len(names) > _MOST_NAMES else ''})"
        for names, noun in ((others, "other file"), (below, "subfolder"))
        if (shown := sorted(names, key=natural)[:_MOST_NAMES])
    ]
    rule = "only .txt files in the folder itself are prompts, without README and hidden files"
    return f"{folder}: {' and '.join(found)} left out; {rule}" if found else ""
