"""The real command on a pseudo-terminal, whose screen is emulated."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pyte
import pytest
from screens import WrappingScreen

COMMAND = (sys.executable, "-m", "venice_batch")

QUICK = ["--sandbox", "--sandbox-draw", "plain"]
"""A sandbox whose images take no time to draw."""

WINDOWS = [*QUICK, "--sandbox-rpm", "4", "--sandbox-speed", "60", "--sandbox-latency", "2"]
"""Four requests a model in each window of one second."""

FAULTS = ["--sandbox-set", "fault_schedule=3:500,5:503,8:reset-mid"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(count, models=("venice-sd35", "lustify-v7", "chroma"), **fields):
    """Write `count` jobs for each model; the second one of the first model is forbidden."""
    with open("jobs.jsonl", "w", encoding="utf-8") as file:
        for model in models:
            for number in range(count):
                prompt = "forbidden" if (model, number) == (models[0], 1) else f"view {number}"
                line = {
                    "id": f"{model}-{number}",
                    "model": model,
                    "prompt": prompt,
                    "width": 64,
                    "height": 64,
                    **fields,
                }
                file.write(json.dumps(line) + "\n")


class Screen:
    """A command on a terminal of `width` columns; `lines` are those on screen and those scrolled off."""

    def __init__(
        self, *arguments, width=80, height=30, command=COMMAND, environment=(), kind=pyte.HistoryScreen, **how
    ):
        self.emulated = kind(width, height, history=5000)
        self.feed = pyte.ByteStream(self.emulated).feed
        self.received = b""
        settings = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
        usual = {name: value for name, value in os.environ.items() if name not in settings}
        self.process = pexpect.spawn(
            command[0],
            [*command[1:], *arguments],
            dimensions=(height, width),
            env={**usual, "TERM": "xterm-256color", **dict(environment)},
            **how,
        )

    def read(self, until=None):
        """Feed the screen until its text matches `until`, or to the end."""
        while until is None or not re.search(until, self.text):
            try:
                data = self.process.read_nonblocking(65536, timeout=30)
            except pexpect.EOF:
                assert until is None, f"{until!r} was never shown:\n{self.text}"
                return
            self.received += data
            self.feed(data)

    def end(self):
        """Read to the end and return the exit code."""
        self.read()
        return self.process.wait()

    def resize(self, width):
        self.process.setwinsize(self.emulated.lines, width)
        self.emulated.resize(columns=width)

    @property
    def lines(self):
        above = ["".join(row[column].data for column in range(len(row))) for row in self.emulated.history.top]
        return [line.rstrip() for line in (*above, *self.emulated.display)]

    @property
    def text(self):
        return "\n".join(self.lines).rstrip()

    @property
    def frame(self):
        """The lines of the frame that are visible."""
        return [line for line in self.lines if re.search("[━─]{8}|under way|so far", line)]


@pytest.mark.parametrize(("width", "environment"), [(80, {}), (120, {"NO_COLOR": "1"})])
def test_a_run_shows_a_frame_and_leaves_its_tables(width, environment):
    write(6)
    screen = Screen("jobs.jsonl", *WINDOWS, *FAULTS, width=width, environment=environment)
    screen.read("next window in")
    assert sum(re.search("[━─]{8}", line) is not None for line in screen.lines) == (1 if width < 100 else 4)
    assert re.search(r"\n\d+ done · .*\d+ left · \d+ under way · \d+ of 720 images/min", screen.text)
    assert re.search(r"\nlustify-v7 .*\d/6 +\d under way  ", screen.text)
    assert screen.end() == 1
    assert screen.frame == []
    assert [line.partition(":")[0] for line in screen.lines if "rejected: " in line] == [
        "venice-sd35-1",  # as it happened
        "1 rejected",  # among the reasons
    ]
    (header,) = (line for line in screen.lines if line.startswith("model "))
    usd = ["usd"] if width < 100 else ["sandbox", "usd"]
    assert header.split() == ["model", "done", "failed", "rejected", "images", "size", "retries", "429s", *usd]
    (row, *_) = (line for line in screen.lines if line.startswith("in all "))
    assert row.split()[2:6] == ["17", "0", "1", "17"]
    assert "\nin output/jobs; next: venice-batch jobs.jsonl --sandbox" in screen.text
    styles = [style.split(b";") for style in re.findall(rb"\x1b\[([\d;]*)m", screen.received)]
    assert any(code[:1] in (b"3", b"9") for style in styles for code in style) == (not environment)
    # A cursor that was never hidden need not be shown again.
    assert b"\x1b[?25l" not in screen.received


def test_a_resized_terminal_is_filled_at_its_new_width():
    write(10)
    screen = Screen("jobs.jsonl", *WINDOWS, width=44)
    screen.read(r"\nlustify-v7 +\d/10 +\d+  window \d s\n")
    for width in (120, 60):
        screen.resize(width)
        screen.read(rf"(?m)^(?=.*[━─]{{8}}).{{{width - 1}}}$")
    assert screen.end() == 1
    assert screen.frame == []


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_nothing_is_left_of_the_frame_and_the_result_stands_at_the_bottom(width):
    write(6)
    screen = Screen("jobs.jsonl", *WINDOWS, *FAULTS, "--gallery", "--retry-rejected", width=width)
    screen.read(r"window( in)? \d s")
    assert sum("so far" in line for line in screen.lines) == 1
    assert screen.end() == 1
    assert screen.frame == []
    assert sum(line.startswith("model ") for line in screen.lines) == 1
    result, *where = screen.text.split("\n")[-3 if width == 40 else -2 :]
    assert result.startswith("18 jobs: 17 succeeded, 1 rejected")
    assert "".join(where).startswith("in output/jobs")
    assert "".join(where).endswith("; see output/jobs/gallery.html")


@pytest.mark.parametrize("kind", [WrappingScreen, pyte.HistoryScreen])
def test_a_window_that_is_dragged_narrower_during_a_run_shows_no_fragment(kind):
    write(20)
    environment = {} if kind is WrappingScreen else {"XTERM_VERSION": "XTerm(390)"}
    screen = Screen("jobs.jsonl", *WINDOWS, width=120, kind=kind, environment=environment)
    screen.read("next window in")
    for width in (110, 97, 80):
        screen.resize(width)
        # Read the whole frame: its bar, its figures and its last model.
        screen.read(rf"(?ms)^(?=[^\n]*[━─]{{8}})[^\n]{{{width - 1}}}\n.* so far\n.*^chroma [^\n]* under way  \w")
        assert sum("so far" in line for line in screen.lines) == 1
        assert screen.lines[0].startswith("60 jobs for venice-sd35, lustify-v7, chroma → output/jobs")
    assert screen.end() == 1
    assert screen.frame == []
    assert (
        "\n60 jobs: 59 succeeded, 1 rejected; 59 images, 0.59 USD of sandbox money\nin output/jobs; next: "
        in screen.text
    )


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 143)])
def test_a_signal_leaves_a_clean_terminal(name, code):
    write(30)
    screen = Screen("jobs.jsonl", *WINDOWS)
    screen.read("next window in")
    screen.process.kill(getattr(signal, name))
    assert screen.end() == code
    assert [line for line in screen.frame if not line.startswith("stopping: ")] == []
    assert f"\nstopping: {name}; " in screen.text
    assert f"\nstopped: {name}\n" in screen.text
    assert "\nin output/jobs; next: venice-batch jobs.jsonl --sandbox" in screen.text


@pytest.mark.cover_commands
def test_ctrl_c_twice_stops_at_once():
    write(10, models=("chroma",))
    stall = ["--sandbox-set", "fault_schedule=4:stall", "--sandbox-set", "stall_s=600"]
    screen = Screen("jobs.jsonl", *QUICK, "--sandbox-latency", "0", *stall)
    screen.read(r"\b1 left")
    screen.process.sendintr()
    screen.read("stopping: SIGINT; 1 under way may finish, Ctrl-C stops at once")
    screen.process.sendintr()
    assert screen.end() == 130
    assert [line for line in screen.frame if not line.startswith("stopping: ")] == []
    assert "10 jobs: 8 succeeded, 1 rejected, 1 pending" in screen.text
    assert "stopped: SIGINT" in screen.text


CRASH = """
from venice_batch.__main__ import main
from venice_batch.run.workers import Pool

