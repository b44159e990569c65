"""Runs for programs and for the command: the one place where a run is put together."""

from __future__ import annotations

import math
import os
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson

from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import ApiKey, find_key
from venice_batch.catalogue import Cache, Preflight, ask, fresh
from venice_batch.catalogue.frozen import freeze, load, server_name
from venice_batch.catalogue.frozen_changes import has_quotas, hold_against
from venice_batch.catalogue.listing import PATIENCE_S
from venice_batch.clock import SystemClock
from venice_batch.errors import ApiError, JobsFileError, Problem, UsageError, VeniceBatchError
from venice_batch.events import JobEnded, Notice
from venice_batch.jobfile import Defaults, JobIndex, SeedPolicy, open_source
from venice_batch.jobfile.variables import check_lists
from venice_batch.output.atomic_file import is_address
from venice_batch.output.naming import Naming
from venice_batch.output.run_file import RunFile
from venice_batch.run.run import run_batch
from venice_batch.run.settings import RunOptions, RunSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from venice_batch.api.listings import Quota
    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.catalogue import Listing
    from venice_batch.events import Event, Observer
    from venice_batch.jobfile import Source
    from venice_batch.jobfile.mapping import FieldMap
    from venice_batch.model import Job, Outcome, Summary
    from venice_batch.report.collect import Collector


