"""Response headers in every form that servers send, and in senseless ones."""

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from venice_batch.api.responses import (
    LONGEST_WAIT_S,
    AnswerHeaders,
    RateLimit,
    Reset,
    parse_reset,
    read_headers,
    retry_after_s,
)

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


def headers(**given):
    return CIMultiDict({name.replace("_", "-"): value for name, value in given.items()})


def wait(text, now=NOW):
    return retry_after_s(headers(Retry_After=text), now_unix_s=now)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("7", 7), ("1.5", 1.5), (" 3 ", 3), ("0.001", 0.001), ("86400", 86_400), ("1e1", 10)],
)
def test_retry_after_is_read_as_seconds_and_fractions(text, expected):
    assert wait(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "-0.5",
        "inf",
        "-inf",
        "nan",
        "86401",
        "1e8",
        "1e9",
        "1600000000",
        "1e999",
        "9" * 400,
        "soon",
        "1_0",
        "٣",
        "٣s",
        "0x10",
        ",",
        "s",
        "-2s",
        "2s1m",
        "25h",
        "12:30",
        "in 5",
        "5x",
        "1800000000",
        "1e13",
    ],
)
def test_a_senseless_retry_after_is_ignored(text):
    assert wait(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2s", 2), ("1m23s", 83),
        ("2.5", 2.5), ("2.5s", 2.5), ("1500ms", 1.5), ("1h", 3600), ("1h5m", 3900),
        ("2023-11-14T22:13:50Z", 30), ("2023-11-14T22:13:50.5+00:00", 30.5), ("2023-11-14 22:13:50", 30),
        ("2023-11-14T22:13:00Z", 0), ("1700000030", 30), ("1700000030500", 30.5),
    ],
)  # fmt: skip
def test_a_retry_after_in_other_servers_forms_is_read(text, expected):
    assert wait(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1, 1", 1), ("1,1", 1), ("1, 5", 5), ("5s , 1", 5), ("soon, 3", 3), ("3, ", 3), ("-1, 99999999", None),
        (f"{DATE}, {DATE}", 0), ("Tue, 14 Nov 2023 22:13:50 GMT, 7", 30),
        ("Tuesday, 14-Nov-23 22:13:50 GMT,Tue, 14 Nov 2023 22:13:25 GMT", 30),
    ],
)  # fmt: skip
def test_the_longest_of_several_joined_retry_afters_counts(text, expected):
    assert wait(text) == expected


FORMS = (
    lambda wait_s: str(wait_s),
    lambda wait_s: f"{wait_s}s",
    lambda wait_s: f"{wait_s // 60}m{wait_s % 60}s",
    lambda wait_s: f"{wait_s // 3600}h{wait_s % 3600}s",
    lambda wait_s: f"{wait_s * 1000}ms",
    lambda wait_s: datetime.fromtimestamp(NOW + wait_s, UTC).isoformat(),
    lambda wait_s: formatdate(NOW + wait_s, usegmt=True),
    lambda wait_s: f"{NOW + wait_s:.0f}",
)


@given(
    st.integers(0, int(LONGEST_WAIT_S)), st.sampled_from(FORMS), st.integers(1, 3), st.sampled_from((", ", ",", " , "))
)
def test_all_forms_of_a_wait_read_the_same_joined_or_not(wait_s, form, times, joint):
    assert wait(joint.join([form(wait_s)] * times)) == wait_s


def test_rate_limit_headers_repeated_by_a_proxy_are_read_once():
    given = headers(
        x_ratelimit_limit_requests="20, 20",
        x_ratelimit_remaining_requests="5,5",
        x_ratelimit_reset_requests="1m3s, 1m3s",
    )
    assert read_headers(given, wall_s=NOW).rate == RateLimit(20, 5, Reset(in_s=63))
    assert read_headers(headers(x_ratelimit_remaining_requests="5, 9"), wall_s=NOW).rate.remaining is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30),
        ("Tue Nov 14 22:13:50 2023", 30),
        ("Tue, 14 Nov 2023 23:13:50 +0100", 30),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_a_retry_after_date_counts_from_now_and_never_below_zero(text, expected):
    assert wait(text) == expected


@pytest.mark.parametrize(
    "text", ["Tue, 14 Nov 2033 22:13:50 GMT", "Tue, 32 Nov 2023 22:13:50 GMT", "Tue, 14 Nov 2023 25:61:61 GMT"]
)
def test_a_retry_after_date_years_away_or_impossible_is_ignored(text):
    assert wait(text) is None


@pytest.mark.parametrize(
    ("millis", "seconds", "expected"),
    [
        ("250", "9", 0.25),
        ("0", "9", 0),
        ("-1", "9", 9),
        ("nan", "9", 9),
        ("1e12", "9", 9),
        ("", "9", 9),
        ("x", "", None),
    ],
)
def test_sensible_milliseconds_go_before_seconds(millis, seconds, expected):
    given = headers(retry_after_ms=millis, Retry_After=seconds)
    assert retry_after_s(given, now_unix_s=NOW) == expected


