"""The live display on a pseudo-terminal, and where a log takes its place."""

import fcntl
import io
import os
import struct
import sys
import termios
from types import SimpleNamespace

import anyio
import pyte
import pytest
from fakes import FakeClock
from records import failed, outcome
from screens import WrappingScreen

from venice_batch.cli.display import MAX_LINES, MAX_ROWS, is_live, live_display, reflows, ticking, watching
from venice_batch.cli.json_log import JsonLog
from venice_batch.cli.log import TextLog
from venice_batch.errors import FolderError
from venice_batch.events import JobEnded, Notice, RunStarted, RunState, Sending, Stopping
from venice_batch.pacing.lane import LaneState

STARTED = RunStarted("run-1", "out", 10, 0, ("sd",), pending={"sd": 10})
SENDING = Sending(lambda: RunState((LaneState("sd", 2, 4, 20, 7.0, 0.0, 0),), 4, 0.0, None))


class Terminal:
    """A pseudo-terminal of 24 lines, and what its screen shows."""

    def __init__(self, width=80, kind=pyte.HistoryScreen):
        self.master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.stream = os.fdopen(slave, "w")
        os.set_blocking(self.master, False)
        self.emulated = kind(width, 24, history=1000)
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
    """Draw on the event loop: the fake clock does not wait for threads."""

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


