"""Store, lease and journal on real object stores, also with faults on the way; skipped where no store is installed."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from bucket.servers import servers

from venice_batch.bucket.journal import Journal, read
from venice_batch.bucket.lease import Contender
from venice_batch.bucket.store import Bucket
from venice_batch.errors import FolderHeldError

pytestmark = pytest.mark.no_cover

FAULTS = {"lost": 0.06, "503": 0.03, "409": 0.03, "cut": 0.03}
"""15 % of all PUTs."""
ROUNDS = int(os.environ.get("LOCK_ROUNDS", "3"))
"""How often contenders meet at the lock: more take minutes."""


@pytest.fixture
def bucket(server, prefix):
    return Bucket(server.address(prefix), server.environ)


@pytest.fixture
def faulty(server, prefix):
    """A bucket with faults on its PUTs, and these faults."""
    faults = servers.Faults(FAULTS, seed=7)
    with servers.fault_proxy(server.port, faults) as port:
        yield Bucket(server.address(prefix), server.behind(port).environ), faults


def at_once(count, call):
    """The results of `call(n)` for every n, all begun at the same time."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait(60)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_second_create_of_a_name_changes_nothing(bucket):
    assert bucket.create("images/a.png", b"first") is not None
    assert bucket.create("images/a.png", b"second") is None
    assert bucket.get("images/a.png") == b"first"


def test_of_creates_at_the_same_moment_one_wins(bucket):
    made = at_once(12, lambda number: bucket.create("one", b"%d" % number))
    (winner,) = [number for number, version in enumerate(made) if version is not None]
    assert bucket.get("one") == b"%d" % winner


def test_an_object_is_replaced_by_whoever_knows_its_version(bucket):
    first = bucket.create("x", b"1")
    second = bucket.replace("x", b"2", first)
    assert second is not None
    assert bucket.replace("x", b"3", first) is None
    assert bucket.get("x") == b"2"
    assert bucket.read("x").version == second == bucket.head("x").version


def test_of_replacements_at_the_same_moment_one_wins(bucket):
    version = bucket.create("x", b"-")
    made = at_once(12, lambda number: bucket.replace("x", b"%d" % number, version))
    (winner,) = [number for number, version in enumerate(made) if version is not None]
    assert bucket.read("x") == (b"%d" % winner, made[winner])


def test_a_missing_object_is_not_replaced(bucket):
    version = bucket.create("x", b"-")
    bucket.delete(["x"])
    assert bucket.replace("x", b"new", version) is None
    assert bucket.get("x") is None


def test_files_arrive_with_their_metadata(bucket, tmp_path):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"p" * 3_000_000)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    written = {"sha256": sha256, "run": "r1"}
    bucket.create("images/a.png", source, content_type="image/png", metadata=written)
    meta = bucket.head("images/a.png")
    assert meta.size_bytes == 3_000_000
    assert written.items() <= meta.metadata.items()
    assert bucket.fetch("images/a.png", target)
    assert target.read_bytes() == source.read_bytes()


def test_names_with_spaces_signs_and_accents_are_kept(bucket):
    names = {"images/a b.png", "images/100%.png", "images/ä+ö#?.png", "images/gondola~1.png", "images/日本.png"}
    for name in names:
        assert bucket.create(name, name.encode()) is not None
        assert bucket.create(name, b"other") is None
    assert {entry.path for entry in bucket.list("images/")} == names
    assert all(bucket.get(name) == name.encode() for name in names)
    bucket.delete(names)
    assert list(bucket.list()) == []


def test_missing_objects_are_no_error(bucket, tmp_path):
    assert bucket.get("x") is None
    assert bucket.head("x") is None
    assert bucket.read("x") is None
    assert not bucket.fetch("x", tmp_path / "x")
    assert list(bucket.list()) == []
    bucket.delete(["x", "y"])


def test_listings_longer_than_a_page_are_whole(bucket):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: bucket.put(f"images/{number}", b"x" * (number % 7)), range(1100)))
    bucket.put("imagesX", b"")
    found = {entry.path: entry.size_bytes for entry in bucket.list("images/")}
    assert found == {f"images/{number}": number % 7 for number in range(1100)}
    bucket.delete(found)
    assert [entry.path for entry in bucket.list()] == ["imagesX"]


