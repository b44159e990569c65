"""Where jobs are in files of other formats than JSON lines."""

from venice_batch.errors import Problem
from venice_batch.jobfile.rewritten import LINES, Copies, Places

PROBLEM = Problem("set", 2, "prompt", "missing")


def test_a_line_is_found_by_its_number():
    assert (LINES.at(2), LINES.on(2), LINES.name(2)) == ("line 2", "on line 2", "2")
    assert str(LINES.located(PROBLEM)) == "set:2: prompt: missing"


def test_an_element_is_found_by_the_line_on_which_it_begins():
    places = Places("element", lines=[0, 1, 31])
    assert (places.at(2), places.on(2), places.name(2)) == ("line 31", "on line 31", "2")
    assert str(places.located(PROBLEM)) == "set:31: prompt: missing"


def test_a_row_is_found_by_its_number():
    places = Places("row")
    assert (places.at(2), places.on(2), places.file("set", 2)) == ("row 2", "in row 2", "set")
    assert str(places.located(PROBLEM)) == "set: row 2: prompt: missing"


def test_a_file_is_found_by_its_path():
    places = Places("file", files=["set/a.txt", "set/line b.txt"])
    assert (places.at(2), places.on(2)) == ("set/line b.txt", "in set/line b.txt")
    assert places.file("set", 1) == "set/a.txt"
    assert str(places.located(PROBLEM)) == "set/line b.txt: prompt: missing"


def test_a_problem_of_the_file_as_a_whole_stays_as_it_is():
    whole = Problem("set", 0, "", "holds no jobs")
    assert Places("file", files=["set/a.txt"]).located(whole) is whole


def test_equal_prompts_are_counted_by_line():
    copies = Copies()
    for number, prompt in ((1, "a"), (3, "b"), (4, "a"), (6, "a")):
        copies.add(prompt, number)
    assert list(copies.by_line()) == [0, 1, 0, 0, 2, 0, 3]
