"""`venice-batch run`: options in, a run, and its exit code out."""

from __future__ import annotations

import math
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import after_run, column_options, frozen, options, run_options, sandbox_options
from venice_batch.cli.commands import command
from venice_batch.cli.destinations import default_output, opened_place, settle_temporary_files
from venice_batch.cli.env import environment
from venice_batch.cli.folders import reads
from venice_batch.cli.parameters import record_fault, stronger
from venice_batch.errors import ExitCode, OutOfMoneyError, UsageError
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from venice_batch.api.key import ApiKey
    from venice_batch.cli.destinations import Place
    from venice_batch.library import PreparedRun
    from venice_batch.model import Summary
    from venice_batch.run.plan import Plan
    from venice_batch.run.settings import RunOptions


@command(begins_run=True)
@options.jobs_file
@run_options.output
@run_options.sending
@run_options.limits
@run_options.jobs
@run_options.messages
@run_options.after_run
@run_options.sandbox
@reads("reuse")
def run(**given: Any) -> int:
    """Make the images of JOBS that are not in the output folder yet.

    JOBS is a file, a folder of texts, or - for standard input.

    A DURATION is a number of seconds, or has a unit: 90, 15m, 2h.
    """
    output = given["output"] or default_output(given["jobs"])
    _refuse_own_files(given, output)
    with after_run.failed_start_in_metrics(given, str(output)), opened_place(output, given) as place:
        return _start(given, place)


def _refuse_own_files(given: Mapping[str, Any], output: Path | str) -> None:
    """Raise UsageError if an option would write over the run's own records, also in a folder that is yet to be made."""
    if not isinstance(output, Path):
        return
    for name in ("junit", "metrics_file", "budget_file"):
        if given[name] is not None and (what := record_fault(given[name], output)):
            raise UsageError(f"--{name.replace('_', '-')}: {what}")


def _start(given: dict[str, Any], place: Place) -> int:
    """Check the options and every job, then run them; return the exit code."""
    from venice_batch import library
    from venice_batch.api.key import ApiKey, find_key
    from venice_batch.cli.check import (
        budget_shares,
        print_notice,
        reuse_for_plan,
        show_approval,
        show_plan,
        show_warnings,
    )
    from venice_batch.cli.known import know
    from venice_batch.jobfile import open_source
    from venice_batch.run.plan import plan

    if given["verbose"] and stronger(click.get_current_context(), "quiet", "verbose") == "verbose":
        given["quiet"] = False  # such as -v against a settings file
    is_sandbox = options.is_sandbox(given)
    is_silent = given["quiet"] and given["log_format"] == "text"  # a JSON log goes by levels
    columns = column_options.field_map(given)
    chosen = _options(given)
    frozen_file = frozen.options_of(given)
    if place.bucket is not None:
        after_run.refuse_in_bucket(given, place.name)
    settle_temporary_files(given["jobs"], place.root)
    with open_source(given["jobs"], environment().stdin_bytes, columns) as source:
        key = ApiKey("sandbox") if given["sandbox"] or given["dry_run"] else find_key(given["api_key_file"])
        limits = given["dry_run"] or frozen_file.wants_quotas
        asked = {"sandbox": given["sandbox"], "offline": given["offline"], "limits": limits}
        known = know(given["base_url"], given["api_key_file"], **asked)
        if not is_silent:
            print_notice(known.notice)
            options.show_notices(source)
        preflight = known.preflight(allow_unknown=chosen.allow_unknown, strict=chosen.strict)
        try:
            prepared = library.prepare(source, place.root, chosen, preflight, bucket=place.bucket)
        finally:
            if not is_silent:
                show_warnings(preflight, source)
        options.refuse_unused(prepared.index, given)
        if not is_silent:
            options.show_part(prepared.index, chosen.part)
        now = frozen.of_now(preflight, known.listing, known.limits, given)
        approval = frozen_file.settle(now, given["jobs"])
        left: dict[str, Any] = {"preflight": preflight, "retry_rejected": chosen.retry_rejected, "sandbox": is_sandbox}
        if given["dry_run"]:
            left |= reuse_for_plan(given, quiet=is_silent)
            left |= {"rpm": chosen.rpm, "share": chosen.share}
            found = plan(prepared.index, place.root, whole=place.whole(), **known.account, **left)
            shown: dict[str, Any] = {"preflight": preflight, "known": known, "approval": approval}
            return show_plan(found, place.name, as_json=given["as_json"], budget=budget_shares(given), **shown)
        if not is_silent:
            show_approval(approval)
        if chosen.max_cost_usd is not None or chosen.max_cost_per_usd:
            left |= {"whole": place.whole()} | reuse_for_plan(given, quiet=True)
            _refuse_cost(chosen, plan(prepared.index, place.root, **left))
        return _run(prepared, key, given, place)


