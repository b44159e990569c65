"""Texts that others wrote, made safe to show; problems of a file, collected within bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.text import json_line
from venice_batch.errors import Findings, JobsFileError, Problem, one_line

COMMANDS = ["::stop-commands::x", "::error file=a::b", "##vso[task.setvariable variable=a]b", "##[error]a", "##VSO[a]b"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("before", ["", " ", "\t", "\r", "\n", "\u2028", "#", ":"])
def test_no_line_begins_with_or_holds_a_command_of_a_runner(command, before):
    shown = one_line(before + command)
    assert not shown.lstrip().startswith("::")
    assert "##[" not in shown
    assert "##vso[" not in shown.lower()


def test_what_is_no_command_stays_as_it_is():
    for text in ("a::b", "std::move", "# heading", "## [link]", "a: b"):
        assert one_line(text) == text


def test_a_problem_in_a_file_with_the_name_of_a_command_is_none():
    assert str(Problem("::debug::x", 3, "##[a]", "no")) == ": :debug::x:3: # #[a]: no"


@given(st.text("#:[]vsoVSO \n", max_size=30))
def test_shown_text_holds_no_command_whatever_it_is_made_of(text):
    shown = one_line(text)
    assert "##[" not in shown
    assert "##vso[" not in shown.lower()
    assert not shown.lstrip().startswith("::")


@given(st.text(max_size=30) | st.sampled_from(COMMANDS))
def test_json_holds_no_command_and_means_the_same(text):
    line = json_line({"id": text})
    assert "##" not in line
    assert json.loads(line) == {"id": text}


def test_findings_keep_the_first_problems_of_the_file_and_count_all():
    findings = Findings(keep=3)
    findings.raise_any()
    for line in range(1000, 0, -1):
        findings.add(line, "width", "is wrong", "jobs.jsonl")
        assert len(findings._kept) <= 2 * 3 + 101
    findings.extend([Problem("jobs.jsonl", 1, "height", "is wrong"), Problem("jobs.jsonl", 1, "seed", "is wrong")])
    with pytest.raises(JobsFileError) as caught:
        findings.raise_any()
    assert caught.value.total == 1002
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (1, "width"), (1, "height"), (1, "seed"),
    ]  # fmt: skip


def refusal(*problems, lines=0, keep=1000):
    findings = Findings(keep)
    findings.lines = lines
    for line, field, what in problems:
        findings.add(line, field, what, "jobs.jsonl")
    with pytest.raises(JobsFileError) as caught:
        findings.raise_any()
    return caught.value


def test_equal_mistakes_are_one_sentence_with_their_lines():
    wrong = [(line, "width", "is wrong") for line in (3, 5, 6)]
    error = refusal(wrong[0], (4, "id", "is a number"), *wrong[1:])
    assert str(error) == ("jobs.jsonl:3: width: is wrong; the same on 2 more lines: 5-6\njobs.jsonl:4: id: is a number")
    assert [problem.line for problem in error.problems] == [3, 4, 5, 6]
    assert (error.total, error.covered) == (4, 4)


def test_two_equal_mistakes_are_a_line_each_where_an_editor_finds_them():
    error = refusal((3, "width", "is wrong"), (4, "id", "is a number"), (5, "width", "is wrong"), lines=2)
    assert [str(problem) for problem in error.problems] == str(error).splitlines()
    assert error.distinct == error.problems


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ([5, 7], "; the same on 2 more lines: 5, 7"),
        ([2, 3, 4, 9], "; the same on 4 more lines: 2-4, 9"),
        ([3, 5, 7, 9, 11, 13], "; the same on 6 more lines: 3, 5, 7, 9, 11, …"),
        ([*range(2, 1500)], "; the same on 1,498 more lines: 2-1000, …"),
    ],
)
def test_the_first_lines_are_named_and_all_counted(others, named):
    error = refusal(*((line, "width", "is wrong") for line in [1, *others]), lines=2000)
    assert str(error) == f"jobs.jsonl:1: width: is wrong{named}"
    assert error.covered == error.total == len(others) + 1


def test_lines_that_are_no_longer_known_are_still_counted():
    error = refusal(
        *((line, "id", f"{line}") for line in (1, 2)), *((line, "width", "no") for line in range(3, 60)), keep=3
    )
    assert str(error).splitlines()[-1] == "jobs.jsonl:3: width: no; the same on 56 more lines"
    assert error.covered == error.total == 59


def test_a_mistake_of_every_line_is_that_of_all():
    error = refusal(*((line, "model", "missing") for line in range(2, 5002)), lines=5000)
    assert str(error) == "jobs.jsonl:2: model: missing on all 5,000 lines"
    error = refusal(*((line, "model", "is not one of a, b") for line in (1, 2, 3)), lines=3)
    assert str(error) == "jobs.jsonl:1: model: is not one of a, b; the same on all 3 lines"
    assert str(refusal((1, "model", "missing"), lines=1)) == "jobs.jsonl:1: model: missing"


def test_a_mistake_of_many_combinations_of_a_line_is_told_once_with_their_number():
    steps = (1, "steps", "60 is above 30")
    assert str(refusal(*[steps] * 12, (2, "id", "no"), lines=2)) == (
        "jobs.jsonl:1: steps: 60 is above 30; in 12 jobs\njobs.jsonl:2: id: no"
    )
    error = refusal(*[steps] * 10_000, lines=1)
    assert str(error) == "jobs.jsonl:1: steps: 60 is above 30; in 10,000 jobs"
    assert (error.covered, error.total) == (10_000, 10_000)
    lines = [(line, *steps[1:]) for line in (1, 1, 2, 4, 4)]
    said = "jobs.jsonl:1: steps: 60 is above 30; the same on"
    assert str(refusal(*lines, lines=9)) == f"{said} 2 more lines: 2, 4 (5 jobs)"
    assert str(refusal(*lines, lines=3)) == f"{said} all 3 lines (5 jobs)"


def test_the_lines_of_a_mistake_in_many_jobs_are_counted_beyond_those_that_are_kept():
    many = [(line, "width", "no") for line in range(1, 554) for _ in range(2)]
    for lines, where in ((553, "all 553 lines"), (600, "552 more lines: 2-50, …")):
        error = refusal(*many, lines=lines, keep=100)
        assert str(error) == f"jobs.jsonl:1: width: no; the same on {where} (1,106 jobs)"
        assert error.covered == error.total == 1106


def test_a_mistake_of_the_file_as_a_whole_is_told_once():
    assert str(refusal((0, "", "is damaged"), (0, "", "is damaged"))) == "jobs.jsonl: is damaged"


def test_different_mistakes_are_counted_in_bounded_memory():
    error = refusal(*((line, "width", f"{line} is wrong") for line in range(1, 50)), keep=10)
    assert len(str(error).splitlines()) == 10
    assert (error.covered, error.total) == (10, 49)
    findings = Findings(10)
    for line in range(1, 5000):
        findings.add(line, "width", f"{line} is wrong", "jobs.jsonl")
    assert len(findings._counts) == 10


def test_an_error_made_of_problems_alone_names_their_lines_too():
    same = [Problem("a.csv", line, "model", "missing") for line in (2, 3, 4)]
    assert str(JobsFileError(same)) == "a.csv:2: model: missing; the same on 2 more lines: 3-4"
