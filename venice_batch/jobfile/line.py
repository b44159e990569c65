"""Turn one line of a jobs file into jobs, or into everything that is wrong with it; write a job as a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from venice_batch.errors import Problem
from venice_batch.jobfile import variables
from venice_batch.jobfile.defaults import MAX_SPLIT, SeedPolicy, has_variants, lacks_seed, seed_of, split_seeds
from venice_batch.jobfile.exact import losses
from venice_batch.jobfile.fields import RESERVED
from venice_batch.jobfile.identity import FIRST, Branch, implicit_id, request_hash
from venice_batch.jobfile.pictures import FIELD, Pictures
from venice_batch.jobfile.reading import MAX_LINE_BYTES
from venice_batch.jobfile.request_check import faults, printable, shown, type_name
from venice_batch.model import Endpoint, Job, Parent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from venice_batch.jobfile.defaults import Defaults


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


MAX_ID = 512
"""The longest id, in characters."""

CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Characters that no id may have, besides lone surrogates, as they are listed in a regular expression."""

URL_PREFIX = r"(?:https?://[^/\s]+)?(?:/api)?(?:/v1)?"
"""What may precede the path in a batch line, as a regular expression; --base-url decides where requests go."""

_ENDPOINTS = {str(endpoint): endpoint for endpoint in Endpoint}
_OPENAI_KEYS = frozenset({"custom_id", "method", "url", "body"})
_URL = re.compile(URL_PREFIX + r"(/images?/[a-z-]+)")
_CONTROL = re.compile(f"[{CONTROL}\\ud800-\\udfff]")


class Draft(msgspec.Struct, frozen=True, gc=False):
    """The job of a line with its request still unchecked; `id` is None if the line has none.

    `complaints` lists what is wrong outside the request.
    """

    id: str | None
    endpoint: Endpoint
    request: dict[str, Any]
    metadata: dict[str, Any] | None
    matrix: Any
    complaints: list[tuple[str, str]]
    parent: Parent | None = None
    variables: Any = None


def draft(record: dict[str, Any]) -> Draft:
    """Return the draft of a parsed line: a native line, an OpenAI batch line, or a manifest's record."""
    if "custom_id" in record or "body" in record:
        return _openai(record)
    if "schema" in record and isinstance(record.get("request"), dict):
        return _record(record)
    return _native(record)


def _native(record: dict[str, Any]) -> Draft:
    complaints: list[tuple[str, str]] = []
    # `record` belongs to this call alone: the keys that are left in it are the request.
    id_ = _id(record.pop("id"), "id", complaints) if "id" in record else None
    endpoint = Endpoint.GENERATE
    if "endpoint" in record:
        endpoint = _endpoint(record.pop("endpoint"), complaints)
    metadata = _metadata(record.pop("metadata"), complaints) if "metadata" in record else None
    parent = _parent(record.pop("parent"), complaints) if "parent" in record else None
    matrix = None
    if "matrix" in record:
        matrix = record.pop("matrix")
        if not isinstance(matrix, dict) or not matrix:
            complaints.append(("matrix", 'expected an object of arrays, as in {"seed": [1, 2, 3]}'))
            matrix = None
    values = None
    if "vars" in record and (wrong := variables.faults(values := record.pop("vars"))):
        complaints += wrong
        values = None
    return Draft(id_, endpoint, record, metadata, matrix, complaints, parent, values)


def _record(record: dict[str, Any]) -> Draft:
    # The other keys of a record (files, attempts, …) describe an earlier run; see model.Outcome.
    return _native(
        {key: record[key] for key in ("id", "endpoint", "metadata", "parent") if key in record} | record["request"]
    )


def _openai(record: dict[str, Any]) -> Draft:
    complaints: list[tuple[str, str]] = []
    id_ = _id(record["custom_id"], "custom_id", complaints) if "custom_id" in record else None
    endpoint = Endpoint.GENERATIONS
    if record.get("method") != "POST":
        complaints.append(("method", _required(record, "method", "'POST'")))
    url = record.get("url")
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match and match[1] in _ENDPOINTS:
        endpoint = _ENDPOINTS[match[1]]
    else:
        expected = "'/v1/images/generations' or '/v1/image/generate'"
        complaints.append(("url", _required(record, "url", expected)))
    body = record.get("body")
    if not isinstance(body, dict):
        complaints.append(("body", _required(record, "body", "the request as an object")))
        body = {}
    if not record.keys() <= _OPENAI_KEYS:
        complaints += _unknown_keys(record)
    return Draft(id_, endpoint, body, None, None, complaints)


