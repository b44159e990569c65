"""The frame of the live display."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.frame import MAX_LANES, frame
from venice_batch.cli.text import text_width
from venice_batch.report.progress import LaneMode, LaneProgress, Progress

INF = float("inf")
SD = LaneProgress("venice-sd35", 60, 20, 0, 4, LaneMode.OPEN, INF, 20, 7)
LANES = (
    SD,
    replace(SD, name="qwen-image-2", in_flight=0, mode=LaneMode.WINDOW, until_s=31.2),
    replace(SD, name="flux", in_flight=0, failed=3, mode=LaneMode.GATE, until_s=12.0),
    replace(SD, name="chroma", done=60, in_flight=0, mode=LaneMode.DONE),
)
PROGRESS = Progress(
    jobs=600, done=409, rejected_before=0, failed=3, rejected=2, left=186, images=400,
    bytes=1_200_000_000, in_flight=4, images_a_minute=96.4, quota_a_minute=120.0, retries=5, spent_usd=4.1,
    possibly_billed_usd=0.0, expected_usd=6.0, elapsed_s=250.0, eta_s=130.0, stopping=None, lanes=LANES,
)  # fmt: skip


def drawn(progress=PROGRESS, *, width=119, height=40, **how):
    return [line.plain for line in frame(progress, width=width, height=height, unix_s=0.0, **how)]


def test_a_wide_terminal_shows_everything():
    lines = drawn()
    assert lines[0] == ""
    assert lines[1].endswith("  409/600  69 %  2 min 10 s left")
    assert lines[2] == (
        "409 done · 3 failed · 2 rejected · 186 left · 4 under way · 96 of 120 images/min · 1.2 GB · 4.10 of 6.00 USD"
    )
    assert lines[3] == "5 retries · 4 min 10 s so far"
    assert lines[4] == "venice-sd35   ━━━━────────  20/60    4 under way  open, 7 of 20 left"
    assert lines[5] == "qwen-image-2  ━━━━────────  20/60    0 under way  next window in 32 s"
    assert lines[6].startswith("flux          ━━━━━───────  20/60    0 under way  gate until ")
    assert lines[6].endswith(", 12 s  3 failed")
    assert lines[7] == "chroma        ━━━━━━━━━━━━  60/60    0 under way  done"
    assert len(lines) == 8


def test_a_narrow_terminal_shows_figures_without_words():
    lines = drawn(width=43)
    assert lines[1].endswith("  409/600  69 %  2 min 10 s left")
    assert lines[2:6] == [
        "409 done · 3 failed · 2 rejected · 186 left",
        "4 under way · 96 of 120 images/min · 1.2 GB",
        "4.10 of 6.00 USD · 5 retries",
        "4 min 10 s so far",
    ]
    assert lines[6:] == [
        "venice-sd35   20/60    4  open 7/20",
        "qwen-image-2  20/60    0  window 32 s",
        "flux          20/60    0  gate 12 s  3 fail",
        "chroma        60/60    0  done",
    ]


def test_the_bar_shows_the_share_of_jobs_that_ended():
    (line,) = drawn(replace(PROGRESS, done=300, failed=100, rejected=0, eta_s=None, lanes=()), width=60)[1:2]
    bar, figures = line.split("  ", 1)
    assert figures == "300/600  66 %"
    assert (bar.count("━"), bar.count("─")) == (22 + 7, 45 - 29)


def test_a_single_failure_shows_in_the_bar():
    line = frame(replace(PROGRESS, done=0, failed=1, rejected=0), width=80, height=40, unix_s=0.0)[1]
    assert [str(span.style) for span in line.spans if span.end > span.start and span.start == 0] == ["red"]


def test_without_jobs_left_there_is_no_time_left():
    assert "left" not in drawn(replace(PROGRESS, left=0, eta_s=0.0))[1]
    assert "left" not in drawn(replace(PROGRESS, eta_s=None))[1]


def test_unknown_figures_are_left_out():
    plain = drawn(replace(PROGRESS, quota_a_minute=None, spent_usd=None, expected_usd=None, retries=0, images=0))
    assert plain[2] == "409 done · 3 failed · 2 rejected · 186 left · 4 under way · 96 images/min · 4 min 10 s so far"


def test_without_an_estimate_only_the_spending_is_shown():
    assert "4.10 USD" in drawn(replace(PROGRESS, expected_usd=None))[2]


def test_unknown_prices_and_sandbox_money_are_marked():
    assert "≥ 4.10 of 6.00 USD · " in drawn(replace(PROGRESS, unpriced=1), width=150)[2]
    assert "4.10 of 6.00 USD of sandbox money" in drawn(replace(PROGRESS, sandbox=True), width=150)[2]
    unknown = replace(PROGRESS, unpriced=2, spent_usd=None, expected_usd=None)
    assert "price not known" in drawn(unknown, width=150)[2]


def test_possibly_billed_requests_are_shown_apart_from_the_cost_of_images():
    lost = replace(PROGRESS, spent_usd=6.74, possibly_billed_usd=0.74)
    assert drawn(lost)[2].endswith(" · 1.2 GB")
    assert drawn(lost)[3].startswith("6.00 of 6.00 USD, 0.74 more possibly billed · 5 retries")
    assert "6.00 USD, 0.74 more possibly billed" in drawn(replace(lost, expected_usd=None), width=150)[2]


def test_one_retry_is_singular():
    assert "1 retry · " in drawn(replace(PROGRESS, retries=1), width=150)[2]


def test_a_stop_names_its_reason_and_what_may_still_finish():
    (line,) = (
        line for line in drawn(replace(PROGRESS, stopping="stopped by SIGINT", eta_s=None)) if "stopping" in line
    )
    assert line == "stopping: SIGINT; 4 under way may finish, Ctrl-C stops at once"


@pytest.mark.parametrize(
    ("lane", "wide", "narrow"),
    [
        (replace(SD, mode=LaneMode.WAITING), "waiting for its turn", "waiting"),
        (replace(SD, quota=None, quota_left=None), "open", "open"),
        (replace(SD, mode=LaneMode.HELD, until_s=7.5), "held back up to 8 s after failures", "held ≤ 8 s"),
        (replace(SD, mode=LaneMode.WINDOW, until_s=INF), "closed", "closed"),
        (replace(SD, mode=LaneMode.WINDOW, until_s=4000.0), "next window in 1 h 6 min", "window 1 h 6 min"),
    ],
)
def test_a_lane_says_what_it_is_doing(lane, wide, narrow):
    progress = replace(PROGRESS, lanes=(lane,))
    assert drawn(progress)[-1].endswith("4 under way  " + wide)
    assert drawn(progress, width=50)[-1].endswith("  4  " + narrow)


def test_a_lane_counts_failed_and_rejected_jobs_as_the_run_does():
    lanes = (replace(SD, failed=1, rejected=2), replace(SD, name="flux", done=58, rejected=2))
    lines = drawn(replace(PROGRESS, lanes=lanes))
    assert lines[-2].endswith("open, 7 of 20 left  1 failed  2 rejected")
    assert lines[-1].endswith("open, 7 of 20 left  2 rejected")
    assert [lane.left for lane in lanes] == [37, 0]


def many(count):
    return tuple(
        replace(SD, name=f"model-{number}", in_flight=number % 3, done=60 if number % 2 else 10)
        for number in range(count)
    )


def test_with_many_models_the_busiest_are_shown_in_file_order():
    lines = drawn(replace(PROGRESS, lanes=many(30)))[4:]
    assert len(lines) == MAX_LANES
    names = [line.split()[0] for line in lines[:-1]]
    assert names == ["model-2", "model-4", "model-8", "model-10", "model-14", "model-20", "model-26"]
    assert lines[-1] == "… 23 more: 400 left, 18 under way"


def test_models_that_all_fit_need_no_line_for_the_rest():
    assert len(drawn(replace(PROGRESS, lanes=many(MAX_LANES)))[4:]) == MAX_LANES


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 12, 20])
def test_a_low_terminal_keeps_the_bar(height):
    lines = drawn(replace(PROGRESS, lanes=many(30)), height=height)
    assert len(lines) <= height
    assert any("409/600" in line for line in lines)


def test_a_terminal_without_unicode_gets_ascii_bars():
    lines = drawn(replace(PROGRESS, lanes=(SD, *LANES[1:])), ascii_only=True)
    assert lines[1].startswith("=====")
    assert "x" in lines[1]
    assert "━" not in "".join(lines)


@pytest.mark.parametrize("name", ["\x1b[2J", "[red]x[/red]", "水の都" * 20, "a\nb", "👩‍🎨" * 9])
def test_a_hostile_model_name_cannot_disturb_the_frame(name):
    lines = drawn(replace(PROGRESS, lanes=(replace(SD, name=name), *LANES)), width=60)
    assert all(line.isprintable() for line in lines)
    assert len({text_width(line[: line.index("20/60")]) for line in lines if "20/60" in line}) == 1


@given(
    st.integers(20, 200),
    st.integers(1, 60),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.floats(0, 1e7),
    st.lists(st.text("ab水\x1b", min_size=1, max_size=60), unique=True, max_size=12),
)
def test_no_frame_is_wider_or_higher_than_the_terminal(width, height, done, failed, eta_s, names):
    lanes = tuple(replace(SD, name=name, done=done, jobs=done + failed) for name in names)
    progress = replace(PROGRESS, done=done, failed=failed, jobs=done + failed + 10, eta_s=eta_s, lanes=lanes)
    lines = drawn(progress, width=width, height=height)
    assert len(lines) <= height
    assert all(text_width(line) <= width and line.isprintable() for line in lines)
