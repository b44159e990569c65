"""The trees that scorers walk, walked as they do it."""

import hashlib
import io
import json
import os
import re

import msgspec
import pytest
from pictures import picture
from PIL import Image
from records import failed, outcome

from venice_batch.errors import FolderError, UsageError
from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.model import Flags, ImageFile
from venice_batch.report.export.journal import Origins, Part
from venice_batch.report.export.pixels import as_png
from venice_batch.report.export.tree import write_tree

COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]
SEEDS = {"seed": [1, 2, 3, 4]}


class Output:
    """An output folder with the records of a jobs file; `image` gives a job its images' bytes, None if it failed."""

    def __init__(self, root):
        self.root = root

    def fill(self, lines, image, *, suffix="jsonl", matrix=None, **changes):
        (self.root / "images").mkdir(parents=True, exist_ok=True)
        path = self.root.parent / f"jobs.{suffix}"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        matrix = matrix or {}
        values = {} if "model" in matrix else {"model": "venice-sd35"}
        with open_source(path) as source:
            jobs = list(JobIndex.build(source, defaults=Defaults(values, matrix=matrix)).jobs_in_order())
        records = []
        for job in jobs:
            made = image(job)
            found = [made] if isinstance(made, bytes) else made or []
            files = tuple(self._file(f"{job.id}-{number}", data) for number, data in enumerate(found))
            record = outcome(job.id, files=files, **changes) if files else failed(job.id)
            records.append(
                msgspec.structs.replace(
                    record,
                    index=job.index,
                    request=job.request,
                    request_hash=job.request_hash,
                    metadata=job.metadata,
                    lane=job.model,
                )
            )
        # Jobs end in another order than that of the file.
        text = b"".join(msgspec.json.encode(record) + b"\n" for record in reversed(records))
        (self.root / "manifest.jsonl").write_bytes(text)
        return records

    def _file(self, name, data):
        try:
            with Image.open(io.BytesIO(data)) as image:
                kind, size = image.format.lower(), image.size
        except OSError:
            kind, size = "png", (1, 1)
        path = f"images/{name}.{kind}"
        (self.root / path).write_bytes(data)
        return ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), kind, *size)


@pytest.fixture
def out(tmp_path):
    return Output(tmp_path / "out")


def by_seed(kind="PNG", size=(32, 32)):
    """Return images whose colour is that of the seed."""
    return lambda job: picture(*size, kind=kind, colour=COLOURS[job.request.get("seed", 1) - 1])


def geneval_samples(folder):
    """Walk GenEval's tree as its `evaluate_images.py` does; yield the line and the path of every sample."""
    for name in os.listdir(folder):
        if not ((folder / name).is_dir() and name.isdigit()):
            continue
        with open(folder / name / "metadata.jsonl") as file:
            line = json.load(file)
        for sample in os.listdir(folder / name / "samples"):
            path = folder / name / "samples" / sample
            if path.is_file() and re.match(r"\d+\.png", sample):
                yield line, path


PROMPTS = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {"tag": "counting", "include": [{"class": "cow", "count": 3}], "exclude": [], "prompt": "a photo of three cows"},
    {"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}], "prompt": "a photo of a red cup"},
]


