"""Images in a bucket whose run was killed before it recorded them: they are paid for, so they are recorded now."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from venice_batch.api.answers import Answer, Reply
from venice_batch.api.responses import AnswerHeaders
from venice_batch.model import Attempt
from venice_batch.output import manifest
from venice_batch.output.folder import IMAGES
from venice_batch.output.manifest import read_views
from venice_batch.run.history import begun
from venice_batch.run.reuse import known_jobs
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.clock import Clock
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job, Outcome, Purchase
    from venice_batch.output.disk import Disk
    from venice_batch.output.manifest import Manifest
    from venice_batch.output.resume import Resume
    from venice_batch.run.settings import RunSettings


async def recovered(
    index: JobIndex, settings: RunSettings, journal: Manifest, *, disk: Disk, clock: Clock
) -> tuple[Resume, str]:
    """Return what the output holds of the jobs, and a notice of what had to be recorded for that; "" if nothing had.

    A job's images in a bucket are recorded if all that its answer brought are there and the job is not done otherwise.
    Jobs that work on others' images are left out: their request is not known yet.

    Raises:
        FolderError: the output cannot be read or written.
    """
    known = known_jobs(index, settings)
    if settings.bucket is None:
        return known, ""
    paths = await disk.ask(partial(_unrecorded, settings.bucket, settings))
    purchases = await disk.ask(partial(settings.bucket.purchases, paths))
    recorded = 0
    for place, run_id, images in _whole(index, known, purchases):
        await journal.append(outcome_of(index.job(place), images, settings, run_id=run_id, wall_s=clock.wall()))
        recorded += 1
    if not recorded:
        return known, ""
    notice = f"{counted(recorded, 'job')} had images but no record, because a run was killed: recorded now"
    return known_jobs(index, settings), notice


def _unrecorded(bucket: BucketFolder, settings: RunSettings) -> set[str]:
    """Return the paths of all images that no record has with their size: a new one may have replaced a recorded one."""
    copy = bucket.copy()
    paths = set(copy.names(IMAGES))
    if paths:
        for _, record in read_views(settings.output / manifest.NAME):
            if record is not None:
                paths.difference_update(file.path for file in record.files if copy.size(file.path) == file.bytes)
    return paths


def _whole(
    index: JobIndex, known: Resume, purchases: Sequence[tuple[str, Purchase]]
) -> Iterator[tuple[int, str, list[Purchase]]]:
    """Yield each pending job for which a run bought all images: its place, the run's id, and the images in order."""
    answers: defaultdict[tuple[str, str, str], dict[int, Purchase]] = defaultdict(dict)
    for run_id, purchase in sorted(purchases, key=lambda one: one[1].file.path):
        answers[purchase.id, purchase.request_hash, run_id].setdefault(purchase.number, purchase)
    places = index.directory().places
    taken = set[int]()
    for (job_id, request_hash, run_id), images in sorted(answers.items()):
        if set(images) != set(range(1, next(iter(images.values())).count + 1)):
            continue
        for place in places(hash(job_id)):
            is_wanted = place not in taken and not known.is_done(place) and place not in index.chains.links
            if is_wanted and index.has_request(place, request_hash):
                taken.add(place)
                yield place, run_id, [images[number] for number in sorted(images)]


def outcome_of(job: Job, images: Sequence[Purchase], settings: RunSettings, *, run_id: str, wall_s: float) -> Outcome:
    """Return the record of a job with these images, as the run that bought them would have written it.

    Its times are those of the one answer that is known. `wall_s` is the Unix time that counts if that has no date.
    """
    bought = images[0]
    flags, took_s = bought.flags, bought.took_s
    headers = AnswerHeaders(
        ray=bought.ray,
        blurred=flags.blurred,
        deprecated=flags.deprecated,
        enhanced_prompt=flags.enhanced_prompt,
        sandbox=bought.sandbox,
    )
    answer = Answer(200, headers, "", 0.0, took_s)
    ended_unix_s = wall_s if bought.date_unix_s is None else bought.date_unix_s
    history = begun(
        job,
        settings.catalogue,
        prefer_json=settings.attempts.prefer_json,
        enqueued_s=0.0,
        enqueued_unix_s=ended_unix_s - took_s,
        started_s=0.0,
    )
    history.attempts.append(Attempt(200, None, 0.0, None, bought.ray, took_s, 0.0))
    history.charge(answer)
    files = tuple(image.file for image in images)
    return history.outcome(answer, Reply(answer, files), run_id=run_id, now_s=took_s)
