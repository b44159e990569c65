"""Files that are there, and files that only seem to be."""

import hashlib

import pytest

from venice_batch.output.files import have_hashes, have_sizes
from venice_batch.output.record import FileView

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
