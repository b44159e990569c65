"""Give the images of a folder the values in files of scores: find each row's images, write what is new."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from venice_batch.errors import UsageError, one_line
from venice_batch.output.annotations import Annotation, AnnotationsFile, read_annotations
from venice_batch.report.export.columns import FIXED_NAMES
from venice_batch.report.known_images import KnownImages
from venice_batch.report.score_files import NotNumbers, rows, rows_inside, values_in
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from venice_batch.output.annotations import Value
    from venice_batch.report.known_images import Image
    from venice_batch.report.score_files import Row

MOST_NAMES = 200
"""Names that one call writes: a file with more columns is hardly one of scores."""

MOST_EXAMPLES = 5

_IDS = ("id", "custom_id", "job_id")
_NUMBERS = ("image", "variant", "image_number")
_HASHES = ("sha256", "image_sha256")
_PATHS = ("path", "file_name", "filename", "image_path", "file_path", "filepath", "img_path", "image_file", "file")
_KEYS = frozenset((*_IDS, *_NUMBERS, *_HASHES, *_PATHS))

_OF_RECORDS = frozenset(
    ("prompt", "negative_prompt", "model", "seed", "width", "height", "steps", "cfg_scale", "variants", "metadata")
)
"""Columns that scorers copy from the jobs."""
_OF_EXPORTS = ("request_hash", "run_id")
"""Columns that only an export of this program has: in such a table all but `annotation.NAME` is left out, unless its
name is none of the export's."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d*)?")
_COUNT = re.compile(r"([1-9]\d{0,3})(?:\.0*)?")
"""A number of an image; tables whose column has empty cells may say 2.0."""


_ZERO = re.compile(r"[+-]?0+(?:[.,]0*)?")


class Annotated(msgspec.Struct, frozen=True):
    """The result: of `rows`, `matched` are about images of the folder.

    `images` counts those that they give values, `written` the values that were not known yet, `names` are those of
    all values. `unmatched` shows the first rows that match no image. `conflicts` counts values that a later row
    replaced by others. `not_finite` and `cut` count, by name, values that are NaN or infinite and texts that were too
    long. `not_numbers` has the names whose values are texts and numbers, or numbers with a decimal comma.
    `columns_left_out` repeat what the records say. `removed` counts values that were taken away.
    """

    rows: int
    matched: int
    images: int
    written: int
    names: tuple[str, ...]
    unmatched: tuple[str, ...] = ()
    conflicts: int = 0
    not_finite: dict[str, int] = {}
    cut: dict[str, int] = {}
    not_numbers: dict[str, NotNumbers] = {}
    columns_left_out: tuple[str, ...] = ()
    removed: int = 0


def annotate(
    root: Path,
    files: Iterable[tuple[str, bytes]],
    *,
    at: str,
    key: str | None = None,
    prefix: str = "",
    columns: Collection[str] = (),
    remove: Sequence[str] = (),
    dry_run: bool = False,
) -> Annotated:
    """Give the images of the folder `root` the values in `files`, pairs of name and content; all of them or none.

    Values that the images have already are not written again.

    Parameters:
        at: the time, as annotations have it.
        key: the column that says which image a row is about; by default columns with known names do.
        prefix: text before each name.
        columns: the only columns to take; all that are no keys by default.
        remove: names of values to take away from every image.
        dry_run: count, but write nothing.

    Raises:
        UsageError: a file cannot be read as rows, no row matches an image, a row names image 0, or a column of
            `columns` or `remove` is nowhere.
        FolderError: it is no output folder, or the values cannot be written.
    """
    images = KnownImages(root)
    known = read_annotations(root)
    taken = _Taken(images, key, prefix, frozenset(columns))
    for name, data in files:
        taken.file(name, data)
    taken.check()
    pending: dict[Image, dict[str, Value | None]] = {}
    removed = 0
    if remove:
        if missing := [name for name in remove if name not in known.names]:
            has = f"it has {', '.join(known.names[:20])}" if known.names else "it has no annotations"
            raise UsageError(one_line(f"--remove {missing[0]}: no image in {root} has it; {has}"))
        for image in images:
            held = known.of_image(image.id, image.sha256, image.number)
            if gone := {name: None for name in remove if name in held}:
                pending[image] = {**gone}
                removed += len(gone)
    written = 0
    for image, values in taken.values.items():
        held = known.of_image(image.id, image.sha256, image.number)
        new = {name: value for name, value in values.items() if not _is_same(value, held.get(name)) or name in remove}
        if new:
            pending[image] = {**pending.get(image, {}), **new}
            written += len(new)
    if not dry_run:
        with AnnotationsFile(root) as file:
            file.append(
                Annotation(image.sha256, image.id, image.number, values, at) for image, values in pending.items()
            )
    return Annotated(
        rows=taken.rows,
        matched=taken.matched,
        images=len(taken.values),
        written=written,
        names=tuple(taken.names),
        unmatched=tuple(taken.unmatched),
        conflicts=taken.conflicts,
        not_finite=dict(taken.not_finite),
        cut=dict(taken.cut),
        not_numbers={name: kinds for name, kinds in taken.kinds.items() if kinds.is_likely},
        columns_left_out=tuple(sorted(taken.left_out)),
        removed=removed,
    )


