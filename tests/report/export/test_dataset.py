"""The rows of a dataset."""

import pytest
from records import IMAGE, failed, outcome

from venice_batch.model import Flags, ImageFile, Parent
from venice_batch.output.annotations import Annotation, Annotations
from venice_batch.report.export.columns import ColumnType, Row
from venice_batch.report.export.dataset import Images, Names, Texts, caption, dataset_columns, ending, values


def image(path, file_format="webp"):
    return ImageFile(path, 5, "0" * 64, file_format, 8, 8)


def child(job_id, parent, **request):
    return outcome(job_id, parent=Parent(parent, "0" * 64, 1), request=request)


def names(*records):
    return [column.name for column in dataset_columns(records)]


def test_a_text_is_the_prompt():
    assert Texts([outcome()]).of(outcome()) == "a gondola"


@pytest.mark.parametrize("request_", [{}, {"prompt": None}, {"prompt": " "}, {"prompt": 7}])
def test_without_a_prompt_the_text_is_that_of_the_original(request_):
    records = [child("c", "b", **request_), child("b", "a", **request_), outcome("a")]
    texts = Texts(records)
    assert [texts.of(record) for record in records] == ["a gondola"] * 3


def test_an_edit_has_a_text_of_its_own():
    edit = child("b", "a", prompt="make it night")
    assert Texts([edit, outcome("a")]).of(edit) == "make it night"


def test_the_prompt_that_was_noted_with_the_job_counts_too():
    record = outcome(request={"scale": 2}, metadata={"prompt": "a lagoon"})
    assert Texts([record]).of(record) == "a lagoon"


def test_without_an_original_there_is_no_text():
    lost, circle, local = child("a", "gone"), [child("b", "c"), child("c", "b")], outcome("x", request={})
    texts = Texts([lost, *circle, local])
    assert [texts.of(record) for record in (lost, *circle, local)] == [""] * 4


def test_images_come_with_their_texts_and_jobs_without_one_are_counted():
    two = outcome("a", files=(IMAGE, IMAGE))
    images = Images([two, failed("b"), failed("c")])
    assert [(found.record.id, found.number, found.text) for found in images] == [("a", n, "a gondola") for n in (1, 2)]
    assert images.left_out() == ["2 jobs: failed or rejected, no image"]
    assert Images([two]).left_out() == []


def test_columns_about_the_image_come_first_then_the_request_then_metadata():
    request = {"seed": 1, "prompt": "p", "model": "m", "width": 8, "steps": 20, "image": {"path": "/home/me/cat.png"}}
    assert names(outcome(request=request, metadata={"tag": "x"}, cost_usd=0.1)) == [
        *("id", "image_number", "model", "width", "height", "format", "sha256", "cost_usd", "sandbox"),
        *("seed", "steps", "metadata.tag"),
    ]


def test_annotations_are_columns():
    scores = Annotations()
    scores.add(Annotation(IMAGE.sha256, "a", 1, {"score": 0.5, "other": None}, "2026-11-29T00:00:00Z"))
    records = [outcome("a"), outcome("b")]
    table = {column.name: column for column in dataset_columns(records, scores)}
    assert "annotation.other" not in table
    assert [table["annotation.score"].cell(Row(record, IMAGE, 1)) for record in records] == [0.5, None]


def test_columns_that_are_empty_for_all_images_are_left_out():
    assert "cost_usd" not in names(outcome())
    assert "seed" not in names(outcome(), failed("b", request={"seed": 1}))
    assert "parent_id" in names(outcome(), child("b", "a"))
    assert "enhanced_prompt" in names(outcome(flags=Flags(enhanced_prompt="a golden gondola")))


def test_a_column_has_one_type_in_all_rows():
    records = [outcome("a", metadata={"x": 1}), outcome("b", metadata={"x": "one"}), outcome("c", request={"y": 1.5})]
    table = {column.name: column for column in dataset_columns(records)}
    assert (table["metadata.x"].kind, table["y"].kind) == (ColumnType.TEXT, ColumnType.FLOAT)


def test_unknown_fields_take_no_name_of_a_column_or_of_a_file():
    record = outcome(request={"text": "t", "id": 7, "mask_file_name": "m.png"}, metadata={"file_names": "x"})
    found = names(record)
    assert {"request.text", "request.id", "mask_filename", "metadata.filenames"} <= set(found)
    assert "text" not in found


def test_an_empty_cell_is_left_out_of_its_row():
    records = [outcome("a", request={"seed": 7}), outcome("b", request={})]
    table = dataset_columns(records)
    assert values(table, Row(records[0], IMAGE, 1))["seed"] == 7
    assert "seed" not in values(table, Row(records[1], IMAGE, 1))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("images/a.webp", "a"),
        ("images/x/y.z.webp", "x/y.z"),
        ("rejected/a.webp", "a"),
        ("elsewhere/a", "elsewhere/a"),
        ("images", "images"),
        (".webp", ".webp"),
        ("images/../../a.webp", "a"),
        ("", "_"),
    ],
)
def test_an_image_keeps_its_name_below_its_folder(path, name):
    assert Names().of(image(path)) == name


def test_no_two_images_have_one_name_also_where_case_does_not_count():
    given = Names()
    assert [given.of(image(f"images/{name}.webp")) for name in ("a", "A", "a", "a-2")] == ["a", "A-2", "a-3", "a-2-2"]


def test_names_can_be_shaped():
    assert Names(str.upper).of(image("images/a.webp")) == "A"


def test_the_ending_follows_from_the_format():
    assert [ending(image("a.json", kind)) for kind in ("jpeg", "tiff", "webp", "json")] == [
        ".jpg",
        ".tif",
        ".webp",
        ".bin",
    ]


def test_a_caption_is_one_line():
    assert caption(" a cat\r\n\ton  a mat \n") == "a cat on a mat"
