"""Tables and lists of prompts as jobs files."""

import gzip

import pytest

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, open_source
from venice_batch.jobfile.mapping import FieldMap
from venice_batch.jobfile.reading import lines


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
        return name

    return write


def jobs(path, *settings):
    with open_source(path) as source:
        return list(JobIndex.build(source, defaults=Defaults.of(settings)).jobs_in_order())


SET = ("model=m", "prompt=p")


def errors(path, *settings):
    with pytest.raises(JobsFileError) as caught:
        jobs(path, *settings)
    return [str(problem) for problem in caught.value.problems]


def test_columns_named_like_fields_are_fields_and_the_rest_is_metadata(write):
    path = write("jobs.tsv", "ID\tPrompt\tSeed\tsafe_mode\tCategory\t\nx\ta cat\t5\tfalse\tAnimals\tz\n\ty\t\t\t\t\n")
    first, second = jobs(path, "model=m")
    assert first.id == "x"
    assert first.request == {"model": "m", "prompt": "a cat", "seed": 5, "safe_mode": False}
    assert first.metadata == {"Category": "Animals", "column 6": "z"}
    assert (second.request, second.metadata) == ({"model": "m", "prompt": "y"}, None)


def test_jobs_of_a_table_have_the_line_numbers_of_their_rows(write):
    path = write("jobs.csv", '\ufeffprompt,seed\r\n"a\r\nb",1\r\n\r\nc,2\r\n')
    assert [(job.line, job.request["prompt"]) for job in jobs(path, "model=m")] == [(2, "a\r\nb"), (5, "c")]
    assert errors(write("jobs.csv", 'prompt,seed\n"a\nb",1\nc,x\n'), "model=m") == [
        "jobs.csv:4: seed: 'x' is a string; expected an integer from -999999999 to 999999999"
    ]


@pytest.mark.parametrize(
    ("cell", "prompt"),
    [('"S T O P" on a sign', '"S T O P" on a sign'), ('"say ""hi"""', 'say "hi"'), ('"a" and "b"', '"a" and "b"')],
)
def test_a_cell_of_a_tsv_loses_only_the_quotes_that_a_spreadsheet_added(write, cell, prompt):
    (job,) = jobs(write("jobs.tsv", f"seed\tprompt\n1\t{cell}\n"), "model=m")
    assert job.request["prompt"] == prompt


def test_a_header_may_follow_blank_lines(write):
    (job,) = jobs(write("jobs.csv", "\n\nprompt\na\n"), "model=m")
    assert (job.line, job.request["prompt"]) == (4, "a")


def test_a_packed_table_is_a_table(write):
    assert len(jobs(write("jobs.csv.gz", gzip.compress(b"prompt\na\nb\n")), "model=m")) == 2


def test_text_is_a_prompt_a_line(write):
    path = write("prompts.txt", '\ufeffa "cat"\n\n  dog \r\n')
    assert [(job.line, job.request["prompt"]) for job in jobs(path, "model=m")] == [(1, 'a "cat"'), (3, "dog")]
    assert errors(path) == ["prompts.txt:1: model: missing", "prompts.txt:3: model: missing"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "prompt,seed\na,1,2\nb\n",
            "a.csv:2: has 3 cells, the header has 2; put cells that contain a delimiter in quotes",
        ),
        ("a.csv", 'prompt,seed\n"a"b,1\n', "a.csv:2: not a valid table: "),
        (
            "a.tsv",
            'prompt\n"a\nb"\n',
            "a.tsv:2: not a valid table: a quote is not closed on its line; save the table as .csv",
        ),
        ("a.csv", "prompt,Prompt\n", "a.csv:1: the header names 'prompt' twice"),
        ("a.csv", "prompt\n", "a.csv: holds no jobs"),
        ("a.csv", b"prompt\ncaf\xe9\n", "a.csv:1: not valid UTF-8 near here; save the file as UTF-8"),
        ("a.csv", "prompt\n" + "x" * (1 << 20), "a.csv:1: not a valid table: a line of more than 1 MB"),
        ("a.txt", b"caf\xe9\n", "a.txt:1: not valid UTF-8; save the file as UTF-8"),
        ("a.txt", "x" * (3 << 20), "a.txt:1: line is 3.1 MB; expected a prompt a line"),
    ],
)
def test_a_table_that_cannot_be_read_is_reported(write, name, content, message):
    (found,) = errors(write(name, content), "model=m")
    assert found.startswith(message)


