"""The package's two calls for programs: run jobs, or iterate over their outcomes."""

from __future__ import annotations

import math
import os
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
import orjson

from venice_batch.api.client import VENICE, ApiClient, ApiSettings
from venice_batch.api.key import ApiKey, find_key
from venice_batch.catalogue import Cache, Preflight, ask, fresh
from venice_batch.clock import SystemClock
from venice_batch.errors import JobsFileError, Problem, UsageError, VeniceBatchError
from venice_batch.events import JobEnded
from venice_batch.jobfile import Defaults, JobIndex, SeedPolicy, open_source
from venice_batch.output.atomic_file import is_address
from venice_batch.output.naming import Naming
from venice_batch.pacing.limiter import SendingRules
from venice_batch.run.attempts import AttemptRules
from venice_batch.run.run import run_batch
from venice_batch.run.settings import RunSettings, error_rule, most_in_flight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from venice_batch.catalogue import Catalogue
    from venice_batch.events import Event
    from venice_batch.jobfile import Source
    from venice_batch.model import Job, Outcome, Summary


GIVEN = "<jobs>"
"""What messages call jobs that are given as mappings."""


async def run_jobs(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    output: str | os.PathLike[str],
    *,
    api_key: str | None = None,
    base_url: str = VENICE,
    concurrency: int | None = None,
    rpm: int | None = None,
    max_attempts: int = 6,
    max_paid_attempts: int = 2,
    timeout_s: float = 300.0,
    lock_wait_s: float = 0.0,
    max_time_s: float = math.inf,
    max_failures: int | None = None,
    max_cost_usd: float | None = None,
    defaults: Mapping[str, Any] | None = None,
    seed_policy: Literal["keep", "pin", "split"] = "keep",
    name: str = "{id}",
    prefer_json: bool = False,
    retry_rejected: bool = False,
    durable: bool = False,
    check_models: bool = True,
    allow_unknown: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Summary:
    """Run jobs into the folder `output`, but for those that it holds already.

    `jobs` is a file as the command takes it, or mappings like its lines. `api_key` defaults to `VENICE_API_KEY`.
    `defaults` are fields for jobs that lack them, `seed_policy` "pin" gives jobs without a seed one
    that is recorded, "split" also makes each of several variants a job with its own seed.
    `name` is the template of the images' names (`Naming`).
    `lock_wait_s` is how long to wait for another run in the folder (`on_event` is told a `Waiting`).
    `concurrency` is how many requests may be under way at a time (None: as many as quota and latency need).
    `max_attempts` bounds the tries for each job, `max_paid_attempts` those that may have been charged without an image.
    `on_event` is called with everything that happens, on the event loop. `check_models`: check jobs against the API's
    list of models first, which also gives the prices that `max_cost_usd` (never spent beyond) needs. `allow_unknown`:
    send fields, values and models that this version or the list does not know as they are written, instead of raising.
    Jobs that fail or are rejected raise nothing: the returned summary counts them, the manifest has their records.
    Signals are left to the caller; cancelling stops at once and loses nothing that was recorded.

    Raises:
        JobsFileError: a job is invalid; nothing was sent.
        KeyMissingError: no key was given.
        UsageError: `output` is an address (`s3://…`).
        FolderError: the folder cannot be used, or another run is using it for longer than `lock_wait_s`.
    """
    if is_address(os.fspath(output)):
        raise UsageError(f"output: {os.fspath(output)} is an address, not a folder")
    key = find_key(None) if api_key is None else ApiKey(api_key)
    at_a_time = most_in_flight() if concurrency is None else concurrency
    settings = RunSettings(
        output=Path(output),
        api=ApiSettings(base_url=base_url, timeout_s=timeout_s, concurrency=at_a_time),
        sending=SendingRules(concurrency=at_a_time, rpm=rpm, errors=error_rule(base_url)),
        attempts=AttemptRules(max_attempts=max_attempts, max_paid_attempts=max_paid_attempts, prefer_json=prefer_json),
        retry_rejected=retry_rejected,
        durable=durable,
        lock_wait_s=lock_wait_s,
        max_time_s=max_time_s,
        max_failures=max_failures,
    )
    naming = Naming(name, date=f"{datetime.now(UTC):%Y-%m-%d}")
    known = await _catalogue(settings.api, key) if check_models else (None, None)
    preflight = Preflight(*known, allow_unknown=allow_unknown)
    fields = Defaults(dict(defaults or {}), SeedPolicy(seed_policy), allow_unknown)
    async with _indexed(jobs, fields, naming, preflight) as index:
        settings = replace(settings, naming=naming, catalogue=preflight.catalogue, max_cost_usd=max_cost_usd)
        return await run_batch(index, key, settings, observers=() if on_event is None else (on_event,))


async def _catalogue(api: ApiSettings, key: ApiKey) -> tuple[Catalogue | None, tuple[str, ...] | None]:
    """Return models and styles by the API's own list, or the last one kept; None for an API without one."""
    cache, now = Cache.of_user(), time.time()
    listing = fresh(api.base_url, cache, now_unix_s=now)
    if listing is None:
        async with ApiClient(api, key, SystemClock()) as client:
            listing = (await ask(client, api.base_url, cache, now_unix_s=now)).listing
    return (None, None) if listing is None else (listing.catalogue(now), listing.styles)


@asynccontextmanager
async def stream_outcomes(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]], output: str | os.PathLike[str], **options: Any
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
    tell = options.pop("on_event", None)
    failed: list[VeniceBatchError] = []

    def observe(event: Event) -> None:
        if isinstance(event, JobEnded):
            # Whoever left the block early wants no more of them.
            with suppress(anyio.BrokenResourceError):
                send.send_nowait(event.outcome)
        if tell is not None:
            tell(event)

    async def run() -> None:
        with send:
            try:
                await run_jobs(jobs, output, on_event=observe, **options)
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


@asynccontextmanager
async def _indexed(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]], defaults: Defaults, naming: Naming, preflight: Preflight
) -> AsyncIterator[JobIndex]:
    def examine(job: Job) -> list[tuple[str, str]]:
        return [*naming.examine(job), *preflight.examine(job)]

    def build(source: Source) -> JobIndex:
        index = JobIndex.build(source, defaults=defaults, examine=examine)
        naming.settle(index.jobs_in_order(), source.name)
        return index

    with ExitStack() as stack:
        if not isinstance(jobs, str | os.PathLike):
            import tempfile

            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="venice-batch-", suffix=".jsonl"))
            for number, job in enumerate(jobs, start=1):
                file.write(_line(job, number))
            file.flush()
            source = replace(stack.enter_context(open_source(file.name)), name=GIVEN, folder="")
        else:
            source = stack.enter_context(open_source(jobs))
        # A long file, or one that names many pictures, takes its time: the caller's loop goes on meanwhile.
        yield await anyio.to_thread.run_sync(build, source)


def _line(job: Mapping[str, Any], number: int) -> bytes:
    try:
        return orjson.dumps(dict(job)) + b"\n"
    except (TypeError, ValueError) as error:
        raise JobsFileError([Problem(GIVEN, number, "", f"cannot be written as JSON: {error}")]) from error
