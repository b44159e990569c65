import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import types

import pytest

from venice_batch import portable
from venice_batch.errors import ExitCode, FolderError, FolderHeldError
from venice_batch.output import atomic_file as placing
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
    for name in (
        ".run-1-0.part",
        ".probe.part",
        ".probed.part",
        ".merge-1.part",
        ".merge-0a1b2c3d.part",
        "inner/.20261126T140000Z-0a1b2c-12-3.part",
    ):
        (images / name).write_bytes(b"half")
    (tmp_path / ".summary.json.0a1b2c3d.part").write_bytes(b"half")
    kept = ("images/a.part", "images/b.png", "images/.download.part", ".notes.part", "project/.run-1-0.part")
    for name in kept:
        (tmp_path / name).write_bytes(b"the user's")
    with folder.hold(tmp_path):
        left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
        assert sorted(left) == sorted((*kept, ".lock", "manifest.jsonl"))


def test_a_link_in_the_locks_place_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").symlink_to(victim)
    with pytest.raises(FolderError, match=r"\.lock: is not a plain file.*not followed"), folder.hold(out):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_plain_file_in_the_locks_place_is_told(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(FolderError, match=r"\.lock: is not a plain file"), folder.hold(tmp_path):
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
        (errno.ENAMETOOLONG, "shorter --name"),
        (errno.EISDIR, "a folder where a file has to be"),
    ],
)
def test_each_refusal_of_the_disk_says_what_to_do(tmp_path, number, words):
    assert words in str(folder.unusable(tmp_path, OSError(number, os.strerror(number))))


@pytest.mark.parametrize("name", [".lock", "manifest.jsonl"])
@pytest.mark.parametrize("harm", ["moved", "removed", "replaced", "folder moved"])
def test_a_hold_knows_when_its_files_are_its_own_no_more(tmp_path, name, harm):
    out = tmp_path / "out"
    with folder.hold(out) as held:
        held.check()
        if harm == "folder moved":
            out.rename(tmp_path / "other")
        elif harm == "removed":
            (out / name).unlink()
        else:
            (out / name).rename(out / "other")
        if harm == "replaced":
            (out / name).touch()
        with pytest.raises(FolderError, match="was moved, removed or replaced during the run"):
            held.check()


@pytest.mark.parametrize("harm", ["unlink", "touch"])
def test_with_its_lock_removed_a_folder_is_still_kept_from_others_and_their_tidying(tmp_path, harm):
    with folder.hold(tmp_path):
        (tmp_path / "images" / ".run-1-0.part").write_bytes(b"under way")
        (tmp_path / ".lock").unlink()
        if harm == "touch":
            (tmp_path / ".lock").touch()
        with pytest.raises(FolderHeldError, match=r"manifest\.jsonl locked"), folder.hold(tmp_path):
            pass
        assert (tmp_path / "images" / ".run-1-0.part").exists()
    with folder.hold(tmp_path):
        pass


def test_a_file_system_that_numbers_files_anew_each_time_is_no_reason_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(folder.os.path, "samestat", lambda one, other: False)
    with folder.hold(tmp_path) as held:
        held.check()


def test_a_disk_that_does_not_tell_what_stands_there_is_no_reason_to_stop(tmp_path, monkeypatch):
    with folder.hold(tmp_path) as held:
        real = os.stat

        def stat(path, **options):
            if os.fspath(path).endswith(".lock"):
                raise OSError(errno.EIO, "Input/output error")
            return real(path, **options)

        monkeypatch.setattr(folder.os, "stat", stat)
        held.check()


def test_a_lock_that_keeps_its_owner_from_reading_the_manifest_is_given_back(tmp_path, monkeypatch):
    (tmp_path / "manifest.jsonl").write_text("record")
    real = os.pread

    def pread(file, size, position):
        if os.readlink(f"/proc/self/fd/{file}").endswith("manifest.jsonl"):
            raise PermissionError(errno.EACCES, "denied")
        return real(file, size, position)

    monkeypatch.setattr(folder.os, "pread", pread)
    with folder.hold(tmp_path), open(tmp_path / "manifest.jsonl") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO], ids=errno.errorcode.get)