ended, as_it_should = [], Pool._ended

def fail(pool, outcome):
    ended.append(outcome)
    if len(ended) > 5:
        raise RuntimeError("a bug")
    as_it_should(pool, outcome)

Pool._ended = fail
main()
"""


def test_a_crash_leaves_a_clean_terminal():
    write(6, models=("chroma",))
    Path("crash.py").write_text(CRASH)
    screen = Screen("jobs.jsonl", *WINDOWS, command=(sys.executable, "crash.py"), height=200)
    screen.read("next window in")
    assert screen.end() == 1
    assert "RuntimeError: a bug" in screen.text
    assert screen.frame == []


@pytest.mark.cover_commands
def test_a_terminal_that_goes_away_ends_the_display_but_not_the_run():
    write(6)
    screen = Screen("jobs.jsonl", *WINDOWS, ignore_sighup=True)
    screen.read("next window in")
    os.close(screen.process.fileno())
    assert os.waitstatus_to_exitcode(os.waitpid(screen.process.pid, 0)[1]) == 1
    summary = json.loads(Path("output/jobs/summary.json").read_text())
    assert (summary["succeeded"], summary["rejected"], summary["pending"]) == (17, 1, 0)


def test_a_terminal_that_cannot_move_its_cursor_gets_a_log():
    write(2)
    screen = Screen("jobs.jsonl", *QUICK, "--sandbox-latency", "0", environment={"TERM": "dumb", "FORCE_COLOR": "1"})
    assert screen.end() == 1
    assert b"\x1b" not in screen.received
    assert "venice-sd35-1: rejected" in screen.text


def test_json_goes_to_standard_output_and_the_display_to_the_terminal():
    write(6)
    shell = ("sh", "-c", shlex.join([*COMMAND, "jobs.jsonl", *WINDOWS, "--json"]) + " > summary.json")
    screen = Screen(command=shell)
    screen.read("next window in")
    assert screen.end() == 1
    assert screen.frame == []
    assert "\nmodel " in screen.text
    assert json.loads(Path("summary.json").read_text())["succeeded"] == 17
    assert Path("summary.json").read_text().count("\n") == 1


def test_off_a_terminal_there_are_no_control_characters():
    write(4)
    colours = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "1", "TTY_COMPATIBLE": "1"}
    done = subprocess.run(
        [*COMMAND, "jobs.jsonl", *QUICK, *FAULTS, "--sandbox-latency", "0"],
        capture_output=True,
        text=True,
        env={**os.environ, **colours},
        check=False,
    )
    assert done.returncode == 1
    assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())
    assert "venice-sd35-1: rejected" in done.stderr
    assert done.stdout.startswith("model ")
