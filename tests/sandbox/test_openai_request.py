import pytest

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.errors import Refusal
from venice_batch.sandbox.openai_request import read
from venice_batch.sandbox.request import Order
from venice_batch.sandbox.settings import SandboxSettings

OLD = SandboxSettings(era="2026-08")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n": 2}, "n"),
        ({"size": "640x480"}, "size"),
        ({"prompt": "p" * 1501}, "prompt"),
        ({"output_format": None}, "output_format"),
        ({"response_format": "file"}, "response_format"),
        ({"output_compression": 101}, "output_compression"),
    ],
)
def test_breaches_are_reported_the_openai_way(change, field):
    result = read({"prompt": "p", **change}, shipped())
    assert isinstance(result, Refusal)
    error = result.openai()["error"]
    assert (error["param"], error["type"]) == (field, "invalid_request_error")
    assert error["message"].startswith(field)


def test_a_model_is_required_since_october():
    assert read({"prompt": "p"}, shipped()) == Refusal(400, "model is required")
    assert read({"prompt": "p", "model": ""}, shipped()) == Refusal(400, "model is required")
    order = read({"prompt": "p"}, shipped(), OLD)
    assert isinstance(order, Order)
    assert order.model.id == "z-image-turbo"


@pytest.mark.parametrize(
    ("fields", "transparent"),
    [({}, True), ({"output_format": "webp"}, True), ({"output_format": "jpeg"}, None), ({"model": "chroma"}, None),
     ({"background": "opaque"}, False), ({"background": None}, False)],
)  # fmt: skip
def test_only_some_models_draw_on_a_transparent_background(fields, transparent):
    body = {"model": "gpt-image-1-5", "prompt": "p", "background": "transparent", **fields}
    result = read(body, shipped())
    assert getattr(result, "transparent", None) is transparent
    if transparent is None:
        assert result.openai()["error"]["param"] == "background"
    assert not read(body, shipped(), OLD).transparent


def test_a_retired_model_names_its_successor_and_nothing_falls_back():
    refused = read({"model": "chroma", "prompt": "p"}, shipped(), SandboxSettings(retired={"chroma": "flux-2-pro"}))
    assert (refused.status, "flux-2-pro" in refused.message) == (404, True)


def test_native_fields_are_refused():
    result = read({"prompt": "p", "style_preset": "Anime"}, shipped())
    assert isinstance(result, Refusal)
    assert result.openai()["error"]["param"] is None


def test_no_object_is_refused():
    assert isinstance(read([], shipped()), Refusal)


@pytest.mark.parametrize("model", [{"model": "gpt-image-1"}, {"model": "dall-e-3"}, {"model": "default"}])
def test_a_model_that_does_not_exist_falls_back_to_the_default(model):
    order = read({"prompt": "p", **model}, shipped())
    assert isinstance(order, Order)
    assert order.model.id == "z-image-turbo"


@pytest.mark.parametrize("size", [{}, {"size": None}, {"size": "auto"}, {"size": "1024x1024"}])
def test_the_size_defaults_to_a_square(size):
    order = read({"model": "chroma", "prompt": "p", **size}, shipped())
    assert isinstance(order, Order)
    assert (order.width, order.height, order.format, order.delivery) == (1024, 1024, "png", "b64_json")


def test_nulls_mean_defaults_and_moderation_is_safe_mode():
    order = read({"model": "chroma", "prompt": "p", "n": None, "response_format": None, "moderation": "low"}, shipped())
    assert isinstance(order, Order)
    assert not order.safe_mode
    assert order.delivery == "b64_json"
