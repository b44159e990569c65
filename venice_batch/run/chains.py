"""The jobs of a run that wait for other jobs' images: when they may go, and what keeps them back."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from venice_batch.events import JobKept
from venice_batch.model import Reason, Status
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from venice_batch.events import Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job, Outcome
    from venice_batch.output.parents import Image
    from venice_batch.output.resume import Resume

PICK = "pick"
"""The kind of reason for jobs that wait for a mark."""

NO_IMAGE = "no_image"
"""The kind of reason for jobs that want an image of a job which made fewer."""

_PENDING = "pending"
_NAMED = 3


class ChainedJobs:
    """The waiting jobs that a run has to make, released when the jobs that they wait for are done.

    `found_done` and `found_rejected` count those that turn out during the run to need nothing more: the image that they
    wait for came out as it was. Released jobs are (lane, place) pairs, each once.
    """

    def __init__(
        self,
        index: JobIndex,
        known: Resume,
        is_settled: Callable[[int], bool],
        observe: Observer = lambda event: None,
    ) -> None:
        self._observe = observe
        self.found_done = self.found_rejected = 0
        self._chains = index.chains
        self._known = known
        self._is_settled = is_settled
        self._left = dict.fromkeys(place for place in index.chains.order if not is_settled(place))
        self._images: dict[int, list[Image]] = {}
        self._failed: dict[int, Status] = {}

    def ready(self) -> list[tuple[str, int]]:
        """Release the jobs that may go now; call it at the start, and to notice images that were picked since."""
        return self._release(list(self._left))

    def ended(self, outcome: Outcome) -> list[tuple[str, int]]:
        """Release the jobs that waited for this one only."""
        place = self._chains.places.get(outcome.id)
        if place is None:
            return []
        self._known.ended(place, outcome)
        if outcome.status is Status.SUCCEEDED:
            return self._release(self._chains.children.get(place, ()))
        self._failed[place] = outcome.status
        return []

    def read(self, place: int) -> Job:
        """Return a released job, with the images that it waited for. Raises JobsFileError if the file has changed."""
        return self._known.parents.job(place, self._images.pop(place))

    def _release(self, places: Iterable[int]) -> list[tuple[str, int]]:
        released = []
        asked = deque(places)
        while asked:
            place = asked.popleft()
            if place not in self._left or not self._known.may_go(place):
                continue
            self._known.judge(place)
            if self._is_settled(place):
                del self._left[place]
                is_done = self._known.is_done(place)
                self.found_done += is_done
                self.found_rejected += not is_done
                self._observe(JobKept(self._chains.lanes[place], is_done))
                asked.extend(self._chains.children.get(place, ()))
            elif (images := self._known.parents.chosen(place)) is not None:
                del self._left[place]
                self._images[place] = images
                released.append((self._chains.lanes[place], place))
        return released

    def kept_back(self) -> tuple[Reason, ...]:
        """Return why jobs are pending that this run could not release, with the ids of the first few.

        Jobs that were merely not reached before the run stopped are left out.
        """
        causes: dict[int, tuple[str, int]] = {}
        found: defaultdict[str, list[int]] = defaultdict(list)
        for place in self._left:
            cause = self._cause(place, causes)
            if cause is not None:
                causes[place] = cause
                found[cause[0]].append(place)
        return tuple(
            Reason(
                _PENDING,
                kind,
                _MESSAGES[kind].format(self._names(causes[place][1] for place in places)),
                len(places),
                tuple(self._chains.ids[place] for place in places[:_NAMED]),
            )
            for kind, places in ((kind, sorted(places)) for kind, places in found.items())
        )

    def _cause(self, place: int, causes: dict[int, tuple[str, int]]) -> tuple[str, int] | None:
        """Return the kind of reason why a job waits, and the job that is the cause; `causes` has those before it."""
        for parent in self._known.parents.of(place):
            if parent in causes:
                return causes[parent]
            if parent in self._failed:
                return self._failed[parent].value, parent
            if self._is_settled(parent) and not self._known.is_done(parent):
                return Status.REJECTED.value, parent
        if not self._known.may_go(place):
            return None
        missing = self._known.parents.unchosen(place)
        if missing is None:
            return None
        link, parent = missing
        return PICK if link.pick else NO_IMAGE, parent

    def _names(self, places: Iterable[int]) -> str:
        names = list(dict.fromkeys(self._chains.ids[place] for place in places))
        return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


_MESSAGES = {
    PICK: "waiting for an image of {} to be picked",
    NO_IMAGE: "waiting for an image that {} did not make",
    Status.FAILED.value: "waiting for {}, which failed",
    Status.REJECTED.value: "waiting for {}, which was rejected",
}


def stop_reason(kept_back: Iterable[Reason]) -> str | None:
    """Return why a run in which nothing failed ends with jobs pending: they wait for the user; None if none does."""
    for reason in kept_back:
        if reason.kind == PICK:
            return f"{counted(reason.count, 'job')} {reason.message}; mark one as picked, then run again"
    return None
