import subprocess
import sys
from pathlib import Path

import pytest

from venice_batch.cli.after_run import Step, take


def test_every_step_is_told_the_summary_and_the_folder():
    told = []
    take([Step("--one", lambda *given: told.append(given))], "summary", Path("out"))
    assert told == [("summary", Path("out"))]


def test_a_step_that_fails_is_one_line_and_keeps_no_other_from_being_taken(capsys):
    def fail(summary, output):
        raise ValueError("no\nway")

    told = []
    take([Step("--one", fail), Step("--two", lambda *given: told.append(given))], "summary", Path("out"))
    assert len(told) == 1
    assert capsys.readouterr().err == "venice-batch: warning: --one: no\ufffdway\n"


def test_a_failure_without_a_message_is_named(capsys):
    def fail(summary, output):
        raise NotImplementedError

    take([Step("--one", fail)], "summary", Path("out"))
    assert capsys.readouterr().err == "venice-batch: warning: --one: NotImplementedError\n"


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_a_failure_that_nobody_can_be_told_of_costs_nothing_either(tmp_path, stream):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n'
    (tmp_path / "jobs.jsonl").write_text(job)
    steps = "--on-finish 'echo told; exit 3' --junit /nowhere/x.xml"
    command = f"{sys.executable} -m venice_batch jobs.jsonl --sandbox --sandbox-latency 0 -q {steps} {stream}"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
