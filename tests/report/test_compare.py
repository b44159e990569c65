"""Two folders compared, job by job."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, failed, outcome

from venice_batch.model import Flags, Status
from venice_batch.output.annotations import Annotation, Annotations
from venice_batch.report.compare import FIRST_IDS, MOST_ANNOTATIONS, Comparer
from venice_batch.report.comparison import Some, StatusChange
from venice_batch.report.group_fields import group_fields
from venice_batch.report.intervals import Resamples, Sample

OTHER = msgspec.structs.replace(IMAGE, sha256="1" * 64, bytes=7)


def annotated(values, sha256=IMAGE.sha256):
    found = Annotations()
    for job_id, own in values.items():
        found.add(Annotation(sha256, job_id, 1, own, "2026-01-01T00:00:00Z"))
    return found


def compare(a, b, values_a=(), values_b=(), *, by="model", means=None, sha256_b=IMAGE.sha256):
    annotations = annotated(dict(values_a)), annotated(dict(values_b), sha256_b)
    comparer = Comparer(group_fields(by), annotations, means=means)
    for one in a:
        comparer.add_first(one)
    images = [image for one in b for image in comparer.add_second(one)]
    return comparer.comparison("one", "two"), images


def test_jobs_belong_together_by_their_ids():
    found, images = compare(map(outcome, "abc"), map(outcome, "bcde"))
    assert (found.a, found.b, found.total.jobs) == ("one", "two", 2)
    assert (found.only_a, found.only_b) == (Some(1, ("a",)), Some(2, ("d", "e")))
    assert [image.id for image in images] == ["b", "c"]


def test_of_many_jobs_in_one_folder_only_the_first_are_named():
    found, _ = compare([outcome(str(n)) for n in range(100)], [])
    assert found.only_a == Some(100, tuple(map(str, range(FIRST_IDS))))
    assert (found.groups, found.total.jobs) == ((), 0)


def test_status_price_time_and_bytes_stand_side_by_side():
    timing = msgspec.structs.replace(outcome().timing, ttfb_s=3.0, total_s=4.0)
    found, (image,) = compare(
        [outcome("a", cost_usd=0.01)], [outcome("a", cost_usd=0.03, files=(OTHER,), timing=timing, sandbox=True)]
    )
    assert (image.status, image.model, image.image) == (("succeeded",) * 2, ("venice-sd35",) * 2, 1)
    assert (image.cost_usd, image.server_s, image.total_s) == ((0.01, 0.03), (0.9, 3.0), (2.0, 4.0))
    assert (image.bytes, image.equal_file, image.same_request) == ((5, 7), False, True)
    (group,) = found.groups
    assert (group.a.cost_usd, group.b.cost_usd, group.a.sandbox_usd, group.b.sandbox_usd) == (0.01, 0.03, 0.0, 0.03)
    assert (group.a.server_s.p50, group.b.server_s.p50, group.a.bytes, group.b.bytes) == (0.9, 3.0, 5, 7)
    assert (group.compared_files, group.equal_files) == (1, 0)


def test_changes_of_the_status_are_counted_with_their_first_ids():
    a = [outcome("a"), outcome("b"), failed("c"), failed("d")]
    b = [failed("a"), failed("b"), outcome("c"), failed("d", status=Status.FAILED)]
    found, images = compare(a, b)
    assert found.status_changes == (
        StatusChange("succeeded", "failed", Some(2, ("a", "b"))),
        StatusChange("failed", "succeeded", Some(1, ("c",))),
    )
    assert (found.total.a.succeeded, found.total.b.succeeded) == (2, 1)
    assert [(image.id, image.image, image.bytes, image.equal_file) for image in images] == [
        ("a", 1, (5, None), None), ("b", 1, (5, None), None), ("c", 1, (None, 5), None), ("d", None, (None, None), None)
    ]  # fmt: skip


def test_images_of_a_job_are_compared_by_their_numbers():
    a, b = outcome(files=(IMAGE, IMAGE), cost_usd=0.04), outcome(files=(IMAGE, OTHER, OTHER), cost_usd=0.06)
    found, images = compare([a], [b])
    assert [(image.image, image.equal_file, image.cost_usd) for image in images] == [
        (1, True, (0.02, 0.02)), (2, False, (0.02, 0.02)), (3, None, (None, 0.02)),
    ]  # fmt: skip
    assert (found.total.compared_files, found.total.equal_files, found.total.a.images) == (2, 1, 2)


def test_an_unknown_price_is_no_price():
    lost = failed(flags=Flags(possibly_billed=True), at_most_usd=0.02)
    found, (image,) = compare([outcome(cost_usd=None)], [lost])
    assert image.cost_usd == (None, 0.02)
    assert (found.total.a.cost_usd, found.total.a.unpriced, found.total.b.cost_usd) == (None, 1, 0.02)


def test_two_models_with_the_same_ids_are_a_group_of_their_own():
    a = [outcome("a"), outcome("b", lane="flux")]
    b = [outcome("a", lane="flux", request_hash="0" * 32), outcome("b", lane="flux")]
    found, _ = compare(a, b)
    assert [(row.values["model"], row.jobs, row.same_requests) for row in found.groups] == [
        ("flux", 1, 1), ("venice-sd35 → flux", 1, 0),
    ]  # fmt: skip


def test_the_differences_of_numbers_are_averaged_over_pairs():
    ids = [str(n) for n in range(8)]
    scores = {job_id: (n / 10, n * n / 30) for n, job_id in enumerate(ids)}
    found, images = compare(
        map(outcome, ids), map(outcome, ids),
        {job_id: {"score": a, "correct": True} for job_id, (a, _) in scores.items()},
        {job_id: {"score": b, "correct": n > 3} for n, (job_id, (_, b)) in enumerate(scores.items())},
    )  # fmt: skip
    sample = Sample()
    for a, b in scores.values():
        sample.add(b - a)
    score, correct = found.total.annotations["score"], found.total.annotations["correct"]
    assert score.difference == sample.estimate(Resamples(), as_share=False)
    assert (score.n, score.changed, score.a, score.b) == (8, 6, pytest.approx(0.35), pytest.approx(14 / 24))
    assert (correct.difference.mean, correct.changed, correct.a, correct.b) == (-0.5, 4, 1.0, 0.5)
    assert images[1].annotations["score"] == (0.1, pytest.approx(1 / 30))


def test_differences_of_one_prompt_can_be_drawn_together():
    records = [outcome(str(n), request={"prompt": f"p{n // 4}"}) for n in range(40)]
    values = [{str(n): {"score": factor * (n // 4)} for n in range(40)} for factor in (1, 2)]
    found = []
    for cluster in (None, *group_fields("prompt")):
        comparer = Comparer(group_fields("model"), tuple(map(annotated, values)), cluster=cluster)
        for one in records:
            comparer.add_first(one)
        assert sum(len(list(comparer.add_second(one))) for one in records) == 40
        found.append(comparer.comparison("a", "b"))
    alone, together = (one.total.annotations["score"].difference for one in found)
    assert [one.cluster for one in found] == [None, "prompt"]
    assert together.mean == alone.mean
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_texts_are_equal_or_changed_and_missing_values_are_no_pair():
    found, images = compare(
        map(outcome, "abc"), map(outcome, "abc"),
        {"a": {"label": "cat"}, "b": {"label": "cat"}, "c": {"label": "cat"}},
        {"a": {"label": "dog"}, "b": {"label": "cat"}},
    )  # fmt: skip
    label = found.total.annotations["label"]
    assert (label.n, label.changed, label.a, label.difference) == (2, 1, None, None)
    assert images[2].annotations == {"label": ("cat", None)}


def test_annotations_of_other_images_and_of_one_folder_alone_are_left_out():
    found, _ = compare([outcome("a")], [outcome("a")], {"a": {"x": 1, "y": 1}}, {"a": {"x": 2}}, sha256_b="5" * 64)
    assert (list(found.total.annotations), found.total.annotations["x"].n) == (["x"], 0)


def test_the_first_annotations_are_compared_unless_others_are_chosen():
    values = {"a": {f"s{n}": n for n in range(20)}}
    comparer = Comparer(group_fields("model"), (annotated(values), annotated(values)))
    assert comparer.left_out == 20 - MOST_ANNOTATIONS
    found, _ = compare([outcome("a")], [outcome("a")], values, values, means=("s19",))
    assert list(found.total.annotations) == ["s19"]


def test_huge_integers_and_mixed_types_do_no_harm():
    found, _ = compare(
        map(outcome, "abc"), map(outcome, "abc"),
        {"a": {"x": 10**80}, "b": {"x": "1"}, "c": {"x": True}}, {"a": {"x": 10**80}, "b": {"x": 1}, "c": {"x": 1}},
    )  # fmt: skip
    x = found.total.annotations["x"]
    assert (x.n, x.changed, x.a, x.b) == (3, 2, 1.0, 1.0)


RECORDS = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.booleans(), st.integers(0, 3)), max_size=8)


def made(records):
    return [
        outcome(job_id, files=(IMAGE,) * images, cost_usd=0.01) if succeeded else failed(job_id, cost_usd=0.0)
        for job_id, (succeeded, images) in records.items()
    ]


@given(RECORDS, RECORDS)
def test_every_job_is_in_both_or_in_one_and_swapping_the_folders_swaps_the_sides(a, b):
    found, images = compare(made(a), made(b), by="status")
    back, _ = compare(made(b), made(a), by="status")
    assert found.total.jobs == len(a.keys() & b.keys()) == len({image.id for image in images})
    assert found.total.jobs + found.only_a.count == len(a)
    assert found.total.jobs + found.only_b.count == len(b)
    assert sum(row.jobs for row in found.groups) == found.total.jobs
    assert (found.total.a, found.total.b, found.only_a.count) == (back.total.b, back.total.a, back.only_b.count)
