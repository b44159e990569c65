"""Everything that a command says is a valid line of the JSON log, and nothing else is on either stream."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from command import run
from jsonschema import Draft202012Validator

from venice_batch import cli
from venice_batch.cli.main import main
from venice_batch.cli.messages import Messages, asked_format
from venice_batch.errors import ExitCode
from venice_batch.report import log_lines

FAST = ("--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain")
JSON = ("--log-format", "json")
TOOL = [sys.executable, "-m", "venice_batch"]
SCHEMA = log_lines.schema()
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def job(job_id, **fields):
    return {"id": job_id, "model": "venice-sd35", "prompt": f"p {job_id}", "width": 64, "height": 64, **fields}


def write(*lines, name="jobs.jsonl"):
    with open(name, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def read(text):
    """Return the lines of a log, all of them valid and without a field that the schema does not have."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        VALIDATOR.validate(line)
        (kind,) = (
            one for one in SCHEMA["$defs"].values() if one["properties"].get("event") == {"enum": [line["event"]]}
        )
        assert list(line) == list(kind["properties"])
    return lines


def logged(*args, code, **more):
    """Return the lines of a command that prints nothing else; all of them have the same run id."""
    done = run(*args, **more)
    assert (done.code, done.out) == (code, "")
    lines = read(done.err)
    assert len({line["run_id"] for line in lines}) == 1
    return lines


def events(lines):
    return [line["event"] for line in lines]


def test_a_good_run_is_valid():
    write(job("a"), job("b"))
    lines = logged("jobs.jsonl", *FAST, *JSON, code=0)
    assert events(lines) == ["run_started", "job_ended", "job_ended", "run_ended"]
    with open("output/jobs/manifest.jsonl") as manifest:
        assert {line["run_id"] for line in lines} == {json.loads(record)["run_id"] for record in manifest}
    assert (lines[-1]["cost_usd"], lines[-1]["sandbox"]) == (0.02, True)


def test_a_failing_run_with_everything_after_it_is_valid():
    write(job("a"), job("b", prompt="forbidden"), job("c", steps=25, stepz=1))
    steps = ("--gallery", "--metrics-file", "nowhere/x.prom", "--on-finish", "echo out; echo err >&2; exit 3")
    lines = logged("jobs.jsonl", *FAST, *JSON, *steps, "--allow-unknown", code=1)
    assert set(events(lines)) == {
        "job_warning", "run_started", "job_ended", "attempt_failed", "run_ended", "gallery_written", "hook_output",
        "step_failed",
    }  # fmt: skip
    printed = {line["log.iostream"]: (line["text"], line["level"]) for line in lines if line["event"] == "hook_output"}
    assert printed == {"stdout": ("out", "info"), "stderr": ("err", "warning")}
    assert [line["step"] for line in lines if line["event"] == "step_failed"] == ["--metrics-file", "--on-finish"]
    (failed,) = (line for line in lines if line["event"] == "attempt_failed" and line["id"] == "b")
    assert (failed["http.response.status_code"], failed["error.type"]) == (422, "content_policy")
    assert failed["ray"].endswith("-FRA")


def test_retries_and_refusals_are_valid():
    write(*(job(f"j{number}") for number in range(6)))
    faults = ("--sandbox-set", "fault_schedule=1:500,2:429,3:503", "-c", "1")
    lines = logged("jobs.jsonl", *FAST, *JSON, *faults, code=0)
    failed = [line for line in lines if line["event"] == "attempt_failed"]
    assert [line["http.response.status_code"] for line in failed] == [500, 429, 503]
    assert {line["http.response.status_code"] for line in lines if line["event"] == "retry"} == {500, 429, 503}


def test_quiet_leaves_warnings_and_errors():
    write(job("a"), job("b", prompt="forbidden"))
    lines = logged("jobs.jsonl", *FAST, *JSON, "-q", "--gallery", code=1)
    assert [(line["event"], line["level"]) for line in lines] == [("job_ended", "error"), ("run_ended", "error")]
    write(job("a"))
    assert run("jobs.jsonl", *FAST, *JSON, "-q") == (0, "", "")


