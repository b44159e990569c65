"""Commands on output folders in buckets, through the command line in this process; the buckets are in memory."""

import csv
import io
import json
import re
import sys
import tempfile
from pathlib import Path

import pytest
from command import run
from fake_bucket import FakeBucket

from venice_batch.bucket import copies
from venice_batch.errors import BucketError
from venice_batch.output.marks import Mark, MarksFile, read_marks
from venice_batch.output.resume import LatestRecords

FAST = ["--sandbox", "--sandbox-latency", "0", "--offline", "-q"]
OUT = "s3://bucket/night/out"
COPY = f"work on a copy: venice-batch merge {OUT} -o DIR"


@pytest.fixture(autouse=True)
def _scratch_of_its_own(tmp_path, monkeypatch):
    """Nothing is left of any copy when a command has ended."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert [path for path in scratch.iterdir() if path.name.startswith("venice-batch-")] == []


@pytest.fixture
def buckets(monkeypatch):
    """Buckets by address; one that nobody has filled is empty."""
    found = {}

    def opened(address, environ):
        return found.setdefault(address, FakeBucket(address))

    monkeypatch.setattr(copies, "Bucket", opened)
    return found


@pytest.fixture
def bucket(buckets, tmp_path):
    """A bucket with two jobs of two images each; the same folder is in `local/out`."""
    job = {"model": "venice-sd35", "prompt": "a fox", "width": 768, "height": 768, "variants": 2}
    Path("jobs.jsonl").write_text("".join(json.dumps({**job, "id": name}) + "\n" for name in ("fox", "sea")))
    assert run("jobs.jsonl", *FAST, "-o", "local/out", "--no-gallery").code == 0
    buckets[OUT] = FakeBucket(OUT).fill(tmp_path / "local/out")
    return buckets[OUT]


def digest(job_id, number):
    records = {record.id: record for record in LatestRecords(Path("local/out/manifest.jsonl"))}
    return records[job_id].files[number - 1].sha256


def mark(bucket, *images, kind="rejected"):
    """Mark images of the bucket's folder, as (id, number), in the bucket and in the local one."""
    marks = [Mark(digest(*image), *image, kind, None, "2026-01-01T00:00:00Z") for image in images]
    with MarksFile(Path("local/out")) as file:
        file.append(marks)
    bucket.put("marks.jsonl", Path("local/out/marks.jsonl"))


def alike(*args):
    """Run a command on the bucket and on the local folder; return both results, the scratch path's place the same."""
    there, here = run(*args), run(*("local/out" if arg == OUT else arg for arg in args))
    return there, here


@pytest.mark.parametrize(
    "args",
    [
        ("report", OUT, "--no-gallery"),
        ("report", OUT, "--no-gallery", "--json"),
        ("report", OUT, "--by", "id"),
        ("report", OUT, OUT),
        ("export", OUT, "--csv", "-"),
        ("jobs-from", OUT),
        ("jobs-from", OUT, "--id", "nobody"),
        ("jobs-from", OUT, "--vary", "2"),
        ("jobs-from", OUT, "--picked"),
        ("prune", OUT, "--rejected", "--dry-run"),
        ("annotate", OUT, "scores.csv", "--dry-run"),
    ],
)
def test_a_command_says_of_a_bucket_what_it_says_of_a_folder(bucket, args):
    Path("scores.csv").write_text("id,score\nfox,0.5\n")
    there, here = alike(*args)
    assert there.code == here.code
    assert there.out.replace(OUT, "local/out") == here.out
    assert there.err.replace(OUT, "local/out") == here.err


def test_records_are_read_without_listing_or_reading_images(bucket):
    assert run("export", OUT, "--csv", "table.csv").code == 0
    assert len(list(csv.reader(io.StringIO(Path("table.csv").read_text())))) == 5
    assert [path for _, path in bucket.requests if path.startswith("images")] == []


def test_report_puts_the_page_into_the_bucket_and_makes_each_thumbnail_once(bucket):
    done = run("report", OUT)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"gallery: {OUT}/gallery.html\n")
    page = bucket.objects["gallery.html"].decode()
    sources = re.findall(r'"src":"([^"]*)"', page)
    assert sorted(sources) == sorted(path for path in bucket.objects if path.startswith("images/"))
    thumbnails = set(re.findall(r'"thumb":"([^"]*)"', page)) - {""}
    assert thumbnails
    assert thumbnails <= bucket.objects.keys()
    assert "<title>out" in page
    assert bucket.types["gallery.html"] == "text/html; charset=utf-8"
    bucket.requests.clear()
    assert run("report", OUT).code == 0
    assert not [path for path in bucket.asked("fetch") if not path.startswith("journal/")]
    assert bucket.asked("put") == ["gallery.html"]
    assert bucket.objects["gallery.html"].decode() == page


