"""A sweep as one PNG: its layout, labels, limits and what stands for missing images."""

import io

import pytest
from gallery.made import file, image_bytes, noise_bytes, put, record, write
from PIL import Image
from records import failed, outcome

from venice_batch.errors import FolderError, UsageError
from venice_batch.gallery import grid
from venice_batch.gallery.grid import cell_side, cell_size, choose, wrapped, write_grid
from venice_batch.gallery.sweeps import Axis, Sweep
from venice_batch.gallery.thumbnails import make_thumbnails

RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)
WELL = (236, 234, 229)


def matrix_job(root, name="m", colour=RED, size=(64, 64), index=0, **fields):
    job_id = name + "".join(f"__{field}-{value}" for field, value in fields.items())
    data = image_bytes(*size, colour=colour)
    files = (put(root, f"images/{job_id}.png", data, *size),)
    return outcome(job_id, files=files, request={"model": "m", "prompt": "a gondola", **fields}, index=index)


def opened(root, which=None):
    return Image.open(io.BytesIO(write_grid(root, root / "grid.png", which).read_bytes()), formats=("PNG",))


def colours(image):
    """Return the saturated colours and that of empty cells, by where they first are from left to right and down."""
    rows = []
    for y in range(0, image.height, 8):
        row = [image.getpixel((x, y)) for x in range(0, image.width, 8)]
        found = list(dict.fromkeys(pixel for pixel in row if pixel in (RED, GREEN, BLUE, WELL)))
        if found and found not in rows[-1:]:
            rows.append(found)
    return rows


@pytest.fixture
def drawn(monkeypatch):
    """The texts that were drawn."""
    texts = []
    draw = grid.ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        grid.ImageDraw.ImageDraw,
        "text",
        lambda self, at, text, **given: (texts.append(text), draw(self, at, text, **given)),
    )
    return texts


def test_a_grid_has_the_images_in_rows_and_columns_with_labels(tmp_path, drawn):
    jobs = [
        matrix_job(tmp_path, colour=colour, seed=seed, steps=steps, index=index)
        for index, (seed, steps, colour) in enumerate([(9, 20, RED), (9, 10, GREEN), (1, 20, BLUE), (1, 10, RED)])
    ]
    write(tmp_path, *reversed(jobs))
    assert colours(opened(tmp_path)) == [[RED, GREEN], [BLUE, RED]]
    assert drawn == ["m", "a gondola", "steps: 20", "steps: 10", "seed: 9", "seed: 1"]


def test_a_single_field_makes_one_row(tmp_path, drawn):
    write(tmp_path, matrix_job(tmp_path, seed=1), matrix_job(tmp_path, seed=2, colour=BLUE, index=1))
    assert colours(opened(tmp_path)) == [[RED, BLUE]]
    assert drawn[-2:] == ["seed: 1", "seed: 2"]


def test_every_value_of_a_third_field_has_rows_of_its_own(tmp_path, drawn):
    fields = [(seed, steps, cfg) for seed in (1, 2) for steps in (5, 6) for cfg in (3, 4)]
    write(
        tmp_path,
        *(
            matrix_job(tmp_path, colour=GREEN if cfg == 4 else RED, seed=seed, steps=steps, cfg_scale=cfg, index=index)
            for index, (seed, steps, cfg) in enumerate(fields)
        ),
    )
    assert colours(opened(tmp_path)) == [[RED], [GREEN]]
    assert drawn[4:] == [
        text for cfg in (3, 4) for seed in (1, 2) for text in (f"cfg_scale: {cfg}", f"seed: {seed}")
    ]  # fmt: skip


def test_words_stand_for_images_that_cannot_be_shown(tmp_path, drawn):
    gone = matrix_job(tmp_path, seed=1)
    (tmp_path / gone.files[0].path).unlink()
    damaged = matrix_job(tmp_path, seed=2)
    (tmp_path / damaged.files[0].path).write_bytes(b"no image")
    write(
        tmp_path, gone, damaged, failed("m__seed-3", request={"prompt": "p", "seed": 3}), matrix_job(tmp_path, seed=4)
    )
    assert colours(opened(tmp_path)) == [[WELL, RED]]
    assert sorted(drawn[-3:]) == ["failed", "no image to show", "no image to show"]