GIVEN = "<jobs>"
"""What messages call jobs that are given as mappings."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """Checked jobs with everything else that a run needs besides its key; made by `prepare`.

    For a run into a `bucket`, `output` is its scratch folder.
    """

    index: JobIndex
    output: Path
    options: RunOptions
    naming: Naming
    preflight: Preflight
    bucket: BucketFolder | None = None

    async def run(
        self,
        key: ApiKey,
        *,
        base_url: str | None = None,
        observers: Sequence[Observer] = (),
        collectors: Sequence[Collector] = (),
        handle_signals: bool = False,
        run_id: str | None = None,
        own_sandbox: bool = False,
    ) -> Summary:
        """Run the jobs that the output folder does not hold yet, and return the summary.

        `collectors` receive every record of the folder once, after the last job. `base_url` replaces the one of the
        options: with `own_sandbox`, that of a sandbox started for this run. `run_id` defaults to a new one. See
        `run_jobs`.
        """
        options = self.options if base_url is None else replace(self.options, base_url=base_url)
        settings = RunSettings.of(
            options,
            self.output,
            naming=self.naming,
            preflight=self.preflight,
            handle_signals=handle_signals,
            own_sandbox=own_sandbox,
            bucket=self.bucket,
        )
        observers = (RunFile(self.output), *observers)
        return await run_batch(self.index, key, settings, observers=observers, collectors=collectors, run_id=run_id)


def prepare(
    source: Source, output: Path, options: RunOptions, preflight: Preflight, *, bucket: BucketFolder | None = None
) -> PreparedRun:
    """Read and check every job of `source`; `preflight` checks them against the models.

    With a `bucket`, `output` is its scratch folder.

    Raises:
        JobsFileError: a job is invalid, or two would give their images one name.
        UsageError: an option is wrong.
    """
    naming = Naming(options.name, date=f"{datetime.now(UTC):%Y-%m-%d}", has_ids=source.has_ids)
    check_lists(options.matrix, options.variables, allow_unknown=options.allow_unknown)
    defaults = Defaults(
        dict(options.defaults),
        SeedPolicy(options.seed_policy),
        options.allow_unknown,
        options.model_defaults,
        options.matrix,
        options.variables,
        None if options.sample is None else options.seed,
    )

    def examine(job: Job) -> list[tuple[str, str]]:
        return [*naming.examine(job), *preflight.examine(job)]

    index = JobIndex.build(
        source,
        defaults=defaults,
        examine=examine,
        shard=options.shard,
        part=options.part,
        name_of=naming.plain_stem,
    )
    naming.settle(index.jobs_in_order(), source.name, source.places)
    return PreparedRun(index, output, options, naming, preflight, bucket)


async def run_jobs(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    output: str | os.PathLike[str],
    options: RunOptions | None = None,
    *,
    api_key: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    **changes: Any,
) -> Summary:
    """Run jobs into the folder or bucket `output`, except those that it holds already, and return the summary.

    Jobs that fail or are rejected raise nothing: the summary counts them, the manifest has their records. Signals are
    left to the caller. Cancelling stops at once and loses nothing that was recorded.

    Parameters:
        jobs: a file or folder as the command takes it, or mappings like lines of native jobs.
        output: a folder, or the address of a bucket (`s3://`, `az://` or `gs://`), which needs the extra `bucket`.
        options: everything that `venice-batch run` has options for.
        api_key: defaults to `VENICE_API_KEY`.
        on_event: called with everything that happens, on the event loop.
        changes: single fields of `RunOptions`, in place of those in `options`.

    Raises:
        JobsFileError: a job is invalid; nothing was sent.
        KeyMissingError: no key was given.
        NotApprovedError: prices, models or limits are worse than in the file of `frozen`; nothing was sent.
        UsageError: an option is wrong, or `output` is an address of another kind, or the extra is not installed.
        FolderError: the folder cannot be used, or another run is using it for longer than `lock_wait_s`.
    """
    key = find_key(None) if api_key is None else ApiKey(api_key)
    options = replace(options or RunOptions(), **changes)
    api = ApiSettings(base_url=options.base_url, timeout_s=options.timeout_s)
    approved = None if options.frozen is None else load(Path(options.frozen))
    listing = await _listing(api, key) if options.check_models else None
    quotas = await _quotas(api, key) if approved is not None and has_quotas(approved) else None
    now = time.time()
    known = (None, None) if listing is None else (listing.catalogue(now), listing.styles)
    preflight = Preflight(*known, allow_unknown=options.allow_unknown, strict=options.strict)
    if options.prompt_set is not None:
        from venice_batch.jobfile.sets import named

        options = replace(options, defaults={**named(options.prompt_set, {}).values, **options.defaults})
    with (
        ExitStack() as copies,
        place(output, options) as (folder, bucket),
        _opened(jobs, options.columns) as source,
    ):
        options = await _with_copies(options, copies)
        # A long file, or one that names many pictures, takes its time: the caller's loop goes on meanwhile.
        preparing = partial(prepare, source, folder, options, preflight, bucket=bucket)
        prepared = await anyio.to_thread.run_sync(preparing)
        if approved is not None and options.frozen is not None:
            server = server_name(options.base_url, sandbox=False)
            found = None if listing is None else freeze(preflight, listing, server, now_unix_s=now, quotas=quotas)
            command = ["venice-batch", "check", source.name, "--freeze", str(options.frozen)]
            hold_against(approved, found, path=Path(options.frozen), command=command)
        if on_event is not None:
            for text in source.notices:
                on_event(Notice(text))
        return await prepared.run(key, observers=() if on_event is None else (on_event,))


@contextmanager
def place(output: str | os.PathLike[str], options: RunOptions) -> Iterator[tuple[Path, BucketFolder | None]]:
    """Yield the output folder; for the address of a bucket its scratch folder, and the bucket.

    Raises:
        UsageError: the address is wrong, or the extra `bucket` is not installed.
        FolderError: there is no room for a scratch folder.
    """
    address = os.fspath(output)
    if not is_address(address) and address[2:3] != ":":
        yield Path(output), None
        return
    from venice_batch.bucket.address import SCHEMES, is_bucket, mistyped

    if not is_address(address):
        if meant := mistyped(address):
            raise UsageError(f"output: {address}: did you mean {meant}? A folder of that name is ./{address}")
        yield Path(output), None
        return
    from venice_batch.bucket.folder import opened

    if not is_bucket(address):
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UsageError(f"output: {address} is an address, neither of a folder nor of a bucket ({known})")
    scratch = None if options.scratch is None else Path(options.scratch)
    with opened(address, os.environ, scratch=scratch, without_lock=options.bucket_without_lock) as bucket:
        yield bucket.root, bucket


async def _with_copies(options: RunOptions, opened: ExitStack) -> RunOptions:
    """Return the options with a local copy, which `opened` closes, in place of each bucket in `reuse`."""
    folders = list(options.reuse)
    for number, folder in enumerate(folders):
        if is_address(os.fspath(folder)):
            from venice_batch.bucket.copies import local_copy

            copy = local_copy(os.fspath(folder), os.environ)
            folders[number] = (await anyio.to_thread.run_sync(opened.enter_context, copy)).root
    return replace(options, reuse=tuple(folders))


async def _listing(api: ApiSettings, key: ApiKey) -> Listing | None:
    """Return the API's own list of models and styles, or the last one kept; None for an API without one."""
    cache, now = Cache.of_user(), time.time()
    listing = fresh(api.base_url, cache, now_unix_s=now)
    if listing is None:
        async with ApiClient(api, key, SystemClock()) as client:
            listing = (await ask(client, api.base_url, cache, now_unix_s=now)).listing
    return listing