def _unknown_keys(record: dict[str, Any]) -> list[tuple[str, str]]:
    what = "unknown key (known: custom_id, method, url, body); fields of the request go into body"
    return [(printable(key), what) for key in record if key not in _OPENAI_KEYS]


def _required(record: dict[str, Any], key: str, expected: str) -> str:
    return f"{shown(record[key])} given; expected {expected}" if key in record else f"missing; expected {expected}"


def _endpoint(value: object, complaints: list[tuple[str, str]]) -> Endpoint:
    if isinstance(value, str) and value in _ENDPOINTS:
        return _ENDPOINTS[value]
    complaints.append(("endpoint", f"{shown(value)} is not one of {', '.join(_ENDPOINTS)}"))
    return Endpoint.GENERATE


def _id(value: object, key: str, complaints: list[tuple[str, str]]) -> str | None:
    """Return the id if it is valid; ids name files, so they have to be one line of text."""
    if (fault := _id_fault(value)) is not None:
        complaints.append((key, fault))
        return None
    return str(value)


def _id_fault(value: object) -> str | None:
    """Return why `value` cannot be an id, or None if it can."""
    if isinstance(value, str):
        if not value:
            return "is empty; leave it out or give each job its own"
        if len(value) > MAX_ID:
            return f"has {len(value):,} characters; at most {MAX_ID}"
        if value.isspace():
            return "is blank"
        # isprintable() is fast; it also refuses characters that the rule allows, such as odd spaces.
        if value.isprintable() or not _CONTROL.search(value):
            return None
        return f"{value[:40]!r} holds a control character"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'{value} is a number; an id is text: put it in quotes, "{value}"'
    return f"{shown(value)} is {type_name(value)}; an id is text"


def _metadata(value: object, complaints: list[tuple[str, str]]) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        complaints.append(("metadata", f"{shown(value)} is {type_name(value)}; expected an object"))
        return None
    if not _is_writable(value):
        complaints.append(("metadata", "is nested too deeply; at most 250 levels"))
        return None
    return value


_PARENT = {"id", "sha256", "variant"}
_SHA256 = re.compile("[0-9a-f]{64}")


def _parent(value: object, complaints: list[tuple[str, str]]) -> Parent | None:
    if value is None:
        return None
    if isinstance(value, dict) and value.keys() == _PARENT and _id_fault(value["id"]) is None:
        digest, variant = value["sha256"], value["variant"]
        if isinstance(digest, str) and _SHA256.fullmatch(digest) and type(variant) is int and variant > 0:
            return Parent(value["id"], digest, variant)
    complaints.append(("parent", 'expected {"id": an id, "sha256": 64 hex digits, "variant": a number from 1}'))
    return None


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
) -> Parsed:
    """Read one line; never raises, whatever the bytes. All mistakes of the line are reported, not only the first.

    `number` counts the file's lines from 1, `first_index` the jobs before this line, `source` is the file's name for
    messages. `pictures` remembers the files that lines name; without it each is read anew, with paths relative to the
    current folder. `is_checked` leaves out checks that this very line has passed with these defaults. `copy` counts
    equal lines from 1; it distinguishes the ids of their jobs if the lines give none.
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
    job = draft(record)
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
    if doubts and not _is_writable(request):
        complaints.append(("", "is nested too deeply; at most 250 levels"))
    return _Checked(request, _blame(complaints, own, defaults), tuple(_blame(doubts, own, defaults)))


def _is_writable(value: dict[str, Any]) -> bool:
    # orjson reads 1,024 levels and writes 254: the manifest cannot hold what it cannot write. The brackets stand for
    # the record around the value.
    try:
        orjson.dumps([[[[value]]]])
    except orjson.JSONEncodeError:
        return False
    return True


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