def native(line):
    return {"prompt": line["prompt"], "metadata": {name: value for name, value in line.items() if name != "prompt"}}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_genevals_scorer_finds_every_sample_with_the_sets_own_line(out, tmp_path, kind):
    out.fill(map(native, PROMPTS), by_seed(kind), matrix=SEEDS)
    tree = write_tree(out.root, "geneval", tmp_path / "tree")
    found = sorted(geneval_samples(tmp_path / "tree"), key=lambda sample: sample[1])
    assert len(found) == 12
    for number, (line, path) in enumerate(found):
        assert path.relative_to(tmp_path / "tree").parts == (f"0000{number // 4}", "samples", f"000{number % 4}.png")
        assert line == PROMPTS[number // 4]
        with Image.open(path) as image:
            near = zip(image.convert("RGB").getpixel((9, 9)), bytes.fromhex(COLOURS[number % 4][1:]), strict=True)
            assert image.format == "PNG"
            assert all(abs(one - other) < 4 for one, other in near)
    assert str(tree) == "12 images of 3 prompts"
    assert tree.warnings == ()
    is_linked = (tmp_path / "tree/00000/samples/0000.png").stat().st_nlink == 2
    assert is_linked == (kind == "PNG")
    notes = {
        "PNG": (),
        "WEBP": ("made PNG of 12 WebP images, with the same pixels; --set format=png makes PNG from the start",),
        "JPEG": ("made PNG of 12 JPEG images, with the same pixels; --set format=png makes PNG from the start",),
    }
    assert tree.notes == notes[kind]


def test_a_prompt_without_any_image_has_no_folder_that_would_stop_the_scorer(out, tmp_path):
    out.fill(map(native, PROMPTS), lambda job: None if "cows" in job.request["prompt"] else picture(), matrix=SEEDS)
    tree = write_tree(out.root, "geneval", tmp_path / "tree")
    assert len(list(geneval_samples(tmp_path / "tree"))) == 8
    assert sorted(path.name for path in (tmp_path / "tree").glob("0*")) == ["00000", "00002"]
    (warning,) = tree.warnings
    assert re.fullmatch(r"4 samples missing, of jobs without image: [0-9a-f]{16}, and 3 more", warning)


def test_each_model_has_a_folder_of_its_own(out, tmp_path):
    matrix = {"model": ["venice-sd35", "flux-2-pro"], **SEEDS}
    out.fill(map(native, PROMPTS), by_seed(), matrix=matrix)
    tree = write_tree(out.root, "geneval", tmp_path / "tree")
    for model in matrix["model"]:
        assert len(list(geneval_samples(tmp_path / "tree" / model))) == 12
    assert str(tree) == "24 images of 3 prompts, 2 models or settings"


def test_prompts_without_the_sets_tags_are_pointed_out(out, tmp_path):
    out.fill([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}], by_seed())
    tree = write_tree(out.root, "geneval", tmp_path / "tree")
    assert tree.warnings == ("2 prompts without metadata.tag, which GenEval's scorer needs: a, and 1 more",)


def compbench_samples(folder):
    """Yield number, prompt and path as T2I-CompBench's scorers read them from the names."""
    names = sorted(os.listdir(folder / "samples"), key=lambda name: int(name.split("_")[-1].split(".")[0]))
    assert names == sorted(names, key=lambda name: int(name.split("_")[1].split(".")[0]))
    for name in names:
        yield int(name.split(".png")[0].split("_")[1]), name.split("_")[0], folder / "samples" / name


