"""Jobs that work on the image of another job in the same file: their links, checked and put in order."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch.jobfile.pictures import FIELD
from venice_batch.jobfile.request_check import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from venice_batch.model import Endpoint, Job

    Report = Callable[[int, str, str], None]
    """Takes the place of a job, the field and what is wrong."""

_NAMED = 5
"""Jobs that a message names at most."""


class Link(NamedTuple):
    """One picture of a job that is another job's image.

    `field` is where it stands, as in `images[1]`. `variant` is the image's number from 1, None for the only one or if
    `pick` waits for a mark.
    """

    field: str
    job: str
    variant: int | None
    pick: bool


class Found(NamedTuple):
    """A job that others wait for: its place in the index and in the file ("line 5"), and how many images it makes."""

    place: int
    at: str
    images: int


def links(endpoint: Endpoint, request: Mapping[str, Any]) -> tuple[Link, ...]:
    """Return the links of a checked request, in the order of its pictures."""
    field = FIELD.get(endpoint)
    value = None if field is None else request.get(field)
    if isinstance(value, list):
        found = [(f"{field}[{number}]", picture) for number, picture in enumerate(value)]
    else:
        found = [(str(field), value)]
    return tuple(
        Link(name, picture["job"], picture.get("variant"), picture.get("pick") is True)
        for name, picture in found
        if isinstance(picture, dict) and "job" in picture
    )


def with_pictures(endpoint: Endpoint, request: dict[str, Any], pictures: Iterable[dict[str, str]]) -> dict[str, Any]:
    """Return the request with `pictures` in the place of its links, in their order."""
    field, given = FIELD[endpoint], iter(pictures)
    value = request[field]
    if not isinstance(value, list):
        return {**request, field: next(given)}
    settled = [next(given) if isinstance(picture, dict) and "job" in picture else picture for picture in value]
    return {**request, field: settled}


def roots(waiting: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the root of each job's chain, both as ids; chains that share a job share a root.

    `waiting` names the jobs that each waiting job waits for. Of several roots the first in alphabetical order counts;
    jobs that are their own root are left out.
    """
    group: dict[str, str] = {}

    def top(name: str) -> str:
        while (above := group.setdefault(name, name)) != name:
            group[name] = group[above]
            name = above
        return name

    for child, parents in waiting.items():
        for parent in parents:
            one, other = top(child), top(parent)
            group[one] = other
    members = defaultdict(list)
    for name in list(group):
        members[top(name)].append(name)
    found: dict[str, str] = {}
    for names in members.values():
        root = min([name for name in names if name not in waiting] or names)
        found |= {name: root for name in names if name != root}
    return found


