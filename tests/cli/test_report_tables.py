"""report --by and report A B through the command line, in this process."""

import csv
import gc
import io
import json
from pathlib import Path

import msgspec
import pytest
from command import run
from records import IMAGE, failed, outcome

from venice_batch.cli.report_tables import TableOptions, show_groups
from venice_batch.errors import FolderError
from venice_batch.output.annotations import Annotation, AnnotationsFile

SHA = IMAGE.sha256


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(folder, *records, **scores):
    """A folder with these records; `scores` are the annotations of the first images of jobs."""
    root = Path(folder)
    root.mkdir()
    (root / "manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    with AnnotationsFile(root) as file:
        file.append(Annotation(SHA, job_id, 1, values, "2026-01-01T00:00:00Z") for job_id, values in scores.items())


@pytest.fixture
def _out():
    write(
        "out",
        failed("a"),
        outcome("a", cost_usd=0.01, metadata={"tag": "cats"}),
        outcome("b", cost_usd=0.01, lane="flux", metadata={"tag": "a | b"}),
        failed("c", lane="flux"),
        a={"score": 0.25, "correct": True, "label": "x"},
        b={"score": 0.75, "correct": False, "label": "y"},
    )


def report(*args):
    found = run("report", *args)
    assert found.code == 0, found.err
    return found


def error(*args):
    found = run("report", *args)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    return found.err


@pytest.mark.usefixtures("_out")
class TestBy:
    def test_a_table_has_a_row_for_each_group_and_one_for_all(self):
        lines = report("out", "--by", "model,metadata.tag").out.splitlines()
        assert lines[0].split() == [
            *("model", "metadata.tag", "jobs", "failed", "success", "images", "usd"),
            *("server", "p50", "s", "p95", "s", "score", "correct"),
        ]
        assert lines[1].startswith("flux         a | b            1       0    100% [20.7, 100]       1  0.01 ")
        assert lines[4].startswith("in all                        3       1  66.7% [20.8, 93.9]       2  0.02 ")
        assert lines[4].endswith("0.50 [0.25, 0.75]  0.50 [0.09, 0.91]")
        assert lines[5:] == [
            "",
            "in brackets: 95 % intervals; shares: Wilson, means: bootstrap, seed 0",
            "cost: 0.02 USD",
        ]

    def test_no_gallery_is_made(self):
        report("out", "--by", "model")
        assert sorted(path.name for path in Path("out").iterdir()) == ["annotations.jsonl", "manifest.jsonl"]

    def test_markdown_is_a_table_and_paragraphs(self):
        lines = report("out", "--by", "metadata.tag", "--format", "markdown", "--mean", "score").out.splitlines()
        assert lines[0].startswith("| metadata.tag | jobs | failed | success |")
        assert lines[1].startswith("| --- | --: |")
        assert [line.split(" | ")[0] for line in lines[2:6]] == [r"| a \| b", "| cats", "| -", "| in all"]
        assert lines[6:] == [
            "",
            "in brackets: 95 % intervals; shares: Wilson, means: bootstrap, seed 0",
            "",
            "cost: 0.02 USD",
        ]

    def test_csv_has_numbers_alone_and_no_row_for_all(self):
        found = report("out", "--by", "model", "--format", "csv")
        flux, sd = csv.DictReader(io.StringIO(found.out))
        assert (flux["model"], flux["jobs"], flux["success"], flux["annotation.score"]) == ("flux", "2", "0.5", "0.75")
        assert (sd["cost_usd"], sd["annotation.correct"], sd["annotation.correct_n"]) == ("0.01", "1.0", "1")
        assert (flux["annotation.score_low"], flux["annotation.score_n"], found.err) == ("", "1", "")

    def test_json_is_one_object_by_either_option(self):
        found = json.loads(report("out", "--by", "model,annotation.label", "--json").out)
        assert found == json.loads(report("out", "--by", "model,annotation.label", "--format", "json").out)
        assert found["groups"][0]["values"] == {"model": "flux", "annotation.label": "y"}
        assert found["groups"][1]["values"] == {"model": "flux", "annotation.label": None}
        assert (found["total"]["jobs"], found["total"]["annotations"]["score"]["mean"]) == (3, 0.5)

    def test_markdown_and_csv_without_fields_are_by_model(self):
        assert report("out", "--format", "csv").out == report("out", "--format", "csv", "--by", "model").out

    def test_json_without_fields_is_the_whole_report(self):
        assert report("out", "--format", "json", "--no-gallery").out == report("out", "--json", "--no-gallery").out

    def test_rows_are_sorted_by_a_column(self):
        found = report("out", "--by", "model", "--sort", "-score", "--format", "csv").out
        assert [row["model"] for row in csv.DictReader(io.StringIO(found))] == ["flux", "venice-sd35"]
        found = report("out", "--by", "model", "--sort", "score", "--format", "csv").out
        assert [row["model"] for row in csv.DictReader(io.StringIO(found))] == ["venice-sd35", "flux"]

    def test_only_images_that_meet_all_conditions_count(self):
        found = report("out", "--by", "model", "--where", "score>0.5", "--where", "correct=false")
        assert "1 of 2 images meet --where score>0.5 and correct=false" in found.out
        assert "in all" not in found.out

    def test_clusters_are_named_with_the_intervals(self):
        assert "means: bootstrap of clusters by id, seed 0" in report("out", "--by", "model", "--cluster", "id").out

    def test_another_seed_gives_other_intervals(self):
        scores = {f"j{n}": {"score": n * n / 50} for n in range(9)}
        write("more", *map(outcome, scores), **scores)
        first, again, other = (report("more", "--by", "model", "--seed", seed, "--json").out for seed in "001")
        assert first == again
        assert json.loads(first)["seed"] == 0
        values = [json.loads(text)["total"]["annotations"]["score"] for text in (first, other)]
        assert values[0]["mean"] == values[1]["mean"]
        assert values[0]["low"] != values[1]["low"]

    def test_options_have_variables_and_settings(self):
        Path("venice-batch.toml").write_text('[report]\nby = "model"\nsort = "-model"\nseed = 3\nformat = "json"\n')
        found = json.loads(run("report", "out").out)
        assert (found["seed"], [row["values"]["model"] for row in found["groups"]]) == (3, ["venice-sd35", "flux"])
        found = run("report", "out", environ={"VENICE_BATCH_BY": "status", "VENICE_BATCH_SORT": "-jobs"})
        assert [row["values"] for row in json.loads(found.out)["groups"]] == [
            {"status": "succeeded"},
            {"status": "failed"},
        ]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--by", "modle"], "did you mean 'model'?"),
            (["--by", "metadata.tga"], "--by metadata.tga: no record has it (nearest: metadata.tag)"),
            (["--by", "annotation.scroe"], "(nearest: annotation.score"),
            (["--by", "model", "--mean", "scroe"], "--mean: no image has an annotation 'scroe' (nearest: score"),
            (["--by", "model", "--mean", "zzz"], "(nearest: correct, label, score)"),
            (["--by", "model", "--where", "scroe<1"], "--where: no image has an annotation 'scroe'"),
            (["--by", "model", "--where", "score"], "--where: 'score' is no condition"),
            (["--by", "model", "--sort", "foo"], "--sort: the table has no column 'foo'"),
            (
                ["--by", "model", "--cluster", "promt"],
                "--cluster: a record has no field 'promt'; did you mean 'prompt'?",
            ),
            (["--by", "model", "--cluster", "metadata.x"], "--cluster metadata.x: no record has it"),
            (["--sort", "model"], "--sort shapes a table; give --by FIELD,… too"),
            (["--where", "score<1"], "--where shapes a table"),
            (["--by", "model", "--grid", "g.png"], "--grid belongs to the report without a table"),
            (["--by", "model", "--gallery"], "--gallery belongs to the report without a table"),
            (["--format", "csv", "--html", "x.html"], "--html belongs to the report without a table"),
            (["--by", "model", "--format", "latex"], "'latex' is not one of 'text', 'markdown', 'csv', 'json'"),
        ],
    )
    def test_what_makes_no_sense_is_one_line(self, args, message):
        assert message in error("out", *args)

    def test_the_format_from_the_stronger_source_counts(self):
        Path("venice-batch.toml").write_text('[report]\nby = "model"\njson = true\n')
        assert report("out", "--format", "csv").out.startswith("model,jobs,")
        Path("venice-batch.toml").write_text('[report]\nby = "model"\nformat = "csv"\n')
        assert report("out", "--json").out.startswith("{")

    def test_two_formats_at_once_are_refused(self):
        assert "--json and --format csv name two formats" in run("report", "out", "--json", "--format", "csv").err


