"""`venice-batch run`: from options to a run, from its summary to an exit code."""

from __future__ import annotations

import math
import sys
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from venice_batch.cli import options
from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from venice_batch.batch import RunSettings
    from venice_batch.jobfile import JobIndex
    from venice_batch.naming import Naming
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
    from venice_batch.jobfile import Defaults, JobIndex, open_source
    from venice_batch.naming import Naming

    output = given["output"] or default_output(given["jobs"])
    naming = Naming(given["name"], date=f"{datetime.now(UTC):%Y-%m-%d}")
    with open_source(given["jobs"], getattr(sys.stdin, "buffer", None)) as source:
        index = JobIndex.build(source, defaults=Defaults.of(given["settings"]), examine=naming.examine)
        naming.settle(index.jobs_in_order(), source.name)
        if given["dry_run"]:
            from venice_batch.cli.check import show_plan

            return show_plan(index, output, as_json=given["as_json"])
        return _run(index, output, naming, given)


def default_output(jobs: str) -> Path:
    """`output/<stem>`, the stem without any of the endings that a jobs file may have."""
    name = "stdin" if jobs == "-" else Path(jobs).name
    for ending in (".gz", ".zst", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"):
        name = name.removesuffix(ending) or name
    return Path("output") / name


def _run(index: JobIndex, output: Path, naming: Naming, given: dict[str, Any]) -> int:
    import anyio

    from venice_batch.api.secret import ApiKey, find_key
    from venice_batch.cli import console

    if given["sandbox"] and given["base_url"] != options.VENICE:
        raise UsageError("--sandbox and --base-url name two servers; give one of them")
    key = ApiKey("sandbox") if given["sandbox"] else find_key(given["api_key_file"])
    observer = console.observer(given["log_format"], sys.stderr, quiet=given["quiet"])

    async def go() -> Summary:
        from venice_batch.batch import run_batch

        async with _server(given) as base_url:
            return await run_batch(index, key, _settings(base_url, output, naming, given), observers=(observer,))

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


def _settings(base_url: str, output: Path, naming: Naming, given: dict[str, Any]) -> RunSettings:
    from venice_batch.api.client import ApiSettings
    from venice_batch.batch import RunSettings
    from venice_batch.engine.attempts import AttemptRules
    from venice_batch.pacing.budget import BlockRule
    from venice_batch.pacing.traffic import SendingRules

    speed = (given["sandbox_speed"] or 1.0) if given["sandbox"] else 1.0
    minute_s = given["api_minute"] or 60.0 / speed
    return RunSettings(
        output=output,
        naming=naming,
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
