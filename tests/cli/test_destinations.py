import os
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from venice_batch.cli.destinations import default_output, settle_temporary_files
from venice_batch.cli.main import main


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("jobs.jsonl", "jobs"),
        ("a/b/x.jsonl.gz", "x"),
        ("x.jsonl.zst", "x"),
        ("x.csv", "x"),
        ("-", "stdin"),
        ("plain", "plain"),
        (".jsonl", ".jsonl"),
        ("sets/prompts/", "prompts"),
        ("set.parquet", "set"),
        ("set.arrow.gz", "set"),
        ("set.feather", "set"),
    ],
)
def test_the_output_folder_is_named_after_the_jobs(name, stem):
    assert default_output(name).name == stem


def test_the_output_of_the_current_folder_is_named_after_it(tmp_path, monkeypatch):
    (tmp_path / "prompts" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "prompts")
    assert default_output(".").name == default_output("inner/..").name == "prompts"
    assert default_output("..").name == tmp_path.name


@pytest.fixture
def room(monkeypatch, tmp_path):
    """Fake the free bytes in the usual place for temporary files (None: no such place) and elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usual").mkdir()
    (tmp_path / "jobs.jsonl").write_bytes(b"x" * 1000)
    free = {}

    def set_room(usual, elsewhere):
        def none():
            if tempfile.tempdir is None:
                raise FileNotFoundError("No usable temporary directory")
            return tempfile.tempdir

        monkeypatch.setattr(tempfile, "tempdir", None if usual is None else str(tmp_path / "usual"))
        if usual is None:
            monkeypatch.setattr(tempfile, "gettempdir", none)
        free.update({str(tmp_path / "usual"): usual})

        def disk_usage(path):
            if elsewhere is None and path not in free:
                raise OSError(5, "Input/output error")
            return namedtuple("Usage", "free")(free.get(path, elsewhere))

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)

    return set_room


@pytest.mark.parametrize(
    ("jobs", "usual", "elsewhere", "is_moved"),
    [
        ("jobs.jsonl", 2000, 10_000, False),
        ("jobs.jsonl", 1999, 10_000, True),
        ("jobs.jsonl", 1999, 1999, False),
        ("jobs.jsonl", 1999, None, False),
        ("jobs.jsonl", None, 1, True),
        ("jobs.jsonl", None, 0, False),
        ("jobs.jsonl.gz", 19_999, 10**6, True),
        ("jobs.jsonl.gz", 20_000, 10**6, False),
        ("-", 64 << 20, 1 << 40, False),
        ("-", (64 << 20) - 1, 1 << 40, True),
        ("a\0b", 64 << 20, 1 << 40, False),
    ],
)
def test_temporary_files_go_beside_the_output_where_the_usual_place_is_too_small(
    room, tmp_path, jobs, usual, elsewhere, is_moved
):
    (tmp_path / "jobs.jsonl.gz").write_bytes(b"x" * 1000)
    (tmp_path / "out").mkdir()
    room(usual, elsewhere)
    before = tempfile.tempdir
    settle_temporary_files(jobs, Path("out/not/there/yet"))
    assert tempfile.tempdir == (str(tmp_path / "out") if is_moved else before)
    assert os.listdir("out") == []


def test_temporary_files_do_not_go_where_nothing_can_be_written(room, monkeypatch):
    room(None, 1 << 40)
    monkeypatch.setattr(os, "access", lambda *_: False)
    settle_temporary_files("jobs.jsonl", Path("out"))
    assert tempfile.tempdir is None


@pytest.mark.parametrize("command", [["check", "--offline"], ["run", "--sandbox", "--sandbox-latency", "0"]])
def test_a_table_is_read_without_any_usual_place_and_nothing_is_left(room, monkeypatch, command):
    Path("jobs.csv").write_text("model,prompt,width,height\nvenice-sd35,a,64,64\n")
    room(None, 1 << 40)
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    before = {"jobs.csv", "jobs.jsonl", "usual"}
    assert main([command[0], "jobs.csv", *command[1:]]) == 0
    assert set(os.listdir()) - before <= {"output"}
