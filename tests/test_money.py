"""Amounts of money as text."""

import pytest

from venice_batch.money import dollars


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
    assert dollars(amount) == text
