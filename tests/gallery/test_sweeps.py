"""Jobs that differ only in a few fields, and the grids they make."""

import itertools
import random
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.gallery.sweeps import Axis, SweepFinder, matrix_fields
from venice_batch.jobfile import Defaults
from venice_batch.jobfile.line import parse

Candidate = namedtuple("Candidate", "number id request index", defaults=[None])


def find_sweeps(jobs):
    finder = SweepFinder()
    for job in jobs:
        finder.add(*job)
    return finder.sweeps()


def candidates(*lines, first=0):
    """Return the jobs of these lines of a jobs file."""
    import msgspec

    jobs = []
    for number, line in enumerate(lines):
        parsed = parse(msgspec.json.encode(line), number=number + 1, first_index=0, defaults=Defaults(), source="x")
        assert not parsed.problems
        jobs += parsed.jobs
    return [Candidate(first + number, job.id, job.request, number) for number, job in enumerate(jobs)]


def shuffled(jobs, seed):
    """Return the jobs as they might end: in another order, and numbered in it on the page."""
    jobs = random.Random(seed).sample(jobs, len(jobs))
    return [job._replace(number=number) for number, job in enumerate(jobs)]


def layout(sweep):
    return sweep.axes, sweep.down, sweep.across


LINE = {"id": "gondola", "model": "venice-sd35", "prompt": "a gondola"}


def test_a_matrix_is_a_grid_of_its_fields():
    (sweep,) = find_sweeps(candidates({**LINE, "matrix": {"seed": [3, 1, 20], "style_preset": ["Film Noir", "Anime"]}}))
    assert sweep.name == "gondola"
    assert sweep.axes == (Axis("seed", ("3", "1", "20")), Axis("style_preset", ("Film Noir", "Anime")))
    assert sweep.cells == ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3), (2, 0, 4), (2, 1, 5))
    assert (sweep.down, sweep.across) == (0, 1)


MATRIX = {"seed": [3, 1, 20], "style_preset": ["Film Noir", "Anime", "Watercolor"], "steps": [9, 5]}


@pytest.mark.parametrize("seed", range(5))
def test_rows_and_columns_have_the_order_of_the_file_in_whichever_order_jobs_end(seed):
    lines = [{**LINE, "id": name, "prompt": name, "matrix": MATRIX} for name in ("a", "b", "c")]
    jobs = candidates(*lines)
    found = find_sweeps(shuffled(jobs, seed))
    assert [sweep.name for sweep in found] == ["a", "b", "c"]
    expected = tuple(Axis(field, tuple(map(str, values))) for field, values in MATRIX.items())
    assert {layout(sweep) for sweep in found} == {(expected, 0, 1)}


@given(st.integers(0, 2**32), st.integers(1, 17))
def test_a_sweep_with_missing_jobs_keeps_the_rows_and_columns_of_the_others(seed, missing):
    jobs = shuffled(candidates(*({**LINE, "id": name, "matrix": MATRIX} for name in ("a", "b"))), seed)
    gone = [job.id for job in jobs if job.id.startswith("a")][:missing]
    for sweep in find_sweeps(shuffled([job for job in jobs if job.id not in gone], seed)):
        assert (sweep.down, sweep.across) == (0, 1)
        for axis in sweep.axes:
            assert list(axis.values) == [str(value) for value in MATRIX[axis.field] if str(value) in axis.values]


def test_a_column_of_its_own_stands_where_its_line_has_it():
    styles = [["Film Noir", "Anime"], ["Film Noir", "Watercolor", "Anime"]]
    lines = [
        {**LINE, "id": str(number), "matrix": {"seed": [2, 1], "style_preset": style}}
        for number, style in enumerate(styles)
    ]
    found = find_sweeps(shuffled(candidates(*lines), 1))
    assert [sweep.axes[1].values for sweep in found] == [tuple(style) for style in styles]
    # The second has more columns than rows; the first is laid out like it.
    assert [(sweep.down, sweep.across) for sweep in found] == [(1, 0), (1, 0)]


def test_values_that_no_line_has_all_of_are_put_together():
    lines = [
        {**LINE, "id": str(number), "matrix": {"seed": seeds}}
        for number, seeds in enumerate([[9, 7], [5, 7, 8], [1, 5]])
    ]
    found = find_sweeps(shuffled(candidates(*lines), 2))
    assert [sweep.axes[0].values for sweep in found] == [("9", "7"), ("5", "7", "8"), ("1", "5")]


def test_in_older_records_numbers_stand_by_size_and_words_by_the_alphabet():
    jobs = [job._replace(index=None) for job in shuffled(candidates({**LINE, "matrix": MATRIX}), 3)]
    (sweep,) = find_sweeps(jobs)
    assert [axis.values for axis in sweep.axes] == [("1", "3", "20"), ("Anime", "Film Noir", "Watercolor"), ("5", "9")]


