"""The text at the end of a run."""

import msgspec
import pytest
import records

from venice_batch.cli.closing import FEW_JOBS, MAX_REASONS, closing, next_command
from venice_batch.cli.text import text_width
from venice_batch.errors import ExitCode
from venice_batch.model import LaneSummary, Percentiles, Reason, SlowJob

SD = LaneSummary(
    4, 1, 0, 5, 4_500_000, 9, 2,
    retries=3, cost_usd=0.05, queue_s=Percentiles(0.01, 12.3, 123.4), server_s=Percentiles(2.0, 3.0, 4.0),
    latency_s=Percentiles(2.1, 3.1, 4.1), total_s=Percentiles(2.25, 15.0, 130.0),
)  # fmt: skip
FLUX = LaneSummary(2, 0, 1, 2, 800, 3, 0)
SLOW = SlowJob("gondola-17", "venice-sd35", 3, 120.5, 4.0, 130.25)
COMMAND = ("jobs.jsonl", "-o", "out")


def summary(**changes):
    """Return the summary of a run that made three images of three jobs, without lanes."""
    usual = {
        "output": "out", "elapsed_s": 12.34, "already_done": 0, "succeeded": 3, "images": 3, "bytes": 4_500_000,
        "attempts": 4, "cost_usd": None, "lanes": {}, "total_s": Percentiles(1.5, 2.5, 3.5),
    }  # fmt: skip
    return records.summary(**{**usual, **changes})


BUSY = summary(
    exit_code=1,
    jobs=8,
    succeeded=6,
    failed=1,
    rejected=1,
    cost_usd=1.25,
    lanes={"venice-sd35": SD, "flux": FLUX},
    slowest=(SLOW, SlowJob("b", "flux", 1, 0.0, None, 3.0)),
    failures=(Reason("failed", "server", "out of order", 1, ("c",)),),
    queue_s=Percentiles(0.02, 12.0, 99.0),
)


def test_a_run_with_nothing_to_do_closes_in_a_few_lines():
    lines = closing(summary(succeeded=0, already_done=3, images=0, bytes=0, attempts=0, refused=0), command=COMMAND)
    assert lines.split("\n") == [
        "3 jobs: 0 succeeded, 3 done before",
        "0 images, 0 B in 12.3 s (0 requests, 0 refused, 0 blocks)",
        "in out: images, manifest.jsonl, summary.json",
        "next: venice-batch report out",
    ]


def test_a_run_closes_with_tables_of_its_models():
    assert closing(BUSY, command=COMMAND).split("\n") == [
        "8 jobs: 6 succeeded, 1 failed, 1 rejected",
        "3 images, 4.5 MB in 12.3 s, 1.25 USD (4 requests, 1 refused, 0 blocks)",
        "",
        "model        done  failed  rejected  images    size  retries  refused   usd",
        "venice-sd35     4       1         0       5  4.5 MB        3        2  0.05",
        "flux            2       0         1       2   800 B        0        0     -",
        "in all          6       1         1       7  4.5 MB        3        2  0.05",
        "",
        "seconds      queue p50   p95   p99  server p50   p95   p99  total p50   p95   p99",
        "venice-sd35       0.01  12.3   123        2.00  3.00  4.00       2.25  15.0   130",
        "flux                 -     -     -           -     -     -          -     -     -",
        "in all            0.02  12.0  99.0           -     -     -       1.50  2.50  3.50",
        "",
        "slowest     seconds  queue  server  tries  model",
        "gondola-17      130    120    4.00      3  venice-sd35",
        "b              3.00   0.00       -      1  flux",
        "",
        "1 failed: server: out of order (c)",
        "",
        "in out: images, manifest.jsonl, summary.json",
        "next: venice-batch jobs.jsonl -o out",
    ]


def test_a_single_model_needs_no_sum():
    assert "in all" not in closing(summary(lanes={"venice-sd35": SD}))


def test_a_few_jobs_need_no_list_of_the_slowest():
    assert "slowest" not in closing(summary(succeeded=FEW_JOBS, slowest=(SLOW,), lanes={"venice-sd35": SD}))


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 120])
def test_everything_but_paths_and_commands_fits_the_width(width):
    reason = Reason("rejected", "content_policy", "the prompt violates the policy, " * 6, 7, ("水の都-1", "b", "c"))
    wide = msgspec.structs.replace(SLOW, id="水の都" * 30)
    made = closing(
        msgspec.structs.replace(BUSY, slowest=(SLOW, wide), failures=(reason,)), width=width, command=COMMAND
    )
    lines = made.split("\n")
    assert all(text_width(line) <= width for line in lines if not line.startswith(("in out:", "next:")))
    for figure in ("123", "4.00", "15.0", "gondola-17"):
        assert figure in made


def test_a_narrow_terminal_shows_the_slowest_jobs_without_their_models():
    (header,) = (line for line in closing(BUSY, width=44).split("\n") if line.startswith("slowest"))
    assert header.split() == ["slowest", "seconds", "queue", "server", "tries"]


def test_reasons_name_a_few_ids_and_have_a_limit():
    many = tuple(Reason("failed", "server", f"no {number}", 9, ("a", "b", "c")) for number in range(MAX_REASONS + 3))
    lines = closing(summary(failures=many)).split("\n")
    assert "9 failed: server: no 0 (a, b, c, …)" in lines
    assert sum(line.startswith("9 failed") for line in lines) == MAX_REASONS
    assert "… and others; the manifest has them all" in lines
    endless = closing(summary(failures=(Reason("failed", "server", "x" * 5000, 1, ("a",)),)))
    assert len(max(endless.split("\n"), key=len)) < 400


