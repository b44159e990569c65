import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from venice_batch._version import __version__
from venice_batch.cli.commands import COMMANDS
from venice_batch.cli.main import run_cli


def test_help_names_every_command(capsys):
    assert run_cli(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert run_cli([command, "--help"]) == 0
    assert "Usage: venice-batch " + command in capsys.readouterr().out


def test_the_version_is_told(capsys):
    assert run_cli(["--version"]) == 0
    assert capsys.readouterr().out == f"venice-batch {__version__}\n"


def test_an_unknown_option_is_one_line_with_the_way_to_help(capsys):
    assert run_cli(["jobs.jsonl", "--concurency", "3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--concurrency" in error
    assert "venice-batch run --help" in error


def test_a_mistyped_command_is_recognised(capsys):
    assert run_cli(["modles"]) == 2
    assert "did you mean the command `models`?" in capsys.readouterr().err


def test_an_option_may_come_before_the_jobs_file(capsys):
    assert run_cli(["-c", "0", "jobs.jsonl"]) == 2
    assert "0 is not in the range" in capsys.readouterr().err


HEAVY = ("aiohttp", "PIL", "anyio", "tenacity", "msgspec", "rich", "venice_batch.sandbox")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_imports_nothing_slow(arguments):
    script = (
        "import sys\n"
        "from venice_batch.cli.main import run_cli\n"
        f"run_cli({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_checking_a_file_imports_neither_the_client_nor_the_sandbox(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"model": "venice-sd35", "prompt": "p"}\n')
    script = (
        "import sys\n"
        "from venice_batch.cli.main import run_cli\n"
        "run_cli(['check', 'jobs.jsonl', '--sandbox'])\n"
        "print([name for name in ('aiohttp', 'PIL', 'tenacity') if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == "[]\n"


def test_the_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, "-m", "venice_batch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"venice-batch {__version__}\n"


@pytest.mark.parametrize(("standard", "code"), [("<&-", 0), ("2>&-", 0), (">&-", 0), ("2>/dev/full", 0)])
def test_closed_standard_streams_stop_nothing(tmp_path, standard, code):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 {standard}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode == code
    assert (tmp_path / "output/jobs/images/a.webp").exists()


@pytest.mark.parametrize(("target", "code"), [(">/dev/full", 5), ("| true", 0)])
@pytest.mark.parametrize("form", ["--json", "--quiet --json", ""])
def test_a_summary_that_cannot_be_written_is_told_but_not_one_that_nobody_takes(tmp_path, target, code, form):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 {form} {target}"
    script = f"set -o pipefail; {command}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    told = "venice-batch: standard output: No space left on device; it stands in output/jobs/summary.json\n"
    assert done.stderr.endswith(told) is bool(code)


OTHERS = [
    "check jobs.jsonl --sandbox", "check jobs.jsonl --sandbox --json", "report out", "report out --json",
    "models --offline", "models --offline --json", "styles --offline", "export out --csv -",
    "expand jobs.jsonl", "schema", "completion bash", "config", "--help", "run --help", "--version",
    "run jobs.jsonl --sandbox --dry-run",
]  # fmt: skip


@pytest.mark.parametrize("words", OTHERS)
def test_a_full_disk_behind_standard_output_is_an_error_of_every_command(tmp_path, monkeypatch, capsys, words):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr("sys.stdout", full)
        code = run_cli(words.split())
        with contextlib.suppress(OSError):
            full.close()
    err = capsys.readouterr().err
    assert (code, err.splitlines()[-1]) == (5, "venice-batch: standard output: No space left on device")


def test_a_mistyped_command_with_a_file_is_recognised(capsys):
    assert run_cli(["chekc", "jobs.jsonl"]) == 2
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_the_bare_command_shows_its_help(capsys):
    assert run_cli([]) == 2
    assert "Usage: venice-batch" in capsys.readouterr().err


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"id": "j", "model": "venice-sd35", "prompt": "p"}\n')
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "venice_batch", "check", "jobs.jsonl", "--sandbox"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["jobs.jsonl", "--max-time", "soon"], "--max-time: 'soon' is not a duration; give seconds, or 90s, 15m, 2h"),
        (["jobs.jsonl", "-c", "0"], "--concurrency: 0 is not in the range 1<=x<=1000"),
        (["config", "nur"], "[COMMAND]: 'nur' is not one of 'run', "),
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish"),
        (["run"], "Missing argument 'JOBS'."),
        (["models", "x", "y"], "Got unexpected extra argument (y)"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_line_that_begins_with_it(arguments, told, capsys):
    assert run_cli(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"venice-batch: {told}")
    assert error.count("\n") == 1
    assert "(see: venice-batch" in error


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
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (143, b"")
    assert os.listdir(tmp_path) == ["jobs.jsonl"]


def test_a_command_started_to_ignore_a_hangup_does():
    script = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from venice_batch import __main__; from venice_batch.cli import main; "
    script += "main.run_cli = lambda _: signal.raise_signal(signal.SIGHUP) or 7; __main__.main()"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_while_the_command_is_imported_ends_it_without_a_traceback(number, code):
    script = "import signal, sys\n"
    script += "class Finder:\n    def find_spec(self, name, *rest):\n"
    script += f"        if name == 'venice_batch.cli.commands': signal.raise_signal({int(number)})\n"
    script += "sys.meta_path.insert(0, Finder())\n"
    script += "from venice_batch.__main__ import main; sys.argv = ['venice-batch', '--version']; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (code, b"", b"")


def test_a_signal_after_the_command_has_ended_does_not_change_its_code():
    script = "import atexit, signal, sys; from venice_batch import __main__; from venice_batch.cli import main; main.run_cli = lambda _: 7; "
    script += "atexit.register(signal.raise_signal, signal.SIGTERM); __main__.main()"
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
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
@pytest.mark.parametrize("phase", ["run --verify", "merge"])
def test_the_first_signal_ends_a_command_that_reads_for_an_hour(tmp_path, monkeypatch, phase, number, code):
    monkeypatch.chdir(tmp_path)
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    Path("jobs.jsonl").write_text(job)
    run = ["run", "jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "-q", "-o", "out"]
    assert run_cli(run) == 0
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
    script += "from venice_batch.output.store import ImageStore\nsending.DISK_S = 0.1\n"
    script += (
        "def stall(*_):\n    os.write(1, b'stalled\\n')\n    threading.Event().wait()\nImageStore.carry_out = stall\n"
    )
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
