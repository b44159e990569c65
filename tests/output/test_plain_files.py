"""Files that are there, and files that only seem to be."""

import hashlib
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch import portable
from venice_batch.output import plain_files as module
from venice_batch.output.manifest import FileView
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, Refusals, have_hashes, have_sizes

DATA = b"an image"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def prefix(tmp_path):
    for name in ("a.webp", "b.webp"):
        (tmp_path / name).write_bytes(DATA)
    return f"{tmp_path}/"


@pytest.mark.parametrize("are_whole", [have_sizes, have_hashes])
def test_files_as_recorded_are_whole(prefix, are_whole):
    assert are_whole(prefix, (FileView("a.webp", 8, SHA), FileView("b.webp", 8, SHA)))


@pytest.mark.parametrize("are_whole", [have_sizes, have_hashes])
@pytest.mark.parametrize(
    "files",
    [(), (FileView("c.webp", 8, SHA),), (FileView("a.webp", 8, SHA), FileView("b.webp", 7, SHA)), (FileView("\0", 8),)],
    ids=["none", "a missing one", "a longer one", "no path"],
)
def test_else_they_are_not(prefix, are_whole, files):
    assert not are_whole(prefix, files)


def test_only_the_hash_tells_a_changed_byte(prefix):
    files = (FileView("a.webp", 8, SHA), FileView("b.webp", 8, "0" * 64))
    assert have_sizes(prefix, files)
    assert not have_hashes(prefix, files)


def test_a_folder_is_no_image(tmp_path):
    (tmp_path / "inner").mkdir()
    file = FileView("inner", (tmp_path / "inner").stat().st_size, SHA)
    assert not have_hashes(f"{tmp_path}/", (file,))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "private").write_bytes(DATA)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.webp").write_bytes(DATA)
    root = tmp_path / "out"
    (root / "images/inner").mkdir(parents=True)
    (root / "images/a.webp").write_bytes(DATA)
    (root / "images/inner/日本.webp").write_bytes(DATA)
    (root / "images/link.webp").symlink_to("../../private")
    (root / "images/near.webp").symlink_to("a.webp")
    (root / "images/linked").symlink_to("../../elsewhere")
    (root / "images/dangling.webp").symlink_to("nowhere")
    os.mkfifo(root / "images/pipe.webp")
    (root / "images/pipe-link.webp").symlink_to("pipe.webp")
    (root / "images/zero.webp").symlink_to("/dev/zero")
    return root


REFUSED = [
    *("", ".", "/etc/passwd", "../private", "images/../../private", "images/a\0b", "images/link.webp"),
    *("images/near.webp", "images/linked/a.webp", "images/dangling.webp", "images/pipe.webp", "images/zero.webp"),
    "images/inner",
]


@pytest.mark.parametrize("path", ["images/a.webp", "images/inner/日本.webp", "images/./a.webp"])
def test_plain_files_below_the_folder_are_read(root, path):
    files = PlainFiles(root)
    assert files.size(path) == len(DATA)
    with files.open(path) as file:
        assert file.read() == DATA


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_no_plain_file_of_the_folder_is_neither_opened_nor_waited_for(root, path):
    files = PlainFiles(root)
    for look in (files.size, files.open):
        with pytest.raises(NoPlainFileError) as caught:
            look(path)
        assert caught.value.filename == path


@pytest.mark.parametrize("path", ["images/b.webp", "nowhere/a.webp", "images/a.webp/x", "x" * 5000])
def test_a_file_that_is_not_there_is_told_from_one_that_is_refused(root, path):
    with pytest.raises(OSError, match=r".") as caught:
        PlainFiles(root).open(path)
    assert not isinstance(caught.value, NoPlainFileError)


def test_where_folders_cannot_be_opened_files_are_read_by_their_paths(root, monkeypatch):
    monkeypatch.setattr(portable, "CAN_OPEN_FOLDERS", False)
    files = PlainFiles(root)
    with files.open("images/inner/日本.webp") as file:
        assert file.read() == DATA
    for path in REFUSED:
        with pytest.raises(NoPlainFileError):
            files.open(path)


@pytest.mark.parametrize("path", ["..\\private", "C:private", "images/a.webp:stream", "\\\\server\\share"])
def test_on_windows_no_other_way_leads_out_of_the_folder(root, monkeypatch, path):
    monkeypatch.setattr(portable, "IS_WINDOWS", True)
    with pytest.raises(NoPlainFileError, match="not a path of an image"):
        PlainFiles(root).open(path)


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_put_there_between_looking_and_opening_is_not_followed(root, monkeypatch, folder):
    path = "images/linked/a.webp" if folder else "images/link.webp"
    files = PlainFiles(root)
    monkeypatch.setattr(PlainFiles, "size", lambda self, path: len(DATA))
    with pytest.raises(OSError, match=r"link|Not a directory"):
        files.open(path)


def test_no_descriptor_is_left_open_whatever_is_found(root):
    files = PlainFiles(root)
    before = os.listdir("/proc/self/fd")
    for path in (*REFUSED, "images/a.webp", "images/b.webp"):
        with suppress(OSError):
            files.open(path).close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@given(st.text(st.sampled_from("./a\0é~") | st.characters()))
def test_no_path_leads_out_of_the_folder(tmp_path_factory, path):
    root = tmp_path_factory.mktemp("within") / "out"
    root.mkdir()
    (root.parent / "a").write_bytes(DATA)
    with pytest.raises(OSError, match=r"."):
        PlainFiles(root).open(path)


@pytest.mark.parametrize("kind", ["images/pipe.webp", "images/pipe-link.webp", "images/zero.webp"])
def test_a_resume_waits_for_no_pipe_and_no_device(root, kind):
    empty = FileView(kind, 0, hashlib.sha256(b"").hexdigest())
    assert not have_sizes(f"{root}/", (empty,))
    assert not have_hashes(f"{root}/", (empty,))


def test_a_pipe_put_there_between_looking_and_hashing_is_not_waited_for(root, monkeypatch):
    monkeypatch.setattr(module, "have_sizes", lambda prefix, files: True)
    empty = FileView("images/pipe.webp", 0, hashlib.sha256(b"").hexdigest())
    assert not have_hashes(f"{root}/", (empty,))


@pytest.mark.parametrize("are_whole", [have_sizes, have_hashes])
def test_a_link_to_the_paid_image_keeps_it_from_being_bought_again(root, are_whole):
    assert are_whole(f"{root}/", (FileView("images/link.webp", 8, SHA), FileView("images/linked/a.webp", 8, SHA)))


@pytest.mark.parametrize("are_whole", [have_sizes, have_hashes])
@pytest.mark.parametrize("path", ["../private", "images/../../private", "/etc/hostname", "images/\udce9.webp"])
def test_a_path_that_no_run_writes_counts_for_nothing(root, are_whole, path):
    assert not are_whole(f"{root}/", (FileView(path, 8, SHA),))


def test_refusals_are_told_once_with_their_number(root):
    refusals = Refusals()
    assert str(refusals) == ""
    for job in ("a", "b", "c"):
        with pytest.raises(NoPlainFileError) as caught:
            PlainFiles(root).size("images/link.webp")
        refusals.add(job, caught.value)
    told = "a: 'images/link.webp' is a link, which is not followed, and 2 more like it"
    assert str(refusals) == f"left out everything but plain files of the folder: {told}"