def test_the_last_lines_say_what_the_run_left_open():
    lines = closing(
        summary(
            jobs=15, succeeded=0, already_done=1, failed=2, rejected=3, already_rejected=4, pending=5,
            possibly_billed=2, reason="stopped by SIGINT", exit_code=130,
        ),
        command=COMMAND,
    ).split("\n")  # fmt: skip
    assert lines[0] == "15 jobs: 0 succeeded, 1 done before, 2 failed, 7 rejected, 5 pending"
    assert lines[2:] == [
        "2 requests may have been charged for an image that never arrived",
        "stopped: SIGINT",
        "in out: images, manifest.jsonl, summary.json",
        "next: venice-batch jobs.jsonl -o out",
    ]


@pytest.mark.parametrize("hostile", ["\x1b[2J\x07", "a\rb", "a\nb", "\u202egnp", "\x9b31m", "\ud800", "\u2028"])
@pytest.mark.parametrize("width", [None, 60])
def test_no_control_character_reaches_the_terminal(hostile, width):
    made = closing(
        msgspec.structs.replace(
            BUSY,
            reason=hostile,
            output=hostile,
            lanes={hostile: SD, "x": FLUX},
            slowest=(msgspec.structs.replace(SLOW, id=hostile, lane=hostile),),
            failures=(Reason("failed", "server", hostile, 1, (hostile,)),),
        ),
        width=width,
        command=("jobs.jsonl", "-o", hostile),
    )
    assert all(line.isprintable() for line in made.split("\n"))


AGAIN = list(COMMAND)
LOOK = ["report", "out"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LOOK),
        ({"exit_code": 1, "rejected": 1}, [*AGAIN, "--retry-rejected"]),
        ({"exit_code": 1, "already_rejected": 1}, [*AGAIN, "--retry-rejected"]),
        ({"exit_code": 1, "rejected": 1, "failed": 1}, AGAIN),
        ({"exit_code": 75, "pending": 3}, AGAIN),
        ({"exit_code": 130, "pending": 3}, AGAIN),
        ({"exit_code": 143, "pending": 3}, AGAIN),
        ({"exit_code": ExitCode.KEY_REFUSED, "pending": 3}, None),
        ({"exit_code": ExitCode.OUT_OF_MONEY, "pending": 3}, None),
        ({"exit_code": ExitCode.FOLDER_UNUSABLE, "pending": 3}, None),
    ],
)
def test_the_next_command_fits_the_outcome(changes, expected):
    assert next_command(summary(**changes), COMMAND) == expected


def test_jobs_rejected_again_are_not_suggested_a_third_time():
    assert next_command(summary(exit_code=1, rejected=1), [*COMMAND, "--retry-rejected"]) == LOOK


@pytest.mark.parametrize("changes", [{}, {"exit_code": 1, "rejected": 1, "already_rejected": 1}])
def test_no_report_is_suggested_after_the_gallery_was_made(changes):
    assert next_command(summary(**changes), [*COMMAND, "--retry-rejected"], has_page=True) is None
    assert "next:" not in closing(summary(), command=COMMAND, has_page=True)


def test_unknown_prices_and_sandbox_money_are_marked():
    lanes = {"venice-sd35": msgspec.structs.replace(SD, unpriced=2), "flux": msgspec.structs.replace(FLUX, unpriced=1)}
    lines = closing(msgspec.structs.replace(BUSY, unpriced=3, sandbox=True, lanes=lanes)).split("\n")
    assert lines[1].startswith("3 images, 4.5 MB in 12.3 s, ≥ 1.25 USD of sandbox money (4 requests")
    assert lines[3].endswith("  sandbox usd")
    assert [line.split()[-2:] for line in lines[4:7]] == [["≥", "0.05"], ["0", "?"], ["≥", "0.05"]]
    assert "s, price not known (4" in closing(msgspec.structs.replace(BUSY, cost_usd=0.0, unpriced=1))


def test_the_models_costs_add_up_to_whole_cents():
    """As floats these add up to 32.859999…."""
    costs = (0.46, 2.3, 13.0, 8.82, 4.9, 0.47, 1.47, 1.44)
    lanes = {f"model-{n}": msgspec.structs.replace(SD, cost_usd=cost) for n, cost in enumerate(costs)}
    (row,) = (line for line in closing(summary(lanes=lanes)).split("\n") if line.startswith("in all") and "MB" in line)
    assert row.split()[-1] == "32.86"


def test_jobs_from_standard_input_cannot_be_run_again():
    assert next_command(summary(exit_code=75, pending=1), ("-", "-o", "out")) is None
    assert next_command(summary(exit_code=1, rejected=1), ("-", "-o", "out")) == LOOK


def test_without_a_command_none_is_suggested():
    assert next_command(summary(exit_code=75, pending=1), ()) is None


def test_the_next_command_can_be_pasted_into_a_shell():
    lines = closing(summary(exit_code=75, pending=1), command=("my jobs.jsonl", "--set", "prompt=a b"), width=40)
    assert lines.endswith("next: venice-batch 'my jobs.jsonl' --set 'prompt=a b'")