async def _quotas(api: ApiSettings, key: ApiKey) -> dict[str, Quota] | None:
    """Return the key's own limits by model; None if they cannot be read."""
    with suppress(ApiError), anyio.move_on_after(PATIENCE_S):
        async with ApiClient(api, key, SystemClock()) as client:
            return (await client.limits()).quotas
    return None


@asynccontextmanager
async def stream_outcomes(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    output: str | os.PathLike[str],
    options: RunOptions | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
    **others: Any,
) -> AsyncIterator[AsyncIterator[Outcome]]:
    """Run jobs while the block lasts, and iterate over their outcomes inside it as they end.

        async with stream_outcomes("jobs.jsonl", "output/jobs") as outcomes:
            async for outcome in outcomes:
                print(outcome.id, outcome.status, [file.path for file in outcome.files])

    Takes what `run_jobs` takes. When an outcome comes, its images are on disk and its record is written. A slow
    consumer does not slow the run down: outcomes wait in memory for it. Leaving the block early stops the run at
    once; the next run goes on from there.

    Raises:
        VeniceBatchError: what `run_jobs` raises, when the block is left after the last outcome.
    """
    send, receive = anyio.create_memory_object_stream["Outcome"](math.inf)
    failed: list[VeniceBatchError] = []

    def observe(event: Event) -> None:
        if isinstance(event, JobEnded):
            # Whoever left the block early wants no more of them.
            with suppress(anyio.BrokenResourceError):
                send.send_nowait(event.outcome)
        if on_event is not None:
            on_event(event)

    async def run() -> None:
        with send:
            try:
                await run_jobs(jobs, output, options, on_event=observe, **others)
            except VeniceBatchError as error:
                failed.append(error)  # raised below, not wrapped in a group

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            with receive:
                yield receive
            group.cancel_scope.cancel()
    except BaseExceptionGroup as raised:
        # The group is this function's own affair: what the block or the run raised goes out as it is.
        if len(raised.exceptions) == 1:
            raise raised.exceptions[0] from None
        raise
    if failed:
        raise failed[0]


@contextmanager
def _opened(jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]], columns: FieldMap | None) -> Iterator[Source]:
    """Open a jobs file, or mappings by way of a temporary one."""
    with ExitStack() as stack:
        if isinstance(jobs, str | os.PathLike):
            yield stack.enter_context(open_source(jobs, field_map=columns))
            return
        import tempfile

        file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="venice-batch-", suffix=".jsonl"))
        for number, job in enumerate(jobs, start=1):
            file.write(_line(job, number))
        file.flush()
        try:
            source = stack.enter_context(open_source(file.name, field_map=columns))
        except JobsFileError as error:
            raise JobsFileError([replace(problem, source=GIVEN) for problem in error.problems]) from error
        yield replace(source, name=GIVEN, folder="")


def _line(job: Mapping[str, Any], number: int) -> bytes:
    try:
        return orjson.dumps(dict(job)) + b"\n"
    except (TypeError, ValueError) as error:
        raise JobsFileError([Problem(GIVEN, number, "", f"cannot be written as JSON: {error}")]) from error
