"""Make several jobs of one line: one for each combination of a `matrix` and of the variables in its prompt.

An id is `<base>__<field>-<value>__…` with the variables first, then the matrix's fields in the line's order, as in
`gondola-01__seed-1__style_preset-Anime`. A value is cut to 40 characters; anything but letters, digits, `.` and `+`
becomes `-`. Where that makes two values of a field look alike, each is followed by a hash of the value. So an id
depends neither on the order of the values nor on the other values of the field.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch.jobfile import variables
from venice_batch.jobfile.identity import Branch
from venice_batch.jobfile.request_check import canonical, printable, values_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from venice_batch.jobfile.defaults import Defaults
    from venice_batch.jobfile.draft import Draft

MAX_JOBS = 10_000
"""Jobs that one line may make."""

MAX_SLUG = 40
"""Characters of a value that an id repeats."""

# Underscores become "-" too, so that "__" always separates the parts of an id.
_UNSAFE = re.compile(r"[^\w.+]+|_+")


class _Choice(NamedTuple):
    """One value of a field or a variable, its place among the values, and its part of the id."""

    name: str
    place: int
    value: Any
    suffix: str


def faults(matrix: Mapping[str, Any], request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with the matrix itself; its values are checked in the requests that they make."""
    found = []
    for field, values in matrix.items():
        path = f"matrix.{printable(field)}"
        if (wrong := values_fault(values)) is not None:
            found.append((path, wrong))
        elif field in request:
            found.append((path, "is in the line itself too; keep one of them"))
    return found


class Branches(NamedTuple):
    """The jobs of a line, each as the fields that it gets from a matrix and its branch; or what is wrong."""

    complaints: list[tuple[str, str]]
    branches: Iterator[tuple[dict[str, Any], Branch]]


def branches(draft: Draft, defaults: Defaults, copy: int) -> Branches:
    """Return the branches of a line, by its own `matrix` and `vars` and by those that options give.

    `copy` counts equal lines from 1.
    """
    own = draft.matrix or {}
    complaints = faults(own, draft.request)
    fields = {**own, **defaults.matrix_for(draft.endpoint, {*own, *draft.request})}
    known: dict[str, Sequence[str]] = {**defaults.variables, **(draft.variables or {})}
    names = _names_used(draft.request, fields, defaults) if known else {}
    if draft.variables is None and known.keys().isdisjoint(names):
        # The options' variables are for other lines: braces stay as they are here.
        known, names = {}, {}
    complaints += [(field, variables.unknown(name, known)) for name, field in names.items() if name not in known]
    complaints += [
        (f"vars.{printable(name)}", "is not in the prompt; write it there in braces")
        for name in draft.variables or ()
        if name not in names
    ]
    if complaints:
        return Branches(complaints, iter(()))
    texts = [(name, known[name]) for name in names]
    lists = [*texts, *fields.items()]
    size = math.prod(len(values) for _, values in lists)
    if size > MAX_JOBS and defaults.draw is None:
        field, hint = ("vars", "; --sample N draws some of them") if texts else ("matrix", "")
        return Branches([(field, f"makes {size:,} jobs; at most {MAX_JOBS:,} a line{hint}")], iter(()))
    choices = [_choices(name, values) for name, values in lists]
    chosen = itertools.product(*choices) if size <= MAX_JOBS else _drawn(choices, defaults.draw or 0)
    return Branches([], _branches(draft, defaults, copy, known, len(texts), chosen))


def _branches(
    draft: Draft,
    defaults: Defaults,
    copy: int,
    known: Mapping[str, Sequence[str]],
    texts: int,
    chosen: Iterable[tuple[_Choice, ...]],
) -> Iterator[tuple[dict[str, Any], Branch]]:
    for combination in chosen:
        of_texts, of_matrix = combination[:texts], combination[texts:]
        fields = {choice.name: choice.value for choice in of_matrix}
        if of_texts:
            effective = defaults.apply(draft.endpoint, {**draft.request, **fields})
            named = {name for field in variables.texts_in(effective) for name in variables.names_in(effective[field])}
            if any(choice.place for choice in of_texts if choice.name not in named):
                continue  # the same job as with the first value
            of_texts = tuple(choice for choice in of_texts if choice.name in named)
        suffix = "".join(choice.suffix for choice in of_matrix)
        before = "".join(choice.suffix for choice in of_texts)
        values = {choice.name: choice.value for choice in of_texts} if known else None
        yield fields, Branch(copy, before + suffix, suffix, values)


def _names_used(own: Mapping[str, Any], fields: Mapping[str, Any], defaults: Defaults) -> dict[str, str]:
    """Return the variables in every text that a job of the line may have, each with its first field."""
    found: dict[str, str] = {}
    for field in variables.TEXTS:
        for text in [own[field]] if field in own else fields.get(field) or defaults.texts(field):
            if isinstance(text, str):
                found = {**dict.fromkeys(variables.names_in(text), field), **found}
    return found


def _drawn(choices: Sequence[Sequence[_Choice]], seed: int) -> Iterator[tuple[_Choice, ...]]:
    """Yield `MAX_JOBS` different ones of more combinations, chosen at random: the same ones for the same seed."""
    met: set[tuple[int, ...]] = set()
    number = 0
    while len(met) < MAX_JOBS:
        number += 1
        # A hash, as a generator of random numbers may change with the version of Python.
        digest = hashlib.blake2b(f"{seed}\0{number}".encode(), digest_size=64, person=b"draw").digest()
        rest = int.from_bytes(digest)
        places = []
        for values in choices:
            rest, place = divmod(rest, len(values))
            places.append(place)
        if tuple(places) not in met:
            met.add(tuple(places))
            yield tuple(values[place] for values, place in zip(choices, places, strict=True))


def _choices(name: str, values: Sequence[Any]) -> list[_Choice]:
    return [
        _Choice(name, place, value, f"__{name}-{slug}")
        for place, (value, slug) in enumerate(zip(values, _slugs(values), strict=True))
    ]


def suffix(values: Mapping[str, Any]) -> str:
    """Return the end of the id of a job with one value of each of these fields."""
    return "".join(_choices(name, [value])[0].suffix for name, value in values.items())


def matrix_fields(job_id: str, request: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the base of a matrix job's id and the fields that the matrix set; no fields if no matrix made the job."""
    base, *parts = job_id.split("__")
    fields: list[str] = []
    while parts:
        part = parts.pop()
        # A field's name may contain a dash too: take the longest name that fits.
        field = max((name for name in request if part.startswith(f"{name}-")), key=len, default=None)
        if field is None or field in fields:
            parts.append(part)
            break
        fields.append(field)
    return "__".join([base, *parts]), tuple(reversed(fields))


def _slugs(values: Sequence[Any]) -> list[str]:
    plain = [_slug(value) for value in values]
    # Compared without case: ids become file names.
    alike = Counter(slug.casefold() for slug in plain)
    return [
        slug if slug and alike[slug.casefold()] == 1 else f"{slug}-{_digest(value)}".lstrip("-")
        for slug, value in zip(plain, values, strict=True)
    ]


def _slug(value: object) -> str:
    if isinstance(value, str):
        return _UNSAFE.sub("-", value[:MAX_SLUG]).strip("-.")
    text = canonical(value).decode()
    return text if isinstance(value, int | float) else _UNSAFE.sub("-", text[:MAX_SLUG]).strip("-.")


def _digest(value: object) -> str:
    return hashlib.blake2b(canonical(value), digest_size=4).hexdigest()
