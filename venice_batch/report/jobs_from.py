"""Jobs from the records of a manifest: choose records and images, change fields, derive new jobs from images."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.errors import Findings, one_line
from venice_batch.jobfile import Defaults, matrix, oversize, parse
from venice_batch.jobfile.fields import FIELDS, MAX_SEED
from venice_batch.jobfile.identity import has_implicit_id
from venice_batch.jobfile.pictures import FIELD
from venice_batch.model import UNNAMED, Endpoint, Parent
from venice_batch.output.annotations import Annotations
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles
from venice_batch.output.prune import DELETED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from venice_batch.errors import Problem
    from venice_batch.model import ImageFile, Job, Outcome
    from venice_batch.output.marks import Mark
    from venice_batch.report.conditions import Condition

_LONGEST_WORDS = 60
"""Characters of a prompt in an id."""

_LONGEST_CHAIN = 100
"""Parents of parents whose words are looked up; records may come from anybody, and name each other."""

_IMAGE = re.compile(r"(.+)#([1-9][0-9]{0,3})", re.DOTALL)
"""One image of a job, as in `idea-7#2`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which records to take, and which of their images: those that meet every condition.

    An empty condition is always met. A record meets `statuses`, `flags` or `models` if it has any one of them. Its id
    must match a pattern of `ids`, in which `*`, `?` and `[…]` work as in a shell, or be one of `listed`; with `#2`
    behind it, either names the second image alone. `marked` and `min_rating` are about images: what `marks` say of
    them, by `Mark.key`; so is `where`, about what `annotations` say. A record is taken if one of its images meets them
    all.
    """

    statuses: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    ids: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()
    marked: frozenset[str] = frozenset()
    min_rating: int | None = None
    marks: Mapping[tuple[str, str, int], Mark] = field(default_factory=dict)
    where: tuple[Condition, ...] = ()
    annotations: Annotations = field(default_factory=Annotations)
    _met: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def images(self, outcome: Outcome) -> list[int] | None:
        """Return the numbers of a record's images to take, from 1; None if the record is not taken."""
        named = self._named(outcome)
        if (
            named is None
            or (self.statuses and outcome.status not in self.statuses)
            or (self.flags and not any(map(outcome.flags.has, self.flags)))
            or (self.models and outcome.lane not in self.models)
        ):
            return None
        if self.marked or self.min_rating is not None:
            named = [number for number in named if self._is_marked(outcome, number)] or None
        if self.where and named:
            named = [number for number in named if self._is_scored(outcome, number)] or None
        return named

    @property
    def unmet(self) -> list[str]:
        """The ids, then the patterns, that no record has matched so far, whatever the other conditions."""
        return [*sorted(self.listed - self._met), *(pattern for pattern in self.ids if pattern not in self._met)]

    def _named(self, outcome: Outcome) -> list[int] | None:
        """Return the numbers of the images that the conditions on ids name; None if they do not name the record."""
        job_id, numbers = outcome.id, range(1, len(outcome.files) + 1)
        if not self.ids and not self.listed:
            return list(numbers)
        # An id may contain characters that have a meaning in a pattern.
        whole = {pattern for pattern in self.ids if pattern == job_id or fnmatchcase(job_id, pattern)}
        single: dict[str, int] = {}
        for pattern in self.ids:
            found = _IMAGE.fullmatch(pattern)
            if found and int(found[2]) in numbers and (found[1] == job_id or fnmatchcase(job_id, found[1])):
                single[pattern] = int(found[2])
        if self.listed:
            whole |= {job_id} & self.listed
            single |= {name: number for number in numbers if (name := f"{job_id}#{number}") in self.listed}
        self._met.update(whole, single)
        if whole:
            return list(numbers)
        return sorted(set(single.values())) or None

    def _is_scored(self, outcome: Outcome, number: int) -> bool:
        values = self.annotations.of(outcome, number)
        return all(condition.is_met(values) for condition in self.where)

    def _is_marked(self, outcome: Outcome, number: int) -> bool:
        mark = self.marks.get((outcome.id, outcome.files[number - 1].sha256, number))
        if mark is None or (self.marked and mark.mark not in self.marked):
            return False
        return self.min_rating is None or (mark.rating or 0) >= self.min_rating


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes to every job: `values` replace or add fields, `without` names fields to leave out.

    `suffix` is added to the id, so that the new job stands beside the old one.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    suffix: str = ""

    def apply(self, outcome: Outcome) -> dict[str, Any]:
        """Return the native line of a record's job, unchecked.

        `return_binary: true` is left out: it is how a run sends the request, and `variants` could not stand beside it.
        """
        request = {name: value for name, value in outcome.request.items() if name not in self.without}
        if request.get("return_binary") is True:
            del request["return_binary"]
        line = {"id": outcome.id + self.suffix, "endpoint": outcome.endpoint, **request, **self.values}
        if outcome.metadata is not None:
            line["metadata"] = outcome.metadata
        if outcome.parent is not None:
            line["parent"] = outcome.parent
        return line