def test_who_may_only_read_gets_the_report_and_how_to_leave_the_page_out(bucket):
    def refuse(name, path):
        if name == "put":
            raise BucketError(OUT, "access refused")

    bucket.before = refuse
    done = run("report", OUT)
    assert done.code == 5
    assert done.err == f"venice-batch: {OUT}: access refused; --no-gallery leaves the page out\n"
    assert done.out == run("report", OUT, "--no-gallery").out


def test_report_as_json_names_the_page_in_the_bucket(bucket):
    assert json.loads(run("report", OUT, "--json").out)["gallery"] == f"{OUT}/gallery.html"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (
            ("report", OUT, "--html", "page.html"),
            f"--html: a page on this machine cannot link to images in a bucket; {COPY}",
        ),
        (("jobs-from", OUT, "--upscale", "2"), f"the new jobs would send images that are in a bucket; {COPY}"),
        (("export", OUT, "--openai", "x.jsonl"), "--openai has no URLs of images in a bucket; give --images base64"),
        (("export", OUT, "--layout", "flat"), "--layout cannot write into a bucket; give --to DIR"),
    ],
)
def test_what_needs_files_of_this_machine_is_refused_in_a_line_with_the_way_out(bucket, args, why):
    done = run(*args)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"venice-batch: {why}\n"
    assert bucket.asked("put") == []


@pytest.mark.parametrize("target", ["--imagefolder", "--captions", "--webdataset"])
def test_datasets_of_a_bucket_hold_its_images(bucket, target):
    done = run("export", OUT, target, "data")
    assert done.code == 0
    assert done.err.startswith("data: 4 images (")
    here = run("export", "local/out", target, "here", "--copy")
    assert here.code == 0
    content = [{path.name: path.read_bytes() for path in Path(root).rglob("*.webp")} for root in ("data", "here")]
    assert content[0] == content[1]


def test_a_layout_and_openai_lines_of_a_bucket_hold_its_images(bucket):
    assert run("export", OUT, "--layout", "flat", "--to", "tree").code == 0
    assert len(list(Path("tree").glob("*.*g"))) == 4
    assert run("export", OUT, "--openai", "batch.jsonl", "--images", "base64").code == 0
    lines = [json.loads(line) for line in Path("batch.jsonl").read_text().splitlines()]
    assert [len(line["response"]["body"]["data"]) for line in lines] == [2, 2]


def test_annotate_keeps_what_others_write_at_the_same_time(bucket):
    Path("scores.csv").write_text("id,image,score\nfox,1,0.5\nfox,2,0.75\nsea,1,1\n")
    theirs = b'{"sha256":"x","id":"other","image":1,"values":{"a":1},"at":"2026-01-01T00:00:00Z"}\n'

    def before(name, path):
        if name == "create" and path == "annotations.jsonl":
            bucket.before = lambda name, path: None
            bucket.put("annotations.jsonl", theirs)

    bucket.before = before
    done = run("annotate", OUT, "scores.csv")
    assert done.out == f"{OUT}/annotations.jsonl: wrote 3 values; 3 images have score\n"
    lines = bucket.objects["annotations.jsonl"].splitlines(keepends=True)
    assert lines[0] == theirs
    assert len(lines) == 4
    assert run("annotate", OUT, "scores.csv").out.endswith("nothing new: 3 images have score already\n")
    assert len(run("report", OUT, "--by", "id", "--where", "score>0.6", "--format", "csv").out.splitlines()) > 1


def test_a_store_that_ignores_conditions_gets_no_values_and_no_prune(bucket):
    mark(bucket, ("fox", 1))
    before = dict(bucket.objects)
    bucket.conditions = False
    Path("scores.csv").write_text("id,score\nfox,0.5\n")
    for args in (("annotate", OUT, "scores.csv"), ("prune", OUT, "--rejected"), ("merge", "local/out", "-o", OUT)):
        done = run(*args)
        assert done.code == 5
        assert done.err.startswith(f"venice-batch: {OUT}: this store ignores conditions, so ")
        assert len(done.err.splitlines()) == 1
    assert bucket.objects == before


