"""One line of the jobs file, read into its jobs or its problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from venice_batch.errors import Problem
from venice_batch.jobfile.exact import losses
from venice_batch.jobfile.fields import faults
from venice_batch.jobfile.identity import implicit_id, request_hash
from venice_batch.jobfile.pictures import FIELD, Pictures
from venice_batch.jobfile.seeds import MAX_SPLIT, SeedPolicy, has_variants, lacks_seed, seed_of, split_seeds
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
    if lost := losses(line, record):
        return _failed(lost, number, source)
    job = draft(record)
    if job.matrix is not None:
        return _parse_matrix(job, number, first_index, defaults, source, pictures)
    checked = _checked(job.endpoint, job.request, defaults, pictures)
    jobs, complaints = _jobs(job, job.id, checked, number, first_index, defaults.seeds)
    if complaints or job.complaints:
        return _failed(job.complaints + complaints, number, source)
    return Parsed(tuple(jobs))


class _Checked(NamedTuple):
    """An effective request with its files settled, what is wrong with it, and what this version does not know of it."""

    request: dict[str, Any]
    complaints: list[Complaint]
    doubts: tuple[Complaint, ...]


def _checked(endpoint: Endpoint, own: dict[str, Any], defaults: Defaults, pictures: Pictures) -> _Checked:
    """Check a line's own fields with the defaults under them."""
    request = defaults.apply(endpoint, own)
    found = faults(endpoint, request, beside=RESERVED)
    if endpoint in FIELD:
        request, more = pictures.settle(endpoint, request)
        found += more
    if not found:
        return _Checked(request, [], ())
    open_too = defaults.allow_unknown
    complaints = [(fault.field, fault.what) for fault in found if not (open_too and fault.is_open)]
    doubts = [(fault.field, fault.what) for fault in found if open_too and fault.is_open]
    if doubts and not _is_writable(request):
        complaints.append(("", "is nested too deeply; at most 250 levels"))
    return _Checked(request, _blame(complaints, own, defaults), tuple(_blame(doubts, own, defaults)))


def _is_writable(request: dict[str, Any]) -> bool:
    # As in shapes: orjson reads more levels than it writes; the brackets stand for the record around the request.
    try:
        orjson.dumps([[[[request]]]])
    except orjson.JSONEncodeError:
        return False
    return True


def _parse_matrix(
    draft: Draft, number: int, first_index: int, defaults: Defaults, source: str, pictures: Pictures
) -> Parsed:
    # A file without a matrix does without its import.
    from venice_batch.jobfile import matrix

    complaints = draft.complaints + matrix.faults(draft.matrix, draft.request)
    if any(field.startswith("matrix") for field, _ in complaints):
        # What the broken matrix may have brought is not held to be missing.
        rest = faults(draft.endpoint, draft.request, beside=RESERVED)
        complaints += [(fault.field, fault.what) for fault in rest if fault.what != "missing"]
        return _failed(complaints, number, source)
    jobs: list[Job] = []
    # A dict for its order: the same mistake of many combinations is told once.
    distinct = dict.fromkeys(complaints)
    for suffix, fields in matrix.combinations(draft.matrix):
        checked = _checked(draft.endpoint, {**draft.request, **fields}, defaults, pictures)
        id_ = None if draft.id is None else draft.id + suffix
        if id_ is not None and len(id_) > MAX_ID:
            checked.complaints.append(("matrix", f"makes an id of {len(id_)} characters; at most {MAX_ID}"))
        made, found = _jobs(draft, id_, checked, number, first_index + len(jobs), defaults.seeds)
        jobs += made
        if len(jobs) > matrix.MAX_JOBS:
            found = [("matrix", f"makes more than {matrix.MAX_JOBS:,} jobs with each image a job of its own")]
        distinct.update(dict.fromkeys(found))
        if len(distinct) >= MAX_COMPLAINTS or len(jobs) > matrix.MAX_JOBS:
            break
    return _failed(list(distinct), number, source) if distinct else Parsed(tuple(jobs))


def _jobs(
    draft: Draft, id_: str | None, checked: _Checked, number: int, index: int, seeds: SeedPolicy
) -> tuple[list[Job], list[Complaint]]:
    """Return the jobs of one request, several where each variant gets a seed of its own, or what is wrong with it."""
    if checked.complaints:
        return [], checked.complaints
    endpoint, request = draft.endpoint, checked.request
    digest = request_hash(endpoint, request)
    # Before a seed is pinned: no policy changes what a job is called.
    name = implicit_id(digest) if id_ is None else id_
    if seeds is SeedPolicy.SPLIT and has_variants(endpoint, request):
        if request["variants"] > MAX_SPLIT:
            return [], [("variants", f"--seed-policy split makes at most {MAX_SPLIT:,} jobs of one")]
        single = {field: value for field, value in request.items() if field != "variants"}
        requests = [{**single, "seed": seed} for seed in split_seeds(name, digest, request)]
    elif seeds is not SeedPolicy.KEEP and lacks_seed(endpoint, request):
        requests = [{**request, "seed": seed_of(name, digest)}]
    else:
        requests = [request]
    made: list[Job] = []
    for one in requests:
        own_digest = digest if one is request else request_hash(endpoint, one)
        own_name = name
        if len(requests) > 1:
            own_name = implicit_id(own_digest) if id_ is None else f"{id_}__seed-{one['seed']}"
            if len(own_name) > MAX_ID:
                return [], [("id", f"makes an id of {len(own_name)} characters with its seed; at most {MAX_ID}")]
        place = index + len(made)
        made.append(Job(own_name, number, place, endpoint, one, own_digest, draft.metadata, checked.doubts))
    return made, []


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
