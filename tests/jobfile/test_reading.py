"""Lines with every kind of line end."""

import gzip
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.jobfile import Defaults, JobIndex, open_source, reading
from venice_batch.jobfile.reading import BOM, LineReader, TooLong, lines


def found(data):
    return list(lines(io.BytesIO(data)))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_each_kind_of_line_end_gives_the_same_lines(end):
    assert [(number, line) for number, _, line in found(end.join([b"a", b"", b"b", b"c", b""]))] == [
        (1, b"a"), (3, b"b"), (4, b"c"),
    ]  # fmt: skip


def test_one_file_may_mix_line_ends():
    assert found(b"a\rb\r\nc\nd\r\r\ne") == [(1, 0, b"a"), (2, 2, b"b"), (3, 5, b"c"), (4, 7, b"d"), (5, 11, b"e")]


def test_a_byte_order_mark_belongs_to_no_line():
    assert found(BOM + b"a\n" + BOM + b"b\r" + BOM + b"\n" + BOM + b"c") == [
        (1, 3, b"a"), (2, 8, b"b"), (4, 17, b"c"),
    ]  # fmt: skip


LINE = st.one_of(st.binary(max_size=12), st.just(b""), st.just(BOM + b"x"), st.integers(17, 70).map(lambda n: b"y" * n))
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\r\r\n"])


@given(st.lists(st.tuples(LINE.map(lambda line: re.sub(rb"[\r\n]", b"", line)), ENDS), max_size=12), st.booleans())
def test_lines_are_cut_alike_however_little_is_read_at_a_time(parts, is_ended):
    data = b"".join(line + end for line, end in parts)
    data = data if is_ended else data.rstrip(b"\r\n")
    expected, offset = [], 0
    pieces = re.findall(rb"[^\r\n]*(?:\r{0,2}\n|\r)|[^\r\n]+\Z", data)
    for number, piece in enumerate(pieces, 1):
        line = piece.rstrip(b"\r\n")
        mark = 3 * (line.startswith(BOM) and len(line) <= 16)
        if len(line) > 16:
            expected.append((number, offset, TooLong(len(line))))
        elif line[mark:].strip():
            expected.append((number, offset + mark, line[mark:]))
        offset += len(piece)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MAX_LINE_BYTES", 16)
        patch.setattr(reading, "_LIMIT", 19)
        patch.setattr(reading, "_BLOCK", 7)
        assert found(data) == expected


@given(st.lists(st.tuples(st.integers(0, 90_000), ENDS), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_line_is_read_again_with_any_line_end(tmp_path_factory, parts, chance):
    path = tmp_path_factory.mktemp("again") / "jobs.jsonl"
    path.write_bytes(b"".join(b"%d" % number + b"x" * size + end for number, (size, end) in enumerate(parts)))
    with path.open("rb") as file:
        known = list(lines(file))
        assert len(known) == len(parts)
        reader = LineReader(file)
        for _, offset, line in chance.sample(known, len(known)):
            assert reader.line_at(offset) == line


LINES = [b'{"model":"m","prompt":"a"}', b'{"model":"m","prompt":"b"}', b'{"model":"m","prompt":"c"}']


@pytest.mark.parametrize("join", [b"\r", b"\r" + BOM, b"\n" + BOM, b"\r\n"])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("jobs.jsonl", LINES),
        ("jobs.txt", [b"a", b"b", b"c"]),
    ],
)
def test_every_job_of_a_file_is_found_and_read_again(tmp_path, join, name, parts):
    path = tmp_path / name
    path.write_bytes(BOM + join.join(parts) + b"\r")
    with open_source(path) as source:
        jobs = list(JobIndex.build(source, defaults=Defaults.of(["model=m"])).jobs_in_order())
    assert [(job.line, job.request["prompt"]) for job in jobs] == [(1, "a"), (2, "b"), (3, "c")]


def test_a_packed_file_of_lone_carriage_returns_has_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("venice_batch.jobfile.reading.MAX_UNPACKED_LINE", 300_000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"\r".join([b"x" * 1000] * 500)))
    with open_source(tmp_path / "a.txt.gz") as source:
        assert len(list(lines(source.file))) == 500
