"""The geometry of the charts."""

import re
from collections import Counter
from itertools import pairwise

import pytest
from gallery.made import contents, report
from hypothesis import given
from hypothesis import strategies as st
from records import failed, outcome

from venice_batch.gallery.charts import Bar, Part, bar_chart, charts, latency_chart
from venice_batch.gallery.overview import COLOURS, colours
from venice_batch.gallery.scales import Linear, ceiling
from venice_batch.gallery.timeline import Arrival, RunSpan, Span, Timeline, growth_chart
from venice_batch.report.summary import Histogram
from venice_batch.text_format import duration


def history(*arrivals, length_s=100.0, **more):
    made = tuple(Arrival(at_s, lane, images, images / 100) for at_s, lane, images in arrivals)
    return Timeline(length_s=length_s, runs=(RunSpan("a", Span(0.0, length_s), 0.0),), arrivals=made, **more)


def growth(timeline, **more):
    lanes = colours(dict.fromkeys(one.lane for one in timeline.arrivals))
    return growth_chart(timeline, lanes, 720, amount=lambda one: one.images, shown=str, **more)


def points(path):
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


arrivals = st.lists(
    st.tuples(st.floats(0, 100), st.sampled_from("abcdefghij"), st.integers(0, 4)), min_size=1, max_size=40
)


@given(arrivals)
def test_areas_stay_within_the_plot_and_end_as_high_as_all_below_them_add_up_to(found):
    chart = growth(history(*sorted(found)))
    images = Counter()
    lanes = colours(dict.fromkeys(lane for _, lane, _ in sorted(found)))
    for _, lane, number in found:
        images[lanes[lane]] += number
    top = Linear(0.0, ceiling(images.total(), 4), chart.bottom, chart.top)
    below = 0
    for area in chart.areas:
        places = points(area.path)
        assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in places)
        below += images[area.colour]
        assert min(y for _, y in places) == top.at(below)


def test_an_arrival_lifts_the_area_at_its_time():
    (area,) = growth(history((0, "a", 0), (50, "a", 3), (100, "a", 1))).areas
    before = [y for x, y in points(area.path) if x < 370]
    assert set(before) == {200.0}  # at the bottom until the first came
    assert min(y for _, y in points(area.path)) == 10.0  # 4 images are the top


def test_models_beyond_the_colours_share_the_last():
    chart = growth(history(*[(1.0 * number, f"m{number}", 1) for number in range(12)]))
    assert [area.colour for area in chart.areas] == list(range(COLOURS))
    assert chart.areas[0].name == "m0"
    assert chart.areas[-1].name == "other models"


def test_marks_that_touch_are_one_and_a_moment_can_be_seen():
    spans = (Span(10.0, 20.0), Span(15.0, 30.0), Span(80.0, 80.0))
    chart = growth(history((5, "a", 1), refusals=spans, retries=(50.0,)), marked=True)
    waits, retries = chart.rows
    assert [bar.width > 2.5 for bar in waits.bars] == [True, False]
    assert [(row.kind, len(row.bars)) for row in chart.rows] == [("wait", 2), ("retry", 1)]
    assert retries.bars[0].width == 2.0
    assert waits.y < retries.y < chart.height


def test_a_chart_without_marks_has_no_rows_for_them():
    assert growth(history((5, "a", 1)), marked=True).rows == ()


def test_the_size_of_a_chart_does_not_grow_with_what_it_shows():
    many = growth(
        history(*[(number / 200, "a", 1) for number in range(20_000)], retries=tuple(n / 50 for n in range(5000))),
        marked=True,
    )
    assert len(many.areas[0].path) < 15_000
    assert sum(len(row.bars) for row in many.rows) < 700


def test_several_runs_are_separated():
    one = history((5, "a", 1))
    assert growth(one).breaks == ()
    runs = tuple(RunSpan(str(number), Span(number * 1.0, number + 1.0), 86_400.0 * number) for number in range(100))
    chart = growth(Timeline(length_s=100.0, runs=runs, arrivals=one.arrivals))
    assert len(chart.breaks) == 100
    named = [label for label in chart.breaks if label.text]
    assert named[0].text == "1 Jan 00:00"
    assert all(b.at - a.at >= 92 for a, b in pairwise(named))


