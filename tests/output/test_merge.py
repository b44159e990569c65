"""Folders joined into one."""

import errno
import hashlib
import json
import os

import msgspec
import pytest
from records import failed, outcome

from venice_batch.errors import FolderError, FolderHeldError, UsageError
from venice_batch.model import ImageFile
from venice_batch.output import folder, manifest
from venice_batch.output import merge as module
from venice_batch.output.annotations import Annotation, AnnotationsFile, read_annotations
from venice_batch.output.marks import Mark, MarksFile, read_marks
from venice_batch.output.merge import merge
from venice_batch.output.naming import short_name
from venice_batch.output.resume import LatestRecords


class Folders:
    """Output folders below a path."""

    def __init__(self, path):
        self.path = path

    def __truediv__(self, name):
        return self.path / name

    def add(self, name, job_id, data=None, *, at="00:00", path=None, **changes):
        """Record a job that ended at this time of a day; with `data`, one that has an image."""
        root = self.path / name
        files = ()
        if data is not None:
            path = path or f"images/{job_id}.webp"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
            files = (ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), "webp", 8, 8),)
        root.mkdir(exist_ok=True)
        made = failed(job_id) if data is None else outcome(job_id, files=files)
        timing = msgspec.structs.replace(made.timing, enqueued_at=f"2026-01-01T{at}:00.000Z")
        made = msgspec.structs.replace(made, timing=timing, **changes)
        with (root / "manifest.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(made) + b"\n")
        return self

    def keep(self, name, job_id, data, *, at="00:00", path=None):
        """Record a job whose answer was no known image, and was kept."""
        path = path or f"unrecognised/{job_id}.bin"
        (self.path / name / path).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name / path).write_bytes(data)
        return self.add(name, job_id, at=at, unrecognised=(path,))

    def kept(self, name):
        """{id: data of each kept answer} by the folder's manifest."""
        return {
            record.id: [(self.path / name / path).read_bytes() for path in record.unrecognised]
            for record in LatestRecords(self.path / name / manifest.NAME)
        }

    def latest(self, name):
        """{id: (status, data of each image)} by the folder's manifest."""
        found = {}
        for record in LatestRecords(self.path / name / manifest.NAME):
            data = [(self.path / name / file.path).read_bytes() for file in record.files]
            assert [hashlib.sha256(one).hexdigest() for one in data] == [file.sha256 for file in record.files]
            found[record.id] = (str(record.status), data)
        return found

    def merge(self, *names, into="all"):
        return merge([self.path / name for name in names], self.path / into)


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


def test_records_and_images_come_together(folders):
    folders.add("one", "a", b"A").add("two", "b", b"B").add("two", "c")
    assert folders.merge("one", "two") == module.Merged(3, 3, 2, ())
    assert folders.latest("all") == {
        "a": ("succeeded", [b"A"]),
        "b": ("succeeded", [b"B"]),
        "c": ("failed", []),
    }
    assert sorted(os.listdir(folders / "all/images")) == ["a.webp", "b.webp"]


def test_a_merge_can_be_repeated_and_gone_on_with(folders):
    folders.add("one", "a", b"A").add("two", "b", b"B")
    folders.merge("one")
    assert folders.merge("one", "two") == module.Merged(2, 1, 1, ())
    before = (folders / "all/manifest.jsonl").read_bytes()
    assert folders.merge("two", "one") == module.Merged(2, 0, 0, ())
    assert (folders / "all/manifest.jsonl").read_bytes() == before


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_the_record_whose_job_ended_last_counts(folders, order):
    folders.add("one", "a", b"new", at="09:00").add("two", "a", b"old", at="08:00")
    folders.add("one", "b", at="08:00").add("two", "b", b"B", at="09:00")
    folders.merge(*order)
    assert folders.latest("all") == {"a": ("succeeded", [b"new"]), "b": ("succeeded", [b"B"])}


def test_what_the_destination_has_counts_by_its_time_too(folders):
    folders.add("all", "a", b"kept", at="09:00").add("all", "b", b"old", at="08:00")
    folders.add("one", "a", b"old", at="08:00").add("one", "b", b"new", at="09:00")
    assert folders.merge("one") == module.Merged(2, 1, 1, ())
    assert folders.latest("all") == {"a": ("succeeded", [b"kept"]), "b": ("succeeded", [b"new"])}
    assert sorted(os.listdir(folders / "all/images")) == ["a.webp", "b.webp"]


def test_within_a_folder_the_later_line_counts_whatever_its_time(folders):
    folders.add("one", "a", b"first", at="09:00").add("one", "a", b"again", at="08:00")
    folders.merge("one")
    assert folders.latest("all") == {"a": ("succeeded", [b"again"])}


