"""The live display, on a terminal of its own."""

import fcntl
import io
import os
import struct
import sys
import termios
from dataclasses import replace
from types import SimpleNamespace

import anyio
import pyte
import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from records import failed, outcome

from venice_batch.cli.display import MOST_LANES, MOST_LINES, MOST_ROWS, frame, is_live, shown, watching
from venice_batch.cli.log import JsonLog, TextLog
from venice_batch.cli.text import text_width
from venice_batch.errors import FolderError
from venice_batch.events import JobEnded, Notice, RunStarted, RunState, Sending, Stopping
from venice_batch.pacing.lane import LaneState
from venice_batch.report.progress import LaneMode, LaneProgress, Progress

STARTED = RunStarted("run-1", "out", 10, 0, ("sd",), pending={"sd": 10})
SENDING = Sending(lambda: RunState((LaneState("sd", 2, 4, 20, 7.0, 0.0, 0),), 4, 0.0, None))


class Terminal:
    """A pseudo-terminal of 24 lines, and what its screen shows."""

    def __init__(self, width=80):
        self.master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.stream = os.fdopen(slave, "w")
        os.set_blocking(self.master, False)
        self.emulated = pyte.HistoryScreen(width, 24, history=1000)
        self.emulated.set_mode(pyte.modes.LNM)
        self.feed = pyte.ByteStream(self.emulated).feed
        self.resize(width)

    def resize(self, width):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.emulated.resize(columns=width)

    @property
    def lines(self):
        while True:
            try:
                self.feed(os.read(self.master, 65536))
            except BlockingIOError:
                break
        above = ["".join(row[column].data for column in range(len(row))) for row in self.emulated.history.top]
        return "\n".join(line.rstrip() for line in (*above, *self.emulated.display)).rstrip().split("\n")

    def close(self):
        self.stream.close()
        os.close(self.master)