@given(st.text(max_size=40), st.text(max_size=12))
@example("Mon, 01 Jan 0001 00:00:00 +2359", "")
def test_any_retry_after_is_a_wait_of_at_most_a_day_or_none(text, millis):
    found = retry_after_s(headers(Retry_After=text, retry_after_ms=millis), now_unix_s=NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT_S


def test_a_reset_given_in_seconds_is_read_as_unix_time():
    assert parse_reset("1700000012") == Reset(unix_s=1_700_000_012)
    assert parse_reset("1700000012.25") == Reset(unix_s=1_700_000_012.25, rounded_s=0.001)


def test_a_reset_given_in_milliseconds_is_read_as_unix_time():
    assert parse_reset("1700000012250") == Reset(unix_s=1_700_000_012.25, rounded_s=0.001)


def test_whole_seconds_in_any_form_may_have_been_rounded_up():
    assert parse_reset("1700000012000") == parse_reset("1700000012") == Reset(unix_s=1_700_000_012, rounded_s=1.0)


def test_the_error_budget_needs_both_of_its_headers():
    found = read_headers(headers(x_ratelimit_remaining="47", x_ratelimit_resets="1700000012250"), wall_s=NOW)
    assert (found.errors_left, found.errors_reset) == (47, Reset(unix_s=1_700_000_012.25, rounded_s=0.001))


@pytest.mark.parametrize("given", [
    {"x_ratelimit_remaining": "47"}, {"x_ratelimit_remaining": "47", "x_ratelimit_reset": "12"},
    {"x_ratelimit_resets": "1700000012250"}, {"x_ratelimit_remaining": "many", "x_ratelimit_resets": "1700000012250"},
])  # fmt: skip
def test_similar_headers_of_other_servers_are_not_an_error_budget(given):
    found = read_headers(headers(**given), wall_s=NOW)
    assert (found.errors_left, found.errors_reset) == (None, None)


@pytest.mark.parametrize("text", ["0", "1", "59.5", "86400"])
def test_a_small_number_is_read_as_seconds_from_now(text):
    assert parse_reset(text) == Reset(in_s=float(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1m23s", 83), ("6m0s", 360), ("120ms", 0.12), ("7.66s", 7.66), ("2m59.56s", 179.56), ("1h", 3600),
        ("1h0m5s", 3605), ("0s", 0), ("1s500ms", 1.5), ("1.5h", 5400), (" 20s ", 20), ("24h", 86_400),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_seconds_from_now(text, expected):
    assert parse_reset(text) == Reset(in_s=pytest.approx(expected))


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00", "2023-11-14 22:13:20", "2023-11-14T22:13:20.000Z",
        "2023-11-14T23:13:20+01:00", "20231114T221320Z", DATE,
    ],
)  # fmt: skip
def test_a_moment_without_a_zone_is_utc(text):
    assert parse_reset(text) == Reset(unix_s=NOW)


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "-1700000000", "12:30", "86401", "999999999", "1e14", "1e300", "nan", "inf", "s", "m", "1m1h",
     "5 minutes", "24h1s", "2023-13-01T00:00:00Z", "1_700_000_000", "soon", "\x00"],
)  # fmt: skip
def test_a_senseless_reset_is_none(text):
    assert parse_reset(text) is None


reset_texts = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"[0-9+\-.:TZhms e]{0,30}", fullmatch=True),
    st.floats().map(str),
    st.datetimes().map(str),
    st.integers().map(str),
)


@given(reset_texts)
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
def test_any_reset_is_one_moment_or_a_wait_of_at_most_a_day_or_none(text):
    found = parse_reset(text)
    if found is not None:
        assert (found.unix_s is None) != (found.in_s is None)
        assert found.in_s is None or 0 <= found.in_s <= LONGEST_WAIT_S


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(1, 999))
def test_durations_add_up_whatever_their_parts(hours, minutes, seconds, millis):
    expected = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse_reset(f"{hours}h{minutes}m{seconds}s{millis}ms") == Reset(in_s=pytest.approx(expected))


@given(st.floats(1_000_000_000, 9_999_999_999).map(lambda value: round(value, 3)))
def test_seconds_and_milliseconds_of_the_same_moment_agree(unix_s):
    assert parse_reset(f"{unix_s:.3f}").unix_s == unix_s
    if unix_s >= 1e8:
        assert parse_reset(f"{unix_s * 1000:.0f}").unix_s == pytest.approx(unix_s, abs=0.001)


