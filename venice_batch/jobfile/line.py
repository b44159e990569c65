"""Turn one line of a jobs file into jobs, or into everything that is wrong with it; write a job as a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from venice_batch.errors import Problem
from venice_batch.jobfile import variables
from venice_batch.jobfile.defaults import MAX_SPLIT, SeedPolicy, has_variants, lacks_seed, seed_of, split_seeds
from venice_batch.jobfile.draft import MAX_ID, Draft, draft, is_writable
from venice_batch.jobfile.exact import losses
from venice_batch.jobfile.fields import RESERVED
from venice_batch.jobfile.identity import FIRST, Branch, implicit_id, request_hash
from venice_batch.jobfile.pictures import FIELD, Pictures
from venice_batch.jobfile.reading import MAX_LINE_BYTES
from venice_batch.jobfile.request_check import faults, type_name
from venice_batch.model import Endpoint, Job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.jobfile.defaults import Defaults
    from venice_batch.jobfile.mapping import LineMap


def native_line(job: Job) -> bytes:
    """Return a job as a line of its own, with its line end; read again, it has the same id and hash."""
    record: dict[str, Any] = {"id": job.id}
    if job.endpoint is not Endpoint.GENERATE:
        record["endpoint"] = job.endpoint
    record |= job.request
    if job.metadata is not None:
        record["metadata"] = job.metadata
    if job.parent is not None:
        record["parent"] = msgspec.structs.asdict(job.parent)
    return orjson.dumps(record) + b"\n"


def oversize(job: Job) -> list[tuple[str, str]]:
    """Return the problem of a job that as a line of its own would be too long to be read; [] if it would not.

    Pass it to `JobIndex.build` as `examine`. With `--set` or a `matrix` a job is longer than its line.
    """
    size = len(native_line(job)) - 1
    if size <= MAX_LINE_BYTES:
        return []
    return [("", f"{job.id!r} as a line of its own has {size / MAX_LINE_BYTES:.2f} MB; at most 1 MB")]


FieldProblem = tuple[str, str]

MAX_COMPLAINTS = 100
"""Different mistakes of one line that are reported; a matrix could multiply them without end."""


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """The content of a line: one or more jobs, or one or more problems; never both."""

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
    is_checked: bool = False,
    copy: int = 1,
    mapping: LineMap | None = None,
) -> Parsed:
    """Read one line; never raises, whatever the bytes. All mistakes of the line are reported, not only the first.

    `number` counts the file's lines from 1, `first_index` the jobs before this line, `source` is the file's name for
    messages. `pictures` remembers the files that lines name; without it each is read anew, with paths relative to the
    current folder. `is_checked` leaves out checks that this very line has passed with these defaults. `copy` counts
    equal lines from 1; it distinguishes the ids of their jobs if the lines give none. `mapping` makes a
    foreign line a native one.
    """
    pictures = pictures or Pictures()
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _failed([("", _not_json(line, error))], number, source)
    if type(record) is not dict:
        return _failed([("", _not_an_object(record))], number, source)
    if not is_checked and (lost := losses(line, record)):
        return _failed(lost, number, source)
    unmapped = mapping.apply(record) if mapping is not None else []
    job = draft(record)
    job.complaints.extend(unmapped)
    if job.matrix is not None or job.variables is not None or defaults.matrix or defaults.variables:
        return _parse_several(job, number, first_index, defaults, source, pictures, is_checked=is_checked, copy=copy)
    checked = _checked(job.endpoint, job.request, defaults, pictures, is_checked=is_checked)
    jobs, complaints = _jobs(job, checked, number, first_index, defaults.seeds, FIRST if copy == 1 else Branch(copy))
    if complaints or job.complaints:
        return _failed(job.complaints + complaints, number, source)
    return Parsed(tuple(jobs))


class _Checked(msgspec.Struct, frozen=True, gc=False):
    """An effective request with its files resolved, its mistakes, and the parts that this version does not know."""

    request: dict[str, Any]
    complaints: list[FieldProblem]
    doubts: tuple[FieldProblem, ...]


def _checked(
    endpoint: Endpoint,
    own: dict[str, Any],
    defaults: Defaults,
    pictures: Pictures,
    *,
    is_checked: bool = False,
    values: Mapping[str, str] | None = None,
) -> _Checked:
    """Check a line's own fields with the defaults under them; only its pictures with `is_checked`.

    `values` replaces variables in the texts; without it they stay as they are.
    """
    request = defaults.apply(endpoint, own)
    if values is not None:
        texts = {name: variables.filled(request[name], values) for name in variables.texts_in(request)}
        request = {**request, **texts}
    found = [] if is_checked else faults(endpoint, request, beside=RESERVED)
    if endpoint in FIELD:
        request, more = pictures.settle(endpoint, request)
        found += more
    if not found:
        return _Checked(request, [], variables.unfilled(request) if values is None and not is_checked else ())
    open_too = defaults.allow_unknown
    complaints = [(fault.field, fault.what) for fault in found if not (open_too and fault.is_open)]
    doubts = [(fault.field, fault.what) for fault in found if open_too and fault.is_open]
    if doubts and not is_writable(request):
        complaints.append(("", "is nested too deeply; at most 250 levels"))
    return _Checked(request, _blame(complaints, own, defaults), tuple(_blame(doubts, own, defaults)))


def _parse_several(
    draft: Draft,
    number: int,
    first_index: int,
    defaults: Defaults,
    source: str,
    pictures: Pictures,
    *,
    is_checked: bool,
    copy: int,
) -> Parsed:
    """Return a job for each combination of the line's variables and of its matrix, with those of the defaults."""
    # A file without any does without this import.
    from venice_batch.jobfile import matrix

    found = matrix.branches(draft, defaults, copy)
    complaints = draft.complaints + found.complaints
    if any(field.startswith(("matrix", "vars")) for field, _ in complaints):
        # A missing field may be one that the broken matrix was to give.
        rest = faults(draft.endpoint, draft.request, beside=RESERVED)
        complaints += [(fault.field, fault.what) for fault in rest if fault.what != "missing"]
        return _failed(complaints, number, source)
    jobs: list[Job] = []
    # A dict keeps the order: a mistake that many combinations share is reported once.
    distinct = dict.fromkeys(complaints)
    met: set[str] = set()
    for fields, branch in found.branches:
        own = {**draft.request, **fields}
        checked = _checked(draft.endpoint, own, defaults, pictures, is_checked=is_checked, values=branch.variables)
        if draft.id is not None and (length := len(draft.id) + len(branch.of_id)) > MAX_ID:
            checked.complaints.append(("matrix", f"makes an id of {length} characters; at most {MAX_ID}"))
        made, wrong = _jobs(draft, checked, number, first_index + len(jobs), defaults.seeds, branch)
        if draft.id is None and branch.variables:
            if made and made[0].id in met:
                continue  # other values make the same prompt
            met.update(job.id for job in made)
        jobs += made
        if len(jobs) > matrix.MAX_JOBS:
            wrong = [("matrix", f"makes more than {matrix.MAX_JOBS:,} jobs with each image a job of its own")]
        distinct.update(dict.fromkeys(wrong))
        if len(distinct) >= MAX_COMPLAINTS or len(jobs) > matrix.MAX_JOBS:
            break
    return _failed(list(distinct), number, source) if distinct else Parsed(tuple(jobs))


