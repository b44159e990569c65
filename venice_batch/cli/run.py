"""`venice-batch run`: options in, a run, and its exit code out."""

from __future__ import annotations

import gc
import math
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import after_run, options, run_options
from venice_batch.cli.commands import command
from venice_batch.cli.destinations import default_output, settle_temporary_files
from venice_batch.cli.env import environment
from venice_batch.errors import ExitCode, OutOfMoneyError, UsageError, one_line
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from venice_batch.api.key import ApiKey
    from venice_batch.catalogue import Preflight
    from venice_batch.jobfile import Defaults, JobIndex, Shard, Source
    from venice_batch.model import Job, Summary
    from venice_batch.output.naming import Naming
    from venice_batch.run.plan import Plan
    from venice_batch.run.settings import RunSettings


@command()
@options.jobs_file
@run_options.where_it_goes
@run_options.sending
@run_options.limits_of_the_run
@run_options.what_is_done
@run_options.what_is_said
@run_options.after_the_run
@run_options.of_the_sandbox
def run(**given: Any) -> int:
    """Make the images of JOBS (a path, or - for standard input) that the output folder does not hold yet.

    A DURATION is a number of seconds, or has a unit: 90, 15m, 2h.
    """
    from venice_batch.api.key import ApiKey, find_key
    from venice_batch.cli.check import know, say, show_plan
    from venice_batch.jobfile import open_source
    from venice_batch.output.naming import Naming
    from venice_batch.run.plan import plan

    is_sandbox = options.is_sandbox(given)
    defaults = options.job_defaults(given)
    output = given["output"] or default_output(given["jobs"])
    settle_temporary_files(given["jobs"], output)
    naming = Naming(given["name"], date=environment().today)
    with open_source(given["jobs"], environment().stdin_bytes) as source:
        key = ApiKey("sandbox") if given["sandbox"] or given["dry_run"] else find_key(given["api_key_file"])
        asked = {"sandbox": given["sandbox"], "offline": given["offline"], "limits": given["dry_run"]}
        known = know(given["base_url"], given["api_key_file"], **asked)
        if not given["quiet"]:
            say(known.notice)
        preflight = known.preflight(allow_unknown=given["allow_unknown"], strict=given["strict"])
        index = _index(source, defaults, naming, preflight, shard=given["shard"], quiet=given["quiet"])
        left = {
            "preflight": preflight,
            "retry_rejected": given["retry_rejected"],
            "sandbox": is_sandbox,
        }
        if given["dry_run"]:
            found = plan(index, output, rpm=given["rpm"], **known.account, **left)
            return show_plan(found, output, as_json=given["as_json"], preflight=preflight, known=known)
        if given["max_cost"] is not None:
            _refuse_above(given["max_cost"], plan(index, output, **left))
        return _run(_Ready(index, output, naming, preflight, key), given)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A checked run: all but its options."""

    index: JobIndex
    output: Path
    naming: Naming
    preflight: Preflight
    key: ApiKey


def _index(
    source: Source, defaults: Defaults, naming: Naming, preflight: Preflight, *, shard: Shard | None, quiet: bool
) -> JobIndex:
    """The file's jobs, each checked by itself, for its name and against its model. Raises JobsFileError."""
    from venice_batch.cli.check import show_warnings
    from venice_batch.jobfile import JobIndex

    def examine(job: Job) -> list[tuple[str, str]]:
        return [*naming.examine(job), *preflight.examine(job)]

    try:
        index = JobIndex.build(source, defaults=defaults, examine=examine, shard=shard)
    finally:
        if not quiet:
            show_warnings(preflight, source.name)
    naming.settle(index.jobs_in_order(), source.name)
    return index


def _refuse_above(max_cost_usd: float, found: Plan) -> None:
    if found.unpriced:
        raise UsageError(f"--max-cost: {counted(found.unpriced, 'job')} whose price is not known")
    if found.exceeds(max_cost_usd):
        from venice_batch.money import micro_usd, usd_text

        price = f"{usd_text(micro_usd(found.usd))} USD, above --max-cost"
        raise OutOfMoneyError(f"the {counted(found.pending, 'job')} left would cost {price}; nothing was sent")


