"""The sentences about a tree."""

import pytest

from venice_batch.report.export.layouts import LAYOUTS
from venice_batch.report.export.samples import Configuration
from venice_batch.report.export.tally import First, Tally


class Few:
    """Samples of two prompts, four of each."""

    configurations = (Configuration("m", 2, 4, 0),)
    unseen = strangers = 0

    def __init__(self, is_certain=True):
        self.is_certain = is_certain


def tally(layout, **given):
    return Tally(LAYOUTS[layout], Few(**given))


def test_the_first_id_stands_for_all():
    first = First()
    first.add("a")
    assert (str(first), first.count) == ("a", 1)
    first.add("b", 1999)
    assert (str(first), first.count) == ("a, and 1,999 more", 2000)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_is_nothing_to_say_about_a_whole_tree(layout):
    made = tally(layout)
    assert list(made.warnings()) == []
    notes = ["each of the 4 samples of a prompt has a folder of its own, sample-0 and so on; score each"]
    assert list(made.notes()) == (notes if layout == "hpsv2" else [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_that_may_be_wrong_are_said_where_names_have_them(layout):
    said = "the records do not tell which lines the prompts come from" in "".join(
        tally(layout, is_certain=False).warnings()
    )
    assert said == (layout not in ("unigenbench", "dpg-grid"))


@pytest.mark.parametrize(
    ("sizes", "notes", "warnings"),
    [([(64, 64)], 1, 0), ([(64, 48)], 0, 1), ([(64, 64), (32, 32)], 0, 1), ([], 0, 0)],
)
def test_a_grids_size_is_an_option_of_the_scorer_or_a_warning(sizes, notes, warnings):
    made = tally("dpg-grid")
    made.sizes.update(sizes)
    assert (len(list(made.notes())), len(list(made.warnings()))) == (notes, warnings)
