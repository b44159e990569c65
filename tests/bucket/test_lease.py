"""The lock of a bucket: one holder at a time, whatever dies, hangs or is stopped."""

import contextlib
import threading

import msgspec
import pytest
from faulty_store import FaultyStore, Time, bucket_on

from venice_batch.bucket.lease import LOCK, POLL_S, Contender, acquire
from venice_batch.errors import BucketError, ExitCode, FolderHeldError


def contender(store, time, name="run-a", **options):
    return Contender(bucket_on(store, time), name, now=time.now, **options)


def lock_in(store):
    return msgspec.json.decode(bytes(store.memory.get(f"night/{LOCK}").bytes()))


def test_a_free_lock_is_taken_and_given_back_to_nobody():
    store, time = FaultyStore(), Time()
    with contender(store, time).attempt() as lease:
        lease.check()
        assert "run run-a" in lock_in(store)["holder"]
    assert lock_in(store)["token"] == ""
    with contender(store, time, "run-b").attempt():
        assert "run run-b" in lock_in(store)["holder"]


def test_a_living_holder_keeps_others_out_and_is_known_to_live_after_one_beat():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    other = contender(store, time, "run-b")
    with pytest.raises(FolderHeldError, match=r"another run .process .* run run-a. is using"):
        other.attempt()
    assert other.is_undecided
    lease.renew()
    with pytest.raises(FolderHeldError):
        other.attempt()
    assert not other.is_undecided


def test_a_dead_holders_lock_is_taken_over_after_one_ttl_of_watching():
    store, time = FaultyStore(), Time()
    contender(store, time).attempt()
    time.now_s += 10_000  # how long it has been there counts for nothing
    other = contender(store, time, "run-b")
    with pytest.raises(FolderHeldError):
        other.attempt()
    time.now_s += 59
    with pytest.raises(FolderHeldError):
        other.attempt()
    time.now_s += 2
    other.attempt().check()
    assert "run run-b" in lock_in(store)["holder"]


def test_the_ttl_of_the_holder_counts():
    store, time = FaultyStore(), Time()
    contender(store, time, ttl_s=200.0).attempt()
    other = contender(store, time, "run-b")
    for wait_s in (0, 100, 99):
        time.now_s += wait_s
        with pytest.raises(FolderHeldError):
            other.attempt()
    time.now_s += 2
    other.attempt()


def test_a_displaced_holder_finds_out_with_its_next_beat_and_gives_nothing_back():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    other = contender(store, time, "run-b")
    with pytest.raises(FolderHeldError):
        other.attempt()
    time.now_s += 61
    other.attempt()
    lease.renew()
    with pytest.raises(BucketError, match=r"run-b.* has taken over its lock; this run has stopped") as lost:
        lease.check()
    assert lost.value.exit_code == ExitCode.FOLDER_UNUSABLE
    lease.release()
    assert "run run-b" in lock_in(store)["holder"]


def test_a_removed_lock_is_a_lost_one():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    store.memory.delete(f"night/{LOCK}")
    lease.renew()
    with pytest.raises(BucketError, match="its lock was removed"):
        lease.check()


def test_after_a_long_stop_the_holder_asks_before_it_gives_up():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    time.now_s += 300
    lease.check()
    time.now_s += 5
    lease.renew()
    lease.check()
    time.now_s += 300
    lease.check()
    time.now_s += 11
    with pytest.raises(BucketError, match="could not be renewed for 60 s, so another run may have taken it"):
        lease.check()


def test_a_store_that_fails_for_a_whole_ttl_ends_the_hold():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    time.now_s += 15
    store.fail("put", "503!")
    failed = None
    while failed is None:
        wait_s = lease.renew()
        assert wait_s < 15
        try:
            lease.check()
        except BucketError as error:
            failed = str(error)
        time.now_s += wait_s
    assert 1060 < time.now_s < 1080
    assert "could not be renewed for 60 s (the store failed for 15 s (503 Slow Down: SlowDown: Some words.))" in failed


def test_a_beat_that_comes_through_although_its_answers_are_lost_is_no_loss():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    store.fail("put", "lost!")
    store.fail("get", "503!")
    lease.renew()
    store.fail("put")
    store.fail("get")
    lease.renew()
    lease.check()
    lease.renew()
    lease.check()
    lease.release()
    assert lock_in(store)["token"] == ""