def test_compbenchs_scorers_find_prompts_and_numbers(out, tmp_path):
    prompts = ["a green bench and a blue bowl", "a red hat", "a green bench and a blue bowl"]
    out.fill(prompts, by_seed("WEBP"), suffix="txt", matrix=SEEDS)
    tree = write_tree(out.root, "t2i-compbench", tmp_path / "tree")
    found = list(compbench_samples(tmp_path / "tree"))
    assert [(number, prompt) for number, prompt, _ in found] == [(at, prompts[at // 4]) for at in range(12)]
    assert tree.warnings == ()


def test_compbench_keeps_the_numbers_of_missing_samples(out, tmp_path):
    out.fill("abc", lambda job: None if job.index in (1, 5) else picture(), suffix="txt", matrix=SEEDS)
    write_tree(out.root, "t2i-compbench", tmp_path / "tree")
    assert [number for number, *_ in compbench_samples(tmp_path / "tree")] == [0, 2, 3, 4, *range(6, 12)]


def test_a_prompt_that_cannot_be_a_name_is_pointed_out(out, tmp_path):
    out.fill(
        [{"id": "a", "prompt": "either/or"}, {"id": "b", "prompt": "x" * 400}, {"id": "c", "prompt": "y"}], by_seed()
    )
    tree = write_tree(out.root, "t2i-compbench", tmp_path / "tree")
    assert [prompt for _, prompt, _ in compbench_samples(tmp_path / "tree")] == ["either or", "x" * 244, "y"]
    assert tree.warnings == ("2 names without the prompt as it is, which is too long or has / or _: a, and 1 more",)


def hpsv2_images(folder, prompts):
    """Open images as HPSv2's `evaluate` does: each name in the folder is a style, with a file of prompts."""
    for style in os.listdir(folder):
        for number in range(len(prompts[style])):
            with Image.open(folder / style / f"{number:05d}.jpg") as image:
                yield style, number, image.convert("RGB").getpixel((9, 9))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_hpsv2s_scorer_finds_a_style_by_style_folder(tmp_path, kind):
    prompts = {"anime": ["a", "b", "c"], "photo": ["d", "e"]}
    for style, texts in prompts.items():
        out = Output(tmp_path / style)
        out.fill(texts, lambda job: picture(kind=kind, colour=COLOURS[job.index]), suffix="txt")
        tree = write_tree(out.root, "hpsv2", tmp_path / "tree")
    found = {(style, number): colour for style, number, colour in hpsv2_images(tmp_path / "tree", prompts)}
    assert len(found) == 5
    assert all(colour[number] > 200 for (_, number), colour in found.items())
    assert (tmp_path / "tree/photo/00000.jpg").samefile(
        next((tmp_path / "photo/images").glob("*-0.*")).parent
        / next(
            path.name
            for path in (tmp_path / "photo/images").iterdir()
            if path.samefile(tmp_path / "tree/photo/00000.jpg")
        )
    )
    spelled = {"WEBP": "WebP", "PNG": "PNG"}.get(kind)
    note = f"named 2 {spelled} images .jpg as they are; HPSv2's scorer goes by their content"
    assert tree.notes == ((note,) if spelled else ())


def test_hpsv2_counts_each_styles_prompts_from_0_where_lines_have_a_style(out, tmp_path):
    lines = [
        {"id": f"{style}{n}", "prompt": f"{n}", "metadata": {"style": style}}
        for style in ("anime", "photo")
        for n in "12"
    ]
    out.fill(lines, by_seed("JPEG"))
    assert str(write_tree(out.root, "hpsv2", tmp_path / "tree")) == "4 images of 4 prompts"
    found = sorted(
        (style, number) for style, number, _ in hpsv2_images(tmp_path / "tree", dict.fromkeys(["anime", "photo"], "12"))
    )
    assert found == [("anime", 0), ("anime", 1), ("photo", 0), ("photo", 1)]


def test_hpsv2_reads_one_sample_a_prompt_so_further_ones_have_folders(tmp_path):
    out = Output(tmp_path / "anime")
    out.fill("ab", by_seed("JPEG"), suffix="txt", matrix={"model": ["venice-sd35", "flux-2-pro"], "seed": [1, 2]})
    tree = write_tree(out.root, "hpsv2", tmp_path / "tree")
    names = [f"{model}_sample-{sample}" for model in ("flux-2-pro", "venice-sd35") for sample in (0, 1)]
    assert sorted(os.listdir(tmp_path / "tree")) == names
    for name in names:
        assert len(list(hpsv2_images(tmp_path / "tree" / name, {"anime": "ab"}))) == 2
    assert tree.notes == ("each of the 2 samples of a prompt has a folder of its own, sample-0 and so on; score each",)


def test_hpsv2_without_a_style_writes_nothing(out, tmp_path):
    out.fill("ab", by_seed(), suffix="txt")
    with pytest.raises(UsageError, match="--layout hpsv2: the folder's name 'out' has none of the styles"):
        write_tree(out.root, "hpsv2", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_hpsv2_says_what_a_missing_image_does(tmp_path):
    out = Output(tmp_path / "anime")
    out.fill("ab", lambda job: None if job.index else picture(), suffix="txt")
    (warning,) = write_tree(out.root, "hpsv2", tmp_path / "tree").warnings
    assert warning.endswith("; its scorer scores another prompt's image instead")


def test_unigenbenchs_scorer_finds_four_samples_of_each_index(out, tmp_path):
    lines = ["index,prompt", "0,a panda", "1,a bird", "7,a fox"]
    out.fill(lines, by_seed("WEBP"), suffix="csv", matrix=SEEDS)
    tree = write_tree(out.root, "unigenbench", tmp_path / "tree")
    assert all((tmp_path / "tree" / f"{index}_{sample}.png").exists() for index in (0, 1, 7) for sample in range(4))
    assert tree.warnings == ()


@pytest.mark.parametrize(("layout", "name"), [("unigenbench", "7_0.png"), ("dpg-grid", "7.png")])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_two_jobs_whose_images_would_have_one_name_are_named_with_the_remedy(out, tmp_path, layout, name, kind):
    field = {"unigenbench": "index", "dpg-grid": "item_id"}[layout]
    lines = [{"id": job_id, "prompt": job_id, "metadata": {field: "7"}} for job_id in ("x", "y")]
    out.fill([{"id": "free", "prompt": "z", "metadata": {field: "5"}}, *lines], by_seed(kind))
    with pytest.raises(FolderError) as caught:
        write_tree(out.root, layout, tmp_path / "tree")
    assert str(caught.value) == (
        f"{tmp_path / 'tree' / name}: 'x' and 'y' would both have this name; give one another id, index or item_id,"
        f" and run into a new folder with --reuse {out.root}: nothing is bought"
    )
    assert not (tmp_path / "tree").exists()


def test_too_few_samples_for_the_scorer_are_pointed_out(out, tmp_path):
    out.fill("ab", by_seed(), suffix="txt", matrix={"seed": [1, 2]})
    (warning,) = write_tree(out.root, "unigenbench", tmp_path / "tree").warnings
    assert warning == (
        "UniGenBench's scorer reads 4 samples of each prompt, and the jobs file makes 2; --matrix seed=1,2,3,4 makes 4"
    )
    lines = [{"id": "a", "prompt": "x", "matrix": SEEDS}, {"id": "b", "prompt": "y", "matrix": {"seed": [1]}}]
    out.fill(lines, by_seed())
    (warning,) = write_tree(out.root, "unigenbench", tmp_path / "again").warnings
    assert warning == "1 prompt with fewer than 4 samples in the jobs file"


def dpg_cells(folder, resolution, pictures):
    """Cut grids as DPG-Bench's scorer does; yield the prompt's name and the middle of each cell."""
    corners = [(0, 0), (resolution, 0), (0, resolution), (resolution, resolution)]
    for name in os.listdir(folder):
        if name.startswith("."):
            continue  # its error about a file that is no image is one line
        with Image.open(folder / name) as image:
            cells = [image.crop((x, y, x + resolution, y + resolution)) for x, y in corners[:pictures]]
            yield name.split(".")[0], [cell.getpixel((resolution // 2, resolution // 2)) for cell in cells]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_dpg_benchs_scorer_finds_the_samples_in_its_grids(out, tmp_path, kind):
    out.fill([{"id": "stanford1", "prompt": "x"}, {"id": "COCO2", "prompt": "y"}], by_seed(kind), matrix=SEEDS)
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    found = dict(dpg_cells(tmp_path / "tree", 32, 4))
    assert found.keys() == {"stanford1", "COCO2"}
    for cells in found.values():
        wanted = [bytes.fromhex(colour[1:]) for colour in COLOURS]
        assert all(
            abs(a - b) < 4 for cell, want in zip(cells, wanted, strict=True) for a, b in zip(cell, want, strict=True)
        )
    assert str(tree) == "8 images of 2 prompts in 2 grids"
    assert (tree.notes, tree.warnings) == (("score it with --resolution 32 --pic-num 4",), ())


def test_a_prompt_without_all_images_of_its_grid_is_left_out(out, tmp_path):
    out.fill(
        [{"id": one, "prompt": one} for one in "abc"],
        lambda job: None if job.index == 5 else picture(9, 9),
        matrix=SEEDS,
    )
    (out.root / "images/c__seed-2-0.png").unlink()
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    assert [name for name in os.listdir(tmp_path / "tree") if name[0] != "."] == ["a.png"]
    assert tree.warnings == (
        "1 sample missing, of jobs without image: b__seed-2",
        "left out 2 prompts without all images of a grid: b__seed-1, and 1 more",
        "left out 1 image, missing: c__seed-2",
    )


def test_a_grid_whose_image_has_changed_is_left_out(out, tmp_path):
    out.fill([{"id": one, "prompt": one} for one in "ab"], lambda job: picture(9, 9), matrix=SEEDS)
    path = out.root / "images/b__seed-2-0.png"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    assert tree.warnings == (
        "left out 1 prompt without all images of a grid: b__seed-4",
        "left out 1 image, changed since it was made: b__seed-2",
    )


@pytest.mark.parametrize(("samples", "linked"), [(1, True), (2, False), (3, False)])
def test_fewer_samples_than_four_make_smaller_grids(out, tmp_path, samples, linked):
    out.fill([{"id": "a", "prompt": "x"}], by_seed(), matrix={"seed": [1, 2, 3][:samples]})
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    ((_, cells),) = dpg_cells(tmp_path / "tree", 32, samples)
    assert len(cells) == samples
    assert tree.notes == (f"score it with --resolution 32 --pic-num {samples}",)
    assert ((tmp_path / "tree/a.png").stat().st_nlink == 2) == linked


def test_an_image_of_unknown_size_may_be_a_grid_by_itself(out, tmp_path):
    out.fill([{"id": "a", "prompt": "x"}], by_seed())
    record = msgspec.json.decode((out.root / "manifest.jsonl").read_bytes())
    record["files"][0] |= {"width": None, "height": None}
    (out.root / "manifest.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    assert (tree.images, tree.notes, tree.warnings) == (1, (), ())


def test_a_grid_holds_the_first_four_samples(out, tmp_path):
    out.fill([{"id": "a", "prompt": "x"}], lambda job: picture(9, 9), matrix={"seed": [1, 2, 3, 4, 5, 6]})
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    assert tree.warnings == ("left out 2 images: a grid holds the first 4 of a prompt",)


def test_images_that_dpg_bench_cannot_cut_are_pointed_out(out, tmp_path):
    sizes = {"a": (32, 32), "b": (48, 32)}
    out.fill([{"id": one, "prompt": one} for one in "ab"], lambda job: picture(*sizes[job.id[0]]), matrix=SEEDS)
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    assert tree.warnings == ("DPG-Bench's scorer cuts squares of one size, and the images have 32×32, 48×32",)


def test_a_prompt_with_images_of_different_sizes_is_left_out(out, tmp_path):
    out.fill([{"id": "a", "prompt": "x"}], lambda job: picture(job.request["seed"] * 8, 8), matrix=SEEDS)
    tree = write_tree(out.root, "dpg-grid", tmp_path / "tree")
    assert tree.warnings == ("left out 1 prompt with images of different sizes: a__seed-4",)
    assert (tree.images, tree.files) == (0, 0)


def test_flat_counts_through_all_samples(out, tmp_path):
    out.fill("ab", by_seed("WEBP"), suffix="txt", matrix={"seed": [1, 2]})
    write_tree(out.root, "flat", tmp_path / "tree")
    names = sorted(name for name in os.listdir(tmp_path / "tree") if name[0] != ".")
    assert names == [f"0000{number}.png" for number in range(4)]


def test_the_variants_of_a_job_are_samples(out, tmp_path):
    out.fill(
        [{"id": "a", "prompt": "x", "variants": 3}, {"id": "b", "prompt": "y", "variants": 3}],
        lambda job: [picture(colour=c) for c in COLOURS[: 3 if job.id == "b" else 2]],
    )
    tree = write_tree(out.root, "geneval", tmp_path / "tree")
    assert sorted(path.relative_to(tmp_path / "tree").as_posix() for path in (tmp_path / "tree").rglob("*.png")) == [
        *(f"00000/samples/000{sample}.png" for sample in range(2)),
        *(f"00001/samples/000{sample}.png" for sample in range(3)),
    ]
    assert "1 sample missing, of jobs without image: a" in tree.warnings


def test_an_image_that_cannot_be_decoded_is_left_out(out, tmp_path):
    out.fill([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}], by_seed("WEBP"))
    record = msgspec.json.decode((out.root / "manifest.jsonl").read_bytes().splitlines()[0])
    file = record["files"][0]
    data = b"\0" * file["bytes"]
    (out.root / file["path"]).write_bytes(data)
    file["sha256"] = hashlib.sha256(data).hexdigest()
    with (out.root / "manifest.jsonl").open("ab") as manifest:
        manifest.write(msgspec.json.encode(record) + b"\n")
    tree = write_tree(out.root, "flat", tmp_path / "tree")
    assert tree.warnings == ("left out 1 image that cannot be decoded: b",)
    assert tree.images == 1


def test_flagged_images_are_left_out_unless_asked_for(out, tmp_path):
    out.fill("ab", by_seed("WEBP"), suffix="txt", flags=Flags(blurred=True))
    tree = write_tree(out.root, "flat", tmp_path / "tree")
    assert tree.images == 0
    assert re.search(
        "left out 2 images, blurred or a content violation: .*; --flagged takes them too", tree.warnings[0]
    )
    assert write_tree(out.root, "flat", tmp_path / "tree", flagged=True).images == 2


def test_a_flagged_image_that_needs_no_change_is_left_out_too(out, tmp_path):
    out.fill("ab", by_seed(), suffix="txt", flags=Flags(content_violation=True))
    assert write_tree(out.root, "flat", tmp_path / "tree").images == 0


def test_jobs_without_a_prompt_are_passed_over(tmp_path):
    out = Output(tmp_path / "anime")
    out.fill("ab", by_seed(), suffix="txt")
    with (out.root / "manifest.jsonl").open("ab") as manifest:
        manifest.write(msgspec.json.encode(outcome("up", request={"image": "x"}, index=2)) + b"\n")
    for layout in ("flat", "hpsv2"):
        assert write_tree(out.root, layout, tmp_path / layout).images == 2


def test_the_next_export_updates_the_tree(out, tmp_path):
    records = out.fill("abc", by_seed("WEBP"), suffix="txt", matrix=SEEDS)
    write_tree(out.root, "flat", tmp_path / "tree")
    with (out.root / "manifest.jsonl").open("ab") as manifest:
        for record in records[4:]:
            last = msgspec.structs.replace(record, flags=Flags(blurred=True))
            manifest.write(msgspec.json.encode(last) + b"\n")
    write_tree(out.root, "flat", tmp_path / "tree")
    assert len(list((tmp_path / "tree").glob("*.png"))) == 4


def test_a_tree_of_which_nothing_is_left_is_emptied(out, tmp_path):
    (record,) = out.fill("a", by_seed(), suffix="txt")
    write_tree(out.root, "flat", tmp_path / "tree")
    with (out.root / "manifest.jsonl").open("ab") as manifest:
        manifest.write(msgspec.json.encode(msgspec.structs.replace(record, files=())) + b"\n")
    assert write_tree(out.root, "flat", tmp_path / "tree").images == 0
    assert not list((tmp_path / "tree").glob("*.png"))


def test_a_folder_with_anything_else_is_refused(out, tmp_path):
    out.fill("ab", by_seed(), suffix="txt")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/mine.png").write_bytes(b"")
    with pytest.raises(FolderError, match=r"holds 'mine\.png'"):
        write_tree(out.root, "flat", tmp_path / "tree")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_images_can_be_rewritten_on_their_way(out, tmp_path, kind):
    out.fill("a", by_seed(kind), suffix="txt")
    asked = []

    def rewrite(data, record, image, number):
        asked.append((Image.open(io.BytesIO(data)).format, image.format, number))
        return data + b"!"

    write_tree(out.root, "flat", tmp_path / "tree", rewrite=rewrite)
    assert asked == [("PNG", "png", 1)]
    assert (tmp_path / "tree/00000.png").read_bytes().endswith(b"!")


def test_copies_share_nothing_with_the_folder(out, tmp_path):
    out.fill("a", by_seed(), suffix="txt")
    write_tree(out.root, "flat", tmp_path / "tree", copy=True)
    assert (tmp_path / "tree/00000.png").stat().st_nlink == 1


def test_jobs_without_a_record_are_pointed_out(out, tmp_path):
    out.fill([{"id": one, "prompt": one} for one in "abcd"], by_seed())
    manifest = out.root / "manifest.jsonl"
    manifest.write_bytes(b"".join(line for line in manifest.read_bytes().splitlines(True) if b'"id":"b"' not in line))
    tree = write_tree(out.root, "flat", tmp_path / "tree")
    assert tree.warnings == ("1 job of the jobs file without a record; run it again, then export",)
    assert sorted(path.name for path in (tmp_path / "tree").glob("*.png")) == ["00000.png", "00002.png", "00003.png"]


def test_a_folder_without_prompts_is_an_error(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").write_bytes(msgspec.json.encode(outcome(request={"image": "x"})) + b"\n")
    with pytest.raises(UsageError, match=r"--layout flat: no job of .* has a prompt"):
        write_tree(tmp_path / "out", "flat", tmp_path / "tree")


@pytest.mark.parametrize("layout", ["geneval", "dpg-grid"])
def test_a_files_images_are_known_although_its_content_is_another(out, tmp_path, layout):
    records = out.fill([{"id": "a", "prompt": "x"}], by_seed("WEBP"), matrix=SEEDS)
    for _ in range(2):
        write_tree(out.root, layout, tmp_path / "tree")
        parts = [Part(record.files[0].sha256, record.id, 1) for record in records]
        if layout == "dpg-grid":
            assert Origins().of(tmp_path / "tree/a.png").parts == tuple(parts)
        else:
            found = [Origins().of(tmp_path / f"tree/00000/samples/000{sample}.png").parts for sample in range(4)]
            assert found == [(part,) for part in parts]


def test_what_was_made_of_the_same_image_is_not_made_again(out, tmp_path, monkeypatch):
    records = out.fill("abcd", by_seed("WEBP"), suffix="txt")
    write_tree(out.root, "flat", tmp_path / "tree")
    (tmp_path / "tree/00001.png").write_bytes(b"changed")
    (tmp_path / "tree/00002.png").unlink()
    (out.root / records[3].files[0].path).unlink()
    made = []
    monkeypatch.setattr("venice_batch.report.export.tree.as_png", lambda data: made.append(data) or as_png(data))
    tree = write_tree(out.root, "flat", tmp_path / "tree")
    assert len(made) == 2, "the one that somebody has changed, and the one that is gone"
    assert sorted(path.name for path in (tmp_path / "tree").glob("*.png")) == ["00000.png", "00001.png", "00002.png"]
    assert tree.warnings[-1] == "kept 1 file that somebody has changed since the last export: 00001.png"
    assert Origins().of(tmp_path / "tree/00000.png").of == (records[0].files[0].sha256,)


def test_a_grid_of_the_same_images_is_not_made_again(out, tmp_path, monkeypatch):
    out.fill([{"id": one, "prompt": one} for one in "ab"], by_seed("WEBP"), matrix=SEEDS)
    trees = [write_tree(out.root, "dpg-grid", tmp_path / "tree")]
    monkeypatch.setattr("venice_batch.report.export.tree.grid", lambda images: pytest.fail("made again"))
    trees.append(write_tree(out.root, "dpg-grid", tmp_path / "tree"))
    assert trees[0] == trees[1]


def test_a_rewritten_image_is_made_again_without_the_change_and_back(out, tmp_path):
    out.fill("ab", by_seed("WEBP"), suffix="txt")

    def tails(rewrite):
        write_tree(out.root, "flat", tmp_path / "tree", rewrite=rewrite)
        return {path.read_bytes()[-1:] for path in (tmp_path / "tree").glob("*.png")}

    plain = tails(None)
    assert plain != {b"!"}
    for rewrite in (b"!", None, None, b"?", b"!", None):
        after = tails(rewrite and (lambda data, *_, end=rewrite: data + end))
        assert after == ({rewrite} if rewrite else plain)
