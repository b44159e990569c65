"""Runs into buckets, through the command line in this process; the buckets are in memory."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from command import run
from fake_bucket import FakeBucket
from fakes import job
from PIL import Image

from venice_batch.api.client import ApiSettings
from venice_batch.api.decode import Piece
from venice_batch.bucket import folder, lease, store
from venice_batch.bucket.folder import KEPT, BucketFolder
from venice_batch.bucket.lease import Lease
from venice_batch.errors import BucketError, FolderError, FolderHeldError, UsageError
from venice_batch.library import run_jobs
from venice_batch.model import ImageFile
from venice_batch.output.images import ImageFolder
from venice_batch.run import fetching_child
from venice_batch.run.fetching_child import Start
from venice_batch.sandbox import SandboxSettings, serve

ADDRESS = "s3://bucket/run"
FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
FOX = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 256, "height": 256}
GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bucket(monkeypatch):
    """The bucket at `ADDRESS`."""
    found = FakeBucket(ADDRESS)
    monkeypatch.setattr(folder, "Bucket", lambda *args, **given: found)
    return found


def write(*lines):
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def made(*arguments, code=0, lines=(GOOD, {**GOOD, "id": "b"})):
    """The summary of a run into the bucket."""
    write(*lines)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--json", *arguments)
    assert found.code == code, found
    return json.loads(found.out)


def names(bucket, part=""):
    return sorted(path for path in bucket.objects if path.startswith(part))


def records(bucket):
    lines = b"".join(bucket.objects[path] for path in names(bucket, "journal/")).splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_leaves_images_records_and_its_summary_in_the_bucket(bucket):
    summary = made()
    assert summary["output"] == ADDRESS
    assert names(bucket, "images/") == ["images/a.webp", "images/b.webp"]
    (run_id,) = {record["run_id"] for record in records(bucket)}
    assert {record["id"] for record in records(bucket)} == {"a", "b"}
    metadata, content_type = bucket.metadata["images/a.webp"], bucket.types["images/a.webp"]
    (sha256,) = (record["files"][0]["sha256"] for record in records(bucket) if record["id"] == "a")
    assert content_type == "image/webp"
    assert set(metadata) == {"sha256", "run", "purchase"}
    assert (metadata["sha256"], metadata["run"]) == (sha256, run_id)
    assert bucket.objects["manifest.jsonl"].count(b"\n") == 2
    assert json.loads(bucket.objects["summary.json"])["succeeded"] == 2
    assert ".run.json" not in bucket.objects


def test_the_next_run_makes_only_what_is_missing(bucket):
    made()
    del bucket.objects["images/b.webp"]
    summary = made(lines=(GOOD, {**GOOD, "id": "b"}, {**GOOD, "id": "c"}))
    assert (summary["already_done"], summary["succeeded"]) == (1, 2)
    assert names(bucket, "images/") == ["images/a.webp", "images/b.webp", "images/c.webp"]
    assert made()["already_done"] == 2


def test_an_image_of_another_size_is_made_again_and_another_content_only_with_verify(bucket):
    made()
    data = bucket.objects["images/a.webp"]
    bucket.objects["images/a.webp"] = data[:-1] + b"?"
    assert made()["already_done"] == 2
    assert made("--verify")["succeeded"] == 1
    bucket.objects["images/a.webp"] = data[:-1]
    assert made()["succeeded"] == 1
    assert len(bucket.objects["images/a.webp"]) != len(data[:-1])
    assert names(bucket, "images/") == ["images/a.webp", "images/b.webp"]


def test_a_changed_job_replaces_its_own_image_and_no_other(bucket):
    made()
    made(lines=({**GOOD, "prompt": "another"},))
    assert names(bucket, "images/") == ["images/a.webp", "images/b.webp"]
    bucket.put("images/c.webp", b"somebody's")
    made(lines=({**GOOD, "id": "c"},))
    assert bucket.objects["images/c.webp"] == b"somebody's"
    assert "images/c~1.webp" in bucket.objects


def test_jobs_work_on_images_that_an_earlier_run_has_made(bucket):
    upscale = {"id": "large", "endpoint": "/image/upscale", "image": {"job": "a"}, "scale": 2}
    made(lines=(FOX,))
    summary = made(lines=(FOX, upscale))
    assert (summary["already_done"], summary["succeeded"]) == (1, 1), summary
    assert names(bucket, "images/") == ["images/a.webp", "images/large.png"]
    assert made(lines=(FOX, upscale))["already_done"] == 2


def test_jobs_work_on_images_of_the_same_run(bucket):
    upscale = {"id": "large", "endpoint": "/image/upscale", "image": {"job": "a"}, "scale": 2}
    assert made(lines=(FOX, upscale))["succeeded"] == 2


def test_check_and_a_dry_run_see_what_the_bucket_holds_and_change_nothing(bucket):
    made()
    before = dict(bucket.objects)
    write(GOOD, {**GOOD, "id": "c"})
    checked = run("check", "jobs.jsonl", "-o", ADDRESS, "--sandbox")
    planned = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--dry-run")
    for found in (checked, planned):
        assert found.code == 0, found
        assert "2 jobs, all lines valid, 1 done before" in found.out
        assert f"1 request would go out, into {ADDRESS}" in found.out
    assert bucket.objects == before


def test_a_folder_that_was_copied_into_the_bucket_is_gone_on_with(bucket):
    write(GOOD)
    assert run("jobs.jsonl", "-o", "out", *FAST).code == 0
    for path in ("manifest.jsonl", "images/a.webp"):
        bucket.put(path, Path("out", path))
    assert made()["already_done"] == 1
    assert made()["already_done"] == 2
    assert [record["id"] for record in records(bucket)][-2:] == ["a", "b"]


def test_unknown_answers_are_kept_in_the_bucket(bucket):
    made("--sandbox-set", "fault_rate=1", "--sandbox-set", "fault_kinds=garbage", code=1, lines=(GOOD,))
    assert [path for path in names(bucket) if path.startswith("unrecognised/")]


def test_the_gallery_is_published_with_its_thumbnails(bucket):
    made("--gallery", "--sandbox-draw", "art", lines=({**GOOD, "width": 1024, "height": 1024, "format": "png"},))
    assert bucket.types["gallery.html"] == "text/html"
    assert [path for path in names(bucket) if path.startswith("thumbnails/")]


def test_junit_metrics_and_the_users_command_see_the_address(bucket):
    made("--junit", "junit.xml", "--metrics-file", "m.prom", "--on-finish", "echo $VENICE_BATCH_FOLDER > folder")
    assert 'tests="2"' in Path("junit.xml").read_text()
    assert ADDRESS in Path("m.prom").read_text()
    assert Path("folder").read_text().strip() == ADDRESS


def test_layout_is_refused_with_the_command_that_does_it(bucket):
    write(GOOD)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--layout", "flat")
    assert found.code == 2
    assert f"venice-batch export {ADDRESS} --layout flat" in found.err


def test_the_scratch_folder_goes_with_the_run(bucket):
    made("--scratch", "scratch")
    assert list(Path("scratch").iterdir()) == []


def test_a_store_without_conditions_is_refused_before_anything_is_sent(bucket):
    bucket.conditions = False
    found = made(code=5)
    assert found["reason"] == (
        f"{ADDRESS}: this store ignores conditions, so nothing keeps two runs apart; if only one ever runs, give "
        "--bucket-without-lock"
    )
    assert not bucket.objects


def test_a_store_without_conditions_can_be_accepted(bucket):
    bucket.conditions = False
    write(GOOD)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--bucket-without-lock")
    assert found.code == 0
    assert "this store ignores conditions; nothing keeps another run out of it" in found.err
    assert ".lock" not in bucket.objects
    bucket.put("images/c.webp", b"somebody's")
    made("--bucket-without-lock", lines=({**GOOD, "prompt": "other"}, {**GOOD, "id": "c"}))
    assert bucket.objects["images/c.webp"] == b"somebody's"
    assert names(bucket, "images/") == ["images/a.webp", "images/c.webp", "images/c~1.webp"]


def test_a_bucket_that_takes_no_records_stops_the_run_with_5(bucket):
    def fail(name, path):
        if name in ("put", "create") and path.startswith("journal/"):
            raise BucketError(ADDRESS, "does not answer; run again later")

    bucket.before = fail
    found = made(code=5)
    assert "does not answer; run again later" in found["reason"]
    assert not records(bucket)


def test_the_images_of_a_job_go_into_the_bucket_all_or_none(bucket):
    def fail(name, path):
        if name == "create" and path == "images/a-2.webp":
            raise BucketError(ADDRESS, "does not answer; run again later")

    bucket.before = fail
    found = made("-c", "1", code=5, lines=({**GOOD, "variants": 2},))
    assert "does not answer" in found["reason"]
    assert not names(bucket, "images/")


def test_images_that_the_bucket_does_not_take_are_kept(bucket):
    def fail(name, path):
        if name == "create" and path == "images/a-2.webp":
            raise BucketError(ADDRESS, "does not answer; run again later")

    bucket.before = fail
    found = made("-c", "1", "--scratch", "scratch", code=5, lines=({**GOOD, "variants": 3},))
    (temporary,) = Path("scratch").iterdir()
    assert [path.name for path in temporary.iterdir()] == [KEPT]
    assert found["reason"].endswith(f"; images that it did not take are in {temporary.absolute() / KEPT}")
    kept = sorted(path.name for path in (temporary / KEPT / "images").iterdir())
    assert kept == ["a-1.webp", "a-2.webp", "a-3.webp"]
    assert all(path.stat().st_size for path in (temporary / KEPT / "images").iterdir())


@pytest.mark.parametrize("error", [BucketError(ADDRESS, "does not answer; run again later"), OSError(28, "is full")])
def test_an_image_that_cannot_be_taken_back_stays_in_the_bucket(bucket, error):
    def fail(name, path):
        if (name, path) == ("create", "images/a-2.webp"):
            raise BucketError(ADDRESS, "does not answer; run again later")
        if name == "fetch":
            raise error

    bucket.before = fail
    made("-c", "1", "--scratch", "scratch", code=5, lines=({**GOOD, "variants": 3},))
    assert names(bucket, "images/") == ["images/a-1.webp"]
    kept = sorted(path.name for path in Path("scratch").glob(f"*/{KEPT}/images/*"))
    assert kept == ["a-2.webp", "a-3.webp"]


async def test_unknown_answers_that_the_bucket_does_not_take_are_kept(bucket, tmp_path):
    def fail(name, path):
        if path == "unrecognised/a-2.png":
            raise BucketError(ADDRESS, "does not answer; run again later")

    bucket.before = fail
    root = tmp_path / "scratch/run"
    (root / "images").mkdir(parents=True)
    images = ImageFolder(root, prefix="r", store=folder.BucketImages(bucket, root, "run"))
    writer = images.writer(job("a", variants=3))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    unknown = bytes(range(200))
    for number, data in enumerate([unknown, buffer.getvalue(), unknown]):
        await writer.write(Piece(number, data, last=True))
    with pytest.raises(FolderError, match="does not answer"):
        await writer.commit()
    await writer.discard()
    assert names(bucket) == ["unrecognised/a-1.bin"]
    kept = sorted(path.relative_to(root.parent / KEPT).as_posix() for path in (root.parent / KEPT).glob("*/*"))
    assert kept == ["unrecognised/a-2.png", "unrecognised/a-3.bin"]


def test_a_run_that_has_lost_its_lock_keeps_its_records_and_leaves_the_manifest_alone(bucket, monkeypatch):
    def lost(self):
        if any(path.startswith("journal/") for path in bucket.objects):
            raise BucketError(ADDRESS, "another run has taken over its lock; this run has stopped")

    monkeypatch.setattr(Lease, "check", lost)
    found = made(code=5)
    assert found["reason"] == f"{ADDRESS}: another run has taken over its lock; this run has stopped"
    assert len(records(bucket)) == 2
    assert "manifest.jsonl" not in bucket.objects


def test_a_summary_that_cannot_be_published_changes_the_exit_code_only(bucket):
    def fail(name, path):
        if path == "summary.json" and name == "put":
            raise BucketError(ADDRESS, "does not answer; run again later")

    bucket.before = fail
    found = made(code=5)
    assert (found["succeeded"], found["reason"]) == (2, f"{ADDRESS}: does not answer; run again later")


def test_a_run_whose_lock_is_held_by_a_living_run_ends_with_5(bucket, monkeypatch):
    class Held:
        is_undecided = False

        def __init__(self, *given):
            pass

        def attempt(self):
            raise FolderHeldError(ADDRESS, "process 7")

    monkeypatch.setattr(lease, "Contender", Held)
    assert made(code=5)["reason"].startswith(f"{ADDRESS}: another run (process 7) is using")
    assert not names(bucket)


def test_a_process_of_processes_puts_images_into_the_same_bucket(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "Bucket", lambda *given: bucket)
    start = Start("key", ApiSettings(), str(tmp_path), "run-1", False, ADDRESS, "run", True)
    images = fetching_child.store(start)
    Path("part").write_bytes(b"image")
    image = ImageFile("images/a.webp", 5, "0" * 64, "webp", 1, 1)
    assert images.put("part", image, keep=False)
    assert bucket.metadata["images/a.webp"] == {"sha256": "0" * 64, "run": "run"}
    assert fetching_child.store(msgspec.structs.replace(start, bucket=None)) is None


def test_an_owned_image_that_is_gone_or_changed_meanwhile_is_not_overwritten(bucket, tmp_path):
    images = BucketFolder(bucket, tmp_path).images("run")
    part, image = tmp_path / "a.part", ImageFile("images/a.webp", 1, "0" * 64, "webp", 1, 1)
    part.write_bytes(b"x")
    assert images.replace(str(part), image, keep=False)

    def change(name, path):
        if name == "replace":
            bucket.before = lambda name, path: None
            bucket.put("images/a.webp", b"another run's")

    part.write_bytes(b"y")
    bucket.before = change
    assert not images.replace(str(part), image, keep=False)
    assert bucket.objects["images/a.webp"] == b"another run's"
    assert part.exists()


def test_a_scratch_folder_that_cannot_be_made_is_one_line(bucket):
    Path("file").write_text("")
    write(GOOD)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--scratch", "file/scratch")
    assert found.code == 5
    assert "file/scratch" in found.err


def test_records_that_came_after_the_price_check_are_seen_by_the_run(bucket):
    made(lines=(GOOD,))
    assert made("--max-cost", "1")["already_done"] == 1


@pytest.mark.parametrize(("typed", "meant"), [("s3:/bucket/run", "s3://bucket/run"), ("GS:bucket", "gs://bucket")])
def test_an_address_without_its_slashes_is_no_folder(bucket, typed, meant):
    write(GOOD)
    found = run("jobs.jsonl", "-o", typed, *FAST)
    assert found.code == 2
    assert f"{typed}: did you mean {meant}? A folder of that name is ./{typed}" in found.err
    assert run("report", typed).code == 2
    assert not Path(typed.partition("/")[0]).exists()
    assert run("jobs.jsonl", "-o", f"./{typed}", *FAST).code == 0


async def test_the_library_asks_for_the_slashes_too(bucket):
    with pytest.raises(UsageError, match="did you mean s3://bucket/run"):
        await run_jobs([GOOD], "s3:/bucket/run", api_key="k", base_url="http://127.0.0.1:9")


async def test_a_short_name_with_a_colon_is_a_folder(bucket):
    async with serve(SandboxSettings(rpm=0, latency_s=0, draw="plain")) as sandbox:
        summary = await run_jobs([GOOD], "v2:night", api_key="k", base_url=sandbox.base_url)
    assert summary.output == "v2:night"


def test_a_run_says_whose_lock_it_has_taken_over(bucket, monkeypatch):
    made(lines=(GOOD,))
    dead = {"token": "t", "holder": "process 7 on vm", "beat": "b", "ttl_s": 0.05}
    bucket.put(".lock", json.dumps(dead).encode())
    monkeypatch.setattr(lease, "POLL_S", 0.02)
    write(GOOD)
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST)
    assert found.code == 0
    lines = found.err.splitlines()
    assert (
        f"process 7 on vm holds {ADDRESS}; if it does not renew its lock within 60 s it is dead, and this run goes on"
        in lines
    )
    what = "process 7 on vm has not renewed its lock for 60 s, so this run has taken it over"
    assert f"{what}; what that run had in flight may be bought again" in lines


def test_images_that_came_while_the_run_waited_for_the_lock_are_not_bought_again(bucket):
    made(lines=(GOOD,))
    parts = (bucket.objects, bucket.types, bucket.metadata, bucket.versions)
    before = [dict(part) for part in parts]
    made()
    after = [dict(part) for part in parts]

    def become(state):
        for part, found in zip(parts, state, strict=True):
            part.clear()
            part.update(found)

    def lock(name, path):
        if (name, path) == ("read", ".lock"):
            bucket.before = lambda *asked: None
            become(after)

    become(before)
    bucket.before = lock
    found = made("--max-cost", "1")
    assert (found["already_done"], found["attempts"]) == (2, 0)


async def test_the_library_runs_into_a_bucket_too(bucket):
    async with serve(SandboxSettings(rpm=0, latency_s=0, draw="plain")) as sandbox:
        summary = await run_jobs([GOOD], ADDRESS, api_key="k", base_url=sandbox.base_url, scratch="scratch")
    assert (summary.succeeded, summary.output) == (1, ADDRESS)
    assert names(bucket, "images/") == ["images/a.webp"]
