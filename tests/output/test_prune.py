"""Rejected images moved away or deleted."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import outcome

from venice_batch.errors import FolderError, FolderHeldError
from venice_batch.model import ImageFile
from venice_batch.output import folder, manifest
from venice_batch.output import prune as module
from venice_batch.output.manifest import decode_view
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.merge import merge
from venice_batch.output.plain_files import have_hashes, have_sizes
from venice_batch.output.prune import Pruned, prune
from venice_batch.output.resume import DONE, LatestRecords, _state_of


class Folder:
    """An output folder below a path."""

    def __init__(self, path):
        self.root = path

    def add(self, job_id, *contents, paths=None, **changes):
        """Record a job with images of these contents."""
        names = paths or [f"images/{job_id}-{number}.webp" for number in range(1, len(contents) + 1)]
        files = []
        for path, data in zip(names, contents, strict=True):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(data)
            files.append(ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), "webp", 8, 8))
        with (self.root / "manifest.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(outcome(job_id, files=tuple(files), **changes)) + b"\n")
        return self

    def reject(self, job_id, *numbers, mark="rejected"):
        files = self.latest()[job_id].files
        with MarksFile(self.root) as marks:
            marks.append(
                Mark(files[number - 1].sha256, job_id, number, mark, None, "2026-01-01T00:00:00Z") for number in numbers
            )
        return self

    def latest(self):
        return {record.id: record for record in LatestRecords(self.root / manifest.NAME)}

    def files(self):
        """{path: content} of all images in the folder."""
        found = [path for name in ("images", "rejected") for path in (self.root / name).rglob("*") if path.is_file()]
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found}

    def states(self):
        """What a resume makes of each job, with the check of hashes."""
        last = {}
        for line in (self.root / "manifest.jsonl").read_bytes().splitlines():
            record = decode_view(line)
            last[record.id] = record
        whole = [lambda files, check=check: check(f"{self.root}/", files) for check in (have_sizes, have_hashes)]
        return {job_id: {_state_of(one, check, sandbox=True) for check in whole} for job_id, one in last.items()}


@pytest.fixture
def out(tmp_path):
    return Folder(tmp_path / "out").add("a", b"A1", b"A2", b"A3").add("b", b"B1")


def pruned(record):
    return [(file.path, file.pruned) for file in record.files]


def test_rejected_images_move_and_their_record_says_where(out):
    out.reject("a", 2).reject("b", 1, mark="picked")
    assert prune(out.root) == Pruned(1, 2, False)
    assert out.files() == {
        "images/a-1.webp": b"A1",
        "rejected/a-2.webp": b"A2",
        "images/a-3.webp": b"A3",
        "images/b-1.webp": b"B1",
    }
    assert pruned(out.latest()["a"]) == [
        ("images/a-1.webp", None),
        ("rejected/a-2.webp", "moved"),
        ("images/a-3.webp", None),
    ]
    assert out.states() == {"a": {DONE}, "b": {DONE}}
    before = (out.root / "manifest.jsonl").read_bytes()
    assert prune(out.root) == Pruned(0, 0, False)
    assert (out.root / "manifest.jsonl").read_bytes() == before


def test_deleted_images_count_as_made(out):
    out.reject("a", 1, 3).reject("b", 1)
    assert prune(out.root, delete=True) == Pruned(3, 6, True)
    assert out.files() == {"images/a-2.webp": b"A2"}
    assert pruned(out.latest()["b"]) == [("images/b-1.webp", "deleted")]
    assert out.states() == {"a": {DONE}, "b": {DONE}}
    assert prune(out.root, delete=True) == prune(out.root, delete=True) == Pruned(0, 0, True)


def test_what_was_moved_can_be_deleted_and_may_be_taken_away_by_hand(out):
    out.reject("a", 1, 2)
    prune(out.root)
    os.unlink(out.root / "rejected/a-1.webp")
    assert out.states()["a"] == {DONE}
    assert prune(out.root) == Pruned(0, 0, False)
    assert prune(out.root, delete=True) == Pruned(2, 2, True)
    assert out.files() == {"images/a-3.webp": b"A3", "images/b-1.webp": b"B1"}


def test_an_image_that_is_missing_is_not_made_again_either(out):
    out.reject("b", 1)
    os.unlink(out.root / "images/b-1.webp")
    assert prune(out.root) == Pruned(1, 0, False)
    assert out.states()["b"] == {DONE}


def test_a_dry_run_counts_and_changes_nothing(out):
    out.reject("a", 1)
    before, manifest_before = out.files(), (out.root / "manifest.jsonl").read_bytes()
    assert prune(out.root, dry_run=True) == Pruned(1, 2, False)
    assert prune(out.root, dry_run=True, delete=True) == Pruned(1, 2, True)
    assert (out.files(), (out.root / "manifest.jsonl").read_bytes()) == (before, manifest_before)
    assert not (out.root / ".lock").exists()


def test_without_marks_there_is_nothing_to_do(out):
    assert prune(out.root) == Pruned(0, 0, False)


def test_a_mark_of_an_earlier_image_prunes_nothing(out):
    out.reject("b", 1)
    out.add("b", b"other")
    assert prune(out.root) == Pruned(0, 0, False)
    assert out.files()["images/b-1.webp"] == b"other"


def test_a_name_that_is_taken_in_rejected_gets_a_number(out):
    out.reject("b", 1)
    (out.root / "rejected").mkdir()
    (out.root / "rejected/b-1.webp").write_bytes(b"somebody's")
    prune(out.root)
    assert pruned(out.latest()["b"]) == [("rejected/b-1~1.webp", "moved")]
    assert out.files()["rejected/b-1.webp"] == b"somebody's"


def test_folders_below_images_are_kept(out):
    out.add("c", b"C", paths=["images/set/one/c.webp"]).reject("c", 1)
    prune(out.root)
    assert out.files()["rejected/set/one/c.webp"] == b"C"


def test_an_image_that_two_jobs_share_stays_for_the_other(out):
    out.add("c", b"B1", paths=["images/b-1.webp"]).reject("b", 1)
    prune(out.root)
    assert out.states() == {"a": {DONE}, "b": {DONE}, "c": {DONE}}
    assert out.files()["images/b-1.webp"] == out.files()["rejected/b-1.webp"] == b"B1"


def test_where_links_are_refused_images_are_copied(out, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(module.portable, "link", refuse)
    out.reject("a", 1)
    prune(out.root)
    assert out.files()["rejected/a-1.webp"] == b"A1"
    assert "images/a-1.webp" not in out.files()


def test_a_full_disk_is_reported_and_nothing_is_lost(out, monkeypatch):
    def refuse(source, target, link=module.portable.link):
        if "rejected" in str(target):
            raise OSError(errno.ENOSPC, "full")
        link(source, target)

    monkeypatch.setattr(module.portable, "link", refuse)
    out.reject("a", 1)
    with pytest.raises(FolderError, match="the disk is full"):
        prune(out.root)
    assert out.files()["images/a-1.webp"] == b"A1"


@pytest.mark.parametrize("path", ["manifest.jsonl", "../a.webp", "/etc/hosts", "images/link.webp", "rejected2/a.webp"])
@pytest.mark.parametrize("delete", [False, True])
def test_nothing_but_images_of_the_folder_is_touched(tmp_path, path, delete):
    out = Folder(tmp_path / "out").add("a", b"A")
    (tmp_path / "a.webp").write_bytes(b"A")
    (out.root / "images/link.webp").symlink_to(out.root / "images/a-1.webp")
    record = out.latest()["a"]
    strange = msgspec.structs.replace(record.files[0], path=path)
    with (out.root / "manifest.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(msgspec.structs.replace(record, id="x", files=(strange,))) + b"\n")
    out.reject("x", 1)
    found = prune(out.root, delete=delete)
    assert (found.images, len(found.left_out)) == (0, 1)
    assert found.left_out[0].startswith("image 1 of x: ")
    assert (tmp_path / "a.webp").exists()
    assert out.latest()["x"].files[0].pruned is None


def test_an_image_that_has_changed_stays(out):
    out.reject("b", 1)
    (out.root / "images/b-1.webp").write_bytes(b"edited by hand")
    found = prune(out.root, delete=True)
    assert found.left_out == ("image 1 of b: 'images/b-1.webp' has changed since it was made",)
    (out.root / "images/b-1.webp").write_bytes(b"B2")
    assert prune(out.root, delete=True).images == 1
    assert out.files()["images/b-1.webp"] == b"B2", "its hash says that it is another image"


def test_a_link_in_the_place_of_rejected_is_not_followed(out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (out.root / "rejected").symlink_to(tmp_path / "elsewhere")
    out.reject("a", 1)
    with pytest.raises(FolderError, match="is a link, which is not followed"):
        prune(out.root)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_in_use_or_without_records_is_refused(out, tmp_path):
    with folder.hold(out.root), pytest.raises(FolderHeldError):
        prune(out.reject("a", 1).root)
    with pytest.raises(FolderError, match="holds no manifest"):
        prune(tmp_path)


def test_fields_that_this_version_does_not_know_are_kept(out):
    lines = (out.root / "manifest.jsonl").read_bytes().splitlines()
    future = msgspec.json.decode(lines[-1]) | {"novel": {"x": 1}}
    (out.root / "manifest.jsonl").write_bytes(b"no record\n" + lines[0] + b"\n" + msgspec.json.encode(future) + b"\n")
    out.reject("b", 1)
    prune(out.root)
    last = msgspec.json.decode((out.root / "manifest.jsonl").read_bytes().splitlines()[-1])
    assert last == future | {"files": [future["files"][0] | {"path": "rejected/b-1.webp", "pruned": "moved"}]}


def test_pruned_images_and_marks_come_along_in_a_merge(out, tmp_path):
    out.reject("a", 1, 2).reject("a", 3, mark="picked").reject("b", 1)
    prune(out.root)
    os.unlink(out.root / "rejected/a-1.webp")
    deleted = Folder(tmp_path / "deleted").add("c", b"C").reject("c", 1)
    prune(deleted.root, delete=True)
    whole = Folder(tmp_path / "all")
    merged = merge([out.root, deleted.root], whole.root)
    assert (merged.left_out, merged.images, merged.marks) == ((), 3, 5)
    assert whole.files() == {"rejected/a-2.webp": b"A2", "images/a-3.webp": b"A3", "rejected/b-1.webp": b"B1"}
    assert whole.states() == {"a": {DONE}, "b": {DONE}, "c": {DONE}}
    assert merge([out.root, deleted.root], whole.root).marks == 0
    assert prune(whole.root) == Pruned(0, 0, False)


class Crash(BaseException):
    """The process ends here."""


def crashing(monkeypatch, after):
    """Let the process end before step number `after` of those that change the disk."""
    left = [after]

    def step(call):
        def stepped(*args):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return call(*args)

        return stepped

    monkeypatch.setattr(module.portable, "link", step(module.portable.link))
    monkeypatch.setattr(module.os, "unlink", step(os.unlink))
    monkeypatch.setattr(manifest.Manifest, "append_line", step(manifest.Manifest.append_line))
    return left


EVERY = {("a", 1), ("a", 2), ("a", 3), ("b", 1)}


def crashed(out, after, *, delete):
    """Prune, and let the process end before step number `after`; return whether it got that far."""
    with pytest.MonkeyPatch.context() as patch:
        crashing(patch, after)
        try:
            prune(out.root, delete=delete)
        except Crash:
            return True
    return False


def check(out, rejected, *, deleted):
    """Check that nothing is lost and nothing would be made again."""
    assert out.states() == {"a": {DONE}, "b": {DONE}}
    assert {f"images/{name}-{number}.webp" for name, number in EVERY - rejected} <= out.files().keys()
    assert deleted or {f"{name}{number}".upper().encode() for name, number in rejected} <= set(out.files().values())
    for file in (file for record in out.latest().values() for file in record.files):
        assert file.pruned == "deleted" or (out.root / file.path).exists()


def finish(out, rejected, *, delete, deleted=False):
    prune(out.root, delete=delete)
    kept = {f"images/{name}-{number}.webp" for name, number in EVERY - rejected}
    moved = {f"rejected/{name}-{number}.webp" for name, number in rejected}
    if deleted and not delete:
        assert kept <= out.files().keys() <= kept | moved
    else:
        assert out.files().keys() == (kept if delete else kept | moved)
    assert prune(out.root, delete=delete).images == 0


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("moved_before", [False, True])
def test_it_may_end_before_any_step(tmp_path, delete, moved_before):
    after, rejected = 0, {("a", 1), ("a", 3), ("b", 1)}
    while True:
        out = Folder(tmp_path / f"out-{after}").add("a", b"A1", b"A2", b"A3").add("b", b"B1")
        out.reject("a", 1, 3).reject("b", 1)
        if moved_before:
            prune(out.root)
        if not crashed(out, after, delete=delete):
            break
        check(out, rejected, deleted=delete)
        finish(out, rejected, delete=delete)
        after += 1
    assert after > 7


@given(
    crashes=st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=4),
    rejected=st.sets(st.sampled_from(sorted(EVERY)), min_size=1),
    delete=st.booleans(),
)
def test_it_may_end_several_times(crashes, rejected, delete, tmp_path_factory):
    out = Folder(tmp_path_factory.mktemp("prune") / "out").add("a", b"A1", b"A2", b"A3").add("b", b"B1")
    for job_id, number in rejected:
        out.reject(job_id, number)
    deleted = False
    for after, is_deleting in crashes:
        deleted |= is_deleting
        crashed(out, after, delete=is_deleting)
        check(out, rejected, deleted=deleted)
    finish(out, rejected, delete=delete, deleted=deleted)


@pytest.mark.no_cover
def test_killed_between_it_loses_nothing_and_can_be_repeated(tmp_path):
    out = Folder(tmp_path / "out")
    for number in range(300):
        out.add(f"j{number}", f"{number}".encode(), f"{number} too".encode())
        digest = hashlib.sha256(f"{number}".encode()).hexdigest()
        with MarksFile(out.root) as marks:
            marks.append([Mark(digest, f"j{number}", 1, "rejected", None, "2026-01-01T00:00:00Z")])
    program = [
        sys.executable,
        "-c",
        "import sys; from pathlib import Path; from venice_batch.output.prune import prune\n"
        "print('go', flush=True); prune(Path(sys.argv[1]))",
        str(out.root),
    ]
    for _ in range(5):
        with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            until = len((out.root / "manifest.jsonl").read_bytes().splitlines()) + 20
            while process.poll() is None and (out.root / "manifest.jsonl").read_bytes().count(b"\n") < until:
                time.sleep(0)
            process.send_signal(signal.SIGKILL)
        assert set().union(*out.states().values()) == {DONE}
        assert set(out.files().values()) == {f"{n}{more}".encode() for n in range(300) for more in ("", " too")}
    prune(out.root)
    assert sorted(out.files()) == sorted(
        [f"images/j{number}-2.webp" for number in range(300)] + [f"rejected/j{number}-1.webp" for number in range(300)]
    )
