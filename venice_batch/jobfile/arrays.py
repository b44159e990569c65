"""Rewrite a JSON array, or lines of JSON strings, as JSON lines; a file of any size in bounded memory."""

from __future__ import annotations

import re
import shlex
from array import array
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from venice_batch.errors import Findings, JobsFileError, Problem
from venice_batch.jobfile.reading import BOM, MAX_LINE_BYTES, TooLong, lines, temporary
from venice_batch.jobfile.request_check import shown, type_name
from venice_batch.jobfile.rewritten import Copies, Places, Rewritten
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20
_DEPTH = 6
"""Levels of an element that one regular expression finds the end of; deeper ones take a loop."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _nested(levels: int) -> bytes:
    inside = rb'[^"{}\[\]]++|' + _STRING
    if levels > 1:
        inside += b"|" + _nested(levels - 1)
    return rb"[{\[](?:" + inside + rb")*+[}\]]"


# Possessive: each takes one pass over the text, whatever the text is.
_ELEMENT = re.compile(_STRING + b"|" + _nested(_DEPTH), re.DOTALL)
_BARE = re.compile(rb'[^\s,\[\]{}"]++')
_SPACE = re.compile(rb"[ \t\r\n]*+")
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_OUTSIDE = re.compile(rb'[^"{}\[\]]*+')

_CUT = "the array ends in the middle, after {}; the file may be cut"

_END = -1
"""In place of a byte: the file has ended."""


class ArrayError(ValueError):
    """The text is not one JSON array; `line` is where that shows."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def elements(file: BinaryIO) -> Iterator[tuple[int, bytes | TooLong]]:
    """Yield the line on which it begins, from 1, and the text of every element of the array in `file`.

    Looks for the ends of elements only: an element may still be no valid JSON. Memory is bounded.

    Raises:
        ArrayError: the brackets or commas of the array are wrong, or something follows it.
    """
    text = _Text(file)
    text.skip(b"[")
    count = 0
    while True:
        byte = text.next_byte()
        if byte == _END:
            raise ArrayError(text.line, _CUT.format(counted(count, "element", grouped=True)))
        if not count and byte == ord("]"):
            text.skip(b"]")
            break
        line = text.line
        yield line, text.element(byte)
        count += 1
        byte = text.next_byte()
        if byte == _END:
            raise ArrayError(text.line, _CUT.format(counted(count, "element", grouped=True)))
        if byte not in b",]":
            raise ArrayError(text.line, f"expected a comma or ] after element {count:,}")
        text.skip(bytes((byte,)))
        if byte == ord("]"):
            break
    if text.next_byte() != _END:
        raise ArrayError(text.line, "another value follows the array; a file holds one array, or one object a line")


