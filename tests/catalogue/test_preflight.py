"""One pass over a file: mistakes, warnings and sums."""

import tracemalloc

import msgspec
import pytest
from catalogue.made import SHIPPED, STYLES, catalogue, job

from venice_batch.catalogue import Bill, Preflight
from venice_batch.catalogue import preflight as module
from venice_batch.catalogue.constraints import shape_complaints
from venice_batch.catalogue.prices import price_for
from venice_batch.jobfile.fields import FIELDS
from venice_batch.model import Endpoint


def examined(*jobs, known=SHIPPED, **options):
    preflight = Preflight(known, STYLES, **options)
    return preflight, [preflight.examine(one) for one in jobs]


def test_a_valid_job_has_no_problem_and_a_price():
    preflight, (problems,) = examined(job(variants=2))
    assert problems == []
    assert preflight.bills() == [(Bill("venice-sd35", "venice-sd35", 2, 20_000), 1)]


def test_each_job_has_its_bill():
    preflight, _ = examined(job(), job(variants=2), job())
    assert [preflight.bill(place).images for place in range(3)] == [1, 2, 1]


def test_problems_are_reported_for_every_job_of_a_shape():
    _, found = examined(job(steps=99), job(steps=99, line=2))
    assert [[field for field, _ in problems] for problems in found] == [["steps"], ["steps"]]


def test_prompts_and_references_are_looked_at_in_every_job():
    reference = [{"image": "https://example.com/a.png"}]
    preflight, found = examined(
        job(), job(prompt="x" * 1501), job(negative_prompt="x" * 1501), job(negative_prompt="x"),
        job(model="krea-v2-large", style_references=reference, line=5), job(style_references=reference, line=6),
    )  # fmt: skip
    assert [[field for field, _ in problems] for problems in found] == [
        [], ["prompt"], ["negative_prompt"], [], [], ["style_references"],
    ]  # fmt: skip
    assert preflight.warnings[0].field == "style_references"


def test_a_seed_or_a_negative_prompt_makes_another_shape():
    jobs = [job(model="gpt-image-2", **fields) for fields in ({}, {"seed": 1}, {"seed": 2}, {"negative_prompt": "x"})]
    preflight, _ = examined(*jobs)
    assert [(warned.field, warned.count) for warned in preflight.warnings] == [("seed", 2), ("negative_prompt", 1)]


def test_an_unknown_field_is_a_warning_and_may_have_any_type():
    doubtful = [
        msgspec.structs.replace(job(background=[1], line=line), doubts=(("background", "unknown field"),))
        for line in (1, 2)
    ]
    preflight, found = examined(*doubtful, allow_unknown=True)
    assert found == [[], []]
    (warned,) = preflight.warnings
    assert (warned.field, warned.what, warned.count, warned.lines) == ("background", "unknown field", 2, [1, 2])
    _, (problems,) = examined(doubtful[0], known=None, strict=True)
    assert problems == [("background", "unknown field")]


def test_errors_by_the_list_are_warnings_where_the_unknown_is_allowed():
    preflight, (problems,) = examined(job(steps=99, style_preset="New"), allow_unknown=True)
    assert problems == []
    assert {warned.field for warned in preflight.warnings} == {"steps", "style_preset"}


def test_warnings_are_counted_and_kept_once_each_with_their_first_lines():
    preflight, found = examined(*(job(enable_web_search=True, line=line) for line in range(1, 9)))
    assert not any(found)
    (warned,) = preflight.warnings
    assert (warned.field, warned.count, warned.lines) == ("enable_web_search", 8, [1, 2, 3, 4, 5])
    assert preflight.warning_count == 8


def test_different_warnings_are_kept_up_to_a_hundred():
    preflight, _ = examined(*(job(model=f"new-{line}", line=line) for line in range(1, 151)), allow_unknown=True)
    assert len(preflight.warnings) == 100
    assert preflight.warning_count == 150


def test_strict_makes_errors_of_warnings():
    preflight, (problems,) = examined(job(enable_web_search=True), strict=True)
    assert [field for field, _ in problems] == ["enable_web_search"]
    assert preflight.warning_count == 0


