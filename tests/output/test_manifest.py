"""The journal: whole lines or none, whatever stops the writing."""

import errno
import os
import shutil
import threading

import anyio
import anyio.lowlevel
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import CORRUPT, failed, outcome, read_outcomes

from venice_batch.errors import ExitCode, FolderError
from venice_batch.model import Outcome
from venice_batch.output import manifest
from venice_batch.output.disk import Disk
from venice_batch.output.manifest import FileView, Manifest, RecordView, read_views, views

WHOLE = msgspec.json.encode(outcome("whole")) + b"\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / manifest.NAME


@pytest.fixture
def journal(path):
    opened = Manifest(path)
    assert opened.open() is None
    yield opened
    opened.close()


class FakeDisk:
    """Stands in for `os.write` in the module under test."""

    def __init__(self, monkeypatch, room, error=errno.ENOSPC):
        self.room = room
        self.error = error
        self.calls = 0
        self.really = os.write
        monkeypatch.setattr(manifest.os, "write", self)

    def __call__(self, file, data):
        self.calls += 1
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        written = self.really(file, data[: self.room])
        self.room -= written
        return written


async def append_all(journal, outcomes):
    """The errors of appending all of them at once, in their order."""
    errors = [None] * len(outcomes)

    async def one(number, record):
        try:
            await journal.append(record)
        except FolderError as error:
            errors[number] = error

    async with anyio.create_task_group() as tasks:
        for number, record in enumerate(outcomes):
            tasks.start_soon(one, number, record)
    return errors


async def test_a_record_is_one_line_that_reads_as_it_was(journal, path):
    record = outcome("ä\n\x1b", metadata={"k": [1, None]})
    await journal.append(record)
    assert path.read_bytes().count(b"\n") == 1
    assert list(read_outcomes(path)) == [record]
    (line,) = read_views(path)
    assert (line[0], line[1].id, line[1].files[0].path) == (1, record.id, "images/a.webp")


async def test_an_appended_record_is_in_the_file_when_append_returns(journal, path):
    for number in range(3):
        await journal.append(outcome(str(number)))
        assert len(path.read_bytes().splitlines()) == number + 1


async def test_many_tasks_at_once_give_whole_lines_in_one_file(journal, path):
    outcomes = [outcome(f"job-{number}", metadata={"x": "y" * (number % 50)}) for number in range(300)]
    assert await append_all(journal, outcomes) == [None] * 300
    assert list(read_outcomes(path)) == outcomes


async def test_a_record_is_one_write(journal, monkeypatch):
    disk = FakeDisk(monkeypatch, room=10**9)
    await append_all(journal, [outcome(str(number)) for number in range(7)])
    assert disk.calls == 7


@pytest.mark.parametrize("durable", [False, True])
async def test_only_a_durable_journal_is_synced_and_once_for_all_who_wait(path, monkeypatch, durable):
    journal = Manifest(path, durable=durable)
    journal.open()
    synced = []
    monkeypatch.setattr(manifest.os, "fsync", synced.append)
    await append_all(journal, [outcome(str(number)) for number in range(50)])
    journal.close()
    assert (1 <= len(synced) <= 3) if durable else not synced


async def test_a_full_disk_fails_all_who_wait_and_leaves_what_was_there(journal, path, monkeypatch):
    await journal.append(outcome("before"))
    before = path.read_bytes()
    FakeDisk(monkeypatch, room=0)
    errors = await append_all(journal, [outcome(str(number)) for number in range(20)])
    assert all(error is not None and "disk is full" in error.reason for error in errors)
    assert errors[0].exit_code is ExitCode.FOLDER_UNUSABLE
    assert path.read_bytes() == before


@pytest.mark.parametrize("room", [1, 100, len(msgspec.json.encode(outcome("0")))])
async def test_a_disk_that_takes_part_of_a_record_is_left_without_that_part(journal, path, monkeypatch, room):
    await journal.append(outcome("before"))
    before = path.read_bytes()
    FakeDisk(monkeypatch, room)
    with pytest.raises(FolderError, match="disk is full"):
        await journal.append(outcome("0"))
    assert path.read_bytes() == before


