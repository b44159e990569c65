"""annotate through the command line, in this process."""

import csv
import io
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


@pytest.mark.parametrize("text", ["", "not a table at all", 'id,"score\nfox,1', "id,score\n", "[]"])
def test_a_file_without_rows_is_exit_code_2_and_one_line(out, text):
    done = run("annotate", "out", "-", stdin=text)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "standard input" in done.err


def test_standard_input_must_be_connected(out, monkeypatch):
    from venice_batch.cli.env import Environment

    monkeypatch.setattr(Environment, "stdin_bytes", None)
    assert "nothing is connected to standard input" in run("annotate", "out", "-").err


def test_a_run_fails_by_the_scores_of_its_images_whichever_run_made_them(out):
    rerun = ["jobs.jsonl", *FAST, "-o", "out"]
    assert run(*rerun, "-q", "--fail-on", "score<0.5").code == 0
    run("annotate", "out", "-", stdin='{"id": "fox#2", "score": 0.25}\n{"id": "fox#1", "score": 1}\n')
    done = run(*rerun, "-q", "--fail-on", "blurred,score<0.5", "--junit", "junit.xml")
    assert done.code == 1
    assert done.err.splitlines() == [
        "--fail-on: 1 of 3 images has no annotation 'score' and cannot fail by it",
        "1 job meets --fail-on: fox",
    ]
    junit = Path("junit.xml").read_text()
    assert 'failures="1"' in junit
    assert '<failure type="annotation" message="score&lt;0.5: images/fox-2.webp has 0.25">' in junit
    assert run(*rerun, "-q", "--fail-on", "score<0.25").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("score<x", "'score<x' compares with 'x', which is no number"),
        ("blurred,0<score<1", "'0<score<1' has two operators"),
        ("ugly", "'ugly' is not one of blurred, content_violation"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused_before_anything_is_sent(out, words, message):
    done = run("jobs.jsonl", *FAST, "-o", "new", "--fail-on", words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not Path("new").exists()


def test_a_comma_within_quotes_belongs_to_the_value(out):
    run("annotate", "out", "-", stdin='{"id": "sea", "label": "a, b"}\n')
    rerun = ["jobs.jsonl", *FAST, "-o", "out", "-q", "--fail-on"]
    assert run(*rerun, "label='a, b',blurred").code == 1
    assert run(*rerun, "label='a, c',violation").code == 0


def test_images_below_a_score_are_made_again_and_the_export_has_the_scores(out):
    run("annotate", "out", "-", stdin='{"id": "fox#2", "score": 0.25}\n{"id": "sea", "score": 1}\n')
    jobs = run("jobs-from", "out", "--where", "score<0.5", "--vary", "1")
    assert [json.loads(line)["id"] for line in jobs.out.splitlines()] == ["fox-2-v1"]
    table = list(csv.DictReader(io.StringIO(run("export", "out", "--csv", "-").out)))
    assert {row["path"]: row["annotation.score"] for row in table} == {
        "images/fox-1.webp": "",
        "images/fox-2.webp": "0.25",
        "images/sea.webp": "1.0",
    }
    Path("table.csv").write_text(run("export", "out", "--csv", "-").out)
    again = run("annotate", "out", "table.csv")
    assert again.out.startswith("out/annotations.jsonl: nothing new: 2 images have score already"), again.out


@pytest.mark.parametrize(
    ("where", "code", "message"),
    [
        ("score<0", 0, "no record in out/manifest.jsonl matches; no jobs were written"),
        ("scor<0", 0, "no image in out has the annotation 'scor'; there is score"),
        ("score", 2, "--where: 'score' is no condition; write it like score<0.5"),
    ],
)
def test_a_condition_that_chooses_nothing_is_told(out, where, code, message):
    run("annotate", "out", "-", stdin='{"id": "sea", "score": 1}\n')
    done = run("jobs-from", "out", "--where", where)
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_without_annotations_that_is_told(out):
    assert "no image in out has the annotation 'x'; there are none yet" in run("jobs-from", "out", "--where", "x<0").err
