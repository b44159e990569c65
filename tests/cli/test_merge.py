"""Shards and their merge, through the command itself."""

import json
import os
from pathlib import Path

import pytest

from venice_batch.cli.main import main

FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain", "-q"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def results(output):
    """{id: (request's hash, how it ended, images with their hashes)} by the folder's manifest."""
    records = map(json.loads, Path(output, "manifest.jsonl").read_text().splitlines())
    return {
        record["id"]: (
            record["request_hash"],
            record["status"],
            [(file["path"], file["sha256"]) for file in record["files"]],
        )
        for record in records
    }


def write_jobs():
    size = {"model": "venice-sd35", "width": 64, "height": 64, "seed": 7}
    jobs = [{"id": f"j{number}", "prompt": f"p {number}", **size} for number in range(20)]
    jobs += [
        {"id": "many", "prompt": "p", "variants": 3, **size},
        {"prompt": "no id", **size},
        {"id": "no", "prompt": "forbidden", **size},
        {"id": "grid", "prompt": "p", **size, "matrix": {"cfg_scale": [3, 5, 7], "format": ["png", "jpeg"]}},
        {"id": "Upper", "prompt": "p", **size},
        {"id": "upper", "prompt": "q", **size},
    ]
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))


@pytest.mark.parametrize("name", ["{id}", "{model}/{index:03}-{id}"])
def test_shards_merged_are_one_whole_run(capsys, name):
    write_jobs()
    assert main(["jobs.jsonl", *FAST, "--name", name, "-o", "whole"]) == 1
    for number in (1, 2, 3):
        assert main(["jobs.jsonl", *FAST, "--name", name, "-o", f"s{number}", "--shard", f"{number}/3"]) in (0, 1)
        assert results(f"s{number}").keys() < results("whole").keys()
    capsys.readouterr()
    assert main(["merge", "s1", "s2", "s3", "-o", "all"]) == 0
    assert capsys.readouterr().out == "31 jobs in all: 31 added with 32 images, 0 there before\n"
    whole, merged = results("whole"), results("all")
    for both in (whole, merged):  # names that differ in case only are different for a run that has both
        for job_id in ("Upper", "upper"):
            digest, status, files = both[job_id]
            both[job_id] = (digest, status, [sha256 for _, sha256 in files])
        digest, status, files = both["many"]  # only the first of several images goes by the seed
        both["many"] = (digest, status, files[:1], [path for path, _ in files])
    assert merged == whole
    assert main(["jobs.jsonl", *FAST, "-o", "all", "--name", name, "--json"]) == 1
    again = json.loads(capsys.readouterr().out)
    assert (again["attempts"], again["already_done"], again["already_rejected"]) == (0, 30, 1)


def test_left_out_jobs_are_reported_and_fail_the_merge(capsys):
    write_jobs()
    main(["jobs.jsonl", *FAST, "-o", "one"])
    os.unlink("one/images/j3.webp")
    capsys.readouterr()
    assert main(["merge", "one", "-o", "all", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["jobs"] == 30
    assert err.startswith("venice-batch: left out: one: j3: images/j3.webp is missing")


def test_answers_of_an_unknown_format_come_along_and_are_counted(capsys):
    Path("jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n')
    always = ["--sandbox-fault-rate", "1", "--sandbox-faults", "garbage"]
    assert main(["jobs.jsonl", *FAST, *always, "-o", "one"]) == 1
    capsys.readouterr()
    assert main(["merge", "one", "-o", "all"]) == 0
    out = capsys.readouterr().out
    assert out == "1 job in all: 1 added with 0 images and 1 unrecognised answer, 0 there before\n"
    assert Path("all/unrecognised/a.bin").read_bytes() == Path("one/unrecognised/a.bin").read_bytes()
    assert main(["merge", "one", "-o", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unrecognised"] == 0


def test_nonsense_is_one_line(capsys):
    for arguments, code in ((["-o", "x"], 2), (["nothere"], 2), (["nothere", "-o", "x"], 5)):
        assert main(["merge", *arguments]) == code
        assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == []
