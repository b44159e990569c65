"""Prices, to the last digit those of the sandbox."""

from decimal import Decimal

import pytest
from catalogue.made import SHIPPED, catalogue, entry, job, price_usd
from hypothesis import assume, given
from hypothesis import strategies as st

from venice_batch.catalogue import corrected, price_micro_usd
from venice_batch.catalogue.prices import price_for, prices_used
from venice_batch.model import Endpoint
from venice_batch.money import amount_text, cost_text, micro_usd, usd, usd_text
from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.generate import read_native, read_openai


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "0.01"),
        ({"variants": 4}, "0.04"),
        ({"model": "fastest"}, "0.01"),
        ({"model": "wan-2-7-pro-text-to-image", "variants": 3}, "0.28125"),
        ({"model": "nano-banana-2"}, "0.1"),
        ({"model": "nano-banana-2", "resolution": "4k"}, "0.19"),
        ({"model": "gpt-image-2"}, "0.26"),
        ({"model": "gpt-image-2", "quality": "low", "variants": 2}, "0.04"),
    ],
)
def test_prices(fields, expected):
    assert price_usd(job(**fields), SHIPPED) == Decimal(expected)


def test_an_unknown_model_or_price_is_none():
    assert price_usd(job(model="nobody"), SHIPPED) is None
    assert price_usd(job(model="made"), catalogue(entry())) is None


def test_an_openai_request_has_the_default_models_price():
    assert price_usd(job(Endpoint.GENERATIONS, model="dall-e-3", quality="hd"), SHIPPED) == Decimal("0.01")
    assert price_usd(job(Endpoint.GENERATIONS, model="dall-e-3"), catalogue(entry())) is None


def test_enhancement_has_one_price_for_any_number_of_images_and_web_search_is_free():
    assert price_usd(job(enhance_prompt=True), SHIPPED) == Decimal("0.05")
    assert price_usd(job(enhance_prompt=True, variants=4), SHIPPED) == Decimal("0.08")
    assert price_usd(job(enhance_prompt=False, enable_web_search=True), SHIPPED) == Decimal("0.01")
    assert price_usd(job(Endpoint.GENERATIONS, enhance_prompt=True), SHIPPED) == Decimal("0.01")


def test_a_tier_without_a_price_among_others_that_have_one_has_none():
    tiers = {"generation": {"usd": 0.08}, "resolutions": {"1K": {"usd": 0.08}}}
    known = catalogue(entry(pricing=tiers))
    assert price_usd(job(model="made", resolution="4K"), known) is None
    assert price_usd(job(model="made", resolution="1k"), known) == Decimal("0.08")
    assert price_usd(job(model="made", resolution="4K"), catalogue(entry(pricing={"generation": {"usd": 0.08}}))) == (
        Decimal("0.08")
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"variants": "many"}, "0.01"), ({"quality": ["high"]}, "0.01"), ({"resolution": 4}, "0.01")],
)
def test_values_that_no_list_knows_do_no_harm(fields, expected):
    assert price_usd(job(**fields), SHIPPED) == Decimal(expected)


def test_sums_have_the_same_words_everywhere():
    assert cost_text(0.39) == "0.39 USD"
    assert cost_text(0.39, 2) == "≥ 0.39 USD"
    assert cost_text(0.0) == "0.00 USD"
    assert cost_text(None) == ""
    assert cost_text(None, 1) == cost_text(0.0, 1) == "price not known"
    assert cost_text(0.39, 1, sandbox_usd=0.39) == "≥ 0.39 USD of sandbox money"
    assert cost_text(0.39, sandbox_usd=0.3) == "0.39 USD, 0.30 of it sandbox money"
    assert [amount_text(0.5), amount_text(0.5, 1), amount_text(None), amount_text(None, 1)] == [
        "0.50", "≥ 0.50", None, "?",
    ]  # fmt: skip


def test_without_a_default_tier_the_first_counts():
    tiers = {"resolutions": {"1K": {"usd": 0.5}, "2K": {"usd": 0.7}}}
    assert price_usd(job(model="made"), catalogue(entry(pricing=tiers))) == Decimal("0.5")


@st.composite
def orders(draw):
    model = SHIPPED.models[draw(st.sampled_from(sorted(model.id for model in SHIPPED.of_kind("image"))))]
    if draw(st.integers(0, 4)) == 0:
        named = draw(st.sampled_from([model.id, "dall-e-3", "default"]))
        return job(Endpoint.GENERATIONS, model=named, quality=draw(st.sampled_from([None, "low", "hd"])))
    fields = {"model": model.id}
    if draw(st.booleans()):
        fields["variants"] = draw(st.integers(1, 4))
    if model.resolutions and draw(st.booleans()):
        tier = draw(st.sampled_from(model.resolutions))
        fields["resolution"] = draw(st.sampled_from([tier, tier.upper(), tier.lower()]))
    if model.qualities and draw(st.booleans()):
        fields["quality"] = draw(st.sampled_from(model.qualities))
    return job(**fields)


@given(orders())
def test_the_price_equals_the_sandboxs_charge(order):
    read = read_native if order.endpoint is Endpoint.GENERATE else read_openai
    accepted = read(corrected(order, SHIPPED), shipped())
    assume(price_micro_usd(order, SHIPPED) is not None)  # tiers of the newest models have no published price
    assert price_micro_usd(order, SHIPPED) == accepted.price_micro_usd


def test_dollars_for_people():
    assert [usd_text(micro) for micro in (0, 10_000, 93_750, 16_320_000, 1_234_500_000_000)] == [
        "0.00", "0.01", "0.09375", "16.32", "1,234,500.00",
    ]  # fmt: skip


@given(st.integers(0, 10**12))
def test_dollars_and_millionths_are_each_others_inverse(micro):
    assert micro_usd(usd(micro)) == micro_usd(float(usd(micro))) == micro


@given(
    st.sampled_from([model for model in SHIPPED.models.values() if model.kind == "image"]),
    st.sampled_from([None, "1k", "2K", "4K"]),
    st.sampled_from([None, "low", "high"]),
    st.booleans(),
    st.integers(1, 4),
)
def test_the_prices_used_add_up_to_the_price(model, resolution, quality, enhance, variants):
    fields = {"resolution": resolution, "quality": quality, "enhance_prompt": enhance, "variants": variants}
    one = job(model=model.id, **fields)
    prices = prices_used(one, model)
    rewrite = prices.pop("prompt rewrite", 0)
    ((name, image),) = prices.items()
    assert name.startswith("image")
    assert price_for(one, model) == (None if image is None else image * variants + rewrite)