@dataclass(frozen=True, slots=True)
class Derivation:
    """A kind of new job to make from an image.

    `endpoint` takes the image, with `fields` as the rest of the request; without it the image's own request is sent
    again, `count` times with new seeds. `suffix` is added to the image's name as the new job's id.
    """

    endpoint: Endpoint | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    count: int = 1

    @classmethod
    def upscale(cls, scale: int) -> Derivation:
        """Make the image `scale` times as wide and high."""
        return cls(Endpoint.UPSCALE, {"scale": scale}, f"-x{scale}")

    @classmethod
    def edit(cls, prompt: str) -> Derivation:
        """Change the image as `prompt` says."""
        # The model is named: a default for other jobs, as in a settings file, would hardly be one that edits.
        fields = {"model": UNNAMED[Endpoint.EDIT], "prompt": prompt}
        return cls(Endpoint.EDIT, fields, f"-{_words(prompt, 40) or 'edit'}")

    @classmethod
    def cut_out(cls) -> Derivation:
        """Remove the image's background."""
        return cls(Endpoint.BACKGROUND_REMOVE, {}, "-cutout")

    @classmethod
    def vary(cls, count: int) -> Derivation:
        """Send the image's request again `count` times, each with a seed of its own."""
        return cls(None, {}, "-v", count)

    def lines(self, outcome: Outcome, number: int, changes: Changes, root: Path) -> Iterator[dict[str, Any]]:
        """Yield the native lines of the jobs for image `number` of a record, unchecked.

        They carry its metadata and its prompt, and name it as their parent. `changes.suffix` replaces the id's usual
        suffix. Made again, they are the same jobs.

        Raises:
            ValueError: no such job can be made of it, or the image is not a plain file of the folder `root`.
        """
        file = outcome.files[number - 1]
        parent = Parent(outcome.id, file.sha256, number)
        suffix = changes.suffix or self.suffix
        # The same image with other values is another job.
        after = "" if changes.suffix else matrix.suffix(dict(sorted(changes.values.items())))
        name = image_name(outcome, number)
        if self.endpoint is None:
            request, metadata = self._again(outcome, changes), outcome.metadata
            for count in range(1, self.count + 1):
                seed = {"seed": _seed(parent, count)} if "seed" in FIELDS[outcome.endpoint] else {}
                line = {"id": f"{name}{suffix}{count}{after}", "endpoint": outcome.endpoint, **request, **seed}
                yield {**line, "metadata": metadata, "parent": parent}
            return
        kept = ("safe_mode", "anon_user_id")
        policy = {name: outcome.request[name] for name in kept if name in outcome.request}
        request = {name: value for name, value in policy.items() if name in FIELDS[self.endpoint]}
        request |= {FIELD[self.endpoint]: _picture(root, file), **self.fields}
        request = {name: value for name, value in request.items() if name not in changes.without}
        line = {"id": f"{name}{suffix}{after}", "endpoint": self.endpoint, **request, **changes.values}
        yield {**line, "metadata": _with_prompt(outcome), "parent": parent}

    def _again(self, outcome: Outcome, changes: Changes) -> dict[str, Any]:
        if outcome.endpoint in (Endpoint.UPSCALE, Endpoint.BACKGROUND_REMOVE):
            raise ValueError(f"{outcome.endpoint} has no seed to vary and no prompt to try again")
        left_out = {"return_binary", "variants", *changes.without}
        return {**{name: value for name, value in outcome.request.items() if name not in left_out}, **changes.values}


