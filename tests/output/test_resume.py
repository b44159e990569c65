"""What a folder holds, and what has to be made again."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import CORRUPT, failed, outcome

from venice_batch.errors import FolderError
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.model import Status
from venice_batch.output import resume
from venice_batch.output.manifest import NO_RECORD, RecordView
from venice_batch.output.resume import (
    CHANGED,
    DONE,
    LOST,
    PENDING,
    REJECTED,
    SANDBOX_ONLY,
    LatestRecords,
    Ownership,
    Resume,
)

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


def test_a_manifest_without_any_record_is_not_bought_anew(folder):
    with pytest.raises(FolderError, match=r"manifest\.jsonl: none of its 2 lines is a record; if it was overwritten"):
        folder.resume("id,status", "a,succeeded")
    with pytest.raises(FolderError, match=r"manifest\.jsonl: its only line is no record; if it was overwritten"):
        folder.resume({"jobs": 3})


def test_a_torn_first_record_is_passed_over(folder):
    (folder.root / "manifest.jsonl").write_bytes(b'{"schema":1,"run_')
    (notice,) = Resume(folder.index, folder.root).notices
    assert "passed over 1 line without a record (line 1)" in notice


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


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One folder for many manifests."""
    folder = Folder(tmp_path_factory.mktemp("shared"))
    yield folder
    folder.close()


def slowly(folder, data, *, verify=False, sandbox=True):
    """Each job's state and the number of corrupt lines, by reading record after record."""
    latest, corrupt = {}, 0
    for line in data.split(b"\n"):
        try:
            record = msgspec.json.decode(line, type=RecordView)
        except NO_RECORD:
            corrupt += bool(line.strip())
            continue
        latest[record.id] = record
    states = []
    for job_id in "ab":
        record = latest.get(job_id)
        if record is None:
            states.append(PENDING)
        elif record.request_hash != folder.hash:
            states.append(CHANGED)
        elif record.sandbox and not sandbox:
            states.append(SANDBOX_ONLY)
        elif record.status == "succeeded":
            found = [file for file in record.files if (folder.root / file.path).is_file()]
            same = [file for file in found if file.bytes == len(DATA) and (not verify or file.sha256 == SHA)]
            states.append(DONE if record.files and len(same) == len(record.files) else LOST)
        else:
            states.append(REJECTED if record.status == "rejected" else PENDING)
    return states, corrupt, bool(latest)


@pytest.mark.parametrize("options", [{}, {"verify": True}, {"sandbox": False}], ids=str)
@given(data=MANIFESTS)
def test_the_last_record_of_each_id_decides_whatever_stands_around_it(shared, options, data):
    data = data.replace(THIS.encode(), shared.hash.encode())
    (shared.root / "manifest.jsonl").write_bytes(data)
    states, corrupt, has_records = slowly(shared, data, **options)
    foreign = corrupt - (bool(data.rpartition(b"\n")[2].strip()) and not data.endswith(b"\n"))
    if foreign > 0 and not has_records:
        with pytest.raises(FolderError, match="if it was overwritten"):
            Resume(shared.index, shared.root, **options)
        return
    found = Resume(shared.index, shared.root, **options)
    assert list(found._states) == states
    assert any("without a record" in notice for notice in found.notices) is bool(corrupt)


def test_files_are_looked_at_only_where_the_state_depends_on_them(folder, monkeypatch):
    looked = []
    monkeypatch.setattr(resume, "have_sizes", lambda prefix, files: looked.append(files) or True)
    folder.resume(folder.record("another's"), folder.record(request_hash="0" * 32), folder.record("b", "rejected"))
    assert not looked
    folder.resume(folder.record())
    assert len(looked) == 1


def test_a_manifest_that_cannot_be_opened_is_an_error(folder):
    (folder.root / "manifest.jsonl").symlink_to("elsewhere.jsonl")
    (folder.root / "elsewhere.jsonl").write_text(json.dumps(folder.record()))
    with pytest.raises(FolderError):
        Resume(folder.index, folder.root)


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
            found = Resume(index, tmp_path, sandbox=sandbox)
            return [(place, one.status) for place, one in found.outcomes()]

        yield of


