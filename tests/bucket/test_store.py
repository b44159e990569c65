"""One bucket: whatever a store answers, each call ends with the truth or with one line that says why not."""

import os
import threading

import pytest
from faulty_store import FaultyStore, Time, bucket_on

from venice_batch.bucket.store import Bucket, Entry, Version
from venice_batch.errors import BucketError, ExitCode, UsageError


def kept(store, path="night/a.png"):
    return bytes(store.memory.get(path).bytes())


def test_a_name_is_given_once_and_its_holder_keeps_it():
    store = FaultyStore()
    bucket = bucket_on(store)
    assert bucket.create("a.png", b"one") is not None
    assert bucket.create("a.png", b"two") is None
    assert kept(store) == b"one"


def test_an_object_is_replaced_only_as_the_version_that_was_seen():
    bucket = bucket_on(FaultyStore())
    first = bucket.create("a.png", b"one")
    second = bucket.replace("a.png", b"two", first)
    assert second is not None
    assert bucket.replace("a.png", b"three", first) is None
    assert bucket.get("a.png") == b"two"
    assert bucket.replace("nothing", b"x", first) is None


def test_a_version_is_compared_without_what_a_store_does_not_know():
    assert Version('"1"').condition() == {"e_tag": '"1"'}
    assert Version('"1"', "7").condition() == {"e_tag": '"1"', "version": "7"}
    assert Version('"1"').is_same(Version('"1"', "7"))
    assert not Version('"1"', "8").is_same(Version('"1"', "7"))
    assert not Version().is_same(Version())


def test_without_an_etag_nothing_is_replaced():
    with pytest.raises(BucketError, match="no ETag"):
        bucket_on(FaultyStore()).replace("a.png", b"x", Version())


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("fault", ["lost", "hangs", "503", "409", "unreachable"])
def test_a_failed_create_is_tried_again_and_knows_its_own_object(fault, forgets):
    store = FaultyStore(forgets_metadata=forgets)
    store.fail("put", fault)
    version = bucket_on(store).create("a.png", b"one", metadata={"run": "r"})
    assert version is not None
    assert kept(store) == b"one"


@pytest.mark.parametrize("fault", ["lost", "hangs", "503", "409", "412"])
def test_a_failed_replace_is_tried_again_and_knows_its_own_object(fault):
    store = FaultyStore()
    bucket = bucket_on(store)
    first = bucket.create("a.png", b"one")
    store.fail("put", fault)
    second = bucket.replace("a.png", b"two", first)
    assert second is not None
    assert not second.is_same(first)
    assert kept(store) == b"two"


def test_the_same_content_of_another_call_is_not_taken_for_ones_own():
    store = FaultyStore()
    bucket_on(store).create("a.png", b"one", metadata={"run": "r", "sha256": "1"})
    store.fail("put", "lost")
    assert bucket_on(store).create("a.png", b"one", metadata={"run": "r", "sha256": "1"}) is None


def test_without_metadata_another_content_is_somebody_elses():
    store = FaultyStore(forgets_metadata=True)
    bucket = bucket_on(store)
    bucket.create("a.png", b"one")
    assert bucket.create("a.png", b"two") is None


def test_a_plain_write_that_meets_a_conflict_is_repeated():
    store = FaultyStore()
    store.fail("put", "409", "hangs", "503")
    bucket_on(store).put("a.png", b"one")
    assert kept(store) == b"one"
    assert store.calls["put"] == 4


def test_a_call_that_the_store_lacks_is_not_repeated():
    store = FaultyStore()
    store.fail("put", "501!")
    with pytest.raises(BucketError, match="lacks a call that this needs") as failed:
        bucket_on(store).create("a.png", b"one")
    assert store.calls["put"] == 1
    assert failed.value.exit_code == ExitCode.FOLDER_UNUSABLE


def test_patience_ends_and_the_error_says_after_how_long():
    store, time = FaultyStore(), Time()
    store.fail("put", "503!")
    with pytest.raises(BucketError, match=r"failed for \d+ s \(503 Slow Down: SlowDown: Some words.\)"):
        bucket_on(store, time, patience_s=40).put("a.png", b"one")
    assert 1040 <= time.now_s < 1041


def test_a_store_out_of_reach_from_the_start_is_reported_soon_later_it_is_waited_for():
    store, time = FaultyStore(), Time()
    bucket = bucket_on(store, time)
    store.fail("put", "unreachable!")
    with pytest.raises(BucketError, match=r"cannot be reached for 15 s \(Connection refused\)"):
        bucket.put("a.png", b"one")
    store.fail("put")
    bucket.put("a.png", b"one")
    store.fail("put", "unreachable!")
    began_s = time.now_s
    with pytest.raises(BucketError, match="cannot be reached for 120 s"):
        bucket.put("a.png", b"one")
    assert time.now_s - began_s >= 120


def test_a_refusal_names_the_rights_that_are_needed_and_no_signature():
    store = FaultyStore()
    store.fail("get", "403!")
    with pytest.raises(BucketError, match=r"access refused \(403 Forbidden: AccessDenied") as failed:
        bucket_on(store).get("a.png")
    assert "X-Sig" not in str(failed.value)
    assert str(failed.value).startswith("s3://pictures/night: ")


def test_error_texts_hold_neither_the_api_key_nor_the_secrets_of_the_bucket():
    store = FaultyStore()
    store.fail("put", "400!")
    bucket = Bucket(
        "s3://pictures/night",
        {"AWS_SECRET_ACCESS_KEY": "SomeCode"},
        redact=lambda text: text.replace("words", "***"),
        connect=lambda timeout_s: store,
    )
    with pytest.raises(BucketError) as failed:
        bucket.put("a.png", b"one")
    assert str(failed.value) == "s3://pictures/night: the store refused a call (400 Bad Request: ***: Some ***.)"


