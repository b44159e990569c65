"""Images of a killed run in a bucket that it had no time to record: the next run records them and buys nothing."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from command import run
from fake_bucket import FakeBucket

from venice_batch.bucket import folder
from venice_batch.output.folder import MANIFEST

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
    assert "2 jobs had images but no record, because a run was killed: recorded now" in found.err
    assert images(bucket) == were
    after = records(bucket)
    assert after.keys() == before.keys()
    for job_id, record in after.items():
        known = before[job_id]
        differing = {name for name in known | record if known.get(name) != record.get(name)}
        assert differing <= {"attempts", "timing"}, differing
        assert [attempt["status"] for attempt in record["attempts"]] == [200]
        assert record["timing"]["total_s"] == record["attempts"][0]["duration_s"] > 0
        was, now = (datetime.fromisoformat(one["timing"]["enqueued_at"]) for one in (known, record))
        assert abs(now - was) < timedelta(seconds=60)  # the server's date is in whole seconds


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


def damaged(bucket, path, **metadata):
    bucket.metadata[path] = {name: value for name, value in {**bucket.metadata[path], **metadata}.items() if value}


@pytest.mark.parametrize(
    "damage",
    [
        lambda bucket, path: damaged(bucket, path, purchase=None),
        lambda bucket, path: damaged(bucket, path, purchase="nonsense"),
        lambda bucket, path: damaged(bucket, path, purchase="bm9uc2Vuc2U="),
        lambda bucket, path: damaged(bucket, path, sha256="0" * 64),
        lambda bucket, path: bucket.objects.update({path: b"shorter"}),
    ],
    ids=["no note", "no base64", "no JSON", "another hash", "another size"],
)
def test_an_image_that_is_not_as_noted_is_nobodys(bucket, damage):
    made(CAT)
    (path,) = images(bucket)
    forget(bucket)
    damage(bucket, path)
    assert summary(made(CAT))["succeeded"] == 1
    assert len(images(bucket)) == 2


def test_a_copy_of_an_image_under_another_name_is_nobodys(bucket):
    made(CAT)
    (path,) = images(bucket)
    bucket.put("images/other.webp", bucket.objects[path], metadata=bucket.metadata[path])
    forget(bucket)
    bucket.delete([path])
    assert summary(made(CAT))["succeeded"] == 1


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
