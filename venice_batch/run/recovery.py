"""Images in a bucket whose run was killed before it recorded them: they are paid for, so they are recorded now."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import anyio

from venice_batch.api.answers import Answer, Reply
from venice_batch.api.responses import AnswerHeaders
from venice_batch.errors import FolderError
from venice_batch.model import Attempt
from venice_batch.output import manifest
from venice_batch.output.folder import IMAGES
from venice_batch.output.manifest import read_views
from venice_batch.output.resume import Resume
from venice_batch.run.history import begun
from venice_batch.run.reuse import known_jobs
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job, Outcome, Purchase, Sent
    from venice_batch.output.disk import Disk
    from venice_batch.output.manifest import Manifest
    from venice_batch.run.settings import RunSettings

_AT_A_TIME = 64
"""Records that are written at the same time: they share a request."""


async def recovered(
    index: JobIndex, settings: RunSettings, journal: Manifest, disk: Disk, check: Callable[[], None]
) -> tuple[Resume, list[str]]:
    """Return what the output holds of the jobs, and a notice if records were missing.

    In a bucket, images of a pending job get their record if all that one answer brought are there. Jobs that work on
    others' images are left out: their request is not known yet. `check` raises if the bucket is no longer this run's.

    Raises:
        FolderError: the output cannot be read or written.
    """
    recorded = 0
    if (bucket := settings.bucket) is not None and (paths := await disk.ask(partial(_unrecorded, bucket, settings))):
        purchases = await disk.ask(partial(bucket.purchases, paths))
        outcomes = _outcomes(index, settings, bucket, purchases)
        while some := list(islice(outcomes, _AT_A_TIME)):
            check()
            await _append(journal, some)
            recorded += len(some)
    notices = [f"{counted(recorded, 'job')} had images but no record; recorded now"] if recorded else []
    return known_jobs(index, settings), notices


def _unrecorded(bucket: BucketFolder, settings: RunSettings) -> set[str]:
    """Return the paths of all images that no record has with their size: a new one may have replaced a recorded one."""
    copy = bucket.copy()
    paths = set(copy.names(IMAGES))
    if paths:
        for _, record in read_views(settings.output / manifest.NAME):
            if record is not None:
                paths.difference_update(file.path for file in record.files if copy.size(file.path) == file.bytes)
    return paths


async def _append(journal: Manifest, outcomes: Sequence[Outcome]) -> None:
    """Write records at the same time. Raises FolderError: one was not written."""
    errors: list[FolderError] = []

    async def append(outcome: Outcome) -> None:
        try:
            await journal.append(outcome)
        except FolderError as error:  # a task group would wrap it
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for outcome in outcomes:
            tasks.start_soon(append, outcome)
    if errors:
        raise errors[0]


def _outcomes(
    index: JobIndex, settings: RunSettings, bucket: BucketFolder, purchases: Sequence[tuple[str, Purchase]]
) -> Iterator[Outcome]:
    """Yield the record of each pending job for which a run bought all images in one answer."""
    answers: dict[tuple[str, str, str, Sent, float, int], list[Purchase]] = {}
    for run_id, one in sorted(purchases, key=lambda pair: pair[1].file.path):
        if settings.may_be_sandbox or not one.sandbox:
            answer = (run_id, one.id, one.request_hash, one.sent, one.took_s, one.count)
            answers.setdefault(answer, []).append(one)
    whole = {answer: images for answer, images in answers.items() if _is_whole(images)}
    if not whole:
        return
    sizes = bucket.whole(verify=False)
    known = Resume(index, settings.output, sandbox=settings.may_be_sandbox, whole=sizes)
    places, chained = index.directory().places, index.chains.links
    taken = set[int]()
    for (run_id, job_id, request_hash, *_), images in whole.items():
        for place in places(hash(job_id)):
            is_wanted = place not in taken and place not in chained and not known.is_done(place)
            if is_wanted and index.has_request(place, request_hash):
                taken.add(place)
                images.sort(key=lambda image: image.number)
                yield outcome_of(index.job(place), images, settings, run_id=run_id)


def _is_whole(images: Sequence[Purchase]) -> bool:
    return len(images) == images[0].count and sorted(one.number for one in images) == list(range(1, len(images) + 1))


def outcome_of(job: Job, images: Sequence[Purchase], settings: RunSettings, *, run_id: str) -> Outcome:
    """Return the record of a job with the images of one answer, as the run that bought them would have written it.

    Of its attempts only the last is known, and of that not how its time was spent.
    """
    bought = images[0]
    flags, sent = bought.flags, bought.sent
    headers = AnswerHeaders(
        ray=bought.ray,
        blurred=flags.blurred,
        deprecated=flags.deprecated,
        enhanced_prompt=flags.enhanced_prompt,
        sandbox=bought.sandbox,
    )
    ended_s = sent.waited_s + bought.took_s
    answer = Answer(200, headers, "", sent.waited_s, ended_s)
    history = begun(
        job,
        settings.catalogue,
        prefer_json=settings.attempts.prefer_json,
        enqueued_s=0.0,
        enqueued_unix_s=sent.enqueued_unix_s,
        started_s=0.0,
    )
    # The prices of that day, and what had been spent by then.
    history.price, history.enhancement = sent.price, sent.enhancement
    history.spent, history.maybe_billed = sent.spent, sent.maybe_billed
    history.attempts.append(Attempt(200, None, 0.0, None, bought.ray, bought.took_s, sent.waited_s))
    history.charge(answer)
    files = tuple(image.file for image in images)
    return history.outcome(answer, Reply(answer, files), run_id=run_id, now_s=ended_s)