async def test_records_before_the_one_that_does_not_fit_stay_whole(journal, path, monkeypatch):
    line = len(msgspec.json.encode(outcome("0"))) + 1
    FakeDisk(monkeypatch, room=line * 3 + line // 2)
    errors = await append_all(journal, [outcome(str(number)) for number in range(8)])
    assert [bool(error) for error in errors] == [False] * 3 + [True] * 5
    assert path.read_bytes().endswith(b"\n")
    assert [record.id for record in read_outcomes(path)] == ["0", "1", "2"]


async def test_a_write_that_takes_less_at_a_time_is_carried_on(journal, path, monkeypatch):
    really = os.write
    monkeypatch.setattr(manifest.os, "write", lambda file, data: really(file, data[:100]))
    await journal.append(outcome("a"))
    assert list(read_outcomes(path)) == [outcome("a")]


async def test_a_failure_is_the_failing_records_alone(journal, path, monkeypatch):
    disk = FakeDisk(monkeypatch, room=0, error=errno.EIO)
    with pytest.raises(FolderError):
        await journal.append(outcome("a"))
    disk.room = 10**9
    await journal.append(outcome("b"))
    assert [record.id for record in read_outcomes(path)] == ["b"]


def ids(path):
    return [record.id for record in read_outcomes(path)]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("harm", ["moved", "removed"])
async def test_a_journal_that_is_moved_or_removed_is_written_anew_whole_and_that_is_told(path, durable, harm):
    journal = Manifest(path, durable=durable)
    journal.open()
    told = []
    journal.on_moved = told.append
    await journal.append(outcome("a"))
    assert journal.moved is None
    path.rename(path.with_name("manifest.jsonl.1")) if harm == "moved" else path.unlink()
    await append_all(journal, [outcome("b"), outcome("c")])
    await journal.append(outcome("d"))
    journal.close()
    assert ids(path) == ["a", "b", "c", "d"]
    assert "moved or removed during the run; it was written anew, whole" in str(journal.moved)
    assert set(told) == {journal.moved}
    assert journal.moved.exit_code is ExitCode.FOLDER_UNUSABLE
    rest = ["manifest.jsonl.1"] if harm == "moved" else []
    assert sorted(os.listdir(path.parent)) == ["manifest.jsonl", *rest]


async def test_a_journal_that_is_replaced_has_its_records_beside_the_other(journal, path):
    await journal.append(outcome("a"))
    path.rename(path.with_name("old"))
    path.write_bytes(b"somebody else's\n")
    for job_id in ("b", "c"):
        await journal.append(outcome(job_id))
    (beside,) = path.parent.glob("manifest-*.jsonl")
    assert ids(beside) == ["a", "b", "c"]
    assert f"records are in {beside.name}; append that to it" in str(journal.moved)
    assert path.read_bytes() == b"somebody else's\n"


@pytest.mark.parametrize("times", [1, 2])
async def test_moved_after_the_last_record_or_twice_it_is_there_in_the_end(journal, path, times):
    for number in range(times):
        await journal.append(outcome(f"a{number}"))
        path.rename(path.with_name(f"old-{number}"))
    journal.close()
    assert ids(path) == [f"a{number}" for number in range(times)]
    assert journal.moved is not None


async def test_moved_with_its_folder_a_journal_is_gone_on_with_where_it_is(tmp_path):
    (tmp_path / "out").mkdir()
    journal = Manifest(tmp_path / "out" / manifest.NAME)
    journal.open()
    (tmp_path / "out").rename(tmp_path / "other")
    await journal.append(outcome("a"))
    await journal.append(outcome("b"))
    journal.close()
    assert ids(tmp_path / "other" / manifest.NAME) == ["a", "b"]
    assert "all records are where it is now" in str(journal.moved)


async def test_a_journal_that_vanished_with_its_folder_is_noticed(tmp_path):
    (tmp_path / "out").mkdir()
    journal = Manifest(tmp_path / "out" / manifest.NAME)
    journal.open()
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(FolderError, match="vanished"):
        await journal.append(outcome("a"))
    journal.close()


async def test_a_copy_that_finds_no_room_leaves_nothing_and_the_records_where_they_are(journal, path, monkeypatch):
    await journal.append(outcome("a"))
    path.rename(path.with_name("old"))
    disk = FakeDisk(monkeypatch, room=5)
    with pytest.raises(FolderError, match="disk is full"):
        await journal.append(outcome("b"))
    disk.room = 10**9
    await journal.append(outcome("c"))
    assert ids(path.with_name("old")) == ["a", "c"]
    assert os.listdir(path.parent) == ["old"]


async def test_where_files_are_numbered_anew_each_time_a_journal_minds_its_place_no_more(path, monkeypatch):
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    journal = Manifest(path)
    journal.open()
    await journal.append(outcome("a"))
    journal.close()
    assert journal.moved is None
    assert ids(path) == ["a"]


async def test_nobody_waits_for_a_journal_whose_disk_does_not_answer(path, monkeypatch):
    holding, going = threading.Event(), threading.Event()
    really = os.write

    def stall(file, data):
        holding.set()
        assert going.wait(10)
        return really(file, data)

    disk = Disk()
    journal = Manifest(path, disk=disk)
    journal.open()
    monkeypatch.setattr(manifest.os, "write", stall)
    errors = []

    async def append(job_id):
        with pytest.raises(FolderError, match="the disk does not answer") as caught:
            await journal.append(outcome(job_id))
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(append, "a")
        while not holding.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(append, "b")
        await anyio.lowlevel.checkpoint()
        disk.abandon()
    await append("c")
    assert len(errors) == 3
    journal.close()
    going.set()


async def test_a_failing_sync_fails_the_append(path, monkeypatch):
    journal = Manifest(path, durable=True)
    journal.open()

    def fail(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(manifest.os, "fsync", fail)
    with pytest.raises(FolderError, match="Input/output"):
        await journal.append(outcome("a"))
    journal.close()


async def test_a_cancelled_waiter_leaves_its_record_whole_and_the_others_theirs(path, monkeypatch):
    holding, going = threading.Event(), threading.Event()
    really = Manifest._write

    def slowly(self, entries):
        holding.set()
        assert going.wait(10)
        really(self, entries)

    monkeypatch.setattr(Manifest, "_write", slowly)
    journal = Manifest(path)
    journal.open()
    ended = []

    async def one(name, scope):
        with scope:
            await journal.append(outcome(name))
            ended.append(name)

    scopes = [anyio.CancelScope() for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for number, scope in enumerate(scopes):
            tasks.start_soon(one, str(number), scope)
        while not holding.is_set():
            await anyio.lowlevel.checkpoint()
        scopes[0].cancel()  # its record is being written
        scopes[2].cancel()  # its record waits
        going.set()
    journal.close()
    assert [record.id for record in read_outcomes(path)] == ["0", "1", "2", "3"]
    assert {"1", "3"} <= set(ended)


async def test_text_that_is_no_unicode_does_not_stop_a_record(journal, path):
    await journal.append(failed("a", message="moved to \udcff"))
    (record,) = read_outcomes(path)
    assert record.error.message == "moved to ?"
    assert msgspec.structs.replace(record, error=None) == msgspec.structs.replace(failed("a"), error=None)


@pytest.mark.parametrize(
    "torn",
    [WHOLE[:-2], WHOLE[:1], WHOLE[: len(WHOLE) // 2], b"\0" * 5000, b"{" + b"x" * 200_000, b'{"x":' + b"[" * 99_999],
)
@pytest.mark.parametrize("before", [b"", WHOLE])
def test_a_torn_last_line_is_cut_off_and_said(path, before, torn):
    path.write_bytes(before + torn)
    journal = Manifest(path)
    said = journal.open()
    journal.close()
    assert path.read_bytes() == before
    assert f"torn last line of {len(torn)} bytes" in said


def test_a_last_line_that_is_no_part_of_a_record_is_somebody_elses_and_stays(path):
    path.write_bytes(WHOLE + b"important")
    journal = Manifest(path)
    said = journal.open()
    journal.close()
    assert path.read_bytes() == WHOLE + b"important\n"
    assert "last line of 9 bytes is no part of a record" in said


def test_a_last_line_that_lacks_only_its_line_feed_is_completed_and_said(path):
    path.write_bytes(WHOLE + WHOLE[:-1])
    journal = Manifest(path)
    said = journal.open()
    journal.close()
    assert path.read_bytes() == WHOLE * 2
    assert "completed" in said


@given(st.integers(0, len(WHOLE) * 2))
def test_a_journal_cut_at_any_byte_is_whole_again_and_loses_no_whole_record(tmp_path_factory, end):
    path = tmp_path_factory.mktemp("cut") / manifest.NAME
    path.write_bytes((WHOLE * 2)[:end])
    journal = Manifest(path)
    journal.open()
    journal.close()
    assert path.read_bytes() == WHOLE * ((end + 1) // len(WHOLE))
    assert Manifest(path).open() is None


async def test_appending_goes_on_after_a_repair(path):
    path.write_bytes(WHOLE + b'{"id": "torn')
    journal = Manifest(path)
    journal.open()
    await journal.append(outcome("next"))
    journal.close()
    assert [record.id for record in read_outcomes(path)] == ["whole", "next"]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to("/dev/null"),
        lambda path: path.symlink_to(path.with_name("target")),
    ],
)
def test_what_is_no_plain_file_is_neither_followed_nor_taken_for_a_journal(path, make):
    make(path)
    with pytest.raises(FolderError, match="is not a plain file"):
        Manifest(path).open()
    assert not path.with_name("target").exists()


def test_a_journal_that_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(FolderError, match="vanished"):
        Manifest(tmp_path / "missing" / manifest.NAME).open()


def test_a_durable_journal_is_known_to_its_folder_on_the_disk(path, monkeypatch):
    synced = []
    monkeypatch.setattr(manifest, "sync_folder", synced.append)
    for durable in (False, True):
        journal = Manifest(path, durable=durable)
        journal.open()
        journal.close()
    assert synced == [path.parent]


def test_a_repair_that_fails_leaves_no_file_open(path, monkeypatch):
    path.write_bytes(WHOLE[:-9])

    def fail(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(manifest.os, "ftruncate", fail)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FolderError, match="cannot write here"):
        Manifest(path).open()
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_does_no_harm(path):
    journal = Manifest(path)
    journal.open()
    journal.close()
    journal.close()


def test_lines_that_are_no_records_are_passed_over(path):
    path.write_bytes(WHOLE + b"\n  \n" + b"\n".join((*CORRUPT, WHOLE[:-5])) + b"\n" + WHOLE)
    assert [record.id for record in read_outcomes(path)] == ["whole", "whole"]


def test_fields_of_the_future_do_no_harm(path):
    path.write_bytes(orjson.dumps({**orjson.loads(WHOLE), "schema": 9, "new": {"x": [1]}}) + b"\n")
    assert [found.id for found in read_outcomes(path)] == ["whole"]


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_read_as_records_or_are_passed_over(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("any") / manifest.NAME
    path.write_bytes(b"\n".join(lines))
    assert all(isinstance(record, Outcome) for record in read_outcomes(path))


def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FolderError, match="is a folder"):
        list(read_outcomes(tmp_path))


def test_outcomes_need_a_manifest(path):
    with pytest.raises(FolderError):
        list(read_outcomes(path))


RECORD = WHOLE.rstrip()


def test_of_a_record_is_read_what_a_resume_needs():
    file = FileView("images/a.webp", 5, "0" * 64)
    assert list(views([RECORD])) == [(1, RecordView("whole", "f" * 32, "succeeded", (file,)))]


def test_a_record_needs_no_more_than_that():
    line = b'{"id":"a","request_hash":"b","status":"succeeded"}\n'
    assert list(views([line])) == [(1, RecordView("a", "b", "succeeded"))]


def test_fields_of_the_future_do_a_view_no_harm():
    line = orjson.dumps({**orjson.loads(RECORD), "schema": 9, "new": {"x": [1]}})
    ((_, record),) = views([line])
    assert record.id == "whole"


def test_lines_without_a_record_keep_their_number_and_blank_ones_only_count():
    found = list(views([RECORD, b"\n", b"  \r\n", *CORRUPT, RECORD], 10))
    assert [number for number, record in found if record is None] == list(range(13, 13 + len(CORRUPT)))
    assert [number for number, record in found if record is not None] == [10, 13 + len(CORRUPT)]


@given(st.lists(st.binary(max_size=60)))
def test_any_line_but_a_blank_one_is_a_record_or_none(lines):
    assert [number for number, _ in views(lines)] == [at for at, line in enumerate(lines, 1) if line.strip()]