def test_several_images_of_a_job_share_its_cell(tmp_path):
    files = tuple(put(tmp_path, f"images/{n}.png", image_bytes(colour=c)) for n, c in enumerate((RED, GREEN, BLUE)))
    many = outcome("m__seed-1", files=files, request={"prompt": "p", "seed": 1}, index=0)
    write(tmp_path, many, matrix_job(tmp_path, seed=2, index=1))
    shown = colours(opened(tmp_path))
    assert [RED, GREEN] in shown
    assert [BLUE, RED] in shown


def test_a_transparent_image_is_on_paper(tmp_path):
    data = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(data, "PNG")
    files = (put(tmp_path, "images/c.png", data.getvalue(), 64, 64),)
    cut_out = outcome("m__seed-1", files=files, request={"prompt": "p", "seed": 1}, index=0)
    write(tmp_path, cut_out, matrix_job(tmp_path, seed=2, index=1))
    image = opened(tmp_path)
    assert image.getpixel((100, image.height - 100)) == (255, 255, 255)


def test_a_sweep_that_is_called_like_its_prompt_shows_that_once(tmp_path, drawn):
    write(tmp_path, *(record(tmp_path, str(seed), request={"seed": seed}) for seed in (1, 2)))
    opened(tmp_path)
    assert drawn == ["a gondola", "seed: 1", "seed: 2"]


def test_an_image_larger_than_its_record_says_is_not_decoded(tmp_path, monkeypatch, drawn):
    monkeypatch.setattr(grid, "MOST_PIXELS", 100)
    large = matrix_job(tmp_path, seed=1, size=(64, 64))
    lying = outcome("m__seed-1", files=(file(large.files[0].path, b"", 1, 1),), request=large.request, index=0)
    write(tmp_path, lying, matrix_job(tmp_path, seed=2, size=(9, 9), index=1))
    assert colours(opened(tmp_path)) == [[WELL, RED]]
    assert "no image to show" in drawn


def test_nothing_outside_the_folder_is_read(tmp_path, drawn):
    (tmp_path / "secret.png").write_bytes(image_bytes(colour=BLUE))
    root = tmp_path / "out"
    files = (file("../secret.png", image_bytes(colour=BLUE)),)
    write(
        root,
        outcome("m__seed-1", files=files, request={"prompt": "p", "seed": 1}, index=0),
        matrix_job(root, seed=2, index=1),
    )
    assert colours(opened(root)) == [[WELL, RED]]


def test_cells_fit_images_that_are_all_wide_or_all_high():
    assert cell_size(400, [1.0]) == cell_size(400, [0.5, 2]) == cell_size(400, []) == (400, 400)
    assert cell_size(400, [2.0, 1.6]) == (400, 250)
    assert cell_size(400, [0.5, 0.25]) == (200, 400)


def test_cells_become_smaller_as_the_grid_grows():
    assert cell_side(3, 4) == grid.LARGEST_CELL
    assert cell_side(40, 40) == 141
    assert cell_side(1, 400) == 67
    with pytest.raises(UsageError, match="--grid: 1,000 × 10 images are too many for one picture"):
        cell_side(1000, 10)


def sweep(name, *numbers):
    return Sweep(name, (Axis("seed", tuple(map(str, numbers))),), tuple(enumerate(numbers)), None, 0)


@pytest.mark.parametrize(
    ("sweeps", "which", "number", "message"),
    [
        ([], None, None, "there is no sweep in this folder"),
        ([sweep("a", 1, 2), sweep("b", 3, 4)], None, None, r"there are 2 sweeps \(a, b\); choose one with --grid-of"),
        ([sweep(name, 1) for name in "abcdef"], "x", None, "there is no such sweep; they are called a, b, c, d, e, …"),
        ([sweep("a", 1, 2), sweep("a", 3, 4)], "a", None, "2 sweeps have this name; give the id of one of the jobs"),
    ],
)
def test_a_choice_that_is_not_clear_is_an_error(sweeps, which, number, message):
    with pytest.raises(UsageError, match=message):
        choose(sweeps, which, number)


