"""jobs-from through the command line, in this process."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from command import run
from PIL import Image, PngImagePlugin
from records import failed, outcome

from venice_batch.cli.env import Environment
from venice_batch.cli.main import main
from venice_batch.model import Flags
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.resume import LatestRecords

FAST = ["--sandbox", "--sandbox-latency", "0", "--offline"]
JOBS = [
    {"id": "s", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64, "matrix": {"seed": [1, 2]}},
    {"id": "t", "model": "nano-banana-pro", "prompt": "p", "aspect_ratio": "1:1", "resolution": "1k"},
    {"endpoint": "/images/generations", "model": "default", "prompt": "p", "metadata": {"set": 7}, "size": "256x256"},
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _records():
    Path("out").mkdir()
    records = [
        outcome("sea", flags=Flags(blurred=True)),
        failed("lake"),
        outcome("pond"),
        outcome("lake", request={"model": "m", "prompt": "p", "seed": 3}, metadata={"k": 1}),
    ]
    Path("out/manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


def written(path="redo.jsonl"):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_run_of_the_jobs_written_finds_them_done(capfd):
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    assert main(["jobs.jsonl", *FAST, "-o", "out", "--seed-policy", "pin"]) == 0
    assert main(["jobs-from", "out", "-o", "redo.jsonl"]) == 0
    capfd.readouterr()
    assert main(["redo.jsonl", *FAST, "-o", "out", "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["already_done"], summary["attempts"]) == (4, 0)


def test_the_chosen_ones_are_made_again_beside_the_first(capfd):
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    assert main(["jobs.jsonl", *FAST, "-o", "out"]) == 0
    assert main(["jobs-from", "out", "--id", "t", "--set", "resolution=4K", "--suffix", "-4k", "-o", "redo.jsonl"]) == 0
    assert main(["redo.jsonl", *FAST, "-o", "out"]) == 0
    assert {path.stem for path in Path("out/images").iterdir()} >= {"t", "t-4k"}


@pytest.mark.usefixtures("_records")
def test_the_last_record_of_an_id_counts(capfdbinary):
    assert main(["jobs-from", "out"]) == 0
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == ["sea", "pond", "lake"]
    assert lines[2] == {"id": "lake", "model": "m", "prompt": "p", "seed": 3, "metadata": {"k": 1}}


@pytest.mark.usefixtures("_records")
@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        (["--flag", "blurred,deprecated"], ["sea"]),
        (["--flag", "deprecated", "--flag", "blurred"], ["sea"]),
        (["--status", "succeeded", "--id", "*e*"], ["sea", "lake"]),
        (["--model", "venice-sd35", "--ids-from", "ids.txt"], ["sea", "pond"]),
        (["--set", "model=m", "--unset", "seed", "--id", "lake"], ["lake"]),
    ],
)
def test_conditions_narrow_the_choice(conditions, chosen):
    Path("ids.txt").write_bytes(b"\xef\xbb\xbfsea\r\n\r\npond\r\n")
    assert main(["jobs-from", "out", *conditions, "-o", "redo.jsonl"]) == 0
    assert [line["id"] for line in written()] == chosen


@pytest.mark.usefixtures("_records")
def test_ids_can_come_from_standard_input():
    done = run("jobs-from", "out", "--ids-from", "-", stdin="pond\n")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["pond"]


@pytest.mark.usefixtures("_records")
def test_ids_from_a_standard_input_that_is_closed_are_an_error():
    streams = (None, io.StringIO(), errors := io.StringIO())
    assert main(["jobs-from", "out", "--ids-from", "-"], Environment(*streams, {})) == 2
    assert errors.getvalue() == "venice-batch: --ids-from: nothing is connected to standard input\n"


@pytest.mark.usefixtures("_records")
def test_no_matching_job_is_no_mistake(capfd):
    assert main(["jobs-from", "out", "--status", "failed", "-o", "redo.jsonl.gz"]) == 0
    reported = "venice-batch: no record in out/manifest.jsonl matches; no jobs were written\n"
    assert capfd.readouterr().err == reported
    assert Path("redo.jsonl.gz").exists()


@pytest.mark.usefixtures("_records")
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--id", "se?s", "--id", "sea"], "no record in out/manifest.jsonl has the id 'se?s'; nothing was written"),
        (["--ids-from", "ids.txt"], "has the id 'a', 'b', 'c', 'd', 'e' and 2 more; nothing was written"),
        (["--ids-from", "none.txt"], "--ids-from: none.txt cannot be read: No such file or directory"),
        (["--ids-from", "empty.txt"], "--ids-from: empty.txt holds no ids"),
        (["--status", "failed,broken"], "'broken' is not one of succeeded, failed, rejected"),
        (["--unset", "promt"], "--unset promt: no endpoint has this field; did you mean 'prompt'?"),
        (["--set", "seed=1", "--unset", "seed"], "--set and --unset both name seed"),
        (["--set", "width=0"], "--set width: 0 is out of range; expected an integer from 1 to 1280"),
        (["--unset", "model"], "out/manifest.jsonl:1: model: missing (from --unset)"),
        (["--suffix", "\n"], "out/manifest.jsonl:1: id: 'sea\\n' holds a control character"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, what, capfd):
    Path("ids.txt").write_text("\n".join("gfedcba"))
    Path("empty.txt").write_text("\n")
    assert main(["jobs-from", "out", *arguments, "-o", "redo.jsonl"]) == 2
    reported = capfd.readouterr().err
    assert what in reported
    assert "nothing was sent" not in reported
    assert "Traceback" not in reported
    assert not Path("redo.jsonl").exists()


def test_a_folder_without_a_manifest_is_reported(capfd):
    assert main(["jobs-from", "nowhere"]) == 5
    assert "nowhere: holds no manifest.jsonl; is it a run's output folder?" in capfd.readouterr().err


def mark(*images, mark="picked", rating=None):
    """Mark images of the folder `out`, each given as (id, number)."""
    records = {record.id: record for record in LatestRecords(Path("out/manifest.jsonl"))}
    with MarksFile(Path("out")) as file:
        for job_id, number in images:
            digest = records[job_id].files[number - 1].sha256
            file.append([Mark(digest, job_id, number, mark, rating, "2026-01-01T00:00:00Z")])


def test_picked_images_become_upscales_that_a_pipe_makes(monkeypatch):
    job = {"id": "fox", "model": "venice-sd35", "prompt": "a fox", "width": 256, "height": 256, "variants": 3}
    Path("jobs.jsonl").write_text(json.dumps(job) + "\n")
    assert main(["jobs.jsonl", *FAST, "-o", "out"]) == 0
    mark(("fox", 1), ("fox", 3))
    mark(("fox", 2), mark="rejected")
    written = run("jobs-from", "out", "--picked", "--upscale", "2")
    assert written.code == 0
    made = run("-", *FAST, "--json", stdin=written.out)
    assert json.loads(made.out)["succeeded"] == 2
    assert sorted(path.stem for path in Path("output/stdin/images").iterdir()) == ["fox-1-x2", "fox-3-x2"]
    (first, _) = LatestRecords(Path("output/stdin/manifest.jsonl"))
    assert (first.parent.id, first.metadata) == ("fox", {"prompt": "a fox"})
    monkeypatch.chdir("output")
    again = run("jobs-from", "../out", "--picked", "--upscale", "2")
    once_more = run("-", *FAST, "--json", "-o", "stdin", stdin=again.out)
    assert json.loads(once_more.out)["already_done"] == 2, "from another folder they are the same jobs"


@pytest.mark.usefixtures("_records")
@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["--rejected", "--vary", "1"], ["pond-v1"]),
        (["--min-rating", "4", "--vary", "2"], ["sea-v1", "sea-v2"]),
        (["--picked", "--rejected", "--set", "seed=1"], ["sea", "pond"]),
        (["--id", "sea#1", "--vary", "1", "--suffix", "-new", "--set", "steps=9"], ["sea-new1"]),
        (["--id", "sea", "--vary", "1", "--set", "steps=9"], ["sea-v1__steps-9"]),
    ],
)
def test_marks_choose_images_and_options_say_what_to_make_of_them(arguments, chosen):
    mark(("sea", 1), rating=4)
    mark(("pond", 1), mark="rejected", rating=3)
    assert main(["jobs-from", "out", *arguments, "-o", "redo.jsonl"]) == 0
    assert [line["id"] for line in written()] == chosen


@pytest.mark.usefixtures("_records")
def test_without_a_mark_the_way_to_make_one_is_shown():
    assert run("jobs-from", "out", "--picked").err == (
        "venice-batch: no image in out is marked yet (venice-batch view out); no jobs were written\n"
    )
    mark(("sea", 1))
    assert "no record in out/manifest.jsonl matches" in run("jobs-from", "out", "--rejected").err


@pytest.mark.usefixtures("_records")
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--upscale", "2", "--cut-out"], "--upscale and --cut-out make different jobs; give one"),
        (["--upscale", "3"], "'3' is not one of '2', '4'"),
        (["--vary", "2", "--set", "seed=1"], "--vary chooses the seeds; leave out --set seed"),
        (["--id", "sea#2", "--upscale", "2"], "no record in out/manifest.jsonl has the id 'sea#2'"),
        (["--cut-out"], "out/manifest.jsonl:3: image 1 of pond: 'images/a.webp' is no longer in the folder"),
        (["--edit", " "], "out/manifest.jsonl:1: image 1 of sea: 'images/a.webp' is no longer in the folder"),
    ],
)
def test_a_mistake_in_what_to_make_is_one_line(arguments, what, capfd):
    assert main(["jobs-from", "out", *arguments, "-o", "redo.jsonl"]) == 2
    assert what in capfd.readouterr().err
    assert not Path("redo.jsonl").exists()


def exported(*options):
    Path("jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    assert main(["jobs.jsonl", *FAST, "-o", "out", "--seed-policy", "pin"]) == 0
    assert main(["export", "out", "--imagefolder", "dataset", *options]) == 0


@pytest.mark.parametrize("style", ["a1111", "xmp"])
def test_a_run_of_the_jobs_in_exported_images_finds_them_done(style, capfd):
    exported("--embed", style)
    assert run("jobs-from", "dataset", "-o", "redo.jsonl") == (0, "", "")
    capfd.readouterr()
    assert main(["redo.jsonl", *FAST, "-o", "out", "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["already_done"], summary["attempts"]) == (4, 0)


def test_images_without_recipes_make_no_jobs():
    exported()
    ended = run("jobs-from", "dataset")
    assert (ended.code, ended.out) == (0, "")
    assert "venice-batch: no recipe in 4 images (" in ended.err
    assert ended.err.endswith("venice-batch: no jobs were written\n")


def test_images_and_an_output_folder_do_not_mix():
    exported("--embed", "xmp")
    refused = run("jobs-from", "dataset", "out")
    assert refused == (
        2,
        "",
        "venice-batch: out is an output folder; give it alone, or else only images and their folders\n",
    )
    assert len(run("jobs-from", "dataset", *map(str, Path("dataset").glob("s*"))).out.splitlines()) == 4


@pytest.mark.parametrize("option", [("--picked",), ("--id", "x"), ("--vary", "2"), ("--status", "failed")])
def test_options_about_records_need_records(option):
    exported("--embed", "xmp")
    refused = run("jobs-from", "dataset", *option)
    assert (refused.code, refused.err) == (
        2,
        f"venice-batch: {option[0]} is about the records of an output folder; images hold only their recipe\n",
    )


def test_a_missing_image_is_named():
    assert run("jobs-from", "x.png") == (2, "", "venice-batch: x.png: No such file or directory\n")


def test_other_programs_images_become_jobs_that_can_run():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 8, Sampler: Euler a, Seed: 42, Size: 512x512, Model: sd_xl_base_1.0")
    Image.new("RGB", (8, 8)).save("00001.png", pnginfo=info)
    ended = run("jobs-from", "00001.png", "--set", "model=venice-sd35", "-o", "redo.jsonl")
    assert (ended.code, ended.err) == (0, "")
    (job,) = written()
    assert job["metadata"] == {"Sampler": "Euler a", "Model": "sd_xl_base_1.0"}
    assert "gets the API's default model" in run("jobs-from", "00001.png").err
    assert run("redo.jsonl", *FAST, "-o", "out").code == 0
