"""Of many records of an id, the last whole one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import failed, outcome

from venice_batch.errors import FolderError
from venice_batch.output.latest import LatestRecords


def write(path, *records):
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else msgspec.json.encode(line) + b"\n" for line in records)
    )
    return path


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_each_id_comes_once_with_its_last_record(tmp_path_factory, ids):
    records = [outcome(job_id, total_s=float(number)) for number, job_id in enumerate(ids)]
    latest = LatestRecords(write(tmp_path_factory.mktemp("m") / "m", *records))
    expected = sorted({record.id: record for record in records}.values(), key=lambda record: record.timing.total_s)
    assert list(latest) == expected
    assert len(latest) == len(expected)


def test_a_line_that_is_no_record_replaces_nothing(tmp_path):
    latest = LatestRecords(write(tmp_path / "m", failed("a"), b"\n", b'{"id": "a"}\n', b"\xff\n", b'{"id": "a", "sta'))
    assert list(latest) == [failed("a")]


def test_it_reads_again_each_time_and_leaves_out_what_has_come_since(tmp_path):
    path = write(tmp_path / "m", outcome("a"))
    latest = LatestRecords(path)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(failed("a")) + b"\n")
    assert list(latest) == list(latest) == [outcome("a")]


def test_each_record_comes_with_its_line(tmp_path):
    latest = LatestRecords(write(tmp_path / "m", outcome("a"), b"\n", outcome("b"), failed("a")))
    assert list(latest.numbered()) == [(3, outcome("b")), (4, failed("a"))]


def test_a_manifest_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FolderError):
        LatestRecords(tmp_path)
