"""export through the command line, in this process."""

import csv
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest
from command import run
from PIL import Image
from records import failed, outcome

from venice_batch.cli.destinations import errors_beside
from venice_batch.cli.main import main
from venice_batch.model import ImageFile
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.resume import LatestRecords
from venice_batch.report.export.recipe import read


@pytest.fixture(autouse=True)
def _in_a_folder_with_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out/images").mkdir(parents=True)
    Path("out/images/a.webp").write_bytes(b"image")
    records = [failed("a"), failed("b"), outcome("a", metadata={"set": 7})]
    Path("out/manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


def test_all_formats_at_once(capfd):
    arguments = ["--csv", "t.csv.gz", "--parquet", "t.parquet", "--openai", "b.jsonl", "--images", "base64"]
    assert main(["export", "out", *arguments]) == 0
    found = list(csv.DictReader(io.StringIO(gzip.decompress(Path("t.csv.gz").read_bytes()).decode())))
    assert [(row["id"], row["metadata.set"]) for row in found] == [("b", ""), ("a", "7")]
    assert pyarrow.parquet.read_table("t.parquet").column("id").to_pylist() == ["b", "a"]
    assert json.loads(Path("b.jsonl").read_text())["response"]["body"]["data"] == [{"b64_json": "aW1hZ2U="}]
    assert json.loads(Path("b-errors.jsonl").read_text())["custom_id"] == "b"
    reported = capfd.readouterr()
    assert reported.out == ""
    columns = len(found[0])
    assert reported.err.splitlines() == [
        f"t.csv.gz: 2 rows, {columns} columns",
        f"t.parquet: 2 rows, {columns} columns",
        "b.jsonl: 1 line",
        "b-errors.jsonl: 1 line",
    ]


def test_csv_can_go_to_standard_output(capfdbinary):
    assert main(["export", "out", "--csv", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"id,image,status,")


def test_the_error_file_stands_beside_the_output_file():
    assert errors_beside(Path("x/batch.jsonl")) == Path("x/batch-errors.jsonl")
    assert errors_beside(Path("my.batch.jsonl.gz")) == Path("my.batch-errors.jsonl.gz")
    assert errors_beside(Path("batch")) == Path("batch-errors")


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (
            ["out"],
            2,
            "give --csv FILE, --parquet FILE, --openai FILE, --imagefolder DIR, --webdataset DIR, --captions DIR or "
            "--layout NAME, or several",
        ),
        (["out", "--csv", "-", "--with-images"], 2, "--with-images needs --parquet FILE"),
        (["out", "--csv", "-", "--shard-size", "9"], 2, "--shard-size needs --webdataset DIR"),
        (["out", "--webdataset", "d", "--shard-size", "0"], 2, "--shard-size: 0 is not a whole number of 1 or more"),
        (["out", "--imagefolder", "s3://bucket/d"], 2, "--imagefolder: s3://bucket/d is an address, not a folder"),
        (["out", "--imagefolder", "out"], 5, "out: holds 'images', which no export has made; choose a new or an empty"),
        (["out", "--openai", "-"], 2, "--openai needs a file name; only --csv can go to standard output"),
        (["out", "--parquet", "-"], 2, "--parquet needs a file name"),
        (["out", "--csv", "-", "--to", "tree"], 2, "--to needs --layout NAME"),
        (["out", "--layout", "hpsv2"], 2, "--layout hpsv2: the folder's name 'out' has none of the styles anime, "),
        (["out", "--layout", "flat", "--to", "out"], 5, "out: holds 'images', which no export has made; choose a new "),
        (["nowhere", "--layout", "flat"], 5, "nowhere: holds no manifest.jsonl; is it a run's output folder?"),
        (["nowhere", "--csv", "-"], 5, "nowhere: holds no manifest.jsonl; is it a run's output folder?"),
        (["out", "--csv", "none/t.csv"], 5, "none/t.csv: cannot be written: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(arguments, code, what, capfd):
    assert main(["export", *arguments]) == code
    assert capfd.readouterr().err.splitlines()[0].startswith(f"venice-batch: {what}")


def test_a_missing_pyarrow_is_reported_before_anything_is_written(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    assert main(["export", "out", "--csv", "t.csv", "--parquet", "t.parquet"]) == 2
    reported = capfd.readouterr().err
    assert reported == "venice-batch: --parquet needs pyarrow: pip install 'venice-batch[parquet]'\n"
    assert not Path("t.csv").exists()


@pytest.fixture
def whole(_in_a_folder_with_records):
    """The digest in the record is that of its image."""
    records = LatestRecords(Path("out/manifest.jsonl"))
    image = ImageFile("images/a.webp", 5, hashlib.sha256(b"image").hexdigest(), "webp", 8, 8)
    changed = [msgspec.structs.replace(record, files=(image,) if record.files else ()) for record in records]
    Path("out/manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in changed))


def shown(folder):
    """{name: content} of what stands in a folder and is not hidden; None for folders."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return {path.name: path.read_bytes() if path.is_file() else None for path in found}


@pytest.mark.usefixtures("whole")
def test_all_datasets_at_once(capfd):
    targets = ["--imagefolder", "i", "--webdataset", "w", "--captions", "c", "--parquet", "p.parquet", "--with-images"]
    assert main(["export", "out", *targets]) == 0
    assert capfd.readouterr().err.splitlines() == [
        "p.parquet: 1 row with images, 11 columns",
        "README.md: the dataset's card",
        "i: 1 image (5 B, linked), metadata.jsonl with 11 columns",
        "w: 1 image (5 B), 1 shard: 00000.tar",
        "c: 1 image (5 B, linked), 1 caption",
    ]
    assert shown(Path("i")).keys() == {"train", "README.md"}
    assert shown(Path("i/train")).keys() == {"a.webp", "metadata.jsonl"}
    assert shown(Path("w")).keys() == {"00000.tar", "README.md"}
    assert shown(Path("c")) == {"a.webp": b"image", "a.txt": b"a gondola"}
    table = pyarrow.parquet.read_table("p.parquet")
    assert table.column("image").to_pylist() == [{"bytes": b"image", "path": "a.webp"}]
    for path in ("README.md", "i/README.md", "w/README.md"):
        card = Path(path).read_text()
        assert "- 1 job: failed or rejected, no image\n" in card
        assert str(Path.cwd()) not in card


@pytest.mark.usefixtures("whole")
def test_images_can_be_copied_instead_of_linked(capfd):
    assert main(["export", "out", "--captions", "c", "--copy"]) == 0
    assert not os.path.samefile("c/a.webp", "out/images/a.webp")
    assert capfd.readouterr().err == "c: 1 image (5 B), 1 caption\n"


@pytest.mark.usefixtures("whole")
def test_a_readme_of_your_own_stays(capfd):
    Path("README.md").write_text("# Mine\n")
    assert main(["export", "out", "--parquet", "p.parquet", "--with-images"]) == 0
    assert (
        "warning: README.md is not of an earlier export to p.parquet, so its card was not written"
        in capfd.readouterr().err
    )
    assert Path("README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("option", ["--imagefolder", "--webdataset", "--captions", "--parquet"])
def test_without_any_image_there_is_no_dataset(option, capfd):
    Path("out/images/a.webp").unlink()
    more = ["--with-images"] if option == "--parquet" else []
    assert main(["export", "out", option, "x", *more]) == 5
    assert capfd.readouterr().err.splitlines() == [
        "venice-batch: warning: left out 1 image, missing: a",
        "venice-batch: out: has no image to export",
    ]
    assert os.listdir() == ["out"]


@pytest.mark.usefixtures("whole")
def test_flagged_images_come_only_if_they_are_asked_for(capfd):
    with MarksFile(Path("out")) as marks:
        marks.append([Mark(hashlib.sha256(b"image").hexdigest(), "a", 1, "rejected", None, "2026-01-01T00:00:00Z")])
    assert main(["export", "out", "--captions", "c"]) == 5
    assert "left out 1 image, rejected by a mark: a; --flagged takes them too" in capfd.readouterr().err
    assert main(["export", "out", "--captions", "c", "--flagged"]) == 0


@pytest.mark.usefixtures("whole")
def test_an_option_of_a_dataset_in_the_environment_disturbs_no_other_export(monkeypatch):
    monkeypatch.setenv("VENICE_BATCH_SHARD_SIZE", "5")
    monkeypatch.setenv("VENICE_BATCH_WITH_IMAGES", "1")
    assert main(["export", "out", "--csv", "t.csv"]) == 0


@pytest.mark.parametrize("images", ["paths", "base64"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_an_image_that_is_no_plain_file_is_an_error_and_reported(images, kind, tmp_path, capfd):
    image = tmp_path / "out/images/a.webp"
    image.rename(tmp_path / "private")
    image.symlink_to(tmp_path / "private") if kind == "link" else os.mkfifo(image)
    assert main(["export", "out", "--openai", "x.jsonl", "--images", images]) == 0
    assert (
        "warning: left out everything but plain files of the folder: a: 'images/a.webp' is " in capfd.readouterr().err
    )
    errors = {line["custom_id"]: line for line in map(json.loads, Path("x-errors.jsonl").read_text().splitlines())}
    assert errors["a"]["error"]["code"] == "image_missing"


@pytest.fixture
def _a_run():
    job = {"model": "venice-sd35", "width": 64, "height": 64, "matrix": {"seed": [1, 2, 3, 4]}}
    lines = [{"id": one, "prompt": f"a photo of a {one}", "metadata": {"tag": "x"}, **job} for one in ("bench", "cow")]
    Path("set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["set.jsonl", "-q", "--sandbox", "--sandbox-latency", "0", "--sandbox-draw", "plain"]) == 0


@pytest.mark.usefixtures("_a_run")
@pytest.mark.parametrize("target", [None, "tree"])
def test_a_layout_is_a_tree_below_the_folder_or_elsewhere(target, capfd):
    where = target or "output/set/geneval"
    assert main(["export", "output/set", "--layout", "geneval", *(["--to", target] if target else [])]) == 0
    assert capfd.readouterr() == (
        "",
        f"{where}: 8 images of 2 prompts\n"
        f"{where}: made PNG of 8 WebP images, with the same pixels; --set format=png makes PNG from the start\n",
    )
    names = sorted(path.relative_to(where).as_posix() for path in Path(where).rglob("*.png"))
    assert names == [f"0000{prompt}/samples/000{sample}.png" for prompt in range(2) for sample in range(4)]
    assert json.loads(Path(where, "00001/metadata.jsonl").read_text()) == {"tag": "x", "prompt": "a photo of a cow"}


@pytest.mark.usefixtures("_a_run")
def test_what_a_layout_lacks_is_a_warning_and_no_error(capfd):
    Path("output/set/images/cow__seed-1.webp").unlink()
    assert main(["export", "output/set", "--layout", "dpg-grid"]) == 0
    assert capfd.readouterr().err.splitlines() == [
        "output/set/dpg-grid: 4 images of 1 prompt in 1 grid",
        "output/set/dpg-grid: score it with --resolution 64 --pic-num 4",
        "venice-batch: warning: left out 1 prompt without all images of a grid: cow__seed-2",
        "venice-batch: warning: left out 1 image, missing: cow__seed-1",
    ]


def test_recipes_go_into_copies_and_the_originals_stay():
    image = io.BytesIO()
    Image.effect_noise((64, 48), 60).save(image, "WEBP")
    Path("out/images/a.webp").write_bytes(image.getvalue())
    file = ImageFile(
        "images/a.webp", len(image.getvalue()), hashlib.sha256(image.getvalue()).hexdigest(), "webp", 64, 48
    )
    Path("out/manifest.jsonl").write_bytes(msgspec.json.encode(outcome("a", files=(file,))) + b"\n")
    options = ["--imagefolder", "i", "--captions", "c", "--webdataset", "w", "--parquet", "p.parquet", "--with-images"]
    ended = run("export", "out", *options, "--embed", "xmp")
    assert ended.code == 0
    assert Path("out/images/a.webp").read_bytes() == image.getvalue()
    with tarfile.open("w/00000.tar") as shard:
        (member,) = (name for name in shard.getnames() if name.endswith(".webp"))
        copies = [shard.extractfile(member).read()]
    copies += [Path(name, "a.webp").read_bytes() for name in ("i/train", "c")]
    copies.append(pyarrow.parquet.read_table("p.parquet").column("image").to_pylist()[0]["bytes"])
    assert len(set(copies)) == 1
    assert read(copies[0]).id == "a"
    assert "linked" not in ended.err
    assert run("export", "out", "--imagefolder", "i").code == 0, "and back"
    assert Path("i/train/a.webp").read_bytes() == image.getvalue()


def test_images_that_cannot_hold_a_recipe_are_copied_and_told():
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "GIF")
    digest = hashlib.sha256(image.getvalue()).hexdigest()
    records = []
    for name in "xy":
        Path(f"out/images/{name}.gif").write_bytes(image.getvalue())
        records.append(
            outcome(name, files=(ImageFile(f"images/{name}.gif", len(image.getvalue()), digest, "gif", 8, 8),))
        )
    Path("out/manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    ended = run("export", "out", "--imagefolder", "i", "--embed", "a1111")
    assert "warning: no recipe in 2 images: GIF has no place for a recipe (x, …)" in ended.err
    assert Path("i/train/x.gif").read_bytes() == image.getvalue()


def test_a_recipe_needs_an_image_to_go_into():
    refused = run("export", "out", "--csv", "x.csv", "--embed", "xmp")
    assert (refused.code, refused.err) == (
        2,
        "venice-batch: --embed needs images to go into: --imagefolder, --webdataset, --captions, --layout or "
        "--with-images\n",
    )


@pytest.mark.usefixtures("_a_run")
@pytest.mark.parametrize(("layout", "path"), [("geneval", "00001/samples/0002.png"), ("flat", "00006.png")])
def test_images_of_a_layout_can_hold_their_recipes(layout, path):
    assert main(["export", "output/set", "--layout", layout, "--to", "tree", "--embed", "a1111"]) == 0
    found = read(Path("tree", path).read_bytes())
    assert (found.fields["prompt"], found.fields["seed"]) == ("a photo of a cow", 3)
