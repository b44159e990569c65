"""Tables and lists of prompts as jobs files."""

import gzip

import pytest

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, lines, open_source


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


def test_jobs_of_a_table_stand_on_the_lines_of_their_rows(write):
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
            "a.csv:2: has 3 cells, the header 2; put cells with a delimiter in quotes",
        ),
        ("a.csv", 'prompt,seed\n"a"b,1\n', "a.csv:2: not a table: "),
        (
            "a.tsv",
            'prompt\n"a\nb"\n',
            "a.tsv:2: not a table: a quote is not closed on its line; save the table as .csv",
        ),
        ("a.csv", "prompt,Prompt\n", "a.csv:1: the header names 'prompt' twice"),
        ("a.csv", "prompt\n", "a.csv: holds no jobs"),
        ("a.csv", b"prompt\ncaf\xe9\n", "a.csv:1: not valid UTF-8 near here; save the file as UTF-8"),
        ("a.csv", "prompt\n" + "x" * (1 << 20), "a.csv:1: not a table: a line of more than 1 MB"),
        ("a.txt", b"caf\xe9\n", "a.txt:1: not valid UTF-8; save the file as UTF-8"),
        ("a.txt", "x" * (3 << 20), "a.txt:1: line is 3.1 MB; expected a prompt a line"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(write, name, content, message):
    (found,) = errors(write(name, content), "model=m")
    assert found.startswith(message)


def test_the_file_keeps_open_for_the_lines(write):
    with open_source(write("a.csv", "prompt\na\n")) as source:
        assert [number for number, _, _ in lines(source.file)] == [2]
