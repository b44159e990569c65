"""Parquet and Arrow files as jobs files."""

import datetime
import decimal
import gzip
import io
import json
import os
import random
import sys
import uuid
from contextlib import suppress

import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from venice_batch.errors import FolderError, JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.jobfile import parquet as tested
from venice_batch.jobfile.reading import lines


def write_arrow(table, path):
    with ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=7)


def write_stream(table, path):
    with ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=7)


def write_parquet(table, path):
    parquet.write_table(table, path, row_group_size=7)


WRITERS = {"parquet": write_parquet, "arrow": write_arrow, "stream": write_stream, "feather": feather.write_feather}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path, monkeypatch):
    """Write a table in each of the formats, as a file whose name does not say which."""
    monkeypatch.chdir(tmp_path)

    def write(rows, **options):
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, **options)
        WRITERS[request.param](table, "set")
        return "set"

    return write


def rows_of(path, stdin=None):
    with open_source(path, stdin) as source:
        return [json.loads(line) for _, _, line in lines(source.file)]


def jobs(path):
    with open_source(path) as source:
        return list(JobIndex.build(source, defaults=Defaults({"model": "venice-sd35"})).jobs_in_order())


def mistakes(path):
    with pytest.raises(JobsFileError) as caught:
        jobs(path)
    return str(caught.value).splitlines()


def test_every_row_is_a_job_whose_line_is_the_number_of_the_row(write, monkeypatch):
    monkeypatch.setattr(tested, "_ROWS", 3)
    found = jobs(write([{"id": f"p{number}", "prompt": f"a cat {number}", "seed": number} for number in range(20)]))
    assert [(job.id, job.line) for job in found] == [(f"p{number}", number + 1) for number in range(20)]
    assert found[19].request == {"prompt": "a cat 19", "seed": 19, "model": "venice-sd35"}


def test_cells_keep_their_types_as_far_as_json_has_them(write):
    row = {
        "Prompt": "a",
        "nested": {"tags": ["x", "y"], "n": {"f": 1.5}},
        "yes": True,
        "day": datetime.date(2024, 1, 2),
        "at": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "clock": datetime.time(3, 4),
        "usd": decimal.Decimal("1.50"),
        "takes": datetime.timedelta(seconds=2),
        "whole": 512.0,
        "large": 1e300,
        "endless": float("inf"),
        "missing": float("nan"),
        "none": None,
    }
    (found,) = rows_of(write([row]))
    assert found == {
        "Prompt": "a",
        "nested": {"tags": ["x", "y"], "n": {"f": 1.5}},
        "yes": True,
        "day": "2024-01-02",
        "at": found["at"],
        "clock": "03:04:00",
        "usd": "1.50",
        "takes": "0:00:02",
        "whole": 512,
        "large": 1e300,
        "endless": "inf",
    }
    assert found["at"].startswith("2024-01-02 03:04:05")


def test_times_in_nanoseconds_words_from_a_dictionary_and_maps_are_read(write):
    table = pa.table(
        {
            "at": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
            "style": pa.array(["anime"]).dictionary_encode(),
            "sizes": pa.array([[("width", 512)]], pa.map_(pa.string(), pa.int64())),
            "by_number": pa.array([[(1, "a")]], pa.map_(pa.int64(), pa.string())),
        }
    )
    assert rows_of(write(table)) == [
        {
            "at": "2023-11-14 22:13:20.123456789",
            "style": "anime",
            "sizes": {"width": 512},
            "by_number": {"1": "a"},
        }
    ]


def test_columns_with_bytes_and_the_index_of_pandas_are_left_out_with_a_notice(write):
    image = {"bytes": b"\x89PNG", "path": "a.png"}
    many = {f"model_{number}": image for number in range(6)}
    write([{"prompt": "a", "raw": b"x", "list": [b"x"], "__index_level_0__": 7, **many}])
    with open_source("set") as source:
        assert [json.loads(line) for _, _, line in lines(source.file)] == [{"prompt": "a"}]
        assert source.notices == (
            "set: left out the columns raw, list, model_0, model_1, model_2, …, which hold binary data such as images",
            "set: left out the column __index_level_0__, which holds the numbers of rows that pandas gave",
        )
        assert not source.has_ids