async def test_messages_are_printed_above_the_frame_and_stay(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
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


async def test_a_run_too_short_for_a_frame_still_prints_its_messages(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        observer(STARTED)
        observer(Stopping("enough", 1))
    assert terminal.lines == ["10 jobs for sd → out", "stopping: enough; 1 under way may still finish"]


async def test_a_run_without_events_prints_nothing(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock):
        pass
    assert terminal.lines == [""]


async def test_without_events_the_frame_is_redrawn_once_a_second(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
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


async def test_a_flood_of_failures_prints_the_first_and_counts_the_rest(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        for number in range(MAX_LINES + 50):
            observer(JobEnded(failed(f"job-{number}")))
    assert len(terminal.lines) == MAX_LINES + 1
    assert terminal.lines[-1] == "… and 50 more; the manifest has them all"


async def test_a_long_message_is_folded_and_cut(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        observer(JobEnded(failed("b", message="[red]very[/red] " + "long " * 500)))
    assert terminal.lines[0].startswith("b: failed: server: [red]very[/red] long")
    assert terminal.lines[1].startswith("  long long")
    assert len(terminal.lines) == MAX_ROWS
    assert terminal.lines[-1].endswith(" …")


async def test_a_long_message_that_is_cut_stays_within_the_width(terminal):
    terminal.resize(40)
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        observer(JobEnded(failed("b", message="x" * 500)))
    assert len(terminal.lines) == MAX_ROWS
    assert all(len(line) < 40 for line in terminal.lines)
    assert terminal.lines[-1].endswith(" …")


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b[H", "\r\n\r\n", "\x9b2J", "水の都🎨" * 60, "\ud800"])
async def test_a_hostile_message_moves_nothing(terminal, hostile):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        observer(Notice("before"))
        observer(Notice(hostile))
        observer(SENDING)
        await look(clock)
        assert terminal.lines[0] == "before"
        assert sum("so far" in line for line in terminal.lines) == 1
    assert terminal.lines[0] == "before"
    assert not any("so far" in line for line in terminal.lines)


async def test_other_output_on_standard_error_appears_above_the_frame(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        observer(SENDING)
        await look(clock)
        print("a warning", file=sys.stderr)
        await look(clock)
        assert terminal.lines[0] == "a warning"
    assert sys.stderr is terminal.stream


async def test_an_exception_inside_the_block_comes_out_unchanged(terminal):
    async def fill():
        async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
            observer(SENDING)
            await look(clock)
            raise FolderError("out", "is full")

    with pytest.raises(FolderError, match="is full"):
        await fill()
    assert terminal.lines == [""]


async def test_cancellation_removes_the_frame(terminal):
    with anyio.CancelScope() as scope:
        async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
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


async def test_a_terminal_that_is_gone_raises_nothing_and_gets_no_more_output():
    stream = Gone()
    async with FakeClock() as clock, live_display(stream, clock) as observer:
        observer(STARTED)
        observer(SENDING)
        await look(clock)
        waited = len(clock.waits)
        await look(clock, 60.0)
        assert len(clock.waits) == waited + 1  # drawing has stopped
        observer(JobEnded(outcome()))


async def test_a_closed_stream_counts_as_gone():
    stream = io.StringIO()
    stream.close()
    async with FakeClock() as clock, live_display(stream, clock) as observer:
        observer(STARTED)
        await look(clock)


KINDS = {"wraps": (WrappingScreen, {}), "cuts": (pyte.HistoryScreen, {"XTERM_VERSION": "XTerm(390)"})}
"""How terminals treat long lines when they become narrower, and the variables by which they are known."""

EIGHT = tuple(f"a-model-{number}" for number in range(8))
BUSY = RunStarted("run-1", "out", 80, 0, ("many",), pending=dict.fromkeys(EIGHT, 10), expected_usd=12.0)
LANES = tuple(LaneState(name, 2, 4, 20, 0.0, 3000.0, 0, gate_s=3000.0) for name in EIGHT)
MESSAGES = ["80 jobs for many → out", "careful"]


@pytest.fixture(params=KINDS)
def wide(request, monkeypatch):
    """A terminal of 120 columns of each kind."""
    kind, environment = KINDS[request.param]
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("TMUX", "STY", "XTERM_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = Terminal(120, kind)
    yield made
    made.close()


@pytest.mark.parametrize("widths", [(80,), (80, 60), (100, 44), (119, 110, 101, 95, 80), range(118, 58, -6)])
@pytest.mark.parametrize("pause_s", [0.05, 0.3, 1.3])
async def test_a_window_that_is_dragged_narrower_keeps_its_messages_and_no_fragment(wide, widths, pause_s):
    async with FakeClock() as clock, live_display(wide.stream, clock) as observer:
        observer(BUSY)
        observer(Notice("careful"))
        observer(Sending(lambda: RunState(LANES, 16, 0.0, 1.0)))
        await look(clock)
        assert max(len(line) for line in wide.lines) == 119
        for width in widths:
            assert wide.lines
            wide.resize(width)
            await look(clock, pause_s)
        await look(clock, 1.6)
        assert wide.lines[:3] == [*MESSAGES, ""]
        frame = wide.lines[wide.lines.index("") + 1 :]
        assert all(len(line) < widths[-1] for line in frame)
        assert sum("so far" in line for line in frame) == 1
        assert [line.split()[0] for line in frame[-8:]] == list(EIGHT)
        assert "━" not in "".join(frame[1:])
    assert wide.lines == MESSAGES


async def test_nothing_is_drawn_while_the_window_is_being_dragged(wide):
    async with FakeClock() as clock, live_display(wide.stream, clock) as observer:
        observer(BUSY)
        await look(clock)
        for width in range(119, 90, -1):
            assert wide.lines
            wide.resize(width)
            observer(JobEnded(outcome(lane=EIGHT[0])))
            await look(clock, 0.25)
            with pytest.raises(BlockingIOError):
                os.read(wide.master, 1)
        await look(clock, 0.5)
        assert os.read(wide.master, 65536)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "XTERM_VERSION": "XTerm(390)"}, False),
        ({"TERM": "linux"}, False),
        ({"TERM": "rxvt-unicode-256color"}, False),
        ({"TERM": "screen", "STY": "1.pts"}, False),
        ({"TERM": "screen", "TMUX": "/tmp/tmux-0/default,1,0", "XTERM_VERSION": "XTerm(390)"}, True),
    ],
)
def test_terminals_that_cut_long_lines_are_known_by_the_environment(environment, expected):
    assert reflows(environment) == expected


async def test_a_narrowed_terminal_shows_a_single_frame(terminal):
    async with FakeClock() as clock, live_display(terminal.stream, clock) as observer:
        observer(SENDING)
        await look(clock)
        terminal.resize(40)
        await look(clock, 1.3)
        assert sum("so far" in line for line in terminal.lines) == 1
        assert all(len(line) < 40 for line in terminal.lines)
    assert terminal.lines == [""]


USUAL = {"quiet": False, "no_progress": False, "log_format": "text"}
TERMINAL = SimpleNamespace(isatty=lambda: True)
XTERM = {"TERM": "xterm-256color"}


def test_a_terminal_has_a_live_display():
    assert is_live(USUAL, TERMINAL, XTERM)


@pytest.mark.parametrize("change", [{"quiet": True}, {"no_progress": True}, {"log_format": "json"}])
def test_options_can_turn_the_display_off(change):
    assert not is_live({**USUAL, **change}, TERMINAL, XTERM)


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}])
def test_a_terminal_that_cannot_move_its_cursor_has_no_display(environ):
    assert not is_live(USUAL, TERMINAL, environ)


def test_variables_that_force_colours_do_not_turn_a_file_into_a_terminal():
    forced = {**XTERM, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    closed = io.StringIO()
    closed.close()
    assert not any(is_live(USUAL, stream, forced) for stream in (io.StringIO(), closed, None))


async def test_a_log_looks_once_a_second_whether_a_line_is_due():
    seen = []
    log = SimpleNamespace(tick=lambda: seen.append(clock.now()))
    async with FakeClock() as clock, ticking(log, clock):
        await clock.wait(anyio.Event(), 3.5)
    assert [moment - clock.start_s for moment in seen] == [1, 2, 3]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
async def test_an_exception_passes_the_log_as_it_is(error):
    log = SimpleNamespace(tick=lambda: None)
    with pytest.raises(type(error)) as raised:
        async with FakeClock() as clock, ticking(log, clock):
            raise error
    assert raised.value is error


@pytest.mark.parametrize(("log_format", "kind"), [("text", TextLog), ("json", JsonLog)])
async def test_a_log_is_written_where_there_is_no_display(log_format, kind):
    async with watching({**USUAL, "log_format": log_format}, io.StringIO()) as observer:
        assert isinstance(observer, kind)
