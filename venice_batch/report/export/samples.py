"""Numbers for prompts and for their samples, as the file names of scorers have them."""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from venice_batch.jobfile.chains import links
from venice_batch.jobfile.identity import has_implicit_id
from venice_batch.jobfile.matrix import matrix_fields, suffix
from venice_batch.output.naming import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from venice_batch.model import Job, Outcome

_NOT_VARIED = frozenset({"prompt", "seed", "model", "modelId", "variants", "n", "return_binary", "response_format"})
"""Fields that do not make another configuration: a prompt's samples may differ in them."""

_ENOUGH_LINES = 8
"""With this many lines, a divisor that all of their places share is no coincidence."""

_COPY = re.compile(r"([0-9a-f]{16})-(\d+)")


class Place(NamedTuple):
    """A job's place: its configuration and prompt, and the number of its first image among the prompt's samples."""

    configuration: int
    prompt: int
    sample: int
    images: int
    """Images that the job has or should have."""


class Configuration(NamedTuple):
    """A model with fields that vary between its samples, such as `cfg_scale`.

    `name` is a safe file name, `samples` the largest number of samples of a prompt, `short` counts the prompts that
    should have fewer.
    """

    name: str
    prompts: int
    samples: int
    short: int


class _Seen(NamedTuple):
    """What is kept of a record; `at` is its place in the jobs file."""

    at: int | None
    lane: str
    settings: int
    images: int


class Samples:
    """Give every job with a prompt its place among the samples.

    A line of the jobs file is a prompt, its jobs are the prompt's samples, in the order of their places in the file.
    Jobs that have failed keep their place. Equal prompts of two lines are two prompts. Records do not have their
    lines; lines with ids are recognised by these, others by a prompt and metadata that neighbours share.

    A line that varies more than its seed, such as the model, has the samples of several configurations; each of these
    has the same prompts and counts its samples from 0. Where each line has one model, those of a model are counted
    from 0.

    A prompt's number is its place among the lines. With the `jobs` of the whole file these say it, whatever was run of
    them. Without, if a part of the file was run, the numbers have gaps, as long as every line makes as many jobs;
    otherwise the lines that were run are counted from 0.

    `places` has an entry for each record, in the order given: None for one without a prompt, or one of no job.
    `of_jobs` has one for each job. `unseen` counts the jobs, or those before the last known one, that have no record;
    `strangers` the records with images of none of the jobs, or of another request than the job has now. `is_certain`
    says whether the numbers are those of lines.
    """

    def __init__(self, records: Iterable[Outcome], jobs: Iterable[Job] | None = None) -> None:
        self._settings: dict[bytes, int] = {}
        self._seen: list[_Seen] = []
        found: dict[tuple[object, ...], list[int]] = {}
        made: dict[str, tuple[str, int]] = {}
        for record in records:
            prompt = record.request.get("prompt")
            made[record.id] = record.request_hash, len(record.files)
            if jobs is None:
                if isinstance(prompt, str):
                    found.setdefault(_line_key(record, prompt), []).append(len(self._seen))
                self._see(record.index, record.lane, record.request, len(record.files))
        current: list[str | None] = []
        for job in jobs or ():
            if isinstance(prompt := job.request.get("prompt"), str):
                found.setdefault(("line", job.line, prompt), []).append(len(self._seen))
            request_hash, files = made.get(job.id, ("", 0))
            # The request of a job that works on another's image is complete only once that is made.
            is_current = job.id in made and (request_hash == job.request_hash or bool(links(job.endpoint, job.request)))
            self._see(job.index, job.model, job.request, files if is_current else 0)
            current.append(job.id if is_current else None)
        self._indexes = sorted({seen.at for seen in self._seen if seen.at is not None})
        # A folder of two files, or of two versions of one, has two jobs at a place, and no place that says anything.
        self._is_one_file = len(self._indexes) == sum(seen.at is not None for seen in self._seen)
        lines = [part for key, of in found.items() for part in self._split(of, is_certain=key[0] != "no id")]
        lines.sort(key=lambda of: self._order(of[0]))
        varied = self._varied(lines)
        labels = self._labels(lines, varied)
        self.is_certain = True
        self.of_jobs: list[Place | None] = [None] * len(self._seen)
        self.configurations = self._number(lines, labels, is_whole=jobs is not None)
        self.strangers = 0
        if jobs is None:
            self.unseen = self._gaps()
            self.places = self.of_jobs
        else:
            places = dict(zip(current, self.of_jobs, strict=True))
            self.unseen = current.count(None)
            self.places = [places.get(job_id) for job_id in made]
            self.strangers = sum(count > 0 and job_id not in places for job_id, (_, count) in made.items())

    def _see(self, at: int | None, lane: str, request: Mapping[str, Any], files: int) -> None:
        kept = {name: value for name, value in request.items() if name not in _NOT_VARIED}
        settings = self._settings.setdefault(_canonical(kept), len(self._settings))
        asked = request.get("variants", request.get("n"))
        images = max(files, asked if isinstance(asked, int) and 0 < asked <= 100 else 1)
        self._seen.append(_Seen(at, lane, settings, images))

    def _order(self, number: int) -> tuple[bool, int, int]:
        """Return a key that sorts records as the jobs file has them; those of older versions come last."""
        at = self._seen[number].at
        return at is None, at or 0, number

    def _split(self, jobs: list[int], *, is_certain: bool) -> list[list[int]]:
        """Return the jobs of one key in their order, in a list for each line.

        Jobs of a line follow each other in the file, so another job between two of them parts two lines.
        """
        jobs.sort(key=self._order)
        if is_certain:
            return [jobs]
        lines = [[jobs[0]]]
        for before, job in pairwise(jobs):
            first, last = self._seen[before].at, self._seen[job].at
            if first is not None and last is not None and last - first > 1 and self._has_between(first, last):
                lines.append([])
            lines[-1].append(job)
        return lines

    def _has_between(self, first: int, last: int) -> bool:
        return self._indexes[bisect_right(self._indexes, first)] < last

    def _gaps(self) -> int:
        return self._indexes[-1] + 1 - len(self._indexes) if self._indexes and self._is_one_file else 0

    def _varied(self, lines: list[list[int]]) -> list[str]:
        """Return the fields in which jobs of one line and model differ, beside those of `_NOT_VARIED`."""
        known = list(self._settings)
        pairs: set[tuple[int, ...]] = set()
        for jobs in lines:
            by_lane: dict[str, dict[int, None]] = {}
            for job in jobs:
                by_lane.setdefault(self._seen[job].lane, {})[self._seen[job].settings] = None
            pairs.update(tuple(settings) for settings in by_lane.values() if len(settings) > 1)
        varied: dict[str, None] = {}
        for settings in sorted(pairs):
            requests = [msgspec.json.decode(known[place]) for place in settings]
            names = dict.fromkeys(name for request in requests for name in request)
            varied.update(dict.fromkeys(name for name in names if len({_value(one, name) for one in requests}) > 1))
        return list(varied)

    def _labels(self, lines: list[list[int]], varied: list[str]) -> dict[tuple[str, int], str]:
        """Return the name of each configuration, by its lane and settings, in the order of the jobs file."""
        parts = []
        for settings in self._settings:
            request = msgspec.json.decode(settings) if varied else {}
            parts.append(suffix({name: request[name] for name in varied if name in request}))
        labels: dict[tuple[str, int], str] = {}
        for jobs in lines:
            for job in jobs:
                key = self._seen[job].lane, self._seen[job].settings
                if key not in labels:
                    labels[key] = safe_name(f"{key[0]}{parts[key[1]]}")
        return labels

    def _number(
        self, lines: list[list[int]], labels: Mapping[tuple[str, int], str], *, is_whole: bool
    ) -> tuple[Configuration, ...]:
        names = {name: number for number, name in enumerate(dict.fromkeys(labels.values()))}
        configurations = {key: names[name] for key, name in labels.items()}
        of_job = [configurations.get((seen.lane, seen.settings), 0) for seen in self._seen]
        has_own = len(names) > 1 and all(len({of_job[job] for job in jobs}) == 1 for jobs in lines)
        numbers = None
        if not (has_own or is_whole):
            numbers = _line_numbers([[self._seen[job].at for job in jobs] for jobs in lines])
        self.is_certain = is_whole or (self._is_one_file and (numbers is not None or not self._gaps()))
        totals: list[list[int]] = [[] for _ in names]
        for line, jobs in enumerate(lines):
            count: Counter[int] = Counter()
            for job in jobs:
                configuration, images = of_job[job], self._seen[job].images
                prompt = len(totals[configuration]) if has_own else numbers[line] if numbers else line
                self.of_jobs[job] = Place(configuration, prompt, count[configuration], images)
                count[configuration] += images
            for configuration, total in count.items():
                totals[configuration].append(total)
        return tuple(_configuration(name, of) for name, of in zip(names, totals, strict=True))


