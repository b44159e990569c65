"""Seeds for jobs that name none, so that what was made can be made again."""

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
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class SeedPolicy(StrEnum):
    """What becomes of a job without a seed: `keep` leaves the choice to the server, which does not report it.

    `pin` gives the request one, which the manifest then records like any other field. The API uses it for the first of
    several `variants` only. `split` pins, too, and makes each variant a job of its own with a seed of its own.
    """

    KEEP = "keep"
    PIN = "pin"
    SPLIT = "split"


MAX_SPLIT = 1000
"""How many jobs `split` makes of one at most."""


def lacks_seed(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Tell whether the endpoint takes a seed that the request does not give; 0 is one, too."""
    return "seed" not in request and "seed" in FIELDS[endpoint]


def has_variants(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Tell whether the request asks for several images, of an endpoint that takes a seed for them."""
    return request.get("variants", 1) > 1 and "seed" in FIELDS[endpoint]


def split_seeds(job_id: str, request_hash: str, request: dict[str, Any]) -> list[int]:
    """Return a seed for each variant of a request: its own first if it has one, the others drawn like `seed_of`."""
    first = request["seed"] if "seed" in request else seed_of(job_id, request_hash)
    others = [seed_of(f"{job_id}\0{number}", request_hash) for number in range(2, request["variants"] + 1)]
    return [first, *others]


def seed_of(job_id: str, request_hash: str) -> int:
    """Return the seed of a job: the same at every run, from 1 to MAX_SEED.

    It is drawn from the id and the request without a seed, so that a job that is run again is found done, and two ids
    with one prompt differ. Neither 0, which the API's description has as default, nor a negative number, which
    servers of this kind take for "any", is ever drawn.
    """
    digest = hashlib.blake2b(f"{job_id}\0{request_hash}".encode(), digest_size=8, person=b"seed").digest()
    return 1 + int.from_bytes(digest) % MAX_SEED


_SPREADSHEETS_WAY = re.compile(r"true|false|-?(?:0|[1-9]\d{0,17})\.0", re.IGNORECASE)
"""How spreadsheets write what JSON writes as true, false and 512; with an exponent, digits may have been lost."""

ALL_FIELDS = frozenset().union(*FIELDS.values())
"""Every field that some endpoint takes."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """Field values for the lines that lack them; a line gets those only that its endpoint takes.

    `seeds` says what becomes of a job that has no seed, in its line or here. `allow_unknown` lets fields and values
    pass that this version does not know (`Job.doubts`); a default that no endpoint is known to take goes to all.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    seeds: SeedPolicy = SeedPolicy.KEEP
    allow_unknown: bool = False
    _known: dict[Endpoint, dict[str, Any]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = {
            endpoint: {
                name: value
                for name, value in self.values.items()
                if name in FIELDS[endpoint] or (self.allow_unknown and name not in ALL_FIELDS)
            }
            for endpoint in Endpoint
        }
        object.__setattr__(self, "_known", known)

    @classmethod
    def of(
        cls, settings: Iterable[str], seed_policy: str = SeedPolicy.KEEP, *, allow_unknown: bool = False
    ) -> Defaults:
        """Return the defaults of several `FIELD=VALUE`; the last of a field wins.

        Raises:
            UsageError: as `parse_setting`.
        """
        values = dict(parse_setting(setting, allow_unknown=allow_unknown) for setting in settings)
        return cls(values, SeedPolicy(seed_policy), allow_unknown)

    def apply(self, endpoint: Endpoint, request: dict[str, Any]) -> dict[str, Any]:
        """Return the effective request: the defaults of `endpoint` under the line's own fields."""
        defaults = self._known[endpoint]
        return {**defaults, **request} if defaults else request


def parse_setting(setting: str, *, allow_unknown: bool = False) -> tuple[str, Any]:
    """Return field and value of one `FIELD=VALUE`, the value typed as the field asks.

    A field of text keeps what was typed (`prompt=123` is "123"); any other takes JSON (`seed=5` is 5). With
    `allow_unknown` the field may be new, and its value one that this version does not know.

    Raises:
        UsageError: no "=", no such field, or a value that the field takes on no endpoint.
    """
    name, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"--set {printable(setting)}: expected FIELD=VALUE, as in --set width=512")
    name = name.strip() if allow_unknown else parse_field(name)
    # Bytes of the command line that are not UTF-8 arrive as lone surrogates; no request can carry them.
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
    """Return the name of a field that some endpoint takes, as `option` was given it.

    Raises:
        UsageError: there is no such field.
    """
    name = name.strip()
    if name not in ALL_FIELDS:
        raise UsageError(f"{option} {': '.join(_unknown(name))}")
    return name


def complaint(name: str, value: object, *, allow_unknown: bool = False) -> tuple[str, str] | None:
    """Return what is wrong with `value` as the default of the field `name`, as (path, what); None if nothing."""
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
    """Return what `text` means as a value of the field `name`; text that fits no type stays as it is."""
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
    # `prompt=` and `format=5` are about text: a message that calls them numbers would puzzle.
    return parsed if any(takes_json(endpoint, name) for endpoint in endpoints) else text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
