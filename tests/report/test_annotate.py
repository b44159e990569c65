"""Scores find their images, and each value is written once."""

import json
import math

import pytest
from records import outcome

from venice_batch.errors import UsageError
from venice_batch.model import ImageFile
from venice_batch.output import annotations, manifest
from venice_batch.output.annotations import read_annotations
from venice_batch.report.annotate import MOST_NAMES, annotate, sentences
from venice_batch.text_format import json_bytes

AT = "2026-11-29T12:00:00Z"


def image(path, digest):
    return ImageFile(path, 5, digest * 64, "webp", 1, 1)


FOX = outcome("fox", files=(image("images/fox-1.webp", "1"), image("images/fox-2.webp", "2")))
SEA = outcome("sea", files=(image("images/sea.webp", "3"),))
LOST = outcome("lost", files=())


@pytest.fixture
def out(tmp_path):
    (tmp_path / manifest.NAME).write_bytes(b"".join(json_bytes(one) + b"\n" for one in (FOX, SEA, LOST)))
    return tmp_path


def give(out, *found, name="scores.jsonl", **options):
    data = found[0].encode() if isinstance(found[0], str) else "\n".join(map(json.dumps, found)).encode()
    return annotate(out, [(name, data)], at=AT, **options)


def values(out):
    found = read_annotations(out)
    return [found.of(FOX, 1), found.of(FOX, 2), found.of(SEA, 1)]


@pytest.mark.parametrize(
    ("keys", "which"),
    [
        ({"id": "sea"}, [2]),
        ({"ID": "sea"}, [2]),
        ({"custom_id": "sea"}, [2]),
        ({"id": "fox"}, [0, 1]),
        ({"id": "fox", "image": 2}, [1]),
        ({"id": "fox", "variant": "1"}, [0]),
        ({"id": "fox#2"}, [1]),
        ({"id": "fox-2"}, [1]),
        ({"path": "images/fox-2.webp"}, [1]),
        ({"file_name": "fox-2.webp"}, [1]),
        ({"filename": "/x/fox-2.png"}, [1]),
        ({"image_path": "fox-2.webp"}, [1]),
        ({"image": "images/fox-2.webp"}, [1]),
        ({"image": "images/fox-2.webp", "id": 17}, [1]),
        ({"sha256": "2" * 64}, [1]),
        ({"sha256": "2" * 64, "id": "fox"}, [1]),
        ({"id": "fox", "sha256": "2" * 64, "image": 2}, [1]),
        ({"path": "gone.webp", "id": "sea"}, [2]),
        ({"id": "", "path": "images/sea.webp"}, [2]),
        ({"id": "fox", "image": ""}, [0, 1]),
        ({"id": "fox", "image": None}, [0, 1]),
        ({"id": "fox", "image": 2.0}, [1]),
        ({"id": "fox", "image": "2.0"}, [1]),
        ({"id": "fox", "path": "images/fox-2.webp", "image": 2}, [1]),
        ({"id": "fox", "path": "images/fox-2.webp", "image": "a fox"}, [1]),
        ({"id": 17, "path": "images/fox-2.webp", "image": 0}, [1]),
    ],
)
def test_a_row_names_its_image_by_id_path_or_hash(out, keys, which):
    done = give(out, {**keys, "score": 0.5})
    assert (done.rows, done.matched, done.images, done.written) == (1, 1, len(which), len(which))
    assert done.names == ("score",)
    assert values(out) == [{"score": 0.5} if number in which else {} for number in range(3)]


@pytest.mark.parametrize(
    "keys",
    [
        {"id": "lost"},
        {"id": "fox", "image": 3},
        {"id": "nobody"},
        {"path": "nobody.webp"},
        {"sha256": "0" * 64},
        {"path": "images/fox-2.webp", "sha256": "1" * 64},
        {"id": None},
        {"id": {"a": 1}},
        {"id": "fox", "path": "images/sea.webp"},
        {"id": "lost", "path": "images/sea.webp"},
        {"id": "fox-1", "path": "images/fox-2.webp"},
        {"id": "sea", "sha256": "1" * 64},
        {"id": "fox", "path": "images/fox-2.webp", "image": 1},
    ],
)
def test_a_row_about_no_image_is_shown_and_counted(out, keys):
    done = give(out, {"id": "sea", "score": 1}, {**keys, "score": 0.5})
    assert (done.rows, done.matched, values(out)) == (2, 1, [{}, {}, {"score": 1}])
    (sentence,) = sentences(done)
    assert sentence.startswith("1 row of 2 matches no image: scores.jsonl:2: ")


