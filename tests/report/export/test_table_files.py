"""Tables as files: read back they are what was written."""

import csv
import io
import json
import tracemalloc

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import IMAGE, failed, outcome

from venice_batch.report.export import table_files
from venice_batch.report.export.columns import Row, columns, rows
from venice_batch.report.export.table_files import Picture, write_csv, write_image_parquet, write_parquet

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT | st.lists(TEXT)
RECORDS = st.lists(
    st.builds(
        outcome,
        TEXT,
        metadata=st.none() | st.dictionaries(st.sampled_from(["a", "b", "ü\n", "=c"]), VALUES, max_size=4),
        request=st.fixed_dictionaries({"prompt": TEXT}, optional={"seed": st.integers(-9, 9), "strange": VALUES}),
        cost_usd=st.none() | st.floats(0, 1),
    )
    | st.builds(failed, TEXT, message=TEXT),
    max_size=6,
)


def cells(records):
    table = columns(records)
    return [[column.cell(row) for column in table] for row in rows(records)]


def written(write, records):
    file = io.BytesIO()
    assert write(records, columns(records), file) == len(list(rows(records)))
    assert not file.closed
    return file.getvalue()


def as_text(cell):
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    return cell.strftime("%Y-%m-%dT%H:%M:%S.000Z") if hasattr(cell, "strftime") else str(cell)


@given(RECORDS)
def test_csv_is_read_back_as_what_was_written(records):
    text = written(write_csv, records).decode()
    header, *found = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == [column.name for column in columns(records)]
    plain = [[cell.removeprefix("'") for cell in row] for row in found]
    assert plain == [[as_text(cell) for cell in row] for row in cells(records)]


@given(RECORDS)
def test_no_text_in_a_csv_is_a_formula(records):
    text = written(write_csv, records).decode()
    _, *found = csv.reader(io.StringIO(text, newline=""))
    for row, original in zip(found, cells(records), strict=True):
        for cell, value in zip(row, original, strict=True):
            if isinstance(value, str):
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))


def test_numbers_below_zero_stay_numbers():
    text = written(write_csv, [outcome(request={"prompt": "-5", "seed": -5})]).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["request.prompt"], row["request.seed"]) == ("'-5", "-5")


@settings(max_examples=40)
@given(RECORDS)
def test_parquet_is_read_back_as_what_was_written(records):
    table = pyarrow.parquet.read_table(io.BytesIO(written(write_parquet, records)))
    assert table.column_names == [column.name for column in columns(records)]
    assert [list(row.values()) for row in table.to_pylist()] == cells(records)


def test_parquet_columns_have_types():
    record = outcome(metadata={"n": 1, "x": 1.5, "t": "t", "b": True}, request={"prompt": "p", "seed": 1})
    schema = pyarrow.parquet.read_schema(io.BytesIO(written(write_parquet, [record])))
    types = {name: str(schema.field(name).type) for name in schema.names}
    assert types["enqueued_at"] == "timestamp[ms, tz=UTC]"
    assert [types[f"metadata.{name}"] for name in "nxtb"] == ["int64", "double", "string", "bool"]
    assert (types["request.seed"], types["bytes"], types["total_s"]) == ("int64", "int64", "double")


class Endless:
    """Records that are made while they are read, any number of times."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return (outcome(str(number), request={"prompt": "p" * 1000}) for number in range(self.count))


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_many_records_are_never_in_memory_at_once(write, monkeypatch, tmp_path):
    monkeypatch.setattr(table_files, "BATCH_ROWS", 100)
    records = Endless(1_500)
    table = columns(records)
    pyarrow.array([1])
    with (tmp_path / "table").open("wb") as file:
        tracemalloc.start()
        before = pyarrow.total_allocated_bytes()
        assert write(records, table, file) == 1_500
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1e6
    assert pyarrow.total_allocated_bytes() - before < 1e6


def test_images_stand_in_a_column_that_hugging_face_decodes():
    records = [outcome("a", metadata={"level": 3}), outcome("b")]
    table = columns(records)
    pictures = [Picture(Row(record, IMAGE, 1), f"{record.id}.webp", b"image", "a gondola\udcff") for record in records]
    file = io.BytesIO()
    assert write_image_parquet(pictures, [column for column in table if column.name != "image"], file) == 2
    found = pyarrow.parquet.read_table(file)
    assert found.column_names[:3] == ["image", "text", "id"]
    assert found.column("image").to_pylist() == [{"bytes": b"image", "path": f"{name}.webp"} for name in "ab"]
    assert found.column("text").to_pylist() == ["a gondola?"] * 2
    assert found.column("metadata.level").to_pylist() == [3, None]
    features = json.loads(found.schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}}


def test_row_groups_with_images_are_small(monkeypatch):
    monkeypatch.setattr(table_files, "IMAGE_BATCH_BYTES", 10)
    pictures = [Picture(Row(outcome(), IMAGE, 1), "a", b"x" * 4, "") for _ in range(250)]
    file = io.BytesIO()
    write_image_parquet(pictures, [], file)
    assert pyarrow.parquet.ParquetFile(file).metadata.row_group(0).num_rows == 3
    monkeypatch.setattr(table_files, "IMAGE_BATCH_BYTES", 10_000)
    file = io.BytesIO()
    write_image_parquet(pictures, [], file)
    groups = pyarrow.parquet.ParquetFile(file).metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [100, 100, 50]
