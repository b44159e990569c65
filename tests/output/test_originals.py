"""Folders that are copies of others: sizes and files of the original, lines to it, and its name in texts."""

from contextlib import contextmanager

import pytest

from venice_batch.output.annotations import Annotation, AnnotationsFile
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.originals import bring, copied, original_of, shown
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles


class Original:
    name = "s3://bucket/out"

    def __init__(self, root, files):
        self.root, self.files = root, files
        self.fetched, self.appended = [], []

    def size(self, path):
        return len(self.files[path]) if path in self.files else None

    def fetch(self, path):
        if path in self.fetched:
            return
        self.fetched.append(path)
        place = self.root / path
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(self.files[path])

    def fetch_all(self, paths):
        for path in paths:
            if path in self.files:
                self.fetch(path)

    def append(self, name, lines):
        self.appended.append((name, lines))


@contextmanager
def copy_in(root, **files):
    original = Original(root, {f"images/{name}": data for name, data in files.items()})
    with copied(root, original):
        yield original


def test_files_have_the_originals_sizes_and_come_when_they_are_read(tmp_path):
    with copy_in(tmp_path, a=b"12345") as original:
        files = PlainFiles(tmp_path)
        assert files.size("images/a") == 5
        assert original.fetched == []
        with files.open("images/a") as file:
            assert file.read() == b"12345"
        with pytest.raises(FileNotFoundError):
            files.size("images/b")
        with pytest.raises(FileNotFoundError):
            files.open("images/b")
    assert original.fetched == ["images/a"]


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "images/../../a", ""])
def test_the_original_is_not_asked_about_a_path_that_leads_elsewhere(tmp_path, path):
    with copy_in(tmp_path) as original:
        original.files[path] = b"x"
        with pytest.raises(NoPlainFileError):
            PlainFiles(tmp_path).open(path)
    assert original.fetched == []


def test_marks_and_annotations_go_to_the_original_alone(tmp_path):
    mark = Mark("0" * 64, "a", 1, "picked", None, "2026-01-01T00:00:00Z")
    scores = [Annotation("0" * 64, f"j{number}", 1, {"score": 1}, mark.at) for number in range(2_500)]
    with copy_in(tmp_path) as original, MarksFile(tmp_path) as marks, AnnotationsFile(tmp_path) as annotations:
        marks.append([mark])
        annotations.append(scores)
        annotations.append([])
    (first, line), (second, lines) = original.appended
    assert (first, line.count(b"\n"), second, lines.count(b"\n")) == ("marks.jsonl", 1, "annotations.jsonl", 2_500)
    assert list(tmp_path.iterdir()) == []


def test_files_are_brought_in_a_copy_and_nothing_is_done_elsewhere(tmp_path):
    with copy_in(tmp_path, a=b"1", b=b"2") as original:
        bring(tmp_path, ["images/a", "images/c"])
        bring(tmp_path / "images", ["images/b"])
    assert original.fetched == ["images/a"]
    bring(tmp_path, ["images/b"])
    assert original.fetched == ["images/a"]


def test_texts_show_the_originals_name_while_the_copy_is_open(tmp_path):
    text = f"{tmp_path}/images/a is missing"
    with copy_in(tmp_path) as original:
        assert original_of(tmp_path) is original
        assert shown(text) == "s3://bucket/out/images/a is missing"
        assert shown(tmp_path / "x") == "s3://bucket/out/x"
        assert shown("elsewhere") == "elsewhere"
    assert original_of(tmp_path) is None
    assert shown(text) == text
