"""What a folder holds, and what has to be made again."""

import hashlib

import pytest

from venice_batch.jobfile import job_key
from venice_batch.output.manifest import FileView, RecordView
from venice_batch.output.recall import recall

DATA = b"an image"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.webp", "b.webp", "b-2.webp"):
        (tmp_path / "images" / name).write_bytes(DATA)
    return tmp_path


def file(name="a.webp"):
    return FileView(f"images/{name}", len(DATA), SHA)


def record(job_id="a", digest="h1", status="succeeded", files=None):
    return RecordView(job_id, digest, status, (file(),) if files is None else files)


def known(root, *records, verify=False):
    return recall(enumerate(records, start=1), root, name="manifest.jsonl", verify=verify)


def test_a_job_with_its_files_is_done(root):
    found = known(root, record(), record("b", files=(file("b.webp"), file("b-2.webp"))))
    assert found.done == {job_key("a", "h1"), job_key("b", "h1")}
    assert not found.rejected
    assert not found.notices


def test_an_empty_manifest_knows_nothing(root):
    found = known(root)
    assert (found.done, found.rejected, found.owned, found.notices) == (frozenset(), frozenset(), {}, ())


def test_a_changed_request_makes_the_job_pending(root):
    found = known(root, record(digest="h1"))
    assert job_key("a", "h2") not in found.done


@pytest.mark.parametrize("status", ["failed", "rejected", "of the future"])
def test_a_later_record_replaces_an_earlier_one(root, status):
    assert not known(root, record(), record(status=status, files=())).done
    assert known(root, record(status=status, files=()), record()).done == {job_key("a", "h1")}


def test_a_later_record_of_another_request_replaces_an_earlier_one(root):
    assert known(root, record(digest="h1"), record(digest="h2")).done == {job_key("a", "h2")}


def test_a_rejected_job_is_known_by_its_request(root):
    found = known(root, record(status="rejected", files=()))
    assert found.rejected == {job_key("a", "h1")}
    assert not found.done


def test_a_rejection_that_a_success_followed_no_longer_counts(root):
    assert not known(root, record(status="rejected", files=()), record()).rejected


def test_a_failed_job_is_neither_done_nor_rejected(root):
    found = known(root, record(status="failed", files=()))
    assert not found.done | found.rejected
    assert not found.notices


@pytest.mark.parametrize("change", ["lost", "longer", "shorter", "a folder"])
def test_a_file_lost_or_resized_makes_the_job_pending_and_is_said(root, change):
    path = root / "images/a.webp"
    path.unlink()
    if change == "a folder":
        path.mkdir()
    elif change != "lost":
        path.write_bytes(DATA + b"x" if change == "longer" else DATA[:-1])
    found = known(root, record(), record("b", files=(file("b.webp"),)))
    assert found.done == {job_key("b", "h1")}
    assert found.notices == ("1 jobs recorded as done have lost a file or had it changed; they are pending again",)


def test_one_lost_variant_makes_the_whole_job_pending(root):
    (root / "images/b-2.webp").unlink()
    assert not known(root, record("b", files=(file("b.webp"), file("b-2.webp")))).done


def test_a_success_without_any_file_is_not_done(root):
    assert not known(root, record(files=())).done


@pytest.mark.parametrize("path", ["images/\0.webp", "images/" + "x" * 5000, ""])
def test_a_path_that_no_file_can_have_is_a_lost_file(root, path):
    assert not known(root, record(files=(FileView(path, len(DATA), SHA),))).done


def test_only_verifying_notices_other_bytes_of_the_same_size(root):
    (root / "images/a.webp").write_bytes(DATA[::-1])
    assert known(root, record()).done
    assert not known(root, record(), verify=True).done


def test_verifying_keeps_what_is_as_recorded(root):
    assert known(root, record(), verify=True).done == {job_key("a", "h1")}


def test_earlier_files_of_an_id_are_its_own_whatever_came_of_it(root):
    found = known(root, record(), record("b", status="failed", files=()))
    assert found.owned == {"a": ("images/a.webp",)}


def test_a_failure_after_a_success_leaves_the_earlier_file_to_be_replaced(root):
    assert known(root, record(), record(digest="h2", status="failed", files=())).owned == {"a": ("images/a.webp",)}


def test_the_last_files_of_an_id_are_its_own(root):
    later = record("a", digest="h2", files=(file("b.webp"), file("b-2.webp")))
    assert known(root, record(), later).owned == {"a": ("images/b.webp", "images/b-2.webp")}


def test_lines_that_are_no_records_are_said_with_their_numbers(root):
    found = known(root, None, record(), None)
    assert found.notices == ("manifest.jsonl: passed over 2 lines that are no records (line 1, 3)",)
    assert found.done == {job_key("a", "h1")}


def test_of_many_bad_lines_the_first_ten_are_named(root):
    (notice,) = known(root, *[None] * 12).notices
    assert notice.endswith("passed over 12 lines that are no records (line 1, 2, 3, 4, 5, 6, 7, 8, 9, 10…)")
