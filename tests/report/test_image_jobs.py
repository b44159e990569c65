"""Jobs from the recipes in images: which files are looked at, and what becomes of what the API does not know."""

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from venice_batch.errors import JobsFileError, UsageError
from venice_batch.model import Endpoint
from venice_batch.report.export.recipe import Recipe, embedded
from venice_batch.report.image_jobs import ImageJobs, image_files
from venice_batch.report.jobs_from import Changes

OURS = Recipe({"model": "venice-sd35", "prompt": "a cat", "seed": 1}, "cat")
THEIRS = (
    "a cat\nNegative prompt: dogs\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512, Model: sd_xl"
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def ours(path, recipe=OURS, style="xmp"):
    data = BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(embedded(data.getvalue(), recipe, style))


def theirs(path, text=THEIRS):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def plain(path):
    Image.new("RGB", (8, 8)).save(path)


UNCHANGED = Changes()


def made(*paths, changes=UNCHANGED, models=("venice-sd35", "default")):
    found = ImageJobs(changes, is_model=models.__contains__)
    return [
        {"id": job.id, **job.request, "metadata": job.metadata} for job in found.jobs(map(Path, paths))
    ], found.notices


def test_folders_are_walked_in_order_without_hidden_files_and_links(tmp_path):
    for name in ("b/2.png", "b/1.png", "a.png", ".hidden/x.png", "b/.x.png", "b/c/3.png"):
        ours(name)
    Path("b/notes.txt").write_text("no image")
    os.symlink(tmp_path / "b", "d")
    os.mkfifo("b/pipe.png")
    assert [str(path) for path in image_files([Path("."), Path("a.png")])] == [
        "a.png",
        "b/1.png",
        "b/2.png",
        "b/c/3.png",
        "a.png",
    ]


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"^nothing\.png: No such file"):
        list(image_files([Path("nothing.png")]))
    with pytest.raises(UsageError, match=r"^gone\.png: No such file"):
        made("gone.png")


def test_our_own_images_become_the_same_jobs():
    for style in ("xmp", "a1111"):
        ours("x.png", style=style)
        assert made("x.png") == (
            [{"id": "cat", "model": "venice-sd35", "prompt": "a cat", "seed": 1, "metadata": None}],
            [],
        )


def test_changes_go_over_the_recipe():
    ours("x.png")
    (job,), _ = made("x.png", changes=Changes({"steps": 9}, frozenset({"seed"}), "-b"))
    assert job == {"id": "cat-b", "model": "venice-sd35", "prompt": "a cat", "steps": 9, "metadata": None}


def test_other_programs_images_lose_what_the_api_does_not_know():
    theirs("one.png")
    (job,), notices = made("one.png")
    assert job["metadata"] == {"Sampler": "Euler a", "Model": "sd_xl"}
    assert (job["id"], job["model"], job["prompt"], job["negative_prompt"]) == ("one", "default", "a cat", "dogs")
    assert (job["seed"], job["width"], job["steps"], job["cfg_scale"]) == (42, 512, 20, 7)
    assert notices == [
        "1 job gets the API's default model instead of another program's (sd_xl); --set model=NAME chooses one"
    ]
    (job,), notices = made("one.png", changes=Changes({"model": "venice-sd35"}))
    assert (job["model"], notices) == ("venice-sd35", [])


def test_values_out_of_range_become_metadata():
    theirs("big.png", THEIRS.replace("512x512", "4096x4096").replace("CFG scale: 7", "CFG scale: 99"))
    (job,), notices = made("big.png", models=("sd_xl",))
    assert job["metadata"] == {"Sampler": "Euler a", "cfg_scale": 99, "height": 4096, "width": 4096}
    assert not {"width", "height", "cfg_scale"} & job.keys()
    assert notices == ["values that the API does not take became metadata, in 1 image (big.png)"]


def test_settings_of_other_programs_are_kept_within_bounds():
    theirs("x.png", "p\n" + ", ".join(f"k{number}: {'v' * 2000}" for number in range(100)))
    (job,), _ = made("x.png")
    assert len(job["metadata"]) == 64
    assert {len(value) for value in job["metadata"].values()} == {1000}


def test_images_without_a_recipe_and_repeated_ones_are_told():
    ours("a.png")
    ours("b.png")
    ours("e.png", Recipe({"scale": 2}, "up", Endpoint.UPSCALE))
    for number in range(4):
        plain(f"none-{number}.png")
    jobs, notices = made("a.png", "b.png", "e.png", *(f"none-{number}.png" for number in range(4)))
    assert len(jobs) == 1
    assert notices == [
        "no recipe in 4 images (none-0.png, none-1.png, none-2.png, …)",
        "left out 1 image (e.png): made from other images, which a recipe does not hold",
        "left out 1 image (b.png): the same job as an earlier one",
    ]


def test_many_models_are_named_briefly():
    for number in range(5):
        theirs(f"{number}.png", THEIRS.replace("sd_xl", f"m{number}"))
    _, notices = made(*(f"{number}.png" for number in range(5)))
    assert "5 jobs get the API's default model instead of another program's (m0, m1, m2, …)" in notices[0]


def test_two_jobs_of_one_id_get_two_ids():
    theirs("one/00001.png")
    theirs("two/00001.png", THEIRS.replace("a cat", "a dog"))
    jobs, _ = made("one/00001.png", "two/00001.png")
    assert jobs[0]["id"] == "00001"
    assert jobs[1]["id"].startswith("00001~")


def test_a_recipe_of_a_later_version_is_an_error_that_names_the_file():
    ours("later.png", Recipe({"model": "venice-sd35", "prompt": "p", "new_field": 1}, "a"))
    ours("empty.png", Recipe({"model": "venice-sd35"}, "b"))
    with pytest.raises(JobsFileError) as caught:
        made("later.png", "empty.png")
    assert [str(problem) for problem in caught.value.problems] == [
        "later.png: new_field: unknown field",
        "empty.png: prompt: missing",
    ]


def test_a_job_too_long_for_a_line_is_an_error():
    ours("x.png", Recipe({"model": "venice-sd35", "prompt": "p"}, "a"))
    with pytest.raises(JobsFileError):
        made("x.png", changes=Changes({"prompt": "p" * 1_100_000}))
