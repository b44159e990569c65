"""States of jobs, by records from both ends of a manifest."""

import json

import pytest

from venice_batch.jobfile import JobIndex, open_source
from venice_batch.output.extract import Corrupt
from venice_batch.output.marks import Marks
from venice_batch.output.state import DONE, PENDING, REJECTED


@pytest.fixture
def index(tmp_path):
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text("".join(json.dumps({"id": name, "model": "m", "prompt": "p"}) + "\n" for name in "abc"))
    with open_source(jobs) as source:
        yield JobIndex.build(source)


@pytest.fixture
def request_hash(index):
    return next(index.jobs_in_order()).request_hash


def line(job_id, request_hash, status):
    return json.dumps({"id": job_id, "request_hash": request_hash, "status": status}).encode()


def test_the_last_record_counts_whichever_end_it_is_read_from(index, request_hash):
    marks = Marks(index)
    lines = [line("a", request_hash, "rejected"), line("b", request_hash, "rejected"), b"torn"]
    assert marks.mark(lines, bool, sandbox=True) == Corrupt(1, [3])
    marks.mark_back([("b", request_hash, REJECTED), ("b", request_hash, DONE), ("b", "0" * 32, DONE)])
    marks.mark_back([("b", request_hash, DONE), ("c", request_hash, REJECTED), ("c", request_hash, DONE)])
    marks.mark([line("c", request_hash, "rejected"), line("a", request_hash, "failed")], bool, sandbox=True)
    assert list(marks.states()) == [PENDING, PENDING, DONE]


def test_files_are_looked_at_only_where_the_state_depends_on_them(index, request_hash):
    looked = []

    def whole(files):
        looked.append(files)
        return True

    marks = Marks(index)
    marks.mark_back([("b", request_hash, REJECTED)])
    others = [line("another's", request_hash, "succeeded"), line("a", "0" * 32, "succeeded")]
    settled = line("b", request_hash, "succeeded")
    marks.mark([*others, settled], whole, sandbox=True)
    assert not looked
    marks.mark([line("c", request_hash, "succeeded")], whole, sandbox=True)
    assert looked == [()]
    assert list(marks.states()) == [PENDING, REJECTED, DONE]
