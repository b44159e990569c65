"""Similar mistakes as one sentence; tests/test_errors.py has the equal ones."""

from venice_batch.errors import Findings, JobsFileError, Problem
from venice_batch.mistakes import FEW, kind_of


def error(*problems, lines=0, keep=1000):
    findings = Findings(keep)
    findings.lines = lines
    for line, field, what in problems:
        findings.add(line, field, what, "jobs.jsonl")
    try:
        findings.raise_any()
    except JobsFileError as found:
        return found
    raise AssertionError("no problems")


def test_values_make_no_kinds_of_their_own():
    one = ("a", "images[3]", "'it\\'s' is not \"x\" and 1,000.5 is too much")
    assert kind_of(one) == kind_of(("a", "images[12]", "'b' is not \"\" and 7 is too much"))
    assert kind_of(one) != kind_of(("a", "images", one[2]))
    assert kind_of(("a", "x", "unknown field")) == kind_of(("a", "y", "unknown field"))
    assert kind_of(("a", "x", "unknown field; did you mean 'y'?")) != kind_of(("a", "z", "unknown field"))


def test_a_kind_with_few_different_mistakes_is_told_one_by_one():
    few = [(line, "seed", f"{line} is wrong") for line in range(1, FEW + 1)]
    assert len(str(error(*few)).splitlines()) == FEW
    found = error(*few, (FEW + 1, "seed", "99 is wrong"))
    assert str(found) == "jobs.jsonl:1: seed: 1 is wrong; 10 more like it on line 2-11"
    assert (found.covered, found.total) == (11, 11)


def test_a_kind_is_counted_beyond_the_mistakes_that_are_kept():
    found = error(*((line, "seed", f"{line} is wrong") for line in range(1, 5001)), lines=5000, keep=20)
    assert str(found) == "jobs.jsonl:1: seed: 1 is wrong; 4,999 more like it on line 2-20, …"
    assert (found.covered, found.total, len(found.problems)) == (5000, 5000, 20)


def test_mistakes_of_the_whole_file_have_no_lines():
    same = [Problem("a.csv", 0, f"--map x={n}", f"nothing is called '{n}'") for n in range(12)]
    assert str(JobsFileError(same)) == "a.csv: --map x=0: nothing is called '0'; 11 more like it"


def test_unknown_fields_of_several_lines_are_one_mistake():
    wrong = [(line, name, "unknown field") for line in (1, 2, 3) for name in ("tag", "include")]
    found = error(*wrong, (3, "exclude", "unknown field"), lines=3)
    assert str(found) == "jobs.jsonl:1: tag, include, exclude: unknown fields on all 3 lines"
    assert (found.covered, found.total) == (7, 7)
    assert str(error(*wrong, lines=9)).endswith("tag, include: unknown fields on up to 3 lines")
    many = [(line, f"c{n}", "unknown field") for line in (1, 2) for n in range(12)]
    assert "c8, c9, …: unknown fields on all 2 lines" in str(error(*many, lines=2))


def test_unknown_fields_of_one_line_and_mistyped_ones_are_told_one_by_one():
    assert len(error((1, "tag", "unknown field"), (1, "include", "unknown field")).distinct) == 2
    hint = "unknown field; did you mean 'prompt'?"
    found = error(*((line, name, hint) for line in (1, 2, 3) for name in ("promt", "pompt")), lines=3)
    assert [problem.field for problem in found.distinct] == ["promt", "pompt"]
