"""Models parsed from entries of a listing, valid or not."""

from datetime import UTC, datetime

import pytest
from catalogue.made import SHIPPED, catalogue, entry
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.catalogue.models import Deprecation, Pricing, moment, parse

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "name", "constraints", "traits", "pricing", "supportsWebSearch", "supportsStyleReferences", "offline", "betaModel",
    "beta", "regionRestrictions", "deprecation",
]  # fmt: skip


def test_an_entry_is_read_in_full():
    constraints = {
        "aspectRatios": ["1:1"], "defaultAspectRatio": "1:1", "resolutions": ["1k"], "defaultResolution": "1k",
        "qualities": ["low"], "defaultQuality": "low", "maxStyleReferences": 3, "supportsStyleReferenceStrength": False,
        "supportsTransparentBackground": True,
    }  # fmt: skip
    model = parse(
        entry(
            constraints=constraints,
            name="Made",
            traits=["default"],
            pricing={
                "generation": {"usd": 0.09375},
                "resolutions": {"1k": {"usd": 0.1}},
                "quality": {"1K": {"low": {"usd": 0.02}}},
            },
            supportsWebSearch=True,
            supportsStyleReferences=True,
            supportsOptimizePromptThinking=False,
            offline=True,
            betaModel=True,
            beta=True,
            regionRestrictions=["US"],
            deprecation={"autoRemap": True, "removesAt": "2027-01-01T00:00:00Z", "replacementModelId": "other"},
        )
    )
    assert model.pricing == Pricing(93_750, {"1K": 100_000}, {("1K", "low"): 20_000})
    assert (model.prompt_limit, model.steps_max, model.divisor) == (100, 10, 8)
    assert model.by_ratio
    assert (model.ratios, model.resolutions, model.qualities) == (("1:1",), ("1k",), ("low",))
    assert (model.default_ratio, model.default_resolution, model.default_quality) == ("1:1", "1k", "low")
    assert (model.web_search, model.style_references, model.max_style_references) == (True, True, 3)
    assert (model.style_reference_strength, model.prompt_thinking) == (False, False)
    assert (model.transparent, model.venice) == (True, False)
    assert (model.offline, model.beta, model.beta_users_only, model.regions) == (True, True, True, ("US",))
    assert model.deprecation == Deprecation(None, datetime(2027, 1, 1, tzinfo=UTC), "other", True)


def test_a_listing_says_which_models_are_venices():
    assert parse({"id": "a", "owned_by": "venice.ai"}).venice
    assert not parse({"id": "a", "owned_by": "someone"}).venice
    assert SHIPPED.marked("transparent", "inpaint")[0] == "gpt-image-1-5-edit"


def test_an_entry_that_says_nothing_is_a_model_without_constraints():
    model = parse({"id": "bare"})
    assert not model.constrained
    assert model.prompt_limit is model.divisor is model.steps_max is model.web_search is None


def test_tiers_and_qualities_are_taken_from_the_prices_where_nothing_else_names_them():
    model = parse(entry(pricing={"quality": {"1K": {"low": {"usd": 1}}}, "resolutions": {"1K": {"usd": 2}}}))
    assert (model.resolutions, model.qualities) == (("1K",), ("low",))


@pytest.mark.parametrize("other", [{"id": 5}, {}, {"id": "t", "type": "text"}, {"id": "t", "type": None}])
def test_a_model_that_is_not_for_images_is_left_out(other):
    assert parse(other) is None


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING), ANYTHING)
def test_no_entry_is_too_strange(spec, constraint):
    assert parse({"id": "x", "model_spec": spec}).id == "x"
    assert parse({"id": "x", "model_spec": constraint})
    names = ["promptCharacterLimit", "steps", "widthHeightDivisor", "aspectRatios", "resolutions", "maxStyleReferences"]
    assert parse({"id": "x", "model_spec": {"constraints": dict.fromkeys(names, constraint)}})


@pytest.mark.parametrize("usd", [None, "1", True, -1, float("nan"), float("inf"), 1e9, []])
def test_a_price_that_is_not_an_amount_is_left_out(usd):
    assert parse(entry(pricing={"generation": {"usd": usd}})).pricing.image is None


def test_text_of_a_listing_cannot_act_on_a_terminal():
    assert "\x1b" not in parse(entry("a\x1b[2J", traits=["\x1b"])).id


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2027-01-02T03:04:05.000Z", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2027-01-02", datetime(2027, 1, 2, tzinfo=UTC)),
        ("soon", None),
        (5, None),
    ],
)
def test_instants(value, expected):
    assert moment(value) == expected


def test_traits_are_names_and_the_first_that_has_one_counts():
    assert SHIPPED.resolve("default").id == SHIPPED.resolve("fastest").id == "z-image-turbo"
    assert SHIPPED.resolve("most_uncensored").id == "lustify-v7"
    assert SHIPPED.resolve("venice-sd35").id == "venice-sd35"
    assert SHIPPED.resolve("nobody") is None
    assert {"venice-sd35", "fastest"} <= set(SHIPPED.names())


def test_each_kind_of_model_has_names_of_its_own():
    assert SHIPPED.resolve("default", "inpaint").id == "firered-image-edit"
    assert SHIPPED.resolve("default", "upscale").id == "upscaler"
    assert SHIPPED.resolve("fastest", "inpaint") is SHIPPED.resolve("venice-sd35", "inpaint") is None
    assert SHIPPED.resolve("upscaler") is None
    assert SHIPPED.names("upscale") == ["upscaler", "default"]
    assert len(SHIPPED.of_kind("inpaint")) == 33


def test_an_edit_model_is_read_in_full():
    made = parse(
        {
            "id": "e",
            "type": "inpaint",
            "model_spec": {
                "pricing": {"inpaint": {"usd": 0.04}, "inputImages": {"included": 2, "additional": {"usd": 0.0045}}},
                "constraints": {"combineImages": True, "maxInputImages": 14, "singleImageAspectRatio": False},
            },
        }
    )
    assert (made.kind, made.max_inputs, made.keeps_size) == ("inpaint", 14, True)
    assert made.pricing == Pricing(40_000, included=2, input=4500)


@pytest.mark.parametrize(
    ("constraints", "most"),
    [({"combineImages": True}, 3), ({"combineImages": False, "maxInputImages": 9}, 1), ({}, None)],
)
def test_how_many_images_an_edit_combines(constraints, most):
    assert parse({"id": "e", "type": "inpaint", "model_spec": {"constraints": constraints}}).max_inputs == most


def test_upscaling_has_a_price_for_each_scale():
    prices = {"2x": {"usd": 0.02}, "4x": {"usd": 0.08}, "8x": {"usd": 1}}
    made = parse({"id": "u", "type": "upscale", "model_spec": {"pricing": {"upscale": prices}}})
    assert made.pricing == Pricing(scales={2: 20_000, 4: 80_000})


def test_an_id_goes_before_a_trait_of_its_name():
    found = catalogue(entry("a", traits=["b"]), entry("b"))
    assert found.resolve("b").id == "b"
    assert found.resolve("default") is None
