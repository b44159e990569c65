"""Jobs files from every kind of source, and the messages about files that are something else."""

import errno
import gzip
import io
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import FolderError, JobsFileError
from venice_batch.jobfile import open_source
from venice_batch.jobfile import reading as spool
from venice_batch.jobfile.reading import MAX_LINE_BYTES, LineReader, TooLong, copied, lines

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"prompt": "a"}\n\n{"prompt": "b"}\r\n  \n{"prompt": "c"}'
LINES = [(1, 0, b'{"prompt": "a"}'), (3, 17, b'{"prompt": "b"}'), (5, 37, b'{"prompt": "c"}')]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into the current folder, so that messages hold its bare name."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        Path(name).write_bytes(content)
        return name

    return write


def all_lines(path, stdin=None):
    with open_source(path, stdin) as source:
        return list(lines(source.file))


def refused(path, stdin=None):
    with pytest.raises(JobsFileError) as caught, open_source(path, stdin):
        pass
    (problem,) = caught.value.problems
    assert problem.line == 0
    return str(problem)


def test_lines_have_their_number_and_offset_and_blank_ones_are_skipped(write):
    assert all_lines(write("jobs.jsonl", TEXT)) == LINES


def test_a_byte_order_mark_belongs_to_no_line(write):
    shifted = [(number, offset + 3, line) for number, offset, line in LINES]
    assert all_lines(write("jobs.jsonl", b"\xef\xbb\xbf" + TEXT)) == shifted


