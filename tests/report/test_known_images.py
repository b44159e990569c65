"""Images of a folder, found by what other programs call them."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest
from records import outcome

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.model import ImageFile
from venice_batch.output import manifest
from venice_batch.report.export.journal import NAME, Part
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
        fox, sea = (file_of(path).sha256 for path in ("images/fox-2.webp", "images/a/sea.v2.webp"))
        parts = Part(fox, "fox", 2), Part(sea, "a/sea", 1)
        for path, of in (("samples/0000.png", parts[:1]), ("grid.png", parts), ("other.png", ())):
            with placer.writing(path, of=of) as file:
                file.write(path.encode())
    assert named(images.by_path("tree/samples/0000.png")) == ["fox#2"]
    assert named(images.by_path(str(tmp_path / "tree/grid.png"))) == ["fox#2", "a/sea#1"]
    assert images.by_path("tree/other.png") == []


TREE = {
    "geneval/00000/samples/0000.png": ["images/fox-1.webp"],
    "geneval/00000/samples/0001.png": ["images/fox-2.webp"],
    "geneval/00000/samples/0002.png": ["images/a/sea.v2.webp"],
    "geneval/00001/samples/0000.png": ["images/a/sea.v2.webp"],
    "geneval/00001/samples/0001.png": ["images/b/sea.v2.webp"],
    "geneval/00002/samples/0000.png": ["gone"],
    "dpg-grid/0.png": ["images/fox-1.webp", "images/fox-2.webp"],
    "dpg-grid/1.png": ["images/a/sea.v2.webp", "images/b/sea.v2.webp"],
    "hpsv2/sample-0/anime/00000.jpg": ["images/fox-1.webp"],
    "hpsv2/sample-1/anime/00000.jpg": ["images/fox-2.webp"],
    "hpsv2/sample-1/anime/00001.jpg": ["images/fox-2.webp"],
    "flat/00001.png": ["images/fox-2.webp"],
}


@pytest.fixture
def trees(out):
    """The folder with exports whose files are elsewhere."""
    journals = {}
    for path, of in TREE.items():
        root = path.split("/")[:3] if path.startswith("hpsv2") else path.split("/")[:1]
        digests = [hashlib.sha256(BYTES.get(name, b"")).hexdigest() for name in of]
        is_link = len(of) == 1 and path.startswith("flat")
        made = {"path": path.removeprefix("/".join(root) + "/"), "sha256": digests[0] if is_link else "f" * 64}
        journals.setdefault("/".join(root), [{}]).append(made if is_link else {**made, "of": digests})
    for root, lines in journals.items():
        (out / root).mkdir(parents=True)
        (out / root / ".venice-batch-export.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return KnownImages(out)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/gpu/x/geneval/00000/samples/0001.png", ["fox#2"]),
        ("C:\\gpu\\00000\\samples\\0001.png", ["fox#2"]),
        ("geneval/00001/samples/0001.png", ["b/sea#1"]),
        ("../../00001/./samples/0001.png", ["b/sea#1"]),
        ("00001/samples/x/../0001.png", ["b/sea#1"]),
        ("/gpu/data/dpg-grid/0.png", ["fox#1", "fox#2"]),
        ("0.png", ["fox#1", "fox#2"]),
        ("0", ["fox#1", "fox#2"]),
        ("/gpu/hps/sample-1/anime/00000.jpg", ["fox#2"]),
        ("/gpu/x/00001.jpg", []),
        ("/gpu/x/00001.png", ["fox#2"]),
        ("00001.jpg", ["fox#2"]),
        ("00001.webp", ["fox#2"]),
        ("0002.png", ["a/sea#1"]),
        ("/gpu/images/fox-2.webp", ["fox#2"]),
        ("/gpu/geneval/00000/samples/fox-2.webp", ["fox#2"]),
    ],
)
def test_a_path_of_another_machine_is_known_by_its_end(trees, path, found):
    assert named(trees.by_path(path)) == found


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("0000.png", "ambiguous: several files end so, such as geneval/00000/samples/0000.png and geneval/00001/"),
        ("samples/0000.png", "ambiguous: several files end so"),
        ("/gpu/samples/0000.png", "ambiguous: several files end so"),
        ("/gpu/anime/00000.jpg", "ambiguous: several files end so"),
        ("sea.v2.webp", "ambiguous: several files end so, such as images/a/sea.v2.webp and images/b/sea.v2.webp"),
        ("/gpu/geneval/00001/samples/0002.png", "geneval/00000/samples/0002.png is in other folders"),
        ("/gpu/geneval/00007/samples/0002.png", "geneval/00000/samples/0002.png is in other folders"),
        ("/gpu/paintings/00001.jpg", "hpsv2/sample-1/anime/00001.jpg is in other folders"),
        ("/gpu/geneval/00002/samples/0000.png", ""),
        ("/gpu/0003.png", ""),
        ("", ""),
    ],
)
def test_a_path_whose_end_may_be_that_of_another_image_names_none(trees, path, why):
    assert trees.by_path(path) == []
    assert trees.why_not(path).startswith(why)
    assert bool(trees.why_not(path)) == bool(why)


def test_an_id_is_no_name_of_a_file_that_an_export_has_made(trees):
    assert trees.by_name("0") == trees.by_name("00001") == []


def test_a_name_without_suffix_that_has_a_dot_is_not_cut(out):
    records = [
        outcome(job, files=(ImageFile(f"images/{job}.webp", 1, job * 9, "webp", 1, 1),)) for job in ("v1", "v1.5")
    ]
    (out / manifest.NAME).write_bytes(b"".join(json_bytes(one) + b"\n" for one in records))
    images = KnownImages(out)
    assert [named(images.by_path(name)) for name in ("x/v1.5", "v1.5.png", "v1.png", "v1")] == [
        ["v1.5#1"],
        ["v1.5#1"],
        ["v1#1"],
        ["v1#1"],
    ]


def test_every_path_of_a_large_tree_names_its_image(out):
    files = [ImageFile(f"images/{number}.webp", 1, f"{number:064x}", "webp", 1, 1) for number in range(4_000)]
    records = [outcome(str(number), files=(file,)) for number, file in enumerate(files)]
    (out / manifest.NAME).write_bytes(b"".join(json_bytes(one) + b"\n" for one in records))
    (out / "geneval").mkdir()
    made = ({"path": f"{n // 4:05}/samples/{n % 4:04}.png", "sha256": file.sha256} for n, file in enumerate(files))
    text = "".join(json.dumps(line) + "\n" for line in ({}, *made))
    (out / "geneval/.venice-batch-export.jsonl").write_text(text)
    images = KnownImages(out)
    found = [images.by_path(f"/gpu/g/{number // 4:05}/samples/{number % 4:04}.png") for number in range(4_000)]
    assert [image.id for (image,) in found] == [str(number) for number in range(4_000)]


TWINS = {"a": ["images/a.webp"], "b": ["images/b.webp"], "c": ["images/c.webp"]}


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """Jobs whose images have equal content, with an export of the first two."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "out"
    (root / "images").mkdir(parents=True)
    digest = hashlib.sha256(b"same").hexdigest()
    records = [outcome(job, files=(ImageFile(path, 4, digest, "webp", 1, 1),)) for job, (path,) in TWINS.items()]
    for record in records:
        (root / record.files[0].path).write_bytes(b"same")
    (root / manifest.NAME).write_bytes(b"".join(json_bytes(one) + b"\n" for one in records))
    with Placer(root, root / "tree", kind="test", copy=True) as placer:
        placer.put(records[0], 1, "0/copy.webp")
        placer.put(records[1], 1, "1/copy.webp")
        with placer.writing("grid.png", of=(Part(digest, "b", 1),)) as file:
            file.write(b"a grid")
        with placer.writing("old.png", of=(Part(digest),)) as file:
            file.write(b"of a version that noted no jobs")
    return KnownImages(root)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("0/copy.webp", ["a#1"]),
        ("1/copy.webp", ["b#1"]),
        ("grid.png", ["b#1"]),
    ],
)
def test_of_images_with_equal_content_a_file_of_an_export_shows_that_of_its_job(twins, path, found):
    assert named(twins.by_path(f"out/tree/{path}")) == found
    assert named(twins.by_path(f"/gpu/tree/{path}")) == found


