"""Images of a killed run in a bucket that it had no time to record: the next run records them and buys nothing."""

import base64
import json
from pathlib import Path

import pytest
from command import run
from fake_bucket import FakeBucket

from venice_batch.bucket import folder
from venice_batch.bucket.lease import Lease
from venice_batch.errors import BucketError
from venice_batch.output.folder import MANIFEST
from venice_batch.run.settings import RunSettings

ADDRESS = "s3://bucket/run"
FAST = ["--sandbox", "--sandbox-rpm", "0", "--sandbox-latency", "0", "--sandbox-draw", "plain"]
CAT = {"id": "a/cat 猫", "model": "venice-sd35", "prompt": "a cat", "width": 64, "height": 64}
DOG = {**CAT, "id": "dog", "prompt": "a dog", "variants": 3}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bucket(monkeypatch):
    """The bucket at `ADDRESS`."""
    found = FakeBucket(ADDRESS)
    monkeypatch.setattr(folder, "Bucket", lambda *args, **given: found)
    return found


def made(*lines):
    """The result of a run into the bucket."""
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST, "--json")
    assert found.code == 0, found
    return found


def summary(found):
    return json.loads(found.out)


def records(bucket):
    """The last record of each id."""
    names = sorted(name for name in bucket.objects if name.startswith("journal/"))
    lines = b"".join(bucket.objects[name] for name in names).splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


def images(bucket):
    return {name: data for name, data in bucket.objects.items() if name.startswith("images/")}


def forget(bucket):
    """Leave what a run leaves that is killed after its last upload: images, and no record of them."""
    for name in list(bucket.objects):
        if not name.startswith("images/"):
            bucket.delete([name])


def test_unrecorded_images_are_recorded_as_their_run_would_have(bucket):
    made(CAT, DOG)
    before, were = records(bucket), images(bucket)
    forget(bucket)
    found = made(CAT, DOG)
    assert (summary(found)["already_done"], summary(found)["attempts"]) == (2, 0)
    assert "2 jobs had images but no record; recorded now" in found.err
    assert images(bucket) == were
    after = records(bucket)
    assert after.keys() == before.keys()
    for job_id, record in after.items():
        known = before[job_id]
        differing = {name for name in known | record if known.get(name) != record.get(name)}
        assert differing <= {"attempts", "timing"}
        (was,), (now,) = known["attempts"], record["attempts"]
        assert now == {**was, "sent_s": now["sent_s"]}
        assert 0 < now["sent_s"] <= was["sent_s"]
        assert record["timing"]["enqueued_at"] == known["timing"]["enqueued_at"]
        assert 0 < record["timing"]["total_s"] <= known["timing"]["total_s"]


def test_what_was_recorded_so_is_recorded_once(bucket):
    made(CAT)
    forget(bucket)
    made(CAT)
    again = made(CAT)
    assert "no record" not in again.err
    assert bucket.objects[MANIFEST].count(b"\n") == 1


def test_flags_of_the_answer_are_kept(bucket):
    made({**CAT, "prompt": "a nude", "safe_mode": True})
    before = records(bucket)[CAT["id"]]["flags"]
    forget(bucket)
    made({**CAT, "prompt": "a nude", "safe_mode": True})
    assert records(bucket)[CAT["id"]]["flags"] == before


def test_images_of_which_one_is_missing_are_bought_again_and_the_others_stay(bucket):
    made(DOG)
    forget(bucket)
    bucket.delete(["images/dog-2.webp"])
    assert summary(made(DOG))["succeeded"] == 1
    assert sorted(images(bucket)) == [
        "images/dog-1.webp",
        "images/dog-1~1.webp",
        "images/dog-2.webp",
        "images/dog-3.webp",
        "images/dog-3~1.webp",
    ]


def encoded(text):
    return base64.urlsafe_b64encode(text.encode()).decode()


def changed(bucket, path, change):
    """Change what is noted with an image."""
    note = json.loads(base64.urlsafe_b64decode(bucket.metadata[path]["purchase"]))
    change(note)
    bucket.metadata[path]["purchase"] = encoded(json.dumps(note))


