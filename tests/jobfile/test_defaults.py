"""`--set FIELD=VALUE`: what is typed, and which lines it reaches."""

import pytest

from venice_batch.errors import UsageError
from venice_batch.jobfile import Defaults, parse_setting
from venice_batch.model import Endpoint


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("width=512", ("width", 512)),
        ("seed=5", ("seed", 5)),
        ("prompt=123", ("prompt", "123")),
        ("prompt=a=b", ("prompt", "a=b")),
        ("resolution=1K", ("resolution", "1K")),
        ("aspect_ratio=1:1", ("aspect_ratio", "1:1")),
        ("safe_mode=false", ("safe_mode", False)),
        ("cfg_scale=7.5", ("cfg_scale", 7.5)),
        ("quality=hd", ("quality", "hd")),
        ("n=null", ("n", None)),
        ('style_references=[{"image": "https://x/y.png"}]', ("style_references", [{"image": "https://x/y.png"}])),
    ],
)
def test_a_value_has_the_type_that_its_field_asks_for(setting, value):
    assert parse_setting(setting) == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("width", "--set width: expected FIELD=VALUE, as in --set width=512"),
        ("widht=5", "--set widht: no endpoint has this field; did you mean 'width'?"),
        ("width=abc", "--set width: 'abc' is a string; expected an integer from 1 to 1280"),
        ("width=5000", "--set width: 5000 is out of range; expected an integer from 1 to 1280"),
        ("format=gif", "--set format: 'gif' is not one of jpeg, png, webp"),
        ("format=5", "--set format: '5' is not one of jpeg, png, webp"),
        ("prompt= ", "--set prompt: is blank"),
        ("prompt=\udcff", "--set prompt: the value is not valid UTF-8"),
    ],
)
def test_a_setting_that_can_never_do_is_a_usage_error_of_one_line(setting, message):
    with pytest.raises(UsageError) as caught:
        parse_setting(setting)
    assert str(caught.value) == message


def test_the_last_setting_of_a_field_wins():
    assert Defaults.of(["seed=1", "seed=2"]).values == {"seed": 2}


def test_a_line_gets_only_what_its_endpoint_takes_and_keeps_its_own():
    defaults = Defaults.of(["seed=1", "size=auto", "model=m"])
    assert defaults.apply(Endpoint.GENERATE, {"seed": 7}) == {"seed": 7, "model": "m"}
    assert defaults.apply(Endpoint.GENERATIONS, {}) == {"size": "auto", "model": "m"}


def test_a_field_that_no_endpoint_is_known_to_take_goes_to_all_where_that_is_allowed():
    defaults = Defaults.of(["brand_new=[1]", "format=avif", "width=1536", "text=soon"], allow_unknown=True)
    assert defaults.values == {"brand_new": [1], "format": "avif", "width": 1536, "text": "soon"}
    assert defaults.apply(Endpoint.GENERATIONS, {}) == {"brand_new": [1], "text": "soon"}
    assert defaults.apply(Endpoint.GENERATE, {})["width"] == 1536


@pytest.mark.parametrize("setting", ["width=abc", "id=a", "=5", "metadata={}", "variants=0"])
def test_a_setting_that_makes_no_sense_is_refused_whatever_is_allowed(setting):
    with pytest.raises(UsageError):
        parse_setting(setting, allow_unknown=True)