def test_a_matrix_may_vary_the_prompt_and_the_model():
    line = {"id": "m", "matrix": {"prompt": ["a", "b"], "model": ["venice-sd35", "flux-2-pro"]}}
    (sweep,) = find_sweeps(candidates(line))
    assert [axis.field for axis in sweep.axes] == ["prompt", "model"]


@given(
    st.dictionaries(
        st.sampled_from(["seed", "steps", "cfg_scale", "width"]),
        st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True),
        min_size=1,
        max_size=3,
    )
)
def test_every_matrix_is_found_whole(matrix):
    jobs = [
        Candidate(number, f"gondola{''.join(f'__{name}-{value}' for name, value in zip(matrix, values, strict=True))}",
                  {"model": "m", "prompt": "p", **dict(zip(matrix, values, strict=True))})
        for number, values in enumerate(itertools.product(*matrix.values()))
    ]  # fmt: skip
    found = find_sweeps(jobs)
    if len(jobs) == 1:
        assert found == []
        return
    (sweep,) = found
    assert [axis.field for axis in sweep.axes] == list(matrix)
    assert len({cell[:-1] for cell in sweep.cells}) == len(jobs)
    assert sorted(cell[-1] for cell in sweep.cells) == list(range(len(jobs)))


def test_two_lines_with_a_matrix_are_two_sweeps_in_their_order():
    found = find_sweeps(
        candidates({**LINE, "matrix": {"seed": [1, 2]}}, {**LINE, "id": "b", "matrix": {"seed": [1, 2]}}, first=5)
    )
    assert [(sweep.name, [cell[-1] for cell in sweep.cells]) for sweep in found] == [("gondola", [5, 6]), ("b", [7, 8])]


def test_jobs_with_one_prompt_are_a_sweep_of_the_fields_that_differ():
    lines = [{**LINE, "id": f"{seed}-{steps}", "seed": seed, "steps": steps} for seed in (1, 2) for steps in (10, 20)]
    (sweep,) = find_sweeps(candidates(*lines))
    assert sweep.name == "a gondola"
    assert sweep.axes == (Axis("seed", ("1", "2")), Axis("steps", ("10", "20")))


def test_sizes_that_go_together_make_no_grid():
    lines = [{**LINE, "id": str(size), "width": size, "height": size + 16} for size in (512, 640, 768)]
    assert find_sweeps(candidates(*lines)) == []


def test_the_same_request_twice_is_no_sweep():
    assert find_sweeps(candidates(LINE, {**LINE, "id": "again"})) == []


def test_jobs_that_differ_in_many_fields_are_no_sweep():
    fields = ("seed", "steps", "cfg_scale", "width", "height")
    lines = [{**LINE, "id": str(place), **dict.fromkeys(fields, 16 * (1 + place))} for place in range(2)]
    assert find_sweeps([Candidate(number, line["id"], line) for number, line in enumerate(lines)]) == []


def test_other_jobs_have_nothing_to_do_with_it():
    lines = [{"id": str(number), "model": "venice-sd35", "prompt": f"prompt {number}"} for number in range(3)]
    assert find_sweeps(candidates(*lines)) == []


def test_a_request_without_prompt_is_passed_over():
    assert find_sweeps([Candidate(0, "a", {"image": "x"}), Candidate(1, "b", {"image": "x"})]) == []


@pytest.mark.parametrize(
    ("job_id", "base", "fields"),
    [
        ("a__seed-1", "a", ("seed",)),
        ("a__b__seed-1__style_preset-Anime", "a__b", ("seed", "style_preset")),
        ("a__other-1", "a__other-1", ()),
        ("a__seed-1__seed-2", "a__seed-1", ("seed",)),
        ("plain", "plain", ()),
        ("__seed-1", "", ("seed",)),
    ],
)
def test_a_matrix_is_recognised_by_ids(job_id, base, fields):
    assert matrix_fields(job_id, {"seed": 1, "style_preset": "Anime"}) == (base, fields)


def test_a_long_value_is_cut_in_its_label():
    (sweep,) = find_sweeps(candidates({"id": "m", "model": "venice-sd35", "matrix": {"prompt": ["x" * 90, "y"]}}))
    assert sweep.axes[0].values == ("x" * 59 + "…", "y")


def test_values_that_only_look_alike_stay_apart():
    jobs = [
        Candidate(0, "m__seed-1", {"prompt": "p", "seed": 1}),
        Candidate(1, "m__seed-1-ab", {"prompt": "p", "seed": "1"}),
    ]
    (sweep,) = find_sweeps(jobs)
    assert sweep.axes[0].values == ("1", "1")
    assert sweep.cells == ((0, 0), (1, 1))
