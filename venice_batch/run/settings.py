"""The options of a run, and the settings that they make with its jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from venice_batch.api.client import VENICE, ApiSettings
from venice_batch.api.decode import MAX_IMAGE_BYTES
from venice_batch.catalogue.listing import is_local, is_venice
from venice_batch.errors import UsageError
from venice_batch.jobfile import Part
from venice_batch.pacing.error_budget import ErrorRule
from venice_batch.pacing.limiter import MOST_IN_FLIGHT, SendingRules
from venice_batch.report.collect import FailOn
from venice_batch.run.budget import NEEDS_FILE, caps_of
from venice_batch.run.retry import AttemptRules
from venice_batch.run.stop import Patience

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from venice_batch.bucket.folder import BucketFolder
    from venice_batch.catalogue import Catalogue, Preflight
    from venice_batch.jobfile import Shard
    from venice_batch.jobfile.mapping import FieldMap
    from venice_batch.output.naming import Naming


_OTHER_FILES = 64
_FILES_A_REQUEST = 2
"""Its connection, and the file that its image goes into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Everything about a run that its user decides; the options of `venice-batch run` have the same names.

    Output:
        name: template of the images' names (see `--name`); None: the job's id, or line and prompt where a file of
            prompts gives none.
        durable: fsync each image and record before going on.
        scratch: where a run into a bucket makes its temporary folder; None: the system's place for those.
        bucket_without_lock: use a store that ignores conditions, in which nothing keeps two runs apart.

    Sending:
        base_url: where the API is.
        concurrency: requests under way at a time, over all models; None: as many as quota and latency need.
        processes: processes that fetch images; more than one is for servers of your own that outrun a core.
        rpm: images a minute for each model, if fewer than the API allows.
        response: how to ask for single images; JSON brings the server's own timing.
        max_attempts: tries for each job.
        max_paid_attempts: of these, tries that may have been charged without bringing an image.
        timeout_s, connect_timeout_s: time for one attempt, and for connecting.
        max_image_bytes: the largest image accepted.
        api_minute_s: how long the API's minute is; only a time-compressed sandbox has another than 60 s.

    Limits:
        lock_wait_s: how long to wait for another run in the folder.
        max_time_s: stop sending after this time.
        max_cost_usd: never spend more, by the models' published prices.
        max_cost_per_usd: never spend more in a "day", "week" or "month" (in UTC), together with all other runs that
            have the same budget file.
        budget_file: the file in which these runs write down what they spend; a missing one is made.
        frozen: refuse jobs whose prices, models or limits are worse than in this file, from `check --freeze`.
        max_failures: stop after this number of jobs without an image.
        grace_s: after a stop, time for requests under way, which are paid for.

    Jobs:
        prompt_set: a published set whose columns are known (see `venice-batch sets`).
        field_map: for each field the column that it comes from, as in {"prompt": "Caption"}; stronger than the set's.
        unknown: "metadata" keeps keys that are no fields as metadata, "error" raises; None: as the set has it, or else
            "error".
        shard: run one share of the jobs.
        ids: patterns; run only jobs whose id or image's name matches one.
        sample: run only this many jobs, chosen at random, the same ones in every run.
        seed: another one lets `sample` choose others.
        limit: run only the first jobs, this many.
        defaults: fields for jobs that lack them.
        model_defaults: the same for the jobs of one model, by its name; they come before `defaults`.
        matrix: several values for fields that jobs lack; each combination becomes a job.
        variables: values by name; each takes the place of the name in braces in a prompt, in a job of its own.
        reuse: other output folders, or addresses of buckets; a job takes the image that one of them has of the same
            request instead of buying another.
        seed_policy: "pin" gives jobs without a seed one that is recorded; "split" also makes each of several variants a
            job with its own seed.
        retry_rejected: send jobs again that the API rejected before.
        verify: compare finished images with their hashes, not only their sizes.
        check_models: check jobs against the API's list of models, which also has the prices that `max_cost_usd` needs.
        allow_unknown: send fields, values and models that this version or the list does not know, instead of raising.
        strict: raise for what would be a warning.

    Afterwards:
        known_rejected: "ok" lets a run succeed although the API rejected jobs in an earlier run; "fail" does not. A job
            that has changed since, or is sent again, is not one of them.
        fail_on: flags (of `Flags`), and conditions on annotations such as "score<0.5", that make a run end as if a job
            had failed, for an image of this run or an earlier one.

    Raises:
        UsageError: a value is out of range.
    """

    name: str | None = None
    durable: bool = False
    scratch: str | os.PathLike[str] | None = None
    bucket_without_lock: bool = False
    base_url: str = VENICE
    concurrency: int | None = None
    processes: int = 1
    rpm: int | None = None
    response: Literal["binary", "json"] = "binary"
    max_attempts: int = 6
    max_paid_attempts: int = 2
    timeout_s: float = 300.0
    connect_timeout_s: float = 10.0
    max_image_bytes: int = MAX_IMAGE_BYTES
    api_minute_s: float = 60.0
    lock_wait_s: float = 0.0
    max_time_s: float = math.inf
    max_cost_usd: float | None = None
    max_cost_per_usd: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    budget_file: str | os.PathLike[str] | None = None
    frozen: str | os.PathLike[str] | None = None
    max_failures: int | None = None
    grace_s: float = 300.0
    prompt_set: str | None = None
    field_map: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unknown: Literal["error", "metadata"] | None = None
    shard: Shard | None = None
    ids: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    limit: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    model_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    matrix: Mapping[str, Sequence[Any]] = field(default_factory=lambda: MappingProxyType({}))
    variables: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    reuse: tuple[str | os.PathLike[str], ...] = ()
    seed_policy: Literal["keep", "pin", "split"] = "keep"
    retry_rejected: bool = False
    verify: bool = False
    check_models: bool = True
    allow_unknown: bool = False
    strict: bool = False
    known_rejected: Literal["ok", "fail"] = "fail"
    fail_on: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.max_time_s > 0:
            raise UsageError("--max-time must be a positive number of seconds")
        if self.max_failures is not None and self.max_failures < 1:
            raise UsageError("--max-failures must be at least 1")
        if self.max_cost_usd is not None and not 0 <= self.max_cost_usd < math.inf:
            raise UsageError("--max-cost must be an amount of USD")
        if caps_of(self.max_cost_per_usd) and self.budget_file is None:
            raise UsageError(NEEDS_FILE)
        if self.frozen is not None and not self.check_models:
            raise UsageError("frozen compares with the list of models, which check_models=False does not ask for")
        if self.processes < 1:
            raise UsageError("--processes must be at least 1")
        for name, number in (("--sample", self.sample), ("--limit", self.limit)):
            if number is not None and number < 1:
                raise UsageError(f"{name} must be at least 1")

        FailOn(self.fail_on)

    @property
    def columns(self) -> FieldMap | None:
        """How the columns of a foreign file become fields; None for a file of jobs. Raises UsageError."""
        if not (self.prompt_set or self.field_map or self.unknown):
            return None
        from venice_batch.jobfile import sets
        from venice_batch.jobfile.mapping import FieldMap

        chosen = sets.named(self.prompt_set, {}) if self.prompt_set else None
        return sets.field_map(FieldMap.of(self.field_map).fields, (), chosen, self.unknown)

    @property
    def part(self) -> Part:
        """The part of the jobs to run."""
        return Part(tuple(self.ids), self.sample, self.seed, self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """A run's options, with everything that follows from them and from its jobs.

    `naming` is settled on the jobs of the index; without it images are named after their jobs' ids. `catalogue` has the
    models' prices and spellings; without it neither is known. `preflight` has examined every job of the index; without
    it there is no estimate of their cost. With `own_sandbox` the API is a sandbox that was started for this run.
    For a run into a `bucket`, `output` is its scratch folder.
    """

    output: Path
    options: RunOptions = field(default_factory=RunOptions)
    naming: Naming | None = None
    catalogue: Catalogue | None = None
    preflight: Preflight | None = None
    api: ApiSettings = field(default_factory=ApiSettings)
    sending: SendingRules = field(default_factory=SendingRules)
    attempts: AttemptRules = field(default_factory=AttemptRules)
    patience: Patience = field(default_factory=Patience)
    handle_signals: bool = False
    own_sandbox: bool = False
    bucket: BucketFolder | None = None

    @classmethod
    def of(
        cls,
        options: RunOptions,
        output: Path,
        *,
        naming: Naming,
        preflight: Preflight,
        handle_signals: bool,
        own_sandbox: bool = False,
        bucket: BucketFolder | None = None,
    ) -> RunSettings:
        """Return the settings that `options` make for a run into `output`."""
        concurrency = most_in_flight() if options.concurrency is None else options.concurrency
        return cls(
            output=output,
            options=options,
            naming=naming,
            catalogue=preflight.catalogue,
            preflight=preflight,
            api=ApiSettings(
                base_url=options.base_url,
                timeout_s=options.timeout_s,
                connect_timeout_s=options.connect_timeout_s,
                max_image_bytes=options.max_image_bytes,
                concurrency=concurrency,
            ),
            sending=SendingRules(
                concurrency=concurrency,
                rpm=options.rpm,
                minute_s=options.api_minute_s,
                # The error budget's window is half a minute, on a compressed sandbox too.
                errors=error_rule(options.base_url, window_s=options.api_minute_s / 2),
            ),
            attempts=AttemptRules(
                max_attempts=options.max_attempts,
                max_paid_attempts=options.max_paid_attempts,
                prefer_json=options.response == "json",
            ),
            handle_signals=handle_signals,
            own_sandbox=own_sandbox,
            bucket=bucket,
        )

    @property
    def place(self) -> str:
        """The output folder or bucket, as messages name it."""
        return str(self.output) if self.bucket is None else self.bucket.address

    @property
    def is_flushed(self) -> bool:
        """Whether local files are flushed to the disk: in a scratch folder nothing has to outlast the machine."""
        return self.options.durable and self.bucket is None

    @property
    def workers(self) -> int:
        """Jobs of a lane that may be in work: one for each request under way, and as many that wait or are written."""
        return 2 * self.sending.concurrency

    @property
    def may_be_sandbox(self) -> bool:
        """Whether the API is on this machine; images that a sandbox made before then count as done."""
        return is_local(self.api.base_url)

    @property
    def reused_kind(self) -> bool | None:
        """The images to reuse: those of a sandbox (True), real ones (False), or either, from a server like a proxy."""
        return reused_kind(self.api.base_url, sandbox=self.own_sandbox)


def reused_kind(base_url: str, *, sandbox: bool) -> bool | None:
    """Return which images a run can reuse: True: those of a sandbox; False: real ones; None: either.

    What a server on this machine is cannot be known: a sandbox, or a proxy in front of the API.
    """
    return True if sandbox else None if is_local(base_url) else False


def most_in_flight() -> int:
    """Return how many requests may be under way at a time by default.

    `MOST_IN_FLIGHT`, or fewer where the process may not open that many files.
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
    """Return the error budget that an address has: Venice's, there and on this machine; none elsewhere."""
    if is_venice(base_url) or is_local(base_url):
        return ErrorRule(window_s=window_s, block_s=window_s)
    return None
