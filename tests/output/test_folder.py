import errno
import os
import subprocess
import sys

import pytest

from venice_batch.errors import ExitCode, FolderError
from venice_batch.output import folder


def test_the_folder_and_its_images_are_made(tmp_path):
    with folder.hold(tmp_path / "deep" / "out"):
        assert (tmp_path / "deep" / "out" / "images").is_dir()


def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    with folder.hold(tmp_path), pytest.raises(FolderError, match=str(os.getpid())) as caught, folder.hold(tmp_path):
        pass
    assert caught.value.exit_code is ExitCode.FOLDER_UNUSABLE


def test_the_lock_dies_with_its_process(tmp_path):
    script = (
        "import os, sys, pathlib\n"
        "from venice_batch.output import folder\n"
        "with folder.hold(pathlib.Path(sys.argv[1])):\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False).returncode == 9
    with folder.hold(tmp_path):
        pass


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_else(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "inner").mkdir()
    (tmp_path / "project").mkdir()
    for name in (".run-1-0.part", ".probe.part", "inner/.20261126T140000Z-0a1b2c-12-3.part"):
        (images / name).write_bytes(b"half")
    (tmp_path / ".summary.json.0a1b2c3d.part").write_bytes(b"half")
    kept = ("images/a.part", "images/b.png", "images/.download.part", ".notes.part", "project/.run-1-0.part")
    for name in kept:
        (tmp_path / name).write_bytes(b"the user's")
    with folder.hold(tmp_path):
        left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
        assert sorted(left) == sorted((*kept, ".lock"))


def test_a_link_in_the_locks_place_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").symlink_to(victim)
    with pytest.raises(FolderError, match=r"\.lock: is no plain file.*not followed"), folder.hold(out):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_plain_file_in_the_locks_place_is_told(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(FolderError, match=r"\.lock: is no plain file"), folder.hold(tmp_path):
        pass


def test_a_lock_that_no_run_has_made_is_not_overwritten(tmp_path):
    (tmp_path / ".lock").write_text("precious")
    with pytest.raises(FolderError, match="no run has made"), folder.hold(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "precious"


def test_a_folder_for_names_that_takes_no_files_is_told_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(folder.os, "access", lambda path, mode: path.name != "closed")
    with folder.hold(tmp_path, ["open"]):
        pass
    with (
        pytest.raises(FolderError, match="images/open/closed: cannot write here"),
        folder.hold(tmp_path, ["open/closed"]),
    ):
        pass


def test_a_durable_hold_has_the_disk_know_of_every_folder_that_it_made(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(folder, "sync_folder", lambda path: synced.append(path.relative_to(tmp_path)))
    root = tmp_path / "new" / "out"
    with folder.hold(root, ["a/b", "a/c"]):
        assert not synced
    with folder.hold(tmp_path / "other" / "out", ["a/b", "a/c"], durable=True):
        found = {str(path) for path in synced}
    inside = {f"other/out{inner}" for inner in ("", "/images", "/images/a")}
    assert found == {".", "other"} | inside


def test_to_sync_a_folder_is_to_sync_it_and_leaves_nothing_open(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(folder.os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    before = os.listdir("/proc/self/fd")
    folder.sync_folder(tmp_path)
    assert synced == [str(tmp_path)]
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_file_in_the_folders_place_is_told(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FolderError, match="is not a folder"), folder.hold(tmp_path / "out"):
        pass


def test_a_file_in_the_images_place_is_told(tmp_path):
    (tmp_path / "images").write_text("a file")
    with pytest.raises(FolderError, match="is not a folder"), folder.hold(tmp_path):
        pass


def test_a_folder_that_takes_no_files_is_told_before_anything_is_sent(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(FolderError, match="cannot write here"), folder.hold(tmp_path):
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EMFILE, "ulimit"),
        (errno.EROFS, "another folder"),
        (errno.ENOENT, "vanished"),
        (errno.EIO, "Input/output error"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EISDIR, "a folder where a file has to be"),
    ],
)
def test_each_refusal_of_the_disk_says_what_to_do(tmp_path, number, words):
    assert words in str(folder.unusable(tmp_path, OSError(number, os.strerror(number))))