def ancestors(ids: Iterable[str], waiting: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the jobs whose images those of `ids` need, directly or through others.

    `waiting` names the jobs that each waiting job waits for.
    """
    found: set[str] = set()
    left = [parent for name in ids for parent in waiting.get(name, ())]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += waiting.get(name, ())
    return found


class Chains:
    """The jobs of an index that wait for other jobs' images, by their places; empty for a file without such jobs.

    Memory grows with these jobs and those that they wait for alone.
    """

    __slots__ = ("children", "ids", "lanes", "links", "order", "parents", "places")

    def __init__(self) -> None:
        self.links: dict[int, tuple[Link, ...]] = {}
        """The links of each waiting job."""
        self.parents: dict[int, tuple[int, ...]] = {}
        """For each waiting job the jobs that it waits for, one for each link."""
        self.children: defaultdict[int, list[int]] = defaultdict(list)
        """The jobs that wait for a job, each once."""
        self.order: list[int] = []
        """The waiting jobs, none before one that it waits for."""
        self.lanes: dict[int, str] = {}
        """The lane of each waiting job."""
        self.ids: dict[int, str] = {}
        """The id of each job that waits, or that another one waits for."""
        self.places: dict[str, int] = {}
        """The places of the same jobs, by id."""

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return len(self.links)

    def add(self, place: int, job: Job) -> None:
        """Note a job of the index, if it has links."""
        if found := links(job.endpoint, job.request):
            self.links[place] = found
            self.lanes[place] = job.model
            self._name(place, job.id)

    @property
    def wanted(self) -> set[str]:
        """The ids of all jobs that some job waits for."""
        return {link.job for found in self.links.values() for link in found}

    def connect(self, found: Mapping[str, Found], at: Callable[[int], str], report: Report) -> list[tuple[int, Link]]:
        """Connect each waiting job with the jobs that it waits for, which `found` has by id; report what is wrong.

        `at` returns where in the file the job at a place is: "line 5".
        Returns the places and links of jobs that wait for one that is not in `found`, for the caller to report.
        """
        missing: list[tuple[int, Link]] = []
        for place, own in self.links.items():
            missing += [(place, link) for link in own if link.job not in found]
            known = [(link, found[link.job]) for link in own if link.job in found]
            for link, parent in known:
                self._name(parent.place, link.job)
                if what := _wrong_variant(link, parent):
                    report(place, link.field, what)
            self.parents[place] = tuple(parent.place for _, parent in known)
            for parent_place in dict.fromkeys(self.parents[place]):
                self.children[parent_place].append(place)
        self._sort()
        if len(self.order) < len(self.links):
            self._report_circles(at, report)
        return missing

    def _name(self, place: int, job_id: str) -> None:
        self.ids[place] = job_id
        self.places[job_id] = place

    def _sort(self) -> None:
        left = {place: sum(parent in self.links for parent in set(above)) for place, above in self.parents.items()}
        ready = deque(sorted(place for place, count in left.items() if not count))
        while ready:
            place = ready.popleft()
            self.order.append(place)
            for child in self.children.get(place, ()):
                left[child] -= 1
                if not left[child]:
                    ready.append(child)

    def _report_circles(self, at: Callable[[int], str], report: Report) -> None:
        """Report each circle once, at its first line."""
        sorted_ = set(self.order)
        seen: set[int] = set()
        for start in sorted(self.links.keys() - sorted_):
            path: dict[int, Link] = {}
            place = start
            while place not in path and place not in seen:
                link, above = next(
                    (link, above)
                    for link, above in zip(self.links[place], self._parents_of(place), strict=True)
                    if above is not None and above in self.links and above not in sorted_
                )
                path[place] = link
                place = above
            if place in path:
                around = list(path)[list(path).index(place) :]
                first = around.index(min(around))
                around = around[first:] + around[:first]
                report(around[0], path[around[0]].field, self._circle(around, at))
            seen.update(path)

    def _parents_of(self, place: int) -> Iterator[int | None]:
        return (self.places.get(link.job) for link in self.links[place])

    def _circle(self, around: Sequence[int], at: Callable[[int], str]) -> str:
        if len(around) == 1:
            return "waits for its own image"
        through = [f"{shown(self.ids[place])} ({at(place)})" for place in around[1:]]
        if len(through) > _NAMED:
            through[_NAMED - 1 : -1] = ["…"]
        return f"waits for {', which waits for '.join(through)}, which waits for this job: a circle"


def _wrong_variant(link: Link, parent: Found) -> str | None:
    name = f"{shown(link.job)} ({parent.at})"
    if link.variant is not None and link.variant > parent.images:
        makes = "one image" if parent.images == 1 else f"{parent.images} images"
        return f"there is no variant {link.variant}: {name} makes {makes}"
    if link.variant is None and not link.pick and parent.images > 1:
        return f'{name} makes {parent.images} images; add "variant": 1 to {parent.images}, or "pick": true'
    return None


def no_job(name: str, lines: Mapping[str, str]) -> str:
    """Return the message about a link to a job that the file lacks; `lines` says where jobs are, by their ids."""
    what = f"no job {shown(name)} is in this file"
    made = [other for other in lines if other.startswith(f"{name}__")]
    if made:
        names = ", ".join(map(shown, made[:_NAMED])) + (", …" if len(made) > _NAMED else "")
        return f"{what}; {lines[made[0]]} makes {names}: name one of these"
    if hint := did_you_mean(name, lines):
        meant = next((other for other in lines if hint.endswith(f"{other!r}?")), None)
        return f"{what}{hint}" if meant is None else f"{what}{hint[:-1]} ({lines[meant]})?"
    return what
