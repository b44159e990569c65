"""Runs whose jobs send pictures along, from the jobs file to the manifest, against the sandbox."""

import hashlib
from pathlib import Path

import orjson
import pytest
from pictures import picture
from records import read_outcomes

from venice_batch.api.client import ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.library import run_jobs
from venice_batch.run.run import run_batch
from venice_batch.run.settings import RunSettings
from venice_batch.sandbox import SandboxSettings, serve

LINES = [
    {"id": "x4", "endpoint": "/image/upscale", "image": "photos/cat.png", "scale": 4},
    {"id": "hat", "endpoint": "/image/edit", "image": "photos/cat.png", "prompt": "a hat", "output_format": "webp"},
    {"id": "both", "endpoint": "/image/multi-edit", "images": ["photos/cat.png", "photos/dog.jpg"],
     "prompt": "together", "model": "qwen-image-2-edit"},
    {"id": "cut", "endpoint": "/image/background-remove", "image": "photos/dog.jpg"},
]  # fmt: skip
CAT, DOG = picture(320, 240), picture(300, 300, kind="JPEG")


@pytest.fixture
async def sandbox():
    async with serve(SandboxSettings(latency_s=0, draw="plain")) as sandbox:
        yield sandbox


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_bytes(CAT)
    (tmp_path / "photos/dog.jpg").write_bytes(DOG)
    return tmp_path


def write(folder, lines=LINES):
    path = folder / "jobs.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return path


async def run(path, sandbox):
    return await run_jobs(path, path.parent / "out", api_key="k", base_url=sandbox.base_url)


def records(folder):
    return {outcome.id: outcome for outcome in read_outcomes(folder / "out/manifest.jsonl")}


async def test_pictures_go_out_and_come_back_changed(folder, sandbox):
    summary = await run(write(folder), sandbox)
    assert (summary.succeeded, summary.cost_usd) == (4, 0.2)
    made = records(folder)
    sizes = {name: (one.files[0].path, one.files[0].width, one.files[0].height) for name, one in made.items()}
    assert sizes["x4"] == ("images/x4.png", 1280, 960)
    assert sizes["hat"] == ("images/hat.webp", 320, 240)
    assert sizes["cut"] == ("images/cut.png", 300, 300)
    assert sizes["both"][0] == "images/both.png"
    assert {one.lane for one in made.values()} == {
        "upscaler", "firered-image-edit", "qwen-image-2-edit", "bria-bg-remover",
    }  # fmt: skip


async def test_a_record_has_the_path_and_the_hash_of_its_pictures_and_is_a_line_itself(folder, sandbox):
    await run(write(folder), sandbox)
    cat = {"path": str(folder / "photos/cat.png"), "sha256": hashlib.sha256(CAT).hexdigest()}
    assert records(folder)["x4"].request == {"image": cat, "scale": 4}
    assert records(folder)["both"].request["images"][0] == cat
    manifest = folder / "out/manifest.jsonl"
    assert max(map(len, manifest.read_bytes().splitlines())) < 3000, "no base64"
    summary = await run_jobs(manifest, folder / "out", api_key="k", base_url=sandbox.base_url)
    assert (summary.already_done, summary.attempts) == (4, 0)


async def test_an_edited_picture_runs_again_and_a_moved_one_does_not(folder, sandbox):
    await run(write(folder), sandbox)
    (folder / "photos").rename(folder / "moved")
    lines = [orjson.loads(orjson.dumps(line).replace(b"photos/", b"moved/")) for line in LINES]
    assert (await run(write(folder, lines), sandbox)).already_done == 4
    (folder / "moved/cat.png").write_bytes(picture(320, 240, colour="#123456"))
    summary = await run(write(folder, lines), sandbox)
    assert (summary.already_done, summary.succeeded) == (1, 3)


async def test_a_picture_that_changes_after_the_check_fails_its_jobs_and_nothing_is_paid_for_it(folder, sandbox):
    settings = RunSettings(output=folder / "out", api=ApiSettings(base_url=sandbox.base_url))
    with open_source(write(folder)) as source:
        index = JobIndex.build(source)
        (folder / "photos/cat.png").write_bytes(picture(320, 240, colour="#123456"))
        (folder / "photos/dog.jpg").unlink()
        summary = await run_batch(index, ApiKey("k"), settings)
    assert (summary.failed, summary.errors) == (4, {"source": 4})
    assert sandbox.stats()["requests"] == 0
    messages = {one.error.message for one in records(folder).values()}
    cat, dog = folder / "photos/cat.png", folder / "photos/dog.jpg"
    assert messages == {
        f"{cat} has changed since it was checked; run again to send the new version",
        f"{dog} cannot be read any more: No such file or directory",
    }
    (folder / "photos/dog.jpg").write_bytes(DOG)
    assert (await run(write(folder), sandbox)).succeeded == 4


async def test_jobs_of_a_program_name_pictures_from_the_current_folder(folder, sandbox, monkeypatch):
    monkeypatch.chdir(folder)
    jobs = [{"endpoint": "/image/background-remove", "image": "photos/cat.png"}]
    summary = await run_jobs(jobs, "out", api_key="k", base_url=sandbox.base_url)
    assert summary.succeeded == 1
    (record,) = records(Path()).values()
    assert record.request["image"]["path"] == str(folder / "photos/cat.png")


async def test_a_picture_may_be_one_that_an_earlier_run_made(folder, sandbox):
    await run(write(folder, LINES[:1]), sandbox)
    again = {"id": "again", "endpoint": "/image/background-remove", "image": "out/images/x4.png"}
    assert (await run(write(folder, [LINES[0], again]), sandbox)).succeeded == 1
