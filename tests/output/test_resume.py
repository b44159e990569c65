"""What a folder holds, and what has to be made again."""

import hashlib
import json

import pytest

from venice_batch.jobfile import JobIndex, open_source
from venice_batch.output.resume import Ownership, Resume

DATA = b"an image"
SHA = hashlib.sha256(DATA).hexdigest()


class Folder:
    """Two jobs, a and b, and a folder with images and a manifest."""

    def __init__(self, path):
        self.root = path / "out"
        (self.root / "images").mkdir(parents=True)
        for name in ("a.webp", "b.webp", "b-2.webp"):
            (self.root / "images" / name).write_bytes(DATA)
        jobs = path / "jobs.jsonl"
        jobs.write_text("".join(json.dumps({"id": name, "model": "m", "prompt": "p"}) + "\n" for name in "ab"))
        self._source = open_source(jobs)
        self.index = JobIndex.build(self._source.__enter__())
        self.hash = next(self.index.jobs_in_order()).request_hash

    def record(self, job_id="a", status="succeeded", names=("a.webp",), **fields):
        files = [{"path": f"images/{name}", "bytes": len(DATA), "sha256": SHA} for name in names]
        return {"id": job_id, "request_hash": self.hash, "status": status, "files": files, **fields}

    def resume(self, *records, **options):
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (self.root / "manifest.jsonl").write_text("".join(line + "\n" for line in lines))
        return Resume(self.index, self.root, **options)

    def close(self):
        self._source.__exit__(None, None, None)


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    yield folder
    folder.close()


def done(resume):
    return [resume.is_done(place) for place in range(2)]


def test_a_job_with_its_files_is_done(folder):
    found = folder.resume(folder.record(), folder.record("b", names=("b.webp", "b-2.webp")))
    assert done(found) == [True, True]
    assert (found.done, found.rejected, found.notices) == (2, 0, ())


def test_without_a_manifest_nothing_is_known(folder):
    found = Resume(folder.index, folder.root)
    assert done(found) == [False, False]
    assert done(folder.resume()) == [False, False]


def test_a_changed_request_makes_the_job_pending(folder):
    assert done(folder.resume(folder.record(request_hash="0" * 32))) == [False, False]
    assert done(folder.resume(folder.record(request_hash="no hash"))) == [False, False]


@pytest.mark.parametrize("status", ["failed", "rejected", "of the future"])
def test_a_later_record_replaces_an_earlier_one(folder, status):
    other = folder.record(status=status, names=())
    assert done(folder.resume(folder.record(), other))[0] is False
    assert done(folder.resume(other, folder.record()))[0] is True


def test_a_later_record_of_another_request_replaces_an_earlier_one(folder):
    assert done(folder.resume(folder.record(), folder.record(request_hash="0" * 32)))[0] is False


def test_a_rejected_job_is_settled_but_not_done(folder):
    found = folder.resume(folder.record(status="rejected", names=()))
    assert (found.is_done(0), found.is_settled(0), found.rejected) == (False, True, 1)


def test_records_of_other_jobs_do_no_harm(folder):
    assert folder.resume(folder.record("z"), folder.record()).done == 1


@pytest.mark.parametrize("harm", ["unlink", "cut", "folder"])
def test_a_lost_or_resized_file_makes_its_job_pending_and_is_said(folder, harm):
    path = folder.root / "images" / "b-2.webp"
    path.unlink()
    if harm == "cut":
        path.write_bytes(DATA[:-1])
    elif harm == "folder":
        path.mkdir()
    found = folder.resume(folder.record(), folder.record("b", names=("b.webp", "b-2.webp")))
    assert done(found) == [True, False]
    assert "1 job recorded as done lost a file" in found.notices[0]


def test_a_success_without_files_is_none(folder):
    assert folder.resume(folder.record(names=())).done == 0


def test_only_verifying_notices_a_changed_byte(folder):
    (folder.root / "images" / "a.webp").write_bytes(DATA[:-1] + b"x")
    assert folder.resume(folder.record()).done == 1
    assert folder.resume(folder.record(), verify=True).done == 0
    assert folder.resume(folder.record("b", names=("b.webp",)), verify=True).done == 1


def test_lines_that_are_no_records_are_reported_by_number_and_passed_over(folder):
    found = folder.resume("{", folder.record(), *["torn"] * 12)
    assert found.done == 1
    assert "passed over 13 lines without a record (line 1, 3, 4, 5, 6, 7, 8, 9, 10, 11…)" in found.notices[0]


def test_a_path_with_a_nul_is_no_file(folder):
    assert folder.resume(folder.record(names=("a\0.webp",))).done == 0


def test_what_the_sandbox_made_is_pending_for_the_real_api(folder):
    played = folder.record(sandbox=True)
    assert folder.resume(played).done == 1
    found = folder.resume(played, sandbox=False)
    assert found.done == 0
    assert found.notices == ("1 job done by the sandbox only: pending again",)


def test_a_pending_job_owns_the_files_of_its_latest_record_that_has_any(folder):
    changed = folder.record(request_hash="0" * 32)
    found = folder.resume(changed, folder.record(status="failed", names=()), folder.record("b", names=("b.webp",)), "{")
    owned = Ownership(folder.root / "manifest.jsonl", folder.index, found)
    assert owned("a") == ("images/a.webp",)
    assert owned("b") == ()  # done: nothing of it is to be replaced
    assert owned("z") == ()
