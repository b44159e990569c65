"""The first part of a run with `--reuse`: jobs take images of other folders, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from venice_batch.errors import BodyError, FolderError, JobsFileError
from venice_batch.events import JobEnded, Notice
from venice_batch.model import SCHEMA, Flags, Outcome, Reused, Status, Timing
from venice_batch.output.originals import shown
from venice_batch.output.resume import Resume
from venice_batch.output.reuse import ReusableImages
from venice_batch.run.history import rounded
from venice_batch.run.stop import Stop, stop_on_signals

if TYPE_CHECKING:
    from venice_batch.clock import Clock
    from venice_batch.events import Observer
    from venice_batch.jobfile import JobIndex
    from venice_batch.model import Job
    from venice_batch.output.images import ImageFolder
    from venice_batch.output.manifest import Manifest
    from venice_batch.output.reuse import Found
    from venice_batch.run.settings import RunSettings
    from venice_batch.run.stop import StopSignal


def known_jobs(index: JobIndex, settings: RunSettings) -> Resume:
    """Return what the output folder holds of the jobs. Raises FolderError."""
    verify, bucket = settings.options.verify, settings.bucket
    whole = None if bucket is None else bucket.whole(verify=verify)
    return Resume(index, settings.output, verify=verify, sandbox=settings.may_be_sandbox, whole=whole)


def reusable_images(index: JobIndex, settings: RunSettings, known: Resume) -> ReusableImages | None:
    """Return the images of other folders that jobs can take; None without `--reuse`. Raises FolderError."""
    options = settings.options
    if not options.reuse:
        return None
    folders = [Path(folder) for folder in options.reuse]
    is_settled = known.is_done if options.retry_rejected else known.is_settled
    kind = settings.reused_kind
    return ReusableImages(index, known, settings.output, folders, is_settled=is_settled, sandbox=kind)


def foreseen(index: JobIndex, settings: RunSettings, reusable: ReusableImages | None) -> ReusableImages | tuple[()]:
    """Return the places of the jobs that will take images, also of those that work on others' images."""
    if reusable is None or not index.chains:
        return reusable or ()
    # Noting what is to come must not change what is known.
    found = reusable_images(index, settings, known_jobs(index, settings))
    assert found is not None  # noqa: S101  (there are folders to reuse)
    found.note_all()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuser:
    """Takes the images that are found, one job after the other, with a record for each."""

    found: ReusableImages
    images: ImageFolder
    journal: Manifest
    known: Resume
    stop_signal: StopSignal
    clock: Clock
    run_id: str
    observe: Observer
    handle_signals: bool

    async def run(self) -> None:
        """Return when every job that can take images has them, or the run is stopped; a second signal stops at once.

        If a record's images turn out to be missing or changed, the next record for the job serves it; without one it
        stays pending.
        """
        async with anyio.create_task_group() as side:
            if self.handle_signals:
                await side.start(stop_on_signals, self.stop_signal, side.cancel_scope)
            try:
                await self._take_all()
            except FolderError as error:
                self.stop_signal.request(Stop(error.exit_code, str(error)))
            except JobsFileError as error:
                self.stop_signal.request(Stop(error.exit_code, str(error)))
            side.cancel_scope.cancel()

    async def _take_all(self) -> None:
        while spoilt := await self._take_each():
            self.found.look_again(spoilt)

    async def _take_each(self) -> list[Found]:
        """Take the images of all records; return those whose images could not be taken."""
        spoilt: list[Found] = []
        for place, found in self.found.places():
            if self.stop_signal.stop is not None:
                return []
            began_s = self.clock.now()
            job = self.found.job(place)
            try:
                outcome = await self._take(job, found, began_s)
            except BodyError as error:
                self.observe(Notice(f"{job.id} is not reused from {shown(self.found.folder(found))}: {error}"))
                spoilt.append(found)
                continue
            await self.journal.append(outcome)
            self.known.ended(place, outcome)
            self.observe(JobEnded(outcome))
        return spoilt

    async def _take(self, job: Job, found: Found, began_s: float) -> Outcome:
        record = self.found.record(found)
        if record.request_hash != job.request_hash:
            raise BodyError(f"{record.id} was made for another request")
        folder = self.found.folder(found)
        writer = self.images.writer(job)
        try:
            files = await writer.adopt(folder, record.files)
        finally:
            with anyio.CancelScope(shield=True):
                await writer.discard()
        took_s = rounded(self.clock.now() - began_s)
        at = datetime.fromtimestamp(self.clock.wall() - took_s, UTC).isoformat(timespec="milliseconds")
        return Outcome(
            schema=SCHEMA,
            run_id=self.run_id,
            id=job.id,
            request_hash=job.request_hash,
            status=Status.SUCCEEDED,
            lane=job.model,
            files=files,
            endpoint=job.endpoint,
            request=job.request,
            metadata=job.metadata,
            attempts=(),
            error=None,
            flags=Flags(blurred=record.flags.blurred, enhanced_prompt=record.flags.enhanced_prompt),
            cost_usd=0.0,
            timing=Timing(
                enqueued_at=at.replace("+00:00", "Z"),
                queued_s=0.0,
                rate_wait_s=0.0,
                backoff_s=0.0,
                ttfb_s=None,
                download_s=None,
                write_s=took_s,
                total_s=took_s,
            ),
            sandbox=record.sandbox,
            parent=job.parent,
            index=job.index,
            reused=record.reused or Reused(folder.absolute().name, record.run_id, record.id),
        )
