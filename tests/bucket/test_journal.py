"""The journal of a bucket: a record that was written is read back, whatever fails meanwhile."""

import io
import random

import pytest
from faulty_store import FaultyStore, Time, bucket_on

from venice_batch.bucket import journal
from venice_batch.bucket.journal import Journal, Segment, segment_of, segments, uncovered
from venice_batch.bucket.lease import Contender
from venice_batch.errors import BucketError


def line(number):
    return b'{"id":"%d"}\n' % number


def names(bucket):
    return [segment.path.removeprefix("journal/") for segment in segments(bucket)]


def read(bucket):
    return list(journal.read(bucket))


def segment(first, last, run="000001-a"):
    return Segment(int(run[:6]), run, first, last, f"journal/{run}/{first}-{last}", 1)


def test_names_say_run_and_numbers_and_other_files_are_left_alone():
    assert segment_of("journal/000007-run/00000012.jsonl", 5) == Segment(
        7, "000007-run", 12, 12, "journal/000007-run/00000012.jsonl", 5
    )
    assert segment_of("journal/000007-run/00000001-00000256.jsonl", 5).last == 256
    for path in ("journal/readme.md", "journal/000007-run/x.jsonl", "journal/run/1.jsonl", "images/1.jsonl"):
        assert segment_of(path, 5) is None


def test_segments_that_a_compaction_covers_are_left_out():
    parts = [segment(1, 1), segment(2, 2), segment(1, 2), segment(3, 3), segment(1, 1, "000002-b"), segment(2, 2)]
    assert uncovered(parts) == [segment(1, 2), segment(3, 3), segment(1, 1, "000002-b")]
    overlapping = [segment(1, 100), segment(50, 120), segment(60, 90), segment(120, 121)]
    assert uncovered(overlapping) == [segment(1, 100), segment(50, 120), segment(120, 121)]


def test_records_are_read_in_the_order_of_runs_and_of_their_writes():
    bucket = bucket_on(FaultyStore())
    assert read(bucket) == []
    Journal(bucket, "z").write(line(1) + line(2))
    second = Journal(bucket, "a")
    second.write(line(3))
    second.write(line(4))
    assert names(bucket) == ["000001-z/00000001.jsonl", "000002-a/00000001.jsonl", "000002-a/00000002.jsonl"]
    assert read(bucket) == [line(number) for number in range(1, 5)]


def test_a_run_id_becomes_part_of_a_safe_name():
    bucket = bucket_on(FaultyStore())
    Journal(bucket, "a/b ü").write(line(1))
    assert names(bucket) == ["000001-a_b__/00000001.jsonl"]


def test_many_segments_are_joined_while_the_run_goes_on():
    store = FaultyStore()
    bucket = bucket_on(store)
    log = Journal(bucket, "a")
    for number in range(600):
        log.write(line(number))
    assert names(bucket)[:2] == ["000001-a/00000001-00000256.jsonl", "000001-a/00000257-00000512.jsonl"]
    assert len(names(bucket)) == 2 + 600 - 512
    assert read(bucket) == [line(number) for number in range(600)]
    log.compact()
    assert names(bucket) == ["000001-a/00000001-00000600.jsonl"]
    assert read(bucket) == [line(number) for number in range(600)]


def test_large_segments_are_joined_sooner_and_one_alone_stays(monkeypatch):
    monkeypatch.setattr(journal, "COMPACTED_BYTES", 3 * len(line(0)))
    bucket = bucket_on(FaultyStore())
    log = Journal(bucket, "a")
    for number in range(3):
        log.write(line(number))
    log.write(b"".join(map(line, range(3, 9))))
    assert names(bucket) == ["000001-a/00000001-00000003.jsonl", "000001-a/00000004.jsonl"]
    assert read(bucket) == [line(number) for number in range(9)]


def test_a_failed_write_is_reported_and_its_number_never_used_again():
    store = FaultyStore()
    bucket = bucket_on(store)
    log = Journal(bucket, "a")
    log.write(line(1))
    store.fail("put", "503!")
    with pytest.raises(BucketError):
        log.write(line(2))
    store.fail("put")
    log.write(line(3))
    assert read(bucket) == [line(1), line(3)]
    bucket.put("journal/000001-a/00000002.jsonl", line(2))  # arrives late
    assert read(bucket) == [line(1), line(2), line(3)]


