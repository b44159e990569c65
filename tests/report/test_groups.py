"""Groups of jobs: each job counts once in its group, each dollar once in all."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, failed, outcome

from venice_batch.errors import UsageError
from venice_batch.model import Flags, Percentiles, Status
from venice_batch.output.annotations import Annotation, Annotations
from venice_batch.report.conditions import parse_condition
from venice_batch.report.group_fields import group_fields
from venice_batch.report.groups import MOST_ANNOTATIONS, GroupBuilder
from venice_batch.report.intervals import Resamples, Sample, wilson
from venice_batch.report.tables import MOST_USD, ReportBuilder

AT = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


def annotated(values):
    """Annotations of images by (id, number)."""
    found = Annotations()
    for (job_id, number), own in values.items():
        found.add(Annotation(IMAGE.sha256, job_id, number, own, AT))
    return found


def table(by, outcomes, values=(), *, sort="", seed=0, **options):
    builder = GroupBuilder(group_fields(by), annotated(dict(values)), **options)
    for one in outcomes:
        builder.add(one)
    return builder.table(sort=sort, seed=seed)


def server(ttfb_s):
    return msgspec.structs.replace(outcome().timing, ttfb_s=ttfb_s)


RECORDS = [
    outcome("a", files=(IMAGE, IMAGE), cost_usd=0.02, metadata={"tag": "x"}, timing=server(1.0)),
    outcome("b", lane="flux", cost_usd=0.01, metadata={"tag": "y"}, timing=server(3.0)),
    failed("c", lane="flux", metadata={"tag": "x"}, flags=Flags(possibly_billed=True), at_most_usd=0.05),
    failed("d", lane="flux", status=Status.REJECTED, cost_usd=0.0),
    outcome("e", lane="flux", cost_usd=None),
]


def test_a_folder_without_records_has_no_groups():
    found = table("model", [])
    assert (found.groups, found.total.jobs, found.total.success) == ((), 0, None)
    assert table("model", [], sort="-jobs").groups == ()


def test_jobs_are_counted_in_the_group_of_their_values():
    found = table("model", RECORDS)
    flux, sd = found.groups
    assert (flux.values, sd.values) == ({"model": "flux"}, {"model": "venice-sd35"})
    assert (flux.jobs, flux.succeeded, flux.failed, flux.rejected, flux.images) == (4, 2, 1, 1, 2)
    assert (flux.success, flux.cost_usd, flux.unpriced) == (wilson(2, 4), 0.06, 1)
    assert (sd.jobs, sd.images, sd.cost_usd, sd.unpriced) == (1, 2, 0.02, 0)
    assert (found.total.jobs, found.total.images, found.total.cost_usd) == (5, 4, 0.08)
    assert (found.by, found.images, found.total.values) == (("model",), 4, {})


def test_several_fields_make_a_group_of_each_combination_and_none_is_a_value():
    found = table("model,metadata.tag", RECORDS)
    assert [(list(row.values.values()), row.jobs) for row in found.groups] == [
        (["flux", "x"], 1), (["flux", "y"], 1), (["flux", None], 2), (["venice-sd35", "x"], 1),
    ]  # fmt: skip


def test_the_groups_of_models_agree_with_the_report():
    records = [outcome(str(n), lane=f"m{n % 3}", timing=server(n / 7), cost_usd=0.01) for n in range(300)]
    report = ReportBuilder()
    for one in records:
        report.add(one)
    lanes = report.report().lanes
    for row in table("model", records).groups:
        lane = lanes[row.values["model"]]
        assert (row.succeeded, row.images, row.cost_usd, row.server_s) == (
            lane.succeeded, lane.images, lane.cost_usd, lane.server_s,
        )  # fmt: skip


def test_the_times_of_few_jobs_and_of_many_are_those_of_the_server():
    few = table("model", [outcome(str(n), timing=server(1.0 + n)) for n in range(10)]).total.server_s
    assert (few.p50, few.p95) == (5.0, 10.0)
    many = table("model", [outcome(str(n), timing=server(1.0 + n)) for n in range(100)]).total.server_s
    assert (many.p50, many.p95) == (50.0, 95.0)
    assert table("model", [failed(), outcome("b", timing=server(None))]).total.server_s == Percentiles()


def test_means_of_annotations_are_over_the_images_that_have_them():
    values = {("a", 1): {"score": 0.5, "correct": True}, ("a", 2): {"score": 1.5}, ("b", 1): {"correct": False}}
    found = table("model", RECORDS, values)
    flux, sd = found.groups
    assert sd.annotations["score"].mean == 1.0
    assert (sd.annotations["score"].n, sd.annotations["score"].method) == (2, "bootstrap")
    assert flux.annotations == {"score": None, "correct": wilson(0, 1)}
    assert found.total.annotations["correct"] == wilson(1, 2)


def test_numbers_that_are_0_or_1_are_a_share_in_all_groups_or_in_none():
    values = {("a", 1): {"score": 1}, ("a", 2): {"score": 1.0}, ("b", 1): {"score": 0.5}, ("e", 1): {"score": 0}}
    rows = table("model", RECORDS, values).groups
    assert [row.annotations["score"].method for row in rows] == ["bootstrap", "bootstrap"]


def test_the_interval_of_a_group_is_that_of_its_values_alone():
    values = {(str(n), 1): {"score": n * n / 100} for n in range(30)}
    records = [outcome(str(n), lane=f"m{n % 2}") for n in range(30)]
    for row in table("model", records, values, seed=5).groups:
        sample = Sample()
        for n in range(int(row.values["model"][1]), 30, 2):
            sample.add(n * n / 100)
        assert row.annotations["score"] == sample.estimate(Resamples(5), as_share=False)


def test_texts_and_absurd_numbers_are_not_averaged():
    values = {("a", 1): {"label": "cat", "mixed": 1.0, "huge": 10**80}, ("a", 2): {"label": "dog", "mixed": "?"}}
    found = table("model", RECORDS, values)
    assert list(found.total.annotations) == ["mixed"]
    assert found.total.annotations["mixed"].n == 1


def test_the_first_annotations_are_averaged_unless_others_are_chosen():
    values = {("a", 1): {f"s{n}": n for n in range(100)}}
    found = table("model", RECORDS, values)
    assert list(found.total.annotations) == [f"s{n}" for n in range(MOST_ANNOTATIONS)]
    assert found.left_out == 100 - MOST_ANNOTATIONS
    chosen = table("model", RECORDS, values, means=("s99", "s0"))
    assert (list(chosen.total.annotations), chosen.left_out) == (["s99", "s0"], 0)


def test_by_an_annotation_each_image_is_in_its_own_group_and_costs_are_divided():
    values = {("a", 1): {"label": "cat"}, ("a", 2): {"label": "dog"}, ("b", 1): {"label": "cat"}}
    found = table("annotation.label", RECORDS, values)
    shown = [(row.values["annotation.label"], row.jobs, row.images, row.cost_usd) for row in found.groups]
    assert shown == [("cat", 2, 2, 0.02), ("dog", 1, 1, 0.01), (None, 3, 1, 0.05)]
    assert (found.total.jobs, found.total.images) == (5, 4)


def test_by_an_annotation_and_a_field_a_job_counts_once_in_a_group():
    values = {("a", number): {"label": "cat"} for number in (1, 2)}
    found = table("metadata.tag,annotation.label", RECORDS[:1], values)
    assert [(row.values, row.jobs, row.images) for row in found.groups] == [
        ({"metadata.tag": "x", "annotation.label": "cat"}, 1, 2)
    ]


def test_clusters_make_the_intervals_of_means_wider_and_shares_a_bootstrap_too():
    records = [outcome(str(n), request={"prompt": f"p{n // 4}"}) for n in range(40)]
    values = {(str(n), 1): {"score": n // 4 + n % 4 / 10, "correct": n // 4 % 2 == 0} for n in range(40)}
    (prompt,) = group_fields("prompt")
    alone, together = table("model", records, values), table("model", records, values, cluster=prompt)
    assert (alone.cluster, together.cluster) == (None, "prompt")
    for name in ("score", "correct"):
        one, other = alone.total.annotations[name], together.total.annotations[name]
        assert other.mean == pytest.approx(one.mean)
        assert other.high - other.low > 1.4 * (one.high - one.low)
        assert other.method == "bootstrap"


def test_where_counts_only_images_that_meet_it():
    values = {("a", 1): {"score": 0.1}, ("a", 2): {"score": 0.9}, ("b", 1): {"score": 0.2}}
    found = table("model", RECORDS, values, where=parse_condition("score<0.5", "--where").is_met)
    assert [(row.values["model"], row.jobs, row.images, row.cost_usd) for row in found.groups] == [
        ("flux", 1, 1, 0.01), ("venice-sd35", 1, 1, 0.01),
    ]  # fmt: skip
    assert (found.total.images, found.images) == (2, 4)


@given(st.integers(1, 7), st.integers(0, 10**6), st.data())
def test_the_parts_of_a_cost_add_up_exactly(images, micro_usd, data):
    labels = data.draw(st.lists(st.sampled_from("xyz"), min_size=images, max_size=images))
    values = {("a", number): {"label": label} for number, label in enumerate(labels, 1)}
    found = table("annotation.label", [outcome("a", files=(IMAGE,) * images, cost_usd=micro_usd / 1e6)], values)
    assert sum(round(row.cost_usd * 1e6) for row in found.groups) == micro_usd


def test_a_sandbox_and_absurd_prices_are_told_apart():
    records = [outcome("a", cost_usd=0.01, sandbox=True), outcome("b", cost_usd=1e300)]
    total = table("model", records).total
    assert (total.cost_usd, total.sandbox_usd) == (MOST_USD + 0.01, 0.01)


def test_ignored_seeds_are_part_of_the_table():
    records = [outcome(str(seed), request={"prompt": "p", "seed": seed}) for seed in range(3)]
    assert table("model", records).ignored_seeds[0].text.startswith("venice-sd35 ignored the seed: 3 of 3 pairs")


def test_rows_are_sorted_by_the_values_of_the_fields_as_numbers_and_texts():
    records = [outcome(str(n), request={"seed": seed}) for n, seed in enumerate([10, None, 9, "x", 9.5])]
    assert [row.values["seed"] for row in table("seed", records).groups] == [9, 9.5, 10, "x", None]


@pytest.mark.parametrize(
    ("sort", "models"),
    [
        ("", "abc"), ("-model", "cba"), ("jobs", "bca"), ("-jobs", "acb"), ("cost", "acb"), ("-cost", "cab"),
        ("p50", "bca"), ("score", "cab"), ("-score", "acb"), ("annotation.score", "cab"), ("success", "abc"),
    ],
)  # fmt: skip
def test_rows_are_sorted_by_a_column_with_nothing_last(sort, models):
    records = [
        *(outcome(f"a{n}", lane="a", cost_usd=0.01, timing=server(9.0)) for n in range(3)),
        outcome("b", lane="b", timing=server(1.0)),
        *(outcome(f"c{n}", lane="c", cost_usd=0.05, timing=server(2.0)) for n in range(2)),
    ]
    values = {("a0", 1): {"score": 0.9}, ("c0", 1): {"score": 0.3}}
    assert "".join(row.values["model"] for row in table("model", records, values, sort=sort).groups) == models


def test_a_column_that_the_table_lacks_is_refused_with_those_it_has():
    with pytest.raises(UsageError, match=r"no column 'foo'; it has model, jobs, .*, p95, score"):
        table("model", RECORDS, {("a", 1): {"score": 0.9}}, sort="-foo")


def test_fields_without_any_value_are_named():
    builder = GroupBuilder(group_fields("model,metadata.none,annotation.none"), Annotations())
    assert builder.empty_fields == []
    for one in RECORDS:
        builder.add(one)
    assert [field.name for field in builder.empty_fields] == ["metadata.none", "annotation.none"]