def test_the_journal_of_an_older_version_does_not_say_which_of_equal_images_a_file_shows(twins):
    assert named(twins.by_path("out/tree/old.png")) == ["a#1", "b#1", "c#1"]
    assert twins.by_path("/gpu/tree/old.png") == []


def test_a_link_shows_its_own_image_although_an_older_journal_names_no_jobs(twins):
    with Placer(Path("out"), Path("links"), kind="test") as placer:
        for number, (job, (path,)) in enumerate(TWINS.items()):
            record = outcome(job, files=(ImageFile(path, 4, hashlib.sha256(b"same").hexdigest(), "webp", 1, 1),))
            placer.put(record, 1, f"{number}.webp")
    journal = Path("links", NAME)
    lines = [msgspec.json.decode(line) for line in journal.read_bytes().splitlines()]
    for line in lines:
        line.pop("images", None)
    journal.write_bytes(b"".join(json_bytes(line) + b"\n" for line in lines))
    for number, job in enumerate(TWINS):
        assert named(KnownImages(Path("out")).by_path(f"links/{number}.webp")) == [f"{job}#1"]


@pytest.mark.parametrize("place", ["tree2", "sub/deep/tree2"])
def test_a_tree_is_known_by_its_own_folder_wherever_it_stands_below_the_output_folder(images, out, place):
    with Placer(out, out / place, kind="test", copy=True) as placer:
        placer.put(outcome("fox", files=(file_of("images/fox-1.webp"),)), 1, "00007.webp")
    assert named(images.by_path("/gpu/tree2/00007.webp")) == ["fox#1"]


def test_a_copy_that_became_another_image_is_known_by_its_content(images, out, tmp_path):
    with Placer(out, tmp_path / "tree", kind="test", copy=True) as placer:
        placer.put(outcome("fox", files=(file_of("images/fox-1.webp"),)), 1, "x.webp")
    (tmp_path / "tree/x.webp").write_bytes(BYTES["images/fox-2.webp"])
    assert named(images.by_path("tree/x.webp")) == ["fox#2"]


def test_an_image_that_its_job_has_made_anew_is_not_that_of_the_tree(twins, tmp_path):
    again = outcome("a", files=(ImageFile("images/a.webp", 4, "5" * 64, "webp", 1, 1),))
    with open(tmp_path / "out" / manifest.NAME, "ab") as file:
        file.write(json_bytes(again) + b"\n")
    assert KnownImages(tmp_path / "out").by_path("/gpu/tree/0/copy.webp") == []


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