@pytest.mark.parametrize("delete", [[], ["--delete"]])
def test_prune_changes_the_bucket_as_it_would_a_folder(bucket, delete):
    mark(bucket, ("fox", 1), ("sea", 1), ("sea", 2))
    there, here = alike("prune", OUT, "--rejected", *delete)
    assert there.out == here.out.replace("local/out", OUT)
    assert (there.code, there.err) == (0, "")
    images = {path for path in bucket.objects if path.startswith(("images/", "rejected/"))}
    root = Path("local/out")
    assert images == {path.relative_to(root).as_posix() for path in root.rglob("*.webp")}
    assert bucket.objects["manifest.jsonl"] == (root / "manifest.jsonl").read_bytes()
    there, here = alike("report", OUT, "--no-gallery")
    assert there.out == here.out
    assert run("prune", OUT, "--rejected", *delete).out.startswith(f"no rejected image in {OUT} is left to ")


def test_a_dry_prune_takes_no_lock_and_writes_nothing(bucket):
    mark(bucket, ("fox", 1))
    bucket.requests.clear()
    done = run("prune", OUT, "--rejected", "--dry-run")
    assert done.out.startswith("would move 1 rejected image (")
    assert done.out.endswith(f" to {OUT}/rejected\n")
    assert {name for name, _ in bucket.requests} <= {"list", "head", "read", "get", "fetch"}


