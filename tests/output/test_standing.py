"""Which outcomes count for the jobs of a file."""

import json

import msgspec
import pytest
from records import failed, outcome

from venice_batch.errors import FolderError
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.model import Status
from venice_batch.output.standing import Standing


@pytest.fixture
def standing(tmp_path):
    """standing(record, …) has the outcomes that count for the jobs a, b and c, as (place, status)."""
    lines = [{"id": job_id, "model": "m", "prompt": "p"} for job_id in "abc"]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.webp").write_bytes(b"image")
    with open_source(tmp_path / "jobs.jsonl") as source:
        index = JobIndex.build(source)
        right = next(index.jobs_in_order()).request_hash

        def of(*records, sandbox=False):
            made = [
                msgspec.structs.replace(record, request_hash=right) if record.request_hash == "f" * 32 else record
                for record in records
            ]
            (tmp_path / "manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in made))
            found = Standing(index, tmp_path, sandbox=sandbox)
            return [(place, one.status) for place, one in found.outcomes()]

        yield of


def test_the_last_record_of_an_id_counts(standing):
    assert standing(failed("a"), outcome("b"), outcome("a")) == [(1, Status.SUCCEEDED), (0, Status.SUCCEEDED)]


def test_records_of_other_jobs_and_other_requests_do_not_count(standing):
    assert standing(outcome("z"), outcome("a", request_hash="0" * 32), failed("c")) == [(2, Status.FAILED)]


def test_records_has_those_that_count_for_no_job_too(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "m", "prompt": "p"}\n')
    with open_source(tmp_path / "jobs.jsonl") as source:
        index = JobIndex.build(source)
        right = next(index.jobs_in_order()).request_hash
        made = (failed("z"), failed("a"), failed("a", request_hash=right))
        (tmp_path / "manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in made))
        found = Standing(index, tmp_path, sandbox=False).records()
        assert [(place, one.id) for place, one in found] == [(None, "z"), (0, "a")]


def test_what_the_sandbox_made_counts_only_for_a_sandbox(standing):
    played = (outcome("a", sandbox=True), failed("b", sandbox=True))
    assert standing(*played) == []
    assert standing(*played, sandbox=True) == [(0, Status.SUCCEEDED), (1, Status.FAILED)]


def test_an_image_that_is_gone_does_not_count(standing, tmp_path):
    (tmp_path / "images" / "a.webp").unlink()
    assert standing(outcome("a"), failed("b", status=Status.REJECTED)) == [(1, Status.REJECTED)]


def test_a_folder_without_a_manifest_cannot_be_asked(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "m", "prompt": "p"}\n')
    with open_source(tmp_path / "jobs.jsonl") as source, pytest.raises(FolderError):
        Standing(JobIndex.build(source), tmp_path, sandbox=False)
