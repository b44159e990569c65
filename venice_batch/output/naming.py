"""Names of images: the template of `--name`, and file names that are safe on every system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from itertools import pairwise
from string import Formatter
from typing import TYPE_CHECKING, Any

from venice_batch.errors import JobsFileError, Problem, UsageError
from venice_batch.jobfile.rewritten import LINES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from venice_batch.jobfile.rewritten import Places
    from venice_batch.model import Job


LONGEST_BYTES = 180
"""The longest name: 255 bytes are usual, less room for a variant's number, an extension and the temporary name."""

SHORTEST_BYTES = 60
"""The longest short name: it fits wherever a temporary name does."""

_NOT_PLAIN = re.compile("[^A-Za-z0-9_-]+")
_UNSAFE = re.compile(
    r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]'
)
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)")


def safe_name(job_id: str) -> str:
    """Return a file name's stem for `job_id`: the id itself if it is safe everywhere, else cleaned and with a digest.

    No name leaves its folder: separators, control characters and leading dots are replaced. Windows' reserved names and
    trailing dots are avoided (Microsoft, "Naming Files, Paths, and Namespaces"). A name has at most `LONGEST_BYTES` in
    UTF-8. Distinct ids give distinct names, except for an id that was made to look like another's digest, and on some
    systems for ids that differ only in case.
    """
    name = unicodedata.normalize("NFC", job_id)
    name = _UNSAFE.sub("_", name)
    if name.startswith((".", "~", "-", " ")) or _RESERVED.match(name) or not name:
        name = "_" + name
    if name.endswith((".", " ")):
        name = name[:-1] + "_"
    if name == job_id and len(name.encode()) <= LONGEST_BYTES:
        return name
    return with_digest(name, job_id)


def with_digest(name: str, job_id: str) -> str:
    """Return `name`, cut to fit, with twelve hex digits that distinguish `job_id` from every other id."""
    digest = hashlib.blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    room = name.encode("utf-8", "replace")[: LONGEST_BYTES - 13]
    return f"{room.decode('utf-8', 'ignore').rstrip(' .')}-{digest}"


def short_name(name: str) -> str:
    """Return at most `SHORTEST_BYTES` plain letters and digits, with a digest, for a name that a disk refuses."""
    return with_digest(_NOT_PLAIN.sub("_", name)[: SHORTEST_BYTES - 13], name)