def test_a_folder_without_annotations_says_how_to_add_some():
    write("out", outcome())
    assert "(there are no annotations; `annotate` adds them)" in error("out", "--by", "model", "--mean", "score")
    assert len(report("out", "--by", "model").out.splitlines()[0].split()) == 10


def test_the_number_of_values_is_shown_if_some_images_have_none():
    write("out", outcome("a"), outcome("b"), a={"score": 0.5})
    header, row = report("out", "--by", "model").out.splitlines()[:2]
    assert header.split()[-2:] == ["n", "score"]
    assert row.split()[-2:] == ["1", "0.500"]


@pytest.mark.usefixtures("_out")
@pytest.mark.parametrize("is_on", [True, False])
def test_a_table_leaves_garbage_collection_as_it_was(is_on, monkeypatch):
    during = []

    def fail(folder):
        during.append(gc.isenabled())
        raise FolderError(folder, "is gone")

    monkeypatch.setattr("venice_batch.cli.report_tables.read_annotations", fail)
    (gc.enable if is_on else gc.disable)()
    try:
        with pytest.raises(FolderError):
            show_groups(Path("out"), TableOptions("model", "", None, (), None, 0, "text"))
        assert (gc.isenabled(), during) == (is_on, [False])
    finally:
        gc.enable()


