"""Each exit code of a run.

Signals are in test_run.py, a reader that leaves and closed streams in test_main.py, waiting for a folder in
test_unattended.py.
"""

import json
import os
from pathlib import Path

import pytest
from command import run, served

from venice_batch.output import folder

FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
FORBIDDEN = {**GOOD, "id": "b", "prompt": "forbidden"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*jobs):
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))


def exit_code(*arguments):
    return run("jobs.jsonl", *arguments).code


def test_0_when_every_job_has_succeeded_now_or_before():
    write(GOOD)
    assert [exit_code(*FAST), exit_code(*FAST)] == [0, 0]


def test_1_when_a_job_was_rejected_now_or_before():
    write(GOOD, FORBIDDEN)
    assert [exit_code(*FAST), exit_code(*FAST)] == [1, 1]


def test_0_when_the_only_rejections_are_known_and_ok():
    write(GOOD, FORBIDDEN)
    known = [*FAST, "--known-rejected", "ok"]
    assert [exit_code(*known), exit_code(*known), exit_code(*FAST)] == [1, 0, 1]
    assert exit_code(*known, "--retry-rejected") == 1
    write({**GOOD, "prompt": "nsfw"}, FORBIDDEN)
    flags = ["--set", "safe_mode=true", "--fail-on", "blurred"]
    assert exit_code(*known, *flags) == 1, "--fail-on keeps its own meaning"


def test_1_when_a_job_has_failed():
    write(GOOD)
    faults = ["--sandbox-fault-rate", "1", "--sandbox-faults", "500", "--max-attempts", "1"]
    assert exit_code(*FAST, *faults) == 1


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["--timeout", "soon"], ["--set", "nonsense=1"], ["--sandbox", "--base-url", "http://x"], []],
    ids=["option", "value", "field", "two servers", "no key"],
)
def test_2_when_the_command_cannot_be_run_as_it_is(arguments):
    write(GOOD)
    assert exit_code(*arguments) == 2
    assert os.listdir() == ["jobs.jsonl"]


def test_2_when_the_jobs_file_is_invalid():
    write(GOOD, {**GOOD, "steps": 99})
    assert exit_code(*FAST) == 2
    assert os.listdir() == ["jobs.jsonl"]


def test_3_when_the_key_is_refused(monkeypatch):
    write(GOOD)
    monkeypatch.setenv("VENICE_API_KEY", "invalid")
    with served(latency_s=0) as base_url:
        assert exit_code("--base-url", base_url) == 3


def test_4_when_the_money_is_gone():
    write(*({**GOOD, "id": f"j{number}"} for number in range(5)))
    assert exit_code(*FAST, "--sandbox-balance", "0.02", "-c", "1") == 4
    assert exit_code(*FAST, "--max-cost", "0.001") == 4


@pytest.mark.parametrize("harm", ["held", "a file"])
def test_5_when_the_folder_cannot_be_used(harm):
    write(GOOD)
    if harm == "held":
        with folder.hold(Path("output/jobs")):
            assert exit_code(*FAST) == 5
    else:
        Path("output").write_text("")
        assert exit_code(*FAST) == 5


@pytest.mark.parametrize(
    "limit", [["--max-time", "1ms"], ["--max-failures", "1", "-c", "1"]], ids=lambda limit: limit[0]
)
def test_75_when_jobs_are_left_for_another_run(limit):
    write(FORBIDDEN, *({**GOOD, "id": f"j{number}"} for number in range(60)))
    assert exit_code(*FAST, *limit) == 75