def no_locks(request, monkeypatch):
    def flock(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_without_locks_a_file_keeps_others_out_and_that_is_told(tmp_path, no_locks):
    with folder.hold(tmp_path) as held:
        (told,) = held.notices
        assert "no locks" in told
        assert ".lock-held" in told
        assert "\n" not in told
        with (
            pytest.raises(FolderHeldError, match=f"process {os.getpid()} on .*remove .lock-held"),
            folder.hold(tmp_path),
        ):
            pass
        assert (tmp_path / ".lock-held").exists()
    assert not (tmp_path / ".lock-held").exists()
    with folder.hold(tmp_path):
        pass


@pytest.mark.parametrize(
    ("mark", "is_held"),
    [
        ("{dead} {here}", False),
        ("{own} {here}", False),  # of a process of the same number before this one
        ("99999999999999 {here}", False),
        ("-1 {here}", False),
        ("0 {here}", False),
        ("nonsense {here}", False),
        ("{alive} {here}", True),
        ("{dead} elsewhere", True),
        ("", True),
        ("\0\xff", True),
    ],
)
def test_a_mark_of_a_process_that_is_no_more_is_replaced_and_no_other(tmp_path, no_locks, mark, is_held):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    numbers = {"dead": ended.pid, "own": os.getpid(), "alive": os.getppid(), "here": socket.gethostname()}
    (tmp_path / ".lock-held").write_text(mark.format(**numbers))
    if is_held:
        with pytest.raises(FolderHeldError), folder.hold(tmp_path):
            pass
        assert (tmp_path / ".lock-held").read_text() == mark.format(**numbers)
    else:
        with folder.hold(tmp_path):
            assert (tmp_path / ".lock-held").read_text() == f"{os.getpid()} {socket.gethostname()}\n"


def test_another_users_process_is_taken_to_be_alive(tmp_path, no_locks, monkeypatch):
    (tmp_path / ".lock-held").write_text(f"4711 {socket.gethostname()}")

    def kill(*_):
        raise PermissionError

    monkeypatch.setattr(folder.os, "kill", kill)
    with pytest.raises(FolderHeldError), folder.hold(tmp_path):
        pass


def test_a_mark_that_comes_and_goes_is_another_runs(tmp_path, no_locks, monkeypatch):
    real = os.open

    def opened(path, flags, *mode, **options):
        if os.fspath(path).endswith(".lock-held"):
            raise (FileExistsError if flags & os.O_CREAT else FileNotFoundError)(path)
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(folder.os, "open", opened)
    with pytest.raises(FolderHeldError, match="another process"), folder.hold(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.EPERM, errno.EIO, errno.EXDEV])
def test_a_folder_where_no_file_gets_its_name_is_told_before_anything_is_sent(tmp_path, monkeypatch, number):
    def refuse(*args, **options):
        raise OSError(number, "refused")

    monkeypatch.setattr(placing.os, "link", refuse)
    with folder.hold(tmp_path):
        pass
    monkeypatch.setattr(placing.os, "replace", refuse)
    with pytest.raises(FolderError), folder.hold(tmp_path):
        pass
    assert os.listdir(tmp_path / "images") == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"f_blocks": 0, "f_bavail": 0, "f_frsize": 512, "f_bsize": 512}, None),
        ({"f_blocks": 9, "f_bavail": 0, "f_frsize": 512, "f_bsize": 4096}, 0),
        ({"f_blocks": 9, "f_bavail": 3, "f_frsize": 512, "f_bsize": 4096}, 1536),
        ({"f_blocks": 9, "f_bavail": 3, "f_frsize": 0, "f_bsize": 4096}, 12288),
        (OSError(errno.ENOSYS, "not there"), None),
    ],
)
def test_free_room_is_what_the_disk_tells_if_it_does(tmp_path, monkeypatch, found, expected):
    def statvfs(path):
        if isinstance(found, OSError):
            raise found
        return types.SimpleNamespace(**found)

    monkeypatch.setattr(folder.os, "statvfs", statvfs)
    assert folder.free_bytes(tmp_path) == expected


def test_free_room_of_a_real_disk_is_told(tmp_path):
    assert folder.free_bytes(tmp_path) > 0


def test_without_statvfs_free_room_is_asked_otherwise(tmp_path, monkeypatch):
    expected = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda path: expected)
    monkeypatch.delattr(os, "statvfs")
    assert folder.free_bytes(tmp_path) == expected.free


def test_where_folders_cannot_be_opened_none_is_synced(tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "CAN_OPEN_FOLDERS", False)
    monkeypatch.setattr(folder.os, "fsync", lambda file: pytest.fail("synced"))
    folder.sync_folder(tmp_path)


def test_on_windows_the_manifest_is_not_locked_and_a_process_is_taken_to_be_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "IS_WINDOWS", True)
    with folder.hold(tmp_path), open(tmp_path / "manifest.jsonl") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def lock(file):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(portable, "lock", lock)
    monkeypatch.setattr(folder.os, "kill", lambda *_: pytest.fail("killed"))
    (tmp_path / ".lock-held").write_text(f"4711 {socket.gethostname()}")
    with pytest.raises(FolderHeldError, match="process 4711"), folder.hold(tmp_path):
        pass


def test_a_manifest_that_cannot_be_locked_is_no_reason_to_stop(tmp_path, monkeypatch):
    def lock(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("manifest.jsonl"):
            raise OSError(errno.ENOLCK, "No locks available")
        return True

    monkeypatch.setattr(portable, "lock", lock)
    with folder.hold(tmp_path) as held:
        assert held.notices == ()
