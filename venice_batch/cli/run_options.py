"""The options of `venice-batch run`, one group for each heading of `--help` and in its order."""

from __future__ import annotations

from pathlib import Path

import click

from venice_batch.cli import options, sandbox_options
from venice_batch.cli.parameters import Duration, FlagsOrConditions, Number, Target, WholeNumber, group, option

output = group(
    options.output,
    option(
        "--name",
        default=None,
        show_default="{id}; {line:04}-{prompt} for files without ids",
        metavar="TEMPLATE",
        help="Names of images: {id}, {index}, {line}, {prompt}, {model}, {seed}, {hash}, {date}, {metadata.KEY}; "
        "/ makes folders.",
    ),
    options.bucket,
    option("--durable", is_flag=True, help="Flush each image and record to disk (fsync) before going on."),
    heading="Output",
)

sending = group(
    options.server,
    option(
        "-c",
        "--concurrency",
        type=WholeNumber(1, 1000),
        show_default="as many as quota and latency need",
        help="Send at most N requests at a time, over all models.",
    ),
    option(
        "--processes",
        type=WholeNumber(1, 64),
        default=1,
        show_default=True,
        help="Fetch images in N processes; more than one is for your own servers that outrun one core.",
    ),
    options.pace,
    option(
        "--response",
        type=click.Choice(["binary", "json"]),
        default="binary",
        show_default=True,
        help="Ask for single images as binary or JSON; JSON includes the server's own timing.",
    ),
    option(
        "--max-attempts", type=WholeNumber(min=1), default=6, show_default=True, help="Try each job at most N times."
    ),
    option(
        "--max-paid-attempts",
        type=WholeNumber(min=1),
        default=2,
        show_default=True,
        help="Give up a job after N attempts that may have been charged: timeouts, cut connections, no image.",
    ),
    option(
        "--timeout",
        type=Duration(),
        default=300.0,
        show_default="5m",
        help="Time limit for one attempt.",
    ),
    option(
        "--connect-timeout",
        type=Duration(),
        default=10.0,
        show_default="10s",
        help="Time limit for connecting.",
    ),
    option(
        "--max-image-bytes",
        type=WholeNumber(min=1),
        default=64 * 1024 * 1024,
        show_default="64 MiB",
        help="Refuse images of more than N bytes.",
    ),
    option(
        "--api-minute",
        type=Duration(),
        hidden=True,
        help="Length of the API's minute; it differs from 60 s only in a sandbox with compressed time.",
    ),
    heading="Sending",
)

limits = group(
    option(
        "--lock-wait",
        type=Duration(),
        show_default="do not wait",
        help="Wait up to DURATION for another run in this folder, then exit 5. In a bucket it takes up to a minute to "
        "know whether the other run lives.",
    ),
    option("--max-time", type=Duration(), help="Stop sending after DURATION; exit 75."),
    option(
        "--max-cost",
        type=Number(min=0),
        metavar="USD",
        help="Do not start if the jobs cost more, and never spend more; exit 4.",
    ),
    options.budget,
    options.frozen,
    option("--max-failures", type=WholeNumber(min=1), help="Stop after N failed jobs; exit 75."),
    option(
        "--grace",
        type=Duration(),
        default=300.0,
        show_default="5m",
        help="After a stop, wait this long for requests under way (they are paid for).",
    ),
    heading="Limits of the run",
)

jobs = group(
    options.which_jobs,
    options.reuse,
    option("--retry-rejected", is_flag=True, help="Send jobs again that the API rejected before."),
    option("--verify", is_flag=True, help="Check finished images by hash, not only by size."),
    options.checks,
    option("--dry-run", is_flag=True, help="Show what a run would do; send nothing."),
    heading="Jobs",
)

messages = group(
    options.as_json,
    option("-q", "--quiet", is_flag=True, help="Report only failures."),
    option("-v", "--verbose", is_flag=True, help="At the end also show how long jobs took, and the slowest ones."),
    option("--no-progress", is_flag=True, help="Print a line now and then instead of a live display."),
    options.log_format,
    heading="Messages",
)

after_run = group(
    option("--gallery", is_flag=True, help="Write gallery.html, a page of all images with charts."),
    options.layout("Link the images as the tree that a scorer reads, in a folder of that name below DIR."),
    option(
        "--known-rejected",
        type=click.Choice(["ok", "fail"]),
        default="fail",
        show_default=True,
        help="With ok, jobs that the API rejected in an earlier run do not make the exit code 1. One line names them.",
    ),
    option(
        "--fail-on",
        type=FlagsOrConditions("blurred", "content_violation", violation="content_violation"),
        metavar="WHAT",
        help="Exit 1 if any image of JOBS, from this run or an earlier one, is blurred or a violation, or has an "
        "annotation like score<0.5. Commas separate several.",
    ),
    option(
        "--junit",
        type=Target(path_type=Path),
        metavar="FILE",
        help="Write a JUnit test case for every job.",
    ),
    option(
        "--metrics-file",
        type=Target(path_type=Path),
        metavar="FILE",
        help="Write the run's figures for Prometheus's textfile collector.",
    ),
    option(
        "--on-finish",
        in_files=False,
        metavar="COMMAND",
        help="Run COMMAND in the shell after the run, however it ended, with the summary as JSON on its input.",
    ),
    heading="Afterwards",
)
"""Options for the steps in `cli.after_run`."""

sandbox = group(sandbox_options.sandbox_options("sandbox-"), heading="The sandbox of --sandbox")
