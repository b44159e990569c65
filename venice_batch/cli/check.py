"""`venice-batch check`: report every line's mistakes, else plan a run: what it would do, cost and take."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import column_options, frozen, options
from venice_batch.cli.commands import command
from venice_batch.cli.destinations import default_output, opened_place, settle_temporary_files
from venice_batch.cli.env import environment
from venice_batch.cli.folders import reads
from venice_batch.cli.known import know
from venice_batch.cli.parameters import Target, option
from venice_batch.cli.text import json_line, table, terminal_width
from venice_batch.errors import Problem, one_line
from venice_batch.text_format import counted, span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from venice_batch.catalogue import Preflight
    from venice_batch.catalogue.preflight import Warned
    from venice_batch.cli.known import Known
    from venice_batch.jobfile import Source
    from venice_batch.report.log_lines import JobWarningLine, PlanLine
    from venice_batch.run.budget import Share
    from venice_batch.run.plan import ChainPlan, LanePlan, Plan

_MOST_STEPS = 20
"""Jobs in chains that are shown; `--json` lists more."""


@command(like="run")
@options.jobs_file
@options.output
@options.bucket
@options.which_jobs
@options.reuse
@options.checks
@options.pace
@options.budget
@option(
    "--freeze",
    type=Target(path_type=Path),
    in_files=False,
    metavar="FILE",
    shell_complete=options.complete_files,
    help="Write prices, models and limits of the jobs to FILE, as approved, for `--frozen`.",
)
@options.frozen
@options.server
@options.as_json
@options.log_format
@reads("reuse")
def check(jobs: str, **given: Any) -> int:
    """Check every line of JOBS and show what a run would do, cost and take. It spends nothing.

    Asks the API for its models, and with a key for balance and limits; goes on without them after 5 s.
    """
    from venice_batch.jobfile import JobIndex, open_source
    from venice_batch.output.naming import Naming
    from venice_batch.run.plan import plan

    is_sandbox = options.is_sandbox(given)
    defaults = options.job_defaults(given)
    chosen = frozen.options_of(given)
    part = options.part(given)
    budget = budget_shares(given)
    with ExitStack() as stack:
        place = stack.enter_context(opened_place(given["output"] or default_output(jobs), given))
        settle_temporary_files(jobs, place.root)
        source = stack.enter_context(open_source(jobs, environment().stdin_bytes, column_options.field_map(given)))
        known = know(given["base_url"], given["api_key_file"], sandbox=given["sandbox"], offline=given["offline"])
        print_notice(known.notice)
        options.show_notices(source)
        preflight = known.preflight(allow_unknown=given["allow_unknown"], strict=given["strict"])
        try:
            index = JobIndex.build(
                source,
                defaults=defaults,
                examine=preflight.examine,
                shard=given["shard"],
                part=part,
                name_of=Naming(has_ids=source.has_ids).plain_stem,
            )
        finally:
            show_warnings(preflight, source)
        options.refuse_unused(index, given)
        options.show_part(index, part)
        approval = chosen.settle(frozen.of_now(preflight, known.listing, known.limits, given), jobs)
        reused = reuse_for_plan(given)
        whole = place.whole()
        pace = {"rpm": given["rpm"], "share": given["share"]}
        shared: dict[str, Any] = {"preflight": preflight, "sandbox": is_sandbox}
        found = plan(index, place.root, whole=whole, **shared, **pace, **known.account, **reused)
        shown: dict[str, Any] = {"preflight": preflight, "known": known, "budget": budget, "approval": approval}
        return show_plan(found, place.name, as_json=given["as_json"], **shown)


def budget_shares(given: Mapping[str, Any]) -> list[Share]:
    """Return the windows of --max-cost-per as the budget file has them now. Raises UsageError, FolderError."""
    from venice_batch.run.budget import shares_in

    return shares_in(
        given["budget_file"],
        given["max_cost_per"] or {},
        now_unix_s=environment().now(),
        sandbox=options.is_sandbox(given),
    )


def reuse_for_plan(given: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Return what a plan has to know about --reuse."""
    if not given["reuse"]:
        return {}
    from venice_batch.run.settings import reused_kind

    kind = reused_kind(given["base_url"], sandbox=given["sandbox"])
    return {"reuse": given["reuse"], "reused_kind": kind} | ({} if quiet else {"notify": print_notice})


