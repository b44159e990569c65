"""What commands change in a copy goes to its bucket under the lock, in an order that survives a stop at any moment."""

import hashlib
from contextlib import contextmanager

import msgspec
import pytest
from fake_bucket import FakeBucket
from gallery.made import noise_bytes, record, write
from records import outcome

from venice_batch.bucket import copies
from venice_batch.bucket.copies import local_copy
from venice_batch.bucket.publish import changing, note_thumbnails, publish_page
from venice_batch.errors import BucketError, FolderError, FolderHeldError
from venice_batch.output.manifest import numbered_outcomes
from venice_batch.output.marks import Mark
from venice_batch.output.merge import merge
from venice_batch.output.prune import prune

RUN = "20260301T000000Z-cccccc"


class Held:
    """A lease that is lost after some checks."""

    def __init__(self, checks=1_000):
        self.checks = checks

    def check(self):
        self.checks -= 1
        if self.checks < 0:
            raise BucketError("s3://bucket/out", "another run has taken it over")


@contextmanager
def held(bucket, run_id):
    bucket.requests.append(("lock", run_id))
    yield Held()
    bucket.requests.append(("unlock", run_id))


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket with the images `a`, which is rejected, and `b`."""
    root = tmp_path / "out"
    a, b = record(root, "a", data=noise_bytes()), record(root, "b")
    write(root, a, b)
    rejected = Mark(a.files[0].sha256, "a", 1, "rejected", None, "2026-01-01T00:00:00Z")
    (root / "marks.jsonl").write_bytes(msgspec.json.encode(rejected) + b"\n")
    filled = FakeBucket().fill(root)
    monkeypatch.setattr(copies, "Bucket", lambda address, environ: filled)
    return filled


def writes(bucket):
    """The calls that change the bucket, without those of its lock."""
    return [
        (name, path)
        for name, path in bucket.requests
        if name in ("put", "create", "replace", "delete", "lock", "unlock")
    ]


def images(bucket):
    return {path for path in bucket.objects if path.startswith(("images/", "rejected/"))}


def test_a_prune_writes_images_then_records_then_removes_the_old_names(bucket):
    with local_copy("s3://bucket/out", {}) as copy, changing(copy, RUN, lease=held):
        prune(copy.root)
    first, *order, last = writes(bucket)
    assert (first, last) == (("lock", RUN), ("unlock", RUN))
    assert order[0] == ("put", "rejected/a.png")
    assert order[1] == ("put", f"journal/000002-{RUN}/00000001.jsonl")
    assert order[-1] == ("delete", "images/a.png")
    assert images(bucket) == {"rejected/a.png", "images/b.png"}
    digest = hashlib.sha256(bucket.objects["rejected/a.png"]).hexdigest()
    assert bucket.types["rejected/a.png"] == "image/png"
    assert bucket.metadata["rejected/a.png"] == {"sha256": digest, "run": RUN}


def test_a_prune_that_is_stopped_after_any_request_can_be_repeated_and_loses_nothing(bucket):
    content = bucket.objects["images/a.png"]
    for allowed in range(30):
        left = [allowed]

        def stop(name, path, left=left):
            if name in ("put", "create", "replace", "delete"):
                left[0] -= 1
                if left[0] < 0:
                    raise BucketError("s3://bucket/out", "cannot be reached")

        bucket.before = stop
        try:
            with local_copy("s3://bucket/out", {}) as copy, changing(copy, f"{RUN}{allowed:02}", lease=held):
                prune(copy.root)
        except BucketError:
            pass
        bucket.before = lambda name, path: None
        with local_copy("s3://bucket/out", {}) as copy:
            latest = {one.id: one for _, one in numbered_outcomes(copy.root / "manifest.jsonl")}
            assert bucket.objects[latest["a"].files[0].path] == content
    assert images(bucket) == {"rejected/a.png", "images/b.png"}


@pytest.mark.parametrize("checks", range(3))
def test_nothing_more_is_written_once_the_lock_is_lost(bucket, checks):
    before = dict(bucket.objects)

    @contextmanager
    def lost(bucket, run_id):
        yield Held(checks)

    with (
        pytest.raises(BucketError, match="taken it over"),
        local_copy("s3://bucket/out", {}) as copy,
        changing(copy, RUN, lease=lost),
    ):
        prune(copy.root)
    assert images(bucket) >= {"images/a.png", "images/b.png"}
    assert len(bucket.objects) - len(before) <= max(0, checks) + 1


def test_nothing_is_written_if_the_work_fails_or_another_run_holds_the_bucket(bucket):
    before = dict(bucket.objects)
    with (
        pytest.raises(FolderError, match=r"holds no manifest\.jsonl"),
        local_copy("s3://bucket/out", {}) as copy,
        changing(copy, RUN, lease=held),
    ):
        prune(copy.root / "no")

    @contextmanager
    def taken(bucket, run_id):
        raise FolderHeldError(bucket.address, "run 1")
        yield

    with pytest.raises(FolderHeldError), local_copy("s3://bucket/out", {}) as copy, changing(copy, RUN, lease=taken):
        pytest.fail("it did not wait for the lock")
    assert bucket.objects == before


def test_the_copy_is_brought_up_to_date_once_the_bucket_is_locked(bucket):
    with local_copy("s3://bucket/out", {}) as copy:
        line = msgspec.json.encode(outcome("late", files=())) + b"\n"
        bucket.put("journal/000002-20260201T000000Z-bbbbbb/00000001.jsonl", line)
        with changing(copy, RUN, lease=held):
            assert [one.id for _, one in numbered_outcomes(copy.root / "manifest.jsonl")] == ["a", "b", "late"]
    assert [path for name, path in writes(bucket) if RUN in path and name != "lock" and name != "unlock"] == []


def test_a_merge_replaces_an_older_image_of_the_same_job(bucket, tmp_path):
    newer = record(tmp_path / "new", "b", data=noise_bytes(), run_id="20260201T000000Z-bbbbbb")
    timing = msgspec.structs.replace(newer.timing, enqueued_at="2027-01-01T00:00:00.000Z")
    write(tmp_path / "new", msgspec.structs.replace(newer, timing=timing))
    with local_copy("s3://bucket/out", {}) as copy, changing(copy, RUN, lease=held):
        merged = merge([tmp_path / "new"], copy.root)
    assert (merged.added, merged.images) == (1, 1)
    assert bucket.objects["images/b.png"] == (tmp_path / "new/images/b.png").read_bytes()
    assert images(bucket) == {"images/a.png", "images/b.png"}


def test_a_page_is_put_last_and_with_the_thumbnails_that_are_new(bucket):
    bucket.put("thumbnails/old.webp", b"old")
    bucket.put("thumbnails/inner/odd.webp", b"odd")
    bucket.requests.clear()
    with local_copy("s3://bucket/out", {}) as copy:
        note_thumbnails(copy)
        assert [path.name for path in (copy.root / "thumbnails").iterdir()] == ["old.webp"]
        (copy.root / "thumbnails/new.webp").write_bytes(b"new")
        (copy.root / "gallery.html").write_bytes(b"<html>")
        publish_page(copy, copy.root / "gallery.html")
    assert bucket.asked("put") == ["thumbnails/new.webp", "gallery.html"]
    assert bucket.objects["thumbnails/old.webp"] == b"old"
    assert bucket.types["thumbnails/new.webp"] == "image/webp"