def test_the_last_record_of_an_id_counts(standing):
    assert standing(failed("a"), outcome("b"), outcome("a")) == [(1, Status.SUCCEEDED), (0, Status.SUCCEEDED)]


def test_records_of_other_jobs_and_other_requests_do_not_count(standing):
    assert standing(outcome("z"), outcome("a", request_hash="0" * 32), failed("c")) == [(2, Status.FAILED)]


def test_what_the_sandbox_made_counts_only_for_a_sandbox(standing):
    played = (outcome("a", sandbox=True), failed("b", sandbox=True))
    assert standing(*played) == []
    assert standing(*played, sandbox=True) == [(0, Status.SUCCEEDED), (1, Status.FAILED)]


def test_an_image_that_is_gone_does_not_count(standing, tmp_path):
    (tmp_path / "images" / "a.webp").unlink()
    assert standing(outcome("a"), failed("b", status=Status.REJECTED)) == [(1, Status.REJECTED)]


def test_records_has_those_that_count_for_no_job_too(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "m", "prompt": "p"}\n')
    with open_source(tmp_path / "jobs.jsonl") as source:
        index = JobIndex.build(source)
        right = next(index.jobs_in_order()).request_hash
        made = (failed("z"), failed("a"), failed("a", request_hash=right), failed("z"))
        (tmp_path / "manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in made))
        found = Resume(index, tmp_path, sandbox=False, keep_all=True).records()
        assert [(place, one.id) for place, one in found] == [(0, "a"), (None, "z")]


def test_outcomes_that_a_later_reader_cannot_read_whole_are_passed_over(folder):
    assert list(folder.resume(folder.record()).outcomes()) == []  # a record of four fields is enough to resume by


def write(path, *records):
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else msgspec.json.encode(line) + b"\n" for line in records)
    )
    return path


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_each_id_comes_once_with_its_last_record(tmp_path_factory, ids):
    records = [outcome(job_id, total_s=float(number)) for number, job_id in enumerate(ids)]
    latest = LatestRecords(write(tmp_path_factory.mktemp("m") / "m", *records))
    expected = sorted({record.id: record for record in records}.values(), key=lambda record: record.timing.total_s)
    assert list(latest) == expected
    assert len(latest) == len(expected)


def test_a_line_that_is_no_record_replaces_nothing(tmp_path):
    latest = LatestRecords(write(tmp_path / "m", failed("a"), b"\n", b'{"id": "a"}\n', b"\xff\n", b'{"id": "a", "sta'))
    assert list(latest) == [failed("a")]


def test_it_reads_again_each_time_and_leaves_out_what_has_come_since(tmp_path):
    path = write(tmp_path / "m", outcome("a"))
    latest = LatestRecords(path)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(failed("a")) + b"\n")
    assert list(latest) == list(latest) == [outcome("a")]


def test_each_record_comes_with_its_line(tmp_path):
    latest = LatestRecords(write(tmp_path / "m", outcome("a"), b"\n", outcome("b"), failed("a")))
    assert list(latest.numbered()) == [(3, outcome("b")), (4, failed("a"))]


def test_a_manifest_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FolderError):
        LatestRecords(tmp_path)


def test_pruned_images_count_as_made_wherever_they_are(folder):
    def record(job_id, names, pruned):
        made = folder.record(job_id, names=names)
        for file, how in zip(made["files"], pruned, strict=True):
            file |= {"pruned": how} if how else {}
        return made

    gone = ("gone.webp", "gone-2.webp")
    assert done(
        folder.resume(record("a", gone, ("deleted", "moved")), record("b", ("b.webp", *gone[:1]), ("", "moved")))
    )
    found = folder.resume(record("a", gone, ("deleted", "")), record("b", ("b.webp", "gone.webp"), ("moved", "moved")))
    assert done(found) == [False, True]
    assert done(folder.resume(record("a", gone, ("deleted", "moved")), verify=True)) == [True, False]