@pytest.mark.parametrize(
    "column",
    [
        "negative_prompt",
        "Negative Prompt",
        "negative-prompt",
        "NEGATIVE  PROMPT",
        "negativePrompt",
        " Negative_prompt ",
    ],
)
@pytest.mark.parametrize(
    ("name", "delimiter"), [("jobs.csv", ","), ("jobs.tsv", "\t"), ("jobs.csv", ";"), ("jobs.csv", "|")]
)
def test_a_column_is_a_field_in_any_case_with_spaces_or_hyphens(write, column, name, delimiter):
    (job,) = jobs(write(name, f"prompt{delimiter}{column}\na{delimiter}blurry\n"), "model=m")
    assert (job.request["negative_prompt"], job.metadata) == ("blurry", None)


def test_two_columns_for_one_field_are_refused(write):
    for columns in ("Negative Prompt,negative_prompt", "id,ID", "note,metadata.note"):
        (found,) = errors(write("a.csv", f"prompt,{columns}\na,b,c\n"), "model=m")
        assert found.startswith("a.csv:1: the header names ")


def test_a_column_that_nearly_is_a_field_is_doubted_in_each_job_that_uses_it(write):
    path = write("jobs.csv", "prompt,widht,note\na,512,x\nb,,y\n")
    first, second = jobs(path, "model=m")
    assert first.metadata == {"widht": "512", "note": "x"}
    what = "is not a field and goes into metadata; did you mean 'width'? (if not: metadata.NAME)"
    assert (first.doubts, second.doubts) == ((("widht", what),), ())


@pytest.mark.parametrize("column", ["promt", "hieght", "modle", "stylepresett", "seeed", "sizes"])
def test_common_slips_are_seen(write, column):
    (job,) = jobs(write("jobs.csv", f"{'x' if column == 'promt' else 'prompt'},{column}\na,b\n"), *SET)
    assert [field for field, _ in job.doubts] == [column]


@pytest.mark.parametrize("column", ["title", "category", "scene", "image_name", "prompts", "metadata.widht", "note"])
def test_other_columns_are_metadata_without_a_word(write, column):
    (job,) = jobs(write("jobs.csv", f"prompt,{column}\na,b\n"), "model=m")
    assert (job.metadata, job.doubts) == ({column.removeprefix("metadata."): "b"}, ())


def test_booleans_and_integers_as_spreadsheets_write_them_are_read(write):
    path = write("a.csv", "prompt,width,seed,safe_mode,hide_watermark,cfg_scale\nTRUE,512.0,-5.0,TRUE,False,7.0\n")
    (job,) = jobs(path, "model=m")
    assert job.request == {
        "model": "m", "prompt": "TRUE", "width": 512, "seed": -5, "safe_mode": True, "hide_watermark": False,
        "cfg_scale": 7.0,
    }  # fmt: skip
    assert type(job.request["width"]) is int
    assert type(job.request["cfg_scale"]) is float  # as ever: what was bought under this hash is found again


@pytest.mark.parametrize("cell", ["5.12E+02", "512.5", "1.23457E+08", "WAHR", "0512.0"])
def test_a_number_that_may_have_lost_digits_is_not_guessed(write, cell):
    assert len(errors(write("a.csv", f"prompt,width,safe_mode\na,{cell},{cell}\n"), "model=m")) == 2


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_the_delimiter_is_the_one_that_finds_the_fields(write, name, delimiter):
    cell = '"x, y; z"' if delimiter != "\t" else "x, y; z"
    path = write(name, f"Seed{delimiter}prompt{delimiter}note\r\n1{delimiter}{cell}{delimiter}n\r\n")
    (job,) = jobs(path, "model=m")
    assert (job.line, job.request, job.metadata) == (2, {"model": "m", "prompt": "x, y; z", "seed": 1}, {"note": "n"})


