"""Files that are there in full or not at all."""

import errno
import fcntl
import gzip
import io
import os
import stat
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.output import atomic_file as placing
from venice_batch.output.atomic_file import NOT_THE_NAME, put, whole_file, whole_stream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "jobs.jsonl"
    with whole_file(path) as file:
        file.write(b"text")
        assert not path.exists()
    assert path.read_bytes() == b"text"
    assert os.listdir(tmp_path) == ["jobs.jsonl"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_exception_leaves_all_as_it_was(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text("before")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"after", None])
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["jobs.jsonl"]


def test_an_earlier_file_is_replaced_and_keeps_its_mode(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text("before")
    path.chmod(0o600)
    with whole_file(path) as file:
        file.write(b"after")
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole_file(tmp_path / "link") as file:
        file.write(b"text")
    assert (tmp_path / "real").read_bytes() == b"text"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(("ending", "unpack"), [(".gz", gzip.decompress), (".zst", zstd.decompress)])
def test_a_file_is_packed_as_its_ending_says(tmp_path, ending, unpack):
    paths = [tmp_path / f"one.jsonl{ending}", tmp_path / f"other.jsonl{ending}"]
    for path in paths:
        with whole_file(path) as file:
            file.write(b"text" * 100)
    assert unpack(paths[0].read_bytes()) == b"text" * 100
    assert paths[0].read_bytes() == paths[1].read_bytes(), "the same bytes whatever the name and the time"


def test_what_is_no_plain_file_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with whole_file(pipe) as file:
        file.write(b"text")
    reader.join(10)
    assert read == [b"text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(("name", "what"), [("none/jobs", "cannot be written: No such file"), (".", "is a folder")])
def test_a_place_that_cannot_be_written_is_told(tmp_path, name, what):
    with pytest.raises(FolderError, match=what), whole_file(tmp_path / name):
        pass


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    def replace(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(FolderError, match="cannot be written: No space left"), whole_file(tmp_path / "jobs") as file:
        file.write(b"text")
    assert os.listdir(tmp_path) == []


def test_a_stream_gets_all_or_nothing():
    stream = io.BytesIO()
    with pytest.raises(TypeError), whole_stream(stream) as file:
        file.writelines([b"some", None])
    assert stream.getvalue() == b""
    with whole_stream(stream) as file:
        file.write(b"all")
    assert stream.getvalue() == b"all"


@pytest.mark.parametrize("name", ["jobs.jsonl", "\u65e5" * 80, "\U0001f600" * 60, "a[b]*.jsonl"])
def test_what_a_killed_process_has_left_is_removed_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    script = "import os, pathlib, sys\nfrom venice_batch.output.atomic_file import whole_file\n"
    script += (
        "with whole_file(pathlib.Path(sys.argv[1])) as file:\n    file.write(b'half'), file.flush(), os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".part")
    others = [".other.0a1b2c3d.part", ".jobs.jsonl.part", ".jobs.jsonl.0a1b2c3d.part.old", "jobs.jsonl.0a1b2c3d.part"]
    for other in others:
        (tmp_path / other).write_bytes(b"the user's")
    (tmp_path / f".{name[:10]}.0a1b2c3d.part").mkdir()
    with whole_file(path, tidy=False) as file:
        file.write(b"text")
    assert left in os.listdir(tmp_path)
    with whole_file(path) as file:
        file.write(b"text")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, name, f".{name[:10]}.0a1b2c3d.part"])


def test_a_part_that_somebody_is_writing_stays(tmp_path):
    path = tmp_path / "jobs.jsonl"
    with whole_file(path) as one:
        one.write(b"one")
        with whole_file(path) as other:
            other.write(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"


def test_a_part_that_was_taken_for_a_left_over_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    path, real, removed = tmp_path / "jobs.jsonl", fcntl.flock, []

    def flock(file, operation):
        if not removed:
            removed.extend(tmp_path.glob(".*.part"))
            removed[0].unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with whole_file(path) as file:
        file.write(b"text")
    assert path.read_bytes() == b"text"
    assert os.listdir(tmp_path) == ["jobs.jsonl"]


def test_without_locks_left_overs_stay(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".jobs.jsonl.0a1b2c3d.part").write_bytes(b"perhaps somebody's")
    with whole_file(tmp_path / "jobs.jsonl") as file:
        file.write(b"text")
    assert sorted(os.listdir(tmp_path)) == [".jobs.jsonl.0a1b2c3d.part", "jobs.jsonl"]


@pytest.mark.parametrize("kind", ["link", "dangling", "link to a folder", "pipe"])
def test_what_is_not_to_be_followed_is_replaced(tmp_path, kind):
    victim, path = tmp_path / "victim", tmp_path / "page.html"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        victim.write_text("precious") if kind == "link" else victim.mkdir() if "folder" in kind else None
        path.symlink_to(victim)
    with whole_file(path, follow=False) as file:
        file.write(b"text")
    assert (path.is_symlink(), path.read_bytes()) == (False, b"text")
    if kind == "link":
        assert victim.read_text() == "precious"


def test_a_file_that_is_not_to_be_followed_keeps_its_mode(tmp_path):
    path = tmp_path / "page.html"
    path.touch()
    path.chmod(0o600)
    with whole_file(path, follow=False) as file:
        file.write(b"text")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "folder").mkdir()
    with pytest.raises(FolderError, match="is a folder"), whole_file(tmp_path / "folder", follow=False):
        pass


def test_on_windows_which_keeps_open_files_a_left_over_needs_no_lock_to_be_known(tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "IS_WINDOWS", True)
    (tmp_path / ".jobs.jsonl.0a1b2c3d.part").write_bytes(b"half")
    with whole_file(tmp_path / "jobs.jsonl") as file:
        file.write(b"text")
    assert os.listdir(tmp_path) == ["jobs.jsonl"]


LINK_ERRNOS = sorted(set(errno.errorcode) - NOT_THE_NAME - {errno.EEXIST})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "part").write_bytes(b"image")
    return tmp_path


def give_name(folder, name="a.png"):
    put(str(folder / "part"), str(folder / name))
    assert (folder / name).read_bytes() == b"image"
    assert not (folder / "part").exists()


def refuse_links(monkeypatch, number):
    def link(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(placing.os, "link", link)


def refuse_renames(monkeypatch):
    def replace(*args):
        raise OSError(errno.EIO, "no rename")

    monkeypatch.setattr(placing.os, "replace", replace)


@pytest.mark.parametrize("number", LINK_ERRNOS, ids=errno.errorcode.get)
def test_whatever_refuses_a_link_the_file_gets_its_name(folder, monkeypatch, number):
    refuse_links(monkeypatch, number)
    give_name(folder)


@pytest.mark.parametrize("number", sorted(NOT_THE_NAME), ids=errno.errorcode.get)
def test_a_full_disk_is_told_at_once(folder, monkeypatch, number):
    refuse_links(monkeypatch, number)
    with pytest.raises(OSError, match=os.strerror(number)):
        put(str(folder / "part"), str(folder / "a.png"))
    assert os.listdir(folder) == ["part"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("there", ["file", "folder", "link", "dangling link", "link to an empty file", "pipe"])
def test_what_stands_there_stays(folder, monkeypatch, links, there):
    if not links:
        refuse_links(monkeypatch, errno.EPERM)
    target = folder / "a.png"
    (folder / "other").write_bytes(b"" if there == "link to an empty file" else b"mine")
    make = {"file": lambda: target.write_bytes(b"m"), "folder": target.mkdir, "pipe": lambda: os.mkfifo(target)}
    make.get(there, lambda: target.symlink_to("nowhere" if there == "dangling link" else "other"))()
    before = os.lstat(target)
    with pytest.raises(FileExistsError):
        put(str(folder / "part"), str(target))
    assert os.path.samestat(os.lstat(target), before)
    assert os.lstat(target).st_size == before.st_size
    assert (folder / "part").read_bytes() == b"image"


@pytest.mark.parametrize("links", [True, False])
def test_an_empty_name_that_a_killed_run_had_reserved_is_used(folder, monkeypatch, links):
    if not links:
        refuse_links(monkeypatch, errno.EPERM)
    (folder / "a.png").touch()
    give_name(folder)


def test_where_neither_way_works_nothing_has_the_name(folder, monkeypatch):
    refuse_links(monkeypatch, errno.EPERM)
    refuse_renames(monkeypatch)
    with pytest.raises(OSError, match="no rename"):
        put(str(folder / "part"), str(folder / "a.png"))
    assert os.listdir(folder) == ["part"]


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=6), st.sampled_from([0, errno.EPERM, errno.EIO]))
def test_of_many_files_none_takes_the_name_of_another(tmp_path_factory, names, number):
    folder = tmp_path_factory.mktemp("names")
    given_names = {}
    with pytest.MonkeyPatch.context() as patch:
        if number:
            refuse_links(patch, number)
        for count, name in enumerate(names):
            (folder / "part").write_text(str(count + 1))
            if name in given_names:
                with pytest.raises(FileExistsError):
                    put(str(folder / "part"), str(folder / name))
            else:
                put(str(folder / "part"), str(folder / name))
                given_names[name] = str(count + 1)
    assert {name: (folder / name).read_text() for name in given_names} == given_names
