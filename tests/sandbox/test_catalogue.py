import pytest

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.errors import INSUFFICIENT
from venice_batch.sandbox.generate import read
from venice_batch.sandbox.ledger import Ledger, Payment
from venice_batch.sandbox.prices import price_micro_usd
from venice_batch.sandbox.request import Order


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"model": "venice-sd35"}, 10_000),
        ({"model": "venice-sd35", "variants": 4}, 40_000),
        ({"model": "wan-2-7-pro-text-to-image"}, 93_750),
        ({"model": "nano-banana-pro"}, 180_000),
        ({"model": "nano-banana-pro", "resolution": "4K"}, 350_000),
        ({"model": "grok-imagine-image", "resolution": "2k"}, 40_000),
        ({"model": "gpt-image-2", "resolution": "2K", "quality": "low"}, 30_000),
        ({"model": "gpt-image-2"}, 260_000),
    ],
)
def test_the_most_special_price_applies_times_variants(fields, price):
    order = read({"prompt": "p", **fields}, shipped())
    assert isinstance(order, Order)
    assert price_micro_usd(order) == price


def test_every_model_has_a_price():
    for model in shipped().models:
        order = read({"model": model, "prompt": "p"}, shipped())
        assert isinstance(order, Order)
        assert price_micro_usd(order) > 0


def test_money_is_reserved_then_charged_or_given_back_to_the_cent():
    ledger = Ledger(0.03)
    payments = [ledger.reserve(10_000) for _ in range(4)]
    assert payments == [Payment("", "USD", 10_000)] * 3 + [INSUFFICIENT]
    ledger.charge(payments[0])
    ledger.give_back(payments[1])
    assert (ledger.balance_usd, ledger.charged_usd) == (0.01, 0.01)