@pytest.mark.parametrize("said", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_that_says_the_delimiter_is_obeyed_and_counted(write, said, end):
    path = write("a.csv", end.join([said, "", "prompt;seed", '"a;b";1', "c,d;2", ""]))
    assert [(job.line, job.request["prompt"], job.request["seed"]) for job in jobs(path, "model=m")] == [
        (4, "a;b", 1), (5, "c,d", 2),
    ]  # fmt: skip
    assert errors(write("a.csv", f"{said}{end}"), "model=m") == ["a.csv: holds no jobs"]
    assert errors(write("a.csv", f"{said}{end}prompt{end}a;b{end}"), "model=m")[0].startswith("a.csv:3: has 2 cells")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables_that_were_joined_are_one_table(write, end, mark):
    one, other = (end.join([mark + '"prompt","seed"', *rows, ""]) for rows in (["a,1", "b,2"], ["c,1", "d,2"]))
    found = jobs(write("a.csv", one + other), "model=m")
    assert [(job.line, job.request["prompt"]) for job in found] == [(2, "a"), (3, "b"), (5, "c"), (6, "d")]


def test_another_table_in_the_same_file_is_reported(write):
    assert (
        errors(write("a.csv", "prompt,seed\na,1\n\ufeffseed,prompt\n2,b\n"), "model=m")
        == [
            "a.csv:3: another table begins here, with other columns; put it into a file of its own",
            "a.csv:4: seed: 'b' is a string; expected an integer from -999999999 to 999999999",
        ][:1]
    )


@pytest.mark.parametrize(("name", "content"), [("a.txt", "a\n b\ufeffc\n"), ("a.csv", "prompt\na\nb\ufeffprompt\nc\n")])
def test_files_joined_without_a_line_end_are_reported(write, name, content):
    (found,) = errors(write(name, content), "model=m")
    line = 2 if name == "a.txt" else 3
    assert found.startswith(f"{name}:{line}: holds a byte order mark (U+FEFF), as after joining two files")


def test_a_semicolon_table_on_standard_input_is_recognised(write):
    (found,) = errors(write("jobs", "model;prompt\nm;a\n"))
    assert "looks like a table" in found
    assert ".csv" in found


def test_the_file_keeps_open_for_the_lines(write):
    with open_source(write("a.csv", "prompt\na\n")) as source:
        assert [number for number, _, _ in lines(source.file)] == [2]


def test_a_line_of_a_text_that_begins_with_a_hash_and_a_space_is_a_comment(write):
    path = write("ideas.txt", "# animals\na cat\n  # more\n#hashtag\n#\n#\n#\n#\na dog\n")
    assert [(job.line, job.request["prompt"]) for job in jobs(path, "model=m")] == [
        (2, "a cat"),
        (4, "#hashtag"),
        (9, "a dog"),
    ]
    with open_source(path) as source:
        assert source.notices == (
            "ideas.txt: 6 comments (line 1, 3, 5, 6, 7, …) left out; a # and a space begin a comment",
        )


def test_a_text_of_comments_holds_no_jobs(write):
    assert errors(write("ideas.txt", "# a\n# b\n"), "model=m") == ["ideas.txt: holds no jobs, only comments"]


def test_a_prompt_twice_in_a_text_makes_two_jobs_whose_ids_do_not_depend_on_the_lines_between(write):
    first = jobs(write("ideas.txt", "a cat\na dog\na cat\na cat\n"), "model=m")
    ids = [job.id for job in first]
    assert ids == [first[0].id, first[1].id, f"{first[0].id}-2", f"{first[0].id}-3"]
    moved = jobs(write("ideas.txt", "a cat\n\na cat\nan owl\na dog\na cat\n"), "model=m")
    assert {job.id for job in moved} > set(ids)


def test_each_copy_of_a_prompt_gets_a_seed_of_its_own_or_a_warning(write):
    path = write("ideas.txt", "a cat\na cat\n")
    with open_source(path) as source:
        pinned = JobIndex.build(source, defaults=Defaults.of(["model=m"], "pin")).jobs_in_order()
        assert len({job.request["seed"] for job in pinned}) == 2
    assert jobs(path, "model=m")[1].doubts == ()
    one, other = jobs(path, "model=m", "seed=5")
    assert one.doubts == ()
    assert other.doubts[0][0] == "seed"


def test_copies_of_a_prompt_and_a_matrix_make_every_combination_of_both(write):
    with open_source(write("ideas.txt", "a cat\na cat\n")) as source:
        index = JobIndex.build(source, defaults=Defaults({"model": "m"}, matrix={"seed": [1, 2]}))
        assert len({job.id for job in index.jobs_in_order()}) == 4


def test_a_prompt_that_variables_make_of_another_line_is_an_error_with_both_lines(write):
    with open_source(write("ideas.txt", "a cat\na {animal}\n")) as source:
        defaults = Defaults({"model": "m"}, variables={"animal": ["dog", "cat"]})
        with pytest.raises(
            JobsFileError, match=r"ideas.txt:2: id: the request is that of line 1, .*; remove one of them"
        ):
            JobIndex.build(source, defaults=defaults)


@pytest.mark.parametrize("name", ["set.csv", "set.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_header_without_any_field_is_cut_where_it_can_be(write, name, delimiter):
    write(name, f"Prompts{delimiter}Category\nA red teapot{delimiter}Colors\n")
    with open_source(name, field_map=FieldMap.of({"prompt": "Prompts"})) as source:
        (job,) = JobIndex.build(source, defaults=Defaults.of(["model=venice-sd35"])).jobs_in_order()
    assert (job.request["prompt"], job.metadata) == ("A red teapot", {"Category": "Colors"})


@pytest.mark.parametrize("caption", ["Caption; long", "Caption | long"])
def test_other_delimiters_in_a_header_without_fields_are_text(write, caption):
    write("set.csv", f"{caption},Category\nA red teapot,Colors\n")
    with open_source("set.csv", field_map=FieldMap.of({"prompt": caption})) as source:
        (job,) = JobIndex.build(source, defaults=Defaults.of(["model=venice-sd35"])).jobs_in_order()
    assert job.metadata == {"Category": "Colors"}