def test_conditions_are_known(bucket):
    assert bucket.knows_conditions()
    assert bucket.knows_conditions()


def test_a_store_without_conditions_is_found_out(s3rver, prefix):
    bucket = Bucket(s3rver.address(prefix), s3rver.environ)
    assert not bucket.knows_conditions()
    assert list(bucket.list()) == []


def test_creates_through_faults_are_right_about_who_won(faulty, bucket):
    seen, faults = faulty

    def contend(number):
        name = f"images/{number // 2}"
        return seen.create(name, b"%d" % number, metadata={"run": str(number)}) is not None

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(contend, range(300)))
    assert faults.struck.keys() == FAULTS.keys()
    for number in range(150):
        mine = [2 * number + which for which in (0, 1) if won[2 * number + which]]
        assert mine == [int(bucket.get(f"images/{number}"))]


def test_replacements_through_faults_leave_out_none(faulty, bucket):
    seen, _ = faulty
    version = seen.create("counter", b"0")
    for number in range(1, 80):
        version = seen.replace("counter", b"%d" % number, version)
        assert version is not None
    assert bucket.read("counter") == (b"79", version)


def records(journal_of):
    return list(read(journal_of))


def test_a_journal_holds_the_lines_of_all_runs_in_their_order(bucket):
    for run in ("2026-11-29-a", "2026-11-29-b"):
        journal = Journal(bucket, run)
        for number in range(3):
            journal.write(b'{"id": "%s-%d"}\n{"id": "more"}\n' % (run.encode(), number))
        before = records(bucket)
        journal.compact()
        assert records(bucket) == before
    assert len(before) == 12
    assert len(list(bucket.list("journal/"))) == 2


def test_readers_see_every_line_while_a_journal_is_compacted(bucket):
    journal = Journal(bucket, "r")
    for number in range(40):
        journal.write(b"%d\n" % number)
    ended = threading.Event()

    def compact():
        journal.compact()
        ended.set()

    with ThreadPoolExecutor(1) as pool:
        compaction = pool.submit(compact)
        while not ended.is_set():
            assert sorted(map(int, records(bucket))) == list(range(40))
        compaction.result()
    assert sorted(map(int, records(bucket))) == list(range(40))


def test_a_journal_through_faults_loses_and_doubles_nothing(faulty, bucket):
    seen, faults = faulty
    journal = Journal(seen, "r")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: journal.write(b"%d\n" % number), range(200)))
    assert sorted(map(int, records(bucket))) == list(range(200))
    journal.compact()
    assert sorted(map(int, records(bucket))) == list(range(200))
    assert len(faults.struck) == len(FAULTS)


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.at_s = 0.0

    def __call__(self):
        return self.at_s


def attempt(contender):
    try:
        return contender.attempt()
    except FolderHeldError:
        return None


@pytest.mark.parametrize("with_faults", [False, True])
def test_of_twelve_contenders_one_gets_a_free_lock(request, server, prefix, with_faults):
    bucket = request.getfixturevalue("faulty")[0] if with_faults else Bucket(server.address(prefix), server.environ)
    for round_number in range(ROUNDS):
        contenders = [Contender(bucket, f"run-{round_number}-{number}") for number in range(12)]
        leases = at_once(12, lambda number, all_=contenders: attempt(all_[number]))
        (winner,) = [lease for lease in leases if lease is not None]
        winner.check()
        winner.release()


def test_of_twelve_contenders_one_takes_a_dead_lock_over(bucket):
    for round_number in range(ROUNDS):
        dead = Contender(bucket, f"dead-{round_number}", beat_s=3600).attempt()
        clock = Clock()
        contenders = [Contender(bucket, f"run-{round_number}-{number}", now=clock) for number in range(12)]
        assert at_once(12, lambda number, all_=contenders: attempt(all_[number])) == [None] * 12
        clock.at_s = 61.0
        leases = at_once(12, lambda number, all_=contenders: attempt(all_[number]))
        (winner,) = [lease for lease in leases if lease is not None]
        winner.check()
        dead.release()
        winner.check()
        assert attempt(Contender(bucket, "late")) is None
        winner.release()
