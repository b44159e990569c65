"""Datasets as trainers read them, opened with the libraries that trainers use."""

import gc
import hashlib
import io
import json
import random
import re
import tarfile
import warnings
from pathlib import Path

import pytest
from PIL import Image
from records import failed

from venice_batch.errors import FolderError
from venice_batch.model import Flags, Parent
from venice_batch.report.export.choice import Choice, InJobOrder
from venice_batch.report.export.datasets import ImageTable, write_captions, write_imagefolder, write_webdataset
from venice_batch.report.export.place import Placer

PROMPTS = ("a cat", 'a "quoted" dog, ünïcode 🐕', "two\nlines\tand\\more", "2026-01-01", "  spaced  ", "null")


KINDS_OF_NAMES = ("j.", "jöb ", "test-", "eval ", "sub/train.", "dev/set/", "__x/a", "train_")
"""Some of them are names of splits for `datasets`."""


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory):
    """The library `datasets`, offline, without telemetry, and with its cache in a folder of the test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            patch.setenv(name, "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hugging-face")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import datasets
        datasets.disable_progress_bars()
        yield datasets


def drawn(number, file_format="PNG"):
    """A small image whose bytes no other number has."""
    file = io.BytesIO()
    image = Image.frombytes("RGB", (8, 8), random.Random(number).randbytes(192))
    image.save(file, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    return file.getvalue()


def prompt(number):
    return f"{PROMPTS[number % len(PROMPTS)]} {number}"


@pytest.fixture(scope="session")
def thousand(tmp_path_factory, new_folder):
    """A folder with a thousand images of 667 jobs, whose records are in no order; what a dataset has to hold."""
    out = new_folder(tmp_path_factory.mktemp("thousand") / "out")
    jobs = [(number, 2 if number % 2 else 1) for number in range(666)] + [(666, 1)]
    expected = {}
    number_of_image = 0
    records = []
    for number, count in jobs:
        contents = [drawn(number_of_image + n) for n in range(count)]
        number_of_image += count
        request = {"model": "m", "prompt": prompt(number), "seed": number}
        if number > 600:
            request["negative_prompt"] = "blur"
        name = f"{KINDS_OF_NAMES[number % len(KINDS_OF_NAMES)]}{number}"
        paths = [f"images/{name}-{n}.png" for n in range(count)]
        metadata = {"tag": f"t{number}"} if number % 3 else None
        records.append((name, contents, paths, request, metadata, number))
        for path, content in zip(paths, contents, strict=True):
            expected[path.removeprefix("images/")] = (hashlib.sha256(content).hexdigest(), prompt(number))
    for name, contents, paths, request, metadata, number in random.Random(1).sample(records, len(records)):
        out.add(name, *contents, paths=paths, request=request, metadata=metadata, index=number, lane="m")
    assert len(expected) == 1000
    return out, expected


def records_of(out):
    return InJobOrder(out.root / "manifest.jsonl")


def export(write, out, target, *, flagged=False, copy=False, **options):
    kind = write.__name__.removeprefix("write_")
    with Placer(out.root, target, copy, kind=kind, flagged=flagged) as placer:
        if kind != "captions":
            options["title"] = target.name
        made = write(records_of(out), placer, **options)
    return placer, made


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_hugging_face_opens_an_imagefolder_of_a_thousand_images(thousand, hugging_face, tmp_path):
    out, expected = thousand
    _, made = export(write_imagefolder, out, tmp_path / "set")
    assert made == "metadata.jsonl with 13 columns"
    found = hugging_face.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert found[0]["image"].size == (8, 8)
    plain = found.cast_column("image", hugging_face.Image(decode=False))
    rows = [(row, Path(row["image"]["path"]).read_bytes()) for row in plain]
    expected = {
        re.sub("^(dev/set|__x)/", lambda found: found[0].replace("/", "_"), name): row for name, row in expected.items()
    }
    assert {
        row["image"]["path"].removeprefix(f"{tmp_path}/set/train/"): (digest(content), row["text"])
        for row, content in rows
    } == expected
    assert [row["seed"] for row, _ in rows] == sorted(row["seed"] for row, _ in rows), "in the order of the jobs file"
    assert all(row["sha256"] == digest(content) for row, content in rows)
    assert {row["negative_prompt"] for row, _ in rows} == {None, "blur"}
    assert {row["metadata.tag"] for row, _ in rows} >= {None, "t1", "t665"}


def test_hugging_face_opens_an_imagefolder_by_its_path_alone(thousand, hugging_face, tmp_path):
    out, expected = thousand
    export(write_imagefolder, out, tmp_path / "set")
    found = hugging_face.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(found["text"]) == sorted(text for _, text in expected.values())


@pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io.FileIO name='.*\d{5}\.tar':pytest.PytestUnraisableExceptionWarning"
)
def test_webdataset_opens_shards_of_a_thousand_images(thousand, tmp_path):
    out, expected = thousand
    _, made = export(write_webdataset, out, tmp_path / "set", shard_images=300)
    assert made == "4 shards: {00000..00003}.tar"
    import webdataset

    samples = list(webdataset.WebDataset(f"{tmp_path}/set/{{00000..00003}}.tar", shardshuffle=False))
    assert len({sample["__key__"] for sample in samples}) == 1000
    found = sorted((digest(sample["png"]), sample["txt"].decode()) for sample in samples)
    assert found == sorted(expected.values())
    about = [json.loads(sample["json"]) for sample in samples]
    assert [one["sha256"] for one in about] == [digest(sample["png"]) for sample in samples]
    assert [one["text"] for one in about] == [sample["txt"].decode() for sample in samples]
    assert [one["seed"] for one in about] == sorted(one["seed"] for one in about)
    decoded = next(iter(webdataset.WebDataset(f"{tmp_path}/set/00000.tar", shardshuffle=False).decode("pil")))
    assert (decoded["png"].size, decoded["json"]["model"]) == ((8, 8), "m")
    gc.collect()  # the library leaves shards open


def test_hugging_face_opens_the_shards_too(thousand, hugging_face, tmp_path):
    out, expected = thousand
    export(write_webdataset, out, tmp_path / "set", shard_images=300)
    found = hugging_face.load_dataset(
        "webdataset", data_dir=str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache")
    )
    plain = found.cast_column("png", hugging_face.Image(decode=False))
    assert sorted((digest(row["png"]["bytes"]), row["txt"]) for row in plain) == sorted(expected.values())


def test_hugging_face_opens_a_table_with_a_thousand_images(thousand, hugging_face, tmp_path):
    out, expected = thousand
    table = ImageTable(records_of(out), Choice(out.root))
    with (tmp_path / "set.parquet").open("wb") as file:
        assert table.write(file) == 1000
    found = hugging_face.load_dataset(
        "parquet", data_files=str(tmp_path / "set.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(found.features["image"], hugging_face.Image)
    assert found[999]["image"].size == (8, 8)
    plain = found.cast_column("image", hugging_face.Image(decode=False))
    assert {row["image"]["path"]: (digest(row["image"]["bytes"]), row["text"]) for row in plain} == expected
    assert plain["seed"][:3] == [0, 1, 1]


def test_captions_stand_beside_their_images(thousand, tmp_path):
    out, expected = thousand
    _, made = export(write_captions, out, tmp_path / "set")
    assert made == "1000 captions"
    for name, (sha256, text) in expected.items():
        image = tmp_path / "set" / name
        assert digest(image.read_bytes()) == sha256
        assert image.with_suffix(".txt").read_text() == " ".join(text.split())


def test_an_image_without_a_prompt_has_no_caption(out, tmp_path, shown):
    out.add("a", b"A", request={"scale": 2})
    out.add("b", b"B")
    _, made = export(write_captions, out, tmp_path / "set")
    assert made == "1 caption; 1 image without a prompt"
    assert shown(tmp_path / "set") == {"a.webp": b"A", "b.webp": b"B", "b.txt": b"a gondola"}


def test_an_upscale_keeps_the_text_of_its_original(out, tmp_path):
    original = out.add("a", b"A")
    parent = Parent("a", original.files[0].sha256, 1)
    out.add("a-up", b"UP", request={"scale": 2}, parent=parent)
    export(write_captions, out, tmp_path / "set")
    assert (tmp_path / "set/a-up.txt").read_text() == "a gondola"


def test_a_caption_that_somebody_has_improved_stays(out, tmp_path):
    out.add("a", b"A")
    export(write_captions, out, tmp_path / "set")
    (tmp_path / "set/a.txt").write_text("a gondola at dusk")
    out.add("b", b"B")
    placer, _ = export(write_captions, out, tmp_path / "set")
    assert (tmp_path / "set/a.txt").read_text() == "a gondola at dusk"
    assert placer.kept == ["a.txt"]


def test_images_with_one_name_and_two_endings_get_two_captions(out, tmp_path, shown):
    out.add("a", b"A", paths=["images/x.png"], index=0)
    out.add("b", b"B", paths=["images/X.webp"], index=1)
    export(write_captions, out, tmp_path / "set")
    assert shown(tmp_path / "set").keys() == {"x.png", "x.txt", "X-2.webp", "X-2.txt"}


@pytest.mark.parametrize("write", [write_imagefolder, write_webdataset, write_captions])
def test_images_that_are_flagged_or_lost_are_left_out(write, out, tmp_path):
    out.add("a", b"A")
    out.add("b", b"B", flags=Flags(blurred=True))
    out.add("c", b"C")
    (out.root / "images/c.webp").unlink()
    out.record(failed("d"))
    placer, _ = export(write, out, tmp_path / "set")
    assert placer.images == 1
    if write is not write_captions:
        card = (tmp_path / "set/README.md").read_text()
        for line in (
            "1 image: blurred or a content violation",
            "1 image: missing",
            "1 job: failed or rejected, no image",
        ):
            assert f"- {line}\n" in card
    assert export(write, out, tmp_path / "all", flagged=True)[0].images == 2


@pytest.mark.parametrize("write", [write_imagefolder, write_webdataset, write_captions])
def test_a_second_export_updates_the_first(write, out, tmp_path, shown):
    for name in "abc":
        out.add(name, name.encode() * 5)
    export(write, out, tmp_path / "set")
    out.mark("b", 1)
    out.add("d", b"D")
    export(write, out, tmp_path / "set")
    export(write, out, tmp_path / "anew")
    assert {
        path: text.replace(b'"set"', b'"anew"') for path, text in shown(tmp_path / "set").items() if "READ" not in path
    } == {path: text for path, text in shown(tmp_path / "anew").items() if "READ" not in path}
    assert b"3 images" in shown(tmp_path / "set").get("README.md", b"3 images")


def test_shards_are_the_same_bytes_for_the_same_images(out, tmp_path, shown):
    for number in range(5):
        out.add(f"job {number} é", drawn(number), index=number)
    for name in ("one", "two"):
        export(write_webdataset, out, tmp_path / name / "set", shard_images=2)
    assert shown(tmp_path / "one/set") == shown(tmp_path / "two/set")
    with tarfile.open(tmp_path / "one/set/00001.tar") as shard:
        members = shard.getmembers()
    assert [member.name for member in members[:3]] == [f"job 2 é.{kind}" for kind in ("webp", "json", "txt")]
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


def test_keys_have_no_dots_and_no_folders(out, tmp_path):
    out.add("a", b"A", paths=["images/x/y.z.webp"], index=0)
    out.add("b", b"B", paths=["images/x_y_z.webp"], index=1)
    export(write_webdataset, out, tmp_path / "set")
    with tarfile.open(tmp_path / "set/00000.tar") as shard:
        assert shard.getnames() == [
            *(f"x_y_z.{kind}" for kind in ("webp", "json", "txt")),
            *(f"x_y_z-2.{kind}" for kind in ("webp", "json", "txt")),
        ]


def test_keys_begin_with_one_underscore_at_most(out, tmp_path):
    out.add("a", b"A", paths=["images/._x.webp"])
    export(write_webdataset, out, tmp_path / "set")
    with tarfile.open(tmp_path / "set/00000.tar") as shard:
        assert shard.getnames()[0] == "_x.webp"


def test_fewer_shards_replace_more(out, tmp_path, shown):
    for name in "abc":
        out.add(name, name.encode())
    export(write_webdataset, out, tmp_path / "set", shard_images=1)
    _, made = export(write_webdataset, out, tmp_path / "set", shard_images=2)
    assert made == "2 shards: {00000..00001}.tar"
    assert sorted(shown(tmp_path / "set")) == ["00000.tar", "00001.tar", "README.md"]


def test_a_shard_that_somebody_has_changed_is_an_error(out, tmp_path):
    out.add("a", b"A")
    export(write_webdataset, out, tmp_path / "set")
    (tmp_path / "set/00000.tar").write_bytes(b"mine")
    with pytest.raises(FolderError, match=r"00000\.tar: was changed since it was exported"):
        export(write_webdataset, out, tmp_path / "set")


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "captions", "parquet"])
def test_images_can_be_rewritten_on_their_way(kind, out, tmp_path):
    out.add("a", b"A")

    def rewrite(data, record, image, number):
        return data + f"+{record.id}{number}".encode()

    if kind == "parquet":
        from pyarrow.parquet import read_table

        table = ImageTable(records_of(out), Choice(out.root), rewrite)
        with (tmp_path / "x.parquet").open("wb") as file:
            table.write(file)
        found = read_table(tmp_path / "x.parquet").column("image")[0].as_py()["bytes"]
    else:
        write = {"imagefolder": write_imagefolder, "webdataset": write_webdataset, "captions": write_captions}[kind]
        with Placer(out.root, tmp_path / "set", rewrite=rewrite, kind=kind) as placer:
            write(records_of(out), placer, *([] if kind == "captions" else ["set"]))
        if kind == "webdataset":
            with tarfile.open(tmp_path / "set/00000.tar") as shard:
                found = shard.extractfile("a.webp").read()
        else:
            found = next((tmp_path / "set").rglob("a.webp")).read_bytes()
    assert found == b"A+a1"
    assert (out.root / "images/a.webp").read_bytes() == b"A"


def test_the_card_of_a_table_counts_what_is_left_out(out, tmp_path):
    out.add("a", b"A")
    out.add("b", b"B", flags=Flags(content_violation=True))
    table = ImageTable(records_of(out), Choice(out.root))
    with (tmp_path / "x.parquet").open("wb") as file:
        assert table.write(file) == 1
    card = table.card("x.parquet").decode()
    assert "# x\n" in card
    assert 'load_dataset("parquet", data_files="x.parquet", split="train")' in card
    assert "- 1 image: blurred or a content violation\n" in card
