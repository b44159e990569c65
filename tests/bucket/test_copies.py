"""Copies of folders in buckets: what they read and when, what they append, and how they follow a bucket."""

import tempfile
import threading
from pathlib import Path

import aiohttp
import anyio
import msgspec
import pytest
from fake_bucket import FakeBucket
from gallery.made import noise_bytes, put, record, write
from records import outcome

from venice_batch.bucket import copies
from venice_batch.bucket.copies import Copy, in_threads, local_copy, merge_command
from venice_batch.errors import BucketError, FolderError
from venice_batch.output.manifest import numbered_outcomes
from venice_batch.output.marks import Mark, MarksFile, read_marks
from venice_batch.output.originals import copied, original_of
from venice_batch.output.plain_files import PlainFiles
from venice_batch.view import serve

MARK = Mark("0" * 64, "a", 1, "picked", None, "2026-01-01T00:00:00Z")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket with the images `a` and `b`, and what `local_copy` opens."""
    root = write(tmp_path / "out", record(tmp_path / "out", "a", data=noise_bytes()), record(tmp_path / "out", "b"))
    filled = FakeBucket().fill(root)
    monkeypatch.setattr(copies, "Bucket", lambda address, environ: filled)
    return filled


@pytest.fixture
def copy(bucket, tmp_path):
    (tmp_path / "copy").mkdir()
    return Copy(bucket, tmp_path / "copy", wait=lambda seconds: None)


def ids(root):
    return [one.id for _, one in numbered_outcomes(root / "manifest.jsonl")]


def line(job_id, **changes):
    return msgspec.json.encode(outcome(job_id, **changes)) + b"\n"


def test_a_copy_is_named_after_its_folder_and_goes_with_the_block(bucket):
    bucket.put("marks.jsonl", msgspec.json.encode(MARK) + b"\n")
    with local_copy("s3://bucket/night/run-7/", {}) as copy:
        assert copy.root.name == "run-7"
        assert ids(copy.root) == ["a", "b"]
        assert list(read_marks(copy.root)) == [MARK.key]
        assert original_of(copy.root) is copy
    assert not copy.root.parent.exists()
    assert original_of(copy.root) is None


def test_a_folder_that_was_copied_into_a_bucket_from_a_disk_can_be_read(bucket):
    bucket.objects = {path: data for path, data in bucket.objects.items() if not path.startswith("journal/")}
    bucket.put("manifest.jsonl", line("c"))
    with local_copy("s3://bucket/out", {}) as copy:
        assert ids(copy.root) == ["c"]


def test_without_room_for_a_copy_a_line_names_the_folder(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(FolderError, match="gone: has vanished"), local_copy("s3://bucket/out", {}):
        pass


def test_a_small_file_that_goes_while_it_is_read_is_left_out(copy, bucket):
    bucket.put("summary.json", b"{}")

    def remove(name, path):
        if (name, path) == ("read", "summary.json"):
            bucket.objects.pop(path)

    bucket.before = remove
    copy.refresh()
    assert not (copy.root / "summary.json").exists()


def test_images_are_listed_once_and_each_is_brought_once(copy, bucket):
    assert copy.size("images/b.png") == len(bucket.objects["images/b.png"])
    assert copy.size("images/none.png") is None
    for _ in range(2):
        copy.fetch("images/b.png")
    assert bucket.asked("list").count("images") == 1
    assert bucket.asked("fetch")[1:] == ["images/b.png"]  # the journal comes first
    assert (copy.root / "images/b.png").read_bytes() == bucket.objects["images/b.png"]
    assert sorted(path.name for path in (copy.root / "images").iterdir()) == ["b.png"]


def test_what_was_brought_and_removed_here_is_gone_and_is_not_brought_again(copy, bucket):
    copy.fetch_all(["images/a.png", "images/b.png", "images/none.png"])
    (copy.root / "images/a.png").unlink()
    (copy.root / "images/b.png").write_bytes(b"changed")
    (copy.root / "images/new.png").write_bytes(b"new")
    copy.fetch("images/a.png")
    assert copy.size("images/a.png") is None
    assert copy.size("images/b.png") == 7
    assert copy.removed() == ["images/a.png"]
    assert copy.changed() == ["images/b.png", "images/new.png"]


@pytest.mark.parametrize("path", ["images/../../evil.png", "/evil.png"])
def test_an_object_whose_name_leads_out_of_the_copy_is_not_brought(copy, bucket, tmp_path, path):
    bucket.put(path, b"x")
    with pytest.raises(FileNotFoundError):
        copy.fetch(path)
    copy.fetch_all([path])
    assert not list(tmp_path.rglob("evil.png"))


def test_an_image_that_has_vanished_is_missing_and_a_full_disk_is_not(copy, bucket, monkeypatch):
    del bucket.objects["images/a.png"]
    with pytest.raises(FileNotFoundError):
        copy.fetch("images/a.png")

    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bucket, "fetch", full)
    with pytest.raises(FolderError, match="the disk is full"):
        copy.fetch("images/b.png")


def test_a_bucket_out_of_reach_is_not_a_missing_image(copy, bucket):
    def refuse(name, path):
        raise BucketError(bucket.address, "cannot be reached")

    copy.size("images/a.png")
    bucket.before = refuse
    with copied(copy.root, copy), pytest.raises(BucketError):
        PlainFiles(copy.root).open("images/a.png")


def test_appended_lines_go_behind_those_of_others_and_a_cut_line(copy, bucket):
    bucket.put("marks.jsonl", b'{"cut')
    copy.append("marks.jsonl", b"1\n")
    bucket.put("marks.jsonl", bucket.objects["marks.jsonl"] + b"theirs\n")
    copy.append("marks.jsonl", b"2\n")
    assert bucket.objects["marks.jsonl"] == b'{"cut\n1\ntheirs\n2\n'
    assert (copy.root / "marks.jsonl").read_bytes() == bucket.objects["marks.jsonl"]
    assert bucket.types["marks.jsonl"] == "application/jsonl"
    assert bucket.asked("probe") == [""]


def test_of_many_that_append_at_the_same_time_no_line_is_lost(bucket, tmp_path):
    others = []
    for number in range(6):
        (tmp_path / f"copy-{number}").mkdir()
        others.append(Copy(bucket, tmp_path / f"copy-{number}", wait=lambda seconds: None))
    failed = []

    def append(number):
        for turn in range(20):
            try:
                others[number].append("marks.jsonl", b"%d-%d\n" % (number, turn))
            except BucketError:
                failed.append(b"%d-%d" % (number, turn))

    threads = [threading.Thread(target=append, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = bucket.objects["marks.jsonl"].split()
    assert sorted(written + failed) == sorted(b"%d-%d" % (number, turn) for number in range(6) for turn in range(20))


def test_appending_gives_up_when_others_write_all_the_time(copy, bucket):
    def write_first(name, path):
        if name in ("create", "replace"):
            bucket.before = lambda name, path: None
            bucket.put("marks.jsonl", b"theirs\n")
            bucket.before = write_first

    bucket.before = write_first
    with pytest.raises(BucketError, match=r"s3://bucket/out/marks\.jsonl: other programs change it all the time; run"):
        copy.append("marks.jsonl", b"1\n")


def test_refreshing_reads_only_what_has_changed(copy, bucket):
    bucket.requests.clear()
    copy.refresh()
    assert {name for name, _ in bucket.requests} == {"list", "head"}
    assert len(bucket.requests) == 4
    bucket.put("journal/000002-20260102T000000Z-bbbbbb/00000001.jsonl", line("c"))
    bucket.put("summary.json", b"{}")
    bucket.requests.clear()
    copy.refresh()
    assert ids(copy.root) == ["a", "b", "c"]
    assert (copy.root / "summary.json").read_bytes() == b"{}"
    assert bucket.asked("read") == ["summary.json"]


def test_work_in_threads_ends_with_the_first_exception():
    def fail(path):
        raise BucketError("s3://bucket", f"no {path}")

    with pytest.raises(BucketError, match="no a"):
        in_threads(fail, ["a"])
    with pytest.raises(BucketError):
        in_threads(fail, [str(number) for number in range(100)])
    in_threads(fail, [])


def test_the_command_for_a_copy_can_be_pasted_into_a_shell():
    assert merge_command("s3://bucket/a b") == "venice-batch merge 's3://bucket/a b' -o DIR"


async def _page(session, address):
    async with session.get(address) as answer:
        return await answer.text()


def test_the_live_page_shows_a_buckets_images_and_keeps_marks_there_before_it_says_so(bucket, tmp_path):
    """The page follows the bucket: a record that another machine writes appears, with its image."""

    async def go():
        with local_copy("s3://bucket/out", {}, follow_s=0.01) as copy:
            async with serve(copy.root) as server, aiohttp.ClientSession() as session:
                page = await _page(session, server.address)
                assert "images/a.png" in page
                async with session.get(f"{server.address}images/a.png") as answer:
                    assert await answer.read() == bucket.objects["images/a.png"]
                digest = next(one for _, one in numbered_outcomes(copy.root / "manifest.jsonl")).files[0].sha256
                said = [{"sha256": digest, "id": "a", "image": 1, "mark": "picked"}]
                async with session.post(f"{server.address}marks", json=said) as answer:
                    assert answer.status == 204
                    assert bucket.objects["marks.jsonl"].count(b'"picked"') == 1
                new = put(tmp_path / "out", "images/c.png", noise_bytes())
                bucket.put("images/c.png", tmp_path / "out/images/c.png")
                bucket.put("journal/000002-20260102T000000Z-bbbbbb/00000001.jsonl", line("c", files=(new,)))
                with anyio.fail_after(30):
                    while "images/c.png" not in await _page(session, server.address):  # noqa: ASYNC110
                        await anyio.sleep(0.01)
                async with session.get(f"{server.address}images/c.png") as answer:
                    assert await answer.read() == bucket.objects["images/c.png"]

    anyio.run(go)


def test_the_live_page_survives_a_bucket_that_is_out_of_reach(bucket):
    def refuse(name, path):
        raise BucketError(bucket.address, "cannot be reached")

    async def go():
        with local_copy("s3://bucket/out", {}, follow_s=0.01) as copy:
            copy.size("")
            async with serve(copy.root) as server, aiohttp.ClientSession() as session:
                await _page(session, server.address)
                bucket.before = refuse
                async with session.get(f"{server.address}images/b.png") as answer:
                    assert answer.status == 404
                digest = next(one for _, one in numbered_outcomes(copy.root / "manifest.jsonl")).files[0].sha256
                said = [{"sha256": digest, "id": "a", "image": 1, "mark": "picked"}]
                async with session.post(f"{server.address}marks", json=said) as answer:
                    assert (answer.status, await answer.json()) == (
                        500,
                        {"error": "s3://bucket/out: cannot be reached"},
                    )
                assert not read_marks(copy.root)
                bucket.before = lambda name, path: None
                async with session.post(f"{server.address}marks", json=said) as answer:
                    assert answer.status == 204
                async with session.get(f"{server.address}images/b.png") as answer:
                    assert answer.status == 200

    anyio.run(go)


def test_marks_written_by_two_programs_are_both_there(bucket, tmp_path):
    with local_copy("s3://bucket/out", {}) as one, local_copy("s3://bucket/out", {}) as other:
        for number, copy in enumerate((one, other), 1):
            with MarksFile(copy.root) as file:
                file.append([msgspec.structs.replace(MARK, image=number)])
        one.refresh()
        assert len(read_marks(one.root)) == 2
    assert Path(one.root).exists() is False