def test_a_sweep_is_chosen_by_name_or_by_the_id_of_one_of_its_jobs(tmp_path):
    jobs = [
        matrix_job(tmp_path, name, colour, seed=seed) for name, colour in (("a", RED), ("b", BLUE)) for seed in (1, 2)
    ]
    write(tmp_path, *jobs)
    assert colours(opened(tmp_path, "b")) == [[BLUE]]
    assert colours(opened(tmp_path, "a__seed-2")) == [[RED]]
    assert choose([sweep("a", 1, 2)], None).name == "a"


def test_small_cells_are_made_from_thumbnails(tmp_path, monkeypatch):
    data = noise_bytes()
    jobs = [
        outcome(
            f"m__seed-{seed}",
            files=(put(tmp_path, f"images/{seed}.png", data, 320, 240),),
            request={"prompt": "p", "seed": seed},
            index=seed,
        )
        for seed in (1, 2)
    ]
    write(tmp_path, *jobs)
    make_thumbnails(tmp_path, jobs[0].files)
    for job in jobs:
        (tmp_path / job.files[0].path).unlink()
    monkeypatch.setattr(grid, "LARGEST_CELL", 256)
    image = opened(tmp_path)
    assert WELL not in {image.getpixel((x, 120)) for x in range(image.width)}
    monkeypatch.setattr(grid, "LARGEST_CELL", 257)
    assert colours(opened(tmp_path)) == [[WELL]]


def test_long_texts_are_wrapped_and_cut():
    font = grid._font(12)
    lines = wrapped("a canal at dusk " * 20, font, 120, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert max(map(font.getlength, lines)) <= 120
    assert wrapped("x" * 500, font, 60, 2)[0].endswith("…")
    assert wrapped("", font, 60, 2) == []
    assert wrapped("a\x1b[2J\ud800b", font, 600, 2) == ["a [2J b"]


def test_chinese_is_wrapped_between_characters_but_not_before_what_closes_them():
    font = grid._font(12)
    text = "月光下，一只猫坐在屋顶上。" * 4
    for room in range(30, 200, 7):
        lines = wrapped(text, font, room, 100)
        assert "".join(lines) == text
        assert max(map(font.getlength, lines)) <= room
        assert not any(line.startswith(("，", "。")) for line in lines)
    assert wrapped("a 猫 on\u3000roofs", font, 600, 1) == ["a 猫 on roofs"]


@pytest.fixture
def asked_fonts(monkeypatch):
    """Let the system have no fonts; return the names that are asked for."""
    whole, asked = grid.ImageFont.truetype, []

    def without_system(font, *given, **named):
        if isinstance(font, str):
            asked.append(font)
            raise OSError
        return whole(font, *given, **named)

    monkeypatch.setattr(grid.ImageFont, "truetype", without_system)
    grid._font.cache_clear()
    yield asked
    grid._font.cache_clear()


@pytest.mark.parametrize(("prompt", "first"), [("a cat", "DejaVuSans.ttf"), ("一只猫", "NotoSansCJK-Regular.ttc")])
def test_labels_are_drawn_with_a_font_that_has_their_letters(tmp_path, asked_fonts, prompt, first):
    write(tmp_path, matrix_job(tmp_path, prompt=prompt, seed=1), matrix_job(tmp_path, prompt=prompt, seed=2))
    opened(tmp_path)
    assert asked_fonts[0] == first


def test_without_a_font_of_the_system_pillow_has_one(asked_fonts):
    assert grid._font(13).getlength("a") > 0
    assert asked_fonts


def test_an_interrupted_grid_leaves_no_file(tmp_path, monkeypatch):
    write(tmp_path, matrix_job(tmp_path, seed=1), matrix_job(tmp_path, seed=2))

    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "_small", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_grid(tmp_path, tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()


def test_a_grid_that_cannot_be_written_is_an_error(tmp_path):
    write(
        tmp_path, record(tmp_path, "m__seed-1", request={"seed": 1}), record(tmp_path, "m__seed-2", request={"seed": 2})
    )
    with pytest.raises(FolderError):
        write_grid(tmp_path, tmp_path / "none" / "grid.png")
