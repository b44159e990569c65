"""annotate through the command line, in this process."""

import json
from pathlib import Path

import pytest
from command import run

from venice_batch.output.annotations import read_annotations
from venice_batch.output.resume import LatestRecords

FAST = ["--sandbox", "--sandbox-latency", "0", "--sandbox-draw", "plain", "--offline"]


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A folder with a job of two images and a job of one."""
    monkeypatch.chdir(tmp_path)
    job = {"model": "venice-sd35", "width": 256, "height": 256}
    jobs = [{**job, "id": "fox", "prompt": "a fox", "variants": 2}, {**job, "id": "sea", "prompt": "the sea"}]
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in jobs))
    assert run("jobs.jsonl", *FAST, "-o", "out", "-q").code == 0
    return Path("out")


def values(out):
    found = read_annotations(out)
    records = {record.id: record for record in LatestRecords(out / "manifest.jsonl")}
    return [found.of(records["fox"], 1), found.of(records["fox"], 2), found.of(records["sea"], 1)]


def test_scores_of_several_files_reach_their_images(out):
    Path("scores.csv").write_text("file_name,score,correct\nout/images/fox-2.webp,0.25,False\n/x/sea.png,0.5,True\n")
    Path("more.json").write_text('[{"id": "sea", "clip": {"score": 0.75}}]')
    done = run("annotate", "out", "scores.csv", "more.json")
    wrote = "out/annotations.jsonl: wrote 5 values; 2 images have score, correct, clip.score\n"
    assert done == (0, wrote, "")
    assert values(out) == [{}, {"score": 0.25, "correct": False}, {"score": 0.5, "correct": True, "clip.score": 0.75}]
    again = run("annotate", "out", "scores.csv", "more.json")
    assert again.out == "out/annotations.jsonl: nothing new: 2 images have score, correct, clip.score already\n"


def test_rows_come_from_standard_input_and_names_get_a_prefix(out):
    rows = '{"which": "fox#1", "score": 1, "model": "m"}\n'
    done = run("annotate", "out", "-", "--key", "which", "--prefix", "hps.", stdin=rows)
    assert done.out.endswith("wrote 1 value; 1 image has hps.score (left out, as the records have it: model)\n")
    assert values(out)[0] == {"hps.score": 1}


def test_a_row_about_no_image_makes_the_exit_code_1_and_the_others_are_written(out):
    done = run("annotate", "out", "-", stdin='{"id": "sea", "x": 1}\n{"id": "bee", "x": 1}\n')
    assert (done.code, done.err) == (
        1,
        "venice-batch: 1 row of 2 matches no image: standard input:2: id 'bee'\n",
    )
    assert values(out)[2] == {"x": 1}


def test_the_result_as_json_is_one_line(out):
    done = run("annotate", "out", "-", "--json", stdin='{"id": "sea", "x": 1, "y": NaN}\n')
    printed = json.loads(done.out)
    assert (printed["rows"], printed["written"], printed["not_finite"]) == (1, 1, {"y": 1})
    refused = run("annotate", "out", "-", "--json", stdin='{"id": "bee", "x": 1}\n')
    assert (refused.code, json.loads(refused.out)["exit_code"]) == (2, 2)


def test_values_are_taken_away(out):
    run("annotate", "out", "-", stdin=json.dumps({"id": "fox", **{f"n{number}": 1 for number in range(9)}}))
    assert run("annotate", "out", "--remove", "n0", "--dry-run").out.endswith("would have taken away 2 values\n")
    assert run("annotate", "out", "--remove", "n0").out == "out/annotations.jsonl: took away 2 values\n"
    assert "n0" not in values(out)[0]
    more = run("annotate", "out", "-", "--dry-run", stdin=json.dumps({"id": "fox", **{f"n{n}": 2 for n in range(9)}}))
    assert more.out.endswith("would have written 18 values; 2 images have n0, n1, n2, n3, n4, n5, n6, n7, …\n")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["out"], 2, "give a file of scores, or - for standard input"),
        (["out", "none.csv"], 2, "none.csv: cannot be read: No such file or directory"),
        (["out", "out"], 2, "out: cannot be read: Is a directory"),
        (["out", "jobs.jsonl"], 2, "no row holds a value beside its key"),
        (["nowhere", "jobs.jsonl"], 5, "nowhere: holds no manifest.jsonl; is it a run's output folder?"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(out, args, code, message):
    done = run("annotate", *args)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_standard_input_must_be_connected(out, monkeypatch):
    from venice_batch.cli.env import Environment

    monkeypatch.setattr(Environment, "stdin_bytes", None)
    assert "nothing is connected to standard input" in run("annotate", "out", "-").err
