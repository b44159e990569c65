"""What a run is told besides its jobs and its key."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from venice_batch.api.client import ApiSettings
from venice_batch.catalogue.listing import is_local, is_venice
from venice_batch.errors import UsageError
from venice_batch.pacing.error_budget import ErrorRule
from venice_batch.pacing.limiter import MOST_IN_FLIGHT, SendingRules
from venice_batch.run.attempts import AttemptRules
from venice_batch.run.stop import Patience

if TYPE_CHECKING:
    from pathlib import Path

    from venice_batch.catalogue import Catalogue, Preflight
    from venice_batch.output.naming import Naming


_OTHER_FILES = 64
_FILES_A_REQUEST = 2
"""Its connection, and the file that its image goes into."""


def most_in_flight() -> int:
    """Return how many requests may be under way at a time where nothing else is asked for.

    `MOST_IN_FLIGHT`, or what the process may have open files for if that is less.
    """
    try:
        import resource
    except ImportError:  # a system without such a limit
        return MOST_IN_FLIGHT
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_IN_FLIGHT
    return max(1, min(MOST_IN_FLIGHT, (files - _OTHER_FILES) // _FILES_A_REQUEST))


def error_rule(base_url: str, *, window_s: float = 30.0) -> ErrorRule | None:
    """Return the error budget to reckon with at an address: Venice's, there and on this machine; elsewhere none."""
    if is_venice(base_url) or is_local(base_url):
        return ErrorRule(window_s=window_s, block_s=window_s)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Everything that a run is told besides its jobs and its key.

    `naming` is settled on the jobs of the index; without it images are named after their jobs' ids. `catalogue`
    has the models' prices and spellings; without it neither is known. `max_cost_usd` is never spent beyond, by those
    prices. `preflight` has examined every job of the index; without it what they will cost is not foretold.
    `fail_on` names flags (of `Flags`): a run ends as if a job had failed when any job's outcome has one of them, be it
    of an earlier run.
    `retry_rejected`: ask again for what the API has refused before. `verify`: hash the files of finished jobs.
    `durable`: fsync each image and record. `lock_wait_s`: how long to wait for another run in the folder, which counts
    for no other limit. `max_time_s`: stop sending after so long. `max_failures`: stop after
    so many jobs without an image. `grace_s`: how long what is under way may take after a stop.
    """

    output: Path
    naming: Naming | None = None
    catalogue: Catalogue | None = None
    preflight: Preflight | None = None
    max_cost_usd: float | None = None
    api: ApiSettings = field(default_factory=ApiSettings)
    sending: SendingRules = field(default_factory=SendingRules)
    attempts: AttemptRules = field(default_factory=AttemptRules)
    patience: Patience = field(default_factory=Patience)
    fail_on: frozenset[str] = frozenset()
    retry_rejected: bool = False
    verify: bool = False
    durable: bool = False
    lock_wait_s: float = 0.0
    max_time_s: float = math.inf
    max_failures: int | None = None
    grace_s: float = 300.0
    handle_signals: bool = False

    def __post_init__(self) -> None:
        if not self.max_time_s > 0:
            raise UsageError("--max-time has to be a positive number of seconds")
        if self.max_failures is not None and self.max_failures < 1:
            raise UsageError("--max-failures has to be at least 1")
        if self.max_cost_usd is not None and not 0 <= self.max_cost_usd < math.inf:
            raise UsageError("--max-cost has to be an amount of USD")

    @property
    def workers(self) -> int:
        """Jobs of a lane that may be in work: as many under way as allowed, and as many that wait or are written."""
        return 2 * self.sending.concurrency

    @property
    def may_be_sandbox(self) -> bool:
        """Whether the API is on this machine, so that what a sandbox made before counts as done."""
        return is_local(self.api.base_url)