def test_shards_in_buckets_merge_into_a_folder_and_into_a_bucket(buckets, tmp_path):
    job = {"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64, "seed": 7}
    Path("jobs.jsonl").write_text("".join(json.dumps({**job, "id": f"j{number}"}) + "\n" for number in range(12)))
    shards = [f"s3://bucket/shard-{number}" for number in (1, 2, 3)]
    for number, address in enumerate(shards, 1):
        run("jobs.jsonl", *FAST, "-o", f"s{number}", "--shard", f"{number}/3", "--no-gallery")
        buckets[address] = FakeBucket(address).fill(tmp_path / f"s{number}")
    here = run("merge", *shards, "-o", "all")
    assert (here.code, here.out) == (0, "12 jobs in all: 12 added with 12 images, 0 there before\n")
    there = run("merge", *shards, "-o", "gs://joined/all")
    assert (there.code, there.err) == (0, "")
    assert there.out == "12 jobs in gs://joined/all: 12 added with 12 images, 0 there before\n"
    joined = buckets["gs://joined/all"]
    images = {path.relative_to("all").as_posix(): path.read_bytes() for path in Path("all/images").iterdir()}
    assert {path: data for path, data in joined.objects.items() if path.startswith("images/")} == images
    assert run("report", "gs://joined/all", "--by", "model").out == run("report", "all", "--by", "model").out
    joined.requests.clear()
    again = run("merge", *shards, "-o", "gs://joined/all")
    assert again.out == "12 jobs in gs://joined/all: 0 added with 0 images, 12 there before\n"
    assert [path for path in joined.asked("put") if path.startswith("images/")] == []
    resumed = run("jobs.jsonl", *FAST, "-o", "all", "--json")
    assert json.loads(resumed.out)["already_done"] == 12


def test_a_merge_into_a_bucket_overwrites_nothing_of_another_job(bucket, tmp_path):
    job = {"model": "venice-sd35", "prompt": "another", "width": 64, "height": 64, "variants": 2}
    Path("more.jsonl").write_text(json.dumps({**job, "id": "other", "metadata": {"name": "fox"}}) + "\n")
    run("more.jsonl", *FAST, "-o", "more", "--name", "{metadata.name}", "--no-gallery")
    before = {path: data for path, data in bucket.objects.items() if path.startswith("images/")}
    assert run("merge", "more", "-o", OUT).code == 0
    assert {path: bucket.objects[path] for path in before} == before
    assert {"images/fox-1~1.webp", "images/fox-2~1.webp"} <= bucket.objects.keys()


def test_an_image_that_the_bucket_has_lost_is_left_out_with_its_address(bucket):
    del bucket.objects["images/fox-1.webp"]
    done = run("merge", OUT, "-o", "all")
    assert done.code == 1
    assert done.err.startswith(f"venice-batch: left out: {OUT}: fox: images/fox-1.webp is missing")
    assert json.loads(run("merge", OUT, "-o", "all", "--json").out)["left_out"][0].startswith(f"{OUT}: fox: ")


def test_a_bucket_is_not_merged_into_itself(bucket):
    done = run("merge", OUT, "-o", OUT)
    assert (done.code, done.err) == (2, f"venice-batch: {OUT} is the folder to merge into; name only the others\n")


def test_a_run_takes_images_of_a_bucket_instead_of_buying_them(bucket):
    planned = run("check", "jobs.jsonl", "--reuse", OUT, "-o", "mine", "--sandbox", "--offline")
    assert "2 reused" in planned.out
    summary = json.loads(run("jobs.jsonl", *FAST, "--reuse", OUT, "-o", "mine", "--json").out)
    assert (summary["reused"], summary["attempts"]) == (2, 0)
    names = sorted(path.name for path in Path("mine/images").iterdir())
    assert names == ["fox-1.webp", "fox-2.webp", "sea-1.webp", "sea-2.webp"]
    record = json.loads(Path("mine/manifest.jsonl").read_text().splitlines()[0])
    assert record["reused"]["folder"] == "out"


def test_what_cannot_be_reused_is_said_with_the_address(bucket):
    mark(bucket, ("fox", 1))
    done = run("check", "jobs.jsonl", "--reuse", OUT, "-o", "mine", "--sandbox", "--offline")
    assert f"venice-batch: {OUT}: images of 1 job with the same request are not reused, " in done.err


@pytest.mark.parametrize(
    "args",
    [
        ("report", OUT),
        ("report", OUT, "--by", "model"),
        ("export", OUT, "--csv", "-"),
        ("jobs-from", OUT),
        ("view", OUT),
        ("annotate", OUT, "scores.csv"),
        ("prune", OUT, "--rejected"),
        ("merge", OUT, "-o", "all"),
        ("reconcile", OUT),
        ("check", "jobs.jsonl", "--reuse", OUT, "--sandbox", "--offline"),
    ],
)
def test_an_empty_bucket_is_no_output_folder(buckets, args):
    Path("scores.csv").write_text("id,score\nfox,0.5\n")
    Path("jobs.jsonl").write_text(json.dumps({"model": "venice-sd35", "prompt": "a fox"}) + "\n")
    done = run(*args)
    assert (done.code, done.out) == (5, "")
    assert done.err == f"venice-batch: {OUT}: holds no manifest.jsonl; is it a run's output folder?\n"


def test_without_the_extra_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    done = run("report", OUT)
    assert (done.code, done.out) == (2, "")
    assert "venice-batch[bucket]" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_bucket_out_of_reach_ends_report_without_a_page(bucket):
    def refuse(name, path):
        if name == "fetch" and path.startswith("images/"):
            raise BucketError(OUT, "cannot be reached; run this again later")

    bucket.before = refuse
    for more in ([], ["--no-gallery", "--grid", "grid.png"]):
        Path("grid.png").unlink(missing_ok=True)
        done = run("report", OUT, *more)
        assert done.code in ((5,) if not more else (2, 5))
    assert "gallery.html" not in bucket.objects
    assert not Path("grid.png").exists()


def test_scores_may_name_images_by_their_address(bucket):
    Path("scores.csv").write_text(f"path,score\n{OUT}/images/fox-2.webp,0.5\n")
    assert run("annotate", OUT, "scores.csv").code == 0
    assert json.loads(bucket.objects["annotations.jsonl"])["image"] == 2


@pytest.mark.parametrize("args", [("report", "s3://user:secret@b/x"), ("merge", OUT, "-o", "s3://user:secret@b/x")])
def test_an_address_with_a_password_is_refused_without_showing_it(bucket, monkeypatch, args):
    monkeypatch.undo()
    done = run(*args)
    assert done.code == 2
    assert "secret" not in done.err + done.out
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("address", ["http://host/out", "ftp://user:secret@host/out"])
def test_other_addresses_are_refused_without_their_password(address):
    done = run("report", address)
    assert done.code == 2
    assert "is an address, not a folder; folders in buckets are s3://BUCKET/PREFIX, az://… and gs://…" in done.err
    assert "secret" not in done.err


def test_a_projects_file_names_a_bucket_only_with_consent_and_the_users_own_without(bucket):
    Path("venice-batch.toml").write_text(f'[run]\nreuse = ["{OUT}"]\n')
    done = run("jobs.jsonl", *FAST, "-o", "mine")
    assert done.code == 2
    assert done.err == (
        f"venice-batch: venice-batch.toml: your credentials would be used for {OUT};"
        " if that is right: venice-batch trust venice-batch.toml\n"
    )
    Path("venice-batch.toml").rename("own.toml")
    summary = json.loads(run("jobs.jsonl", *FAST, "-o", "mine", "--json", "--config", "own.toml").out)
    assert summary["reused"] == 2


def test_marks_of_people_are_read_from_the_bucket(bucket):
    mark(bucket, ("sea", 2), kind="picked")
    lines = run("jobs-from", OUT, "--picked").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["sea"]
    assert list(read_marks(Path("local/out"))) == [("sea", digest("sea", 2), 2)]
