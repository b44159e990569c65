import json
import threading
from pathlib import Path

import pytest
from command import run
from memory import MemoryBucket

from venice_batch.bucket import folder, store
from venice_batch.bucket.folder import BucketFolder, BucketImages
from venice_batch.errors import BucketError
from venice_batch.model import ImageFile
from venice_batch.output.manifest import FileView

ADDRESS = "s3://bucket/run"
FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MemoryBucket, "stores", {})
    monkeypatch.setattr(folder, "Bucket", MemoryBucket)
    monkeypatch.setattr(store, "Bucket", MemoryBucket)


def write(*lines):
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def made(*arguments, code=0, lines=(GOOD, {**GOOD, "id": "b"})):
    """The summary of a run into the bucket."""
    write(*lines)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--json", *arguments)
    assert found.code == code, found
    return json.loads(found.out)


def objects():
    return MemoryBucket.stores[ADDRESS]


def names(part=""):
    return sorted(path for path in objects() if path.startswith(part))


def records():
    lines = b"".join(objects()[path][0] for path in names("journal/")).splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_leaves_images_records_and_its_summary_in_the_bucket():
    summary = made()
    assert summary["output"] == ADDRESS
    assert names("images/") == ["images/a.webp", "images/b.webp"]
    (run_id,) = {path.split("/")[1] for path in names("journal/")}
    assert {record["id"] for record in records()} == {"a", "b"}
    data, metadata, content_type, _ = objects()["images/a.webp"]
    (sha256,) = (record["files"][0]["sha256"] for record in records() if record["id"] == "a")
    assert (metadata, content_type) == ({"sha256": sha256, "run": run_id}, "image/webp")
    assert objects()["manifest.jsonl"][0].count(b"\n") == 2
    assert json.loads(objects()["summary.json"][0])["succeeded"] == 2
    assert ".run.json" not in objects()


def test_the_next_run_makes_only_what_is_missing():
    made()
    del objects()["images/b.webp"]
    summary = made(lines=(GOOD, {**GOOD, "id": "b"}, {**GOOD, "id": "c"}))
    assert (summary["already_done"], summary["succeeded"]) == (1, 2)
    assert names("images/") == ["images/a.webp", "images/b.webp", "images/c.webp"]
    assert made()["already_done"] == 2


def test_an_image_of_another_size_is_made_again_and_another_content_only_with_verify():
    made()
    data, metadata, content_type, version = objects()["images/a.webp"]
    objects()["images/a.webp"] = (data[:-1] + b"?", metadata, content_type, version)
    assert made()["already_done"] == 2
    assert made("--verify")["succeeded"] == 1
    objects()["images/a.webp"] = (data[:-1], metadata, content_type, version)
    assert made()["succeeded"] == 1
    assert objects()["images/a.webp"][0] == data
    assert names("images/") == ["images/a.webp", "images/b.webp"]


def test_a_changed_job_replaces_its_own_image_and_no_other():
    made()
    made(lines=({**GOOD, "prompt": "another"},))
    assert names("images/") == ["images/a.webp", "images/b.webp"]
    objects()["images/c.webp"] = (b"somebody's", {}, "", 1)
    made(lines=({**GOOD, "id": "c"},))
    assert objects()["images/c.webp"][0] == b"somebody's"
    assert "images/c~1.webp" in objects()


def test_jobs_work_on_images_that_an_earlier_run_has_made():
    upscale = {"id": "large", "endpoint": "/image/upscale", "image": {"job": "a"}, "scale": 2}
    made(lines=(GOOD,))
    summary = made(lines=(GOOD, upscale))
    assert (summary["already_done"], summary["succeeded"]) == (1, 1), summary
    assert names("images/") == ["images/a.webp", "images/large.png"]
    assert made(lines=(GOOD, upscale))["already_done"] == 2


def test_jobs_work_on_images_of_the_same_run():
    upscale = {"id": "large", "endpoint": "/image/upscale", "image": {"job": "a"}, "scale": 2}
    assert made(lines=(GOOD, upscale))["succeeded"] == 2


