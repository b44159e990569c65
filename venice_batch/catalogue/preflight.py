"""Check and add up a file's jobs in the one pass that reads it."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from venice_batch.catalogue.constraints import (
    ModelProblem,
    nearest,
    prompt_complaints,
    reference_complaints,
    shape_complaints,
)
from venice_batch.catalogue.prices import KIND, enhancement_micro_usd, model_of, price_for, prices_used
from venice_batch.jobfile.fields import FIELDS
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from venice_batch.catalogue.models import Catalogue, Model, ModelKind
    from venice_batch.model import Job

MAX_WARNINGS = 100
"""Different warnings that are kept; all of them are counted."""

MAX_LINES = 5
"""Lines that are named for one warning."""

_MAX_SHAPES = 16_384
_MAX_SEARCHES = 1000

PER_JOB = frozenset(
    {
        "prompt",
        "negative_prompt",
        "seed",
        "image",
        "images",
        "image_url",
        "style_references",
        "cfg_scale",
        "lora_strength",
        "return_binary",
        "anon_user_id",
        "user",
    }
)
"""Fields whose values no price and no complaint about a shape depends on.

A complaint may depend on whether there is a `seed` or a `negative_prompt`, and on the number of `images`. The values of
prompts and style references are checked in every job.
"""

_PRESENT = ("negative_prompt", "seed", "style_references")
"""Fields of PER_JOB whose presence matters."""


class _Form(NamedTuple):
    """What jobs with the same fields share: the fields that make up their shape, and how to take their values.

    Jobs of one shape share price and complaints. With `is_close` their values of other fields than `prompt` need a look
    of their own.
    """

    names: tuple[str, ...]
    values: Callable[[dict[str, Any]], object]
    is_close: bool


@lru_cache(maxsize=4096)  # a file has few orders of fields, and finding out takes longer than the rest of the check
def _form(endpoint: Endpoint, given: tuple[str, ...]) -> _Form:
    """Return the form of requests with the fields `given`."""
    names = sorted(FIELDS[endpoint].intersection(given) - PER_JOB)
    present = [name for name in _PRESENT if name in given]
    is_close = "negative_prompt" in present or "style_references" in present
    return _Form((*names, *present), itemgetter(*names) if names else _nothing, is_close)


def _nothing(_: dict[str, Any]) -> None:
    return None


class Bill(NamedTuple):
    """What one job asks for. `lane` is the model as the line names it, `model` the catalogue's model behind that name.

    `micro_usd` is the most that the job can cost; None where the price is unknown. It includes
    `enhancement_micro_usd`, which is charged only where the prompt is rewritten.
    """

    lane: str
    model: str
    images: int
    micro_usd: int | None
    enhancement_micro_usd: int = 0


class Use(NamedTuple):
    """A model as jobs use it: `name` is how their lines call it, `model` its id, or `name` again if no list has it.

    `kind` is None for background removal, whose model no list shows.
    """

    kind: ModelKind | None
    name: str
    model: str
    is_listed: bool


class Warned(msgspec.Struct):
    """A warning, how many jobs have it, and the first lines that do."""

    field: str
    what: str
    count: int = 0
    lines: list[int] = msgspec.field(default_factory=list)


class _Assessment(NamedTuple):
    """What all jobs of one shape have in common."""

    bill: int
    prompt_limit: int
    complaints: tuple[ModelProblem, ...]
    model: Model | None


class Preflight:
    """Check jobs against a catalogue, and add up what they ask for.

    Pass `examine` to `JobIndex.build`, alone or with others, so that it sees every job once and in order. Without a
    catalogue nothing is checked and no price is known. `styles` are the names that `style_preset` takes; None if they
    are unknown. `allow_unknown` turns everything that the catalogue says against a job into warnings; `strict` turns
    warnings into errors. `prices` are those that the jobs' costs are made of, by the use of a model, as `prices_used`
    names them. Memory: four bytes a job, by which `bills` tells jobs apart.
    """

    def __init__(
        self,
        catalogue: Catalogue | None,
        styles: Collection[str] | None = None,
        *,
        allow_unknown: bool = False,
        strict: bool = False,
    ) -> None:
        self.catalogue = catalogue
        self.warnings: list[Warned] = []
        self.warning_count = 0
        self.prices: dict[Use, dict[str, int | None]] = {}
        self._styles = None if styles is None else dict.fromkeys(styles)
        self._allow_unknown = allow_unknown
        self._strict = strict
        self._known: dict[Endpoint, dict[tuple[object, ...], _Assessment]] = {endpoint: {} for endpoint in Endpoint}
        # A bill's code is its place in this dict; each job has a code.
        self._bills: dict[Bill, int] = {}
        self._codes = array("I")
        self._warned: dict[tuple[str, str], Warned] = {}
        self._searches = 0

    def examine(self, job: Job) -> list[tuple[str, str]]:
        """Take in `job`; return what is wrong with it as (field, complaint)."""
        request = job.request
        known = self._known[job.endpoint]
        form = _form(job.endpoint, tuple(request))
        values = form.values(request)
        if job.doubts:  # a field that is not known to take a list may hold one
            values = repr(values)
        shape: tuple[object, ...] = (form.names, values)
        if "images" in request:
            shape = (*shape, len(request["images"]))
        assessment = known.get(shape)
        if assessment is None:
            if len(known) >= _MAX_SHAPES:
                known.clear()
            assessment = known[shape] = self._assess(job)
        self._codes.append(assessment.bill)
        found: Iterable[ModelProblem] = assessment.complaints
        if form.is_close or job.doubts or len(request.get("prompt", "")) > assessment.prompt_limit:
            found = self._with_own(job, assessment)
        return self._judge(job.line, found) if found else []

    def bills(self, wanted: Iterable[bool] | None = None) -> list[tuple[Bill, int]]:
        """Return each different bill with the number of jobs that have it.

        `wanted` says for each job, in the file's order, whether it counts; by default all do.
        """
        counts = Counter(self._codes if wanted is None else compress(self._codes, wanted))
        bills = list(self._bills)
        return [(bills[code], counts[code]) for code in sorted(counts)]

    def _assess(self, job: Job) -> _Assessment:
        catalogue = self.catalogue
        if catalogue is None:
            bill = Bill(job.model, job.model, job.images, None)
            return _Assessment(self._bills.setdefault(bill, len(self._bills)), sys.maxsize, (), None)
        model = model_of(job, catalogue)
        found = shape_complaints(
            job, catalogue, styles=self._styles, allow_unknown=self._allow_unknown, nearest=self._nearest
        )
        bill = Bill(
            job.model,
            model.id if model else job.model,
            job.images,
            price_for(job, model),
            enhancement_micro_usd(job.endpoint, job.request),
        )
        code = self._bills.setdefault(bill, len(self._bills))
        use = Use(KIND.get(job.endpoint), job.model, bill.model, model is not None)
        self.prices.setdefault(use, {}).update(prices_used(job, model))
        limit = model.prompt_limit if model else None
        return _Assessment(code, sys.maxsize if limit is None else limit, tuple(found), model)

    def _with_own(self, job: Job, assessment: _Assessment) -> list[ModelProblem]:
        """Return the complaints about the job's shape, and those about its own values."""
        found = [ModelProblem(field, what, is_error=False) for field, what in job.doubts]
        found += assessment.complaints
        if assessment.model is not None and self.catalogue is not None:
            found += prompt_complaints(job.request, assessment.model)
            found += reference_complaints(job.request, assessment.model, self.catalogue)
        return found

    def _judge(self, line: int, found: Iterable[ModelProblem]) -> list[tuple[str, str]]:
        """Return the errors among the complaints about a job; keep the others as warnings."""
        errors = []
        for complaint in found:
            if (complaint.is_error and not self._allow_unknown) or self._strict:
                errors.append((complaint.field, complaint.what))
            else:
                self._warn(line, complaint)
        return errors

    def _warn(self, line: int, complaint: ModelProblem) -> None:
        self.warning_count += 1
        key = (complaint.field, complaint.what)
        warned = self._warned.get(key)
        if warned is None:
            if len(self.warnings) >= MAX_WARNINGS:
                return
            warned = self._warned[key] = Warned(*key)
            self.warnings.append(warned)
        warned.count += 1
        if len(warned.lines) < MAX_LINES and line not in warned.lines:
            warned.lines.append(line)

    def _nearest(self, name: str, names: Collection[str]) -> list[str]:
        # A search takes a millisecond, and nobody reads a million suggestions.
        self._searches += 1
        return nearest(name, names) if self._searches <= _MAX_SEARCHES else []
