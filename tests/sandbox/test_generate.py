import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.errors import Refusal
from venice_batch.sandbox.generate import TABLE, read
from venice_batch.sandbox.prices import price_micro_usd
from venice_batch.sandbox.request import Order
from venice_batch.sandbox.settings import SandboxSettings

RATIO = {"model": "qwen-image-2", "prompt": "p"}
PIXEL = {"model": "venice-sd35", "prompt": "p"}
TIER = {"model": "gpt-image-2", "prompt": "p"}
CLEAR = {"model": "gpt-image-1-5", "prompt": "p", "transparent_background": True}
OLD = SandboxSettings(era="2026-08")


def paths(result):
    assert isinstance(result, Refusal)
    return {".".join(map(str, issue.path)) for issue in result.issues}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "venice-sd35"}, "prompt"),
        ({"prompt": "p"}, "model"),
        ({**PIXEL, "prompt": ""}, "prompt"),
        ({**PIXEL, "prompt": "p" * 1501}, "prompt"),
        ({**PIXEL, "negative_prompt": "p" * 1501}, "negative_prompt"),
        ({**PIXEL, "width": True}, "width"),
        ({**PIXEL, "width": "512"}, "width"),
        ({**PIXEL, "width": 512.5}, "width"),
        ({**PIXEL, "width": 1e300}, "width"),
        ({**PIXEL, "width": 0}, "width"),
        ({**PIXEL, "width": 1296}, "width"),
        ({**PIXEL, "variants": 5}, "variants"),
        ({**PIXEL, "variants": 1, "return_binary": True}, "variants"),
        ({**PIXEL, "return_binary": 1}, "return_binary"),
        ({**PIXEL, "seed": 10**9}, "seed"),
        ({**PIXEL, "seed": None}, "seed"),
        ({**PIXEL, "steps": 31}, "steps"),
        ({**PIXEL, "cfg_scale": 0}, "cfg_scale"),
        ({**PIXEL, "cfg_scale": 20.5}, "cfg_scale"),
        ({**PIXEL, "format": "gif"}, "format"),
        ({**PIXEL, "style_preset": "anime"}, "style_preset"),
        ({**PIXEL, "lora_strength": 101}, "lora_strength"),
        ({"model": "qwen-image", "prompt": "p", "width": 1024}, "width"),
        ({"model": "qwen-image-3-pro", "prompt": "p", "height": 1024}, "height"),
        ({**PIXEL, "transparent_background": True}, "transparent_background"),
        ({**CLEAR, "format": "jpeg"}, "transparent_background"),
        ({**PIXEL, "style_references": ["x"]}, "style_references.0"),
        ({**PIXEL, "style_references": [{"strength": 2}]}, "style_references.0.strength"),
        ({**PIXEL, "style_references": [{"image": "x"}]}, "style_references"),
        ({**TIER, "resolution": "8K"}, "resolution"),
        ({**TIER, "quality": "best"}, "quality"),
    ],
)
def test_each_breach_names_its_field(body, path):
    assert path in paths(read(body, shipped()))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({**PIXEL, "height": 1000}, "height"),
        ({**PIXEL, "aspect_ratio": "1:1"}, "aspect_ratio"),
        ({**PIXEL, "resolution": "1K"}, "resolution"),
        ({**RATIO, "width": 1024}, "width"),
        ({**RATIO, "aspect_ratio": "5:1"}, "aspect_ratio"),
        ({**RATIO, "steps": 51}, "steps"),
        ({**TIER, "resolution": "8K"}, "resolution"),
        ({**PIXEL, "transparent_background": False}, ""),
    ],
)
def test_august_refuses_more(body, path):
    assert path in paths(read(body, shipped(), OLD))
    if path not in ("resolution", ""):
        assert isinstance(read(body, shipped()), Order)


def test_october_passes_over_fields_of_other_models():
    ignored = read({**RATIO, "width": 1001, "aspect_ratio": "nonsense", "resolution": "8K", "steps": 99}, shipped())
    assert isinstance(ignored, Order)
    assert (ignored.width, ignored.height, ignored.resolution) == (1024, 1024, "")
    odd = read({**PIXEL, "width": 1001, "aspect_ratio": "16:9"}, shipped())
    assert isinstance(odd, Order)
    assert (odd.width, odd.height) == (1001, 1024)


