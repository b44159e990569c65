"""Images and texts placed in a folder for other programs."""

import errno
import os
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import outcome

from venice_batch.errors import FolderError
from venice_batch.model import Flags
from venice_batch.output.resume import LatestRecords
from venice_batch.report.export import place as module
from venice_batch.report.export.choice import Reason
from venice_batch.report.export.journal import NAME, PARTS
from venice_batch.report.export.place import Placer


@pytest.fixture
def target(tmp_path):
    return tmp_path / "to"


def export(out, target, *options, texts=None, index=b"", **named):
    """Place every image of the folder under its own path, with texts and an index; return the placer."""
    with Placer(out.root, target, *options, **{"kind": "test", **named}) as placer:
        for record in LatestRecords(out.root / "manifest.jsonl"):
            for number, file in enumerate(record.files, start=1):
                placer.put(record, number, file.path.removeprefix("images/"))
        for path, text in (texts or {}).items():
            with placer.writing(path) as written:
                written.write(text)
        if index:
            with placer.writing("index.jsonl", index=True) as written:
                written.write(index)
    return placer


def same_file(one, other):
    return os.path.samefile(one, other)


def test_images_are_linked_and_texts_written(out, target, shown):
    out.add("a", b"A1", b"A2", paths=["images/set/a-1.png", "images/a-2.png"])
    placer = export(out, target, texts={"set/a-1.txt": b"a cat"}, index=b"{}")
    assert shown(target) == {"set/a-1.png": b"A1", "a-2.png": b"A2", "set/a-1.txt": b"a cat", "index.jsonl": b"{}"}
    assert same_file(target / "set/a-1.png", out.root / "images/set/a-1.png")
    assert (placer.images, placer.bytes, placer.linked) == (2, 4, 2)
    assert {path.name for path in target.iterdir() if path.name.startswith(".")} == {NAME}


def test_copies_have_the_time_of_the_original_and_are_files_of_their_own(out, target):
    out.add("a", b"A")
    os.utime(out.root / "images/a.webp", ns=(1, 1))
    placer = export(out, target, True)
    assert not same_file(target / "a.webp", out.root / "images/a.webp")
    assert (target / "a.webp").stat().st_mtime_ns == 1
    assert (placer.images, placer.linked) == (1, 0)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_are_refused_images_are_copied(out, target, monkeypatch, shown, code):
    asked = []

    def refuse(source, target):
        asked.append(source)
        raise OSError(code, "no links here")

    monkeypatch.setattr(module.portable, "link", refuse)
    out.add("a", b"A")
    out.add("b", b"B")
    assert export(out, target).linked == 0
    assert shown(target) == {"a.webp": b"A", "b.webp": b"B"}
    assert len(asked) == (2 if code == errno.EMLINK else 1), "a file system without links is asked once"


def test_rewritten_images_are_never_links_and_the_original_stays(out, target, shown):
    out.add("a", b"A1", b"A2")
    placer = export(out, target, False, lambda data, record, file, number: data + f" {record.id} {number}".encode())
    assert shown(target) == {"a-1.webp": b"A1 a 1", "a-2.webp": b"A2 a 2"}
    assert (out.root / "images/a-1.webp").read_bytes() == b"A1"
    assert (placer.images, placer.linked) == (2, 0)


def test_images_that_are_not_chosen_are_left_out(out, target, shown):
    out.add("a", b"A")
    out.add("b", b"B", flags=Flags(blurred=True))
    out.add("c", b"C")
    (out.root / "images/c.webp").unlink()
    placer = export(out, target)
    assert shown(target) == {"a.webp": b"A"}
    assert placer.choice.left_out == {Reason.FLAGGED: 1, Reason.MISSING: 1}
    assert export(out, target, flagged=True).images == 2


@pytest.mark.parametrize("options", [{"copy": True}, {"rewrite": lambda data, *_: data}])
def test_an_image_with_other_content_is_not_copied(out, target, shown, options):
    out.add("a", b"A")
    (out.root / "images/a.webp").write_bytes(b"B")
    placer = export(out, target, **options)
    assert (shown(target), placer.images, placer.choice.left_out) == ({}, 0, {Reason.CHANGED: 1})


def test_a_later_export_updates_the_folder(out, target, shown):
    for name in "abc":
        out.add(name, name.encode())
    export(out, target, texts={"a.txt": b"old", "b.txt": b"same"}, index=b"1")
    out.mark("b", 1)
    out.add("c", b"C again")
    out.add("d", b"d")
    placer = export(out, target, texts={"a.txt": b"new"}, index=b"2")
    assert shown(target) == {"a.webp": b"a", "c.webp": b"C again", "d.webp": b"d", "a.txt": b"new", "index.jsonl": b"2"}
    assert (placer.images, placer.removed, placer.kept) == (3, 2, [])