def test_what_is_not_there_is_none():
    bucket = bucket_on(FaultyStore())
    assert bucket.get("a.png") is None
    assert bucket.read("a.png") is None
    assert bucket.head("a.png") is None


def test_an_object_has_its_size_type_and_metadata():
    store = FaultyStore()
    bucket = bucket_on(store)
    bucket.create("a.png", b"one", content_type="image/png", metadata={"sha256": "1", "run": "r"})
    meta = bucket.head("a.png")
    assert (meta.size_bytes, meta.metadata["sha256"], meta.metadata["run"]) == (3, "1", "r")
    assert "Content-Type" not in meta.metadata
    assert store.memory.get("night/a.png").attributes["Content-Type"] == "image/png"


def test_reading_is_repeated():
    store = FaultyStore()
    bucket = bucket_on(store)
    bucket.put("a.png", b"one")
    store.fail("get", "503", "hangs")
    assert bucket.get("a.png") == b"one"


def test_a_listing_is_of_a_folder_and_begins_anew_after_a_fault():
    store = FaultyStore()
    bucket = bucket_on(store)
    for name in ("images/a.png", "images/b.png", "images/c.png", "images-2/d.png"):
        bucket.put(name, b"123")
    store.fail("list", "503")
    assert sorted(set(bucket.list("images"))) == [Entry(f"images/{name}.png", 3) for name in "abc"]
    assert len(set(bucket.list())) == 4
    assert [entry.path for entry in bucket_on(store, address="s3://pictures").list("night/images-2")] == [
        "night/images-2/d.png"
    ]


@pytest.mark.parametrize("size_bytes", [0, 10, 20_000_000])
def test_a_file_comes_back_as_it_was(tmp_path, size_bytes):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size_bytes))
    bucket = bucket_on(FaultyStore())
    bucket.put("a.bin", source)
    assert bucket.fetch("a.bin", target)
    assert target.read_bytes() == source.read_bytes()
    assert bucket.create("b.bin", source) is not None
    assert bucket.fetch("b.bin", target)
    assert target.read_bytes() == source.read_bytes()


def test_nothing_is_fetched_if_nothing_is_there(tmp_path):
    assert not bucket_on(FaultyStore()).fetch("a.bin", tmp_path / "target")


def test_a_file_that_is_replaced_while_it_is_fetched_is_fetched_anew(tmp_path):
    class Replacing(FaultyStore):
        def get(self, path, **options):
            found = super().get(path, **options)
            if self.calls["get"] == 2:  # the first part has been asked for
                self.memory.put(path, b"new")
            return found

    store = Replacing()
    bucket = bucket_on(store)
    source = tmp_path / "source"
    source.write_bytes(bytes(10_000_000))
    bucket.put("a.bin", source)
    assert bucket.fetch("a.bin", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("fault", ["ok", "503", "501", "404"])
def test_objects_are_deleted_even_if_some_are_gone_or_only_one_goes_at_a_time(fault):
    store = FaultyStore()
    bucket = bucket_on(store)
    for name in "abc":
        bucket.put(name, b"1")
    store.fail("delete", fault)
    bucket.delete(["a", "gone", "b"])
    bucket.delete(["c"])
    bucket.delete([])
    assert list(bucket.list()) == []


def test_a_store_that_ignores_conditions_is_found_out_and_leaves_no_probe():
    honest, careless = FaultyStore(), FaultyStore(ignores_conditions=True)
    assert bucket_on(honest).knows_conditions()
    assert not bucket_on(careless).knows_conditions()
    assert list(bucket_on(honest).list()) == list(bucket_on(careless).list()) == []


def test_a_probe_that_may_not_be_deleted_stays():
    store = FaultyStore()
    store.fail("delete", "403!")
    bucket = bucket_on(store)
    assert bucket.knows_conditions()
    assert len(list(bucket.list())) == 1


def test_without_conditions_it_looks_before_it_writes():
    store = FaultyStore(ignores_conditions=True)
    bucket = bucket_on(store).without_conditions()
    first = bucket.create("a.png", b"one")
    assert bucket.create("a.png", b"two") is None
    second = bucket.replace("a.png", b"three", first)
    assert second is not None
    assert bucket.replace("a.png", b"four", first) is None
    assert kept(store) == b"three"


def test_uploads_hold_a_bounded_part_of_memory(tmp_path):
    held, most, lock = 0, 0, threading.Lock()

    class Counting(FaultyStore):
        def put(self, path, file, **options):
            nonlocal held, most
            with lock:
                held += len(file)
                most = max(most, held)
            try:
                return super().put(path, file, **options)
            finally:
                with lock:
                    held -= len(file)

    source = tmp_path / "image"
    source.write_bytes(bytes(7_000_000))
    bucket = bucket_on(Counting())
    threads = [threading.Thread(target=bucket.create, args=(f"{number}.png", source)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 7_000_000


def test_without_the_extra_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(UsageError, match=r"buckets need obstore; pip install 'venice-batch\[bucket\]'"):
        Bucket("s3://pictures", {})


def test_a_setting_that_cannot_be_used_is_reported_before_anything_is_sent():
    with pytest.raises(UsageError, match="failed to parse"):
        Bucket("s3://pictures", {"AWS_SKIP_SIGNATURE": "perhaps"})


@pytest.mark.parametrize("address", ["s3://pictures/a", "az://pictures/a", "gs://pictures/a"])
def test_a_client_is_made_for_each_kind_of_store(address):
    environ = {"AZURE_STORAGE_ACCOUNT_NAME": "someone", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}
    assert Bucket(address, environ).with_patience(1.0).address == address
