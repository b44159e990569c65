"""Runs from cron, through the command itself."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from venice_batch.cli.main import main
from venice_batch.output import folder

FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
TOOL = [sys.executable, "-m", "venice_batch"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def job(job_id, **fields):
    return {"id": job_id, "model": "venice-sd35", "prompt": f"p {job_id}", "width": 64, "height": 64, **fields}


def write(*lines, mode="w"):
    with open("jobs.jsonl", mode, encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def records(output="output/jobs"):
    return [json.loads(line) for line in Path(output, "manifest.jsonl").read_text().splitlines()]


def test_five_runs_over_a_growing_file_make_each_image_once(capsys):
    write(job("a"), job("b"))
    grown = [[], [job("c")], [job("d"), job("e")], [job("f")], []]
    for number, lines in enumerate(grown):
        write(*lines, mode="a")
        before = len(records()) if number else 0
        assert main(["jobs.jsonl", *FAST, "-q"]) == 0
        assert len(records()) - before == (len(lines) if number else 2)
    assert sorted(os.listdir("output/jobs/images")) == [f"{name}.webp" for name in "abcdef"]
    assert sorted(record["id"] for record in records()) == list("abcdef")
    assert capsys.readouterr() == ("", "")


def test_lines_added_during_a_run_are_left_for_the_next():
    long = "p" * 1000  # so that the file is larger than one read
    write(*(job(f"j{number}", prompt=f"{number} {long}") for number in range(150)))
    command = [*TOOL, "jobs.jsonl", *FAST, "-c", "1", "--log-format", "json", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while json.loads(process.stderr.readline())["event"] != "job_ended":
            pass
        write(job("new"), mode="a")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["succeeded"] == 150


def test_a_date_in_the_output_folder_is_the_day():
    write(job("a"))
    assert main(["jobs.jsonl", *FAST, "-q", "-o", "made/{date}/all"]) == 0
    (day,) = os.listdir("made")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(day + "T00:00Z")).total_seconds()) < 2 * 86_400
    assert main(["check", "jobs.jsonl", "--sandbox", "-o", "made/{date}/all"]) == 0


def test_any_other_field_in_the_output_folder_is_an_error(capsys):
    write(job("a"))
    assert main(["jobs.jsonl", *FAST, "-o", "made/{day}"]) == 2
    assert "'made/{day}' has an unknown field {day}; only {date} is replaced" in capsys.readouterr().err
    assert os.listdir() == ["jobs.jsonl"]


def test_a_folder_that_stays_in_use_is_given_up(capsys):
    write(job("a"))
    with folder.hold(Path("output/jobs")):
        assert main(["jobs.jsonl", *FAST, "--lock-wait", "1ms"]) == 5
        waits, gives_up = capsys.readouterr().err.splitlines()
        assert waits == f"process {os.getpid()} is using output/jobs; waiting up to 0.001 s for it"
        assert gives_up.endswith("is using this folder; wait for it or stop it")
        assert main(["jobs.jsonl", *FAST, "--lock-wait", "1ms", "-q"]) == 5
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("ends", ["free", signal.SIGTERM, signal.SIGINT])
def test_a_run_waits_for_another_until_it_is_done_or_a_signal_comes(ends):
    write(job("a"))
    command = [*TOOL, "jobs.jsonl", *FAST, "--lock-wait", "1m", "--log-format", "json"]
    with ExitStack() as stack:
        held = stack.enter_context(ExitStack())
        held.enter_context(folder.hold(Path("output/jobs")))
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        waiting = json.loads(process.stderr.readline())
        assert (waiting["event"], waiting["timeout_s"]) == ("waiting", 60)
        if ends == "free":
            held.close()
        else:
            process.send_signal(ends)
        _, err = process.communicate(timeout=30)
    if ends == "free":
        assert process.returncode == 0, err
        assert os.listdir("output/jobs/images") == ["a.webp"]
    else:
        assert process.returncode == 128 + ends
        reported = f"stopped by {ends.name} while waiting for the output folder; nothing was sent"
        line = json.loads(err)
        assert (line["event"], line["exit_code"], line["error.message"]) == ("command_failed", 128 + ends, reported)
        assert line["run_id"] == waiting["run_id"]


def test_the_command_on_finish_gets_every_end(capfd):
    write(job("a"), job("b", prompt="forbidden"))
    hook = ["--on-finish", 'echo "reported $VENICE_BATCH_EXIT_CODE: $(cat)"']
    assert main(["jobs.jsonl", *FAST, "-q", "--json", *hook]) == 1
    out, err = capfd.readouterr()
    reported = err.splitlines()[-1]
    assert reported.startswith("reported 1: ")
    assert json.loads(reported.removeprefix("reported 1: ")) == json.loads(out)
    assert main(["jobs.jsonl", *FAST, "-q", "--max-time", "1ms", "--retry-rejected", *hook]) == 75
    assert "reported 75: " in capfd.readouterr().err


def test_a_command_on_finish_that_fails_is_a_warning(capfd):
    write(job("a"))
    assert main(["jobs.jsonl", *FAST, "-q", "--on-finish", "exit 9"]) == 0
    assert capfd.readouterr().err == "venice-batch: warning: --on-finish: the command ended with exit status 9\n"


def test_a_run_that_never_began_has_no_finish(capfd):
    write(job("a", steps=99))
    assert main(["jobs.jsonl", *FAST, "-q", "--on-finish", "echo reported"]) == 2
    assert "reported" not in capfd.readouterr().err


def test_the_metrics_file_is_replaced_by_each_run():
    write(job("a"))
    metrics = Path("node/venice.prom")
    metrics.parent.mkdir()
    assert main(["jobs.jsonl", *FAST, "-q", "--metrics-file", str(metrics)]) == 0
    assert 'venice_batch_images{model="venice-sd35",output="output/jobs"} 1.0\n' in metrics.read_text()
    write(job("b", prompt="forbidden"), mode="a")
    assert main(["jobs.jsonl", *FAST, "-q", "--metrics-file", str(metrics)]) == 1
    text = metrics.read_text()
    assert 'venice_batch_exit_code{output="output/jobs"} 1.0\n' in text
    assert "venice_batch_last_success_timestamp_seconds{" in text
    assert os.listdir("node") == ["venice.prom"]


def metrics(path="venice.prom"):
    """Return {metric: value} of the samples that have no label but the folder's."""
    lines = Path(path).read_text().splitlines()
    found = (re.fullmatch(r'venice_batch_(\w+)\{output="output/jobs"\} (\S+)', line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


@pytest.mark.parametrize("why", ["locked", "invalid", "no key", "too expensive", "no jobs file"])
def test_a_run_that_cannot_begin_leaves_its_exit_code_and_time_in_the_metrics(why, monkeypatch):
    write(job("a"))
    options = [*FAST, "-q", "--metrics-file", "venice.prom"]
    assert main(["jobs.jsonl", *options]) == 0
    before = metrics()
    with ExitStack() as stack:
        if why == "locked":
            stack.enter_context(folder.hold(Path("output/jobs")))
        elif why == "invalid":
            write(job("b", steps=99), mode="a")
        elif why == "no key":
            options = options[len(FAST) :]
        elif why == "too expensive":
            write(job("b"), mode="a")
            options += ["--max-cost", "0.000001"]
        else:
            os.unlink("jobs.jsonl")
        code = main(["jobs.jsonl", *options])
    assert code == {"locked": 5, "too expensive": 4}.get(why, 2)
    after = metrics()
    assert after.pop("exit_code") == code
    assert after.pop("run_timestamp_seconds") >= before.pop("run_timestamp_seconds")
    assert before.pop("exit_code") == 0
    assert after.pop("request_duration_seconds", None) is before.pop("request_duration_seconds", None) is None
    assert after == before
    assert before["last_success_timestamp_seconds"] > 0


def test_a_first_run_that_cannot_begin_has_metrics_too():
    write(job("a", steps=99))
    assert main(["jobs.jsonl", *FAST, "-q", "--metrics-file", "venice.prom"]) == 2
    found = metrics()
    assert (found["exit_code"], found["last_success_timestamp_seconds"], found["images_total"]) == (2, 0, 0)
    assert found["run_timestamp_seconds"] > 0


def test_a_plan_that_fails_is_no_run_in_the_metrics():
    write(job("a", steps=99))
    assert main(["jobs.jsonl", *FAST, "--dry-run", "--metrics-file", "venice.prom"]) == 2
    assert not os.path.exists("venice.prom")


def test_metrics_of_a_failed_start_that_cannot_be_written_are_a_warning(capsys):
    write(job("a", steps=99))
    assert main(["jobs.jsonl", *FAST, "-q", "--metrics-file", "nowhere/x.prom"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "venice-batch: warning: --metrics-file: nowhere/x.prom: cannot be written: " + os.strerror(2)
    assert len(lines) == 3  # the mistake, and their number


def test_a_metrics_file_that_cannot_be_written_is_a_warning(capsys):
    write(job("a"))
    assert main(["jobs.jsonl", *FAST, "-q", "--metrics-file", "nowhere/x.prom"]) == 0
    err = capsys.readouterr().err
    assert (
        err == "venice-batch: warning: --metrics-file: nowhere/x.prom: cannot be written: No such file or directory\n"
    )