SENT = ["enqueued_unix_s", "waited_s", "price", "enhancement", "spent", "maybe_billed"]


def sent(note, name, value):
    note["sent"][SENT.index(name)] = value


@pytest.mark.parametrize(
    "damage",
    [
        lambda metadata: metadata.clear(),
        lambda metadata: metadata.update(purchase="nonsense"),
        lambda metadata: metadata.update(purchase=encoded("nonsense")),
        lambda metadata: metadata.update(purchase=encoded('{"x":' + "[" * 2000)),
        lambda metadata: metadata.update(sha256="0" * 64),
    ],
    ids=["no note", "no base64", "no JSON", "too deep", "another hash"],
)
def test_an_image_without_a_note_that_makes_sense_is_nobodys(bucket, damage):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)
    damage(bucket.metadata[path])
    assert summary(made(CAT))["succeeded"] == 1
    assert len(images(bucket)) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.update(count=10**10),
        lambda note: note.update(number=0),
        lambda note: note.update(number=2),
        lambda note: note.update(took_s=1e300),
        lambda note: note.update(took_s=-1),
        lambda note: sent(note, "enqueued_unix_s", 1e18),
        lambda note: sent(note, "enqueued_unix_s", -1.0),
        lambda note: sent(note, "waited_s", -1.0),
        lambda note: sent(note, "waited_s", 1e300),
        lambda note: note["file"].update(pruned="deleted"),
        lambda note: note["file"].update(bytes=1),
        lambda note: note["file"].update(path="images/../x"),
    ],
)
def test_a_note_of_nonsense_is_no_note(bucket, change):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)
    changed(bucket, path, change)
    assert summary(made(CAT))["succeeded"] == 1
    assert len(images(bucket)) == 2


def test_a_copy_of_an_image_under_another_name_is_nobodys(bucket):
    made(CAT)
    (path,) = images(bucket)
    bucket.put("images/other.webp", bucket.objects[path], metadata=bucket.metadata[path])
    forget(bucket)
    bucket.delete([path])
    assert summary(made(CAT))["succeeded"] == 1


def test_what_earlier_attempts_may_have_cost_is_recorded_too(bucket):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)

    def more(note):
        sent(note, "price", 20_000)
        sent(note, "spent", 30_000)
        sent(note, "maybe_billed", 1)

    changed(bucket, path, more)
    made(CAT)
    (record,) = records(bucket).values()
    assert (record["cost_usd"], record["at_most_usd"], record["flags"]["possibly_billed"]) == (None, 0.05, True)


def test_images_of_two_answers_make_no_record_together(bucket):
    made(DOG)
    forget(bucket)
    changed(bucket, "images/dog-2.webp", lambda note: note.update(took_s=note["took_s"] + 1))
    assert summary(made(DOG))["succeeded"] == 1


def test_what_a_sandbox_made_is_not_recorded_for_a_run_on_the_api(bucket, monkeypatch):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)
    other = f"{path.removesuffix('.webp')}~1.webp"
    bucket.put(other, bucket.objects[path], metadata=bucket.metadata[path])
    changed(bucket, other, lambda note: note.update(file={**note["file"], "path": other}, sandbox=False, took_s=1.0))
    monkeypatch.setattr(RunSettings, "may_be_sandbox", False)
    assert summary(made(CAT))["already_done"] == 1
    (record,) = records(bucket).values()
    assert [file["path"] for file in record["files"]] == [other]


def test_a_run_that_has_lost_its_lock_records_nothing(bucket, monkeypatch):
    made(CAT)
    forget(bucket)

    def lost(self):
        raise BucketError(ADDRESS, "another run has it")

    monkeypatch.setattr(Lease, "check", lost)
    Path("jobs.jsonl").write_text(json.dumps(CAT) + "\n")
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST)
    assert (found.code, records(bucket)) == (5, {})
    assert "another run has it" in found.err


def test_records_that_the_bucket_does_not_take_end_the_run_with_5(bucket):
    made(CAT, {**CAT, "id": "b"})
    forget(bucket)

    def fail(name, path):
        if name == "put" and path.startswith("journal/"):
            raise BucketError(ADDRESS, "does not answer; run again later")

    bucket.before = fail
    Path("jobs.jsonl").write_text("".join(json.dumps({**CAT, "id": name}) + "\n" for name in (CAT["id"], "b")))
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST)
    assert (found.code, found.err.count("does not answer")) == (5, 1), found