def test_a_column_of_an_extensions_type_counts_as_what_it_is_stored_as(write):
    table = pa.table({"prompt": ["a"], "key": pa.array([uuid.UUID(int=1).bytes], pa.uuid())})
    with open_source(write(table)) as source:
        assert source.notices == ("set: left out the column key, which holds binary data such as images",)


def test_a_table_without_any_text_or_number_is_refused(write):
    assert mistakes(write([{"image": b"x"}])) == ["set: has no column of text or numbers"]


def test_two_columns_of_one_name_are_refused(write):
    table = pa.table([["a"], ["b"]], names=["prompt", "prompt"])
    assert mistakes(write(table)) == ["set: has two columns named 'prompt'; rename one of them"]


def test_an_empty_table_holds_no_jobs(write):
    assert mistakes(write(pa.table({"prompt": pa.array([], pa.string())}))) == ["set: holds no jobs"]


def test_mistakes_name_the_row(write):
    write([{"id": "x", "prompt": "a"}, {"id": "y", "prompt": None}, {"id": "x", "prompt": "b"}])
    assert mistakes("set") == ["set: row 2: prompt: missing", "set: row 3: id: 'x' is used in row 1 already"]


def test_packed_tables_and_those_from_standard_input_are_read(write, tmp_path):
    content = (tmp_path / write([{"prompt": "a"}])).read_bytes()
    (tmp_path / "set.gz").write_bytes(gzip.compress(content))
    assert rows_of("set.gz") == rows_of("-", io.BytesIO(content)) == [{"prompt": "a"}]


def test_a_damaged_file_is_one_error(write, tmp_path):
    content = (tmp_path / write([{"prompt": f"a cat {number}" * 9} for number in range(90)])).read_bytes()
    for damaged in (content[: len(content) // 2], content[:60] + b"\xfe" * 200 + content[260:]):
        (tmp_path / "damaged").write_bytes(damaged)
        (told,) = mistakes("damaged")
        assert "table that cannot be read: " in told
        assert told.startswith(("damaged: is a Parquet", "damaged: is an Arrow"))


@pytest.mark.no_cover
def test_no_damage_ends_the_process(write, tmp_path):
    write([{"id": f"p{number}", "tags": ["a"] * number, "n": 1.5} for number in range(40)])
    content = (tmp_path / "set").read_bytes()
    chance = random.Random(5)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 3, 20])):
            damaged[chance.randrange(8, len(damaged))] = chance.randrange(256)
        (tmp_path / "damaged").write_bytes(damaged)
        with suppress(JobsFileError):
            rows_of("damaged")


def test_text_that_is_not_utf_8_is_refused(write):
    text = pa.array([b"\xff"], pa.binary()).view(pa.string())
    assert "table that cannot be read: " in mistakes(write(pa.table({"prompt": text})))[0]


def test_a_map_that_repeats_a_key_is_an_error(write):
    table = pa.table({"m": pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))})
    assert "table that cannot be read: " in mistakes(write(table))[0]


def test_without_pyarrow_the_message_says_how_to_install_it(write, monkeypatch):
    write([{"prompt": "a"}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (told,) = mistakes("set")
    kind = "a Parquet table" if told.startswith("set: is a P") else "an Arrow table"
    assert (
        told == f"set: is {kind}, and reading it needs pyarrow; in the clone of venice-batch: pip install '.[parquet]'"
    )


def test_a_full_disk_is_reported_as_one(write, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data, /):
            raise OSError(28, os.strerror(28))

    write([{"prompt": "a"}])
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(FolderError, match="No space left on device"):
        jobs("set")