def test_a_compaction_from_memory_never_covers_a_write_that_failed(monkeypatch):
    monkeypatch.setattr(journal, "COMPACTED_SEGMENTS", 3)
    store = FaultyStore()
    bucket = bucket_on(store)
    log = Journal(bucket, "a")
    log.write(line(1))
    store.fail("put", "400")
    with pytest.raises(BucketError):
        log.write(line(2))
    for number in (3, 4, 5):
        log.write(line(number))
    assert names(bucket) == ["000001-a/00000001.jsonl", "000001-a/00000003-00000005.jsonl"]
    bucket.put("journal/000001-a/00000002.jsonl", line(2))
    log.compact()
    assert read(bucket) == [line(number) for number in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("method", ["put", "delete"])
def test_a_compaction_that_fails_during_the_run_is_no_failure_to_write(monkeypatch, method):
    monkeypatch.setattr(journal, "COMPACTED_SEGMENTS", 3)
    store = FaultyStore()
    bucket = bucket_on(store)
    log = Journal(bucket, "a")
    log.write(line(1))
    log.write(line(2))
    store.fail(method, *(["ok"] if method == "put" else []), "400!")
    log.write(line(3))
    assert read(bucket) == [line(1), line(2), line(3)]
    store.fail(method)
    log.write(line(4))
    log.compact()
    assert names(bucket) == ["000001-a/00000001-00000004.jsonl"]
    assert read(bucket) == [line(number) for number in (1, 2, 3, 4)]


def test_a_compaction_that_ends_between_writing_and_deleting_loses_and_repeats_nothing():
    store = FaultyStore()
    bucket = bucket_on(store)
    log = Journal(bucket, "a")
    for number in range(5):
        log.write(line(number))
    store.fail("delete", "403!")
    with pytest.raises(BucketError):
        log.compact()
    assert len(names(bucket)) == 6
    assert read(bucket) == [line(number) for number in range(5)]
    store.fail("delete")
    log.compact()
    assert names(bucket) == ["000001-a/00000001-00000005.jsonl"]


def test_the_segments_of_killed_runs_are_joined_too_each_run_for_itself():
    bucket = bucket_on(FaultyStore())
    killed = Journal(bucket, "killed")
    killed.write(line(1))
    killed.write(line(2))
    log = Journal(bucket, "b")
    log.write(line(3))
    log.compact()
    assert names(bucket) == ["000001-killed/00000001-00000002.jsonl", "000002-b/00000001.jsonl"]
    assert read(bucket) == [line(1), line(2), line(3)]


def test_a_reader_lists_anew_when_a_compaction_removes_what_it_reads(monkeypatch):
    store = FaultyStore()
    bucket = bucket_on(store)
    log = Journal(bucket, "a")
    for number in range(5):
        log.write(line(number))
    listed = journal.segments
    calls = []

    def then_compact(bucket):
        found = listed(bucket)
        calls.append(1)
        if len(calls) == 1:
            Journal(bucket, "b").compact()
        return found

    monkeypatch.setattr(journal, "segments", then_compact)
    assert read(bucket) == [line(number) for number in range(5)]
    assert len(calls) == 3


def test_a_journal_that_never_stands_still_is_given_up(monkeypatch):
    bucket = bucket_on(FaultyStore())
    gone = [segment(1, 1), segment(2, 2)]
    monkeypatch.setattr(journal, "segments", lambda bucket: gone)
    with pytest.raises(BucketError, match="changes while it is read"):
        journal.copy(bucket, io.BytesIO())
    Journal(bucket, "a").compact()  # whoever has removed them joins them


def test_many_and_large_segments_are_read_in_order(monkeypatch):
    monkeypatch.setattr(journal, "_LARGE_BYTES", 40)
    bucket = bucket_on(FaultyStore())
    log = Journal(bucket, "a")
    expected = []
    for number in range(200):
        lines = line(number) * (9 if number % 50 == 0 else 1)
        log.write(lines)
        expected += lines.splitlines(keepends=True)
    assert read(bucket) == expected
    target = io.BytesIO(b"")
    target.write(b"before")
    assert journal.copy(bucket, target) == sum(map(len, expected))
    assert target.getvalue() == b"before" + b"".join(expected)


def test_a_segment_that_is_gone_while_a_large_one_is_read_starts_the_reading_anew(monkeypatch):
    monkeypatch.setattr(journal, "_LARGE_BYTES", 0)
    bucket = bucket_on(FaultyStore())
    Journal(bucket, "a").write(line(1))
    Journal(bucket, "b").write(line(2))
    listed = segments(bucket)
    answers = iter([[*listed, segment(9, 9, "000009-x")], listed])
    monkeypatch.setattr(journal, "segments", lambda bucket: next(answers))
    assert read(bucket) == [line(1), line(2)]


def test_a_segment_that_is_gone_among_many_starts_the_reading_anew(monkeypatch):
    bucket = bucket_on(FaultyStore())
    log = Journal(bucket, "a")
    for number in range(200):
        log.write(line(number))
    listed = segments(bucket)
    answers = iter([[segment(0, 0, "000000-x"), *listed], listed])
    monkeypatch.setattr(journal, "segments", lambda bucket: next(answers))
    assert read(bucket) == [line(number) for number in range(200)]


def test_records_that_only_the_manifest_has_are_read_and_kept_by_the_next_run():
    bucket = bucket_on(FaultyStore())
    bucket.put("manifest.jsonl", line(1) + line(2))
    assert read(bucket) == [line(1), line(2)]
    Journal(bucket, "a").write(line(3))
    assert names(bucket) == ["000000-manifest/00000001.jsonl", "000001-a/00000001.jsonl"]
    bucket.put("manifest.jsonl", b"a copy that nobody reads now\n")
    assert read(bucket) == [line(1), line(2), line(3)]


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(20))
def test_with_many_faults_every_record_and_image_is_there_once_and_the_lock_is_kept(seed, monkeypatch):
    monkeypatch.setattr(journal, "COMPACTED_SEGMENTS", 7)
    rng = random.Random(seed)

    def chance(method):
        faults = {"put": ("lost", "hangs", "503", "409", "unreachable"), "delete": ("lost", "503", "404")}
        return rng.choice(faults.get(method, ("hangs", "503"))) if rng.random() < 0.25 else "ok"

    store, time = FaultyStore(chance=chance), Time()
    bucket = bucket_on(store, time)
    lease = Contender(bucket, "a", now=lambda: 0.0).attempt()
    log = Journal(bucket, "a")
    for number in range(60):
        version = bucket.create(f"images/{number}.png", line(number))
        assert version is not None
        if number % 3 == 0:
            assert bucket.replace(f"images/{number}.png", line(number) * 2, version) is not None
        assert bucket.create(f"images/{number}.png", line(number)) is None
        log.write(line(number))
        lease.renew()
        lease.check()
    assert read(bucket) == [line(number) for number in range(60)]
    log.compact()
    assert read(bucket) == [line(number) for number in range(60)]
    assert {entry.path for entry in bucket.list("images")} == {f"images/{number}.png" for number in range(60)}
    lease.release()