@pytest.mark.parametrize("is_outage", [False, True])
def test_only_an_outage_keeps_a_run_from_beginning(bucket, is_outage):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)

    def refuse(name, asked):
        if (name, asked) == ("head", path):
            raise BucketError(ADDRESS, "the store refused a call (400)", is_outage=is_outage)

    bucket.before = refuse
    Path("jobs.jsonl").write_text(json.dumps(CAT) + "\n")
    found = run("jobs.jsonl", "-o", ADDRESS, *FAST)
    assert (found.code, len(images(bucket))) == ((5, 1) if is_outage else (0, 2)), found


def test_a_store_that_takes_no_long_metadata_gets_the_image_without_them(bucket):
    create = bucket.create

    def refuse(path, source, *, content_type="", metadata=None):
        if "purchase" in (metadata or {}):
            raise BucketError(ADDRESS, "the store refused a call (400: MetadataTooLarge)")
        return create(path, source, content_type=content_type, metadata=metadata)

    bucket.create = refuse
    assert summary(made(CAT))["succeeded"] == 1
    ((path, _),) = images(bucket).items()
    assert set(bucket.metadata[path]) == {"sha256", "run"}


def test_with_verify_each_image_is_fetched_once(bucket):
    made(CAT, DOG)
    forget(bucket)
    bucket.requests.clear()
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (CAT, DOG)))
    assert run("jobs.jsonl", "-o", ADDRESS, *FAST, "--verify").code == 0
    fetched = [path for path in bucket.asked("get") if path.startswith("images/")]
    assert sorted(fetched) == sorted(images(bucket))


def test_images_for_another_request_are_left_alone(bucket):
    made(CAT)
    forget(bucket)
    assert summary(made({**CAT, "prompt": "a lion"}))["succeeded"] == 1
    assert len(images(bucket)) == 2


def test_an_unrecorded_image_that_has_replaced_a_recorded_one_is_recorded(bucket):
    made(CAT)
    changed = {**CAT, "prompt": "a cat that has grown", "width": 128, "height": 128}
    recorded = {name: data for name, data in bucket.objects.items() if not name.startswith("images/")}
    assert summary(made(changed))["succeeded"] == 1
    forget(bucket)
    for name, data in recorded.items():
        bucket.put(name, data)
    assert summary(made(changed))["already_done"] == 1
    assert len(images(bucket)) == 1


def test_of_two_killed_runs_that_bought_the_same_job_one_counts(bucket):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)
    purchase, kept = bucket.metadata[path], bucket.objects[path]
    bucket.metadata[path] = {}
    made(CAT)
    forget(bucket)
    bucket.objects[path], bucket.metadata[path] = kept, purchase
    assert summary(made(CAT))["already_done"] == 1
    (record,) = records(bucket).values()
    assert record["files"][0]["path"] in images(bucket)
    assert summary(made(CAT))["already_done"] == 1
    assert len(images(bucket)) == 2


def test_a_note_that_no_store_takes_is_left_out(bucket):
    long = {**CAT, "id": "猫" * 500}
    made(long)
    (metadata,) = (bucket.metadata[path] for path in images(bucket))
    assert set(metadata) == {"sha256", "run"}


def test_a_job_that_works_on_an_image_is_bought_again(bucket):
    fox = {**CAT, "id": "fox", "width": 256, "height": 256}
    large = {"id": "large", "endpoint": "/image/upscale", "image": {"job": "fox"}, "scale": 2}
    made(fox, large)
    forget(bucket)
    found = made(fox, large)
    assert (summary(found)["already_done"], summary(found)["succeeded"]) == (1, 1)
    assert "1 job had images but no record" in found.err


def test_without_unrecorded_images_nothing_more_is_asked_for(bucket):
    made(CAT, DOG)
    bucket.requests.clear()
    made(CAT, DOG)
    assert [path for path in bucket.asked("head") if path.startswith("images/")] == []
