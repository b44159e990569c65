"""The API's listings in their documented shapes, and in other shapes."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.api.listings import Limits, Quota, UsageRow, parse_limits, parse_models, parse_styles, parse_usage
from venice_batch.errors import ApiError, ExitCode


def limits_body(**changes):
    data = {
        "accessPermitted": True,
        "apiTier": {"id": "paid", "isCharged": True},
        "balances": {"USD": 50.25, "DIEM": None},
        "keyExpiration": "2027-06-01T00:00:00.000Z",
        "nextEpochBegins": "2026-08-23T00:00:00.000Z",
        "rateLimits": [
            {"apiModelId": "flux", "rateLimits": [{"amount": 20, "type": "RPM"}, {"amount": 1000, "type": "RPD"}]},
            {"apiModelId": "sd", "rateLimits": [{"amount": 60.0, "type": "rpm"}, {"amount": 9, "type": "TPM"}]},
        ],
    }
    return orjson.dumps({"data": data | changes, "object": "rate_limits"})


def test_limits_are_read_as_documented():
    assert parse_limits(limits_body()) == Limits(
        quotas={"flux": Quota(20, 1000), "sd": Quota(60, None)},
        balances={"USD": 50.25},
        tier="paid",
        key_expires="2027-06-01T00:00:00.000Z",
        day_ends="2026-08-23T00:00:00.000Z",
        access=True,
    )


def test_a_key_that_never_expires_and_an_unknown_day_are_none():
    found = parse_limits(limits_body(keyExpiration=None, nextEpochBegins=None))
    assert (found.key_expires, found.day_ends, found.day_ends_unix_s) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14T22:13:20.000Z", 1_700_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000),
        ("0001-01-01", -62_135_596_800),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_the_day_ends_in_utc_unless_the_api_says_otherwise(text, expected):
    assert parse_limits(limits_body(nextEpochBegins=text)).day_ends_unix_s == expected


@pytest.mark.parametrize("amount", [0, -1, 0.5])
def test_a_listed_limit_of_zero_counts_as_unknown(amount):
    limits = [{"apiModelId": "flux", "rateLimits": [{"amount": amount, "type": "RPM"}]}]
    assert parse_limits(limits_body(rateLimits=limits)).quotas == {}


def test_limits_of_no_model_are_passed_over():
    assert parse_limits(limits_body(rateLimits=[{"rateLimits": [{"amount": 20, "type": "RPM"}]}])).quotas == {}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"data": []}', b"<html>", b"\xff", limits_body(rateLimits=None), limits_body(balances=7),
        limits_body(rateLimits=[{"apiModelId": "x", "rateLimits": [{"amount": "20", "type": "RPM"}]}]),
        limits_body().replace(b"1000", b"1e999"), b'{"x":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_limits_of_another_shape_are_an_error_of_the_api(body):
    with pytest.raises(ApiError, match="malformed") as caught:
        parse_limits(body)
    assert caught.value.exit_code is ExitCode.TEMPORARY


@pytest.mark.parametrize("body", [b'["Anime", "Cinematic"]', b'{"object": "list", "data": ["Anime", "Cinematic"]}'])
def test_styles_are_read_from_either_documented_shape(body):
    assert parse_styles(body) == ("Anime", "Cinematic")


def test_models_are_kept_as_received():
    models = [{"id": "sd", "model_spec": {"pricing": {}}}, {"id": "flux"}]
    assert parse_models(orjson.dumps({"object": "list", "data": models})) == tuple(models)


@pytest.mark.parametrize("parse", [parse_styles, parse_models])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"7", b'"x"', b"{}", b'{"data": {}}', b"[1]", b"[null]", b"<html>", b"["]
)
def test_a_listing_of_another_shape_is_an_error_of_the_api(parse, body):
    with pytest.raises(ApiError, match="listing"):
        parse(body)


@pytest.mark.parametrize("body", [b'[{"id": 1}]', b'[{"name": "x"}]', b'["sd"]'])
def test_models_without_id_are_an_error_of_the_api(body):
    with pytest.raises(ApiError, match="no id"):
        parse_models(body)


shapes = st.recursive(
    st.none() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "id", "rateLimits"]), inner),
    max_leaves=6,
)


@pytest.mark.no_cover
@pytest.mark.parametrize("parse", [parse_limits, parse_styles, parse_models])
@given(body=st.binary(max_size=60) | shapes.map(orjson.dumps))
def test_any_body_is_a_listing_or_an_error_of_the_api(parse, body):
    try:
        parse(body)
    except ApiError as error:
        assert "listing" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("balances", "spendable"),
    [
        ({"USD": 1.5, "DIEM": 2}, [("DIEM", 2.0), ("USD", 1.5)]),
        ({"USD": 1.5, "BUNDLED_CREDITS": 3, "DIEM": 2}, [("DIEM", 2.0), ("BUNDLED_CREDITS", 3.0), ("USD", 1.5)]),
        ({"USD": 1.5, "DIEM": None}, [("USD", 1.5)]),
        ({"USD": 0}, [("USD", 0.0)]),
        ({}, []),
        ({"VCU": 9}, []),
        ({"USD": 1e308, "DIEM": 1e308}, []),
    ],
)
def test_images_are_paid_from_diem_bundled_credits_and_usd_in_this_order(balances, spendable):
    assert list(parse_limits(limits_body(balances=balances)).spendable.items()) == spendable


def usage_row(**changes):
    return {
        "timestamp": "2026-06-15T19:05:10.504Z",
        "sku": "venice-sd35-image-unit",
        "units": 2,
        "pricePerUnitUsd": 0.01,
        "amount": -0.02,
        "currency": "DIEM",
        "notes": "API Inference",
        "inferenceDetails": None,
        **changes,
    }


def test_a_page_of_usage_is_read_as_documented():
    details = {"requestId": "generate-image-1", "promptTokens": None, "completionTokens": None}
    page = parse_usage(
        orjson.dumps({"data": [usage_row(), usage_row(inferenceDetails=details, amount=0.02)], "nextCursor": "AZq3"})
    )
    one = UsageRow(1781550310.504, "venice-sd35-image-unit", 2.0, 0.01, 0.02, "DIEM")
    assert page.rows[0] == one
    assert (page.rows[1].request_id, page.rows[1].amount) == ("generate-image-1", -0.02)
    assert page.next_cursor == "AZq3"


@pytest.mark.parametrize("body", [{"data": []}, {"data": [], "nextCursor": None}, {"data": [], "nextCursor": ""}])
def test_the_last_page_of_usage_names_no_other(body):
    assert parse_usage(orjson.dumps(body)).next_cursor is None


def test_a_moment_without_a_zone_is_in_utc():
    (row,) = parse_usage(orjson.dumps({"data": [usage_row(timestamp="2026-06-15T19:05:10")]})).rows
    assert row.unix_s == 1781550310


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, orjson.dumps({"data": [usage_row(units="x")]})]
)
def test_a_usage_history_of_another_shape_is_an_error(body):
    with pytest.raises(ApiError, match="the usage history is malformed"):
        parse_usage(body)
