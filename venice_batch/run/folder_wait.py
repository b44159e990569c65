"""The hold on an output folder or bucket, and waiting for one that another run is using."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, TypeVar

import anyio

from venice_batch import events
from venice_batch.errors import FolderError, FolderHeldError, StoppedWaitingError
from venice_batch.output import folder
from venice_batch.run.stop import stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager, ExitStack

    from venice_batch.bucket.folder import BucketFolder, BucketHold
    from venice_batch.bucket.lease import Lease
    from venice_batch.clock import Clock
    from venice_batch.events import Observer
    from venice_batch.output.disk import Disk
    from venice_batch.output.folder import Hold
    from venice_batch.run.settings import RunSettings
    from venice_batch.run.stop import StopSignal


Held = TypeVar("Held")

POLL_S = 1.0
"""Time between two looks at the lock. A run takes minutes, and a look is three system calls."""


class Waiting(TypedDict):
    """How to wait: for how long, and what ends it; as in `acquire_folder`."""

    wait_s: float
    clock: Clock
    stop_signal: StopSignal
    observe: Observer
    handle_signals: bool


async def acquire_folder(
    stack: ExitStack,
    hold: Callable[[], AbstractContextManager[Held]],
    *,
    wait_s: float,
    clock: Clock,
    stop_signal: StopSignal,
    observe: Observer,
    handle_signals: bool,
    disk: Disk | None = None,
    is_undecided: Callable[[], bool] = lambda: False,
    undecided_s: float = 0.0,
    poll_s: float = POLL_S,
) -> Held:
    """Enter `hold()` into `stack`, at once or within `wait_s` seconds, and return what it gives.

    There is no queue: any of several waiting runs may be next. With a `disk`, `hold` is called in its threads. While
    `is_undecided()`, the holder may be dead, and the wait goes on whatever `wait_s` is, for up to `undecided_s`.

    Raises:
        FolderHeldError: another run still holds the folder.
        StoppedWaitingError: the stop signal, or with `handle_signals` a signal, has ended the wait.
        FolderError: anything else that `hold` raises.
    """
    deadline_s = clock.now() + wait_s
    held = await _try(stack, hold, disk)
    if isinstance(held, FolderHeldError) and (wait_s > 0 or is_undecided()):
        async with anyio.create_task_group() as side:
            if handle_signals:
                await side.start(stop_on_signals, stop_signal, side.cancel_scope)
            may_be_dead = is_undecided() and wait_s <= undecided_s
            observe(events.Waiting(str(held.path), held.holder, max(wait_s, undecided_s), may_be_dead))
            while isinstance(held, FolderHeldError) and stop_signal.stop is None:
                left_s = deadline_s - clock.now()
                if left_s <= 0 and not is_undecided():
                    break
                await clock.wait(stop_signal.event, min(left_s, poll_s) if left_s > 0 else poll_s)
                if stop_signal.stop is None:
                    held = await _try(stack, hold, disk)
            side.cancel_scope.cancel()
    if stop_signal.stop is not None:
        raise StoppedWaitingError(stop_signal.stop.reason, stop_signal.stop.code)
    if isinstance(held, FolderError):
        raise held
    return held


async def hold_output(
    until_left: ExitStack, settings: RunSettings, waiting: Waiting, *, run_id: str, disk: Disk
) -> Hold | BucketHold:
    """Keep other runs out of the output folder, or out of the bucket and the scratch folder, until the stack is left.

    A bucket's records are in the scratch folder afterwards. Raises what `acquire_folder` raises.
    """
    bucket, naming = settings.bucket, settings.naming
    lease = None if bucket is None else await _hold_bucket(until_left, bucket, waiting, run_id, disk)
    folders = naming.folders if naming else ()
    held = await acquire_folder(
        until_left, lambda: folder.hold(settings.output, folders, durable=settings.is_flushed), **waiting
    )
    return held if bucket is None else bucket.hold(held, lease)


async def _hold_bucket(
    until_left: ExitStack, bucket: BucketFolder, waiting: Waiting, run_id: str, disk: Disk
) -> Lease | None:
    """Take the bucket's lock and bring its records; return None for a store on which no lock holds."""
    from venice_batch.bucket.lease import POLL_S as BUCKET_POLL_S
    from venice_batch.bucket.lease import TTL_S, Contender

    await disk.ask(bucket.prove_conditions)
    lease = None
    if bucket.has_lock:
        contender = Contender(bucket.bucket, run_id)
        lease = await acquire_folder(
            until_left,
            contender.attempt,
            **waiting,
            disk=disk,
            is_undecided=lambda: contender.is_undecided,
            undecided_s=TTL_S,
            poll_s=BUCKET_POLL_S,
        )
        if contender.outlived:
            what = f"{contender.outlived} has not renewed its lock for {TTL_S:.0f} s, so this run has taken it over"
            waiting["observe"](events.Notice(f"{what}; what that run had in flight may be bought again"))
    await disk.ask(bucket.bring)
    return lease


async def _try(
    stack: ExitStack, hold: Callable[[], AbstractContextManager[Held]], disk: Disk | None
) -> Held | FolderError:
    """Return what `hold` gives, or its error: a task group would wrap an exception."""
    try:
        return stack.enter_context(hold() if disk is None else await disk.run(hold))
    except FolderError as error:
        return error
