"""The package's two calls for programs: run jobs, or iterate over their outcomes."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from venice_batch.api.client import VENICE, ApiSettings
from venice_batch.api.secret import ApiKey, find_key
from venice_batch.batch import RunSettings, run_batch
from venice_batch.engine.attempts import AttemptRules
from venice_batch.events import JobEnded
from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.pacing.budget import BlockRule
from venice_batch.pacing.traffic import SendingRules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from venice_batch.events import Event
    from venice_batch.model import Outcome
    from venice_batch.summary import Summary


async def run_jobs(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    output: str | os.PathLike[str],
    *,
    api_key: str | None = None,
    base_url: str = VENICE,
    concurrency: int = 16,
    rpm: int | None = None,
    max_attempts: int = 6,
    timeout_s: float = 300.0,
    max_time_s: float = math.inf,
    max_failures: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    prefer_json: bool = False,
    retry_rejected: bool = False,
    durable: bool = False,
    failure_budget: int = 20,
    on_event: Callable[[Event], None] | None = None,
) -> Summary:
    """Run jobs into the folder `output`, but for those that it holds already.

    `jobs` is a file as the command takes it, or mappings like its lines. `api_key` defaults to `VENICE_API_KEY`.
    `defaults` are fields for jobs that lack them. `failure_budget` is how many failed requests in 30 s the API
    forgives (0: any number). `on_event` is told of everything, on the event loop. Jobs that fail or are rejected
    raise nothing: the returned summary counts them, the manifest has their records. Signals are left to the
    caller; cancelling stops at once and loses nothing that was recorded.

    Raises:
        JobsFileError: a job is invalid; nothing was sent.
        KeyMissingError: no key was given.
        FolderError: the folder cannot be used, or another run is using it.
    """
    key = find_key(None) if api_key is None else ApiKey(api_key)
    settings = RunSettings(
        output=Path(output),
        api=ApiSettings(base_url=base_url, timeout_s=timeout_s, concurrency=concurrency),
        sending=SendingRules(concurrency=concurrency, rpm=rpm, block=BlockRule(failures=failure_budget)),
        attempts=AttemptRules(max_attempts=max_attempts, prefer_json=prefer_json),
        retry_rejected=retry_rejected,
        durable=durable,
        max_time_s=max_time_s,
        max_failures=max_failures,
    )
    with _indexed(jobs, Defaults(dict(defaults or {}))) as index:
        return await run_batch(index, key, settings, observers=() if on_event is None else (on_event,))


async def iter_outcomes(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]], output: str | os.PathLike[str], **options: Any
) -> AsyncIterator[Outcome]:
    """Yield each job's outcome as it ends, its images on disk and its record written.

    Takes what `run_jobs` takes and raises what it raises. A slow consumer does not slow the run down: outcomes
    wait in memory for it. Leaving the loop early stops the run at once; close the iterator (`aclosing`) to
    have that happen there and then.
    """
    send, receive = anyio.create_memory_object_stream["Outcome"](math.inf)
    tell = options.pop("on_event", None)

    def observe(event: Event) -> None:
        if isinstance(event, JobEnded):
            send.send_nowait(event.outcome)
        if tell is not None:
            tell(event)

    error: Exception | None = None

    async def run() -> None:
        nonlocal error
        with send:
            try:
                await run_jobs(jobs, output, on_event=observe, **options)
            except Exception as raised:  # noqa: BLE001  (handed to the caller as it is, not wrapped in a group)
                error = raised

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with receive:
            async for outcome in receive:
                yield outcome
    if error is not None:
        raise error


@contextmanager
def _indexed(jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]], defaults: Defaults) -> Iterator[JobIndex]:
    if isinstance(jobs, str | os.PathLike):
        with open_source(jobs) as source:
            yield JobIndex.build(source, defaults=defaults)
        return
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="venice-batch-", suffix=".jsonl") as file:
        for job in jobs:
            file.write(orjson.dumps(dict(job)) + b"\n")
        file.flush()
        with open_source(file.name) as source:
            yield JobIndex.build(source, defaults=defaults)