def test_check_and_a_dry_run_see_what_the_bucket_holds_and_change_nothing():
    made()
    before = dict(objects())
    write(GOOD, {**GOOD, "id": "c"})
    checked = run("check", "jobs.jsonl", "-o", ADDRESS, "--sandbox")
    planned = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--dry-run")
    for found in (checked, planned):
        assert found.code == 0, found
        assert "2 jobs, all lines valid, 1 done before" in found.out
        assert f"1 request would go out, into {ADDRESS}" in found.out
    assert objects() == before


def test_a_folder_that_was_copied_into_the_bucket_is_gone_on_with():
    write(GOOD)
    assert run("jobs.jsonl", "-o", "out", *FAST).code == 0
    bucket = MemoryBucket(ADDRESS)
    for path in ("manifest.jsonl", "images/a.webp"):
        bucket.put(path, Path("out", path))
    assert made()["already_done"] == 1
    assert made()["already_done"] == 2
    assert len(records()) == 2


def test_unknown_answers_are_kept_in_the_bucket():
    made("--sandbox-set", "garbage_rate=1", "--max-attempts", "1", code=1, lines=(GOOD,))
    assert [path for path in names() if path.startswith("unrecognised/")]


def test_the_gallery_is_published_with_its_thumbnails():
    made("--gallery", lines=({**GOOD, "width": 1024, "height": 1024},))
    assert objects()["gallery.html"][2] == "text/html"
    assert [path for path in names() if path.startswith("thumbnails/")]


def test_junit_metrics_and_the_users_command_see_the_address():
    made("--junit", "junit.xml", "--metrics-file", "m.prom", "--on-finish", "echo $VENICE_BATCH_FOLDER > folder")
    assert 'tests="2"' in Path("junit.xml").read_text()
    assert ADDRESS in Path("m.prom").read_text()
    assert Path("folder").read_text().strip() == ADDRESS


def test_layout_is_refused_with_the_command_that_does_it():
    write(GOOD)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--layout", "flat")
    assert found.code == 2
    assert f"venice-batch export {ADDRESS} --layout flat" in found.err


def test_the_scratch_folder_goes_with_the_run(tmp_path):
    made("--scratch", "scratch")
    assert list(Path("scratch").iterdir()) == []


def test_a_store_without_conditions_is_refused_before_anything_is_sent(monkeypatch):
    monkeypatch.setattr(MemoryBucket, "knows_conditions", lambda self: False)
    found = made(code=5)
    assert found["reason"] == (
        f"{ADDRESS}: this store ignores conditions, so nothing keeps two runs apart; if only one ever runs, give "
        "--bucket-without-lock"
    )
    assert not objects()


def test_a_store_without_conditions_can_be_accepted(monkeypatch):
    monkeypatch.setattr(MemoryBucket, "knows_conditions", lambda self: False)
    write(GOOD)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--bucket-without-lock")
    assert found.code == 0
    assert "this store ignores conditions; nothing keeps another run out of it" in found.err
    assert ".lock" not in objects()
    objects()["images/c.webp"] = (b"somebody's", {}, "", 1)
    made("--bucket-without-lock", lines=({**GOOD, "prompt": "other"}, {**GOOD, "id": "c"}))
    assert objects()["images/c.webp"][0] == b"somebody's"
    assert names("images/") == ["images/a.webp", "images/c.webp", "images/c~1.webp"]


def test_a_bucket_that_takes_no_records_stops_the_run_with_5(monkeypatch):
    def broken(self, path, source, **others):
        if path.startswith("journal/"):
            raise BucketError(self.address, "does not answer; run again later")
        MemoryBucket.put(self, path, source, **others)

    monkeypatch.setattr(folder, "Bucket", type("Broken", (MemoryBucket,), {"put": broken, "create": broken_create}))
    found = made(code=5)
    assert "does not answer; run again later" in found["reason"]


def broken_create(self, path, source, **others):
    if path.startswith("journal/"):
        raise BucketError(self.address, "does not answer; run again later")
    return MemoryBucket.create(self, path, source, **others)
