"""How each job of a file stands in an output folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from venice_batch.model import Status
from venice_batch.output import manifest
from venice_batch.output.latest import LatestRecords
from venice_batch.output.resume import Resume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Outcome


class Standing:
    """The outcomes that count for the jobs of `index`, from whichever run they are.

    A job without one is pending: it has no record, or one of another request, its files are not there any more, or only
    the sandbox has made it and `sandbox` does not let that count.
    """

    def __init__(self, index: JobIndex, root: Path, *, sandbox: bool) -> None:
        """Read the manifest in `root`. Raises FolderError where it cannot be read, as does every iteration."""
        self._index = index
        self._sandbox = sandbox
        self._directory = index.directory()
        self._latest = LatestRecords(root / manifest.NAME)
        self._known = Resume(index, root, sandbox=sandbox)

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield each outcome with its job's place in the index, in the order in which they were recorded."""
        return ((place, outcome) for place, outcome in self.records() if place is not None)

    def records(self) -> Iterator[tuple[int | None, Outcome]]:
        """Yield the last record of every id, in the order in which they were recorded.

        With each comes its job's place in the index, or None if it counts for no job of the index.
        """
        for outcome in self._latest:
            places = self._directory.places(hash(outcome.id))
            yield next((place for place in places if self._counts(place, outcome)), None), outcome

    def _counts(self, place: int, outcome: Outcome) -> bool:
        if not self._index.has_request(place, outcome.request_hash) or (outcome.sandbox and not self._sandbox):
            return False
        return outcome.status is not Status.SUCCEEDED or self._known.is_done(place)