def _configuration(name: str, totals: Sequence[int]) -> Configuration:
    """Return a configuration by the number of samples of each of its prompts."""
    most = max(totals)
    return Configuration(name, len(totals), most, sum(total < most for total in totals))


def _line_numbers(lines: Sequence[Sequence[int | None]]) -> list[int] | None:
    """Return the number of each line in the jobs file, by the places of its jobs; None if these do not say it.

    They do if every line makes as many jobs.
    """
    places = [[index for index in jobs if index is not None] for jobs in lines]
    if not all(places):
        return None
    longest = max((max(jobs) - min(jobs) + 1 for jobs in places), default=0)
    size = math.gcd(*(min(jobs) for jobs in places))
    if size < longest or (size > longest and len(lines) < _ENOUGH_LINES):
        return None
    numbers = [min(jobs) // size for jobs in places]
    return numbers if len(set(numbers)) == len(numbers) else None


def line_id(record: Outcome) -> str | None:
    """Return the id that a job's line gives, without what its matrix adds; None if the line gives none."""
    return matrix_fields(record.id, record.request)[0] if _copy(record) is None else None


def _line_key(record: Outcome, prompt: str) -> tuple[object, ...]:
    """Return a key that the jobs of a line share."""
    text = _digest(prompt.encode("utf-8", "surrogatepass"))
    if (copy := _copy(record)) is None:
        return "id", line_id(record), text
    metadata = {name: value for name, value in (record.metadata or {}).items() if name != "vars"}
    return "no id", copy, text, _digest(_canonical(metadata))


def _copy(record: Outcome) -> int | None:
    """Return which of several equal lines a job comes from, from 1; None if its line has an id."""
    match = _COPY.fullmatch(record.id)
    if match is None:
        return 1 if has_implicit_id(record) else None
    plain = msgspec.structs.replace(record, id=match[1])
    return int(match[2]) if has_implicit_id(plain) else None


def _value(request: Mapping[str, Any], name: str) -> bytes:
    return _canonical(request[name]) if name in request else b""


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
