"""What a run would do."""

import io

import msgspec
import orjson
import pytest
from records import IMAGE, failed, outcome

from venice_batch.errors import FolderError
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.model import Status
from venice_batch.output import manifest
from venice_batch.plan import LanePlan, Plan, plan

LINES = [
    {"id": "a", "model": "venice-sd35", "prompt": "one"},
    {"id": "b", "model": "venice-sd35", "prompt": "two", "variants": 3},
    {"id": "c", "model": "flux-dev", "prompt": "three"},
]


@pytest.fixture
def index(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, LINES)))
    with open_source(str(path), io.BytesIO()) as source:
        yield JobIndex.build(source)


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    (folder / IMAGE.path).write_bytes(b"x" * IMAGE.bytes)
    return folder


def record(output, index, *made):
    hashes = {job.id: job.request_hash for job in index.jobs_in_order()}
    lines = [msgspec.json.encode(msgspec.structs.replace(one, request_hash=hashes[one.id])) + b"\n" for one in made]
    (output / manifest.NAME).write_bytes(b"".join(lines))


def test_a_new_folder_has_everything_to_do(index, tmp_path):
    lanes = {"venice-sd35": LanePlan(2, 4), "flux-dev": LanePlan(1, 1)}
    assert plan(index, tmp_path / "new") == Plan(3, 0, 0, 3, lanes)
    assert not (tmp_path / "new").exists()


def test_what_is_done_or_rejected_is_not_to_do(index, output):
    record(output, index, outcome("a"), failed("c", status=Status.REJECTED))
    assert plan(index, output) == Plan(3, 1, 1, 1, {"venice-sd35": LanePlan(1, 3)})


def test_what_was_rejected_is_to_do_where_it_is_to_be_retried(index, output):
    record(output, index, outcome("a"), failed("c", status=Status.REJECTED))
    lanes = {"venice-sd35": LanePlan(1, 3), "flux-dev": LanePlan(1, 1)}
    assert plan(index, output, retry_rejected=True) == Plan(3, 1, 0, 2, lanes)


def test_what_failed_or_lost_its_file_is_to_do(index, output):
    record(output, index, outcome("a"), failed("b"))
    (output / IMAGE.path).unlink()
    assert plan(index, output).pending == 3


def test_a_finished_file_has_nothing_to_do(index, output):
    record(output, index, outcome("a"), outcome("b"), outcome("c"))
    assert plan(index, output) == Plan(3, 3, 0, 0, {})


def test_a_manifest_that_cannot_be_read_is_an_error(index, output):
    (output / manifest.NAME).mkdir()
    with pytest.raises(FolderError):
        plan(index, output)