def test_a_lock_whose_last_beat_came_late_is_given_back_all_the_same():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    late = {**lock_in(store), "beat": "late"}
    store.memory.put(f"night/{LOCK}", msgspec.json.encode(late))
    lease.release()
    assert lock_in(store)["token"] == ""


def test_a_store_that_does_not_answer_at_the_end_is_left_alone():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    store.fail("put", "503!")
    lease.release()
    assert lock_in(store)["token"]


def test_every_beat_makes_another_content():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    seen = {lock_in(store)["beat"]}
    for _ in range(3):
        lease.renew()
        seen.add(lock_in(store)["beat"])
    assert len(seen) == 4


def test_a_lock_that_no_run_has_written_is_watched_like_any_other():
    store, time = FaultyStore(), Time()
    store.memory.put(f"night/{LOCK}", b"12345\n")
    other = contender(store, time)
    with pytest.raises(FolderHeldError, match="unknown"):
        other.attempt()
    time.now_s += 61
    other.attempt()


def test_a_lock_that_another_run_takes_first_is_held():
    store, time = FaultyStore(), Time()

    class Racing(FaultyStore):
        def get(self, path, **options):
            try:
                return super().get(path, **options)
            finally:
                if not store.calls["put"]:
                    contender(store, time, "run-b").attempt()

    racing = Racing()
    racing.memory = store.memory
    with pytest.raises(FolderHeldError, match="just begun"):
        contender(racing, time).attempt()


def test_one_of_many_contenders_wins_and_its_lost_answer_changes_nothing():
    for fault in ("ok", "lost", "503", "409"):
        store, time = FaultyStore(), Time()
        store.fail("put", fault)
        leases = []

        def compete(name, store=store, time=time, leases=leases):
            with contextlib.suppress(FolderHeldError):
                leases.append(contender(store, time, name).attempt())

        threads = [threading.Thread(target=compete, args=(f"run-{number}",)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(leases) == 1
        leases[0].renew()
        leases[0].check()


def test_the_thread_renews_the_lock_and_ends_with_the_hold():
    store, time = FaultyStore(), Time()
    before = threading.active_count()
    with Contender(bucket_on(store, time), "run-a", now=time.now, beat_s=0.001).attempt() as lease:
        first = lock_in(store)["beat"]
        while lock_in(store)["beat"] == first:
            pass
        lease.check()
    assert threading.active_count() == before


def test_acquire_waits_for_a_dead_holder_and_not_for_a_living_one():
    store, time = FaultyStore(), Time()
    dead = contender(store, time).attempt()
    bucket = bucket_on(store, time)
    with acquire(bucket, "run-b", now=time.now, sleep=time.sleep) as lease:
        lease.check()
        assert 60 <= time.now_s - 1000 <= 60 + 2 * POLL_S

        def sleep_while_it_lives(seconds):
            time.sleep(seconds)
            lease.renew()

        began_s = time.now_s
        with pytest.raises(FolderHeldError), acquire(bucket, "run-c", now=time.now, sleep=sleep_while_it_lives):
            pass
        assert time.now_s - began_s <= 2 * POLL_S
        with (
            pytest.raises(FolderHeldError),
            acquire(bucket, "run-c", wait_s=20, now=time.now, sleep=sleep_while_it_lives),
        ):
            pass
        assert time.now_s - began_s >= 20
    del dead


def test_a_lock_that_is_lost_while_it_is_given_back_stays_with_its_new_holder():
    store, time = FaultyStore(), Time()
    lease = contender(store, time).attempt()
    store.memory.put(f"night/{LOCK}", msgspec.json.encode({**lock_in(store), "token": "other", "holder": "run-b"}))
    lease.release()
    assert lock_in(store)["token"] == "other"


def test_the_thread_ends_when_the_interpreter_is_about_to(monkeypatch):
    store, time = FaultyStore(), Time()

    class Ended:
        def is_alive(self):
            return False

    lease = Contender(bucket_on(store, time), "run-a", now=time.now, beat_s=0.001).attempt()
    monkeypatch.setattr(threading, "main_thread", Ended)
    first = lock_in(store)["beat"]
    lease._keep()
    assert lock_in(store)["beat"] == first
