"""Annotations: of each name the last line about an image counts, and none that was written is lost."""

import os
import string
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, outcome

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.output.annotations import NAME, Annotation, AnnotationsFile, decoded, read_annotations

AT = "2026-11-29T12:00:00Z"
SHA = IMAGE.sha256


def scored(job="a", image=1, sha256=SHA, **values):
    return Annotation(sha256, job, image, values, AT)


def write(root, *lines):
    with AnnotationsFile(root) as file:
        file.append(lines)


VALUES = st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
LINES = st.builds(
    Annotation,
    st.sampled_from(["aa", "bb"]),
    st.text(string.printable + "\u2028é", max_size=3),
    st.integers(1, 3),
    st.dictionaries(st.sampled_from(["score", "correct", "why.not"]), st.none() | VALUES, max_size=3),
    st.just(AT),
)


def test_a_folder_without_annotations_has_none_and_gets_no_file(tmp_path):
    write(tmp_path)
    found = read_annotations(tmp_path)
    assert (len(found), found.names, found.of(outcome(), 1)) == (0, (), {})
    assert not (tmp_path / NAME).exists()


def test_an_annotation_is_a_line_of_the_contract(tmp_path):
    write(tmp_path, scored(score=0.81, correct=True))
    assert msgspec.json.decode((tmp_path / NAME).read_bytes()) == {
        "sha256": SHA,
        "id": "a",
        "image": 1,
        "values": {"score": 0.81, "correct": True},
        "at": AT,
    }


@given(st.lists(st.lists(LINES, max_size=4), max_size=5))
def test_of_each_name_the_last_value_counts_and_null_takes_it_away(batches):
    expected = {}
    for one in (one for batch in batches for one in batch):
        values = expected.setdefault((one.id, one.sha256, one.image), {})
        values.update(one.values)
    expected = {
        key: {name: value for name, value in values.items() if value is not None} for key, values in expected.items()
    }
    with tempfile.TemporaryDirectory() as name:
        for batch in batches:
            write(Path(name), *batch)
        found = read_annotations(Path(name))
    assert {key: found.of_image(*key) for key in expected} == expected
    assert len(found) == sum(map(bool, expected.values()))


def test_values_keep_their_types(tmp_path):
    write(tmp_path, scored(whole=1, part=1.0, yes=True, text="1"))
    assert [type(value) for value in read_annotations(tmp_path).of(outcome(), 1).values()] == [int, float, bool, str]


def test_values_belong_to_one_image_of_one_job_and_to_its_content(tmp_path):
    write(tmp_path, scored(score=1))
    found = read_annotations(tmp_path)
    other = msgspec.structs.replace(IMAGE, sha256="1" * 64)
    assert found.of(outcome(), 1) == {"score": 1}
    assert not found.of(outcome("b"), 1)
    assert not found.of(outcome(files=(other,)), 1)
    assert not found.of(outcome(files=(IMAGE, IMAGE)), 2)
    assert not found.of(outcome(), 0)
    assert not found.of(outcome(), 2)


def test_names_are_all_that_were_given_in_their_order(tmp_path):
    write(tmp_path, scored(b=1, a=2), scored("x", c=None), scored("y", a=3, d="no"))
    assert read_annotations(tmp_path).names == ("b", "a", "d")


def test_lines_that_are_no_annotations_are_skipped_and_a_torn_one_harms_no_other(tmp_path):
    nan = b'{"sha256":"a","id":"a","image":1,"values":{"x":NaN},"at":""}\n'
    lists = b'{"sha256":"a","id":"a","image":1,"values":{"x":[1]},"at":""}\n'
    (tmp_path / NAME).write_bytes(
        b"no line\n\n{}\n\xff\n" + nan + lists + b'{"x":' + b"[" * 100_000 + b'\n{"sha256": "a'
    )
    write(tmp_path, scored(score=1))
    found = read_annotations(tmp_path)
    assert (len(found), found.of(outcome(), 1)) == (1, {"score": 1})
    assert decoded(b"{}") is None


def test_many_lines_are_written_in_portions_and_none_is_lost(tmp_path):
    write(tmp_path, *(scored(str(number), score=number) for number in range(2_500)))
    found = read_annotations(tmp_path)
    assert [found.of_image(str(number), SHA, 1)["score"] for number in range(2_500)] == list(range(2_500))


def test_programs_that_append_wait_for_each_other(tmp_path, monkeypatch):
    order = []
    lock, unlock = portable.lock, portable.unlock
    monkeypatch.setattr(portable, "lock", lambda file, wait: order.append("lock") or lock(file, wait=wait))
    monkeypatch.setattr(portable, "unlock", lambda file: order.append("unlock") or unlock(file))
    with AnnotationsFile(tmp_path) as one, AnnotationsFile(tmp_path) as other:
        one.append([scored(score=1)])
        other.append([scored(score=2)])
    assert order == ["lock", "unlock", "lock", "unlock"]
    assert read_annotations(tmp_path).of(outcome(), 1) == {"score": 2}


def test_a_file_that_another_program_keeps_locked_is_reported_where_no_lock_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "lock", lambda file, wait: False)
    with pytest.raises(FolderError, match="another program is writing to it"):
        write(tmp_path, scored(score=1))


def test_lines_are_written_without_a_lock_where_the_file_system_has_none(tmp_path, monkeypatch):
    def no_locks(file, wait):
        raise OSError("no locks available")

    monkeypatch.setattr(portable, "lock", no_locks)
    write(tmp_path, scored(score=1))
    assert len(read_annotations(tmp_path)) == 1


def test_a_full_disk_is_reported_and_the_next_line_is_whole(tmp_path, monkeypatch):
    really = os.write
    room = [5]

    def cut(file, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = really(file, data[: room[0]])
        room[0] -= written
        return written

    with AnnotationsFile(tmp_path) as file:
        monkeypatch.setattr(os, "write", cut)
        with pytest.raises(FolderError, match="the disk is full"):
            file.append([scored("lost", score=1)])
        monkeypatch.undo()
        file.append([scored("a", score=2)])
    found = read_annotations(tmp_path)
    assert (len(found), found.of(outcome(), 1)) == (1, {"score": 2})


def test_a_link_in_the_place_of_the_file_is_neither_read_nor_written(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    root = tmp_path / "out"
    root.mkdir()
    (root / NAME).symlink_to(elsewhere)
    with pytest.raises(FolderError, match="not a plain file"):
        write(root, scored(score=1))
    with pytest.raises(FolderError):
        read_annotations(root)
    assert elsewhere.read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(FolderError, match=str(tmp_path / "gone")):
        write(tmp_path / "gone", scored(score=1))