def _options(given: dict[str, Any]) -> RunOptions:
    """Return the command's options as the options of a run."""
    from venice_batch.run.settings import RunOptions

    defaults = options.job_defaults(given)
    chosen = options.part(given)
    speed = (given["sandbox_speed"] or 1.0) if given["sandbox"] else 1.0
    return RunOptions(
        name=given["name"],
        durable=given["durable"],
        base_url=given["base_url"],
        concurrency=given["concurrency"],
        processes=given["processes"],
        rpm=given["rpm"],
        share=given["share"],
        response=given["response"],
        max_attempts=given["max_attempts"],
        max_paid_attempts=given["max_paid_attempts"],
        timeout_s=given["timeout"],
        connect_timeout_s=given["connect_timeout"],
        max_image_bytes=given["max_image_bytes"],
        api_minute_s=given["api_minute"] or 60.0 / speed,
        scratch=given["scratch"],
        bucket_without_lock=given["bucket_without_lock"],
        lock_wait_s=given["lock_wait"] or 0.0,
        max_time_s=given["max_time"] or math.inf,
        max_cost_usd=given["max_cost"],
        max_cost_per_usd=given["max_cost_per"] or {},
        budget_file=given["budget_file"],
        frozen=given["frozen"],
        max_failures=given["max_failures"],
        grace_s=given["grace"],
        shard=given["shard"],
        ids=chosen.ids,
        sample=chosen.sample,
        seed=chosen.seed,
        limit=chosen.limit,
        defaults=defaults.values,
        model_defaults=defaults.models,
        matrix=defaults.matrix,
        variables=defaults.variables,
        reuse=given["reuse"],
        prompt_set=given["prompt_set"],
        field_map=dict(pair.split("=", 1) for pair in given["field_map"]),
        unknown=given["unknown"],
        seed_policy=given["seed_policy"],
        retry_rejected=given["retry_rejected"],
        verify=given["verify"],
        allow_unknown=given["allow_unknown"],
        strict=given["strict"],
        known_rejected=given["known_rejected"],
        fail_on=frozenset(given["fail_on"] or ()),
    )


def _refuse_cost(chosen: RunOptions, found: Plan) -> None:
    """Refuse jobs whose price is not known, and those that cost more than the run may spend in all."""
    if found.unpriced:
        cap = "--max-cost-per" if chosen.max_cost_usd is None else "--max-cost"
        raise UsageError(f"{cap}: {counted(found.unpriced, 'job')} whose price is not known")
    if chosen.max_cost_usd is not None and found.exceeds(chosen.max_cost_usd):
        from venice_batch.money import micro_usd, usd_text

        price = f"{usd_text(micro_usd(found.usd))} USD, above --max-cost"
        raise OutOfMoneyError(f"the {counted(found.pending, 'job')} left would cost {price}; nothing was sent")


def _run(prepared: PreparedRun, key: ApiKey, given: dict[str, Any], place: Place) -> int:
    import anyio

    from venice_batch.cli.closing import closing
    from venice_batch.cli.display import is_live, watching
    from venice_batch.cli.text import json_line, terminal_width, unwritten

    messages = environment().messages
    steps = after_run.steps(given, prepared.index, place.root, bucket=place.bucket)

    async def go() -> Summary:
        async with watching(given, sys.stderr, messages.log) as observer, _server(given) as base_url:
            return await prepared.run(
                key,
                base_url=base_url,
                observers=(observer, *after_run.observers(steps)),
                collectors=after_run.collectors(steps),
                handle_signals=True,
                run_id=messages.begin_run(),
                own_sandbox=given["sandbox"],
            )

    summary = anyio.run(go)
    after_run.take(steps, summary, place.root)
    try:
        if given["as_json"]:
            click.echo(json_line(summary))
        stream = sys.stderr if given["as_json"] else sys.stdout
        is_brief = given["quiet"] or messages.log is not None
        if not is_brief and (not given["as_json"] or is_live(given, stream)):
            command = click.get_current_context().meta[options.WORDS]
            width = terminal_width(stream)
            shown = {"has_page": given["gallery"], "verbose": given["verbose"]}
            click.echo(closing(summary, width=width, command=command, **shown), file=stream)
    except BrokenPipeError:
        pass  # the reader has gone; the run's exit code still counts
    except OSError as error:
        with suppress(OSError):
            messages.notice(f"{unwritten(error)}; the summary is in {summary.output}/summary.json", level="error")
        return summary.exit_code or ExitCode.FOLDER_UNUSABLE
    return summary.exit_code


@asynccontextmanager
async def _server(given: dict[str, Any]) -> AsyncIterator[str]:
    """Yield the base URL to send to; with `--sandbox`, serve a sandbox there for the duration of the block."""
    if not given["sandbox"]:
        yield given["base_url"]
        return
    from venice_batch.sandbox import serve

    settings = sandbox_options.sandbox_settings(given)
    async with serve(settings) as sandbox:
        yield sandbox.base_url