def test_the_summary_is_on_standard_output_if_it_is_asked_for():
    write(job("a"))
    done = run("jobs.jsonl", *FAST, *JSON, "--json")
    assert json.loads(done.out)["succeeded"] == 1
    assert events(read(done.err)) == ["run_started", "job_ended", "run_ended"]


@pytest.mark.parametrize(
    ("args", "code", "kind"),
    [
        (("nothing.jsonl", *FAST), 2, "invalid"),
        (("jobs.jsonl", *FAST, "--nonsense"), 2, "invalid"),
        (("jobs.jsonl", *FAST, "-c", "none"), 2, "invalid"),
        ((*FAST,), 2, "invalid"),
        (("jobs.jsonl", "--offline"), 2, "invalid"),
        (("jobs.jsonl", *FAST, "--max-cost", "0.001"), 4, "out_of_money"),
        (("jobs.jsonl", *FAST, "-o", "jobs.jsonl"), 5, "folder_unusable"),
        (("jobs.jsonl", *FAST, "-o", "a\0b"), 2, "invalid"),
    ],
)
def test_a_run_that_cannot_begin_is_valid_and_has_an_id(args, code, kind, monkeypatch):
    monkeypatch.delenv("VENICE_API_KEY", raising=False)
    write(job("a"))
    *before, last = logged(*args, *JSON, code=code)
    assert (last["event"], last["level"], last["exit_code"], last["error.type"]) == (
        "command_failed", "error", code, kind,
    )  # fmt: skip
    assert all(line["event"] in ("notice", "job_problem") for line in before)
    assert (last["run_id"] is None) == ("a\0b" in args)


def test_each_problem_of_the_jobs_file_is_a_line():
    write(job("a", width="wide"), job("b", prompt=3))
    lines = logged("jobs.jsonl", *FAST, *JSON, code=2)
    assert [(line["line"], line["field"]) for line in lines[:-1]] == [(1, "width"), (2, "prompt")]
    assert lines[-1]["error.message"] == "2 problems; nothing was sent"


@pytest.mark.parametrize("asked", [("check",), ("run", "--dry-run")])
def test_a_plan_is_one_line(asked):
    command, *more = asked
    write(job("a"), job("b"))
    (line,) = logged(command, "jobs.jsonl", "--sandbox", *more, *JSON, code=0)
    assert (line["event"], line["jobs"], line["pending"], line["cost_usd"]) == ("plan", 2, 2, 0.02)
    done = run(command, "jobs.jsonl", "--sandbox", *more, *JSON, "--json")
    assert json.loads(done.out)["pending"] == len(read(done.err)) + 1 == 2


def test_a_check_that_finds_mistakes_is_valid():
    write(job("a", steps=99))
    assert events(logged("check", "jobs.jsonl", "--sandbox", *JSON, code=2)) == ["job_problem", "command_failed"]
    assert events(logged("check", "nothing.jsonl", "--sandbox", *JSON, code=2)) == ["job_problem", "command_failed"]


def test_a_check_has_no_run():
    write(job("a", stepz=1))
    lines = logged("check", "jobs.jsonl", "--sandbox", "--allow-unknown", *JSON, code=0)
    assert events(lines) == ["job_warning", "plan"]
    assert lines[0]["run_id"] is None
    assert (lines[0]["lines"], lines[0]["field"], lines[0]["count"]) == ([1], "stepz", 1)


