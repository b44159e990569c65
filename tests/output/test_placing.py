"""Names for finished files on file systems of every kind."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.output import placing
from venice_batch.output.placing import NOT_THE_NAME, put

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