def test_an_unknown_model_that_is_allowed_has_no_price():
    preflight, (problems,) = examined(job(model="brand-new"), allow_unknown=True)
    assert problems == []
    assert preflight.bills() == [(Bill("brand-new", "brand-new", 1, None), 1)]


def test_without_a_catalogue_nothing_is_checked_and_images_are_counted():
    preflight, found = examined(job(model="x", width=999, variants=3), job(Endpoint.GENERATIONS), known=None)
    assert found == [[], []]
    assert [(bill.images, bill.micro_usd, count) for bill, count in preflight.bills()] == [(3, None, 1), (1, None, 1)]


def test_bills_name_the_model_behind_a_trait():
    preflight, _ = examined(job(model="fastest"), job(Endpoint.GENERATIONS, model=None))
    assert [(bill.lane, bill.model) for bill, _ in preflight.bills()] == [
        ("fastest", "z-image-turbo"),
        ("default", "z-image-turbo"),
    ]


def test_bills_of_some_jobs_only():
    preflight, _ = examined(job(), job(variants=2), job(), job())
    assert [(bill.images, count) for bill, count in preflight.bills([True, True, False, True])] == [(1, 2), (2, 1)]


def test_a_bill_has_the_enhancement_of_a_prompt_as_part_of_the_most_that_it_can_cost():
    preflight, _ = examined(
        job(enhance_prompt=True, variants=4), job(enable_web_search=True), job(enhance_prompt=False)
    )
    assert [(bill.micro_usd, bill.enhancement_micro_usd) for bill, _ in preflight.bills()] == [
        (80_000, 40_000), (10_000, 0),
    ]  # fmt: skip


def test_more_shapes_than_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "_MAX_SHAPES", 3)
    preflight, found = examined(*(job(steps=side) for side in range(1, 161)))
    assert sum(map(bool, found)) == 130
    assert preflight.bills()[0][1] == 160


def test_a_million_wrong_names_are_not_each_searched_for(monkeypatch):
    monkeypatch.setattr(module, "_MAX_SEARCHES", 2)
    _, found = examined(*(job(model=f"venice-sd3{line}", line=line) for line in range(10, 14)))
    assert ["nearest" in problems[0][1] for problems in found] == [True, True, False, False]


def test_memory_stays_a_few_bytes_a_job():
    preflight = Preflight(SHIPPED, STYLES)
    jobs = [job(width=8 * side) for side in range(2, 100)]
    for one in jobs * 50:  # the interpreter keeps 2,000 tuples of a length for the next use
        preflight.examine(one)
    tracemalloc.start()
    for _ in range(200):
        for one in jobs:
            preflight.examine(one)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 200 * len(jobs) * 8 + 50_000


def test_a_model_without_limits_takes_any_prompt():
    _, (problems,) = examined(job(model="bare", prompt="x" * 30_000), known=catalogue({"id": "bare"}))
    assert problems == []


def test_shapes_of_two_endpoints_are_apart():
    preflight, found = examined(*(job(endpoint, model="nobody") for endpoint in Endpoint))
    assert [bool(problems) for problems in found] == [True, False, True, True, True, False]
    assert len(preflight.bills()) == 3, "two of them have a price: the default model's, and that of background removal"


class Guarded(dict):
    """A request that fails the test when the value of a field in `PER_JOB` is read."""

    def get(self, key, default=None):
        assert key not in module.PER_JOB - {"images", "seed", "negative_prompt"}
        return super().get(key, default)

    def __getitem__(self, key):
        assert key not in module.PER_JOB
        return super().__getitem__(key)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_a_shape_leaves_out_no_field_that_its_complaints_or_its_price_read(endpoint):
    for model in [*SHIPPED.models.values(), None]:
        fields = dict.fromkeys(FIELDS[endpoint] & module.PER_JOB, ()) | {"model": model.id if model else "nobody"}
        one = msgspec.structs.replace(job(), endpoint=endpoint, request=Guarded(fields))
        list(shape_complaints(one, SHIPPED, styles=STYLES))
        price_for(msgspec.structs.replace(one, request=Guarded(fields, images=[])), model)
