import pytest

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.generate import read_native
from venice_batch.sandbox.request import GenerateRequest


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
def test_the_most_specific_price_applies_to_each_variant(fields, price):
    request = read_native({"prompt": "p", **fields}, shipped())
    assert isinstance(request, GenerateRequest)
    assert request.price_micro_usd == price


def test_every_model_has_a_price():
    for model in shipped().models:
        request = read_native({"model": model, "prompt": "p"}, shipped())
        assert isinstance(request, GenerateRequest)
        assert request.price_micro_usd > 0
