"""One line of the jobs file, read into its jobs or its problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from venice_batch.errors import Problem
from venice_batch.jobfile.fields import problems as request_problems
from venice_batch.jobfile.identity import implicit_id, request_hash
from venice_batch.jobfile.pictures import FIELD, Pictures
from venice_batch.jobfile.seeds import SeedPolicy, lacks_seed, seed_of
from venice_batch.jobfile.shapes import MAX_ID, RESERVED, Draft, draft
from venice_batch.model import Job

if TYPE_CHECKING:
    from venice_batch.jobfile.defaults import Defaults
    from venice_batch.model import Endpoint

Complaint = tuple[str, str]

MAX_COMPLAINTS = 100
"""How many different mistakes of one line are told; a matrix could multiply them without end."""


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """What a line holds: jobs, one or more, or problems, one or more; never both."""

    jobs: tuple[Job, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse(
    line: bytes,
    *,
    number: int,
    first_index: int,
    defaults: Defaults,
    source: str,
    pictures: Pictures | None = None,
) -> Parsed:
    """Read one line; never raises, whatever the bytes.

    `number` counts the file's lines from 1, `first_index` the jobs before this line, `source` is the
    file's name for messages. `pictures` knows the files that lines name; without it each is looked at anew, by its
    path from the current folder. All mistakes of the line are told, not the first only.
    """
    pictures = pictures or Pictures()
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _failed([("", _not_json(line, error))], number, source)
    if type(record) is not dict:
        return _failed([("", _not_an_object(record))], number, source)
    job = draft(record)
    if job.matrix is not None:
        return _parse_matrix(job, number, first_index, defaults, source, pictures)
    request, complaints = _checked(job.endpoint, defaults.apply(job.endpoint, job.request), pictures)
    if complaints or job.complaints:
        return _failed(job.complaints + _blame(complaints, job.request, defaults), number, source)
    return Parsed((_job(job, job.id, request, number, first_index, defaults.seeds),))


def _checked(endpoint: Endpoint, request: dict[str, Any], pictures: Pictures) -> tuple[dict[str, Any], list[Complaint]]:
    """Return an effective request with its files settled, and all that is wrong with it."""
    complaints = request_problems(endpoint, request, beside=RESERVED)
    if endpoint in FIELD:
        request, found = pictures.settle(endpoint, request)
        complaints += found
    return request, complaints


def _parse_matrix(
    draft: Draft, number: int, first_index: int, defaults: Defaults, source: str, pictures: Pictures
) -> Parsed:
    # A file without a matrix does without its import.
    from venice_batch.jobfile import matrix

    complaints = draft.complaints + matrix.faults(draft.matrix, draft.request)
    if any(field.startswith("matrix") for field, _ in complaints):
        # What the broken matrix may have brought is not held to be missing.
        rest = request_problems(draft.endpoint, draft.request, beside=RESERVED)
        complaints += [complaint for complaint in rest if complaint[1] != "missing"]
        return _failed(complaints, number, source)
    jobs: list[Job] = []
    # A dict for its order: the same mistake of many combinations is told once.
    distinct = dict.fromkeys(complaints)
    for suffix, fields in matrix.combinations(draft.matrix):
        own = {**draft.request, **fields}
        request, found = _checked(draft.endpoint, defaults.apply(draft.endpoint, own), pictures)
        id_ = None if draft.id is None else draft.id + suffix
        if id_ is not None and len(id_) > MAX_ID:
            found.append(("matrix", f"makes an id of {len(id_)} characters; at most {MAX_ID}"))
        if found:
            distinct.update(dict.fromkeys(_blame(found, own, defaults)))
            if len(distinct) >= MAX_COMPLAINTS:
                break
        elif not distinct:
            jobs.append(_job(draft, id_, request, number, first_index + len(jobs), defaults.seeds))
    return _failed(list(distinct), number, source) if distinct else Parsed(tuple(jobs))


def _job(draft: Draft, id_: str | None, request: dict[str, Any], number: int, index: int, seeds: SeedPolicy) -> Job:
    digest = request_hash(draft.endpoint, request)
    # Before a seed is pinned: no policy changes what a job is called.
    name = implicit_id(digest) if id_ is None else id_
    if seeds is SeedPolicy.PIN and lacks_seed(draft.endpoint, request):
        request = {**request, "seed": seed_of(name, digest)}
        digest = request_hash(draft.endpoint, request)
    return Job(name, number, index, draft.endpoint, request, digest, draft.metadata)


def _failed(complaints: list[Complaint], number: int, source: str) -> Parsed:
    return Parsed((), tuple(Problem(source, number, field, what) for field, what in complaints))


def _blame(complaints: list[Complaint], own: dict[str, Any], defaults: Defaults) -> list[Complaint]:
    """Say of each complaint about a default that it is not the line's own."""
    return [
        (field, f"{what} (from --set)" if field in defaults.values and field not in own else what)
        for field, what in complaints
    ]


def _not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as broken:
        at = broken.start
        return f"not valid UTF-8 at byte {at + 1} (0x{line[at]:02x}); save the file as UTF-8"
    return f"not valid JSON: {error.msg} at column {error.pos + 1}"


def _not_an_object(record: object) -> str:
    from venice_batch.jobfile.explain import type_name

    return f'the line is {type_name(record)}; expected an object, as in {{"model": "…", "prompt": "…"}}'
