"""A followed file: every whole line comes once, and all of them again when the file is another."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.output.followed import FollowedFile
from venice_batch.output.plain_files import NoPlainFileError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines.jsonl"


def look(followed):
    """Return the new lines, with whether they are those of another file; None if nothing is new."""
    new = followed.look()
    return new and (list(new), new.is_anew)


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_each_line_comes_once_and_a_torn_one_when_it_is_whole(path):
    followed = FollowedFile(path)
    assert look(followed) is None
    path.write_bytes(b"one\ntwo\nthr")
    assert look(followed) == ([b"one\n", b"two\n"], False)
    assert look(followed) is None
    append(path, b"e")
    assert look(followed) is None
    append(path, b"e\nfour\n")
    assert look(followed) == ([b"three\n", b"four\n"], False)


def test_lines_can_be_read_twice_and_all_of_them_again(path):
    followed = FollowedFile(path)
    path.write_bytes(b"one\n")
    new = followed.look()
    assert [list(new), list(new)] == [[b"one\n"], [b"one\n"]]
    append(path, b"two\n")
    assert list(followed.all_lines()) == [b"one\n"]
    followed.look()
    assert list(followed.all_lines()) == [b"one\n", b"two\n"]


def test_a_torn_line_that_the_next_run_cuts_off_never_comes(path):
    followed = FollowedFile(path)
    path.write_bytes(b"one\ntorn")
    assert look(followed) == ([b"one\n"], False)
    os.truncate(path, 4)
    assert look(followed) is None
    append(path, b"two\n")
    assert look(followed) == ([b"two\n"], False)


def test_a_file_that_takes_the_place_of_another_comes_whole(path):
    followed = FollowedFile(path)
    path.write_bytes(b"one\n")
    look(followed)
    other = path.with_name("other")
    other.write_bytes(b"uno\ndue\n")
    os.replace(other, path)
    assert look(followed) == ([b"uno\n", b"due\n"], True)
    append(path, b"tre\n")
    assert look(followed) == ([b"tre\n"], False)


@pytest.mark.parametrize("text", [b"x\n", b"uno\n", b"longer than before\n", b""])
def test_a_file_that_is_rewritten_in_place_comes_whole(path, text):
    followed = FollowedFile(path)
    path.write_bytes(b"one\n")
    look(followed)
    with path.open("r+b") as file:
        file.truncate()
        file.write(text)
    os.utime(path, ns=(1, 1))
    assert look(followed) == ([text] if text else [], True)


def test_a_file_that_is_moved_away_and_back_brings_nothing_new(path):
    followed = FollowedFile(path)
    path.write_bytes(b"one\n")
    look(followed)
    away = path.rename(path.with_name("away"))
    assert look(followed) is None
    away.rename(path)
    append(path, b"two\n")
    assert look(followed) == ([b"two\n"], False)


def test_lines_of_a_file_that_vanishes_before_they_are_read_are_left_out(path):
    followed = FollowedFile(path)
    path.write_bytes(b"one\n")
    new = followed.look()
    path.unlink()
    assert list(new) == []


def test_a_link_is_not_followed(path, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"one\n")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoPlainFileError):
        FollowedFile(path).look()


def test_a_long_torn_line_hides_none_before_it(path):
    followed = FollowedFile(path)
    path.write_bytes(b"one\n" + b"x" * 200_000)
    assert look(followed) == ([b"one\n"], False)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_lines_are_the_same_however_the_file_grows(text, stops):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "lines")
        followed, found, written = FollowedFile(path), [], 0
        for stop in (*sorted(stops), len(text)):
            append(path, text[written:stop])
            written = max(written, min(stop, len(text)))
            if (new := followed.look()) is not None:
                assert not new.is_anew
                found += new
    assert b"".join(found) == text[: text.rfind(b"\n") + 1]
