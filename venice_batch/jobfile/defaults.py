"""What options and settings files add to lines: fields, lists of values, seeds."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from venice_batch.errors import UsageError
from venice_batch.jobfile.exact import losses, unwritable
from venice_batch.jobfile.fields import FIELDS, MAX_SEED, RESERVED
from venice_batch.jobfile.request_check import did_you_mean, explain_field, printable, takes_json
from venice_batch.model import UNNAMED, Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


class SeedPolicy(StrEnum):
    """How to treat jobs without a seed: `keep` leaves the choice to the server, which does not report it.

    `pin` gives the request a seed, which the manifest then records like any other field, so that the image can be made
    again. The API uses it only for the first of several `variants`. `split` pins too, and makes every variant a job of
    its own with a seed of its own.
    """

    KEEP = "keep"
    PIN = "pin"
    SPLIT = "split"


MAX_SPLIT = 1000
"""Jobs that `split` makes of one at most."""


def lacks_seed(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Return whether the endpoint takes a seed and the request has none; 0 is a seed too."""
    return "seed" not in request and "seed" in FIELDS[endpoint]


def has_variants(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Return whether the request asks for several images, on an endpoint that takes a seed."""
    return request.get("variants", 1) > 1 and "seed" in FIELDS[endpoint]


def split_seeds(job_id: str, request_hash: str, request: dict[str, Any]) -> list[int]:
    """Return a seed for each variant: first the request's own if it has one, the others derived as by `seed_of`."""
    first = request["seed"] if "seed" in request else seed_of(job_id, request_hash)
    others = [seed_of(f"{job_id}\0{number}", request_hash) for number in range(2, request["variants"] + 1)]
    return [first, *others]


def seed_of(job_id: str, request_hash: str) -> int:
    """Return the seed of a job, from 1 to MAX_SEED; the same in every run.

    It is derived from the id and the request without a seed: a later run finds the job done, and two ids with the same
    prompt get different seeds. It is never 0, the default in the API's description, nor negative, which servers of this
    kind take for "any".
    """
    digest = hashlib.blake2b(f"{job_id}\0{request_hash}".encode(), digest_size=8, person=b"seed").digest()
    return 1 + int.from_bytes(digest) % MAX_SEED


_SPREADSHEETS_WAY = re.compile(r"true|false|-?(?:0|[1-9]\d{0,17})\.0", re.IGNORECASE)
"""How spreadsheets write true, false and 512. Not with an exponent, where digits may be lost."""

ALL_FIELDS = frozenset().union(*FIELDS.values())
"""All fields that some endpoint takes."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """Values for fields that a line lacks; a line gets only those that its endpoint takes.

    `seeds` applies to jobs that have no seed, neither in their line nor here. `allow_unknown` lets fields and values
    pass that this version does not know (`Job.doubts`); a field that no endpoint is known to take goes to all.

    `models` holds fields for the jobs of one model, by its name; they come before `values`. `matrix` lists several
    values for fields that a line lacks, `variables` those that prompts name in braces. With a seed for `draw`, a line
    with too many combinations makes jobs of some, chosen at random by the seed.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    seeds: SeedPolicy = SeedPolicy.KEEP
    allow_unknown: bool = False
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    matrix: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    draw: int | None = None
    _known: dict[Endpoint, dict[str, Any]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {endpoint: self._taken(endpoint, self.values) for endpoint in Endpoint})

    def _taken(self, endpoint: Endpoint, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that the endpoint takes."""
        return {
            name: value
            for name, value in values.items()
            if name in FIELDS[endpoint] or (self.allow_unknown and name not in ALL_FIELDS)
        }

    @classmethod
    def of(
        cls, settings: Iterable[str], seed_policy: str = SeedPolicy.KEEP, *, allow_unknown: bool = False
    ) -> Defaults:
        """Return the defaults from several `FIELD=VALUE`; the last one for a field wins.

        Raises:
            UsageError: as `parse_setting`.
        """
        values = dict(parse_setting(setting, allow_unknown=allow_unknown) for setting in settings)
        return cls(values, SeedPolicy(seed_policy), allow_unknown)

    def apply(self, endpoint: Endpoint, request: dict[str, Any]) -> dict[str, Any]:
        """Return the effective request: the line's own fields over the defaults for its model and its endpoint."""
        defaults = self._known[endpoint]
        if self.models:
            named = request.get("model", request.get("modelId", defaults.get("model", UNNAMED[endpoint])))
            if isinstance(named, str) and named in self.models:
                defaults = {**defaults, **self._taken(endpoint, self.models[named])}
        return {**defaults, **request} if defaults else request

    def matrix_for(self, endpoint: Endpoint, own: Collection[str]) -> dict[str, Sequence[Any]]:
        """Return the lists of values for a line that has the fields `own`."""
        return {name: values for name, values in self._taken(endpoint, self.matrix).items() if name not in own}

    def texts(self, field_name: str) -> list[Any]:
        """Return every value that a field may get from here."""
        tables = (self.values, *self.models.values())
        return [*self.matrix.get(field_name, ()), *(table[field_name] for table in tables if field_name in table)]


def parse_setting(setting: str, *, allow_unknown: bool = False) -> tuple[str, Any]:
    """Return field and value of one `FIELD=VALUE`, with the type that the field has.

    A text field keeps the text (`prompt=123` is "123"); any other field takes JSON (`seed=5` is 5). With
    `allow_unknown` the field, or its value, may be one that this version does not know.

    Raises:
        UsageError: there is no "=", no such field, or no endpoint takes the value for it.
    """
    name, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"--set {printable(setting)}: expected FIELD=VALUE, as in --set width=512")
    name = name.strip() if allow_unknown else parse_field(name)
    # Command-line bytes that are not UTF-8 arrive as lone surrogates, which no request can carry.
    if not _is_unicode(text):
        raise UsageError(f"--set {name}: the value is not valid UTF-8")
    value = field_value(name, text)
    if not isinstance(value, str) and (lost := losses(text.encode(), value)):
        path, what = lost[0]
        raise UsageError(f"--set {name}: {path + ': ' if path else ''}{what}")
    if found := complaint(name, value, allow_unknown=allow_unknown):
        path, what = found
        raise UsageError(f"--set {path}: {what}")
    return name, value


def parse_field(name: str, option: str = "--set") -> str:
    """Return the field name that was given to `option`, without white space around it.

    Raises:
        UsageError: no endpoint has this field.
    """
    name = name.strip()
    if name not in ALL_FIELDS:
        raise UsageError(f"{option} {': '.join(_unknown(name))}")
    return name


def complaint(name: str, value: object, *, allow_unknown: bool = False) -> tuple[str, str] | None:
    """Return what is wrong with `value` as a default for the field `name`, as (path, what); None if nothing."""
    if wrong := unwritable(value):
        return name, wrong
    if name not in ALL_FIELDS:
        return None if allow_unknown and name and name not in RESERVED else _unknown(name)
    found = [
        [fault for fault in explain_field(endpoint, name, value) if not (allow_unknown and fault.is_open)]
        for endpoint in Endpoint
        if name in FIELDS[endpoint]
    ]
    if not all(found):
        return None
    first = found[0][0]
    return first.field, first.what


def _unknown(name: str) -> tuple[str, str]:
    return printable(name), f"no endpoint has this field{did_you_mean(name, ALL_FIELDS)}"


def field_value(name: str, text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return `text` as a value of the field `name`; text that fits no type of the field stays text."""
    endpoints = [endpoint for endpoint in Endpoint if name in FIELDS[endpoint]]
    if endpoints and not all(explain_field(endpoint, name, text) for endpoint in endpoints):
        return text
    try:
        parsed: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = text
    if not endpoints:
        return parsed
    if _SPREADSHEETS_WAY.fullmatch(text.strip()):
        plain: Any = orjson.loads(text.strip().lower().removesuffix(".0"))
        for value in (parsed, plain):
            if any(not explain_field(endpoint, name, value) for endpoint in endpoints):
                return value
    # `format=5` stays text where the field takes only text: a message that calls it a number would be confusing.
    return parsed if any(takes_json(endpoint, name) for endpoint in endpoints) else text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
