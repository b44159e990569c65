"""Records as rows and columns."""

from datetime import UTC, datetime

import msgspec
import pytest
from records import IMAGE, attempt, failed, outcome

from venice_batch.model import Flags, Parent, ServerTiming, Timing
from venice_batch.output.annotations import Annotation, Annotations
from venice_batch.report.export.columns import MAX_METADATA_COLUMNS, ColumnType, columns, rows


def table(*records, annotations=None):
    """Return each row as a dict of its non-empty cells, and the types of the columns."""
    found = columns(records, annotations)
    cells = [{column.name: column.cell(row) for column in found} for row in rows(records)]
    return [{name: cell for name, cell in row.items() if cell is not None} for row in cells], {
        column.name: column.kind for column in found
    }


def test_each_image_has_a_row_and_so_has_a_job_without_any():
    second = msgspec.structs.replace(IMAGE, path="images/a-2.webp")
    found, _ = table(outcome("a", files=(IMAGE, second), cost_usd=0.03), failed("b", cost_usd=0.0))
    assert [(row["id"], row.get("image"), row.get("path")) for row in found] == [
        ("a", 1, "images/a.webp"),
        ("a", 2, "images/a-2.webp"),
        ("b", None, None),
    ]
    assert sum(row["cost_usd"] for row in found) == pytest.approx(0.03), "what the jobs cost, not a multiple of it"
    found, _ = table(outcome("a", files=(IMAGE, second), cost_usd=None, at_most_usd=0.06))
    assert [(row.get("cost_usd"), row["at_most_usd"]) for row in found] == [(None, pytest.approx(0.03))] * 2


def test_a_record_is_spread_over_columns_of_its_parts():
    timing = Timing("2026-01-01T00:00:00.500Z", 0.1, 0.2, 0.0, 0.9, None, 0.01, 2.0, ServerTiming(1840, 22, 31, 1893))
    record = outcome("a", timing=timing, flags=Flags(blurred=True, deprecated="by March"), attempts=(attempt(),) * 3)
    (row,), kinds = table(record)
    assert row["enqueued_at"] == datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)
    assert "download_s" not in row
    assert (row["server_inference_ms"], row["server_queue_ms"], row["server_total_ms"]) == (1840, 31, 1893)
    assert (row["blurred"], row["content_violation"], row["deprecated"], row["attempts"]) == (
        True,
        False,
        "by March",
        3,
    )
    assert kinds["enqueued_at"] is ColumnType.TIME
    assert kinds["blurred"] is ColumnType.BOOL
    assert kinds["deprecated"] is ColumnType.TEXT
    (row,), _ = table(failed("b"))
    assert (row["error_kind"], row["error_status"], row["error_message"]) == ("server", 500, "out of order")


def test_columns_of_requests_stand_in_the_order_of_the_fields():
    request = {"zeta": 1, "seed": 7, "prompt": "p", "model": "m", "alpha": 1, "size": "auto"}
    _, kinds = table(outcome(request=request))
    names = [name for name in kinds if name.startswith("request.")]
    assert names == [f"request.{name}" for name in ("model", "prompt", "seed", "size", "alpha", "zeta")]


def test_columns_are_the_same_in_whatever_order_the_records_come():
    records = [outcome("a", metadata={"b": 1, "a": "x"}), outcome("b", metadata={"c": None}, request={"prompt": "p"})]
    assert list(table(*records)[1].items()) == list(table(*reversed(records))[1].items())


@pytest.mark.parametrize(
    ("values", "kind", "cells"),
    [
        ([1, 2], ColumnType.INT, [1, 2]),
        ([1, 2.5], ColumnType.FLOAT, [1.0, 2.5]),
        ([True, None], ColumnType.BOOL, [True, None]),
        (["a", None, "b"], ColumnType.TEXT, ["a", None, "b"]),
        ([1, "a", True, None], ColumnType.TEXT, ["1", "a", "true", None]),
        ([True, 1], ColumnType.TEXT, ["true", "1"]),
        ([{"a": [1]}, ["ü"]], ColumnType.TEXT, ['{"a":[1]}', '["ü"]']),
        ([2**63 - 1, -(2**63)], ColumnType.INT, [2**63 - 1, -(2**63)]),
        ([2**63], ColumnType.TEXT, [str(2**63)]),
        ([None], ColumnType.TEXT, [None]),
    ],
)
def test_a_column_has_the_type_that_all_its_values_have(values, kind, cells):
    records = [outcome(str(number), metadata={"k": value}) for number, value in enumerate(values)]
    found, kinds = table(*records, outcome("without"))
    assert kinds["metadata.k"] is kind
    got = [row.get("metadata.k") for row in found]
    assert got == [*cells, None]
    assert [type(cell) for cell in got] == [*map(type, cells), type(None)]


def test_too_many_keys_are_one_column():
    records = [outcome(str(n), metadata={f"k{n}": n}) for n in range(MAX_METADATA_COLUMNS + 1)]
    found, kinds = table(*records, outcome("without"))
    assert [name for name in kinds if name.startswith("metadata")] == ["metadata"]
    assert found[7]["metadata"] == '{"k7":7}'
    assert "metadata" not in found[-1]


def test_a_time_that_is_none_is_empty():
    (row,), _ = table(outcome(timing=msgspec.structs.replace(outcome().timing, enqueued_at="yesterday")))
    assert "enqueued_at" not in row
    (row,), _ = table(
        outcome(timing=msgspec.structs.replace(outcome().timing, enqueued_at="2026-01-01T02:00:00+02:00"))
    )
    assert row["enqueued_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    (row,), _ = table(outcome(timing=msgspec.structs.replace(outcome().timing, enqueued_at="2026-01-01")))
    assert row["enqueued_at"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_pruned_and_derived_images_are_known_by_their_columns():
    moved = msgspec.structs.replace(IMAGE, path="rejected/a.webp", pruned="moved")
    deleted = msgspec.structs.replace(IMAGE, pruned="deleted")
    found, _ = table(outcome("a", files=(IMAGE, moved, deleted), parent=Parent("fox", "0" * 64, 2)))
    assert [(row.get("path"), row.get("pruned")) for row in found] == [
        ("images/a.webp", None),
        ("rejected/a.webp", "moved"),
        (None, "deleted"),
    ]
    assert (found[0]["parent_id"], found[0]["parent_image"], found[0]["parent_sha256"]) == ("fox", 2, "0" * 64)


def test_annotations_are_columns_of_their_own_types_and_belong_to_images():
    second = msgspec.structs.replace(IMAGE, path="images/a-2.webp", sha256="1" * 64)
    scores = Annotations()
    for job, digest, image, values in (
        ("a", IMAGE.sha256, 1, {"score": 1, "ok": True, "label": "x"}),
        ("a", second.sha256, 2, {"score": 0.5, "label": 7}),
        ("gone", IMAGE.sha256, 1, {"gone": 1}),
    ):
        scores.add(Annotation(digest, job, image, values, ""))
    found, kinds = table(outcome("a", files=(IMAGE, second)), failed("b"), annotations=scores)
    chosen = [{name: cell for name, cell in row.items() if name.startswith("annotation.")} for row in found]
    assert chosen == [
        {"annotation.score": 1.0, "annotation.ok": True, "annotation.label": "x"},
        {"annotation.score": 0.5, "annotation.label": "7"},
        {},
    ]
    assert [kind.value for name, kind in kinds.items() if name.startswith("annotation.")] == ["float", "bool", "text"]