def test_a_merge_is_valid():
    write(job("a"))
    assert run("jobs.jsonl", *FAST, "-q").code == 0
    (line,) = logged("merge", "output/jobs", "-o", "all", *JSON, code=0)
    assert (line["event"], line["added"], line["images"], line["left_out"]) == ("merged", 1, 1, 0)
    with open("output/jobs/images/a.webp", "wb") as image:
        image.write(b"cut")
    lines = logged("merge", "output/jobs", "-o", "other", *JSON, code=1)
    assert events(lines) == ["notice", "merged"]
    assert json.loads(run("merge", "output/jobs", "-o", "other", *JSON, "--json").out)["left_out"]
    assert events(logged("merge", "missing", "-o", "other", *JSON, code=5)) == ["command_failed"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_run_that_a_signal_stops_is_valid(number, code):
    write(*(job(f"j{count}") for count in range(50)))
    slow = ["--sandbox", "--sandbox-latency", "0.3", "--sandbox-draw", "plain", "-c", "4"]
    command = [*TOOL, "jobs.jsonl", *slow, *JSON]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        err = process.stderr.readline()
        while json.loads(err.splitlines()[-1])["event"] != "job_ended":
            err += process.stderr.readline()
        process.send_signal(number)
        out, rest = process.communicate(timeout=20)
    lines = read(err + rest)
    assert (process.returncode, out) == (code, "")
    assert (lines[-1]["event"], lines[-1]["exit_code"], lines[-1]["reason"]) == (
        "run_ended", code, f"stopped by {number.name}",
    )  # fmt: skip
    assert "stopping" in events(lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_run_is_valid(number, code):
    with subprocess.Popen(
        [*TOOL, "-", *FAST, *JSON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        # More than a pipe holds: the command reads by the time that this is written.
        process.stdin.write((json.dumps(job("a")) + " " * 100 + "\n") * 2000)
        process.stdin.flush()
        process.send_signal(number)
        process.wait(timeout=20)
        out, err = process.stdout.read(), process.stderr.read()
    (line,) = read(err)
    assert (process.returncode, out) == (code, "")
    assert (line["event"], line["exit_code"], line["error.message"]) == (
        "command_failed", code, f"stopped by {number.name}",
    )  # fmt: skip
    assert line["run_id"]


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_jq_reads_every_line():
    write(job("a"), job("b", prompt="forbidden"))
    done = run("jobs.jsonl", *FAST, *JSON)
    query = '.time and .event and (.level | IN("info", "warning", "error"))'
    read_by = subprocess.run(["jq", "-e", query], input=done.err, capture_output=True, text=True, check=False)
    assert (read_by.returncode, set(read_by.stdout.split())) == (0, {"true"})


def test_no_field_is_the_beginning_of_another():
    """Stores such as Elasticsearch nest names at their dots."""
    for kind in SCHEMA["$defs"].values():
        names = kind["properties"]
        assert not [name for name in names for other in names if other.startswith(f"{name}.")]


def test_the_format_comes_from_the_variable_and_from_a_settings_file_too(monkeypatch):
    write(job("a"))
    assert events(logged("jobs.jsonl", *FAST, code=0, environ={"VENICE_BATCH_LOG_FORMAT": "json"}))[-1] == "run_ended"
    monkeypatch.setenv("VENICE_BATCH_LOG_FORMAT", "json")
    (line,) = logged("jobs.jsonl", *FAST, "--nonsense", code=2)
    assert line["run_id"]
    assert run("jobs.jsonl", *FAST, "--nonsense", "--log-format", "text").err.startswith("venice-batch: ")
    assert run("models", "--nonsense").err.startswith("venice-batch: ")  # has no log
    monkeypatch.delenv("VENICE_BATCH_LOG_FORMAT")
    with open("venice-batch.toml", "w") as file:
        file.write('[run]\nlog-format = "json"\n')
    assert events(logged("jobs.jsonl", *FAST, code=0))[-1] == "run_ended"
    (line,) = logged("jobs.jsonl", *FAST, "-c", "none", code=2)
    assert line["run_id"]
    assert events(logged("check", "jobs.jsonl", "--sandbox", code=0)) == ["plan"]


@pytest.mark.parametrize(
    ("args", "environ", "found"),
    [
        ((), {}, "text"),
        ((), {"VENICE_BATCH_LOG_FORMAT": "json"}, "json"),
        (("--log-format=text",), {"VENICE_BATCH_LOG_FORMAT": "json"}, "text"),
        (("--log-format", "text", "--log-format", "json"), {}, "json"),
        (("--log-format",), {}, "text"),
        (("--", "--log-format", "json"), {}, "text"),
    ],
)
def test_the_format_is_known_before_the_command_line_is_understood(args, environ, found):
    assert asked_format(args, environ) == found


def test_what_python_itself_prints_is_a_line_too(capsys):
    before = warnings.showwarning, sys.unraisablehook, threading.excepthook, list(logging.getLogger().handlers)
    messages = Messages()
    messages.settle("json", now=lambda: 0.0)
    warnings.showwarning("old", DeprecationWarning, "file.py", 1)
    logging.getLogger("asyncio").warning("slow %s", "callback")
    logging.getLogger("asyncio").error("lost")
    logging.getLogger("asyncio").error("lost", exc_info=ValueError("x"))
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    messages.close()
    lines = read(capsys.readouterr().err)
    assert [(line["event"], line["level"]) for line in lines] == [
        ("notice", "warning"), ("notice", "warning"), ("notice", "error"), ("crashed", "error"), ("crashed", "error"),
    ]  # fmt: skip
    assert (lines[0]["text"], lines[1]["text"]) == ("DeprecationWarning: old", "asyncio: slow callback")
    assert (lines[3]["exception.type"], lines[4]["exception.type"]) == ("ValueError", "ZeroDivisionError")
    assert (warnings.showwarning, sys.unraisablehook, threading.excepthook, logging.getLogger().handlers) == before


def test_a_bug_is_a_line_with_its_stack_trace(monkeypatch, capsys):
    def broken(*args, **given):
        raise RuntimeError("unheard of")

    monkeypatch.setattr("venice_batch.library.prepare", broken)
    write(job("a"))
    assert main(["jobs.jsonl", *FAST, *JSON]) == 1
    out, err = capsys.readouterr()
    (line,) = read(err)
    assert (out, line["event"], line["exception.type"]) == ("", "crashed", "RuntimeError")
    assert line["exception.message"] == "unheard of"
    assert line["exception.stacktrace"].startswith("Traceback")
    with pytest.raises(RuntimeError):
        main(["jobs.jsonl", *FAST])


@pytest.mark.parametrize("given", [ExitCode.SIGINT, ExitCode.SIGTERM, None])
def test_a_signal_outside_a_run_is_an_empty_line_for_people(monkeypatch, given):
    def interrupted(*args):
        raise KeyboardInterrupt(*([] if given is None else [given]))

    monkeypatch.setattr("venice_batch.output.merge.merge", interrupted)
    code = given or ExitCode.SIGINT
    assert run("merge", "output/jobs", "-o", "all") == (code, "", "\n")
    (line,) = logged("merge", "output/jobs", "-o", "all", *JSON, code=code)
    assert (line["error.type"], line["error.message"]) == (code.name.lower(), f"stopped by {code.name}")


BY_THEMSELVES = {
    "messages", "main", "after_run", "check", "gallery",  # they look whether there is a JSON log
    "connection", "export", "jobs_from", "models", "trust",  # of commands without one
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(Path(cli.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_messages_go_through_one_place_so_that_a_json_log_has_them(path):
    """Write `environment().messages.notice(…)`, or a line of its own with `messages.log.write(…)`."""
    assert path.stem in BY_THEMSELVES or "err=True" not in path.read_text()


@pytest.mark.parametrize("lines", [[job("a", steps=99)], [job("a", prompt="forbidden")]])
def test_on_github_only_its_own_annotations_stand_beside_the_log(lines, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write(*lines)
    done = run("jobs.jsonl", *FAST, *JSON)
    annotations = [line for line in done.err.splitlines() if line.startswith("::error ")]
    assert (len(annotations), done.out) == (1, "")
    assert read("\n".join(line for line in done.err.splitlines() if line not in annotations))
