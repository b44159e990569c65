"""The images of other folders that jobs can take: which records serve which jobs."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from records import IMAGE, failed, outcome

from venice_batch.errors import FolderError
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.jobfile.identity import request_hash
from venice_batch.model import Endpoint, Reused
from venice_batch.output.resume import Resume
from venice_batch.output.reuse import ReusableImages


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def request(number):
    return {"model": "venice-sd35", "prompt": f"p{number}", "seed": number}


def record(job_id, number, *, content=b"image", **changes):
    """The record of a job of this request; `content` is the image's."""
    sha256 = hashlib.sha256(content).hexdigest()
    file = msgspec.structs.replace(IMAGE, path=f"images/{job_id}.webp", bytes=len(content), sha256=sha256)
    hashed = request_hash(Endpoint.GENERATE, request(number))
    return outcome(job_id, **{"request": request(number), "request_hash": hashed, "files": (file,), **changes})


def folder(name, *records, images=True):
    Path(name, "images").mkdir(parents=True, exist_ok=True)
    with Path(name, "manifest.jsonl").open("ab") as lines:
        for each in records:
            lines.write(msgspec.json.encode(each) + b"\n")
            for file in each.files if images else ():
                Path(name, file.path).write_bytes(b"image")
    return Path(name)


def found(jobs, *folders, own="own", sandbox=None):
    """The id of the record for each job that can take images, by the job's id, and the notices."""
    lines = [json.dumps({"id": job_id, **request(number)}) + "\n" for job_id, number in jobs.items()]
    Path("jobs.jsonl").write_text("".join(lines))
    with open_source("jobs.jsonl") as source:
        index = JobIndex.build(source)
        known = Resume(index, Path(own))
        reusable = ReusableImages(
            index, known, Path(own), [Path(each) for each in folders], is_settled=known.is_settled, sandbox=sandbox
        )
        ids = list(jobs)
        taken = {ids[place]: one.id for place, one in reusable.places()}
        assert len(reusable) == len(taken)
        assert all(place in reusable for place, _ in reusable.places())
        return taken, reusable.notices


def test_ids_come_before_the_order_of_the_file():
    folder("a", record("x", 1), record("b", 1, run_id="2"), record("c", 2))
    assert found({"a": 1, "b": 1, "z": 2, "y": 3}, "a")[0] == {"a": "x", "b": "b", "z": "c"}


def test_a_record_that_was_made_again_counts_once():
    folder("a", record("x", 1, content=b"an older image", run_id="1"), images=False)
    folder("a", record("x", 1, run_id="2"))
    taken, notices = found({"a": 1, "b": 1}, "a")
    assert taken == {"a": "x"}
    assert notices == (), "its image was lost, and is there again"


def test_a_later_failure_takes_nothing_away():
    folder("a", record("x", 1), failed("x"))
    assert found({"a": 1}, "a")[0] == {"a": "x"}


def test_purchases_that_the_folder_has_already_serve_no_other_job():
    folder("a", record("x", 1), record("y", 1, run_id="2"))
    folder("own", record("a", 1, reused=Reused("a", record("x", 1).run_id, "x")))
    assert found({"a": 1, "b": 1, "c": 1}, "a")[0] == {"b": "y"}


def test_an_image_that_was_reused_is_the_first_purchase():
    folder("a", record("x", 1))
    folder("b", record("y", 1, run_id="2", reused=Reused("a", record("x", 1).run_id, "x")))
    assert found({"a": 1, "b": 1}, "a", "b")[0] == {"a": "x"}


def test_what_the_folder_has_lost_can_be_taken_again():
    folder("a", record("x", 1))
    folder("own", record("a", 1, reused=Reused("a", record("x", 1).run_id, "x")), images=False)
    assert found({"a": 1}, "a")[0] == {"a": "x"}


def test_sandbox_and_real_images_are_told_apart():
    folder("a", record("x", 1, sandbox=True), record("y", 2))
    assert found({"a": 1, "b": 2}, "a")[0] == {"a": "x", "b": "y"}
    assert found({"a": 1, "b": 2}, "a", sandbox=True)[0] == {"a": "x"}
    taken, notices = found({"a": 1, "b": 2}, "a", sandbox=False)
    assert taken == {"b": "y"}
    assert notices == (
        "a: images of 1 job with the same request are not reused, because they are made by the sandbox (x)",
    )


def test_lines_without_a_record_are_counted_for_each_folder():
    folder("a", record("x", 1))
    folder("b", record("y", 3))
    with Path("b/manifest.jsonl").open("ab") as lines:
        lines.write(b"garbage\n\n" + b"{}\n" * 11)
    assert found({"a": 1, "b": 2}, "b", "a") == (
        {"a": "x"},
        ("b/manifest.jsonl: passed over 12 lines without a record (line 2, 4, 5, 6, 7, 8, 9, 10, 11, 12…)",),
    )


def test_a_folder_whose_manifest_has_no_record_is_refused():
    folder("b")
    Path("b/manifest.jsonl").write_bytes(b"a\nb\n")
    with pytest.raises(
        FolderError, match=r"^b/manifest\.jsonl: none of its 2 lines is a record; if it was overwritten"
    ):
        found({"a": 1}, "b")


def test_notices_name_the_first_few():
    folder("a", *(record(f"x{number}", number) for number in range(5)), images=False)
    _, (notice,) = found({f"j{number}": number for number in range(5)}, "a")
    assert notice == (
        "a: images of 5 jobs with the same request are not reused, because they are missing or changed (x0, x1, x2, …)"
    )


def test_records_that_lead_out_of_their_folder_are_not_followed():
    Path("secret").write_bytes(b"image")
    each = record("x", 1)
    file = msgspec.structs.replace(each.files[0], path="../secret")
    folder("a", msgspec.structs.replace(each, files=(file,)))
    assert found({"a": 1}, "a")[0] == {}


def test_a_folder_without_a_manifest_is_refused():
    folder("a", record("x", 1))
    Path("b").mkdir()
    with pytest.raises(FolderError, match=r"^b: holds no manifest\.jsonl"):
        found({"a": 1}, "a", "b")
    Path("b/manifest.jsonl").symlink_to("../a/manifest.jsonl")
    with pytest.raises(FolderError, match="is a link"):
        found({"a": 1}, "b")
