"""The options of `venice-batch run`, grouped by what they are about.

Each group is one decorator; an option is added to the group that it belongs to, in the order of `--help`.
"""

from __future__ import annotations

from pathlib import Path

import click

from venice_batch.cli import options

where_it_goes = options.group(
    options.output,
    options.option(
        "--name",
        default="{id}",
        show_default=True,
        metavar="TEMPLATE",
        help="Images' names: {id}, {index}, {model}, {seed}, {hash}, {date}, {metadata.KEY}; / makes folders.",
    ),
    options.option("--durable", is_flag=True, help="Have each image and record on the disk (fsync) before going on."),
    heading="Output",
)

sending = options.group(
    options.server,
    options.option(
        "-c",
        "--concurrency",
        type=click.IntRange(1, 1000),
        show_default="as many as quota and latency need",
        help="Most requests under way at a time, over all models.",
    ),
    options.option(
        "--processes",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Processes that fetch images; more than one is for servers of your own that outrun a core.",
    ),
    options.rpm,
    options.option(
        "--response",
        type=click.Choice(["binary", "json"]),
        default="binary",
        show_default=True,
        help="How to ask for single images; JSON brings the server's own timing.",
    ),
    options.option(
        "--max-attempts", type=click.IntRange(min=1), default=6, show_default=True, help="Tries for each job."
    ),
    options.option(
        "--max-paid-attempts",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        help="Of them, those that may have been charged: timeouts, cut connections, answers without an image.",
    ),
    options.option(
        "--timeout",
        type=options.Duration(),
        default=300.0,
        show_default="5m",
        help="Time for one attempt.",
    ),
    options.option(
        "--connect-timeout", type=options.Duration(), default=10.0, show_default="10s", help="Time for connecting."
    ),
    options.option(
        "--max-image-bytes",
        type=click.IntRange(min=1),
        default=64 * 1024 * 1024,
        show_default="64 MiB",
        help="Largest image accepted.",
    ),
    options.option(
        "--api-minute",
        type=options.Duration(),
        hidden=True,
        help="How long the API's minute is; only a time-compressed sandbox has another than 60 s.",
    ),
    heading="Sending",
)

limits_of_the_run = options.group(
    options.option(
        "--lock-wait",
        type=options.Duration(),
        show_default="do not wait",
        help="Wait so long for another run that uses the folder; then exit 5.",
    ),
    options.option("--max-time", type=options.Duration(), help="Stop sending after so long; exit 75."),
    options.option(
        "--max-cost",
        type=options.Amount(min=0),
        metavar="USD",
        help="Do not start above this price, and never spend more; exit 4.",
    ),
    options.option(
        "--max-failures", type=click.IntRange(min=1), help="Stop after so many jobs without image; exit 75."
    ),
    options.option(
        "--grace",
        type=options.Duration(),
        default=300.0,
        show_default="5m",
        help="After a stop, time for what is under way (it is paid for).",
    ),
    heading="Limits of the run",
)

what_is_done = options.group(
    options.which_jobs,
    options.option("--retry-rejected", is_flag=True, help="Ask again for what the API has refused before."),
    options.option("--verify", is_flag=True, help="Check finished images by their hash, not their size only."),
    options.checks,
    options.option("--dry-run", is_flag=True, help="Say what would be done; send nothing."),
    heading="Jobs",
)

what_is_said = options.group(
    options.as_json,
    options.option("-q", "--quiet", is_flag=True, help="Say only what fails."),
    options.option("--no-progress", is_flag=True, help="Lines now and then instead of a live display."),
    options.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="What goes to standard error: lines for people, or one JSON object an event.",
    ),
    heading="Messages",
)

after_the_run = options.group(
    options.option("--gallery", is_flag=True, help="Write gallery.html too, a page of all images with charts."),
    options.option(
        "--fail-on",
        type=options.AnyOf("blurred", "content_violation", violation="content_violation"),
        metavar="FLAGS",
        help="Exit 1 if any image of the file, of whichever run, has such a flag: blurred, violation.",
    ),
    options.option(
        "--junit",
        type=options.Target(path_type=Path),
        metavar="FILE",
        help="Write a JUnit test case for every job.",
    ),
    options.option(
        "--metrics-file",
        type=options.Target(path_type=Path),
        metavar="FILE",
        help="Write the run's numbers for the textfile collector of Prometheus.",
    ),
    options.option(
        "--on-finish",
        metavar="COMMAND",
        help="Have the shell run COMMAND after the run, however it ended, with the summary's JSON as its input.",
    ),
    heading="Afterwards",
)
"""What is done when the run is over; each has its step in `after_run`."""
