from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.sandbox.limits import Verdict
from venice_batch.sandbox.rate_headers import rate_headers, reset_value, retry_after

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("form", "fine", "expected"),
    [
        ("seconds", False, "1800000084"),
        ("seconds", True, "1800000083.457"),
        ("fractional", False, "1800000083.457"),
        ("ms", False, "1800000083457"),
        ("iso", False, "2027-01-15T08:01:23.457Z"),
        ("duration", False, "1m23.457s"),
    ],
)
def test_each_form_of_the_reset(form, fine, expected):
    assert reset_value(NOW + 83.4561, NOW, form, fine=fine) == expected


def test_short_durations_have_no_minutes():
    assert reset_value(NOW + 8.5, NOW, "duration", fine=False) == "8.5s"


@given(wait=st.floats(0, 1000))
def test_every_form_is_rounded_up(wait):
    reset = NOW + wait
    slack = 2e-3
    assert float(reset_value(reset, NOW, "seconds", fine=False)) >= reset
    assert float(reset_value(reset, NOW, "fractional", fine=False)) >= reset - slack
    assert int(reset_value(reset, NOW, "ms", fine=False)) >= (reset - slack) * 1000
    assert datetime.fromisoformat(reset_value(reset, NOW, "iso", fine=False)).timestamp() >= reset - slack
    date = retry_after(wait, NOW, "date", fine=False)["Retry-After"]
    assert parsedate_to_datetime(date).timestamp() >= reset


def test_the_headers_name_limit_remaining_and_type():
    headers = rate_headers(Verdict(True, 20, 7, NOW), NOW, "seconds", fine=False)
    assert headers == {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-reset-requests": "1800000000",
        "x-ratelimit-type": "user",
    }


def test_none_sends_nothing():
    assert rate_headers(Verdict(True, 20, 7, NOW), NOW, "none", fine=False) == {}
    assert retry_after(3.0, NOW, "none", fine=False) == {}


def test_retry_after_in_seconds_is_whole_unless_fine():
    assert retry_after(3.2, NOW, "seconds", fine=False) == {"Retry-After": "4"}
    assert retry_after(0.20011, NOW, "seconds", fine=True) == {"Retry-After": "0.201"}
