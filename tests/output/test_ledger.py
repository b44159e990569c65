import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import msgspec
import pytest

from venice_batch import portable
from venice_batch.errors import FolderError
from venice_batch.output import ledger as module
from venice_batch.output.ledger import Entry, Ledger, day_of, may_be_settled, moment, read_books, unix_s

NOW = 1_800_000_000.0
TODAY = day_of(NOW)


def reserved(number=1, micro_usd=10_000, *, run_id="a", at=NOW, **changes):
    entry = Entry(moment(at), "reserved", run_id, number, micro_usd, ends=moment(at + 360))
    return msgspec.structs.replace(entry, **changes)


def settled(number=1, micro_usd=10_000, *, run_id="a"):
    return Entry(moment(NOW), "settled", run_id, number, micro_usd)


def write(path, *entries, end=b""):
    path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries) + end)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "budget.jsonl"


@pytest.fixture
def opened(path):
    """Open the file in the name of a run: `opened("a")`."""
    found = []

    def open_(run_id="a", **options):
        ledger = Ledger(path, run_id=run_id, wall=lambda: NOW, **options)
        found.append(ledger)
        ledger.open()
        return ledger

    yield open_
    for ledger in found:
        ledger.close()


def committed(ledger, *, sandbox=False):
    amounts = []
    ledger.update(lambda books: amounts.append(books.committed(TODAY, sandbox=sandbox)) or ())
    return amounts[0]


def append(ledger, *entries):
    ledger.update(lambda books: entries)


def test_a_moment_is_written_in_utc_and_read_back():
    assert moment(NOW + 0.25) == "2027-01-15T08:00:00.250Z"
    assert unix_s("2027-01-15T08:00:00.250Z") == NOW + 0.25
    assert unix_s("2027-01-15T09:00:00+01:00") == unix_s("2027-01-15T08:00:00") == NOW


def test_a_missing_file_is_made_and_reported_as_new(path):
    ledger = Ledger(path, run_id="a")
    assert ledger.open()
    ledger.close()
    assert not ledger.open()
    ledger.close()
    ledger.close()
    assert path.read_bytes() == b""


def test_what_one_run_appends_another_reads(opened):
    one, other = opened("a"), opened("b")
    append(one, reserved(1), reserved(2))
    append(other, reserved(1, 500, run_id="b"))
    append(one, settled(1, 4_000))
    assert committed(one) == committed(other) == 14_500


def test_a_reservation_counts_on_its_day_and_sandbox_money_apart(opened):
    ledger = opened()
    append(ledger, reserved(1, at=NOW - 86_400), reserved(2, 700, sandbox=True), reserved(3, 30))
    append(ledger, settled(1, 4_000), settled(2, 600), settled(3, 0))
    books = read_books(ledger.path, now_unix_s=NOW)
    assert books.days == {(False, TODAY - 1): 4_000, (True, TODAY): 600, (False, TODAY): 0}
    assert not books.open


def test_a_settlement_without_its_reservation_changes_nothing(path):
    write(path, settled(7))
    assert read_books(path, now_unix_s=NOW).days == {}


def test_without_a_file_nothing_was_spent(path):
    assert read_books(path, now_unix_s=NOW).days == {}


@pytest.mark.parametrize("torn", [b'{"at":"2027', b"{", b"\0\0\0"])
def test_a_torn_last_line_is_cut_off_by_the_next_run_and_ignored_by_readers(path, opened, torn):
    write(path, reserved(), end=torn)
    assert read_books(path, now_unix_s=NOW).committed(TODAY, sandbox=False) == 10_000
    ledger = opened("b")
    append(ledger, settled(1, 0))
    assert [json.loads(line)["entry"] for line in path.read_bytes().splitlines()] == ["reserved", "settled"]


def test_a_whole_last_line_without_its_line_feed_is_completed(path, opened):
    write(path, reserved(), end=msgspec.json.encode(settled(1, 7)))
    assert committed(opened("b")) == 7
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b"[]", b'{"at": 1}', b"\0\0", b"[" * 100_000,
        msgspec.json.encode(reserved(at=NOW)).replace(b"2027", b"yyyy"),
        msgspec.json.encode(reserved(ends="soon")),
        msgspec.json.encode(reserved(micro_usd=-1)),
    ],
    ids=lambda line: line[:12],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_an_error_that_names_it(path, line):
    path.write_bytes(msgspec.json.encode(reserved()) + b"\n\n" + line + b"\n")
    with pytest.raises(FolderError, match=r"budget.jsonl: line 3 is no entry of a budget file \(.*\); correct it, or"):
        read_books(path, now_unix_s=NOW)
    with pytest.raises(FolderError, match="line 3"):
        Ledger(path, run_id="a").open()


@pytest.mark.parametrize("content", [b"my notes", b'{"name": "a"}', b'{"at": 1}', b"\0\0", b"["])
def test_a_foreign_file_is_refused_and_stays_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(FolderError, match="line 1 is no entry"):
        Ledger(path, run_id="a").open()
    assert path.read_bytes() == content


