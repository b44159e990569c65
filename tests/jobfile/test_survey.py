"""A file that is only looked through, against the index of the same file."""

import contextlib
import errno
import io
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import FolderError, JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, Shard, open_source, spill, survey


@pytest.fixture
def everything_to_disk(monkeypatch):
    """No record waits in memory, and every group has its turn."""
    monkeypatch.setattr(spill, "BUFFER_BYTES", 1)
    monkeypatch.setattr(spill, "GROUPS", 5)


def jsonl(*records):
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def job(number, **fields):
    return {"id": f"job-{number}", "model": "m", "prompt": "p", **fields}


def found(how, content, **options):
    """What `how` makes of the lines: the number of jobs, or all that is told."""
    with open_source("-", io.BytesIO(content)) as source:
        try:
            made = how(source, **options)
        except JobsFileError as error:
            return error.problems, error.total
    return made if isinstance(made, int) else len(made)


def complain(job):
    return [("seed", "is not liked")] if job.request.get("seed") == 3 else []


drawn = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["p", "q", ""])},
    optional={
        "id": st.sampled_from("abc"),
        "model": st.just("m"),
        "matrix": st.sampled_from([{"seed": [1, 2]}, {"seed": [2, 3]}, {"resolution": ["1K", "1k"], "seed": [4, 3]}]),
    },
)


@given(st.lists(drawn, min_size=1, max_size=20), st.sampled_from([1, 3, 1000]), st.sampled_from([None, Shard(1, 2)]))
@pytest.mark.usefixtures("everything_to_disk")
def test_it_finds_what_the_index_finds(records, most, shard):
    content = jsonl(*records)
    options = {"defaults": Defaults.of(["model=d"]), "max_problems": most, "examine": complain, "shard": shard}
    assert found(survey, content, **options) == found(JobIndex.build, content, **options)


@pytest.mark.usefixtures("everything_to_disk")
def test_ids_used_twice_are_found_in_every_group_and_told_in_the_files_order():
    ids = [*range(100), *range(99, -1, -1)]
    problems, total = found(survey, jsonl(*map(job, ids)))
    assert total == 100
    assert [str(problem) for problem in problems] == [
        f"<stdin>:{line}: id: 'job-{200 - line}' is used on line {201 - line} already" for line in range(101, 201)
    ]


@pytest.mark.usefixtures("everything_to_disk")
def test_of_very_many_the_first_are_told_and_all_are_counted():
    problems, total = found(survey, jsonl(*(job(number % 3) for number in range(60))), max_problems=4)
    assert total == 57
    assert [(problem.line, problem.what) for problem in problems] == [
        (4, "'job-0' is used on line 1 already"),
        (5, "'job-1' is used on line 2 already"),
        (6, "'job-2' is used on line 3 already"),
        (7, "'job-0' is used on line 1 already"),
    ]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "BUFFER_BYTES", 64)

    def peak_bytes(lines):
        path = tmp_path / f"{lines}.jsonl"
        path.write_bytes(jsonl(*map(job, range(lines))))
        with open_source(path) as source:
            tracemalloc.start()
            try:
                assert survey(source) == lines
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak_bytes(1000)  # what is imported and remembered once
    assert peak_bytes(20_000) - peak_bytes(2000) < 18_000 * 8  # the index takes ten times as much


def test_a_short_file_needs_no_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "temporary", None)
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(jsonl(*map(job, range(1000))))
    with open_source(path) as source:
        assert survey(source) == 1000


class Full(io.BytesIO):
    """A file on a disk that is full: it fails where it is told to, and when it is closed."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def fail(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattribute__(self, name):
        failing = name in (super().__getattribute__("where"), "close")
        return super().__getattribute__("fail" if failing else name)


@pytest.mark.parametrize("where", ["write", "read"])
@pytest.mark.usefixtures("everything_to_disk")
def test_a_full_disk_is_told(monkeypatch, where):
    @contextlib.contextmanager
    def temporary():
        file = Full(where)
        try:
            yield file
        finally:
            file.close()

    monkeypatch.setattr(spill, "temporary", temporary)
    with pytest.raises(
        FolderError, match=r"temporary file: No space left on device; set TMPDIR to a folder with room$"
    ):
        found(survey, jsonl(job(1), job(2)))


def test_a_file_that_changed_before_it_was_told_of_is_refused(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(jsonl(job(1), job(1)))

    def shorten(_):
        path.write_bytes(b"\n")
        return ()

    with open_source(path) as source, pytest.raises(JobsFileError, match="line 2 has changed since the check"):
        survey(source, examine=shorten)