def print_notice(notice: str) -> None:
    """Print a notice, unless it is empty, on standard error."""
    environment().messages.notice(notice)


def show_warnings(preflight: Preflight, source: Source) -> None:
    """Print the warnings of all lines on standard error, each different one once."""
    messages = environment().messages
    shown = 0
    for warned in preflight.warnings:
        shown += warned.count
        if messages.log is not None:
            messages.log.write(_warning_line(warned, source.name))
            continue
        more = warned.count - 1
        places = source.places
        others = ", ".join(map(places.name, warned.lines[1:])) + (", …" if warned.count > len(warned.lines) else "")
        noun = "" if places.files else f"{places.noun} "
        also = f" ({more} more: {noun}{others})" if len(warned.lines) > 1 else ""
        found = Problem(source.name, warned.lines[0], warned.field, f"warning: {warned.what}{also}")
        click.echo(places.located(found), err=True)
    if preflight.warning_count > shown:
        messages.notice(f"{counted(preflight.warning_count - shown, 'further warning')} not shown")


def _warning_line(warned: Warned, source: str) -> JobWarningLine:
    from venice_batch.report.log_lines import JobWarningLine

    return JobWarningLine(
        level="warning",
        source=source,
        lines=list(warned.lines),
        field=warned.field,
        what=warned.what,
        count=warned.count,
    )


def show_approval(approval: frozen.Approval | None) -> None:
    """Print on standard error what is not as in the file of `--frozen`, although nothing is worse."""
    for notice in approval.notices if approval else ():
        print_notice(notice)


def show_plan(
    found: Plan,
    output: str,
    *,
    as_json: bool,
    preflight: Preflight,
    known: Known,
    budget: Sequence[Share] = (),
    approval: frozen.Approval | None = None,
) -> int:
    """Print a plan for people, or as JSON for scripts; return the exit code. A JSON log has it as a line."""
    show_approval(approval)
    log = environment().messages.log
    if log is not None:
        log.write(_plan_line(found, output, preflight, budget))
    if as_json:
        _print_json(found, preflight, known, budget, approval)
    if as_json or log is not None:
        return 0
    head = [f"{found.already_done} done before"] if found.already_done else []
    head += [f"{found.already_rejected} rejected before"] if found.already_rejected else []
    head += [f"{found.reused} reused"] if found.reused else []
    if preflight.warning_count:
        head.append(counted(preflight.warning_count, "warning"))
    click.echo(f"{counted(found.jobs, 'job')}, all lines valid" + "".join(f", {part}" for part in head))
    if found.lanes:
        header = ("model", "requests", "images", "usd", "images/min")
        click.echo(table(header, _rows(found), width=terminal_width(environment().stdout), right=("usd",)))
    if found.chains is not None:
        for line in _chain_lines(found.chains, terminal_width(environment().stdout)):
            click.echo(line)
    kept_back = sum(reason.count for reason in found.chains.waiting) if found.chains is not None else 0
    some = f"{found.pending - kept_back:,} of " if kept_back else ""
    images = f" for {counted(found.images, 'image')}" if found.images != found.pending else ""
    click.echo(f"{some}{counted(found.pending, 'request')}{images} would go out, into {output}")
    for line in _closing(found, may_send=known.limits is None or known.limits.access):
        click.echo(line)
    if budget:
        from venice_batch.money import micro_usd
        from venice_batch.run.budget import shares_text

        click.echo(shares_text(budget, None if found.unpriced else micro_usd(found.usd)))
    if approval is not None:
        click.echo("\n".join(approval.lines))
    return 0