def case_key(name: str) -> str:
    """Return a key that is equal for names that a case-insensitive or normalising file system takes as the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


FIELDS = ("id", "index", "line", "prompt", "model", "seed", "hash", "date")
DEFAULT = "{id}"
DEFAULT_WITHOUT_IDS = "{line:04}-{prompt}"
"""The template for files whose lines give no ids: texts, and tables without such a column."""

LONGEST_PROMPT = 60
"""Characters of a prompt that a name repeats."""

_NO_WORD = re.compile(r"[\W_]+")

_PLAIN = re.compile(r"(?!(?:con|prn|aux|nul|com\d|lpt\d)$)[a-z0-9_][a-z0-9_-]{0,99}")
"""Names that need no cleaning and equal no other when case is ignored. Names of Windows devices are excluded."""


class Naming:
    """Names of images without extension, relative to the images' folder, with `/` between folders.

    The template's fields are `{id}`, `{index}` and `{line}` (from 1), `{prompt}` (its first words, in lower case),
    `{model}`, `{seed}`, `{hash}` (eight digits of the request's), `{date}` (of the run, UTC) and `{metadata.KEY}`;
    formats are Python's (`{index:05}`). Each part between slashes becomes a safe file name, so that no value can leave
    the folder. Call `examine` for every job, then `settle`, then `stem`.

    Without a template, images are called after their jobs' ids, or `DEFAULT_WITHOUT_IDS` if `has_ids` is false; the
    fields of a `matrix` follow.

    Raises:
        UsageError: the template has an unknown field, or no field that distinguishes jobs.
    """

    def __init__(self, template: str | None = None, *, date: str = "", has_ids: bool = True) -> None:
        self._has_suffix = template is None and not has_ids
        if template is None:
            template = DEFAULT if has_ids else DEFAULT_WITHOUT_IDS
        self._date = date
        self._parts = [_parse(part, template) for part in template.split("/")]
        names = {name for part in self._parts for _, name, _ in part if name}
        if not names - {"date"}:
            raise UsageError(f"--name {template!r} gives all images one name; add {{id}} or {{index}}")
        self._is_default = self._all_plain = template == DEFAULT
        self._has_id = "id" in names
        self._hashes = array("q")
        self._clashes: frozenset[int] = frozenset()
        self.folders: set[str] = set()

    def examine(self, job: Job) -> list[tuple[str, str]]:
        """Note the name of `job`; return what is wrong with it as (field, problem) pairs."""
        if self._is_default and _PLAIN.fullmatch(job.id):
            self._hashes.append(hash(job.id))
            return []
        self._all_plain = False
        try:
            stem = self._stem(job)
        except LookupError as error:
            return [(str(error.args[0]), "is missing, and --name needs it")]
        except (ValueError, TypeError) as error:
            return [("--name", f"cannot be made for this job: {error}")]
        self._hashes.append(hash(case_key(stem)))
        folder, slash, _ = stem.rpartition("/")
        if slash:
            self.folders.add(folder)
        return []

    def settle(self, jobs: Iterable[Job], source: str, places: Places = LINES) -> None:
        """Find names that are equal, also on a system that ignores case.

        If the id is part of the name, a digest of it distinguishes them from then on.

        Raises:
            JobsFileError: two jobs share a name without an id in it; it names both lines.
        """
        if not self._all_plain:  # plain ids differ as their jobs do; sorting a million takes a second
            self._clashes = frozenset(one for one, other in pairwise(sorted(self._hashes)) if one == other)
        self._hashes = array("q")
        if not self._clashes or self._has_id:
            return
        users: dict[str, int] = {}
        problems = []
        for job in jobs:
            stem = case_key(self._stem(job))
            line = users.setdefault(stem, job.line)
            if hash(stem) in self._clashes and line != job.line:
                what = f"{self._stem(job)!r} is the name of {places.at(line)}'s image too; add {{id}} or {{index}}"
                problems.append(Problem(source, job.line, "--name", what))
        if problems:
            raise JobsFileError(problems[:100], len(problems), places=places)

    def stem(self, job: Job) -> str:
        """Return the path of `job`'s image below the images' folder, without extension."""
        if self._is_default and _PLAIN.fullmatch(job.id):
            return job.id
        stem = self._stem(job)
        if self._clashes and hash(case_key(stem)) in self._clashes:
            folder, slash, name = stem.rpartition("/")
            return folder + slash + with_digest(name, job.id)
        return stem

    def plain_stem(self, job: Job) -> str:
        """Return the name without the digest that equal names get; "" if the job lacks a value for it."""
        try:
            return self._stem(job)
        except (LookupError, ValueError, TypeError):
            return ""

    def _stem(self, job: Job) -> str:
        names = ["".join(text + self._value(job, name, form) for text, name, form in part) for part in self._parts]
        if self._has_suffix:
            names[-1] = names[-1].rstrip("-") + job.suffix
        return "/".join(map(safe_name, names))

    def _value(self, job: Job, name: str, form: str) -> str:
        if not name:
            return ""
        value: Any
        if name.startswith("metadata."):
            value = job.metadata or {}
            for key in name.split(".")[1:]:
                if not isinstance(value, dict) or value.get(key) is None:
                    raise LookupError(name)
                value = value[key]
        elif name == "seed":
            if "seed" not in job.request:
                raise LookupError(name)
            value = job.request["seed"]
        elif name == "prompt":
            value = _words(job)
            if not value and not self._has_suffix:
                raise LookupError(name)
        else:
            value = {
                "id": job.id,
                "index": job.index + 1,
                "line": job.line,
                "model": job.model,
                "hash": job.request_hash[:8],
                "date": self._date,
            }[name]
        return format(value, form)


def _words(job: Job) -> str:
    """Return the first words of a job's prompt, or of its picture's name, with a dash between two; "" without any."""
    text = job.request.get("prompt")
    if not isinstance(text, str):
        pictures = job.request.get("images")
        picture = pictures[0] if isinstance(pictures, list) and pictures else job.request.get("image")
        path = picture.get("path") if isinstance(picture, dict) else None
        text = re.split(r"[/\\]", path)[-1].rpartition(".")[0] if isinstance(path, str) else ""
    words = _NO_WORD.sub("-", unicodedata.normalize("NFC", text[: 4 * LONGEST_PROMPT]).lower()).strip("-")
    if len(words) > LONGEST_PROMPT:
        cut = words[: LONGEST_PROMPT + 1].rpartition("-")[0]
        words = cut if len(cut) > LONGEST_PROMPT // 2 else words[:LONGEST_PROMPT]
    return words


def _parse(part: str, template: str) -> list[tuple[str, str, str]]:
    """Return the literal texts of one part of the path, each with the field and format that follow it."""
    try:
        parsed = [(text, name or "", form or "") for text, name, form, _ in Formatter().parse(part)]
    except ValueError as error:
        raise UsageError(f"--name {template!r}: {error}") from error
    if not parsed:
        raise UsageError(f"--name {template!r} has an empty part")
    for _, name, form in parsed:
        if re.search(r"\d{4}", form):
            raise UsageError(f"--name {template!r}: {form!r} makes longer names than any file system takes")
        if name and name not in FIELDS and not re.fullmatch(r"metadata(\.[^.]+)+", name):
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise UsageError(f"--name {template!r}: {{{name}}} is none of {known}, {{metadata.KEY}}")
    return parsed