def test_a_folder_without_records_says_so():
    write("out")
    assert report("out", "--by", "metadata.tag").out.splitlines()[1:] == ["", "no job counts"]
    assert len(report("out", "--format", "csv").out.splitlines()) == 1


def test_annotations_without_room_are_counted():
    write("out", outcome(), a={f"s{n}": 0.5 for n in range(15)})
    assert "3 more annotations; choose with --mean" in report("out", "--by", "model").out
    found = report("out", "--by", "model", "--format", "csv")
    assert "3 more annotations" in found.err
    write("other", outcome(), a={f"s{n}": 0.5 for n in range(15)})
    assert "3 more annotations in both; choose with --mean" in report("out", "other").out


def test_a_seed_that_was_ignored_is_pointed_out_in_every_report():
    write("out", *(outcome(str(seed), request={"prompt": "p", "seed": seed}, cost_usd=0.01) for seed in range(2)))
    said = "venice-sd35 ignored the seed: 1 pair has equal files"
    assert said in report("out", "--no-gallery").out
    assert said in report("out", "--by", "model").out
    assert said in report("out", "--by", "model", "--format", "csv").err
    assert json.loads(report("out", "--no-gallery", "--json").out)["ignored_seeds"] == [
        {"model": "venice-sd35", "pairs": 1, "equal": 1}
    ]


def test_no_folder_and_a_third_folder_are_refused():
    assert "Missing argument" in error()
    assert "c: a third folder; report sums up one folder or compares two" in error("a", "b", "c")


def test_a_folder_without_a_manifest_is_an_error():
    write("out", outcome())
    for args in (["no", "--by", "model"], ["out", "no"], ["no", "out"]):
        found = run("report", *args)
        assert (found.code, found.err) == (
            5,
            "venice-batch: no: holds no manifest.jsonl; is it a run's output folder?\n",
        )


@pytest.fixture
def _two():
    write(
        "one",
        *(outcome(name, cost_usd=0.01, metadata={"tag": "t"}) for name in "abc"),
        outcome("only-one"),
        a={"score": 0.25, "label": "x"},
        b={"score": 0.75},
    )
    write(
        "two",
        outcome("a", cost_usd=0.02, metadata={"tag": "t"}),
        outcome("b", lane="flux", request_hash="0" * 32, cost_usd=0.02, metadata={"tag": "t"}),
        failed("c", metadata={"tag": "t"}),
        a={"score": 0.5, "label": "y"},
        b={"score": 0.75},
    )