class _Taken:
    """The values of all rows so far, by image."""

    def __init__(self, images: KnownImages, key: str | None, prefix: str, columns: frozenset[str]) -> None:
        self._images = images
        self._key = key
        self._prefix = prefix
        self._columns = columns
        self.rows = self.matched = self.conflicts = 0
        self.values: dict[Image, dict[str, Value]] = {}
        self.names: dict[str, None] = {}
        self.unmatched: list[str] = []
        self.not_finite: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.kinds: defaultdict[str, NotNumbers] = defaultdict(NotNumbers)
        self.left_out: set[str] = set()
        self._seen: set[str] = set()
        self._first = ""
        self._wrapper = ""

    def file(self, name: str, data: bytes) -> None:
        """Take all rows of a file."""
        count = self.rows
        for row in rows(name, data):
            self._row(name, row)
        if self.rows == count + 1 and (hint := rows_inside(row.cells)):
            self._wrapper = f"{name}: {hint}"

    def check(self) -> None:
        """Raise UsageError for rows of which nothing can be taken."""
        if not self.rows:
            return
        if self._wrapper and not self.matched and (self._key is not None or not self._first):
            raise UsageError(self._wrapper)
        if self._key is not None and self._key not in self._seen:
            raise UsageError(one_line(f"--key {self._key}: no row has this column; there is {_listed(self._seen)}"))
        if missing := sorted(self._columns - self._seen):
            raise UsageError(one_line(f"--column {missing[0]}: no row has this column; there is {_listed(self._seen)}"))
        if self._key is None and not self._first:
            what = "no column says which image a row is about (id, path, file_name or sha256)"
            raise UsageError(one_line(f"{what}; name one with --key: there is {_listed(self._seen)}"))
        if not self.matched:
            raise UsageError(
                one_line(
                    f"no row matches an image of the folder, such as {self._first}; is it the right folder, or --key?"
                )
            )
        if not self.names:
            raise UsageError(one_line(f"no row holds a value beside its key; there is {_listed(self._seen)}"))

    def _row(self, name: str, row: Row) -> None:
        self.rows += 1
        self._seen.update(map(str, row.cells))
        shown, found, why, is_0 = self._find(row.cells)
        if is_0:  # then the rows of all other numbers are about other images than they say
            what = f"{name}:{row.line}: {shown}: images count from 1; if the scorer counts from 0, add 1 in all rows"
            raise UsageError(one_line(what))
        if not found:
            shown += f" ({why})" if why else ""
            self._first = self._first or shown
            if len(self.unmatched) < MOST_EXAMPLES:
                self.unmatched.append(f"{name}:{row.line}: {shown or 'no key'}")
            return
        self.matched += 1
        self._first = self._first or shown
        values, not_finite, cut = values_in(self._scores(row.cells), self._prefix)
        self.not_finite.update(not_finite)
        self.cut.update(cut)
        self.names.update(dict.fromkeys(values))
        for column, value in values.items():
            if not isinstance(value, bool):
                self.kinds[column].add(value, f"{name}:{row.line}")
        if len(self.names) > MOST_NAMES:
            what = f"{name}:{row.line}: the rows have more than {MOST_NAMES} columns of values"
            raise UsageError(f"{what}; choose those that matter with --column")
        for image in found if values else ():
            held = self.values.setdefault(image, {})
            self.conflicts += sum(name in held and not _is_same(value, held[name]) for name, value in values.items())
            held.update(values)

    def _find(self, cells: Mapping[str, Any]) -> _Match:
        """Return the images that a row is about: those that all of its keys name."""
        by = self._images
        if self._key is not None:
            text = _text(cells.get(self._key))
            return _Match(_shown(self._key, text), *self._any(text))
        given = {str(name).strip().lower(): (str(name), text) for name, cell in cells.items() if (text := _text(cell))}
        numbers = [cell for cell in _in(given, _NUMBERS) if _NUMBER.fullmatch(cell[1])]
        in_place = [cell for cell in _in(given, _NUMBERS) if cell not in numbers]
        paths, hashes, ids = [*_in(given, _PATHS), *in_place], _in(given, _HASHES), _in(given, _IDS)
        shown = next((_shown(*cell) for cell in (*paths, *hashes, *ids, *numbers)), "")
        if numbers and not any(by.by_id(text) or by.has_job(text) for _, text in ids):
            paths += [cell for cell in numbers if not _COUNT.fullmatch(cell[1])]  # names of files, such as 00012
        named: list[tuple[str, list[Image]]] = []
        named += islice(((_shown(*cell), found) for cell in paths if (found := by.by_path(cell[1]))), 1)
        named += ((_shown(*cell), by.by_hash(cell[1])) for cell in hashes if _SHA256.fullmatch(cell[1]))
        why = "" if named else next(filter(None, (by.why_not(text) for _, text in paths)), "")
        # A text that is no path of an image cannot say which one of a job it is. Beside a path, a column that counts no
        # images is another of the scorer's own.
        number = next(iter((*numbers, *in_place) if not named else filter(_is_count, numbers)), None)
        for name, text in ids:
            found, is_job = by.by_id(text), by.has_job(text)
            if not found and not is_job:
                found = by.by_name(text)
            elif number is not None:
                of_job, found = found, _numbered(found, number[1])
                if not found:
                    why = f"the job has {counted(len(of_job), 'image')}, counted from 1"
                    return _Match(
                        f"{_shown(name, text)}, {_shown(*number)}", [], why, is_0=bool(_ZERO.fullmatch(number[1]))
                    )
            if found or is_job:
                named.append((_shown(name, text), found))
                break
        match = _agreed(shown, named)
        if len(match.images) != 1 and why and not match.why:
            return _Match(shown, [], why)
        return match

    def _any(self, text: str) -> tuple[list[Image], str]:
        by = self._images
        found = by.by_id(text) or by.by_hash(text)
        if found or not text or by.has_job(text):
            return found, ""
        found = by.by_path(text)
        return found, "" if found else by.why_not(text)

    def _scores(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """Return the cells that are values: no keys, and nothing that the records say themselves."""
        if self._columns:
            return {name: cell for name, cell in cells.items() if name in self._columns}
        found = {}
        is_export = all(name in cells for name in _OF_EXPORTS)
        for name, cell in cells.items():
            plain = str(name).strip().lower()
            if name == self._key or (plain in _KEYS and self._key is None):
                continue
            if is_export and _is_of_export(plain):
                continue
            if plain in _OF_RECORDS:
                self.left_out.add(str(name))
                continue
            found[str(name).removeprefix("annotation.") if is_export else str(name)] = cell
        return found


class _Match(NamedTuple):
    """What a row's keys name: a key as text, "" if it has none, its images, and why these are none if that is known.

    `is_0`: the row names an image number 0.
    """

    shown: str
    images: list[Image]
    why: str = ""
    is_0: bool = False


def _in(given: Mapping[str, tuple[str, str]], columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return the columns that the row has, as (name, text)."""
    return [given[column] for column in columns if column in given]


def _is_count(cell: tuple[str, str]) -> bool:
    return _COUNT.fullmatch(cell[1]) is not None


def _numbered(found: Sequence[Image], text: str) -> list[Image]:
    """Return the one of a job's images that has the number in `text`."""
    count = _COUNT.fullmatch(text)
    return [image for image in found if count and image.number == int(count[1])]


def _agreed(shown: str, named: Sequence[tuple[str, list[Image]]]) -> _Match:
    """Return the images that all keys of a row name."""
    if not named:
        return _Match(shown, [])
    found = named[0][1]
    for other, images in named[1:]:
        both = set(images)
        if not (found := [image for image in found if image in both]):
            return _Match(shown, [], f"{named[0][0]} and {other} do not name the same image")
    return _Match(shown, found)


def _is_of_export(column: str) -> bool:
    return column in FIXED_NAMES or column.startswith(("request.", "metadata."))


def _text(cell: object) -> str:
    return "" if cell is None or isinstance(cell, dict | list | bool) else str(cell).strip()


def _shown(column: str, text: str) -> str:
    return f"{column} {text[:80]!r}" if text else ""


def _listed(columns: Collection[str]) -> str:
    some = sorted(columns)[:10]
    return ", ".join(some) + (f" and {len(columns) - len(some)} more" if len(columns) > len(some) else "")


def _is_same(one: Value | None, other: Value | None) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def sentences(done: Annotated) -> Iterator[str]:
    """Yield a sentence for each thing that the user may not have meant."""
    if lacking := done.rows - done.matched:
        some = "; ".join(done.unmatched)
        more = ", …" if lacking > len(done.unmatched) else ""
        yield f"{counted(lacking, 'row')} of {done.rows:,} match{'es' if lacking == 1 else ''} no image: {some}{more}"
    if done.conflicts:
        yield (
            f"{counted(done.conflicts, 'value')} came twice for one image and differed; the last one counts "
            "(a row with an id alone is about all images of the job: add a column image, from 1)"
        )
    if done.not_finite:
        yield f"left out, as they are no finite numbers: {_counts(done.not_finite)}"
    for name, kinds in islice(done.not_numbers.items(), MOST_EXAMPLES):
        yield f"{name} counts as text, not as numbers: {kinds}"
    if (others := len(done.not_numbers) - MOST_EXAMPLES) > 0:
        yield f"so {'does' if others == 1 else 'do'} {counted(others, 'more name')}"
    if done.cut:
        yield f"cut, as they are too long: {_counts(done.cut)}"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({counted(count, 'row')})" for name, count in found.items())
