"""expand and --seed-policy through the command line, in this process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from venice_batch.cli.main import main

FAST = ["--sandbox", "--sandbox-latency", "0", "--offline"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_table_becomes_lines(capfdbinary):
    Path("jobs.csv").write_text("id,Prompt,width,mood\nsea,The sea,512,calm\n,A lagoon,,\n")
    assert main(["expand", "jobs.csv", "--set", "model=venice-sd35"]) == 0
    sea, lagoon = map(json.loads, capfdbinary.readouterr().out.splitlines())
    assert sea == {
        "id": "sea",
        "model": "venice-sd35",
        "prompt": "The sea",
        "width": 512,
        "metadata": {"mood": "calm"},
    }
    assert lagoon["prompt"] == "A lagoon"
    assert len(lagoon["id"]) == 16


def test_a_matrix_becomes_its_product_in_a_packed_file():
    Path("jobs.jsonl").write_text('{"id":"s","model":"m","prompt":"p","matrix":{"seed":[1,2]}}\n')
    assert main(["expand", "jobs.jsonl", "-o", "all.jsonl.gz"]) == 0
    assert main(["expand", "all.jsonl.gz", "-o", "all.jsonl"]) == 0
    assert [line["id"] for line in lines("all.jsonl")] == ["s__seed-1", "s__seed-2"]


def test_a_file_may_be_expanded_in_place():
    Path("jobs.jsonl").write_text('{"id":"s","model":"m","prompt":"p","matrix":{"seed":[1,2]}}\n')
    assert main(["expand", "jobs.jsonl", "-o", "jobs.jsonl"]) == 0
    assert len(lines("jobs.jsonl")) == 2


def test_all_mistakes_are_reported_and_nothing_is_written(capfd):
    Path("jobs.jsonl").write_text('{"model":"m","prompt":"p"}\n{"model":"m"}\n{"prompt":"p","width":0}\n')
    assert main(["expand", "jobs.jsonl", "-o", "all.jsonl"]) == 2
    assert main(["expand", "jobs.jsonl"]) == 2
    reported = capfd.readouterr()
    assert reported.out == ""
    assert reported.err.splitlines()[:3] == [
        "jobs.jsonl:2: prompt: missing",
        "jobs.jsonl:3: width: 0 is out of range; expected an integer from 1 to 1280",
        "jobs.jsonl:3: model: missing",
    ]
    assert reported.err.splitlines()[-1] == "venice-batch: 3 problems; nothing was written"
    assert not Path("all.jsonl").exists()


def test_the_folder_of_runs_is_no_file_to_write(monkeypatch, capfdbinary):
    monkeypatch.setenv("VENICE_BATCH_OUTPUT", "pictures")
    Path("jobs.jsonl").write_text('{"model":"m","prompt":"p"}\n')
    assert main(["expand", "jobs.jsonl"]) == 0
    assert capfdbinary.readouterr().out
    assert not Path("pictures").exists()


@pytest.mark.parametrize("redirection", [">&-", "| head -c 1"])
def test_an_output_without_a_reader_is_no_crash(redirection):
    Path("jobs.jsonl").write_text('{"model":"m","matrix":{"seed":[1,2],"prompt":["%s"]}}\n' % ("p" * 30_000))
    command = f"{sys.executable} -m venice_batch expand jobs.jsonl {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert ("nothing is connected to standard output" in done.stderr) == (redirection == ">&-")


def test_an_expanded_file_is_found_done(capfd):
    Path("jobs.jsonl").write_text('{"model":"venice-sd35","prompt":"p","width":64,"height":64}\n')
    assert main(["jobs.jsonl", *FAST, "-o", "out"]) == 0
    assert main(["expand", "jobs.jsonl", "-o", "all.jsonl"]) == 0
    capfd.readouterr()
    assert main(["all.jsonl", *FAST, "-o", "out", "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["already_done"], summary["attempts"]) == (1, 0)


def test_pinned_seeds_are_recorded_and_a_second_run_pays_for_nothing(capfd):
    job = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
    Path("jobs.jsonl").write_text(json.dumps(job) + "\n" + json.dumps(job | {"id": "b"}) + "\n")
    pin = ["--seed-policy", "pin", "-o", "out", *FAST]
    assert main(["jobs.jsonl", *pin, "--name", "{id}-{seed}"]) == 0
    records = lines("out/manifest.jsonl")
    for record in records:
        assert f"-{record['request']['seed']}" in record["files"][0]["path"]
    capfd.readouterr()
    assert main(["jobs.jsonl", *pin, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["attempts"] == 0
    assert main(["check", "jobs.jsonl", "--seed-policy", "pin", "--sandbox", "-o", "out"]) == 0
    assert "0 requests would go out" in capfd.readouterr().out
    # The manifest is enough to make exactly the same images elsewhere.
    assert main(["out/manifest.jsonl", *FAST, "-o", "again"]) == 0
    digests = [
        {file["sha256"] for one in lines(f"{folder}/manifest.jsonl") for file in one["files"]}
        for folder in ("out", "again")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2


def test_a_share_of_the_jobs_can_be_written(capsys):
    Path("jobs.jsonl").write_text(
        "".join(json.dumps({"id": f"j{number}", "model": "venice-sd35", "prompt": "p"}) + "\n" for number in range(9))
    )
    shares = []
    for number in (1, 2):
        assert main(["expand", "jobs.jsonl", "--shard", f"{number}/2"]) == 0
        shares.append({json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()})
    assert all(shares)
    assert sorted([*shares[0], *shares[1]]) == [f"j{number}" for number in range(9)]


@pytest.mark.parametrize("runner", [{"GITHUB_ACTIONS": "true"}, {"TF_BUILD": "True"}, {}])
def test_no_text_in_lines_that_a_ci_runner_reads_is_a_command_to_it(monkeypatch, capfdbinary, runner):
    for name in ("GITHUB_ACTIONS", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in runner.items():
        monkeypatch.setenv(name, value)
    prompts = ["##vso[task.complete]", "###[error]", "#" * 300_000]
    jobs = [{"id": f"j{n}", "model": "m", "prompt": prompt} for n, prompt in enumerate(prompts)]
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    assert main(["expand", "jobs.jsonl", "--allow-unknown"]) == 0
    out = capfdbinary.readouterr().out
    assert (b"##" in out) is not bool(runner)
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == prompts


def test_variables_and_a_matrix_become_lines_that_need_no_options(capfdbinary):
    Path("ideas.txt").write_text("A {subject} at {{dusk}}\n")
    given = ["--set", "model=m", "--var", "subject=cat,dog", "--matrix", "seed=1,2"]
    assert main(["expand", "ideas.txt", *given, "-o", "all.jsonl"]) == 0
    made = lines("all.jsonl")
    assert [line["prompt"] for line in made] == [f"A {animal} at {{dusk}}" for animal in ("cat", "cat", "dog", "dog")]
    assert [line["metadata"] for line in made[1:3]] == [{"vars": {"subject": "cat"}}, {"vars": {"subject": "dog"}}]
    assert main(["expand", "all.jsonl"]) == 0
    assert capfdbinary.readouterr().out == Path("all.jsonl").read_bytes()


def test_a_part_becomes_lines(capfdbinary):
    Path("ideas.txt").write_text("A cat\nA dog\nAn owl\n")
    assert main(["expand", "ideas.txt", "--set", "model=m", "--id", "*-dog", "--id", "0003-*"]) == 0
    out = capfdbinary.readouterr()
    assert [json.loads(line)["prompt"] for line in out.out.splitlines()] == ["A dog", "An owl"]
    assert b"--id *-dog --id 0003-*: 2 of 3 jobs; the others stay as they are" in out.err
