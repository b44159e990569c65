"""Workflow commands and step summaries, read by the rules of GitHub's runner."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import summary

from venice_batch.errors import Problem
from venice_batch.model import Flags, Reason, Status
from venice_batch.report import github
from venice_batch.report.collect import collect

COMMAND = re.compile(r"::(?:error|notice) (.*?)::(.*)")


def unescaped(text, *, property_value=False):
    for code, char in (("%3A", ":"), ("%2C", ",")) if property_value else ():
        text = text.replace(code, char)
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def parse(line):
    """Return the properties and the message that the runner reads from a line."""
    match = COMMAND.fullmatch(line)
    assert match, line
    pairs = (pair.partition("=") for pair in match[1].split(","))
    return {name: unescaped(value, property_value=True) for name, _, value in pairs}, unescaped(match[2])


def failures_of(at, *records, fail_on):
    failures = github.FirstFailures(fail_on)
    collect(at.record(*records).records, [failures])
    failures.raise_error()
    return failures


def annotations(at, *records, fail_on=(), environment=None):
    failures = failures_of(at, *records, fail_on=fail_on)
    lines = github.job_annotations(at.index, failures, source="jobs.jsonl", environment=environment or {})
    return [parse(line) for line in lines]


def test_jobs_that_do_not_pass_are_annotated_on_their_lines(stage):
    with stage("a", "b", "c", "d") as at:
        found = annotations(at, at.failed("c"), at.failed("b", status=Status.REJECTED, message="no"), at.done("a"))
    assert found == [
        ({"file": "jobs.jsonl", "line": "2", "title": "b: rejected"}, "server: no"),
        ({"file": "jobs.jsonl", "line": "3", "title": "c: failed"}, "server: out of order"),
    ]


def test_jobs_of_an_array_on_one_line_are_annotated_with_their_number(stage):
    with stage("a", "b", form="array") as at:
        found = annotations(at, at.failed("b"))
    assert found == [({"file": "jobs.jsonl", "title": "b: failed"}, "element 2: server: out of order")]


def test_jobs_of_a_folder_are_annotated_in_their_files(stage, tmp_path):
    with stage("a", "b", form="folder") as at:
        found = annotations(at, at.failed("b"), environment={"GITHUB_WORKSPACE": str(tmp_path)})
        failures = failures_of(at, at.failed("b"), fail_on=())
        text = "".join(github.step_summary(at.index, failures, summary(), source="jobs"))
    assert found == [({"file": "jobs/b.txt", "title": "b: failed"}, "server: out of order")]
    assert "| file | job | what |" in text
    assert "jobs/b.txt | b | failed: server: out of order |" in text


def test_a_flag_is_annotated_only_on_request(stage):
    with stage("a") as at:
        flagged = at.done("a", flags=Flags(content_violation=True))
        assert annotations(at, flagged) == []
        ((place, message),) = annotations(at, flagged, fail_on={"content_violation"})
    assert place["title"] == "a: content_violation"
    assert message == "the API marked the image as a content violation: images/a.webp"


@pytest.mark.parametrize("is_ok", [True, False])
def test_known_rejections_are_notices_below_the_errors_if_they_are_ok(stage, is_ok):
    ids = [f"j{number}" for number in range(60)]
    with stage(*ids) as at:
        known = [at.failed(job_id, status=Status.REJECTED, run_id="before") for job_id in ids[:-1]]
        failures = github.FirstFailures((), known_rejected_ok=is_ok)
        collect(at.record(*known, at.failed(ids[-1])).records, [failures], run_id="now")
        lines = list(github.job_annotations(at.index, failures, source="jobs.jsonl", environment={}))
        text = "".join(github.step_summary(at.index, failures, summary(), source="jobs.jsonl"))
    levels = [line.split()[0] for line in lines]
    assert levels == (["::error", *["::notice"] * 10] if is_ok else ["::error"] * 10)
    assert parse(lines[0])[0]["title"] == ("j59: failed" if is_ok else "j0: rejected")
    assert text.count("| rejected before: ") == (49 if is_ok else 0)


def test_the_first_ten_jobs_of_the_file_are_annotated(stage):
    ids = [f"j{number}" for number in range(30)]
    with stage(*ids) as at:
        found = annotations(at, *(at.failed(job_id) for job_id in reversed(ids)))
    assert [place["line"] for place, _ in found] == [str(line) for line in range(1, 11)]


@given(st.text(min_size=1), st.text())
def test_whatever_stands_in_an_annotation_stays_in_it(source, what):
    (line,) = github.problem_annotations([Problem(source, 3, "", what)], {})
    place, message = parse(line)
    printable = "".join(char if char.isprintable() else "\ufffd" for char in source)
    assert place == {"file": printable, "line": "3", "title": "invalid job"}
    assert message == "".join(char if char.isprintable() else "\ufffd" for char in what)


def test_problems_of_a_file_are_annotated_up_to_a_number():
    problems = [Problem("jobs.jsonl", number, "width", "is wrong") for number in range(1, 40)]
    found = [parse(line) for line in github.problem_annotations(problems, {})]
    assert len(found) == 10
    assert found[0] == ({"file": "jobs.jsonl", "line": "1", "title": "invalid job"}, "width: is wrong")
    ((place, _),) = [
        parse(line) for line in github.problem_annotations([Problem("jobs.jsonl", 0, "", "no such file")], {})
    ]
    assert "line" not in place


@pytest.mark.parametrize(
    ("source", "expected"),
    [("jobs.jsonl", "sub/jobs.jsonl"), ("../jobs.jsonl", "jobs.jsonl"), ("/elsewhere/jobs.jsonl",) * 2],
)
def test_files_are_named_as_the_repository_has_them(tmp_path, monkeypatch, source, expected):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    (line,) = github.problem_annotations([Problem(source, 1, "", "x")], {"GITHUB_WORKSPACE": str(tmp_path)})
    assert parse(line)[0]["file"] == expected


def page(at, *records, fail_on=(), **changes):
    failures = failures_of(at, *records, fail_on=fail_on)
    return "".join(github.step_summary(at.index, failures, summary(**changes), source="jobs.jsonl"))


def test_the_step_summary_has_the_models_and_what_went_wrong(stage):
    with stage("a", "b") as at:
        text = page(at, at.done("a"), at.failed("b", message="a|b\n<b>`"), reason="time is over", exit_code=75)
    assert text.startswith("### jobs.jsonl: 3 of 3 jobs done\n\nStopped: time is over\n\n")
    assert "\n| venice\\-sd35 | 2 | 0 | 0 | 2 | 3 |\n" in text
    assert "1 done before, 0 pending, 12.5 s, 0.02 USD; exit code 75\n" in text
    assert "\n| 2 | b | failed: server: a\\|b\ufffd&lt;b&gt;\\` |\n" in text


def test_a_step_summary_without_faults_has_no_table_of_them(stage):
    with stage("a") as at:
        text = page(at, at.done("a"), cost_usd=None)
    assert "| line |" not in text
    with stage("a") as at:
        assert "|" not in page(at, at.done("a"), lanes={})
    assert "USD" not in text


def test_the_step_summary_says_what_jobs_wait_for(stage):
    waiting = (Reason("pending", "failed", "waiting for c|t, which failed", 2, ("x4", "cut")),)
    with stage("a") as at:
        assert "\n2 jobs waiting for c\\|t, which failed\n" in page(at, at.done("a"), waiting=waiting)


def test_a_step_summary_of_many_faults_stays_small(stage):
    ids = [f"j{number}" for number in range(80)]
    with stage(*ids) as at:
        text = page(at, *(at.failed(job_id, message="*" * 5000) for job_id in ids))
    assert text.endswith("\n… and more\n\n")
    assert text.count("| failed: ") == 50
    assert len(text) < 50_000
