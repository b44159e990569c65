"""Equal and similar mistakes of a jobs file as one sentence with their number and lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Mistake = tuple[str, str, str]
"""A problem without its line: source, field and text."""

UNKNOWN = "unknown field"
"""The whole text about a field that no job has and that resembles none."""

FEW = 10
"""Different mistakes of one kind that are shown one by one; of more, the first stands for all."""

MAX_SPANS = 5
"""Lines, or spans of lines, that a problem of many lines names."""

_VALUES = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\d[\d,.]*""")
"""Parts of a message that differ from line to line: quoted texts and numbers."""


class Found(Protocol):
    """A problem: its line, from 1 or 0 for the whole file, its field and its text."""

    @property
    def line(self) -> int: ...
    @property
    def field(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def mistake(self) -> Mistake: ...


Problem = TypeVar("Problem", bound=Found)


class Numbers(Protocol):
    """What the lines of problems are numbers of, where these are not lines of a file."""

    @property
    def noun(self) -> str: ...
    def name(self, number: int) -> str: ...


def kind_of(mistake: Mistake) -> Mistake:
    """Return what a mistake has in common with those that differ in values alone, or in the unknown field."""
    source, field, what = mistake
    if what == UNKNOWN:
        return source, "", UNKNOWN
    return source, _VALUES.sub("#", field), _VALUES.sub("#", what)


def told_once(
    problems: Iterable[Problem],
    counts: Mapping[Mistake, int],
    lines: int,
    numbers: Numbers | None = None,
    on_lines: Mapping[Mistake, int] | None = None,
) -> tuple[list[tuple[Problem, str, str]], int]:
    """Return each different mistake once, in the order of the file, and how many of all problems that covers.

    Each is a problem, which stands for the others, with the field and the text for all of them. Of a kind with many
    different mistakes only the first is returned. `counts` holds how often the whole file has a mistake, or a kind;
    one that it lacks is counted in `problems`. `on_lines` holds on how many lines it has a mistake, as a line with a
    matrix may have one in each of its jobs. The file has `lines` lines, 0 if that is not known; `numbers` says what
    they are if not lines.
    """
    kinds: dict[Mistake, dict[Mistake, list[Problem]]] = {}
    for problem in problems:
        kinds.setdefault(kind_of(problem.mistake), {}).setdefault(problem.mistake, []).append(problem)
    found: list[tuple[Problem, str, str]] = []
    covered = 0
    for kind, alike in kinds.items():
        sizes = {mistake: max(counts.get(mistake, 0), len(same)) for mistake, same in alike.items()}
        count = sum(sizes.values())
        if kind[2] == UNKNOWN and len(alike) > 1 and max(sizes.values()) > 1:
            found.append(_unknown_fields(alike.values(), max(sizes.values()), lines, numbers))
        elif len(alike) > FEW:
            count = max(counts.get(kind, 0), count)
            found.append(_first_of([one for same in alike.values() for one in same], count, numbers))
        else:
            for mistake, same in alike.items():
                found += _same(same, sizes[mistake], (on_lines or {}).get(mistake, 0), lines, numbers)
        covered += count
    # A stable sort: the problems of one line stay in their order.
    return sorted(found, key=lambda one: one[0].line), covered


def _same(
    same: Sequence[Problem], count: int, on_lines: int, lines: int, numbers: Numbers | None
) -> list[tuple[Problem, str, str]]:
    """Return equal problems as one, with the lines of the others; `on_lines` is 0 if that is not known."""
    places = list(dict.fromkeys(one.line for one in same))
    if count == len(places) == 2:
        return [(one, one.field, one.what) for one in same]  # no shorter in one
    what = same[0].what
    if not on_lines:
        on_lines = len(places) if len(same) > len(places) else count
    jobs = count if count > on_lines else 0
    also = _also(what, places, max(on_lines, len(places)), lines, numbers, jobs=jobs)
    return [(same[0], same[0].field, what + also)]


def _unknown_fields(
    alike: Iterable[Sequence[Problem]], most: int, lines: int, numbers: Numbers | None
) -> tuple[Problem, str, str]:
    """Return the problems of several unknown fields as one; `most` is the number of lines that have one of them."""
    firsts = [same[0] for same in alike]
    listed = ", ".join([one.field for one in firsts[:FEW]] + ["…"] * (len(firsts) > FEW))
    on, noun = _words(numbers)
    where = f"all {lines:,}" if most == lines else f"up to {most:,}"
    return min(firsts, key=lambda one: one.line), listed, f"{UNKNOWN}s {on} {where} {noun}s"


def _first_of(problems: Sequence[Problem], count: int, numbers: Numbers | None) -> tuple[Problem, str, str]:
    """Return the first of `count` problems of a kind, with the lines of those that are known."""
    first = problems[0]
    named = _spans(list(dict.fromkeys(one.line for one in problems))[1:], numbers, is_cut=count > len(problems))
    on, noun = _words(numbers)
    return first, first.field, f"{first.what}; {count - 1:,} more like it" + (f" {on} {noun} {named}" if named else "")


def _also(what: str, places: Sequence[int], count: int, lines: int, numbers: Numbers | None, *, jobs: int) -> str:
    """Return the end of a message about equal problems on `count` lines; `places` are the first ones.

    `jobs` is how many jobs have it if a line has several of them, as a matrix makes them; else 0.
    """
    if not places[0]:
        return ""
    if count == 1:
        return f"; in {jobs:,} jobs" if jobs else ""
    on, noun = _words(numbers)
    in_jobs = f" ({jobs:,} jobs)" if jobs else ""
    if count == lines:
        return f"{'' if what == 'missing' else '; the same'} {on} all {lines:,} {noun}s{in_jobs}"
    named = _spans(places[1:], numbers, is_cut=count > len(places))
    others = f"{count - 1:,} more {noun}{'s' if count > 2 else ''}"
    return f"; the same {on} {others}" + (f": {named}" if named else "") + in_jobs


def _words(numbers: Numbers | None) -> tuple[str, str]:
    """Return the preposition and the noun for places."""
    noun = "line" if numbers is None else numbers.noun
    return "on" if noun == "line" else "in", noun


def _spans(places: Iterable[int], numbers: Numbers | None, *, is_cut: bool) -> str:
    """Return the first of some places as numbers and spans, files by name; `is_cut`: there are others."""
    name = str if numbers is None else numbers.name
    is_counted = numbers is None or numbers.noun != "file"
    spans: list[list[int]] = []
    for place in places:
        if is_counted and spans and place == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], place]
        else:
            spans.append([place])
    named = ["-".join(map(name, span)) for span in spans[:MAX_SPANS]]
    if named and (len(spans) > MAX_SPANS or is_cut):
        named.append("…")
    return ", ".join(named)
