import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from records import outcome

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
    assert "was the command `models` meant?" in capsys.readouterr().err


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
def test_a_summary_that_cannot_be_written_is_told_and_one_that_nobody_takes_is_not(tmp_path, target, code):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 --json {target}"
    script = f"set -o pipefail; {command}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    told = "the summary cannot be printed: No space left on device; it is in output/jobs/summary.json"
    assert (told in done.stderr) == (code == 5)


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "run --help",
        "check jobs.jsonl --sandbox --json",
        "models --sandbox",
        "limits --sandbox --json",
        "schema",
        "expand jobs.jsonl",
        "completion bash",
        "report out --no-gallery",
        "export out --csv -",
        "jobs-from out",
    ],
)
def test_what_cannot_be_printed_is_one_line_and_5(tmp_path, command):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").write_bytes(msgspec.json.encode(outcome("a")) + b"\n")
    script = f"{sys.executable} -m venice_batch {command} > /dev/full"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True)
    told = "venice-batch: what was to be printed cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr.splitlines(keepends=True)[-1]) == (5, told)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variables", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_names_that_the_locale_or_utf8_lack_cost_no_paid_image(tmp_path, variables):
    jobs = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    job = {"id": "東京-été", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
    jobs.write_text(json.dumps(job) + "\n")
    command = [sys.executable, "-m", "venice_batch", jobs.name, "--sandbox", "--sandbox-latency", "0", "--json", "-q"]
    found = []
    for environment in (os.environ | variables, os.environ):
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=environment)
        found.append(json.loads(done.stdout))
    output = os.fsencode(tmp_path) + b"/output/caf\xe9"
    assert [(one["succeeded"], one["already_done"]) for one in found] == [(1, 0), (0, 1)]
    assert os.listdir(output + b"/images") == ["東京-été.webp".encode()]
    assert json.loads(Path(os.fsdecode(output), "summary.json").read_bytes())["exit_code"] == 0
    folder = os.fsdecode(output)
    for arguments in (["report", folder], ["export", folder, "--openai", "o.jsonl"], ["check", jobs.name, "--sandbox"]):
        subprocess.run(
            [sys.executable, "-m", "venice_batch", *arguments],
            cwd=tmp_path,
            check=True,
            env=os.environ | variables,
            capture_output=True,
        )
    url = json.loads((tmp_path / "o.jsonl").read_text())["response"]["body"]["data"][0]["url"]
    assert url.endswith("/output/caf%E9/images/%E6%9D%B1%E4%BA%AC-%C3%A9t%C3%A9.webp")


def test_a_mistake_in_a_file_whose_name_is_no_text_is_one_object(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path(os.fsdecode(b"caf\xe9.jsonl")).write_text("[]\n")
    assert run_cli(["check", os.fsdecode(b"caf\xe9.jsonl"), "--json", "--sandbox"]) == 2
    assert json.loads(capfd.readouterr().out)["problems"]["shown"][0]["source"] == "caf?.jsonl"


def test_a_nul_in_an_argument_or_a_settings_file_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run_cli(["report", "a\0b"]) == 2
    assert (
        capfd.readouterr().err == "venice-batch: an argument holds a NUL character, which no path and no option has\n"
    )
    Path("mine.toml").write_text('[run]\noutput = "a\\u0000b"\n')
    assert run_cli(["run", "jobs.jsonl", "--config", "mine.toml"]) == 2
    assert capfd.readouterr().err == (
        "venice-batch: mine.toml: a value holds a NUL character, which no path and no option has\n"
    )


@pytest.mark.parametrize("address", ["http://bob:pw@127.0.0.1:1/v1", "http://bob:p/w@127.0.0.1:1", "http://pw@h"])
def test_an_address_with_a_password_is_refused_without_showing_it(address, capfd):
    assert run_cli(["run", "jobs.jsonl", "--offline", "--base-url", address]) == 2
    told = capfd.readouterr().err
    assert told.startswith("venice-batch: --base-url: 'http://***@")
    assert "pw" not in told
    assert "p/w" not in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("variable", ["GITHUB_ACTIONS", "TF_BUILD"])
def test_ids_run_no_command_of_a_pipeline(tmp_path, monkeypatch, capfd, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "true")
    ids = ["::stop-commands::x", "a##vso[task.complete]b", "##[group]"]
    Path("jobs.jsonl").write_text(
        "".join(json.dumps({"id": one, "model": "venice-sd35", "prompt": "p"}) + "\n" for one in ids)
    )
    faults = ["--sandbox-fault-rate", "1", "--sandbox-faults", "500", "--max-attempts", "1", "--sandbox-latency", "0"]
    assert run_cli(["jobs.jsonl", "--sandbox", "--no-progress", *faults]) == 1
    told = capfd.readouterr()
    assert "##" not in told.out + told.err
    commands = [line for line in (told.out + told.err).splitlines() if line.lstrip().startswith("::")]
    assert all(line.startswith("::error file=jobs.jsonl,line=") for line in commands)
    assert run_cli(["jobs-from", "output/jobs"]) == 0
    out = capfd.readouterr().out
    assert "##" not in out
    assert sorted(json.loads(line)["id"] for line in out.splitlines()) == sorted(ids)


def test_a_mistyped_command_with_a_file_is_recognised(capsys):
    assert run_cli(["chekc", "jobs.jsonl"]) == 2
    assert "was 'check' meant?" in capsys.readouterr().err


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
        (["jobs.jsonl", "--max-time", "soon"], "--max-time: 'soon' is no duration; give seconds, or 90s, 15m, 2h"),
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
    script = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from venice_batch.cli import main; "
    script += "main.run_cli = lambda: signal.raise_signal(signal.SIGHUP) or 7; main.main()"
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
    script = "import atexit, signal, sys; from venice_batch.cli import main; main.run_cli = lambda: 7; "
    script += "atexit.register(signal.raise_signal, signal.SIGTERM); main.main()"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7
