"""Read the jobs of a file: all of them once with every check, or single ones again."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import msgspec
import orjson

from venice_batch.errors import MAX_PROBLEMS, UsageError
from venice_batch.jobfile.chains import links, roots
from venice_batch.jobfile.defaults import ALL_FIELDS
from venice_batch.jobfile.fields import RESERVED
from venice_batch.jobfile.line import Parsed, parse
from venice_batch.jobfile.pictures import Pictures
from venice_batch.jobfile.reading import MAX_LINE_BYTES, LineReader, TooLong, lines
from venice_batch.jobfile.source import refusal
from venice_batch.jobfile.variables import TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from venice_batch.errors import Findings
    from venice_batch.jobfile.defaults import Defaults
    from venice_batch.jobfile.selection import Selection
    from venice_batch.jobfile.source import Source
    from venice_batch.model import Job


_MOST_COLUMNS = 100
"""Names that are no fields which a message may suggest."""

_LINK = b'"job"'
"""Part of every line that has a link to another job."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Share `number`, from 1, of `count`; every job is in exactly one of them.

    A job's share depends only on its id and on `count`: lines may be added or moved, and machines need not agree on
    anything else. With many jobs the shares are about equal. A job that waits for another's image is in that one's
    share.
    """

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `I/N`, as in `2/3`. Raises UsageError."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text!r} is not a share; give I/N with I from 1 to N, as in 1/3")
        return cls(int(found[1]), int(found[2]))

    def holds(self, job_id: str) -> bool:
        """Return whether the job is in this share."""
        digest = hashlib.blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


class Jobs:
    """The jobs that the lines of `source` make with `defaults`.

    Each picture is examined once, even if jobs are read again. `invalid` holds the ids of lines with problems, as far
    as they can be read, up to a number. `unused_variables` are those of the defaults that no prompt names; known when
    all lines have been read.
    """

    __slots__ = ("_defaults", "_pictures", "_source", "invalid", "unused_variables")

    def __init__(self, source: Source, defaults: Defaults) -> None:
        self.invalid: set[str] = set()
        self.unused_variables: tuple[str, ...] = ()
        self._source = source
        self._defaults = defaults
        self._pictures = Pictures(source.folder)

    def valid(
        self,
        findings: Findings,
        *,
        examine: Callable[[Job], Iterable[tuple[str, str]]] | None = None,
        shard: Shard | None = None,
        selection: Selection | None = None,
    ) -> Iterator[tuple[Job, int, int, int]]:
        """Read and check every line; yield each valid job with its line's offset and hash, and its place in it.

        Problems go to `findings`, as do those that `examine` returns for a job, as (field, complaint). All lines
        are read and checked, but only the jobs of the `shard` and the `selection` are examined and yielded.

        Raises:
            JobsFileError: the file has no lines.
        """
        name = self._source.name
        above = roots(self.waiting()) if shard is not None else {}
        count = 0
        unused = {variable: f"{{{variable}}}".encode() for variable in self._defaults.variables}
        for number, offset, line in lines(self._source.file):
            findings.lines += 1
            if isinstance(line, TooLong):
                findings.add(number, "", _too_long(line), name)
                continue
            if unused:
                unused = {variable: text for variable, text in unused.items() if text not in line}
            parsed = self._parse(line, number, count)
            if parsed.problems:
                findings.extend(parsed.problems)
                self._note_invalid(line, findings)
                continue
            count += len(parsed.jobs)
            line_hash = hash(line)
            for sub, job in enumerate(parsed.jobs):
                if shard is not None and not shard.holds(above.get(job.id, job.id)):
                    continue
                if selection is not None and not selection.takes(job):
                    continue
                if examine is not None:
                    for field, what in examine(job):
                        findings.add(number, field, what, name)
                yield job, offset, line_hash, sub
        if not findings.lines:
            raise refusal(name, "holds no jobs")
        texts = [str(text) for field in TEXTS for text in self._defaults.texts(field)]
        self.unused_variables = tuple(one for one in unused if not any(f"{{{one}}}" in text for text in texts))

    def again(self) -> Again:
        """Return a reader of single jobs, independent of any other."""
        # What the checks let pass with `allow_unknown` becomes doubts, which only the checks find.
        return Again(self._source, partial(self._parse, is_checked=not self._defaults.allow_unknown))

    def waiting(self) -> dict[str, set[str]]:
        """Return the ids of the jobs that work on other jobs' images, each with those that it waits for.

        Lines that cannot have a link are not parsed.
        """
        may_default = any(_LINK in orjson.dumps(value) for value in self._defaults.values.values())
        waiting: dict[str, set[str]] = {}
        for number, _, line in lines(self._source.file):
            if isinstance(line, bytes) and (may_default or _LINK in line):
                for job in self._parse(line, number, 0).jobs:
                    if found := links(job.endpoint, job.request):
                        waiting.setdefault(job.id, set()).update(link.job for link in found)
        return waiting

    def _note_invalid(self, line: bytes, findings: Findings) -> None:
        """Note the line's id for messages about links to it, and its names that are no fields."""
        if len(self.invalid) >= MAX_PROBLEMS:
            return
        with suppress(orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            record = orjson.loads(line)
            if len(findings.columns) < _MOST_COLUMNS:
                foreign = [key for key in record if key not in ALL_FIELDS and key not in RESERVED]
                findings.columns |= dict.fromkeys([*foreign, *(record.get("metadata") or ())])
            self.invalid.add(str(record["id"]))

    def _parse(self, line: bytes, number: int, first_index: int, *, is_checked: bool = False) -> Parsed:
        parsed = parse(
            line,
            number=number,
            first_index=first_index,
            defaults=self._defaults,
            source=self._source.name,
            pictures=self._pictures,
            is_checked=is_checked,
            copy=self._source.copy_of(number) if self._source.copies else 1,
            mapping=self._source.mapping,
        )
        return _doubted(parsed, self._source.suspects) if self._source.suspects and parsed.jobs else parsed


class Again:
    """Read jobs a second time; jobs of one line in succession cost one reading of it."""

    __slots__ = ("_lines", "_number", "_parse", "_parsed", "_source")

    def __init__(self, source: Source, parse: Callable[[bytes, int, int], Parsed]) -> None:
        self._source = source
        self._parse = parse
        self._lines = LineReader(source.file)
        self._parsed, self._number = Parsed(), 0

    def job(self, offset: int, line_hash: int, line: int, index: int, sub: int) -> Job:
        """Return job number `index` of the file, which is number `sub` of the line at `offset`.

        Raises:
            JobsFileError: the line has changed since it was checked.
        """
        if line != self._number:
            content = self._lines.line_at(offset)
            # The same line makes the same jobs: it is valid, and its pictures are remembered.
            if hash(content) != line_hash or not self._source.unchanged():
                raise refusal(self._source.name, f"line {line} has changed since the check; run again")
            self._parsed = self._parse(content, line, index - sub)
            self._number = line
        return self._parsed.jobs[sub]


def _doubted(parsed: Parsed, suspects: Mapping[str, str]) -> Parsed:
    """Return a line's jobs with a doubt for every one of `suspects` in their metadata."""
    found = tuple((key, suspects[key]) for key in parsed.jobs[0].metadata or () if key in suspects)
    if not found:
        return parsed
    return Parsed(tuple(msgspec.structs.replace(job, doubts=(*job.doubts, *found)) for job in parsed.jobs))


def _too_long(line: TooLong) -> str:
    return f"line is {line.size / MAX_LINE_BYTES:.1f} MB; at most 1 MB; give style reference images as URLs"