def prompt_of(outcome: Outcome) -> str:
    """Return the words that made a record's images, "" if none are known.

    The metadata of a derived job carry its parent's words; an edit has both.
    """
    own, carried = (found.get("prompt") for found in (outcome.request, outcome.metadata or {}))
    own, carried = (text if isinstance(text, str) else "" for text in (own, carried))
    return _joined(carried, own, outcome.endpoint) if outcome.parent is not None else own or carried


def _joined(theirs: str, own: str, endpoint: Endpoint) -> str:
    """Return the words of a derived image from those of its parent and its own; an edit has both."""
    return f"{theirs} → {own}" if own and theirs and own != theirs and endpoint in FIELD else own or theirs


class ParentWords:
    """The words of parents in the same folder, for derived jobs that do not carry them, such as those of chains.

    `records` are those of the folder; they are read when the first such job comes.
    """

    def __init__(self, records: Iterable[Outcome] = ()) -> None:
        self._records = records
        self._known: dict[str, tuple[str, Endpoint, str]] = {}

    def added(self, outcome: Outcome) -> Outcome:
        """Return the record with its parent's words in its metadata, if it has a parent and lacks them."""
        parent, metadata = _lacking(outcome), outcome.metadata or {}
        if not parent:
            return outcome
        if not self._known:
            self._known = {one.id: (prompt_of(one), one.endpoint, _lacking(one)) for one in self._records}
        prompt = self._of(parent, _LONGEST_CHAIN)
        return msgspec.structs.replace(outcome, metadata={**metadata, "prompt": prompt}) if prompt else outcome

    def _of(self, job_id: str, left: int) -> str:
        own, endpoint, parent = self._known.get(job_id, ("", Endpoint.GENERATE, ""))
        return _joined(self._of(parent, left - 1) if parent and left else "", own, endpoint)


def _lacking(outcome: Outcome) -> str:
    """Return the id of the parent whose words a record lacks; "" if it lacks none."""
    return "" if outcome.parent is None or "prompt" in (outcome.metadata or {}) else outcome.parent.id


def image_name(outcome: Outcome, number: int) -> str:
    """Return a name for image `number` of a record, from 1: the job's id, and the number if there are several images.

    An id that only repeats the request's hash says nothing. Instead of it the name holds the file's own name, or else
    the prompt with a part of the hash. It depends on nothing but the record.
    """
    which = f"-{number}" if len(outcome.files) > 1 else ""
    if not has_implicit_id(outcome):
        return outcome.id + which
    _, *folders, last = PurePosixPath(outcome.files[number - 1].path).parts or ("",)
    stem = "-".join((*folders, last.rpartition(".")[0] or last))
    if stem and outcome.id not in stem:
        return stem
    words = _words(prompt_of(outcome), _LONGEST_WORDS)
    return f"{words}-{outcome.id[:6]}{which}" if words else outcome.id + which


