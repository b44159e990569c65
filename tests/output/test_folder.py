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
    (images / ".run-1-0.part").write_bytes(b"half")
    (images / "a.part").write_bytes(b"the user's")
    (images / "b.png").write_bytes(b"whole")
    with folder.hold(tmp_path):
        assert sorted(os.listdir(images)) == ["a.part", "b.png"]


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

    monkeypatch.setattr(type(tmp_path), "write_bytes", refuse)
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
    ],
)
def test_each_refusal_of_the_disk_says_what_to_do(tmp_path, number, words):
    assert words in str(folder.unusable(tmp_path, OSError(number, os.strerror(number))))