def test_everything_documented_is_read():
    found = read_headers(
        CIMultiDict(
            {
                "date": DATE,
                "Retry-After": "2",
                "X-RateLimit-Limit-Requests": "20",
                "X-RateLimit-Remaining-Requests": "3",
                "X-RateLimit-Reset-Requests": "1700000030",
                "CF-RAY": "8f-FRA",
                "x-venice-model-id": "venice-sd35",
                "x-venice-is-blurred": "true",
                "x-venice-is-content-violation": "false",
                "x-venice-enhanced-prompt": "a%20gondola%2C%20d%C3%A4mmerig",
                "x-venice-balance-usd": "12.5",
                "x-venice-balance-diem": "0",
            }
        ),
        wall_s=5.0,
    )
    assert found == AnswerHeaders(
        date_unix_s=NOW,
        retry_after_s=2.0,
        rate=RateLimit(20, 3, Reset(unix_s=1_700_000_030)),
        ray="8f-FRA",
        blurred=True,
        enhanced_prompt="a gondola, dämmerig",
        balance_usd=12.5,
        balance_diem=0.0,
    )


def test_no_headers_read_as_nothing_known():
    assert read_headers({}, wall_s=NOW) == AnswerHeaders()


def test_a_retry_after_date_counts_from_the_servers_clock_and_from_ours_without_one():
    later = "Tue, 14 Nov 2023 22:13:50 GMT"
    assert read_headers(headers(Date=DATE, Retry_After=later), wall_s=0.0).retry_after_s == 30
    assert read_headers(headers(Retry_After=later), wall_s=NOW + 20).retry_after_s == 10


def test_a_reset_more_than_a_day_after_the_servers_clock_is_garbage():
    def reset(text):
        return read_headers(headers(Date=DATE, x_ratelimit_reset_requests=text), wall_s=NOW).rate.reset

    assert reset("1700086400") == Reset(unix_s=1_700_086_400)
    assert reset("1700086401") is None
    assert reset("2099-01-01T00:00:00Z") is None


@pytest.mark.parametrize("text", ["-1", "many", "", "1e12", "inf"])
def test_senseless_counts_are_left_out(text):
    rate = read_headers(headers(x_ratelimit_limit_requests=text, x_ratelimit_remaining_requests=text), wall_s=NOW).rate
    assert rate == RateLimit()


@pytest.mark.parametrize("name", ["x-venice-is-content-violation", "x-venice-is-adult-model-content-violation"])
def test_either_violation_header_counts(name):
    assert read_headers({name: " TRUE "}, wall_s=NOW).content_violation
    assert not read_headers({name: "1"}, wall_s=NOW).content_violation


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"x-venice-deprecated": "false"}, None),
        ({"x-venice-deprecated": "true"}, "deprecated"),
        ({"x-venice-model-deprecation-warning": "goes away"}, "goes away"),
        ({"x-venice-model-deprecation-date": "2027-01-01"}, "deprecated; on 2027-01-01"),
        ({"x-venice-deprecated": "true", "x-venice-deprecated-replacement": "newer"}, "deprecated; use newer"),
    ],
)
def test_a_deprecation_becomes_one_sentence(given, expected):
    assert read_headers(given, wall_s=NOW).deprecated == expected


NAMES = (
    "Date", "Retry-After", "retry-after-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests", "CF-RAY", "x-venice-model-id", "x-venice-is-blurred", "x-venice-enhanced-prompt",
    "x-venice-balance-usd", "x-venice-model-deprecation-warning", "x-venice-model-deprecation-date",
)  # fmt: skip


def received(data):
    """A header's bytes as aiohttp passes them on."""
    return data.decode("utf-8", "surrogateescape")


@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=30).map(received) | reset_texts))
@example({"x-venice-enhanced-prompt": received(b"caf\xe9"), "x-venice-model-deprecation-warning": received(b"\xff")})
@example({"x-venice-enhanced-prompt": "%ff%00%"})
def test_any_headers_become_text_that_a_record_can_store(given):
    found = read_headers(given, wall_s=NOW)
    for text in (found.ray, found.deprecated, found.enhanced_prompt):
        assert text is None or text.encode("utf-8")  # lone surrogates would raise


@pytest.mark.parametrize(
    ("headers", "balances"),
    [
        ({}, {}),
        ({"x-venice-balance-usd": "1.25"}, {"USD": 1.25}),
        ({"x-venice-balance-usd": "1.25", "x-venice-balance-diem": "3"}, {"USD": 1.25, "DIEM": 3.0}),
        ({"x-venice-balance-usd": "0", "x-venice-balance-diem": "0"}, {"USD": 0.0, "DIEM": 0.0}),
        ({"x-venice-balance-diem": "-0.5"}, {"DIEM": -0.5}),
        ({"x-venice-balance-usd": "much"}, {}),
        ({"x-venice-balance-usd": "1e308", "x-venice-balance-diem": "1e308"}, {}),
    ],
)
def test_balances_are_read_apart_by_currency(headers, balances):
    assert read_headers(CIMultiDict(headers), wall_s=0.0).balances == balances
