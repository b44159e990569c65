"""Which images an export takes."""

import os

import msgspec
import pytest
from records import CORRUPT, failed, outcome

from venice_batch.errors import FolderError
from venice_batch.model import Flags
from venice_batch.report.export.choice import Choice, InJobOrder, Reason


def reasons(out, record, **options):
    choice = Choice(out.root, **options)
    return [choice.reason(record, number) for number in range(1, len(record.files) + 1)]


def test_whole_images_are_taken(out):
    record = out.add("a", b"one", b"two")
    choice = Choice(out.root)
    assert [choice.takes(record, number) for number in (1, 2)] == [True, True]
    assert [choice.read(record, number) for number in (1, 2)] == [b"one", b"two"]
    assert choice.lines() == []


@pytest.mark.parametrize("flag", ["blurred", "content_violation"])
def test_flagged_images_are_left_out_unless_they_are_asked_for(out, flag):
    record = out.add("a", b"one", flags=Flags(**{flag: True}))
    assert reasons(out, record) == [Reason.FLAGGED]
    assert reasons(out, record, flagged=True) == [None]


def test_rejected_images_are_left_out_unless_they_are_asked_for(out):
    record = out.add("a", b"one", b"two")
    out.mark("a", 2)
    out.mark("a", 1, "picked")
    assert reasons(out, record) == [None, Reason.REJECTED]
    assert reasons(out, record, flagged=True) == [None, None]


def test_pruned_images_are_taken_only_if_they_are_asked_for_and_there(out):
    record = out.add("a", b"one", b"two", b"three")
    here, gone = (
        msgspec.structs.replace(file, path=f"rejected/{n}.webp", pruned="moved")
        for n, file in enumerate(record.files[:2])
    )
    deleted = msgspec.structs.replace(record.files[2], pruned="deleted")
    (out.root / "rejected").mkdir()
    (out.root / "rejected/0.webp").write_bytes(b"one")
    record = msgspec.structs.replace(record, files=(here, gone, deleted))
    assert reasons(out, record) == [Reason.REJECTED, Reason.REJECTED, Reason.DELETED]
    assert reasons(out, record, flagged=True) == [None, Reason.DELETED, Reason.DELETED]


def test_images_that_are_not_whole_are_left_out_and_counted(out, tmp_path):
    missing, short, other, link = (out.add(name, b"content") for name in ("missing", "short", "other", "link"))
    (out.root / "images/missing.webp").unlink()
    (out.root / "images/short.webp").write_bytes(b"cont")
    (out.root / "images/other.webp").write_bytes(b"CONTENT")
    os.rename(out.root / "images/link.webp", tmp_path / "private")
    (out.root / "images/link.webp").symlink_to(tmp_path / "private")
    choice = Choice(out.root)
    assert [choice.read(record, 1) for record in (missing, short, other, link)] == [None] * 4
    assert choice.left_out == {Reason.MISSING: 1, Reason.CHANGED: 2, Reason.NO_FILE: 1}
    assert choice.lines() == [
        "left out 1 image, missing: missing",
        "left out 2 images, changed since it was made: short, and 1 more",
        "left out 1 image, no plain file of the folder: link",
    ]


def test_an_image_that_vanishes_before_it_is_read_is_missing(out, monkeypatch):
    record = out.add("a", b"one")
    choice = Choice(out.root)
    monkeypatch.setattr(choice, "takes", lambda record, number: True)
    (out.root / "images/a.webp").unlink()
    assert choice.read(record, 1) is None
    assert choice.left_out == {Reason.MISSING: 1}


def test_the_lines_name_the_first_image_and_the_option_that_takes_it(out):
    records = [out.add(name, b"1", b"2", flags=Flags(blurred=True)) for name in "ab"]
    choice = Choice(out.root)
    for record in records:
        choice.takes(record, 2)
    assert choice.lines() == [
        "left out 2 images, blurred or a content violation: image 2 of a, and 1 more; --flagged takes them too"
    ]


@pytest.mark.parametrize("path", ["../a.webp", "/etc/hosts", "images/\0", "images/\udcff.webp"])
def test_a_path_that_leads_anywhere_else_is_left_out(out, path):
    record = outcome("a", files=(msgspec.structs.replace(outcome().files[0], path=path),))
    assert reasons(out, record)[0] in (Reason.NO_FILE, Reason.MISSING)


def test_records_come_in_the_order_of_the_jobs_file(out):
    for name, index in (("late", None), ("c", 2), ("a", 9), ("b", 1), ("a", 0), ("older", None)):
        out.record(outcome(name, index=index))
    records = InJobOrder(out.root / "manifest.jsonl")
    assert len(records) == 5
    assert [record.id for record in records] == ["a", "b", "c", "late", "older"]
    assert [record.id for record in records] == ["a", "b", "c", "late", "older"]


def test_lines_that_are_no_records_are_skipped(out):
    out.record(outcome("b", index=1))
    with (out.root / "manifest.jsonl").open("ab") as file:
        file.write(b"\n".join(CORRUPT) + b"\n")
    out.record(failed("a", index=0))
    assert [record.id for record in InJobOrder(out.root / "manifest.jsonl")] == ["a", "b"]


def test_a_manifest_that_cannot_be_read_is_one_error(out):
    records = InJobOrder(out.root / "manifest.jsonl")
    (out.root / "manifest.jsonl").unlink()
    with pytest.raises(FolderError):
        list(records)
    with pytest.raises(FolderError):
        InJobOrder(out.root / "manifest.jsonl")
