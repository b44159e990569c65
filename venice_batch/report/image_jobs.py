"""Jobs from the recipes inside images: of exports of venice-batch, and of other programs as far as they go."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from venice_batch.errors import Findings, UsageError, one_line
from venice_batch.image_format import START_BYTES, format_of
from venice_batch.jobfile import Defaults, oversize, parse
from venice_batch.model import UNNAMED
from venice_batch.output.plain_files import open_plain
from venice_batch.report.export.recipe import Recipe, read_file
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from venice_batch.errors import Problem
    from venice_batch.model import Job
    from venice_batch.report.jobs_from import Changes

_LONGEST_ID = 200
_MOST_OTHERS = 64
"""Settings of another program that are kept as metadata, and their characters."""
_LONGEST_OTHER = 1000
_NAMED = 3


@dataclass(slots=True)
class _Group:
    """Images that a notice is about: how many, and the first ones' names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _NAMED and name not in self.names:
            self.names.append(name)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.names) else ""
        return f"{counted(self.count, 'image')} ({', '.join(self.names)}{more})"


class ImageJobs:
    """Makes the job of each image that holds a recipe, with `changes`.

    A recipe of another program may name a model or hold a value that the API does not know; both become metadata, as do
    its other settings. `is_model` says whether a model is known. Images with the same job count once.
    """

    def __init__(self, changes: Changes, *, is_model: Callable[[str], bool], allow_unknown: bool = False) -> None:
        self.images = 0
        self._changes = changes
        self._is_model = is_model
        self._defaults = Defaults(allow_unknown=allow_unknown)
        self._seen: dict[str, str] = {}
        self._without, self._derived, self._repeated, self._unfit = _Group(), _Group(), _Group(), _Group()
        self._models: dict[str, int] = {}

    def jobs(self, files: Iterable[Path]) -> Iterator[Job]:
        """Yield the job of each image, in this order.

        Raises:
            JobsFileError: at the end, if a recipe or a change makes a job invalid; it names them by their files.
            UsageError: a file cannot be read.
        """
        findings = Findings()
        for path in files:
            self.images += 1
            recipe = _read(path)
            if recipe is None:
                self._without.add(path.name)
            elif recipe.has_picture:
                self._derived.add(path.name)
            else:
                yield from self._jobs(path, recipe, findings)
        findings.raise_any()

    @property
    def notices(self) -> list[str]:
        """What the user should know about the images so far, a line each."""
        found = []
        if self._without.count:
            found.append(f"no recipe in {self._without}")
        if self._derived.count:
            found.append(f"left out {self._derived}: made from other images, which a recipe does not hold")
        if self._repeated.count:
            found.append(f"left out {self._repeated}: the same job as an earlier one")
        if self._models:
            names = list(self._models)
            names = [*names[:_NAMED], "…"] if len(names) > _NAMED else names
            count = sum(self._models.values())
            gets = "1 job gets" if count == 1 else f"{count} jobs get"
            models = f"{gets} the API's default model instead of another program's ({', '.join(names)})"
            found.append(f"{models}; --set model=NAME chooses one")
        if self._unfit.count:
            found.append(f"values that the API does not take became metadata, in {self._unfit}")
        return [one_line(text) for text in found]

    def _jobs(self, path: Path, recipe: Recipe, findings: Findings) -> Iterator[Job]:
        name = recipe.id or one_line(path.stem)[:_LONGEST_ID]
        fields, metadata = dict(recipe.fields), _metadata(recipe)
        model = str(fields.get("model", ""))
        if not recipe.is_ours and not (model and self._is_model(model)):
            if model:
                metadata["Model"] = model
            fields["model"] = UNNAMED[recipe.endpoint]
            if "model" not in self._changes.values:
                self._models[model or "none"] = self._models.get(model or "none", 0) + 1
        job, problems = self._parsed(path, recipe, name, fields, metadata)
        if problems and not recipe.is_ours:
            unfit = {problem.field for problem in problems} & (fields.keys() - {"prompt"} - self._changes.values.keys())
            if unfit:
                self._unfit.add(path.name)
                metadata |= {key: fields.pop(key) for key in sorted(unfit)}
                job, problems = self._parsed(path, recipe, name, fields, metadata)
        findings.extend(problems)
        if job is None:
            return
        if self._seen.get(job.id, job.request_hash) != job.request_hash:
            job = msgspec.structs.replace(job, id=f"{job.id}~{job.request_hash[:6]}")
        if job.id in self._seen:
            self._repeated.add(path.name)
        else:
            self._seen[job.id] = job.request_hash
            for part, what in oversize(job):
                findings.add(0, part, what, str(path))
            yield job

    def _parsed(
        self, path: Path, recipe: Recipe, name: str, fields: dict[str, Any], metadata: dict[str, Any]
    ) -> tuple[Job | None, tuple[Problem, ...]]:
        changes = self._changes
        kept = {key: value for key, value in fields.items() if key not in changes.without}
        line = {"id": name + changes.suffix, "endpoint": recipe.endpoint, **kept, **changes.values}
        if metadata:
            line["metadata"] = metadata
        parsed = parse(msgspec.json.encode(line), number=0, first_index=0, defaults=self._defaults, source=str(path))
        return (parsed.jobs[0] if parsed.jobs else None), parsed.problems


def _metadata(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of another program as metadata, within bounds."""
    others = list(recipe.others.items())[:_MOST_OTHERS]
    return {key: value[:_LONGEST_OTHER] for key, value in others}


def image_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of these paths, and in sorted order the images of those that are folders, and of their folders.

    Links to folders are not followed, hidden files and folders are left out.

    Raises:
        UsageError: a path is missing, or cannot be read.
    """
    for path in paths:
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                yield from _images_below(path)
            else:
                yield path
        except OSError as error:
            raise UsageError(one_line(f"{path}: {error.strerror or error}")) from error


def _images_below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and _is_image(path):
                yield path


def _is_image(path: Path) -> bool:
    try:
        with _opened(path) as file:
            return format_of(file.read(START_BYTES)) is not None
    except OSError:
        return False


def _read(path: Path) -> Recipe | None:
    try:
        with _opened(path) as file:
            return read_file(file)
    except OSError as error:
        raise UsageError(one_line(f"{path}: {error.strerror or error}")) from error


def _opened(path: Path) -> BinaryIO:
    """Open a plain file; wait for no pipe."""
    return os.fdopen(open_plain(os.path.realpath(path)), "rb")
