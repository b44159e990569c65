"""Marks: the last one of an image counts, and none that was written is lost."""

import errno
import os
import string
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import FolderError
from venice_batch.output import marks
from venice_batch.output.marks import NAME, Mark, MarksFile, read_marks

AT = "2026-11-29T12:00:00Z"


def mark(job="fox", image=1, said="picked", rating=None, sha256="aa"):
    return Mark(sha256, job, image, said, rating, AT)


MARKS = st.builds(
    Mark,
    st.sampled_from(["aa", "bb"]),
    st.text(string.printable + "\u2028é", max_size=3),
    st.integers(1, 3),
    st.sampled_from(["picked", "rejected", None]),
    st.none() | st.integers(1, 5),
    st.just(AT),
)


def test_a_folder_without_marks_has_none_and_gets_no_file(tmp_path):
    with MarksFile(tmp_path):
        assert read_marks(tmp_path) == {}
    assert not (tmp_path / NAME).exists()


@given(st.lists(st.lists(MARKS, max_size=4), max_size=5))
def test_the_last_mark_of_each_image_counts_and_unmarked_images_are_left_out(batches):
    last = {one.key: one for batch in batches for one in batch}
    with tempfile.TemporaryDirectory() as name:
        for batch in batches:
            with MarksFile(Path(name)) as file:
                file.append(batch)
        assert read_marks(Path(name)) == {key: one for key, one in last.items() if one.mark or one.rating}


def test_a_mark_is_a_line_of_the_contract(tmp_path):
    with MarksFile(tmp_path) as file:
        file.append([mark(rating=4)])
    assert msgspec.json.decode((tmp_path / NAME).read_bytes()) == {
        "sha256": "aa",
        "id": "fox",
        "image": 1,
        "mark": "picked",
        "rating": 4,
        "at": AT,
    }


def test_two_programs_append_to_one_file(tmp_path):
    with MarksFile(tmp_path) as one, MarksFile(tmp_path) as other:
        one.append([mark("a")])
        other.append([mark("b")])
        one.append([mark("a", said="rejected")])
    assert [found.mark for found in read_marks(tmp_path).values()] == ["rejected", "picked"]


def test_lines_that_are_no_marks_are_skipped_and_a_torn_one_harms_no_other(tmp_path):
    (tmp_path / NAME).write_bytes(b'no mark\n\n{"id": 1}\n{"rating": 9}\n\xff\n{"sha256": "aa", "id": "to')
    with MarksFile(tmp_path) as file:
        file.append([mark()])
    assert list(read_marks(tmp_path).values()) == [mark()]


def test_a_full_disk_is_reported_and_the_next_mark_is_whole(tmp_path, monkeypatch):
    really = os.write
    room = [5]

    def write(file, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = really(file, data[: room[0]])
        room[0] -= written
        return written

    with MarksFile(tmp_path) as file:
        monkeypatch.setattr(marks.os, "write", write)
        with pytest.raises(FolderError, match="the disk is full"):
            file.append([mark("lost")])
        monkeypatch.undo()
        file.append([mark("kept")])
    assert [found.id for found in read_marks(tmp_path).values()] == ["kept"]


def test_a_link_in_the_place_of_the_file_is_neither_read_nor_written(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    root = tmp_path / "out"
    root.mkdir()
    (root / NAME).symlink_to(elsewhere)
    with pytest.raises(FolderError, match="not a plain file"), MarksFile(root) as file:
        file.append([mark()])
    with pytest.raises(FolderError):
        read_marks(root)
    assert elsewhere.read_bytes() == b""
