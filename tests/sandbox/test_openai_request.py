import pytest

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.openai_request import read
from venice_batch.sandbox.order import Order
from venice_batch.sandbox.refusal import Refusal


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


def test_native_fields_are_refused():
    result = read({"prompt": "p", "style_preset": "Anime"}, shipped())
    assert isinstance(result, Refusal)
    assert result.openai()["error"]["param"] is None


def test_no_object_is_refused():
    assert isinstance(read([], shipped()), Refusal)


@pytest.mark.parametrize("model", [{}, {"model": "gpt-image-1"}, {"model": "dall-e-3"}, {"model": "default"}])
def test_a_model_that_does_not_exist_falls_back_to_the_default(model):
    order = read({"prompt": "p", **model}, shipped())
    assert isinstance(order, Order)
    assert order.model.id == "z-image-turbo"


@pytest.mark.parametrize("size", [{}, {"size": None}, {"size": "auto"}, {"size": "1024x1024"}])
def test_the_size_defaults_to_a_square(size):
    order = read({"prompt": "p", **size}, shipped())
    assert isinstance(order, Order)
    assert (order.width, order.height, order.format, order.delivery) == (1024, 1024, "png", "b64_json")


def test_nulls_mean_defaults_and_moderation_is_safe_mode():
    order = read({"prompt": "p", "n": None, "response_format": None, "moderation": "low"}, shipped())
    assert isinstance(order, Order)
    assert not order.safe_mode
    assert order.delivery == "b64_json"