@pytest.mark.parametrize("copy", [False, True])
def test_nothing_is_written_again_that_is_there(out, target, copy):
    out.add("a", b"A")
    os.utime(out.root / "images/a.webp", ns=(1, 1))
    export(out, target, copy, texts={"a.txt": b"text"}, index=b"1")
    before = {path.name: path.stat().st_ino for path in target.iterdir() if path.name != NAME}
    placer = export(out, target, copy, texts={"a.txt": b"text"}, index=b"1")
    assert {path.name: path.stat().st_ino for path in target.iterdir() if path.name != NAME} == before
    assert (placer.images, placer.removed, placer.kept) == (1, 0, [])


def test_links_become_copies_when_copies_are_asked_for(out, target):
    out.add("a", b"A")
    export(out, target)
    export(out, target, True)
    assert not same_file(target / "a.webp", out.root / "images/a.webp")


def test_empty_folders_of_removed_images_go_too(out, target, shown):
    out.add("a", b"A", paths=["images/x/y/a.webp"])
    out.add("b", b"B", paths=["images/x/b.webp"])
    export(out, target)
    out.mark("a", 1)
    export(out, target)
    assert [path.name for path in (target / "x").iterdir()] == ["b.webp"]


def test_what_somebody_has_changed_is_kept(out, target, shown):
    for name in "abc":
        out.add(name, name.encode())
    export(out, target, True, texts={"a.txt": b"made", "b.txt": b"made"})
    (target / "a.txt").write_bytes(b"by hand")
    (target / "c.webp").write_bytes(b"cropped")
    out.mark("c", 1)
    placer = export(out, target, True, texts={"a.txt": b"made anew"})
    assert shown(target) == {"a.webp": b"a", "b.webp": b"b", "a.txt": b"by hand", "c.webp": b"cropped"}
    assert sorted(placer.kept) == ["a.txt", "c.webp"]
    kept = "kept 2 files that somebody has changed since the last export: a.txt, and 1 more"
    assert placer.lines() == ["left out 1 image, rejected by a mark: c; --flagged takes them too", kept]
    (target / "a.txt").write_bytes(b"made")
    assert export(out, target, True, texts={"a.txt": b"made anew"}).kept == ["c.webp"]
    assert (target / "a.txt").read_bytes() == b"made anew", "it is the export's again"


def test_an_image_that_somebody_has_changed_is_kept(out, target):
    out.add("a", b"A")
    export(out, target, True)
    (target / "a.webp").write_bytes(b"cropped")
    assert export(out, target, True).kept == ["a.webp"]
    assert (target / "a.webp").read_bytes() == b"cropped"


def test_a_changed_file_that_was_left_out_once_is_kept_when_it_comes_back(out, target, shown):
    out.add("a", b"A")
    export(out, target, texts={"a.txt": b"a cat"})
    (target / "a.txt").write_bytes(b"my cat")
    for texts in ({}, {}, {"a.txt": b"a cat"}):
        assert export(out, target, texts=texts).kept == ["a.txt"]
        assert shown(target) == {"a.webp": b"A", "a.txt": b"my cat"}
    (target / "a.txt").unlink()
    assert export(out, target, texts={"a.txt": b"a cat"}).kept == []
    assert shown(target)["a.txt"] == b"a cat"


def test_an_index_that_somebody_has_changed_is_an_error(out, target, shown):
    out.add("a", b"A")
    export(out, target, index=b"1")
    (target / "index.jsonl").write_bytes(b"by hand")
    out.add("b", b"B")
    with pytest.raises(FolderError, match=r"index\.jsonl: was changed since it was exported; move it away"):
        export(out, target, index=b"2")
    assert shown(target) == {"a.webp": b"A", "index.jsonl": b"by hand"}


def test_an_image_that_its_folder_has_lost_stays(out, target, shown):
    out.add("a", b"A")
    out.add("b", b"B")
    export(out, target)
    (out.root / "images/a.webp").unlink()
    placer = export(out, target)
    assert (placer.images, placer.choice.left_out) == (2, {})
    assert shown(target) == {"a.webp": b"A", "b.webp": b"B"}


def test_lines_are_only_about_what_went_differently(out, target):
    out.add("a", b"A")
    assert export(out, target).lines() == []


def test_a_folder_with_other_files_is_refused(out, target):
    out.add("a", b"A")
    target.mkdir()
    (target / ".git").mkdir()
    (target / "thesis.txt").write_bytes(b"mine")
    with pytest.raises(FolderError, match=r"holds 'thesis\.txt', which no export has made"):
        export(out, target)
    assert sorted(path.name for path in target.iterdir()) == [".git", "thesis.txt"]
    (target / "thesis.txt").unlink()
    export(out, target)


def test_a_file_in_the_place_of_the_folder_stays(out, target):
    target.write_bytes(b"mine")
    with pytest.raises(FolderError, match="to: is not a folder; choose another"):
        export(out, target)
    assert target.read_bytes() == b"mine"