def test_a_file_of_somebody_else_is_never_overwritten(folders):
    (folders / "all/images").mkdir(parents=True)
    (folders / "all/images/a.webp").write_bytes(b"the user's")
    folders.add("one", "a", b"A")
    folders.merge("one")
    assert (folders / "all/images/a.webp").read_bytes() == b"the user's"
    assert (folders / "all/images/a~1.webp").read_bytes() == b"A"
    assert folders.latest("all") == {"a": ("succeeded", [b"A"])}


def test_two_ids_with_one_name_both_keep_their_images(folders):
    folders.add("one", "a", b"A", path="images/sea.webp").add("two", "b", b"B", path="images/sea.webp")
    folders.merge("one", "two")
    assert folders.latest("all") == {"a": ("succeeded", [b"A"]), "b": ("succeeded", [b"B"])}


def test_an_image_that_was_brought_before_its_record_is_not_brought_twice(folders):
    folders.add("one", "a", b"A")
    folders.merge("one")
    (folders / "all/manifest.jsonl").write_bytes(b"")
    assert folders.merge("one") == module.Merged(1, 1, 0, ())
    assert os.listdir(folders / "all/images") == ["a.webp"]


def test_what_the_destination_has_lost_is_brought_again(folders):
    folders.add("one", "a", b"A")
    folders.merge("one")
    (folders / "all/images/a.webp").unlink()
    assert folders.merge("one").images == 1
    assert folders.latest("all") == {"a": ("succeeded", [b"A"])}


def test_images_are_linked_where_that_is_possible_else_copied(folders, monkeypatch):
    folders.add("one", "a", b"A")
    folders.merge("one")
    assert (folders / "all/images/a.webp").samefile(folders / "one/images/a.webp")
    real = os.link

    def no_link(source, target, **options):
        if "/one/" in str(source):
            raise OSError(18, "Invalid cross-device link")
        real(source, target, **options)

    monkeypatch.setattr(os, "link", no_link)
    folders.merge("one", into="copy")
    assert folders.latest("copy") == {"a": ("succeeded", [b"A"])}
    assert not (folders / "copy/images/a.webp").samefile(folders / "one/images/a.webp")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_nothing_is_brought_from_outside_of_a_folder_and_the_rest_is(folders, kind):
    folders.add("one", "a", b"A").add("one", "b", b"B")
    image = folders / "one/images/a.webp"
    image.unlink()
    (folders / "target").write_bytes(b"A")
    if kind == "link":
        image.symlink_to(folders / "target")
    elif kind == "pipe":
        os.mkfifo(image)
    else:
        image.mkdir()
    merged = folders.merge("one")
    assert (merged.jobs, len(merged.left_out)) == (1, 1)
    assert "one: a: 'images/a.webp' is " in merged.left_out[0]
    assert os.listdir(folders / "all/images") == ["b.webp"]


def test_a_manifest_that_is_a_link_is_not_read(folders):
    folders.add("one", "a", b"A")
    (folders / "two/images").mkdir(parents=True)
    (folders / "two/manifest.jsonl").symlink_to(folders / "one/manifest.jsonl")
    with pytest.raises(FolderError, match="is a link or not a plain file"):
        folders.merge("two")


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_record_without_its_whole_image_is_left_out_and_told(folders, harm):
    folders.add("one", "a", b"AAA").add("one", "b", b"B")
    image = folders / "one/images/a.webp"
    image.unlink() if harm == "gone" else image.write_bytes(b"AA")
    merged = folders.merge("one")
    told = f"{folders / 'one'}: a: images/a.webp is missing, or has not the size that is recorded"
    assert merged == module.Merged(1, 1, 1, (told,))
    assert set(folders.latest("all")) == {"b"}


