"""A file rewritten as JSON lines: where a person finds its jobs, which lines are equal, what else to know."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from venice_batch.errors import Problem


@dataclass(frozen=True, slots=True)
class Places:
    """What the numbers of a file's jobs count, and where a person finds each.

    `noun` is what is counted from 1: a "line", an "element" of an array, a "row" or a "file". `lines[n]` is the line of
    the file on which number `n` begins; empty if the number is the line, or if no line shows the place. `files[n - 1]`
    is the path of file number `n`.
    """

    noun: str = "line"
    lines: Sequence[int] = ()
    files: Sequence[str] = ()

    def name(self, number: int) -> str:
        """Return a place in a list of places: a number, or a file's path."""
        return self.files[number - 1] if self.files else str(number)

    def at(self, number: int) -> str:
        """Return a place as a message names it: "line 5", "element 17", "row 17", or a file's path."""
        if self.files:
            return self.name(number)
        return f"line {self.lines[number]}" if self.lines else f"{self.noun} {number}"

    def on(self, number: int) -> str:
        """Return a place with its preposition: "on line 5", "in row 17"."""
        found = self.at(number)
        return f"{'on' if found.startswith('line ') and not self.files else 'in'} {found}"

    def file(self, source: str, number: int) -> str:
        """Return the path of the file that holds a job; `source` unless that is a folder."""
        return self.files[number - 1] if self.files and number else source

    def located(self, problem: Problem) -> Problem:
        """Return the problem, which has a job's number as its line, with the place where a person finds it."""
        if not problem.line:
            return problem
        if self.files:
            return replace(problem, source=self.files[problem.line - 1], line=0)
        if self.lines:
            return replace(problem, line=self.lines[problem.line])
        return replace(problem, noun=self.noun)


LINES = Places()
"""Of a file with one job a line."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What the lines of a rewritten file do not say.

    `suspects` maps metadata columns that may be mistyped fields to a message about each. `has_ids`: its lines may give
    ids. `copies[n]` counts the lines equal to line `n` up to it; 0 if there is only one. `notices` are sentences about
    the file. `places` says where the jobs are.
    """

    suspects: Mapping[str, str] = field(default_factory=dict)
    has_ids: bool = True
    copies: Sequence[int] = ()
    notices: tuple[str, ...] = ()
    places: Places = LINES


class Copies:
    """Count the uses of each prompt of a file.

    A prompt is known by its hash: those of a million prompts take less room than the prompts.
    """

    def __init__(self) -> None:
        self._hashes, self._numbers = array("q"), array("I")

    def add(self, prompt: str | bytes, number: int) -> None:
        """Note the prompt of line `number`; the numbers rise."""
        self._hashes.append(hash(prompt))
        self._numbers.append(number)

    def by_line(self) -> Sequence[int]:
        """Return for each line which use of its prompt it is, from 1; () if none occurs twice."""
        ordered = sorted(self._hashes)
        repeated = {one for one, other in pairwise(ordered) if one == other}
        if not repeated:
            return ()
        used = dict.fromkeys(repeated, 0)
        found = array("I", bytes(4)) * (self._numbers[-1] + 1)
        for prompt, number in zip(self._hashes, self._numbers, strict=True):
            if prompt in used:
                used[prompt] += 1
                found[number] = used[prompt]
        return found