def _jobs(
    draft: Draft, checked: _Checked, number: int, index: int, seeds: SeedPolicy, branch: Branch
) -> tuple[list[Job], list[FieldProblem]]:
    """Return the jobs of one request, or its mistakes; several jobs if each variant gets its own seed."""
    if checked.complaints:
        return [], checked.complaints
    endpoint, request = draft.endpoint, checked.request
    digest = request_hash(endpoint, request)
    id_ = None if draft.id is None else draft.id + branch.of_id
    # Before a seed is pinned: the seed policy does not change ids.
    name = implicit_id(digest, branch.copy) if id_ is None else id_
    metadata = draft.metadata
    if branch.variables:
        metadata = {"vars": dict(branch.variables), **(metadata or {})}
    doubts = checked.doubts
    if branch.copy > 1 and "seed" in request:
        doubts = (*doubts, ("seed", "an earlier line has the same prompt and seed, so the image will be the same"))
    if seeds is SeedPolicy.KEEP:
        job = Job(name, number, index, endpoint, request, digest, metadata, doubts, draft.parent, branch.of_name)
        return [job], []
    if seeds is SeedPolicy.SPLIT and has_variants(endpoint, request):
        if request["variants"] > MAX_SPLIT:
            return [], [("variants", f"--seed-policy split makes at most {MAX_SPLIT:,} jobs of one")]
        single = {field: value for field, value in request.items() if field != "variants"}
        requests = [{**single, "seed": seed} for seed in split_seeds(name, digest, request)]
    elif lacks_seed(endpoint, request):
        requests = [{**request, "seed": seed_of(name, digest)}]
    else:
        requests = [request]
    made: list[Job] = []
    for one in requests:
        own_digest = digest if one is request else request_hash(endpoint, one)
        own_name, suffix = name, branch.of_name
        if len(requests) > 1:
            suffix = f"__seed-{one['seed']}"
            own_name = implicit_id(own_digest, branch.copy) if id_ is None else id_ + suffix
            if len(own_name) > MAX_ID:
                return [], [("id", f"makes an id of {len(own_name)} characters with its seed; at most {MAX_ID}")]
            suffix = branch.of_name + suffix
        place = index + len(made)
        job = Job(own_name, number, place, endpoint, one, own_digest, metadata, doubts, draft.parent, suffix)
        made.append(job)
    return made, []


def _failed(complaints: list[FieldProblem], number: int, source: str) -> Parsed:
    return Parsed((), tuple(Problem(source, number, field, what) for field, what in complaints))


def _blame(complaints: list[FieldProblem], own: dict[str, Any], defaults: Defaults) -> list[FieldProblem]:
    """Mark complaints about defaults: the line itself does not have that field."""
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
    return f'the line is {type_name(record)}; expected an object, as in {{"model": "…", "prompt": "…"}}'