@pytest.mark.parametrize("path", ["../escape.webp", "/etc/passwd", "images/../../x", "manifest.jsonl", "a\0b"])
def test_a_path_that_leads_elsewhere_is_left_out(folders, path):
    folders.add("one", "b", b"B")
    record = msgspec.to_builtins(outcome("a", files=(ImageFile(path, 1, "0" * 64, "webp", 1, 1),)))
    with (folders / "one/manifest.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    assert "is not a path of an image" in folders.merge("one").left_out[0]
    assert sorted(os.listdir(folders.path)) == ["all", "one"]


def test_fields_that_this_version_does_not_know_come_along(folders):
    folders.add("one", "a")
    path = folders / "one/manifest.jsonl"
    record = json.loads(path.read_text())
    path.write_text('torn\n\n{"id": 5}\n' + json.dumps({**record, "future": [1]}))  # and no line feed at the end
    folders.merge("one")
    assert json.loads((folders / "all/manifest.jsonl").read_text()) == {**record, "future": [1]}
    assert (folders / "all/manifest.jsonl").read_bytes().endswith(b"\n")


def test_a_record_without_a_time_gives_way_to_one_that_has_one(folders):
    folders.add("one", "a", b"A", at="08:00").add("two", "a", b"B", at="nonsense")
    folders.merge("two", "one")
    assert folders.latest("all") == {"a": ("succeeded", [b"A"])}


def test_nonsense_is_refused_in_a_line(folders):
    folders.add("one", "a", b"A")
    with pytest.raises(FolderError, match=r"two: holds no manifest\.jsonl"):
        folders.merge("one", "two")
    with pytest.raises(UsageError, match="is the folder to merge into"):
        folders.merge("one", into="one")
    (folders / "file").write_text("")
    with pytest.raises(FolderError, match="is not a folder"):
        folders.merge("one", into="file")
    with folder.hold(folders / "all"), pytest.raises(FolderHeldError):
        folders.merge("one")
    assert os.listdir(folders / "all/images") == []


def test_a_disk_that_fills_up_is_told_and_leaves_nothing_half_done(folders, monkeypatch):
    folders.add("one", "a", b"A")

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(FolderError, match="disk is full"):
        folders.merge("one")
    assert (folders / "all/manifest.jsonl").read_bytes() == b""


def test_what_a_killed_merge_has_left_does_no_harm_and_is_removed(folders):
    folders.add("one", "a", b"A", path="images/inner/a.webp")
    (folders / "all/images/inner").mkdir(parents=True)
    for name in (f".merge-{os.getpid()}.part", ".merge-1.part", ".merge-0a1b2c3d4e5f6071.part"):
        os.link(folders / "one/images/inner/a.webp", folders / "all/images/inner" / name)
    assert folders.merge("one").images == 1
    assert os.listdir(folders / "all/images/inner") == ["a.webp"]


def test_a_name_that_the_destination_refuses_gives_way_to_a_short_one(folders, monkeypatch):
    name = "a" * 150
    folders.add("one", name, b"A").add("one", "b", b"B")
    for call, of_target in (("link", 1), ("open", 0)):
        real = getattr(os, call)

        def asked(*args, real=real, of_target=of_target, **options):
            path = os.fspath(args[of_target])
            if "/all/" in path and len(os.path.basename(path)) > 143:
                raise OSError(errno.ENAMETOOLONG, "File name too long")
            return real(*args, **options)

        monkeypatch.setattr(os, call, asked)
    assert folders.merge("one") == module.Merged(2, 2, 2, ())
    assert folders.latest("all") == {name: ("succeeded", [b"A"]), "b": ("succeeded", [b"B"])}
    assert sorted(os.listdir(folders / "all/images")) == sorted([f"{short_name(name)}.webp", "b.webp"])
    assert folders.merge("one") == module.Merged(2, 0, 0, ())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EINVAL, errno.EXDEV, errno.ENOSYS])