def jobs_of(
    records: Iterable[tuple[int, Outcome]],
    *,
    choice: Choice,
    changes: Changes,
    source: str,
    derivation: Derivation | None = None,
    words: ParentWords | None = None,
    allow_unknown: bool = False,
) -> Iterator[Job]:
    """Yield the job of every chosen record, with the changes; with a `derivation` the new jobs of every chosen image.

    Without changes a job keeps its id and hash. `records` are pairs of line number in the manifest `source` and record.
    `words` are those of the folder. `allow_unknown` accepts fields and values that this version does not know.

    Raises:
        JobsFileError: at the end, if a change made jobs invalid; it names them all by the lines of their records.
    """
    findings = Findings()
    defaults = Defaults(allow_unknown=allow_unknown)
    used: set[str] = set()
    for number, outcome in records:
        images = choice.images(outcome)
        if images is None:
            continue
        if derivation is None:
            lines = [changes.apply(outcome)]
        else:
            lines = []
            outcome = words.added(outcome) if words else outcome
            for image in images:
                try:
                    lines += _distinct(derivation.lines(outcome, image, changes, Path(source).parent), used)
                except ValueError as error:
                    findings.add(number, "", one_line(f"image {image} of {outcome.id}: {error}"), source)
        for line in lines:
            encoded = msgspec.json.encode(line)
            parsed = parse(encoded, number=number, first_index=0, defaults=defaults, source=source)
            findings.extend(_blame(problem, changes) for problem in parsed.problems)
            for job in parsed.jobs:
                for name, what in oversize(job):
                    findings.add(number, name, what, source)
                yield job
    findings.raise_any()


def _distinct(lines: Iterable[dict[str, Any]], used: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the lines with ids of their own: image 2 of `a` and the only image of `a-2` have one name."""
    for line in lines:
        if line["id"] in used:
            line = {**line, "id": f"{line['id']}~{line['parent'].sha256[:6]}"}
        used.add(line["id"])
        yield line


def _picture(root: Path, file: ImageFile) -> dict[str, str]:
    """Return an image as a request names it; with the hash, no other content is sent. Raises ValueError."""
    if file.pruned == DELETED:
        raise ValueError("was rejected and deleted")
    try:
        size = PlainFiles(root).size(file.path)  # the records may come from anybody
    except OSError as error:
        why = error.strerror if isinstance(error, NoPlainFileError) else "is no longer in the folder"
        raise ValueError(f"{file.path!r} {why}") from error
    if size != file.bytes:
        raise ValueError(f"{file.path!r} has changed since it was made")
    path = os.path.join(os.path.abspath(root), *file.path.split("/"))
    path.encode()  # a UnicodeEncodeError is a ValueError
    return {"path": path, "sha256": file.sha256}


def _with_prompt(outcome: Outcome) -> dict[str, Any] | None:
    """Return a record's metadata with its prompt, which a request made from its image has no field for."""
    found, prompt = outcome.metadata, prompt_of(outcome)
    if not prompt or (found and "prompt" in found and outcome.parent is None):
        return found
    return {**(found or {}), "prompt": prompt}


def _seed(parent: Parent, count: int) -> int:
    digest = hashlib.blake2b(f"{parent.id}\0{parent.sha256}\0{count}".encode(), digest_size=8, person=b"vary").digest()
    return 1 + int.from_bytes(digest) % MAX_SEED


def _words(text: str, longest: int) -> str:
    """Return `text` as words joined by hyphens, for an id; one that is cut ends with digits that distinguish it."""
    words = re.sub(r"[\W_]+", "-", text.lower()).strip("-")
    if len(words) <= longest:
        return words
    cut = words[: longest - 5]
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=2).hexdigest()
    return f"{cut[: cut.rfind('-')] if '-' in cut else cut}-{digest}"


def _blame(problem: Problem, changes: Changes) -> Problem:
    """Return the problem; its text names the option that caused it, if one did."""
    if problem.field in changes.values:
        return replace(problem, what=f"{problem.what} (from --set)")
    if problem.field in changes.without:
        return replace(problem, what=f"{problem.what} (from --unset)")
    return problem