@pytest.fixture(autouse=True)
def _draws_at_once(monkeypatch):
    """The fake clock knows nothing of threads."""

    async def at_once(function, *arguments):
        return function(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", at_once)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Terminal()
    yield made
    made.close()


async def look(clock, seconds=0.3):
    """Let the display draw."""
    await clock.wait(anyio.Event(), seconds)


async def test_what_is_told_stands_above_the_display_and_stays(terminal):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(STARTED)
        observer(SENDING)
        await look(clock)
        assert terminal.lines[0] == "10 jobs for sd → out"
        assert terminal.lines[1] == ""
        assert "0/10  0 %" in terminal.lines[2]
        assert terminal.lines[4] == "sd  0/10    2 under way  open, 7 of 20 left"
        observer(JobEnded(outcome(lane="sd")))
        observer(JobEnded(failed("b", lane="sd")))
        observer(Notice("careful"))
        await look(clock)
        assert terminal.lines[1:3] == ["b: failed: server: out of order", "careful"]
        assert "1/10  20 %" in terminal.lines[4]
        assert terminal.lines[-1] == "sd  1/10    2 under way  open, 7 of 20 left  1 failed"
    assert terminal.lines == ["10 jobs for sd → out", "b: failed: server: out of order", "careful"]


async def test_a_run_too_short_to_be_drawn_is_told_all_the_same(terminal):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(STARTED)
        observer(Stopping("enough", 1))
    assert terminal.lines == ["10 jobs for sd → out", "stopping: enough; 1 under way may still finish"]


async def test_without_events_only_countdowns_are_drawn(terminal):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(SENDING)
        await look(clock)
        assert terminal.lines
        os.set_blocking(terminal.master, False)
        drawn = 0
        for _ in range(40):
            await look(clock, 0.25)
            try:
                drawn += bool(os.read(terminal.master, 65536))
            except BlockingIOError:
                continue
    assert 8 <= drawn <= 12


async def test_of_a_flood_of_failures_the_first_are_told_and_the_rest_counted(terminal):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        for number in range(MOST_LINES + 50):
            observer(JobEnded(failed(f"job-{number}")))
    assert len(terminal.lines) == MOST_LINES + 1
    assert terminal.lines[-1] == "… and 50 more; the manifest has them all"


async def test_a_long_message_is_folded_and_cut(terminal):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(JobEnded(failed("b", message="[red]very[/red] " + "long " * 500)))
    assert terminal.lines[0].startswith("b: failed: server: [red]very[/red] long")
    assert terminal.lines[1].startswith("  long long")
    assert len(terminal.lines) == MOST_ROWS
    assert terminal.lines[-1].endswith(" …")


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b[H", "\r\n\r\n", "\x9b2J", "水の都🎨" * 60, "\ud800"])
async def test_a_hostile_message_moves_nothing(terminal, hostile):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(Notice("before"))
        observer(Notice(hostile))
        observer(SENDING)
        await look(clock)
        assert terminal.lines[0] == "before"
        assert sum("so far" in line for line in terminal.lines) == 1
    assert terminal.lines[0] == "before"
    assert not any("so far" in line for line in terminal.lines)


async def test_what_others_write_to_standard_error_stands_above_too(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(SENDING)
        await look(clock)
        print("a warning", file=sys.stderr)
        await look(clock)
        assert terminal.lines[0] == "a warning"
    assert sys.stderr is terminal.stream


async def test_a_mistake_inside_the_block_comes_out_as_it_is(terminal):
    async def fill():
        async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
            observer(SENDING)
            await look(clock)
            raise FolderError("out", "is full")

    with pytest.raises(FolderError, match="is full"):
        await fill()
    assert terminal.lines == [""]


async def test_cancelling_takes_the_display_away(terminal):
    with anyio.CancelScope() as scope:
        async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
            observer(SENDING)
            await look(clock)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert terminal.lines == [""]


class Gone(io.StringIO):
    def write(self, text):
        raise OSError(5, "Input/output error")

    def fileno(self):
        raise OSError(9, "Bad file descriptor")


async def test_a_terminal_that_is_gone_raises_nothing_and_is_left_alone():
    stream = Gone()
    async with FakeClock() as clock, shown(stream, clock) as observer:
        observer(STARTED)
        observer(SENDING)
        await look(clock)
        waited = len(clock.waits)
        await look(clock, 60.0)
        assert len(clock.waits) == waited + 1  # nobody draws any more
        observer(JobEnded(outcome()))


async def test_a_closed_stream_is_as_good_as_gone():
    stream = io.StringIO()
    stream.close()
    async with FakeClock() as clock, shown(stream, clock) as observer:
        observer(STARTED)
        await look(clock)


async def test_a_terminal_made_narrower_shows_one_frame(terminal):
    async with FakeClock() as clock, shown(terminal.stream, clock) as observer:
        observer(SENDING)
        await look(clock)
        terminal.resize(40)
        await look(clock, 1.3)
        assert sum("so far" in line for line in terminal.lines) == 1
        assert all(len(line) < 40 for line in terminal.lines)
    assert terminal.lines == [""]


INF = float("inf")
SD = LaneProgress("venice-sd35", 60, 20, 0, 4, 16, LaneMode.OPEN, INF, 20, 7)
LANES = (
    SD,
    replace(SD, name="qwen-image-2", in_flight=0, mode=LaneMode.WINDOW, until_s=31.2),
    replace(SD, name="flux", in_flight=0, failed=3, mode=LaneMode.GATE, until_s=12.0),
    replace(SD, name="chroma", done=60, in_flight=0, mode=LaneMode.DONE),
)
PROGRESS = Progress(
    output="out", jobs=600, done=409, done_before=9, refused_before=0, failed=3, rejected=2, left=186, images=400,
    bytes=1_200_000_000, in_flight=4, images_a_minute=96.4, quota_a_minute=120.0, retries=5, refused=1, spent_usd=4.1,
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


def test_a_narrow_terminal_shows_the_figures_without_the_words():
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


def test_the_bar_is_as_long_as_what_is_settled():
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


def test_what_is_not_known_is_not_shown():
    plain = drawn(replace(PROGRESS, quota_a_minute=None, spent_usd=None, expected_usd=None, retries=0, images=0))
    assert plain[2] == "409 done · 3 failed · 2 rejected · 186 left · 4 under way · 96 images/min · 4 min 10 s so far"


def test_money_without_an_estimate_is_what_is_spent():
    assert "4.10 USD" in drawn(replace(PROGRESS, expected_usd=None))[2]


def test_what_is_not_known_of_the_cost_and_what_is_no_real_money_is_told():
    assert "≥ 4.10 of 6.00 USD · " in drawn(replace(PROGRESS, unpriced=1), width=150)[2]
    assert "4.10 of 6.00 USD of sandbox money" in drawn(replace(PROGRESS, sandbox=True), width=150)[2]
    unknown = replace(PROGRESS, unpriced=2, spent_usd=None, expected_usd=None)
    assert "price not known" in drawn(unknown, width=150)[2]


def test_what_may_have_been_charged_without_an_image_is_told_apart_from_what_the_images_cost():
    lost = replace(PROGRESS, spent_usd=6.74, possibly_billed_usd=0.74)
    assert drawn(lost)[2].endswith(" · 1.2 GB")
    assert drawn(lost)[3].startswith("6.00 of 6.00 USD, 0.74 more possibly billed · 5 retries")
    assert "6.00 USD, 0.74 more possibly billed" in drawn(replace(lost, expected_usd=None), width=150)[2]


def test_one_is_no_plural():
    assert "1 retry · " in drawn(replace(PROGRESS, retries=1), width=150)[2]


def test_a_stop_says_what_may_still_be_done():
    (line,) = (
        line for line in drawn(replace(PROGRESS, stopping="stopped by SIGINT", eta_s=None)) if "stopping" in line
    )
    assert line == "stopping: SIGINT; 4 under way may finish, Ctrl-C stops at once"


@pytest.mark.parametrize(
    ("lane", "wide", "narrow"),
    [
        (replace(SD, mode=LaneMode.WAITING), "waiting for its turn", "waiting"),
        (replace(SD, quota=None, quota_left=None), "open", "open"),
        (replace(SD, mode=LaneMode.HELD, until_s=7.5), "held back 8 s after failures", "held 8 s"),
        (replace(SD, mode=LaneMode.WINDOW, until_s=INF), "shut", "shut"),
        (replace(SD, mode=LaneMode.WINDOW, until_s=4000.0), "next window in 1 h 6 min", "window 1 h 6 min"),
    ],
)
def test_a_lane_says_what_it_is_doing(lane, wide, narrow):
    progress = replace(PROGRESS, lanes=(lane,))
    assert drawn(progress)[-1].endswith("4 under way  " + wide)
    assert drawn(progress, width=50)[-1].endswith("  4  " + narrow)


def many(count):
    return tuple(
        replace(SD, name=f"model-{number}", in_flight=number % 3, done=60 if number % 2 else 10)
        for number in range(count)
    )


def test_of_many_models_the_busiest_are_shown_in_the_files_order():
    lines = drawn(replace(PROGRESS, lanes=many(30)))[4:]
    assert len(lines) == MOST_LANES
    names = [line.split()[0] for line in lines[:-1]]
    assert names == ["model-2", "model-4", "model-8", "model-10", "model-14", "model-20", "model-26"]
    assert lines[-1] == "… 23 more: 400 left, 18 under way"


def test_as_many_as_fit_are_shown_without_a_line_for_the_rest():
    assert len(drawn(replace(PROGRESS, lanes=many(MOST_LANES)))[4:]) == MOST_LANES


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 12, 20])
def test_a_low_terminal_keeps_the_bar(height):
    lines = drawn(replace(PROGRESS, lanes=many(30)), height=height)
    assert len(lines) <= height
    assert any("409/600" in line for line in lines)


def test_a_terminal_without_these_characters_gets_plain_ones():
    lines = drawn(replace(PROGRESS, lanes=(SD, *LANES[1:])), ascii_only=True)
    assert lines[1].startswith("=====")
    assert "x" in lines[1]
    assert "━" not in "".join(lines)


@pytest.mark.parametrize("name", ["\x1b[2J", "[red]x[/red]", "水の都" * 20, "a\nb", "👩‍🎨" * 9])
def test_a_models_name_can_do_nothing_to_the_display(name):
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
def test_no_line_is_ever_wider_and_no_frame_higher_than_the_terminal(width, height, done, failed, eta_s, names):
    lanes = tuple(replace(SD, name=name, done=done, jobs=done + failed) for name in names)
    progress = replace(PROGRESS, done=done, failed=failed, jobs=done + failed + 10, eta_s=eta_s, lanes=lanes)
    lines = drawn(progress, width=width, height=height)
    assert len(lines) <= height
    assert all(text_width(line) <= width and line.isprintable() for line in lines)


USUAL = {"quiet": False, "no_progress": False, "log_format": "text"}
TERMINAL = SimpleNamespace(isatty=lambda: True)
XTERM = {"TERM": "xterm-256color"}


def test_a_terminal_has_a_live_display():
    assert is_live(USUAL, TERMINAL, XTERM)


@pytest.mark.parametrize("change", [{"quiet": True}, {"no_progress": True}, {"log_format": "json"}])
def test_an_option_can_ask_for_none(change):
    assert not is_live({**USUAL, **change}, TERMINAL, XTERM)


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}])
def test_a_terminal_that_cannot_move_its_cursor_has_none(environ):
    assert not is_live(USUAL, TERMINAL, environ)


def test_a_file_is_no_terminal_whatever_is_said_of_colours():
    forced = {**XTERM, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    closed = io.StringIO()
    closed.close()
    assert not any(is_live(USUAL, stream, forced) for stream in (io.StringIO(), closed, None))


@pytest.mark.parametrize(("log_format", "kind"), [("text", TextLog), ("json", JsonLog)])
async def test_elsewhere_a_log_is_written(log_format, kind):
    async with watching({**USUAL, "log_format": log_format}, io.StringIO()) as observer:
        assert isinstance(observer, kind)