def test_files_added_to_an_export_stay(out, target, shown):
    out.add("a", b"A")
    export(out, target)
    (target / "a.npz").write_bytes(b"a trainer's cache")
    export(out, target)
    assert shown(target) == {"a.webp": b"A", "a.npz": b"a trainer's cache"}


def test_a_file_that_no_export_has_made_is_not_replaced(out, target, shown):
    out.add("a", b"A")
    export(out, target)
    (target / "b.webp").write_bytes(b"mine")
    (target / "a.txt").write_bytes(b"mine")
    before = shown(target)
    with pytest.raises(FolderError, match=r"a\.txt: no export has made this file"):
        export(out, target, texts={"a.txt": b"text"})
    out.add("b", b"B")
    with pytest.raises(FolderError, match=r"b\.webp: no export has made this file"):
        export(out, target)
    assert shown(target) == before


def test_an_error_leaves_nothing_of_a_first_export(out, target):
    out.add("a", b"A")
    with pytest.raises(FolderError, match=r"two files of the export would have this name"):
        export(out, target, texts={"a.webp": b"text"})
    assert not target.exists()
    target.mkdir()
    with suppress(FolderError):
        export(out, target, texts={"a.webp": b"text"})
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a//b", "./a", NAME, f"{PARTS}/x", "\0", "\udcff"])
def test_no_path_leads_out_of_the_target(out, target, path):
    with pytest.raises(FolderError, match="is no name for a file of an export"):
        export(out, target, texts={path: b"x"})
    assert not target.exists()


def test_links_in_the_target_are_not_followed(out, target, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.webp").write_bytes(b"A")
    out.add("a", b"A", paths=["images/x/a.webp"])
    export(out, target)
    (target / "x/a.webp").unlink()
    (target / "x").rmdir()
    (target / "x").symlink_to(tmp_path / "elsewhere")
    out.add("b", b"B", paths=["images/x/b.webp"])
    with pytest.raises(FolderError, match="is a link, which is not followed"):
        export(out, target)
    out.mark("a", 1)
    out.mark("b", 1)
    with pytest.raises(FolderError, match="is a link, which is not followed"):
        export(out, target)
    assert os.listdir(tmp_path / "elsewhere") == ["a.webp"]


def test_a_link_for_the_hidden_folder_is_not_followed(out, target, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").touch()
    target.mkdir()
    (target / PARTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="is a link, which is not followed"):
        export(out, target)
    assert (tmp_path / "elsewhere/x").exists()


def test_a_place_that_is_a_folder_by_now_is_kept(out, target):
    out.add("a", b"A")
    export(out, target)
    (target / "a.webp").unlink()
    (target / "a.webp").mkdir()
    assert export(out, target).kept == ["a.webp"]


@pytest.mark.parametrize(("code", "what"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "cannot be written")])
def test_an_error_of_the_disk_is_one_line_and_changes_nothing(out, target, monkeypatch, shown, code, what):
    out.add("a", b"A")
    export(out, target)
    out.add("b", b"B")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.portable, "link", refuse)
    monkeypatch.setattr(module.shutil, "copyfileobj", refuse)
    with pytest.raises(FolderError, match=what):
        export(out, target)
    assert shown(target) == {"a.webp": b"A"}


class Crash(BaseException):
    """The process ends here."""


@given(st.integers(0, 14), st.booleans())
def test_an_export_that_is_cut_never_looks_whole_and_the_next_completes_it(tmp_path_factory, new_folder, steps, copy):
    folder = tmp_path_factory.mktemp("crash")
    out = new_folder(folder / "out")
    out.add("a", b"A")
    out.add("b", b"B")
    target = folder / "to"
    export(out, target, copy, texts={"a.txt": b"1", "b.txt": b"1"}, index=b"1")
    old = content(target)
    out.mark("b", 1)
    out.add("a", b"another")
    out.add("c", b"new")
    left = [steps]

    def step(call):
        def stepped(*args, **named):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return call(*args, **named)

        return stepped

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(module.os, name, step(getattr(os, name)))
        patch.setattr(module.portable, "link", step(module.portable.link))
        with suppress(Crash):
            export(out, target, copy, texts={"a.txt": b"2", "c.txt": b"2"}, index=b"2")
    new = {"a.webp": b"another", "c.webp": b"new", "a.txt": b"2", "c.txt": b"2", "index.jsonl": b"2"}
    assert content(target) in (old, new) or "index.jsonl" not in content(target)
    placer = export(out, target, copy, texts={"a.txt": b"2", "c.txt": b"2"}, index=b"2")
    assert (content(target), placer.kept) == (new, [])
    assert {path.name for path in target.iterdir() if path.name.startswith(".")} == {NAME}


def content(target):
    return {path.name: path.read_bytes() for path in target.iterdir() if not path.name.startswith(".")}


def test_a_record_without_such_an_image_is_a_mistake_of_the_caller(out, target):
    with pytest.raises(IndexError), Placer(out.root, target, kind="test") as placer:
        placer.put(msgspec.structs.replace(outcome(), files=()), 1, "a.webp")
    assert not target.exists()