def test_a_plain_file_is_read_in_place(write):
    with open_source(write("jobs.jsonl", TEXT)) as source:
        assert source.file.name == "jobs.jsonl"
        assert source.name == "jobs.jsonl"
        assert source.unchanged()
        write("jobs.jsonl", TEXT + b"\n")
        assert source.unchanged()  # it has only grown
        write("jobs.jsonl", TEXT[1:])
        assert not source.unchanged()


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\0", b"")), max_size=10))
def test_packed_and_piped_files_have_the_lines_of_the_plain_one(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("packed")
    text = b'{"x": 1}\n' + b"\n".join(content)
    (folder / "plain").write_bytes(text)
    (folder / "a.gz").write_bytes(gzip.compress(text))
    (folder / "a.zst").write_bytes(zstd.compress(text))
    (folder / "no-suffix").write_bytes(gzip.compress(text))
    plain = all_lines(folder / "plain")
    assert all(all_lines(folder / name) == plain for name in ("a.gz", "a.zst", "no-suffix"))
    assert all_lines("-", io.BytesIO(text)) == plain
    assert all_lines("-", io.BytesIO(zstd.compress(text))) == plain


def test_standard_input_has_a_name(write):
    with open_source("-", io.BytesIO(TEXT)) as source:
        assert source.name == "<stdin>"
        assert source.unchanged()
    assert refused("-") == "<stdin>: nothing is connected to standard input"


def test_a_named_pipe_is_copied(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(TEXT,))
    writer.start()
    assert all_lines(pipe) == LINES
    writer.join()


def test_a_long_line_is_known_by_its_size_only(write):
    long = b"x" * (2 * MAX_LINE_BYTES)
    path = write("jobs.jsonl", b'{"a": 1}\n' + long + b"\r\n" + b"y" * MAX_LINE_BYTES + b"\r\n" + long)
    found = all_lines(path)
    assert [(number, offset) for number, offset, _ in found] == [
        (1, 0),
        (2, 9),
        (3, 11 + len(long)),
        (4, 13 + len(long) + MAX_LINE_BYTES),
    ]
    assert [line for _, _, line in found[1::2]] == [TooLong(len(long)), TooLong(len(long))]
    assert len(found[2][2]) == MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no jobs"),
        (b"\n \r\n\t\n", "holds no jobs"),
        (b"\xef\xbb\xbf\n", "holds no jobs"),
        (b"\n" * 10_000, "holds no jobs"),
        (b"\x89PNG\r\n\x1a\n", "is not text: looks like a PNG image"),
        (b"\xff\xd8\xff\xe0", "is not text: looks like a JPEG image"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "is not text: looks like a WebP image"),
        (b"PK\x03\x04", "is not text: looks like a ZIP archive or a spreadsheet; save a spreadsheet as .csv"),
        (b'{"a": "\0"}', "is not text: holds NUL bytes"),
        ('{"a": 1}\n'.encode("utf-16"), "is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
        ('{"a": 1}\n'.encode("utf-16-le"), "is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
        ('{"a": 1}\n'.encode("utf-16-be"), "is UTF-16 text; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
        (gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0), "is packed twice; unpack the inner gzip file first"),
        (gzip.compress(b"\x89PNG", mtime=0), "is not text: looks like a PNG image"),
        (gzip.compress(b"", mtime=0), "holds no jobs"),
        (
            b"FEA1\0\0\0\0",
            "is not text: looks like a Feather table of the first version; write it again as .parquet or .csv",
        ),
        (b"PARE\0\0\0\0", "is not text: looks like an encrypted Parquet table"),
        (
            b'{\n  "a": 1\n}',
            "holds JSON spread over several lines; expected one object a line: jq -c . jobs.json > jobs.jsonl",
        ),
    ],
)
def test_a_file_of_another_type_is_refused_with_its_type(write, content, message):
    assert refused(write("jobs.jsonl", content)) == f"jobs.jsonl: {message}"


@pytest.mark.parametrize("name", ["jobs.json", "jobs.jsonl", "jobs"])
def test_an_array_is_read_whatever_the_name_of_its_file(write, name):
    assert all_lines(write(name, b'[{"a": 1}]\n')) == [(1, 0, b'{"a": 1}')]


def test_an_object_that_is_no_job_is_refused_with_the_key_of_its_list(write):
    write("set.json", b'{"version": 1, "data": [{"prompt": "a"}]}')
    told = "holds one JSON object, whose list is under 'data'; take it out: jq -c '.data[]' set.json > jobs.jsonl"
    assert refused("set.json") == f"set.json: {told}"


def test_an_array_may_be_one_long_line_in_a_packed_file(write, monkeypatch):
    monkeypatch.setattr(spool, "MAX_UNPACKED_LINE", 1 << 20)
    array = b" [" + b", ".join([b'"%s"' % (b"x" * 1000)] * 3000) + b"]"
    assert len(all_lines(write("a.json.gz", gzip.compress(array)))) == 3000
    assert refused(write("b.json.gz", gzip.compress(b'["' + b" " * (3 << 20)))).endswith("; not a jobs file")


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (b"id,model,prompt\na,m,p\n", ".csv"),
        (b'\xef\xbb\xbf\n"Id","Prompt"\r\n"a","p"\r\n', ".csv"),
        (b"prompt\na\n", ".csv"),
        (b"Prompt\tCategory\nA gondola, a bridge\tworld\n", ".tsv"),
        (gzip.compress(b"id,prompt\na,p\n", mtime=0), ".csv"),
    ],
)
def test_a_table_without_a_tables_suffix_is_refused_with_a_way_out(write, content, suffix):
    told = f"looks like a table; a table is recognised by its file name: save it as a file that ends in {suffix}"
    assert refused("-", io.BytesIO(content)) == f"<stdin>: {told}"
    assert refused(write("jobs", content)) == f"jobs: {told}"


@pytest.mark.parametrize("start", [b'{"prompt": "a, b", "model": "prompt"}', b"a prompt, another prompt", b"id,model"])
def test_no_other_line_is_taken_for_the_head_of_a_table(write, start):
    assert all_lines("-", io.BytesIO(start)) == [(1, 0, start)]


