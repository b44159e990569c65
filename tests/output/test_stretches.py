"""A manifest cut anywhere is the same manifest."""

import io
import os
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from venice_batch.errors import FolderError
from venice_batch.output import stretches
from venice_batch.output.record import RecordView
from venice_batch.output.stretches import Stretches, opened, read

LINE = b'{"id":"a","request_hash":"b","status":"succeeded"}'


def lines_of(path, size_bytes):
    """The lines of all stretches, having checked that each has as many as it says."""
    found = []
    with opened(path, size_bytes) as cut:
        for number in range(len(cut)):
            count, lines = cut.lines(number)
            lines = list(lines)
            assert len(lines) == count
            found += lines
    return found


@given(st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\r\n", b"defghijklmn"])).map(b"".join), st.integers(1, 30))
@example(b"", 1)
@example(b"\n", 1)
@example(b"ab\n\ncd", 3)
@example(b"ab\nef\ncd\n", 3)
def test_the_lines_of_all_stretches_are_those_of_the_file(tmp_path_factory, data, size_bytes):
    path = tmp_path_factory.mktemp("cut") / "manifest.jsonl"
    path.write_bytes(data)
    assert lines_of(path, size_bytes) == list(io.BytesIO(data))


def test_a_line_longer_than_many_stretches_is_not_read_by_each(tmp_path, monkeypatch):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"a\n" + b"b" * 100_000 + b"\nc\n")
    read_bytes = []

    def pread(file, size, position, really=os.pread):
        data = really(file, size, position)
        read_bytes.append(len(data))
        return data

    monkeypatch.setattr(stretches.os, "pread", pread)
    assert lines_of(path, 100) == [b"a\n", b"b" * 100_000 + b"\n", b"c\n"]
    assert sum(read_bytes) < 3 * 100_000


def test_what_comes_in_small_pieces_is_put_together(tmp_path, monkeypatch):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"abcdefg\nhi\n\njklmnop\n")
    really = os.pread
    monkeypatch.setattr(stretches.os, "pread", lambda file, size, position: really(file, min(size, 2), position))
    assert lines_of(path, 9) == [b"abcdefg\n", b"hi\n", b"\n", b"jklmnop\n"]


def test_records_have_the_numbers_of_their_lines_in_the_file(tmp_path, monkeypatch):
    path = tmp_path / "manifest.jsonl"
    monkeypatch.setattr(stretches, "opened", partial(opened, size_bytes=20))
    path.write_bytes(LINE + b"\n\n{\n" + LINE)
    record = RecordView("a", "b", "succeeded")
    assert list(read(path)) == [(1, record), (3, None), (4, record)]


def test_without_a_manifest_there_is_nothing_to_read(tmp_path):
    assert list(read(tmp_path / "manifest.jsonl")) == []


def test_a_manifest_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FolderError, match="is a folder"):
        list(read(tmp_path))


def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(LINE)
    reading, writing = os.pipe()
    try:
        with opened(path) as cut:
            os.dup2(writing, cut.file)
            with pytest.raises(FolderError, match=r"manifest\.jsonl"):
                cut.lines(0)
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(FolderError, match=r"manifest\.jsonl"):
        Stretches(path, writing)
