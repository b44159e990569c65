"""The text of Stable Diffusion programs: theirs is understood, ours is theirs."""

import pytest

from venice_batch.report.export.a1111 import job_of, json_object, parse, text_of

TYPICAL = """girl with an artist's beret, (hat:1.2)
by candle light
Negative prompt: ugly, fat,
(deformed)
Steps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 9654, Size: 512x768, Lora hashes: "a: 1, b: 2", Model: sd_xl"""


def test_a_typical_text_is_understood():
    found = parse(TYPICAL)
    assert found.fields == {
        "prompt": "girl with an artist's beret, (hat:1.2)\nby candle light",
        "negative_prompt": "ugly, fat,\n(deformed)",
        "steps": 20,
        "cfg_scale": 7.5,
        "seed": 9654,
        "width": 512,
        "height": 768,
        "model": "sd_xl",
    }
    assert found.others == {
        "Sampler": "Euler",
        "Lora hashes": "a: 1, b: 2",
    }
    assert job_of(found) is None


def test_a_last_line_of_few_settings_belongs_to_the_prompt():
    assert parse("a cat: black, a dog: white").fields == {"prompt": "a cat: black, a dog: white"}
    assert parse("").fields == {}
    assert parse("\nSteps: 1, Seed: 2, Size: 1x1").fields == {"steps": 1, "seed": 2, "width": 1, "height": 1}


def test_values_that_are_no_numbers_stay_settings():
    found = parse("p\nSteps: many, Seed: " + "9" * 30 + ", Size: big, CFG scale: 1.2.3")
    assert found.fields == {"prompt": "p"}
    assert found.others == {"Steps": "many", "Seed": "9" * 30, "Size": "big", "CFG scale": "1.2.3"}
    assert parse('p\nA: "x, B: "\\q", C: "1"').others["C"] == "1"


def test_our_text_holds_the_prompt_once_if_that_will_do():
    job = {"id": "a", "prompt": "a cat", "seed": 1}
    text = text_of(job, size=None, version="v", job=job)
    assert text.count("a cat") == 1
    assert job_of(parse(text)) == job
    odd = {"id": "a", "prompt": " a cat "}
    assert job_of(parse(text_of(odd, size=None, version="v", job=odd))) == odd


def test_a_model_named_like_a_setting_is_quoted():
    job = {"model": 'x, Seed: 7, Model: "y"'}
    found = parse(text_of(job, size=(1, 2), version="v", job=job))
    assert found.fields["model"] == job["model"]
    assert "seed" not in found.fields


@pytest.mark.parametrize("text", ["{", "[]", "7", "[" * 100_000, '{"a": NaN'])
def test_text_that_is_no_object_is_none(text):
    assert json_object(text) is None


@pytest.mark.parametrize("piece", ["a", "a:", 'a: "', "\\", 'a: "\\', "a b ", ": ,", "\t"])
def test_a_long_text_is_read_in_a_line_of_time(piece):
    parse("x\n" + piece * (250_000 // len(piece)))
