import random
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import IMAGE, attempt, failed, outcome

from venice_batch.api.listings import UsageRow
from venice_batch.model import Flags, Status, Timing
from venice_batch.report.reconcile import GAP_S, SLACK_S, Expected, Usage, expected, reconcile, spans

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
MODEL = "venice-sd35"


def row(at=0.0, sku=f"{MODEL}-image-unit", units=1.0, unit_usd=0.01, currency="USD", request_id=None):
    return UsageRow(NOW + at, sku, units, unit_usd, round(units * unit_usd, 6), currency, request_id)


def request(job="a", begins=0.0, ends=5.0, images=1, unit=10_000, *, is_sure=True, model=MODEL):
    return Expected(job, "run", model, images, NOW + begins, NOW + ends, unit, is_sure, sandbox=False)


def compared(charges, rows, known=(), costs=None):
    usage = Usage({one.model for one in charges}, known)
    for one in rows:
        usage.add(one)
    return reconcile(charges, usage, costs or {})


def timed(total_s=9.0):
    return Timing("2026-11-29T12:00:00.000Z", 0.1, 0.2, 0.0, 0.9, 0.1, 0.01, total_s)


def test_a_record_expects_its_images_while_its_last_attempt_was_under_way():
    record = outcome(
        "a", files=(IMAGE,) * 4, cost_usd=0.04, timing=timed(), attempts=(attempt(503), attempt(200, 2.0, 4.0))
    )
    (found,) = expected(record, MODEL)
    assert found == request("a", 4.0, 6.0, images=4)._replace(run_id=record.run_id)


def test_a_rewritten_prompt_is_no_part_of_an_images_price():
    flags = Flags(enhanced_prompt="more")
    asked = {"model": MODEL, "prompt": "p", "enhance_prompt": True}
    (found,) = expected(outcome("a", cost_usd=0.05, flags=flags, request=asked), MODEL)
    assert found.unit_micro_usd == 10_000


def test_attempts_that_may_have_been_charged_are_expected_with_doubt():
    flags = Flags(possibly_billed=True)
    attempts = (attempt(None), attempt(500), attempt(504), attempt(429), attempt(200))
    asked = {"model": MODEL, "prompt": "p", "variants": 3}
    found = list(expected(outcome("a", attempts=attempts, flags=flags, request=asked), MODEL))
    assert [(one.is_sure, one.images, one.unit_micro_usd) for one in found] == [
        (False, 3, None), (False, 3, None), (True, 1, None)
    ]  # fmt: skip
    assert [one.is_sure for one in expected(failed("a", attempts=attempts, flags=flags), MODEL)] == [False] * 3


def test_a_rejected_job_and_a_failure_before_the_server_expect_nothing():
    assert list(expected(failed("a", status=Status.REJECTED, attempts=(attempt(422),)), MODEL)) == []
    assert list(expected(failed("a", attempts=(attempt(None),)), MODEL)) == []


def test_an_old_record_without_the_moment_of_sending_may_be_charged_at_any_time_of_the_job():
    (found,) = expected(outcome("a", timing=timed(9.0), attempts=(attempt(200, 1.0, None),)), MODEL)
    assert (found.begins_unix_s, found.ends_unix_s) == (NOW, NOW + 9.0)


def test_short_runs_far_apart_are_looked_for_separately():
    near, far = request(begins=10, ends=20), request(begins=GAP_S * 3, ends=GAP_S * 3 + 1)
    assert spans([far, near, request()]) == [
        (NOW - SLACK_S, NOW + 20 + SLACK_S), (far.begins_unix_s - SLACK_S, far.ends_unix_s + SLACK_S)
    ]  # fmt: skip


def test_every_image_is_found_in_whatever_currency_it_was_paid():
    rows = [row(1), row(2, currency="DIEM"), row(3, units=2.0)]
    found = compared([request("a"), request("b"), request("c", images=2)], rows, costs={MODEL: 0.04})
    assert found.is_settled
    assert (found.images, found.found) == (4, 4)
    assert msgspec.to_builtins(found.models[MODEL]) == {
        "images": 4, "found": 4, "missing": 0, "lost": 0, "unrecorded": 0, "recorded_usd": 0.04,
        "charged": {"USD": 0.03, "DIEM": 0.01},
    }  # fmt: skip


def test_variants_may_be_charged_as_one_line_or_as_several():
    several = [row(1), row(2), row(3), row(4)]
    for rows in (several, [row(units=4.0)]):
        assert compared([request(images=4)], rows).is_settled