@pytest.mark.parametrize(("settings", "seed", "kind"), [(SandboxSettings(), None, "jpeg"), (OLD, 5, "png")])
def test_some_models_ignore_the_seed_and_the_format(settings, seed, kind):
    order = read({"model": "grok-imagine-image", "prompt": "p", "seed": 5, "format": "png"}, shipped(), settings)
    assert isinstance(order, Order)
    assert (order.seed, order.format) == (seed, kind)


def test_a_transparent_background_is_part_of_the_order():
    order = read(CLEAR, shipped())
    assert isinstance(order, Order)
    assert (order.transparent, order.format) == (True, "webp")


def test_a_retired_model_names_its_successor():
    refused = read(PIXEL, shipped(), SandboxSettings(retired={"venice-sd35": "chroma"}))
    assert isinstance(refused, Refusal)
    assert (refused.status, "chroma" in refused.message) == (404, True)


def test_all_breaches_are_reported_at_once():
    found = paths(read({**PIXEL, "width": -1, "format": "gif", "seed": "x", "wdith": 3}, shipped()))
    assert found == {"width", "format", "seed", ""}


def test_unknown_fields_are_refused_by_name():
    result = read({**PIXEL, "n": 2}, shipped())
    assert isinstance(result, Refusal)
    assert result.native()["details"] == {"_errors": ["Unrecognized key(s) in object: 'n'"]}
    assert result.native()["issues"][0]["code"] == "unrecognized_keys"


def test_an_unknown_model_is_not_found():
    body = {"model": "nope", "prompt": "p"}
    assert read(body, shipped()) == Refusal(404, "Specified model not found")
    assert read(body, shipped(), OLD) == Refusal(400, "Specified model not found")
    assert read(body, shipped(), SandboxSettings(unknown_model_status="400")).status == 400


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_that_is_no_object_is_invalid(body):
    assert isinstance(read(body, shipped()), Refusal)


def test_ratio_models_tell_to_use_aspect_ratio():
    result = read({**RATIO, "height": 512}, shipped(), OLD)
    assert isinstance(result, Refusal)
    assert "aspect_ratio" in result.issues[0].message


@pytest.mark.parametrize("name", ["default", "fastest", "z-image-turbo"])
def test_traits_are_names_of_models(name):
    order = read({"model": name, "prompt": "p"}, shipped())
    assert isinstance(order, Order)
    assert order.model.id == "z-image-turbo"


@pytest.mark.parametrize(
    ("model", "tier"), [("grok-imagine-image", "1K"), ("grok-imagine-image", "2k"), ("gpt-image-2", "4k")]
)
def test_tiers_are_compared_without_case(model, tier):
    order = read({"model": model, "prompt": "p", "resolution": tier}, shipped())
    assert isinstance(order, Order)
    assert order.resolution == tier.upper()


def test_a_long_prompt_is_accepted_where_the_model_allows_it():
    assert isinstance(read({**RATIO, "prompt": "p" * 9000}, shipped()), Order)


def test_a_full_request_becomes_an_order():
    order = read(
        {**PIXEL, "width": 512.0, "height": 256, "variants": 3, "seed": -4, "style_preset": "Anime", "inpaint": None,
         "safe_mode": False, "format": "png", "steps": 30, "cfg_scale": 7},
        shipped(),
    )  # fmt: skip
    assert isinstance(order, Order)
    assert (order.width, order.height, order.variants, order.seed) == (512, 256, 3, -4)
    assert (order.style, order.safe_mode, order.format, order.delivery) == ("Anime", False, "png", "json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*TABLE, "other"]), json_values), st.sampled_from([PIXEL, RATIO, TIER, {}]))
def test_no_body_makes_validation_raise(changes, base):
    assert isinstance(read({**base, **changes}, shipped()), Order | Refusal)
    assert isinstance(read({**base, **changes}, shipped(), OLD), Order | Refusal)


def test_a_model_without_qualities_passes_over_the_field():
    order = read({**PIXEL, "quality": "high"}, shipped())
    assert isinstance(order, Order)
    assert price_micro_usd(order) == price_micro_usd(read(PIXEL, shipped()))