def _plan_line(found: Plan, output: str, preflight: Preflight, budget: Sequence[Share]) -> PlanLine:
    from venice_batch.report.log_lines import PlanLine

    return PlanLine(
        output=output,
        jobs=found.jobs,
        already_done=found.already_done,
        already_rejected=found.already_rejected,
        reused=found.reused,
        pending=found.pending,
        images=found.images,
        cost_usd=found.usd,
        unpriced=found.unpriced,
        expected_s=found.expected_s,
        balance_suffices=found.suffices,
        budget_left_usd={share.window: share.left / 1e6 for share in budget},
        warnings=preflight.warning_count,
    )


def _rows(found: Plan) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [
        (name, lane.requests, lane.images, _cost(lane), lane.rpm) for name, lane in found.lanes.items()
    ]
    if len(rows) > 1:
        rows.append(("in all", found.pending, found.images, _cost(found), None))
    return rows


def _chain_lines(chains: ChainPlan, width: int | None) -> list[str]:
    """Return the chains as a tree of jobs with their prices, and which jobs could not go on now."""
    from venice_batch.money import amount_text

    some_done = any(step.done for step in chains.listed[:_MOST_STEPS])
    rows = [
        (
            "  " * (step.depth - 1) + "└ " * bool(step.depth) + one_line(step.id),
            step.lane,
            amount_text(step.usd),
            one_line("; ".join(step.works_on)),
            *(("done" if step.done else None,) if some_done else ()),
        )
        for step in chains.listed[:_MOST_STEPS]
    ]
    works = f"{counted(chains.jobs, 'job')} {'works' if chains.jobs == 1 else 'work'} on other jobs' images"
    lines = [f"{works}, in chains of up to {chains.steps} jobs:"]
    header = ("job", "model", "usd", "works on", *(("state",) if some_done else ()))
    lines.append(table(header, rows, width=width, right=("usd",)))
    if len(chains.listed) > len(rows):
        lines.append("… and more")
    lines += [f"{counted(reason.count, 'job')} {reason.message}" for reason in chains.waiting]
    return lines


def _cost(sums: LanePlan | Plan) -> str | None:
    from venice_batch.money import amount_text

    return amount_text(sums.usd, sums.unpriced)


def _closing(found: Plan, *, may_send: bool) -> list[str]:
    from venice_batch.money import cost_text

    lines = []
    if found.pending:
        takes, costs = ("it takes", "costs") if found.pending == 1 else ("they take", "cost")
        known = found.unpriced < found.pending
        cost = f" and {costs} {cost_text(found.usd, found.unpriced)}" if known else ""
        lines.append(f"{takes} about {span(found.expected_s)}{cost}")
    if found.enhancement_usd:
        enhancement = cost_text(found.enhancement_usd)
        lines.append(f"{enhancement} of it for prompt enhancement, charged only if a prompt is rewritten")
    if found.unpriced:
        lines.append(f"{counted(found.unpriced, 'request')} whose price is not known")
    if found.balances is not None:
        verdict = {True: "enough", False: "not enough", None: "whether that is enough is unknown"}[found.suffices]
        shown = {name: amount for name, amount in found.balances.items() if amount} or found.balances
        balances = ", ".join(f"{amount:g} {name}" for name, amount in shown.items()) or "none"
        lines.append(f"balance: {balances}; {verdict}")
    if not may_send:
        lines.append("the key has no access (accessPermitted is false): the API would refuse the requests")
    return lines


def _print_json(
    found: Plan, preflight: Preflight, known: Known, budget: Sequence[Share], approval: frozen.Approval | None
) -> None:
    import msgspec

    report = msgspec.to_builtins(found)
    if known.limits is not None:
        report["access_permitted"] = known.limits.access
    report["warnings"] = {"total": preflight.warning_count, "shown": preflight.warnings}
    if known.listing is not None:
        listed = known.listing.catalogue(time.time()).listed
        report["models"] = {"origin": known.listing.origin, "listed_at": listed}
    if budget:
        report["budget"] = {
            share.window: {"cap_usd": share.cap / 1e6, "left_usd": share.left / 1e6, "renews_at": share.renews}
            for share in budget
        }
    if approval is not None:
        report["approval"] = approval.report
    click.echo(json_line(report))
