"""The names of images in each layout."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import outcome

from venice_batch import portable
from venice_batch.cli import options
from venice_batch.errors import UsageError
from venice_batch.report.export.layouts import LAYOUTS, STYLES, Spot, is_cut, line_of, style_of


def spot(prompt=7, sample=2, samples=4, text="a red car", job_id="a", **changes):
    record = outcome(job_id, request={"model": "m", "prompt": text}, **changes)
    return Spot(record, prompt, sample, samples)


def path(layout, *args, **changes):
    return LAYOUTS[layout].path(spot(*args, **changes)) + LAYOUTS[layout].suffix


def test_the_command_offers_every_layout():
    assert tuple(LAYOUTS) == options.LAYOUTS


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("geneval", "00007/samples/0002.png"),
        ("t2i-compbench", "samples/a red car_000030.png"),
        ("hpsv2", "00007.jpg"),
        ("unigenbench", "7_2.png"),
        ("dpg-grid", "a.png"),
        ("flat", "00030.png"),
    ],
)
def test_each_layout_names_an_image(layout, expected):
    assert path(layout) == expected


def test_geneval_gets_the_sets_own_line_again():
    include = [{"class": "bench", "count": 1}]
    record = outcome(metadata={"vars": {"x": "y"}, "tag": "counting", "include": include}, request={"prompt": "p"})
    assert line_of(record) == {"tag": "counting", "include": include, "prompt": "p"}
    assert line_of(outcome(request={"prompt": "p"})) == {"prompt": "p"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A car.", "A car."),
        ("either/or", "either or"),
        ("snake_case", "snake case"),
        ("two\nlines", "two lines"),
        ("", ""),
    ],
)
def test_compbench_finds_the_prompt_before_the_first_underscore(text, shown):
    name = path("t2i-compbench", text=text).removeprefix("samples/")
    assert name == f"{shown}_000030.png"
    assert (name.split("_")[0], int(name.split("_")[1].split(".")[0]) if "." not in shown else 30) == (shown, 30)


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_every_prompt_of_compbench_is_a_file_name(text):
    name = path("t2i-compbench", text=text).removeprefix("samples/")
    assert len(name.encode()) <= 255
    assert not {"/", "\0"}.intersection(name)
    assert name.count("_") == 1


def test_a_prompt_that_a_name_does_not_hold_is_known():
    assert not is_cut(spot(text="a red car."))
    assert is_cut(spot(text="a/b"))
    assert is_cut(spot(text="a" * 300))


@pytest.mark.parametrize(
    ("metadata", "job_id", "name"),
    [
        ({"index": 42}, "a", "42_2"), ({"index": "0042"}, "a", "42_2"), ({"index": "x"}, "a", "7_2"),
        ({"index": -1.5}, "a", "7_2"), ({"index": True}, "a", "7_2"), (None, "42", "42_2"),
        (None, "42__seed-1", "42_2"), (None, "prompt-42", "7_2"),
    ],
)  # fmt: skip
def test_unigenbench_counts_by_its_own_index(metadata, job_id, name):
    made = spot(job_id=job_id, metadata=metadata)
    made.record.request["seed"] = 1
    assert LAYOUTS["unigenbench"].path(made) == name


@pytest.mark.parametrize(
    ("metadata", "job_id", "name"),
    [
        ({"item_id": "COCO17"}, "a", "COCO17"), ({"item_id": 17}, "a", "17"), ({"item_id": "../x"}, "a", "_.._x-"),
        (None, "stanford12__seed-1", "stanford12"), (None, "ffffffffffffffff", "00007"),
    ],
)  # fmt: skip
def test_dpg_bench_finds_a_grid_by_its_prompts_file(metadata, job_id, name):
    made = spot(job_id=job_id, metadata=metadata)
    made.record.request["seed"] = 1
    found = LAYOUTS["dpg-grid"].path(made)
    assert found == name if not name.endswith("-") else found.startswith(name)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("folder", ["{}", "flux-{}", "{}_2026-01-01", "HPS.{}"])
def test_hpsv2s_style_is_in_the_folders_name(style, folder):
    assert style_of(outcome(), folder.format(style.upper())) == style


def test_the_style_in_metadata_comes_first():
    assert style_of(outcome(metadata={"style": "photo"}), "anime") == "photo"


@pytest.mark.parametrize("folder", ["gen", "anime-photo", "photos", "animes"])
def test_an_unknown_style_is_an_error_that_says_where_it_may_stand(folder):
    with pytest.raises(UsageError, match=rf"'{folder}' has none of the styles anime, .* no metadata\.style; run each"):
        style_of(outcome(), folder)


def test_windows_gets_no_name_that_it_refuses(monkeypatch):
    monkeypatch.setattr(portable, "IS_WINDOWS", True)
    assert path("t2i-compbench", text='what? "a": b') == "samples/what   a   b_000030.png"


def test_a_record_of_anybody_names_no_path():
    for layout in LAYOUTS.values():
        for text in ("../../x", "..", ".", "/etc/passwd", "a\0b"):
            metadata = {"item_id": text, "index": text}
            made = spot(text=text, job_id=text, metadata=metadata)
            parts = layout.path(made).split("/")
            assert not {"", ".", ".."}.intersection(parts)
            assert len(parts) <= 3
            msgspec.json.encode(layout.path(made))