def test_entries_too_old_for_any_window_are_passed_over(path, monkeypatch):
    monkeypatch.setattr(module, "_READ_BYTES", 4096)
    days = [reserved(day, 1, at=NOW - (300 - day) * 86_400) for day in range(301)]
    write(path, *days)
    read = read_books(path, now_unix_s=NOW)
    assert 32 < len(read.days) < 80
    assert read.committed(TODAY - 31, sandbox=False) == 32


@pytest.mark.parametrize("middle", [b"x" * 9000 + b"\n", b"no entry\n" * 1000])
def test_a_file_whose_middle_is_no_entry_is_read_from_its_beginning(path, monkeypatch, middle):
    monkeypatch.setattr(module, "_READ_BYTES", 4096)
    write(path, reserved(), end=middle)
    with pytest.raises(FolderError, match="line 2"):
        read_books(path, now_unix_s=NOW + 100 * 86_400)


def test_the_file_is_locked_while_an_entry_is_decided_and_free_afterwards(path, opened):
    ledger = opened()
    with path.open("rb") as other:

        def decide(books):
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return ()

        ledger.update(decide)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_another_process_keeps_is_waited_for_and_then_given_up(path, opened):
    waited = []
    ledger = opened(sleep=waited.append)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FolderError, match="another process has kept it locked for 60 s"):
            append(ledger, reserved())
    assert sum(waited) == pytest.approx(60, abs=0.1)
    append(ledger, reserved())
    assert committed(ledger) == 10_000


@pytest.mark.parametrize("harm", ["removed", "replaced", "cut"])
def test_a_file_that_is_not_the_same_any_more_is_an_error(path, opened, harm):
    ledger = opened()
    append(ledger, reserved())
    if harm == "cut":
        os.truncate(path, 3)
    else:
        path.rename(path.with_name("moved"))
        if harm == "replaced":
            path.write_bytes(b"")
    with pytest.raises(FolderError, match=r"during the run; put .*, then run again"):
        append(ledger, reserved(2))


def test_a_write_that_fails_leaves_nothing_behind(path, opened, monkeypatch):
    ledger = opened()
    append(ledger, reserved())
    before = path.read_bytes()

    def full(file, data, write=os.write):
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:-20])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(FolderError, match="the budget file cannot be used: No space left on device"):
        append(ledger, reserved(2))
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert committed(ledger) == 10_000


def test_entries_reach_the_disk_if_asked(opened, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    append(opened("a"), reserved())
    assert not synced
    append(opened("b", durable=True), reserved(run_id="b"))
    assert len(synced) == 1


def test_a_file_that_shrinks_while_it_is_read_ends_there(path, monkeypatch):
    write(path, reserved(), reserved(2))
    monkeypatch.setattr(portable, "pread", lambda file, size, position: b"")
    assert read_books(path, now_unix_s=NOW).days == {}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOLCK, "has no locks"),
        (errno.EACCES, "cannot be used: "),
        (errno.ENOENT, "its folder does not exist; is --budget-file right?"),
    ],
)
def test_a_file_that_cannot_be_locked_or_opened_is_told_in_a_sentence(path, monkeypatch, code, told):
    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(portable, "open_file" if code != errno.ENOLCK else "lock", refuse)
    with pytest.raises(FolderError, match=told) as refused:
        Ledger(path, run_id="a").open()
    assert str(refused.value).startswith(f"{path}: ")


def test_a_reader_says_why_it_cannot_read(path, monkeypatch):
    path.mkdir()
    with pytest.raises(FolderError, match="is not a plain file"):
        read_books(path, now_unix_s=NOW)
    path.rmdir()
    write(path, reserved())

    def broken(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(portable, "pread", broken)
    with pytest.raises(FolderError, match="Input/output error"):
        read_books(path, now_unix_s=NOW)


def test_a_link_is_followed_and_a_pipe_is_refused(tmp_path, path, opened):
    (tmp_path / "real.jsonl").write_bytes(b"")
    path.symlink_to("real.jsonl")
    append(opened(), reserved())
    assert (tmp_path / "real.jsonl").stat().st_size
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FolderError, match="is not a plain file"):
        Ledger(tmp_path / "pipe", run_id="a").open()


def test_a_reservation_may_be_settled_while_its_run_may_live_and_its_time_is_not_over(opened):
    host = socket.gethostname()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()

    def may(process, run_id="x", now=NOW):
        return may_be_settled(reserved(run_id=run_id, process=process), now)

    assert may("elsewhere:1")
    assert not may("elsewhere:1", now=NOW + 361)
    assert may(f"{host}:{os.getppid()}")
    assert not may(f"{host}:{dead.pid}")
    assert may(f"{host}:no number")
    assert not may(module.this_process())
    opened("x")
    assert may(module.this_process())
    assert not may_be_settled(reserved(process="elsewhere:1", ends=""), NOW + 1)
