import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from venice_batch._version import __version__
from venice_batch.cli.commands import COMMANDS
from venice_batch.cli.main import main


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "Usage: venice-batch " + command in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"venice-batch {__version__}\n"


def test_an_unknown_option_is_one_line_with_the_way_to_help(capsys):
    assert main(["jobs.jsonl", "--concurency", "3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--concurrency" in error
    assert "venice-batch run --help" in error


def test_a_mistyped_command_is_recognised(capsys):
    assert main(["modles"]) == 2
    assert "did you mean the command `models`?" in capsys.readouterr().err


def test_an_option_may_come_before_the_jobs_file(capsys):
    assert main(["-c", "0", "jobs.jsonl"]) == 2
    assert "0 is not a whole number from 1 to 1000" in capsys.readouterr().err


HEAVY = ("aiohttp", "PIL", "anyio", "tenacity", "msgspec", "rich", "venice_batch.sandbox")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_imports_nothing_slow(arguments):
    script = (
        "import sys\n"
        "from venice_batch.cli.main import main\n"
        f"main({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_checking_a_file_imports_neither_the_client_nor_the_sandbox(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"model": "venice-sd35", "prompt": "p"}\n')
    script = (
        "import sys\n"
        "from venice_batch.cli.main import main\n"
        "main(['check', 'jobs.jsonl', '--sandbox'])\n"
        "print([name for name in ('aiohttp', 'PIL', 'tenacity') if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(("standard", "code"), [("<&-", 0), ("2>&-", 0), (">&-", 0), ("2>/dev/full", 0)])
def test_closed_standard_streams_stop_nothing(tmp_path, standard, code):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 {standard}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode == code
    assert (tmp_path / "output/jobs/images/a.webp").exists()


READER_GONE = pytest.param("| true", 0, marks=pytest.mark.cover_commands)


@pytest.mark.parametrize(("target", "code"), [(">/dev/full", 5), READER_GONE])
@pytest.mark.parametrize("form", ["--json", "--quiet --json", ""])
def test_a_summary_that_cannot_be_written_is_reported_but_not_a_closed_pipe(tmp_path, target, code, form):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 {form} {target}"
    script = f"set -o pipefail; {command}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    reported = "venice-batch: standard output: No space left on device; the summary is in output/jobs/summary.json\n"
    assert done.stderr.endswith(reported) is bool(code)


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
        code = main(words.split())
        with contextlib.suppress(OSError):
            full.close()
    err = capsys.readouterr().err
    assert (code, err.splitlines()[-1]) == (5, "venice-batch: standard output: No space left on device")


def test_a_mistyped_command_with_a_file_is_recognised(capsys):
    assert main(["chekc", "jobs.jsonl"]) == 2
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_the_bare_command_shows_its_help(capsys):
    assert main([]) == 2
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
    ("arguments", "reported"),
    [
        (["jobs.jsonl", "--max-time", "soon"], "--max-time: 'soon' is not a duration; give seconds, or 90s, 15m, 2h"),
        (["jobs.jsonl", "-c", "0"], "--concurrency: 0 is not a whole number from 1 to 1000"),
        (["config", "nur"], "[COMMAND]: 'nur' is not one of 'run', "),
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish"),
        (["run"], "Missing argument 'JOBS'."),
        (["models", "x", "y"], "Got unexpected extra argument (y)"),
    ],
)
def test_a_usage_error_is_one_line_that_begins_with_the_option_or_argument(arguments, reported, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"venice-batch: {reported}")
    assert error.count("\n") == 1
    assert "(see: venice-batch" in error


def test_an_argument_with_a_nul_character_is_refused(capsys):
    assert main(["check", "a\0b"]) == 2
    assert capsys.readouterr().err == (
        "venice-batch: an argument holds a NUL character, which no path or option can have\n"
    )


def test_a_name_that_the_locale_cannot_write_is_one_line_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def encode(*_):
        raise UnicodeEncodeError("ascii", "m\xe4rz", 1, 2, "ordinal not in range(128)")

    monkeypatch.setattr("venice_batch.cli.destinations.opened", encode)
    assert main(["schema"]) == 2
    error = capsys.readouterr().err
    assert error == "venice-batch: 'm\xe4rz' cannot be a file name under this locale (ascii); set LC_ALL=C.UTF-8\n"


def test_help_after_an_option_ends_with_0(capsys):
    assert main(["run", "--quiet", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: venice-batch run")