@pytest.mark.parametrize("number", [-1, 3, "1.5", "1,0", "first", "gone.webp", "٢", "00000000000000000001"])
def test_an_image_that_is_no_number_of_the_job_is_not_all_of_its_images(out, number):
    done = give(out, {"id": "sea", "score": 1}, {"id": "fox", "image": number, "score": 0.5})
    assert (done.matched, values(out)) == (1, [{}, {}, {"score": 1}])
    (sentence,) = sentences(done)
    assert sentence.endswith(f"scores.jsonl:2: id 'fox', image '{number}' (the job has 2 images, counted from 1)")


@pytest.mark.parametrize("zero", [0, "0", "0.0", 0.0, "-0", "00"])
def test_nothing_is_taken_from_a_scorer_that_counts_from_0(out, zero):
    said = f"'{zero}': images count from 1; if the scorer counts from 0, add 1 in all rows"
    with pytest.raises(UsageError, match=rf"scores\.jsonl:2: id 'fox', image {said}"):
        give(out, {"id": "fox", "image": 1, "x": 1}, {"id": "fox", "image": zero, "x": 2})
    assert values(out) == [{}, {}, {}]


@pytest.mark.parametrize("own", [0.93, 0, "0.5"])
def test_beside_a_path_a_column_that_counts_no_images_is_the_scorers_own(out, own):
    assert give(out, {"id": "fox", "path": "images/fox-2.webp", "image": own, "x": 1}).matched == 1
    assert values(out) == [{}, {"x": 1}, {}]


def test_a_row_that_has_a_key_is_not_taken_for_a_wrapper(out):
    with pytest.raises(UsageError, match="no row matches an image of the folder, such as id 'typo'"):
        give(out, {"id": "typo", "boxes": [{"x": 1}], "score": 1})


@pytest.mark.parametrize("keys", [{"image": "00012"}, {"image": "00012", "id": 17}])
def test_digits_may_be_the_name_of_a_file_if_no_id_names_a_job(tmp_path, keys):
    plum = outcome("plum", files=(image("images/00012.webp", "4"),))
    (tmp_path / manifest.NAME).write_bytes(json_bytes(plum) + b"\n")
    assert give(tmp_path, {**keys, "x": 1}).images == 1


def test_keys_that_name_different_images_are_told(out):
    done = give(out, {"id": "sea", "x": 1}, {"id": "fox", "path": "images/sea.webp", "x": 2})
    (sentence,) = sentences(done)
    assert "path 'images/sea.webp' and id 'fox' do not name the same image" in sentence
    with pytest.raises(UsageError, match=r"such as id 'fox', image '3' \(the job has 2 images, counted from 1\)"):
        give(out, {"id": "fox", "image": 3, "x": 1})


def test_a_path_that_fits_several_images_names_none_even_beside_the_id_of_a_job(out):
    (out / "geneval").mkdir()
    made = [{"path": f"{prompt}/0.png", "sha256": digest * 64} for prompt, digest in enumerate("123")]
    (out / "geneval/.venice-batch-export.jsonl").write_text("{}\n" + "".join(json.dumps(one) + "\n" for one in made))
    rows = [{"path": "/gpu/1/0.png"}, {"path": "0.png"}, {"path": "0.png", "id": "fox"}, {"path": "0.png", "id": "sea"}]
    done = give(out, *({**row, "x": number} for number, row in enumerate(rows)))
    assert (done.matched, values(out)) == (2, [{}, {"x": 0}, {"x": 3}])
    (sentence,) = sentences(done)
    assert sentence.count("path '0.png' (ambiguous: several files end so, such as geneval/0/0.png and ") == 2
    done = give(out, {"file": "0.png", "x": 1}, {"file": "1/0.png", "x": 1}, key="file")
    assert "file '0.png' (ambiguous: " in next(sentences(done))


