"""What a folder holds, and what has to be made again."""

import hashlib
import json
from functools import partial
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import CORRUPT

from venice_batch.jobfile import JobIndex, open_source
from venice_batch.output import reading_process, resume
from venice_batch.output.extract import Extract, extract
from venice_batch.output.plain_files import have_hashes, have_sizes
from venice_batch.output.reading_process import ReadingProcess
from venice_batch.output.resume import Ownership, Resume
from venice_batch.output.state import DONE

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


THIS = "f" * 32
"""Stands for the hash of the jobs' request, which is known when there is a folder."""

FILES = [
    {"path": "images/a.webp", "bytes": len(DATA), "sha256": SHA},
    {"path": "images/b.webp", "bytes": len(DATA), "sha256": "0" * 64},
    {"path": "images/b.webp", "bytes": 1, "sha256": SHA},
    {"path": "images/none.webp", "bytes": len(DATA), "sha256": SHA},
]
RECORDS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "another's"]),
        "request_hash": st.sampled_from([THIS, THIS, THIS, "0" * 32, "no hash"]),
        "status": st.sampled_from(["succeeded", "succeeded", "failed", "rejected"]),
        "files": st.lists(st.sampled_from(FILES), max_size=2),
        "sandbox": st.sampled_from([False, False, True]),
    }
)
LINES = st.one_of(RECORDS.map(msgspec.json.encode), st.sampled_from([b"", b" \t", *CORRUPT]))
MANIFESTS = st.builds(
    lambda lines, line_end, ended: line_end.join(lines) + line_end * ended,
    st.lists(LINES, max_size=30),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)


class SomeExtracts:
    """Takes the place of the other process: has so many extracts at each time of asking, wanted or not."""

    arrivals = ()

    def __init__(self, stretches, *, verify, sandbox):
        self._stretches = stretches
        self._whole = partial(have_hashes if verify else have_sizes, f"{stretches.path.parent}/")
        self._sandbox = sandbox
        self._numbers = reversed(range(len(stretches)))
        self._arrivals = iter(self.arrivals)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def extracts(self, *, above):
        for number in islice(self._numbers, next(self._arrivals, 0)):
            found = extract(*self._stretches.lines(number), self._whole, sandbox=self._sandbox)
            yield number, msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Extract)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One folder for many manifests."""
    folder = Folder(tmp_path_factory.mktemp("shared"))
    yield folder
    folder.close()


def found_in(folder, options, size_bytes):
    """All that a resume finds, reading stretches of that size, with another process where it can have one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "SIZE_BYTES", size_bytes)
        patch.setattr(resume, "_VERIFIED_BYTES", size_bytes)
        patch.setattr(resume, "_LONG", 1 if size_bytes < 1_000_000 else 1_000_000)
        found = Resume(folder.index, folder.root, **options)
    return bytes(found._states), found.notices


OPTIONS = pytest.mark.parametrize("options", [{}, {"verify": True}, {"sandbox": False}], ids=str)


@OPTIONS
@given(data=MANIFESTS, size_bytes=st.integers(20, 400), arrivals=st.lists(st.integers(0, 4)))
def test_it_makes_no_difference_which_stretches_are_read_elsewhere(shared, options, data, size_bytes, arrivals):
    (shared.root / "manifest.jsonl").write_bytes(data.replace(THIS.encode(), shared.hash.encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "ReadingProcess", SomeExtracts)
        patch.setattr(SomeExtracts, "arrivals", arrivals)
        assert found_in(shared, options, size_bytes) == found_in(shared, options, 1_000_000)


@OPTIONS
@given(data=MANIFESTS, size_bytes=st.integers(20, 400))
@settings(max_examples=15)
def test_nor_does_it_when_a_process_reads_them(shared, options, data, size_bytes):
    (shared.root / "manifest.jsonl").write_bytes(data.replace(THIS.encode(), shared.hash.encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_process.os, "set_blocking", lambda file, blocking: None)  # so that it is waited for
        assert found_in(shared, options, size_bytes) == found_in(shared, options, 1_000_000)


def test_a_reading_process_that_dies_leaves_nothing_undone(shared, monkeypatch):
    monkeypatch.setattr(reading_process.os, "set_blocking", lambda file, blocking: None)
    records = [shared.record(), shared.record("b", names=("b.webp",))] * 50
    lines = [json.dumps(record) for record in records]
    (shared.root / "manifest.jsonl").write_text("\n".join([*lines, "torn"]))
    extracted = []

    class Mortal(ReadingProcess):
        def extracts(self, *, above):
            found = super().extracts(above=above)
            extracted.extend(number for number, _ in found)
            if above == 3:
                self._process.kill()
            return found

    monkeypatch.setattr(resume, "ReadingProcess", Mortal)
    states, notices = found_in(shared, {}, 300)
    assert 8 <= len(extracted) <= 32
    assert list(states) == [DONE, DONE]
    assert "1 line without a record (line 101)" in notices[0]


def test_short_manifests_take_no_reading_process(shared, monkeypatch):
    monkeypatch.setattr(resume, "ReadingProcess", None)
    assert shared.resume(shared.record()).done == 1
    assert shared.resume(shared.record(), verify=True).done == 1
