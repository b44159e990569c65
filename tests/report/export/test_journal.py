"""The journal of an export."""

import errno
import json
import os

import pytest
from records import outcome

from venice_batch.errors import FolderError
from venice_batch.report.export import journal as module
from venice_batch.report.export.journal import NAME, PARTS, Journal, Origins, Part, is_inside, source_of


@pytest.fixture
def target(tmp_path):
    (tmp_path / "to" / PARTS).mkdir(parents=True)
    return tmp_path / "to"


def opened(target, kind="test", source="s"):
    return Journal(target, kind=kind, source=source)


def test_files_are_known_to_the_next_export(target):
    journal = opened(target)
    journal.note({"a": "1"})
    journal.note({"a": "2", "b": "3"})
    journal.close()
    assert opened(target).made == {"a": {"1", "2"}, "b": {"3"}}


def test_a_renewed_journal_holds_these_files_alone(target):
    journal = opened(target)
    journal.note({"a": "1", "b": "2"})
    journal.renew({"b": {"2"}})
    journal = opened(target)
    assert journal.made == {"b": {"2"}}
    journal.remove()
    assert not (target / NAME).exists()


def test_torn_and_foreign_lines_are_skipped(target):
    journal = opened(target)
    journal.close()
    with (target / NAME).open("ab") as file:
        file.write(b'no json\n{"path": "../x", "sha256": "1"}\n{"path": "a", "sha')
    journal = opened(target)
    journal.note({"b": "2"})
    journal.close()
    assert opened(target).made == {"b": {"2"}}


@pytest.mark.parametrize(
    ("kind", "source", "what"),
    [
        ("other", "s", r"to: holds an export of another kind \(test\); choose another folder"),
        ("test", "t", "to: holds an export of another output folder; choose another folder"),
    ],
)
def test_another_export_is_refused(target, kind, source, what):
    opened(target).close()
    with pytest.raises(FolderError, match=what):
        opened(target, kind, source)


@pytest.mark.parametrize(
    ("line", "what"),
    [(b"my notes", "is no journal of an export"), (b'{"schema":2,"kind":"test","source":"s"}', "by a later version")],
)
def test_a_journal_that_this_version_does_not_know_is_refused(target, line, what):
    (target / NAME).write_bytes(line + b"\n")
    with pytest.raises(FolderError, match=what):
        opened(target)
    assert (target / NAME).read_bytes() == line + b"\n"


def test_two_exports_at_a_time_are_refused(target):
    journal = opened(target)
    with pytest.raises(FolderError, match="another export is writing here"):
        opened(target)
    journal.close()
    opened(target)


def test_a_journal_that_was_replaced_meanwhile_is_in_use(target, monkeypatch):
    monkeypatch.setattr(module, "is_at", lambda file, path: False)
    with pytest.raises(FolderError, match="another export is writing here"):
        opened(target)


def test_without_locks_an_export_goes_on(target, monkeypatch):
    def refuse(file):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(module.portable, "lock", refuse)
    opened(target)


def test_the_journal_names_no_place_of_this_computer(target, out):
    out.add("a", b"A")
    journal = opened(target, source=source_of(out.root))
    journal.note({"x/a.webp": "1"})
    journal.close()
    assert str(target.parent) not in (target / NAME).read_text()
    assert json.loads((target / NAME).read_text().splitlines()[0])["kind"] == "test"


def test_a_folder_is_known_by_its_first_record(out, tmp_path):
    assert source_of(out.root) == ""
    out.record(outcome("a"))
    first = source_of(out.root)
    out.record(outcome("b"))
    os.rename(out.root, tmp_path / "moved")
    assert source_of(tmp_path / "moved") == first != ""


def test_backslashes_and_drives_are_no_names_on_windows(monkeypatch):
    assert is_inside("a\\b:c")
    monkeypatch.setattr(module.portable, "IS_WINDOWS", True)
    assert not is_inside("a\\b")
    assert not is_inside("c:b")


def test_the_images_that_a_file_was_made_of_are_found_from_its_path(target):
    journal = opened(target)
    one, two = Part("1" * 64, "fox", 2), Part("2" * 64, "sea", 1)
    journal.of = {"0.png": (one,), "grid.png": (one, two), "linked.png": (one,), "old.png": (Part("3" * 64),)}
    journal.note({"0.png": "a", "grid.png": "b", "linked.png": "1" * 64, "old.png": "c", "lines.jsonl": "d"})
    journal.close()
    origins = Origins()
    assert {name: origins.of(target / name).parts for name in journal.of} == journal.of
    assert origins.of(target / "0.png").of == ("1" * 64,)
    assert origins.of(target / "linked.png").of == origins.of(target / "lines.jsonl").of == ()
    assert origins.of(target / "samples/0.png") is None
    assert opened(target).of == journal.of


def test_without_a_journal_nothing_is_known_of_a_file(tmp_path):
    assert Origins().of(tmp_path / "a/b/c/d.png") is None
    (tmp_path / NAME).symlink_to("/etc/passwd")
    assert Origins().of(tmp_path / "a.png") is None


def test_a_strangers_journal_names_files_below_its_folder_only(tmp_path):
    (tmp_path / NAME).write_text('{}\n{"path":"../x.png","sha256":"a","of":["b"]}\nno JSON\n{"path":"y.png","of":3}\n')
    assert Origins().of(tmp_path.parent / "x.png") is None
    assert Origins().of(tmp_path / "y.png") is None