@given(st.lists(st.lists(st.floats(0, 1e5), min_size=1, max_size=7), min_size=1, max_size=9))
def test_parts_of_a_bar_lie_side_by_side_within_the_chart(values):
    rows = [Bar(str(number), "", tuple(Part("k", value) for value in parts)) for number, parts in enumerate(values)]
    chart = bar_chart(rows, 340, shown=duration)
    for row in chart.rows:
        for part, after in pairwise(row.parts):
            assert part.x + part.width <= after.x + 0.15
        assert all(part.width > 0 for part in row.parts)
        assert all(part.x + part.width <= chart.right + 0.1 for part in row.parts)
        assert row.bar_y + chart.bar_height <= chart.bottom
    assert len({row.bar_y for row in chart.rows}) == len(values)


def test_a_bar_is_as_long_as_its_parts_add_up_to():
    chart = bar_chart(
        [Bar("a", "", (Part("x", 1.0), Part("y", 3.0))), Bar("b", "", (Part("x", 2.0),))], 720, shown=duration
    )
    lengths = [sum(part.width for part in row.parts) for row in chart.rows]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.2)


def test_no_rows_are_an_empty_chart():
    assert bar_chart([], 720, shown=duration).rows == ()


def counted(*values):
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(st.lists(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), min_size=1, max_size=4))
def test_columns_stand_within_their_rows_and_count_every_duration(lanes):
    found = {str(number): counted(*values) for number, values in enumerate(lanes)}
    percentiles = {name: histogram.percentiles() for name, histogram in found.items()}
    chart = latency_chart(found, percentiles, colours(found), 340)
    assert len(chart.rows) == len(lanes)
    for row, values in zip(chart.rows, lanes, strict=True):
        numbers = [int(column.text.split()[0].replace(",", "")) for column in row.columns]
        assert sum(numbers) == len(values)
        for column in row.columns:
            assert chart.left <= column.x
            assert column.x + column.width <= chart.right + 0.1
            assert row.y < column.y
            assert column.y + column.height == pytest.approx(row.base)
            assert column.width >= 5
        assert all(chart.left <= mark.at <= chart.right for mark in row.marks)


def test_models_without_durations_have_no_row():
    chart = latency_chart({"a": Histogram()}, {}, {"a": 0}, 720)
    assert chart.rows == ()


def test_a_page_has_charts_of_the_data_it_has():
    outcomes = [outcome("a", cost_usd=0.5), failed("b", lane="flux")]
    made = charts(report(outcomes), contents(outcomes), history((1, "venice-sd35", 1)))
    assert [row.name for row in made["spent"]["wide"].rows] == ["venice-sd35"]
    assert [row.note for row in made["costs"]["wide"].rows] == ["$0.50"]
    assert ("t-server", "at the server") in made["kinds"]
    assert "t-backoff" not in dict(made["kinds"])
    assert made["progress"]["narrow"].width < made["progress"]["wide"].width


def test_without_prices_there_is_no_chart_of_costs():
    outcomes = [outcome("a")]
    made = charts(report(outcomes), contents(outcomes), history((1, "venice-sd35", 1)))
    assert (made["costs"], made["spending"]) == (None, None)


@pytest.mark.parametrize("length", [10, 50, 400])
def test_a_models_name_is_cut_where_it_would_run_into_its_note(length):
    name = "m" * length
    found = charts(report([outcome("a", lane=name, cost_usd=0.5)]), contents([outcome("a", lane=name)]), history())
    for kind in ("spent", "latency", "costs"):
        for width, chart in found[kind].items():
            (row,) = chart.rows
            assert row.name == name or (row.name.startswith("mmm") and row.name.endswith("…"))
            assert len(row.name) * 7.6 + len(row.note) * 7.0 <= chart.width
            assert (row.name == name) == (length == 10 or (length, width) == (50, "wide"))


def test_an_axis_of_thousands_of_dollars_has_no_cents():
    rows = [outcome("a", cost_usd=4000.0), outcome("b", cost_usd=5.0, lane="b")]
    found = charts(report(rows), contents(rows), history((1.0, "venice-sd35", 1)))
    labels = [label.text for label in found["costs"]["wide"].x_labels]
    assert (labels[0], labels[-1]) == ("$0.00", "$4,000")
