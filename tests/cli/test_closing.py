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


def last_two(text):
    """Return the two lines that every run ends with: its result, and where it is and what next."""
    return text.split("\n")[-2:]


def test_a_run_with_nothing_to_do_closes_in_two_lines():
    lines = closing(summary(succeeded=0, already_done=3, images=0, bytes=0, attempts=0, refused=0), command=COMMAND)
    assert lines.split("\n") == [
        "3 jobs: 0 succeeded, 3 done before",
        "in out: images, manifest.jsonl, summary.json; next: venice-batch report out",
    ]


RESULT = [
    "1 failed: server: out of order (c)",
    "",
    "4.5 MB in 12.3 s, 4 requests, 1 answered with 429",
    "8 jobs: 6 succeeded, 1 failed, 1 rejected; 3 images, 1.25 USD",
    "in out: images, manifest.jsonl, summary.json; next: venice-batch jobs.jsonl -o out",
]


def test_a_run_closes_with_one_table_and_then_its_result():
    assert closing(BUSY, command=COMMAND).split("\n") == [
        "model        done  failed  rejected  images    size  retries  429s   usd",
        "venice-sd35     4       1         0       5  4.5 MB        3     2  0.05",
        "flux            2       0         1       2   800 B        0     0     -",
        "in all          6       1         1       7  4.5 MB        3     2  0.05",
        "",
        *RESULT,
    ]


def test_verbose_adds_the_times_and_the_slowest_jobs():
    assert closing(BUSY, command=COMMAND, verbose=True).split("\n")[5:] == [
        "seconds      n  queue p50   p95   p99  server p50   p95   p99  total p50   p95   p99",
        "venice-sd35  4       0.01  12.3   123        2.00  3.00  4.00       2.25  15.0   130",
        "flux         2          -     -     -           -     -     -          -     -     -",
        "in all       6       0.02  12.0  99.0           -     -     -       1.50  2.50  3.50",
        "",
        "slowest     seconds  queue  server  tries  model",
        "gondola-17      130    120    4.00      3  venice-sd35",
        "b              3.00   0.00       -      1  flux",
        "",
        *RESULT,
    ]


TWELVE = {
    f"{name}-model-{number}": msgspec.structs.replace(SD, rejected=number % 2)
    for number, name in enumerate(["an-image", "a-turbo", "x"] * 4)
}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_twelve_models_have_one_table_on_a_screen_and_the_result_below_it(width):
    made = closing(summary(lanes=TWELVE, already_done=9, jobs=12, sandbox=True), width=width, command=COMMAND)
    lines = made.split("\n")
    assert all(text_width(line) <= width for line in lines[:-1])
    assert sum(line.startswith("model ") for line in lines) == 1
    assert len(lines) <= 20
    assert last_two(made)[0].startswith("12 jobs: 3 succeeded, 9 done before")
    assert last_two(made)[1].startswith("in out")
    assert [line.split()[0] for line in lines[1:13]] == list(TWELVE) or width == 40


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (120, "model done failed rejected images size retries 429s usd"),
        (70, "model done failed rejected images size retries usd"),
        (50, "model done failed rejected images usd"),
        (42, "model done failed rejected usd"),
    ],
)
def test_a_narrow_table_leaves_out_columns_without_news_first(width, header):
    lanes = {"venice-sd35": msgspec.structs.replace(SD, refused=0), "flux": msgspec.structs.replace(FLUX, refused=0)}
    assert closing(summary(lanes=lanes), width=width).split("\n")[0].split() == header.split()


def test_a_very_narrow_table_cuts_the_names_of_models():
    lines = closing(summary(lanes={"a-model-with-a-long-name": SD, "b": FLUX}), width=36).split("\n")
    assert lines[:2] == ["model     done  failed  rejected   usd", "a-model…     4       1         0  0.05"]


def test_what_does_not_fit_the_result_stands_above_it():
    long = summary(
        jobs=1240, succeeded=200, already_done=1012, failed=3, rejected=20, pending=5, images=400, cost_usd=2.4
    )
    complete = "1240 jobs: 200 succeeded, 1012 done before, 3 failed, 20 rejected, 5 pending"
    assert closing(long).split("\n")[-2] == f"{complete}; 400 images, 2.40 USD"
    assert closing(long, width=90).split("\n")[-3:-1] == ["400 images", f"{complete}; 2.40 USD"]
    assert closing(long, width=80).split("\n")[-3:-1] == ["400 images, 2.40 USD", complete]
    assert closing(long, width=45).split("\n")[-2] == "1212 of 1240 jobs done, 28 not; 2.40 USD"
    assert closing(long, width=35).split("\n")[-2] == "1212 of 1240 jobs done, 28 not"
    assert closing(long, width=20).split("\n")[-2] == "1212 of 1240 jobs d…"
    for width in (45, 35, 20):
        assert f"{complete}; 400 images" in " ".join(closing(long, width=width).replace("\n ", "").split())


