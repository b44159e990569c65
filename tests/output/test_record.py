"""What of a record is read, and what is none."""

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st
from records import CORRUPT, outcome

from venice_batch.output.record import FileView, RecordView, records

WHOLE = msgspec.json.encode(outcome("whole"))


def test_of_a_record_is_read_what_a_resume_needs():
    file = FileView("images/a.webp", 5, "0" * 64)
    assert list(records([WHOLE])) == [(1, RecordView("whole", "f" * 32, "succeeded", (file,)))]


def test_a_record_needs_no_more_than_that():
    line = b'{"id":"a","request_hash":"b","status":"succeeded"}\n'
    assert list(records([line])) == [(1, RecordView("a", "b", "succeeded"))]


def test_fields_of_the_future_do_no_harm():
    line = orjson.dumps({**orjson.loads(WHOLE), "schema": 9, "new": {"x": [1]}})
    ((_, record),) = records([line])
    assert record.id == "whole"


def test_lines_without_a_record_keep_their_number_and_blank_ones_only_count():
    found = list(records([WHOLE, b"\n", b"  \r\n", *CORRUPT, WHOLE], 10))
    assert [number for number, record in found if record is None] == list(range(13, 13 + len(CORRUPT)))
    assert [number for number, record in found if record is not None] == [10, 13 + len(CORRUPT)]


@given(st.lists(st.binary(max_size=60)))
def test_any_line_but_a_blank_one_is_a_record_or_none(lines):
    assert [number for number, _ in records(lines)] == [at for at, line in enumerate(lines, 1) if line.strip()]
