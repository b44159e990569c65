"""The program as a process: what signals do at any time but while a run sends (which is in cli/test_run.py)."""

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from venice_batch.__main__ import main
from venice_batch._version import __version__
from venice_batch.cli import main as cli


@pytest.mark.cover_commands
def test_the_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, "-m", "venice_batch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"venice-batch {__version__}\n"


def wait_for_a_reader(process, pipe):
    """Return once the process has read all of `pipe` and waits for more.

    A signal that comes while Python is on its way into a system call is acted on only after that call.
    """
    stat = Path(f"/proc/{process.pid}/stat")
    ends_s = time.monotonic() + 20
    while time.monotonic() < ends_s:
        (unread,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
        if not unread and (not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("S")):
            return
        time.sleep(0.005)
    raise AssertionError("the command does not read")


@pytest.mark.cover_commands
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_nothing_is_sent_ends_the_command_with_its_code_and_leaves_no_part_of_a_file(tmp_path, number):
    os.mkfifo(tmp_path / "jobs.jsonl")
    command = [sys.executable, "-m", "venice_batch", "expand", "jobs.jsonl", "-o", "expanded.jsonl"]
    with (
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process,
        open(tmp_path / "jobs.jsonl", "w") as jobs,  # opens when the command reads it
    ):
        jobs.write('{"model": "m", "prompt": "p"}\n')
        jobs.flush()
        wait_for_a_reader(process, jobs)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (143, b"")
    assert os.listdir(tmp_path) == ["jobs.jsonl"]


def test_where_signals_cannot_be_held_back_the_program_runs_too(monkeypatch, capsys):
    monkeypatch.delattr(signal, "pthread_sigmask")
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(sys, "argv", ["venice-batch", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"venice-batch {__version__}\n")


@pytest.mark.cover_commands
def test_a_command_started_to_ignore_a_hangup_does():
    script = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from venice_batch.__main__ import main; "
    )
    script += "from venice_batch.cli import main as cli; "
    script += "cli.main = lambda _: signal.raise_signal(signal.SIGHUP) or 7; main()"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


@pytest.mark.cover_commands
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_while_the_command_is_imported_ends_it_without_a_traceback(number, code):
    script = "import signal, sys\n"
    script += "class Finder:\n    def find_spec(self, name, *rest):\n"
    script += f"        if name == 'venice_batch.cli.commands': signal.raise_signal({int(number)})\n"
    script += "sys.meta_path.insert(0, Finder())\n"
    script += "from venice_batch.__main__ import main; sys.argv = ['venice-batch', '--version']; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (code, b"", b"")


@pytest.mark.cover_commands
def test_a_signal_after_the_command_has_ended_does_not_change_its_code():
    script = "import atexit, signal, sys; from venice_batch.__main__ import main; "
    script += "from venice_batch.cli import main as cli; cli.main = lambda _: 7; "
    script += "atexit.register(signal.raise_signal, signal.SIGTERM); main()"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


ENDLESS_BYTES = 1 << 40
"""Of a file without contents: to read it takes an hour."""


def waits_at(process, name):
    """Return once the process has the file of this name open."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{process.pid}/fd").iterdir():
                if os.readlink(link).endswith(name):
                    return
        time.sleep(0.002)  # leaves the processor to it
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
@pytest.mark.parametrize("phase", ["run --verify", "merge"])
def test_the_first_signal_ends_a_command_that_reads_for_an_hour(tmp_path, monkeypatch, phase, number, code):
    monkeypatch.chdir(tmp_path)
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    Path("jobs.jsonl").write_text(job)
    run = ["run", "jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "-q", "-o", "out"]
    assert cli.main(run) == 0
    record = json.loads(Path("out/manifest.jsonl").read_text())
    record["files"][0]["bytes"] = ENDLESS_BYTES
    Path("out/manifest.jsonl").write_text(json.dumps(record) + "\n")
    os.truncate("out/images/a.webp", ENDLESS_BYTES)
    if phase == "merge":  # which looks whether it has the image already
        Path("all/images").mkdir(parents=True)
        Path("all/images/a.webp").touch()
        os.truncate("all/images/a.webp", ENDLESS_BYTES)
    arguments = [*run, "--verify"] if phase != "merge" else ["merge", "out", "-o", "all"]
    command = [sys.executable, "-m", "venice_batch", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            waits_at(process, "a.webp")
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("ends", ["--max-time", signal.SIGTERM])
def test_a_process_whose_disk_never_answers_ends_with_its_grace(tmp_path, ends):
    lines = (f'{{"id": "j{n}", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}}\n' for n in range(9))
    (tmp_path / "jobs.jsonl").write_text("".join(lines))
    script = "import os, threading\nfrom venice_batch.run import sending\n"
    script += "from venice_batch.output.images import JobImages\nsending.DISK_S = 0.1\n"
    script += "def stall(*_):\n    os.write(1, b'stalled\\n')\n    threading.Event().wait()\nJobImages._write = stall\n"
    script += "from venice_batch.__main__ import main\nmain()\n"
    command = [sys.executable, "-c", script, "jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "--grace", "0.1"]
    command += ["--max-time", "3"] if ends == "--max-time" else []
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "stalled\n"
            if ends != "--max-time":
                process.send_signal(ends)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == (75 if ends == "--max-time" else 143)
    assert "the disk does not answer" in err
    assert "Traceback" not in err
