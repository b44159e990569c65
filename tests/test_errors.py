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