@pytest.mark.parametrize(
    ("blurred", "violations", "told"),
    [(3, 1, "3 blurred, 1 content violation"), (1, 0, "1 blurred"), (0, 2, "2 content violations")],
)
def test_images_that_the_api_has_flagged_are_mentioned(blurred, violations, told):
    made = closing(summary(blurred=blurred, content_violations=violations))
    assert f"flagged by the API: {told}" in made.split("\n")
    assert "flagged" not in closing(summary())


def test_blocks_are_mentioned_if_there_were_any():
    assert "4 requests, 1 answered with 429, 2 blocks after too many errors" in closing(summary(blocks=2))
    assert "4 requests\n" in closing(summary(refused=0))


def test_a_single_model_needs_no_sum():
    assert "in all" not in closing(summary(lanes={"venice-sd35": SD}))


def test_a_few_jobs_need_no_list_of_the_slowest():
    few = summary(succeeded=FEW_JOBS, slowest=(SLOW,), lanes={"venice-sd35": SD})
    assert "slowest" not in closing(few, verbose=True)


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 120])
def test_everything_but_paths_and_commands_fits_the_width(width):
    reason = Reason("rejected", "content_policy", "the prompt violates the policy, " * 6, 7, ("水の都-1", "b", "c"))
    wide = msgspec.structs.replace(SLOW, id="水の都" * 30)
    made = closing(
        msgspec.structs.replace(BUSY, slowest=(SLOW, wide), failures=(reason,)),
        width=width,
        command=COMMAND,
        verbose=True,
    )
    lines = made.split("\n")
    assert all(text_width(line) <= width for line in lines if not line.startswith("in out"))
    for figure in ("4.00", "15.0", "gondola-17"):
        assert figure in made


def test_a_narrow_terminal_shows_the_slowest_jobs_without_their_models():
    (header,) = (line for line in closing(BUSY, width=44, verbose=True).split("\n") if line.startswith("slowest"))
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
    assert lines == [
        "2 requests may have been charged for an image that never arrived",
        "4.5 MB in 12.3 s, 4 requests, 1 answered with 429",
        "stopped: SIGINT",
        "15 jobs: 0 succeeded, 1 done before, 2 failed, 7 rejected, 5 pending; 3 images",
        "in out: images, manifest.jsonl, summary.json; next: venice-batch jobs.jsonl -o out",
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
        verbose=True,
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
        ({"exit_code": 1, "succeeded": 1}, LOOK),  # by --fail-on
        ({"exit_code": 1, "rejected": 1, "failed": 1}, AGAIN),
        ({"exit_code": 75, "pending": 3}, AGAIN),
        ({"exit_code": 130, "pending": 3}, AGAIN),
        ({"exit_code": 143, "pending": 3}, AGAIN),
        ({"exit_code": 130}, LOOK),  # everything under way finished
        ({"exit_code": 130, "failed": 1}, AGAIN),
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
    made = closing(summary(), command=COMMAND, has_page=True)
    assert "next:" not in made
    assert made.endswith("; see out/gallery.html")


def test_unknown_prices_and_sandbox_money_are_marked():
    lanes = {"venice-sd35": msgspec.structs.replace(SD, unpriced=2), "flux": msgspec.structs.replace(FLUX, unpriced=1)}
    lines = closing(msgspec.structs.replace(BUSY, unpriced=3, sandbox=True, lanes=lanes)).split("\n")
    assert lines[-2].endswith("; 3 images, ≥ 1.25 USD of sandbox money")
    assert lines[0].endswith("  sandbox usd")
    assert [line.split()[-2:] for line in lines[1:4]] == [["≥", "0.05"], ["0", "?"], ["≥", "0.05"]]
    assert "images, price not known\n" in closing(msgspec.structs.replace(BUSY, cost_usd=0.0, unpriced=1))


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


def test_jobs_that_wait_for_others_are_listed_with_the_reason():
    waiting = (Reason("pending", "failed", "waiting for cat, which failed", 5, ("x4", "cut", "hat")),)
    text = closing(summary(exit_code=1, failed=1, pending=5, waiting=waiting))
    assert "5 pending: waiting for cat, which failed (x4, cut, hat, …)" in text.split("\n")


def test_running_again_is_no_advice_for_jobs_behind_a_rejected_one():
    waiting = (Reason("pending", "rejected", "waiting for cat, which was rejected", 2, ("x4", "cut")),)
    ended = summary(exit_code=1, already_rejected=1, pending=2, waiting=waiting)
    assert next_command(ended, ["run", "jobs.jsonl"]) == ["run", "jobs.jsonl", "--retry-rejected"]
    assert next_command(msgspec.structs.replace(ended, pending=3), ["run", "jobs.jsonl"]) == ["run", "jobs.jsonl"]