class _Text:
    """The text of a file, read on as it is needed; `line` is the number of the line at the place that is reached."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file
        self._data = file.read(_BLOCK).removeprefix(BOM)
        self._at = 0
        self.line = 1

    def next_byte(self) -> int:
        """Skip white space; return the byte behind it, which stays the next."""
        while True:
            found = _SPACE.match(self._data, self._at)
            end = found.end() if found else self._at
            self._go(end)
            if end < len(self._data):
                return self._data[end]
            if not self._read_on():
                return _END

    def skip(self, byte: bytes) -> None:
        """Step over the next byte that is no white space, which the caller knows."""
        self.next_byte()
        self._at += len(byte)

    def element(self, byte: int) -> bytes | TooLong:
        """Return the value that begins here with `byte`. Raises ArrayError."""
        if byte not in b'"{[':
            return self._bare()
        if found := _ELEMENT.match(self._data, self._at):
            end = found.end()
            piece = self._data[self._at : end]
            self._go(end)
            return TooLong(len(piece)) if len(piece) > MAX_LINE_BYTES else piece
        return self._unusual()

    def _bare(self) -> bytes:
        """Return a number or a word, such as null."""
        while True:
            found = _BARE.match(self._data, self._at)
            if found is None:
                raise ArrayError(self.line, "expected a value before this comma or bracket")
            if found.end() < len(self._data) or len(found[0]) > MAX_LINE_BYTES or not self._read_on():
                self._at = found.end()
                return found[0]

    def _unusual(self) -> bytes | TooLong:
        """Return a value that is nested deeply, or that the data in memory holds only a part of."""
        began = self.line
        pieces: list[bytes] = []
        size = depth = 0
        in_string = is_done = False
        while not is_done:
            data, at = self._data, self._at
            while at < len(data) and not is_done:
                skipped = (_IN_STRING if in_string else _OUTSIDE).match(data, at)
                at = skipped.end() if skipped else at
                if at == len(data) or data[at] == ord("\\"):  # a backslash whose character is still to come
                    break
                if in_string or data[at] == ord('"'):
                    in_string = not in_string
                else:
                    depth += 1 if data[at] in b"{[" else -1
                at += 1
                is_done = not in_string and not depth
            size += at - self._at
            if size <= MAX_LINE_BYTES:
                pieces.append(data[self._at : at])
            self._go(at)
            if not is_done and not self._read_on():
                raise ArrayError(began, "an element begins here that does not end; the file may be cut")
        return TooLong(size) if size > MAX_LINE_BYTES else b"".join(pieces)

    def _go(self, end: int) -> None:
        self.line += self._data.count(b"\n", self._at, end)
        self._at = end

    def _read_on(self) -> bool:
        block = self._file.read(_BLOCK)
        self._data = self._data[self._at :] + block
        self._at = 0
        return bool(block)


@contextmanager
def as_lines(name: str, file: BinaryIO) -> Iterator[tuple[BinaryIO, Rewritten]]:
    """Rewrite the JSON array in `file`: element number n becomes line n, a string the line of its prompt.

    Yields the JSON lines, and what they do not say.

    Raises:
        JobsFileError: the array is damaged, or its elements are neither all objects nor all strings.
    """
    begins = array("I", [0])
    with temporary() as spool:
        rows = _Rows(name, spool, "element", begins)
        try:
            for number, (line, element) in enumerate(elements(file), start=1):
                begins.append(min(line, 0xFFFF_FFFF))
                rows.add(number, element)
        except ArrayError as error:
            raise JobsFileError([Problem(name, error.line, "", str(error))]) from None
        spool.flush()
        yield spool, rows.rewritten()


@contextmanager
def strings_as_lines(name: str, file: BinaryIO) -> Iterator[tuple[BinaryIO, Rewritten]]:
    """Rewrite a file with a JSON string a line; every job keeps its line number. Otherwise like `as_lines`."""
    with temporary() as spool:
        rows = _Rows(name, spool, "line")
        for number, _, line in lines(file):
            rows.add(number, line if isinstance(line, TooLong) else line.strip())
        spool.flush()
        yield spool, rows.rewritten()


class _Rows:
    """Writes values as JSON lines, each on the line of its number; the first decides whether all are strings.

    `begins[n]` is the line on which number `n` begins, where numbers are no lines.
    """

    def __init__(self, name: str, spool: BinaryIO, noun: str, begins: array[int] | None = None) -> None:
        self._name = name
        self._spool = spool
        self._noun = noun
        self._begins = begins
        self._kind: type | None = None
        self._first = self._written = 0
        self._copies = Copies()
        self._findings = Findings()

    def add(self, number: int, text: bytes | TooLong) -> None:
        """Write the value number `number`, or note what is wrong with it."""
        self._findings.lines += 1
        if isinstance(text, TooLong):
            self._note(number, f"is {text.size / MAX_LINE_BYTES:.1f} MB; at most 1 MB")
            return
        is_spread = b"\n" in text or b"\r" in text
        if not is_spread and self._kind is dict and text.startswith(b"{"):
            self._write(number, text)  # parsed later, as every line is
            return
        try:
            value: Any = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self._note(number, _not_json(text, error))
            return
        if self._kind is None and isinstance(value, str | dict):
            self._kind, self._first = type(value), number
        if type(value) is not self._kind:
            self._note(number, self._wrong_kind(value))
        elif isinstance(value, str):
            self._copies.add(value, number)
            self._write(number, orjson.dumps({"prompt": value}))
        else:
            # A line end in valid JSON is white space between its parts.
            self._write(number, text.replace(b"\r", b" ").replace(b"\n", b" ") if is_spread else text)

    def rewritten(self) -> Rewritten:
        """Return what the lines do not say. Raises JobsFileError for what was noted."""
        places = Places(self._noun, self._lines())
        self._findings.raise_any(places)
        is_text = self._kind is str
        return Rewritten(has_ids=not is_text, copies=self._copies.by_line(), places=places)

    def _lines(self) -> array[int] | tuple[()]:
        """Return the lines on which the elements begin; () if two begin on one, so that a line is not enough."""
        begins = self._begins
        if begins is None or any(one >= other for one, other in pairwise(begins)):
            return ()
        return begins

    def _write(self, number: int, line: bytes) -> None:
        self._spool.write(b"\n" * (number - self._written - 1) + line + b"\n")
        self._written = number

    def _wrong_kind(self, value: object) -> str:
        if self._kind is None:
            return f"is {type_name(value)}; expected an object or a string"
        expected = "a string" if self._kind is str else "an object"
        return f"is {type_name(value)}; expected {expected}, as {self._noun} {self._first} is"

    def _note(self, number: int, what: str) -> None:
        self._findings.add(number, "", what, self._name)


def _not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "not valid UTF-8; save the file as UTF-8"
    inside = f"line {error.lineno} of it, " if error.lineno > 1 else ""
    return f"not valid JSON: {error.msg} at {inside}column {error.colno}"


def begins_with_string(file: BinaryIO) -> bool:
    """Return whether the first line of `file`, which begins with a quote, is a JSON string.

    The quoted header of a table begins with a quote too.
    """
    _, _, line = next(lines(file))
    try:
        return isinstance(line, bytes) and isinstance(orjson.loads(line), str)
    except orjson.JSONDecodeError:
        return False


_MOST_BYTES = 64 << 20
"""The largest file that is searched for a list of jobs."""

_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_OWN_KEYS = {"prompt", "endpoint", "model", "image", "custom_id", "body", "request"}
"""A job has at least one of these keys."""


def object_hint(name: str, file: BinaryIO) -> str | None:
    """Return where the list of jobs is in a file that is one JSON object; None if it is not that, or a job itself."""
    file.seek(0)
    text = file.read(_MOST_BYTES + 1)
    try:
        found = orjson.loads(text.removeprefix(BOM)) if len(text) <= _MOST_BYTES else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or _OWN_KEYS & found.keys():
        return None

    def command(path: str) -> str:
        jq = f"jq -c {shlex.quote(path)}"
        if name.startswith("<"):
            return f"pipe it through {jq}"
        unpack = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(Path(name).suffix.lower())
        taken = f"{unpack} {shlex.quote(name)} | {jq}" if unpack else f"{jq} {shlex.quote(name)}"
        return f"{taken} > jobs.jsonl"

    keys = [key for key, value in found.items() if isinstance(value, list) and value and _is_job(value[0])]
    if keys:
        many = len(keys) > 1
        named = ", ".join(map(shown, keys[:5])) + (", …" if len(keys) > 5 else "")
        where = f"lists are under {named}; take one out" if many else f"list is under {named}; take it out"
        key = keys[0] if _PLAIN_KEY.fullmatch(keys[0]) else f"[{orjson.dumps(keys[0]).decode()}]"
        return f"holds one JSON object, whose {where}: {command(f'.{key}[]')}"
    if len(found) > 1 and all(isinstance(value, dict) for value in found.values()):
        return f"holds one JSON object with a job under each key; expected one a line: {command('.[]')}"
    return None


def _is_job(value: object) -> bool:
    return isinstance(value, str | dict)