def test_damaged_archives_are_reported(write):
    packed = gzip.compress(TEXT * 100)
    assert refused(write("a.gz", packed[:-20])).startswith("a.gz: is damaged: gzip says: ")
    assert refused(write("a.gz", packed[:30] + b"xxxx" + packed[34:])).startswith("a.gz: is damaged: gzip says: ")
    packed = zstd.compress(TEXT * 100)
    assert refused(write("a.zst", packed[:-5])).startswith("a.zst: is damaged: zstd says: ")
    assert refused(write("a.zst", packed[:4] + b"\xff" * 20)).startswith("a.zst: is damaged: zstd says: ")


def test_a_skippable_frame_may_come_first(write):
    skippable = b"\x50\x2a\x4d\x18\x02\x00\x00\x00hi"
    assert all_lines(write("a.zst", skippable + zstd.compress(TEXT))) == LINES


def test_a_line_that_unpacks_without_end_is_given_up(write, monkeypatch):
    monkeypatch.setattr(spool, "MAX_UNPACKED_LINE", 1 << 20)
    bomb = gzip.compress(b'{"a": 1}\n' + b" " * (3 << 20))
    assert refused(write("a.gz", bomb)) == "a.gz: has a line of more than 1 MB; not a jobs file"


def test_a_missing_file_is_reported_with_the_nearest_name(write):
    write("jobs.jsonl", TEXT)
    assert refused("job.jsonl") == "job.jsonl: no such file; did you mean 'jobs.jsonl'?"
    assert refused("nowhere/x.jsonl") == "nowhere/x.jsonl: no such file"


def test_folders_and_files_that_cannot_be_read_are_reported(write, monkeypatch):
    Path("folder").mkdir()
    told = "is a folder without .txt files; expected a file of jobs, or a folder with one prompt a .txt file"
    assert refused("folder") == f"folder: {told}"
    assert refused("a\0b").startswith("a\ufffdb: cannot be read: ")

    def deny(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert refused("jobs.jsonl") == "jobs.jsonl: cannot be read: Permission denied"


def test_a_stream_that_breaks_is_reported():
    class Broken(io.BytesIO):
        def read1(self, size=-1, /):
            raise OSError(5, "Input/output error")

    assert refused("-", Broken()) == "<stdin>: cannot be read: Input/output error"


class Full(io.BytesIO):
    def write(self, data, /):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.txt", "jobs.jsonl.gz", "-"])
def test_a_copy_without_room_names_the_folder_and_what_to_set(write, monkeypatch, name):
    content = gzip.compress(TEXT) if name.endswith(".gz") else TEXT
    stdin = io.BytesIO(TEXT) if name == "-" else None
    if name != "-":
        write(name, content)
    monkeypatch.setattr(tempfile, "tempdir", "/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(FolderError) as caught, open_source(name, stdin):
        pass
    told = "/full: cannot take a temporary file: No space left on device; set TMPDIR to a folder with room"
    assert str(caught.value) == told


def test_without_a_folder_for_a_copy_the_message_names_tmpdir(write, monkeypatch):
    def none(**_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    with pytest.raises(
        FolderError,
        match=r"^\.: cannot take a temporary file, nor can the system's own folders; set TMPDIR to a folder",
    ):
        open_source("-", io.BytesIO(TEXT)).__enter__()


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_lines_are_read_again_at_their_offsets_in_any_order(tmp_path_factory, sizes, chance):
    path = tmp_path_factory.mktemp("again") / "jobs.jsonl"
    path.write_bytes(b"\n".join(b"%d" % number + b"x" * size for number, size in enumerate(sizes)))
    with path.open("rb") as file:
        found = list(lines(file))
        reader = LineReader(file)
        for _, offset, line in chance.sample(found, len(found)):
            assert reader.line_at(offset) == line
        assert reader.line_at(path.stat().st_size + 5) == b""


class Pipe(io.BytesIO):
    """A pipe that never delivers a whole block."""

    def read(self, size=-1):
        raise AssertionError("waits for a whole block, deaf to signals")

    def read1(self, size=-1):
        return super().read(3)


def test_a_pipe_is_read_part_by_part():
    with copied("-", Pipe(b"some lines\n")) as file:
        file.seek(0)
        assert file.read() == b"some lines\n"