def test_whatever_refuses_links_images_are_copied(folders, monkeypatch, number):
    def link(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    folders.add("one", "a", b"A")
    assert folders.merge("one").images == 1
    assert folders.latest("all") == {"a": ("succeeded", [b"A"])}
    assert os.listdir(folders / "all/images") == ["a.webp"]


def test_a_disk_that_is_full_when_a_name_is_given_ends_the_merge(folders, monkeypatch):
    folders.add("one", "a", b"A")
    monkeypatch.setattr(module, "put", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(FolderError, match="disk is full"):
        folders.merge("one")
    assert os.listdir(folders / "all/images") == []


def test_kept_answers_of_unknown_formats_come_along(folders):
    folders.keep("one", "a", b"A?", path="unrecognised/sub/a.jxl").keep("two", "b", b"B?").add("two", "c", b"C")
    assert folders.merge("one", "two") == module.Merged(3, 3, 1, (), unrecognised=2)
    assert folders.kept("all") == {"a": [b"A?"], "b": [b"B?"], "c": []}
    assert (folders / "all/unrecognised/b.bin").samefile(folders / "two/unrecognised/b.bin")
    assert folders.merge("one", "two") == module.Merged(3, 0, 0, ())
    assert sorted(path.name for path in (folders / "all/unrecognised").rglob("*")) == ["a.jxl", "b.bin", "sub"]
    assert os.listdir(folders / "all/images") == ["c.webp"]


def test_a_kept_answer_is_never_replaced_even_by_one_of_its_own_job(folders):
    folders.keep("all", "a", b"old", at="07:00").keep("one", "a", b"mid", at="08:00")
    folders.keep("two", "a", b"new", at="09:00")
    folders.keep("two", "b", b"new", path="unrecognised/a~1.bin")
    assert folders.merge("two", "one").unrecognised == 2
    assert folders.kept("all") == {"a": [b"new"], "b": [b"new"]}
    found = sorted(path.read_bytes() for path in (folders / "all/unrecognised").iterdir())
    assert found == [b"mid", b"new", b"old"]
    assert folders.merge("one", "two") == module.Merged(2, 0, 0, ())


def test_answers_that_later_records_no_longer_name_come_along(folders):
    folders.keep("one", "a", b"paid", at="08:00").add("one", "a", b"A", at="09:00")
    assert folders.merge("one") == module.Merged(1, 1, 1, (), unrecognised=1)
    assert (folders / "all/unrecognised/a.bin").read_bytes() == b"paid"


def test_a_kept_answer_that_was_moved_away_does_not_hold_its_record_back(folders):
    folders.keep("one", "a", b"gone").keep("one", "b", b"B")
    (folders / "one/unrecognised/a.bin").unlink()
    assert folders.merge("one") == module.Merged(2, 2, 0, (), unrecognised=1)
    assert folders.kept("all") == {"a": [], "b": [b"B"]}


@pytest.mark.parametrize("path", ["../escape.bin", "/etc/passwd", "unrecognised/../../x", "manifest.jsonl"])
def test_no_file_from_elsewhere_is_brought_as_a_kept_answer(folders, path):
    folders.add("one", "b", b"B").add("one", "a", unrecognised=(path,))
    merged = folders.merge("one")
    assert merged.left_out == (f"{folders / 'one'}: a: {path!r} is not a path of a kept answer",)
    assert sorted(os.listdir(folders.path)) == ["all", "one"]
    assert not (folders / "all/unrecognised").exists()


def test_a_kept_answer_behind_a_link_is_left_out(folders):
    folders.keep("one", "a", b"A")
    (folders / "one/unrecognised/a.bin").unlink()
    (folders / "one/unrecognised/a.bin").symlink_to("/etc/passwd")
    (line,) = folders.merge("one").left_out
    assert "'unrecognised/a.bin' is a link" in line


def test_the_latest_mark_of_an_image_counts_whichever_folder_has_it(folders):
    folders.add("one", "a", b"A").add("two", "b", b"B").add("all", "c", b"C")

    def said(job_id, mark, minute):
        return Mark("0" * 64, job_id, 1, mark, None, f"2026-01-01T00:{minute:02}:00Z")

    for name, marks in {
        "one": [said("a", "picked", 1), said("b", "rejected", 5), said("c", "picked", 9)],
        "two": [said("a", "rejected", 0), said("b", "picked", 3), said("c", None, 10)],
        "all": [said("c", "rejected", 2), said("d", "picked", 2)],
    }.items():
        with MarksFile(folders / name) as file:
            file.append(marks)
    assert folders.merge("one", "two").marks == 3
    found = {job_id: mark.mark for (job_id, _, _), mark in read_marks(folders / "all").items()}
    assert found == {"a": "picked", "b": "rejected", "d": "picked"}
    before = (folders / "all/marks.jsonl").read_bytes()
    assert folders.merge("two", "one").marks == 0
    assert (folders / "all/marks.jsonl").read_bytes() == before


def test_a_mark_without_a_time_gives_way(folders):
    folders.add("one", "a", b"A").add("all", "b", b"B")
    for name, at in (("one", "2026-01-01T00:00:00Z"), ("all", "soon")):
        with MarksFile(folders / name) as file:
            file.append([Mark("0" * 64, "a", 1, "picked", None, at)])
    assert folders.merge("one").marks == 1


def test_an_image_in_rejected_has_to_be_a_pruned_one(folders):
    folders.add("one", "a", b"A", path="rejected/a.webp")
    assert folders.merge("one").left_out == (f"{folders / 'one'}: a: 'rejected/a.webp' is not a path of an image",)


def annotated(root, at, *images):
    with AnnotationsFile(root) as file:
        file.append(Annotation(sha256, job, 1, values, at) for job, sha256, values in images)


def test_the_latest_value_of_each_annotation_counts_and_a_second_merge_brings_nothing(folders):
    folders.add("one", "a", b"A").add("two", "b", b"B")
    early, late = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    annotated(folders / "one", early, ("a", "x", {"score": 1, "old": 1, "n": 0}), ("b", "x", {"score": 3}))
    annotated(folders / "two", late, ("a", "x", {"score": 2, "old": None}))
    assert folders.merge("one", "two").annotations == 4
    merged = read_annotations(folders / "all")
    assert merged.of_image("a", "x", 1) == {"score": 2, "n": 0}
    assert merged.of_image("b", "x", 1) == {"score": 3}
    before = (folders / "all/annotations.jsonl").read_bytes()
    assert before.count(b"\n") == 3
    assert folders.merge("two", "one").annotations == 0
    assert (folders / "all/annotations.jsonl").read_bytes() == before
