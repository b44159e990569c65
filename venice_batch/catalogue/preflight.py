"""All checks and sums of a file's jobs in the one pass that reads it."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from venice_batch.catalogue.constraints import (
    ModelProblem,
    nearest,
    prompt_complaints,
    reference_complaints,
    shape_complaints,
)
from venice_batch.catalogue.prices import enhancement_micro_usd, model_of, price_for
from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from venice_batch.catalogue.models import Catalogue, Model
    from venice_batch.model import Job

MAX_WARNINGS = 100
"""How many different warnings are kept; all of them are counted."""

MAX_LINES = 5
"""How many lines are named of one warning."""

_MAX_SHAPES = 16_384
_MAX_SEARCHES = 1000
_SHAPE = (
    "model",
    "width",
    "height",
    "aspect_ratio",
    "resolution",
    "quality",
    "steps",
    "style_preset",
    "variants",
    "enable_web_search",
    "enhance_prompt",
    "disable_prompt_optimization_thinking",
    "background",
    "output_compression",
    "style",
    "modelId",
    "scale",
    "creativity",
    "format",
    "output_format",
    "transparent_background",
)
"""The fields that complaints and price depend on, but for prompts, style references and the number of `images`.

Of `seed` and `negative_prompt` only their presence plays a part.
"""


class Bill(NamedTuple):
    """What one job asks for. `lane` is the model as the line names it, `model` the one that this comes down to.

    `micro_usd` is the most that it can cost, None where the price is unknown; it includes `enhancement_micro_usd`,
    which is charged only where the prompt is rewritten.
    """

    lane: str
    model: str
    images: int
    micro_usd: int | None
    enhancement_micro_usd: int = 0


class Warned(msgspec.Struct):
    """A warning, how many jobs have it, and the first lines that do."""

    field: str
    what: str
    count: int = 0
    lines: list[int] = msgspec.field(default_factory=list)


class _Assessment(NamedTuple):
    """What is known of all jobs of one shape."""

    bill: int
    prompt_limit: int
    quiet: bool
    complaints: tuple[ModelProblem, ...]
    model: Model | None


class Preflight:
    """Check jobs against a catalogue, and add up what they ask for.

    Pass `examine` to `JobIndex.build`, alone or with others, so that it sees every job once and in order. Without a
    catalogue nothing is checked and no price is known. `styles` are the names that `style_preset` takes; None if they
    are unknown. `allow_unknown` turns everything that the catalogue says against a job into warnings; `strict` turns
    warnings into errors. Memory: four bytes a job, by which `bills` tells jobs apart.
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
        self._styles = None if styles is None else dict.fromkeys(styles)
        self._allow_unknown = allow_unknown
        self._strict = strict
        self._verdicts: dict[Endpoint, dict[tuple[object, ...], _Assessment]] = {endpoint: {} for endpoint in Endpoint}
        # A bill's code is its place here; the jobs of each are counted beside it.
        self._bills: dict[Bill, int] = {}
        self._counts: Counter[int] = Counter()
        self._codes = array("I")
        self._warned: dict[tuple[str, str], Warned] = {}
        self._searches = 0

    def examine(self, job: Job) -> list[tuple[str, str]]:
        """Take note of `job`; returns what is wrong with it as (field, complaint)."""
        request = job.request
        known = self._verdicts[job.endpoint]
        shape = (*map(request.get, _SHAPE), "seed" in request, "negative_prompt" in request)
        if job.doubts:  # a field that is not known to take a list may hold one
            shape = tuple(map(repr, shape))
        if "images" in request:
            shape = (*shape, len(request["images"]))
        verdict = known.get(shape)
        if verdict is None:
            if len(known) >= _MAX_SHAPES:
                known.clear()
            verdict = known[shape] = self._judge(job)
        self._counts[verdict.bill] += 1
        self._codes.append(verdict.bill)
        if (
            verdict.quiet
            and not job.doubts
            and len(request.get("prompt", "")) <= verdict.prompt_limit
            and "negative_prompt" not in request
            and "style_references" not in request
        ):
            return []
        return self._complain(job, verdict)

    def bills(self, wanted: Iterable[bool] | None = None) -> list[tuple[Bill, int]]:
        """Each different bill with the number of jobs that have it.

        `wanted` says of each job, in the file's order, whether it counts; by default all do.
        """
        counts = self._counts
        if wanted is not None:
            counts = Counter(compress(self._codes, wanted))
        bills = list(self._bills)
        return [(bills[code], counts[code]) for code in sorted(counts)]

    def _judge(self, job: Job) -> _Assessment:
        request = job.request
        catalogue = self.catalogue
        if catalogue is None:
            bill = Bill(job.model, job.model, job.images, None)
            return _Assessment(self._bills.setdefault(bill, len(self._bills)), sys.maxsize, True, (), None)
        model = model_of(job, catalogue)
        found = tuple(
            shape_complaints(
                job, catalogue, styles=self._styles, allow_unknown=self._allow_unknown, nearest=self._nearest
            )
        )
        bill = Bill(
            job.model,
            model.id if model else job.model,
            job.images,
            price_for(job, model),
            enhancement_micro_usd(job.endpoint, request),
        )
        code = self._bills.setdefault(bill, len(self._bills))
        limit = model.prompt_limit if model else None
        return _Assessment(code, sys.maxsize if limit is None else limit, not found, found, model)

    def _complain(self, job: Job, verdict: _Assessment) -> list[tuple[str, str]]:
        found = [ModelProblem(field, what, is_error=False) for field, what in job.doubts]
        found += verdict.complaints
        if verdict.model is not None and self.catalogue is not None:
            found += prompt_complaints(job.request, verdict.model)
            found += reference_complaints(job.request, verdict.model, self.catalogue)
        errors = []
        for complaint in found:
            if (complaint.is_error and not self._allow_unknown) or self._strict:
                errors.append((complaint.field, complaint.what))
            else:
                self._warn(job.line, complaint)
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
        # A search takes a millisecond; nobody reads a million suggestions.
        self._searches += 1
        return nearest(name, names) if self._searches <= _MAX_SEARCHES else []
