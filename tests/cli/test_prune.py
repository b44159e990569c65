"""prune through the command line, in this process."""

import json
from pathlib import Path

import pytest
from command import run

from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.resume import LatestRecords

FAST = ["--sandbox", "--sandbox-latency", "0", "--sandbox-draw", "plain", "--offline"]


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A folder with two jobs of two images each; three of the four are rejected."""
    monkeypatch.chdir(tmp_path)
    job = {"model": "venice-sd35", "prompt": "a fox", "width": 256, "height": 256, "variants": 2}
    Path("jobs.jsonl").write_text("".join(json.dumps({**job, "id": name}) + "\n" for name in ("fox", "sea")))
    assert run("jobs.jsonl", *FAST, "-o", "out", "-q").code == 0
    records = {record.id: record for record in LatestRecords(Path("out/manifest.jsonl"))}
    with MarksFile(Path("out")) as marks:
        for job_id, number in (("fox", 1), ("sea", 1), ("sea", 2)):
            digest = records[job_id].files[number - 1].sha256
            marks.append([Mark(digest, job_id, number, "rejected", None, "2026-01-01T00:00:00Z")])
    return Path("out")


def images(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.webp") if path.parent.name != "thumbnails")


@pytest.mark.parametrize("delete", [[], ["--delete"]])
def test_no_later_run_makes_rejected_images_again(out, delete):
    before = images(out)
    preview = run("prune", "out", "--rejected", "--dry-run", *delete)
    assert preview.out.startswith("would delete 3 rejected images (" if delete else "would move 3 rejected images (")
    assert images(out) == before
    done = run("prune", "out", "--rejected", *delete)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("deleted 3 rejected images (" if delete else "moved 3 rejected images (")
    assert done.out.endswith(")\n" if delete else ") to out/rejected\n")
    moved = [] if delete else ["rejected/fox-1.webp", "rejected/sea-1.webp", "rejected/sea-2.webp"]
    assert images(out) == ["images/fox-2.webp", *moved]
    for path in out.glob("rejected/*"):
        path.unlink()  # as people do with what they have rejected
    for more in ([], ["--verify"], ["--retry-rejected"]):
        summary = json.loads(run("jobs.jsonl", *FAST, "-o", "out", "--json", *more).out)
        assert (summary["already_done"], summary["attempts"]) == (2, 0)
    again = run("prune", "out", "--rejected", *delete)
    assert again.out == f"no rejected image in out is left to {'delete' if delete else 'move'}\n"


def test_the_other_commands_know_what_was_pruned(out):
    run("prune", "out", "--rejected")
    assert "pruned: 3 rejected images\n" in run("report", "out").out
    assert json.loads(run("report", "out", "--json", "--no-gallery").out)["pruned"] == 3
    table = run("export", "out", "--csv", "-").out
    assert table.count("moved") == 3
    assert run("merge", "out", "-o", "all").out == "2 jobs in all: 2 added with 4 images and 3 marks, 0 there before\n"
    assert images(Path("all")) == images(out)
    jobs = run("jobs-from", "all", "--rejected", "--upscale", "2", "--id", "fox*").out
    assert json.loads(jobs)["image"]["path"] == str(Path("all/rejected/fox-1.webp").absolute())
    run("prune", "all", "--rejected", "--delete")
    refused = run("jobs-from", "all", "--rejected", "--upscale", "2", "--id", "fox*")
    assert "image 1 of fox: was rejected and deleted" in refused.err


def test_the_result_can_be_json(out):
    found = json.loads(run("prune", "out", "--rejected", "--json").out)
    assert (found["images"], found["deleted"], found["left_out"]) == (3, False, [])
    assert found["bytes"] > 0


def test_an_image_that_has_to_stay_is_named(out):
    Path("out/images/fox-1.webp").write_bytes(b"edited")
    done = run("prune", "out", "--rejected")
    assert done.code == 1
    assert done.err == (
        "venice-batch: left where it is: image 1 of fox: 'images/fox-1.webp' has changed since it was made\n"
    )


def test_it_asks_which_images(out):
    assert run("prune", "out").err == "venice-batch: say which images to prune: --rejected\n"
    assert run("prune", "nowhere", "--rejected").code == 5