@pytest.mark.usefixtures("_two")
class TestComparison:
    def test_two_tables_and_sentences_say_what_has_changed(self):
        lines = report("one", "two").out.splitlines()
        assert lines[0].split()[:4] == ["model", "jobs", "done", "A"]
        assert lines[1].split() == [
            *("venice-sd35", "2", "2", "1", "0.02", "0.02", "0.90", "0.90", "0.90", "0.90"),
            *("10", "B", "5", "B", "1", "of", "1"),
        ]
        assert lines[2].startswith("venice-sd35 → flux     1")
        assert lines[3].startswith("in all                 3")
        assert lines[5].split() == ["model", "annotation", "n", "A", "B", "B", "-", "A", "changed"]
        assert lines[6].split() == ["venice-sd35", "score", "1", "0.25", "0.5", "0.25", "1"]
        assert lines[8].split()[:5] == ["in", "all", "score", "2", "0.5"]
        assert lines[11:] == [
            "",
            "A: one; B: two",
            "3 jobs in both, 1 only in A (only-one)",
            "succeeded in A, failed in B: 1 job (c)",
            "1 of 3 jobs had another request in B",
            "in brackets: 95 % intervals of the mean of B - A: bootstrap, seed 0",
            "cost of the jobs in both: 0.03 USD in A, 0.04 USD in B",
        ]

    def test_markdown_has_the_same_tables(self):
        lines = report("one", "two", "--format", "markdown", "--by", "metadata.tag").out.splitlines()
        assert lines[0].startswith("| metadata.tag | jobs | done A | B |")
        assert lines[2].startswith("| t | 3 | 3 | 2 |")
        assert "A: one; B: two" in lines

    def test_csv_has_a_row_for_each_image(self):
        found = report("one", "two", "--format", "csv")
        a, b, c = csv.DictReader(io.StringIO(found.out))
        assert (a["id"], a["image"], a["equal_file"], a["annotation.score_a"], a["annotation.score_b"]) == (
            "a", "1", "true", "0.25", "0.5"
        )  # fmt: skip
        assert (b["model_a"], b["model_b"], b["same_request"]) == ("venice-sd35", "flux", "false")
        assert (c["status_b"], c["bytes_b"], c["equal_file"], c["annotation.label_a"]) == ("failed", "", "", "")
        assert found.err.splitlines()[0] == "venice-batch: 3 jobs in both, 1 only in A (only-one)"

    def test_json_has_the_totals_and_each_image(self):
        found = json.loads(report("one", "two", "--json").out)
        assert (found["a"], found["b"], found["only_a"]) == ("one", "two", {"count": 1, "ids": ["only-one"]})
        assert (found["total"]["jobs"], found["total"]["equal_files"], len(found["images"])) == (3, 2, 3)
        assert found["images"][0]["annotations"] == {"score": [0.25, 0.5], "label": ["x", "y"]}

    def test_a_folder_compared_with_itself_has_no_changes(self):
        found = report("one", "one").out
        assert "4 jobs in both\n" in found
        assert "4 of 4" in found
        assert "had another request" not in found

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--by", "annotation.score"], "two folders are compared by fields of jobs, not by annotations of images"),
            (["--sort", "model"], "--sort is about the table of one folder; leave it out"),
            (["--where", "score<1"], "--where is about the table of one folder"),
            (["--mean", "zzz"], "--mean: no image has an annotation 'zzz'"),
            (["--html", "x.html"], "--html belongs to the report without a table"),
            (["--by", "metadata.tga"], "--by metadata.tga: no record has it (nearest: metadata.tag)"),
        ],
    )
    def test_what_makes_no_sense_is_one_line(self, args, message):
        assert message in error("one", "two", *args)


def test_folders_without_a_common_job_have_nothing_to_compare():
    write("one", outcome("a"))
    write("two", outcome("b"))
    found = report("one", "two").out.splitlines()
    assert found[1].startswith("in all")
    assert found[-1] == "0 jobs in both, 1 only in A (a), 1 only in B (b)"
