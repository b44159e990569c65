"""Which image of another job a job works on."""

import json

import pytest

from venice_batch.jobfile import JobIndex, open_source
from venice_batch.jobfile.identity import request_hash
from venice_batch.model import Endpoint
from venice_batch.output.manifest import FileView, RecordView
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.parents import ParentImages

LINES = [
    {"id": "cat", "model": "m", "prompt": "a cat", "variants": 3},
    {"id": "x", "endpoint": "/image/upscale", "image": {"job": "cat", "variant": 2}},
    {"id": "y", "endpoint": "/image/upscale", "image": {"job": "cat", "pick": True}},
]
FILES = tuple(FileView(f"images/cat-{number}.png", 1, str(number) * 64) for number in (1, 2, 3))
DONE = RecordView("cat", "hash", "succeeded", FILES)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    with open_source(tmp_path / "jobs.jsonl") as source:
        yield ParentImages(JobIndex.build(source), tmp_path)


def pick(tmp_path, *numbers, mark="picked", rating=None):
    with MarksFile(tmp_path) as marks:
        marks.append(Mark(str(number) * 64, "cat", number, mark, rating, "2026-01-01T00:00:00Z") for number in numbers)


def digest(number):
    return request_hash(Endpoint.UPSCALE, {"image": {"sha256": str(number) * 64}})


def test_a_variant_is_the_image_of_that_number(images, tmp_path):
    images.note(0, DONE)
    assert images.chosen(1) == [(2, FILES[1])]
    job = images.job(1, images.chosen(1))
    assert job.request == {"image": {"path": str(tmp_path / "images/cat-2.png"), "sha256": "2" * 64}}
    assert job.request_hash == digest(2), "the hash of a job that names the file itself"
    assert (job.id, job.parent.id, job.parent.variant) == ("x", "cat", 2)


def test_an_image_that_was_not_made_is_missing(images):
    images.note(0, RecordView("cat", "hash", "succeeded", FILES[:1]))
    assert images.chosen(1) is None
    link, parent = images.unchosen(1)
    assert (link.field, parent) == ("image", 0)
    assert not images.were_used(1, digest(2))


def test_a_record_with_another_id_is_not_the_jobs(images):
    images.note(0, RecordView("dog", "hash", "succeeded", FILES))
    assert images.records == {}
    assert images.chosen(1) is None


def test_a_pick_is_noticed_when_it_is_made(images, tmp_path):
    images.note(0, DONE)
    assert images.chosen(2) is None
    pick(tmp_path, 1, mark="rejected")
    assert images.chosen(2) is None
    pick(tmp_path, 3)
    assert images.chosen(2) == [(3, FILES[2])]
    assert images.unchosen(2) is None
    pick(tmp_path, 2, rating=4)
    assert images.chosen(2) == [(2, FILES[1])], "the best rated"


def test_a_job_was_made_from_the_picked_image_or_without_a_pick_from_any(images, tmp_path):
    images.note(0, DONE)
    assert [images.were_used(2, digest(number)) for number in (1, 2, 3, 4)] == [True, True, True, False]
    pick(tmp_path, 2)
    assert [images.were_used(2, digest(number)) for number in (1, 2, 3, 4)] == [False, True, False, False]
    assert [images.were_used(1, digest(number)) for number in (1, 2, 3, 4)] == [False, True, False, False]


def test_marks_are_read_only_when_their_file_has_changed(images, tmp_path, monkeypatch):
    images.note(0, DONE)
    pick(tmp_path, 2)
    assert images.chosen(2) == [(2, FILES[1])]
    monkeypatch.setattr("venice_batch.output.marks.read_marks", None)
    assert images.chosen(2) == [(2, FILES[1])]