def test_rows_about_no_image_are_told_once(out):
    done = give(out, *({"id": f"x{number}", "score": 1} for number in range(9)), {"id": "sea", "score": 1})
    (sentence,) = sentences(done)
    assert sentence.startswith("9 rows of 10 match no image: scores.jsonl:1: id 'x0'; scores.jsonl:2: id 'x1'; ")
    assert sentence.endswith("scores.jsonl:5: id 'x4', …")


def test_the_key_column_may_have_any_name_and_hold_any_kind_of_key(out):
    for number, key in enumerate(("sea", "fox#2", "1" * 64, "images/fox-1.webp", "out/fox-2.png")):
        assert give(out, {"what": key, "id": "sea", f"n{number}": 1}, key="what").matched == 1
    assert give(out, {"what": "lost", "n": 1}, {"what": "sea", "n": 1}, key="what").matched == 1
    assert values(out) == [
        {"n2": 1, "id": "sea", "n3": 1},
        {"n1": 1, "id": "sea", "n4": 1},
        {"n0": 1, "id": "sea", "n": 1},
    ]


def test_the_same_values_again_write_nothing(out):
    rows = [{"id": "fox", "image": 1, "score": 0.5, "ok": True}, {"id": "sea", "score": 1}]
    assert give(out, *rows).written == 3
    before = (out / annotations.NAME).read_bytes()
    assert give(out, *rows).written == 0
    assert (out / annotations.NAME).read_bytes() == before
    done = give(out, {"id": "sea", "score": True})
    assert (done.written, values(out)[2]) == (1, {"score": True})


def test_values_of_several_files_add_up(out):
    files = [("a", b'{"id": "sea", "x": 1}'), ("b", b"id,y\nsea,2\n")]
    done = annotate(out, files, at=AT, prefix="v.")
    assert (done.rows, done.names, values(out)[2]) == (2, ("v.x", "v.y"), {"v.x": 1, "v.y": 2})
    assert len((out / annotations.NAME).read_bytes().splitlines()) == 1


def test_a_file_that_cannot_be_read_writes_nothing_at_all(out):
    with pytest.raises(UsageError, match="b:2"):
        annotate(out, [("a", b'{"id": "sea", "x": 1}'), ("b", b"id,x\n\xff")], at=AT)
    assert not (out / annotations.NAME).exists()


def test_a_dry_run_counts_and_writes_nothing(out):
    assert give(out, {"id": "sea", "x": 1}, dry_run=True).written == 1
    assert not (out / annotations.NAME).exists()


def test_rows_that_contradict_each_other_are_counted_and_the_last_counts(out):
    done = give(out, {"id": "fox", "x": 1}, {"id": "fox", "x": 2}, {"id": "fox", "x": 2})
    assert (done.conflicts, values(out)[:2]) == (2, [{"x": 2}, {"x": 2}])
    assert next(sentences(done)).startswith("2 values came twice for one image and differed; the last one counts")


def test_absurd_values_are_left_out_or_cut_and_counted(out):
    done = give(out, {"id": "sea", "x": math.nan, "y": math.inf, "z": "n" * 9_000, "ok": 1})
    assert values(out)[2].keys() == {"ok", "z"}
    assert list(sentences(done)) == [
        "left out, as they are no finite numbers: x (1 row), y (1 row)",
        "cut, as they are too long: z (1 row)",
    ]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (
            [1, "high", 2.5],
            "x counts as text, not as numbers: 1 of 3 values is no number, 'high' at s:2; correct it and",
        ),
        (["high", 1, "low"], "2 of 3 values are no numbers, the first 'high' at s:1; correct it and annotate again"),
        (
            ["0,5", "1,5"],
            "2 of 2 values are no numbers, the first '0,5' at s:1; write numbers with a decimal point, not",
        ),
        ([1, "0,5"], "1 of 2 values is no number, '0,5' at s:2; write numbers with a decimal point, not a comma"),
        (["a", "b"], None),
        (["a", "1,5"], None),
        ([True, 1, 0.5], None),
        ([True, "yes"], None),
    ],
)
def test_texts_among_numbers_are_told_once_for_each_name(out, cells, sentence):
    done = give(out, *({"id": "sea", "x": cell, "ok": 1} for cell in cells), name="s")
    told = [text for text in sentences(done) if "number" in text]
    assert len(told) == (sentence is not None)
    assert all(sentence in text for text in told)


