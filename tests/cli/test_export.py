"""export through the command line, in this process."""

import csv
import gzip
import io
import json
import os
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest
from records import failed, outcome

from venice_batch.cli.destinations import errors_beside
from venice_batch.cli.main import main


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
        (["out"], 2, "give --csv FILE, --parquet FILE or --openai FILE, or several"),
        (["out", "--openai", "-"], 2, "--openai needs a file name; only --csv can go to standard output"),
        (["out", "--parquet", "-"], 2, "--parquet needs a file name"),
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
