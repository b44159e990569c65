"""`venice-batch run`: from options to a run, from its summary to an exit code."""

from __future__ import annotations

import math
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options
from venice_batch.errors import OutOfMoneyError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from venice_batch.api.secret import ApiKey
    from venice_batch.batch import RunSettings
    from venice_batch.catalogue import Catalogue, Preflight
    from venice_batch.jobfile import Defaults, JobIndex, Source
    from venice_batch.model import Job
    from venice_batch.naming import Naming
    from venice_batch.plan import Plan
    from venice_batch.summary import Summary


@click.command(context_settings=options.CONTEXT)
@click.argument("jobs")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for images and manifest.  [default: output/<name of JOBS>]",
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Most requests under way at a time, over all models.",
)
@click.option("--rpm", type=click.IntRange(min=1), help="Most requests a minute for each model, whatever the API says.")
@click.option(
    "--name",
    default="{id}",
    show_default=True,
    metavar="TEMPLATE",
    help="Images' names: {id}, {index}, {model}, {seed}, {hash}, {date}, {metadata.KEY}; / makes folders.",
)
@options.base_url
@options.api_key_file
@options.use_sandbox
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="A field for every job that lacks it; repeatable."
)
@click.option(
    "--response",
    type=click.Choice(["binary", "json"]),
    default="binary",
    show_default=True,
    help="How to ask for single images; JSON brings the server's own timing.",
)
@click.option("--max-attempts", type=click.IntRange(min=1), default=6, show_default=True, help="Tries for each job.")
@click.option(
    "--timeout", type=options.Duration(), default=300.0, show_default="5m", help="For one attempt, in seconds (or 5m)."
)
@click.option("--connect-timeout", type=options.Duration(), default=10.0, show_default="10s", help="For connecting.")
@click.option("--max-time", type=options.Duration(), help="Stop sending after so long (90, 15m, 2h); exit 75.")
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0),
    metavar="USD",
    help="Do not start above this price, and never spend more; exit 4.",
)
@click.option("--max-failures", type=click.IntRange(min=1), help="Stop after so many jobs without image; exit 75.")
@click.option(
    "--failure-budget",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Failed requests in 30 s that the API forgives before it blocks; 0 if it never does.",
)
@click.option(
    "--grace",
    type=options.Duration(),
    default=300.0,
    show_default="5m",
    help="After a stop, time for what is under way (it is paid for).",
)
@click.option(
    "--max-image-bytes", type=click.IntRange(min=1), default=64 * 1024 * 1024, help="Largest image accepted.  [64 MiB]"
)
@click.option("--retry-rejected", is_flag=True, help="Ask again for what the API has refused before.")
@click.option("--verify", is_flag=True, help="Check finished images by their hash, not their size only.")
@click.option("--durable", is_flag=True, help="Have each image and record on the disk (fsync) before going on.")
@click.option("--allow-unknown", is_flag=True, help="Warn of models that the list lacks, instead of refusing them.")
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@click.option("--offline", is_flag=True, help="Check by the last list of models, or the packaged one, without asking.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; send nothing.")
@options.as_json
@click.option("-q", "--quiet", is_flag=True, help="Say only what fails.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--api-minute",
    type=options.Duration(),
    hidden=True,
    help="How long the API's minute is; only a time-compressed sandbox has another than 60 s.",
)
@options.sandbox_options("sandbox-")
def run(**given: Any) -> int:
    """Make the images of JOBS (a path, or - for standard input) that the output folder does not hold yet."""
    from venice_batch.api.secret import ApiKey, find_key
    from venice_batch.catalogue.listing import is_local
    from venice_batch.cli.check import know, say, show_plan
    from venice_batch.jobfile import Defaults, open_source
    from venice_batch.naming import Naming
    from venice_batch.plan import plan

    if given["sandbox"] and given["base_url"] != options.VENICE:
        raise UsageError("--sandbox and --base-url name two servers; give one of them")
    defaults = Defaults.of(given["settings"])
    output = given["output"] or default_output(given["jobs"])
    naming = Naming(given["name"], date=f"{datetime.now(UTC):%Y-%m-%d}")
    with open_source(given["jobs"], getattr(sys.stdin, "buffer", None)) as source:
        key = ApiKey("sandbox") if given["sandbox"] or given["dry_run"] else find_key(given["api_key_file"])
        asked = {"sandbox": given["sandbox"], "offline": given["offline"], "limits": given["dry_run"]}
        known = know(given["base_url"], given["api_key_file"], **asked)
        if not given["quiet"]:
            say(known.notice)
        preflight = known.preflight(allow_unknown=given["allow_unknown"], strict=given["strict"])
        index = _index(source, defaults, naming, preflight, quiet=given["quiet"])
        left = {
            "preflight": preflight,
            "retry_rejected": given["retry_rejected"],
            "sandbox": given["sandbox"] or is_local(given["base_url"]),
        }
        if given["dry_run"]:
            return show_plan(index, output, as_json=given["as_json"], known=known, rpm=given["rpm"], **left)
        if given["max_cost"] is not None:
            _refuse_above(given["max_cost"], plan(index, output, **left))
        return _run(_Ready(index, output, naming, preflight.catalogue, key), given)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A checked run: all but its options."""

    index: JobIndex
    output: Path
    naming: Naming
    catalogue: Catalogue | None
    key: ApiKey


def _index(source: Source, defaults: Defaults, naming: Naming, preflight: Preflight, *, quiet: bool) -> JobIndex:
    """The file's jobs, each checked by itself, for its name and against its model. Raises JobsFileError."""
    from venice_batch.cli.check import show_warnings
    from venice_batch.jobfile import JobIndex

    def examine(job: Job) -> list[tuple[str, str]]:
        return [*naming.examine(job), *preflight.examine(job)]

    try:
        index = JobIndex.build(source, defaults=defaults, examine=examine)
    finally:
        if not quiet:
            show_warnings(preflight, source.name)
    naming.settle(index.jobs_in_order(), source.name)
    return index