def test_an_image_that_was_not_charged_is_named_as_missing():
    found = compared(
        [request("a"), request("b", begins=7200, ends=7201), request("c", images=4)], [row(), row(units=2.0)]
    )
    assert {(one.id, one.images) for one in found.missing} <= {("a", 1), ("b", 1), ("c", 2), ("c", 4), ("c", 3)}
    assert sum(one.images for one in found.missing) == found.models[MODEL].missing == 3
    assert ("b", 1) in {(one.id, one.images) for one in found.missing}


def test_a_charge_too_early_or_too_late_belongs_to_no_request():
    for at in (-SLACK_S - 1, 5 + SLACK_S + 1):
        found = compared([request()], [row(at)])
        assert (len(found.missing), len(found.unrecorded)) == (1, 1)
    for at in (-SLACK_S, 5 + SLACK_S):
        assert compared([request()], [row(at)]).is_settled


def test_equal_prices_are_matched_before_others():
    cheap, dear = request("cheap", unit=10_000), request("dear", unit=350_000)
    found = compared([cheap, dear], [row(unit_usd=0.35), row(1, unit_usd=0.02)])
    assert found.is_settled
    found = compared([cheap, dear], [row(unit_usd=0.35)])
    assert [one.id for one in found.missing] == ["cheap"]


def test_a_possibly_billed_request_is_resolved_by_what_is_left():
    charges = [request("a"), request("b", unit=None, is_sure=False), request("c", unit=None, is_sure=False)]
    found = compared(charges, [row(1), row(2)])
    assert found.is_settled
    assert (found.possibly_billed, found.lost, found.models[MODEL].lost) == (2, 1, 1)
    assert compared(charges, [row(1)]).lost == 0


def test_rows_of_other_products_are_counted_and_those_of_a_longer_model_name_are_not_confused():
    rows = [
        row(),
        row(sku="llama-llm-output-mtoken", units=0.2),
        row(sku="venice-sd35-turbo-image-unit"),
        row(sku="venice"),
    ]
    found = compared([request()], rows, known=["venice-sd35-turbo", "llama"])
    assert found.is_settled
    assert found.others == {"llama-llm-output-mtoken": 1, "venice-sd35-turbo-image-unit": 1, "venice": 1}


def test_money_given_back_is_no_image():
    back = msgspec.structs.replace(row(2), amount=-0.01)
    found = compared([request()], [row(1), back])
    assert found.is_settled
    assert found.others == {row().sku: 1}


def test_a_models_name_may_be_written_in_another_case():
    assert compared([request(model="wai-Illustrious")], [row(sku="wai-illustrious-image-unit")]).is_settled


def test_several_lines_of_one_request_are_one_image():
    rows = [row(request_id="r"), row(sku=f"{MODEL}-enhancement", unit_usd=0.04, request_id="r")]
    found = compared([request()], rows)
    assert found.is_settled
    assert found.models[MODEL].charged == {"USD": 0.05}


def test_what_is_charged_in_no_record_is_named():
    found = compared([request()], [row(1), row(2, currency="DIEM", request_id="x")])
    assert not found.is_settled
    (extra,) = found.unrecorded
    assert (extra.at, extra.units, extra.currency) == ("2026-11-29T12:00:02Z", 1, "DIEM")
    assert found.models[MODEL].unrecorded == 1


@given(st.integers(0, 2**32))
def test_every_charged_image_is_found_and_every_other_one_is_missing(seed):
    """Of random requests some are charged, at a random time while they were under way, as one line or several."""
    rng = random.Random(seed)
    charges, rows, paid = [], [], 0
    for number in range(rng.randint(1, 30)):
        begins = rng.uniform(0, 5000)
        one = request(f"j{number}", begins, begins + rng.uniform(0, 60), rng.randint(1, 4))
        charges.append(one)
        if rng.random() < 0.7:
            paid += one.images
            at = rng.uniform(one.begins_unix_s, one.ends_unix_s) - NOW + rng.uniform(-SLACK_S, SLACK_S)
            parts = [one.images] if rng.random() < 0.5 else [1] * one.images
            rows += [row(at, units=float(part), currency=rng.choice(("USD", "DIEM"))) for part in parts]
    rng.shuffle(rows)
    rows += [row(rng.uniform(0, 5000), sku="other-image-unit") for _ in range(5)]
    found = compared(charges, rows)
    assert found.found == paid
    assert found.images - paid == sum(one.images for one in found.missing)
    assert not found.unrecorded
    assert found.others == {"other-image-unit": 5}


@pytest.mark.parametrize("units", [1.0, 0.0])
def test_a_line_without_units_is_one_image(units):
    assert compared([request()], [row(units=units)]).is_settled
