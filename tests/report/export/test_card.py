"""The card of a dataset."""

import os

import pytest
import yaml
from records import IMAGE, outcome

from venice_batch.report.export.card import NAME, Card, write_beside

LOAD = 'dataset = load_dataset("imagefolder", data_dir="set", split="train")'


def card(*records, columns=(("image", "image"), ("text", "string")), title="set", left_out=()):
    made = Card()
    for record in records:
        for image in record.files:
            made.add(record, image, "a text")
    return made.text(title, LOAD, columns, left_out).decode()


def header(text):
    _, found, _ = text.split("---\n", 2)
    return yaml.safe_load(found)


def made_at(moment, job_id="a", **changes):
    record = outcome(job_id, **changes)
    timing = record.timing
    return outcome(
        job_id, **changes, timing=type(timing)(moment, *[getattr(timing, n) for n in timing.__struct_fields__[1:]])
    )


def test_the_header_is_what_the_hub_reads():
    assert header(card(outcome(), title='my "set": 1')) == {
        "pretty_name": 'my "set": 1',
        "task_categories": ["text-to-image"],
        "size_categories": ["n<1K"],
        "annotations_creators": ["machine-generated"],
        "tags": ["synthetic", "ai-generated", "venice-batch"],
    }


@pytest.mark.parametrize(("images", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (10_000, "10K<n<100K")])
def test_the_size_is_one_of_the_hubs_categories(images, category):
    made = Card()
    record = outcome()
    for _ in range(images):
        made.add(record, IMAGE, "")
    assert header(made.text("set", LOAD, []).decode())["size_categories"] == [category]


def test_models_prices_dates_and_counts():
    text = card(
        made_at("2026-01-01T23:59:00.000Z", "a", cost_usd=0.02, files=(IMAGE, IMAGE)),
        made_at("2026-01-03T01:00:00+02:00", "b", cost_usd=0.01),
        made_at("2026-01-02T00:00:00.000Z", "c", cost_usd=0.5, lane="qwen-image"),
        made_at("nonsense", "d", lane="mystery"),
    )
    assert "5 images of 4 jobs, made from 2026-01-01 to 2026-01-02 (UTC)." in text
    assert "AI models have made all images from text prompts; none is a photograph or the work of a person." in text
    assert "Formats: webp (5); 25 B in all." in text
    assert text[text.index("| model") :].splitlines()[2:5] == [
        "| venice-sd35 | 3 | 0.03 | 0.01 |",
        "| mystery | 1 | ? | ? |",
        "| qwen-image | 1 | 0.50 | 0.50 |",
    ]
    assert "In all: ≥ 0.53 USD, by the lists of prices at that time." in text
    assert "sandbox" not in text


def test_prices_that_are_partly_known_are_a_lower_bound():
    text = card(outcome("a", cost_usd=0.02), outcome("b"))
    assert "| venice-sd35 | 2 | ≥ 0.02 | 0.02 |" in text
    assert "In all: price not known" in card(outcome())


def test_an_amount_at_most_counts_as_spent():
    assert "| venice-sd35 | 1 | 0.04 | 0.04 |" in card(outcome(at_most_usd=0.04))


def test_a_day_alone_is_given_once():
    assert "1 image of 1 job, made on 2026-01-01. " in card(outcome())
    assert "1 image of 1 job. " in card(made_at("?"))


def test_images_of_the_sandbox_are_called_so_plainly():
    every = card(outcome("a", sandbox=True, cost_usd=0.1))
    assert "**No image is by a real model: the sandbox of venice-batch, a simulator, has drawn all of them**" in every
    assert "In all: 0.10 USD of sandbox money" in every
    assert "AI models" not in every
    some = card(outcome("a", sandbox=True), outcome("b"), outcome("c"))
    assert "**1 image of them is no model's: the sandbox of venice-batch, a simulator, has drawn them**" in some


def test_columns_are_described():
    columns = [("webp", "image"), ("json.id", "string"), ("metadata.a|b`", "int64"), ("annotation.score", "float64")]
    lines = card(outcome(), columns=[*columns, ("seed", "int64")]).split("## Columns")[1].splitlines()
    assert lines[4:9] == [
        "| `webp` | image | the image |",
        "| `json.id` | string | the job that made the image |",
        "| `metadata.a\\|b'` | int64 | given with the job |",
        "| `annotation.score` | float64 | said of the image afterwards, as by a scorer |",
        "| `seed` | int64 | a field of the request |",
    ]


def test_what_is_left_out_is_listed():
    assert "## Not in the dataset\n\n- 1 image: missing\n" in card(outcome(), left_out=["1 image: missing"])
    assert "## Not in" not in card(outcome())


def test_text_from_elsewhere_is_shown_as_it_is():
    text = card(outcome(lane="<b>|[x](y)\n`m`"), title="# a\n---\n*b*\udcff")
    assert "| \\<b\\>\\|\\[x\\](y)\ufffd\\`m\\` | 1 |" in text
    assert header(text)["pretty_name"] == "# a\ufffd---\ufffd*b*\ufffd"
    assert text.count("\n---\n") == 1


def test_formats_come_the_most_common_first():
    made = Card()
    for kind in ("png", "webp", "webp"):
        made.add(outcome(), type(IMAGE)("a", 1, "", kind, 1, 1), "")
    assert made.formats == ["webp", "png"]


def test_a_card_of_an_earlier_export_is_replaced_unless_it_was_changed(tmp_path):
    file = tmp_path / "set.parquet"
    first, second = card(outcome()).encode(), card(outcome(), outcome("b")).encode()
    assert write_beside(file, first)
    assert write_beside(file, second)
    assert (tmp_path / NAME).read_bytes() == second
    (tmp_path / NAME).write_bytes(second.replace(b"AI models", b"We"))
    assert not write_beside(file, first)
    (tmp_path / NAME).write_text("# My project\n")
    assert not write_beside(file, first)
    assert (tmp_path / NAME).read_text() == "# My project\n"


def test_the_card_of_another_file_stays(tmp_path):
    first = card(outcome(), title="one.parquet").encode()
    assert write_beside(tmp_path / "one.parquet", first)
    assert not write_beside(tmp_path / "two.parquet", card(outcome(), title="two.parquet").encode())
    assert (tmp_path / NAME).read_bytes() == first


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_anything_else_in_the_place_of_the_card_stays(tmp_path, kind):
    place = tmp_path / NAME
    {"link": lambda: place.symlink_to("x"), "pipe": lambda: os.mkfifo(place), "folder": place.mkdir}[kind]()
    assert not write_beside(tmp_path / "set.parquet", card(outcome()).encode())
    assert not (tmp_path / "x").exists()