def _refuse_above(max_cost_usd: float, found: Plan) -> None:
    if found.unpriced:
        raise UsageError(f"--max-cost: {found.unpriced} jobs are for models whose price is not known")
    if found.exceeds(max_cost_usd):
        price = f"{found.usd:.2f} USD, above --max-cost"
        raise OutOfMoneyError(f"the {found.pending} jobs left would cost {price}; nothing was sent")


def default_output(jobs: str) -> Path:
    """`output/<stem>`, the stem without any of the endings that a jobs file may have."""
    name = "stdin" if jobs == "-" else Path(jobs).name
    for ending in (".gz", ".zst", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"):
        name = name.removesuffix(ending) or name
    return Path("output") / name


def _run(ready: _Ready, given: dict[str, Any]) -> int:
    import anyio

    from venice_batch.cli import console

    observer = console.observer(given["log_format"], sys.stderr, quiet=given["quiet"])

    async def go() -> Summary:
        from venice_batch.batch import run_batch

        async with _server(given) as base_url:
            return await run_batch(ready.index, ready.key, _settings(base_url, ready, given), observers=(observer,))

    summary = anyio.run(go)
    # Whoever reads this may be gone, or the disk behind it full: what the run did still counts.
    with suppress(OSError):
        if given["as_json"]:
            import msgspec

            click.echo(msgspec.json.encode(summary))
        elif not given["quiet"]:
            click.echo(console.closing(summary))
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
    from venice_batch.batch import RunSettings
    from venice_batch.engine.attempts import AttemptRules
    from venice_batch.pacing.budget import BlockRule
    from venice_batch.pacing.traffic import SendingRules

    speed = (given["sandbox_speed"] or 1.0) if given["sandbox"] else 1.0
    minute_s = given["api_minute"] or 60.0 / speed
    return RunSettings(
        output=ready.output,
        naming=ready.naming,
        catalogue=ready.catalogue,
        max_cost_usd=given["max_cost"],
        api=ApiSettings(
            base_url=base_url,
            timeout_s=given["timeout"],
            connect_timeout_s=given["connect_timeout"],
            max_image_bytes=given["max_image_bytes"],
            concurrency=given["concurrency"],
        ),
        sending=SendingRules(
            concurrency=given["concurrency"],
            rpm=given["rpm"],
            minute_s=minute_s,
            # The API's rule is of half a minute, on a compressed sandbox too.
            block=BlockRule(failures=given["failure_budget"], window_s=minute_s / 2, block_s=minute_s / 2),
        ),
        attempts=AttemptRules(max_attempts=given["max_attempts"], prefer_json=given["response"] == "json"),
        retry_rejected=given["retry_rejected"],
        verify=given["verify"],
        durable=given["durable"],
        max_time_s=given["max_time"] or math.inf,
        max_failures=given["max_failures"],
        grace_s=given["grace"],
        handle_signals=True,
    )