_GARBAGE_THRESHOLDS = (50_000, 20, 100)
"""A job's objects are freed by their reference counts; a look for cycles at every 700 of them, as is the default, takes
a tenth of a fast run's time. There are few cycles, and none holds an image."""


def _run(ready: _Ready, given: dict[str, Any]) -> int:
    import anyio

    from venice_batch.cli.closing import closing
    from venice_batch.cli.text import json_line, terminal_width, unwritten
    from venice_batch.cli.watching import is_live, watching

    async def go() -> Summary:
        from venice_batch.run.run import run_batch

        async with watching(given, sys.stderr) as observer, _server(given) as base_url:
            return await run_batch(ready.index, ready.key, _settings(base_url, ready, given), observers=(observer,))

    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    summary = anyio.run(go)
    after_run.take(after_run.steps(given, ready.index, is_sandbox=options.is_sandbox(given)), summary, ready.output)
    try:
        if given["as_json"]:
            click.echo(json_line(summary))
        stream = sys.stderr if given["as_json"] else sys.stdout
        if not given["quiet"] and (not given["as_json"] or is_live(given, stream)):
            command = click.get_current_context().meta[options.WORDS]
            width = terminal_width(stream)
            click.echo(closing(summary, width=width, command=command, has_page=given["gallery"]), file=stream)
    except BrokenPipeError:
        pass  # nobody reads it any more; what the run did still counts
    except OSError as error:
        with suppress(OSError):
            click.echo(
                f"venice-batch: {unwritten(error)}; it stands in {one_line(summary.output)}/summary.json", err=True
            )
        return summary.exit_code or ExitCode.FOLDER_UNUSABLE
    return summary.exit_code


@asynccontextmanager
async def _server(given: dict[str, Any]) -> AsyncIterator[str]:
    """The base URL to send to, of a sandbox started for the occasion where one is asked for."""
    if not given["sandbox"]:
        yield given["base_url"]
        return
    from venice_batch.sandbox import serve

    settings = options.sandbox_settings(given)
    try:
        async with serve(settings) as sandbox:
            yield sandbox.base_url
    except ModuleNotFoundError as error:
        raise UsageError(f"the sandbox needs {error.name}: pip install 'venice-batch[sandbox]'") from error


def _settings(base_url: str, ready: _Ready, given: dict[str, Any]) -> RunSettings:
    from venice_batch.api.client import ApiSettings
    from venice_batch.pacing.limiter import SendingRules
    from venice_batch.run.attempts import AttemptRules
    from venice_batch.run.settings import RunSettings, error_rule, most_in_flight

    speed = (given["sandbox_speed"] or 1.0) if given["sandbox"] else 1.0
    minute_s = given["api_minute"] or 60.0 / speed
    concurrency = given["concurrency"] or most_in_flight()
    return RunSettings(
        output=ready.output,
        naming=ready.naming,
        catalogue=ready.preflight.catalogue,
        preflight=ready.preflight,
        max_cost_usd=given["max_cost"],
        api=ApiSettings(
            base_url=base_url,
            timeout_s=given["timeout"],
            connect_timeout_s=given["connect_timeout"],
            max_image_bytes=given["max_image_bytes"],
            concurrency=concurrency,
        ),
        sending=SendingRules(
            concurrency=concurrency,
            rpm=given["rpm"],
            minute_s=minute_s,
            # The error budget's window is half a minute, on a compressed sandbox too.
            errors=error_rule(base_url, window_s=minute_s / 2),
        ),
        attempts=AttemptRules(
            max_attempts=given["max_attempts"],
            max_paid_attempts=given["max_paid_attempts"],
            prefer_json=given["response"] == "json",
        ),
        fail_on=frozenset(given["fail_on"] or ()),
        retry_rejected=given["retry_rejected"],
        verify=given["verify"],
        durable=given["durable"],
        lock_wait_s=given["lock_wait"] or 0.0,
        max_time_s=given["max_time"] or math.inf,
        max_failures=given["max_failures"],
        grace_s=given["grace"],
        handle_signals=True,
    )
