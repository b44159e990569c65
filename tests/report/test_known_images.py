"""Images of a folder, found by what other programs call them."""

import hashlib
import os
import shutil

import pytest
from records import outcome

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.model import ImageFile
from venice_batch.output import manifest
from venice_batch.report.export.place import Placer
from venice_batch.report.known_images import KnownImages
from venice_batch.text_format import json_bytes

BYTES = {
    "images/fox-1.webp": b"one",
    "images/fox-2.webp": b"two",
    "images/a/sea.v2.webp": b"sea",
    "images/b/sea.v2.webp": b"sea!",
}
JOBS = {
    "fox": ["images/fox-1.webp", "images/fox-2.webp"],
    "a/sea": ["images/a/sea.v2.webp"],
    "b/sea": ["images/b/sea.v2.webp"],
    "lost": [],
}


def file_of(path):
    data = BYTES[path]
    return ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), "webp", 1, 1)


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "out"
    for path, data in BYTES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    records = [outcome(job, files=tuple(map(file_of, paths))) for job, paths in JOBS.items()]
    old = outcome("fox", files=(file_of("images/a/sea.v2.webp"),))
    (root / manifest.NAME).write_bytes(b"no record\n" + b"".join(json_bytes(one) + b"\n" for one in (old, *records)))
    return root


@pytest.fixture
def images(out):
    return KnownImages(out)


def named(found):
    return [f"{image.id}#{image.number}" for image in found]


def test_the_latest_record_of_each_job_counts(images):
    assert named(images) == ["fox#1", "fox#2", "a/sea#1", "b/sea#1"]
    assert images.has_job("lost")
    assert not images.has_job("fo")


def test_an_id_names_all_images_of_its_job_or_the_one_of_a_number(images):
    assert named(images.by_id("fox")) == ["fox#1", "fox#2"]
    assert named(images.by_id("fox", 2)) == ["fox#2"]
    assert named(images.by_id("fox#2")) == ["fox#2"]
    assert images.by_id("fox", 3) == images.by_id("lost") == images.by_id("none") == images.by_id("none#1") == []


def test_a_hash_names_every_image_with_that_content(images):
    assert named(images.by_hash(hashlib.sha256(b"two").hexdigest().upper())) == ["fox#2"]
    assert images.by_hash("0" * 64) == []


@pytest.mark.parametrize(
    "path",
    [
        "images/fox-2.webp",
        "./images/fox-2.webp",
        "images\\fox-2.webp",
        "out/images/fox-2.webp",
        "{root}/images/fox-2.webp",
        "{root}/images/../images/fox-2.webp",
        "/elsewhere/on/another/machine/fox-2.png",
        "fox-2.txt",
        "fox-2",
    ],
)
def test_a_path_is_that_of_the_record_or_below_the_folder_or_ends_in_the_file_name(images, out, path):
    assert named(images.by_path(path.format(root=out))) == ["fox#2"]


def test_equal_file_names_are_told_apart_by_their_folders(images):
    assert images.by_path("sea.v2.webp") == []
    assert images.by_path("c/sea.v2.webp") == []
    assert named(images.by_path("x/b/sea.v2.png")) == ["b/sea#1"]
    assert named(images.by_path("x/images/b/sea.v2.png")) == ["b/sea#1"]


def test_copies_and_links_elsewhere_are_known_by_their_content(images, out, tmp_path):
    tree = tmp_path / "tree/00000/samples"
    tree.mkdir(parents=True)
    portable.link(out / "images/fox-1.webp", tree / "0000.webp")
    shutil.copy(out / "images/fox-2.webp", tree / "0001.webp")
    (tree / "0002.webp").symlink_to(out / "images/a/sea.v2.webp")
    (tree / "0003.webp").write_bytes(b"abc")
    (tree / "0004.webp").write_bytes(b"something else")
    found = [named(images.by_path(str(tree / f"000{number}.webp"))) for number in range(6)]
    assert found == [["fox#1"], ["fox#2"], ["a/sea#1"], [], [], []]


def test_a_file_that_an_export_has_changed_is_known_by_its_journal(images, out, tmp_path):
    with Placer(out, tmp_path / "tree", kind="test") as placer:
        fox, sea = BYTES["images/fox-2.webp"], BYTES["images/a/sea.v2.webp"]
        digests = tuple(hashlib.sha256(data).hexdigest() for data in (fox, sea))
        for path, of in (("samples/0000.png", digests[:1]), ("grid.png", digests), ("other.png", ())):
            with placer.writing(path, of=of) as file:
                file.write(path.encode())
    assert named(images.by_path("tree/samples/0000.png")) == ["fox#2"]
    assert named(images.by_path(str(tmp_path / "tree/grid.png"))) == ["fox#2", "a/sea#1"]
    assert images.by_path("tree/other.png") == []


def test_an_image_that_is_gone_or_unreadable_is_still_known_by_its_name(images, out, tmp_path, monkeypatch):
    (out / "images/fox-1.webp").unlink()
    (tmp_path / "fox-1.png").write_bytes(b"one")
    assert named(images.by_path("fox-1.png")) == ["fox#1"]

    def broken(*_):
        raise OSError("broken")

    monkeypatch.setattr(os, "fdopen", broken)
    assert named(images.by_path("fox-1.png")) == ["fox#1"]
    assert images.by_path("images") == images.by_path("\0") == images.by_path("") == []


def test_a_name_is_that_of_a_file_unless_it_is_the_id_of_a_job(images):
    assert named(images.by_name("fox-2")) == ["fox#2"]
    assert images.by_name("fox") == images.by_name("lost") == []


def test_a_folder_with_the_same_beginning_is_another_folder(images, tmp_path):
    assert images.by_path(str(tmp_path / "out2/images/none.webp")) == []


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(FolderError, match=r"holds no manifest.jsonl"):
        KnownImages(tmp_path)