def test_many_names_with_texts_among_numbers_are_told_in_part(out):
    done = give(out, *({"id": "sea", **{f"c{number}": value for number in range(7)}} for value in (1, "x")))
    told = [text for text in sentences(done) if "differed" not in text]
    assert [text.partition(" ")[0] for text in told[:-1]] == ["c0", "c1", "c2", "c3", "c4"]
    assert told[-1] == "so do 2 more names"


def test_columns_that_repeat_the_job_are_left_out_unless_they_are_asked_for(out):
    row = {"id": "sea", "prompt": "the sea", "seed": 5, "score": 1}
    done = give(out, row)
    assert (done.columns_left_out, values(out)[2]) == (("prompt", "seed"), {"score": 1})
    assert give(out, row, columns=["seed", "score"]).names == ("seed", "score")


def test_an_export_with_added_columns_gives_only_those(out):
    row = {"id": "sea", "image": 1, "path": "images/sea.webp", "run_id": "r", "request_hash": "h", "bytes": 5}
    row |= {"request.steps": 5, "metadata.of": "x", "annotation.old": 1, "new": 2}
    assert give(out, row).names == ("old", "new")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"id": "x", "score": 1}], {}, "no row matches an image of the folder, such as id 'x'"),
        ([{"no": "x", "score": 1}], {}, "no column says which image a row is about"),
        ([{"results": [{"id": "sea"}]}], {}, "scores.jsonl: holds one JSON object; its rows are in 'results': jq -c "),
        ([{"of": "x", "rows": [{"id": "sea"}]}], {"key": "of"}, "its rows are in 'rows': jq -c '.rows[]' FILE | "),
        ([{"id": "sea"}], {}, "no row holds a value beside its key; there is id"),
        ([{"id": "sea", "x": 1}], {"key": "name"}, "--key name: no row has this column; there is id, x"),
        ([{"id": "sea", "x": 1}], {"columns": ["y"]}, "--column y: no row has this column; there is id, x"),
        ([{"id": "sea", "x": 1}], {"remove": ["y"]}, "--remove y: no image in"),
        (
            [{"id": "sea", **{f"c{number}": 1 for number in range(10_000)}}],
            {},
            f"scores.jsonl:1: the rows have more than {MOST_NAMES} columns of values; choose those that matter",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_and_writes_nothing(out, rows, options, message):
    with pytest.raises(UsageError) as refused:
        give(out, *rows, **options)
    assert message in str(refused.value)
    assert not (out / annotations.NAME).exists()


def test_a_row_whose_values_include_a_list_of_objects_is_a_row(out):
    assert give(out, {"id": "sea", "boxes": [{"x": 1}]}).matched == 1


def test_many_columns_are_shown_in_part(out):
    with pytest.raises(UsageError, match=r"there is c0, c1, .* and 1 more$"):
        give(out, {f"c{number}": 1 for number in range(11)})


def test_values_can_be_taken_away_and_given_anew_at_once(out):
    give(out, {"id": "fox", "x": 1, "y": 2}, {"id": "sea", "y": 2})
    done = annotate(out, [], at=AT, remove=["x"])
    assert (done.removed, values(out)) == (2, [{"y": 2}, {"y": 2}, {"y": 2}])
    done = give(out, {"id": "sea", "y": 2}, remove=["y"])
    assert (done.removed, done.written, values(out)) == (3, 1, [{}, {}, {"y": 2}])
    with pytest.raises(UsageError, match="it has x, y"):
        annotate(out, [], at=AT, remove=["z"])


def test_thousands_of_rows_are_taken_in_one_go(tmp_path):
    records = (
        outcome(f"j{number}", files=(image(f"images/j{number}.webp", f"{number:x}"),)) for number in range(2_000)
    )
    (tmp_path / manifest.NAME).write_bytes(b"".join(json_bytes(one) + b"\n" for one in records))
    done = give(tmp_path, "\n".join(["id,score", *(f"j{number},0.{number}" for number in range(2_000))]))
    assert (done.written, len(read_annotations(tmp_path))) == (2_000, 2_000)
