"""Numbers as people read them."""

import pytest

from venice_batch.gallery.quantities import count, duration, short_duration, usd


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0 s"), (0.0004, "0.4 ms"), (0.008, "8 ms"), (0.099, "99 ms"), (0.0996, "0.1 s"),
        (0.386, "0.39 s"), (0.996, "1.0 s"), (3.14, "3.1 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
        (200, "3 min 20 s"), (3599.7, "1 h"), (7500, "2 h 05 min"), (172_800, "2 d"), (200_000, "2 d 7 h"),
    ],
)  # fmt: skip
def test_durations_have_two_or_three_digits_and_a_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(2.0, "2 s"), (2.5, "2.5 s"), (0.2, "0.2 s"), (20, "20 s")])
def test_round_durations_go_without_a_fraction(seconds, text):
    assert short_duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (0, "$0.00"),
        (0.01, "$0.01"),
        (0.5, "$0.50"),
        (0.0216, "$0.0216"),
        (2.745, "$2.75"),
        (1234.5, "$1,234.50"),
    ],
)
def test_sums_have_the_digits_that_cheap_images_need(amount, text):
    assert usd(amount) == text


def test_a_noun_goes_with_its_number():
    assert (count(1, "image"), count(2000, "image"), count(0, "retry", "retries")) == (
        "1 image",
        "2,000 images",
        "0 retries",
    )
