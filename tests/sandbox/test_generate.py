import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.generate import NATIVE_FIELDS, read_native, read_openai
from venice_batch.sandbox.request import GenerateRequest
from venice_batch.sandbox.settings import SandboxSettings

JOBS = Path(__file__).parents[2] / "jobs"
RATIO = {"model": "qwen-image-2", "prompt": "p"}
PIXEL = {"model": "venice-sd35", "prompt": "p"}
TIER = {"model": "gpt-image-2", "prompt": "p"}
TWO_QUALITIES = {"model": "grok-imagine-image-2-0", "prompt": "p"}
CLEAR = {"model": "gpt-image-1-5", "prompt": "p", "transparent_background": True}
OLD = SandboxSettings(era="2026-08")


def paths(result):
    assert isinstance(result, ErrorAnswer)
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
        ({**TWO_QUALITIES, "quality": "high"}, "quality"),
    ],
)
def test_each_issue_names_its_field(body, path):
    assert path in paths(read_native(body, shipped()))


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
        ({**TIER, "resolution": "2k", "quality": "low", "width": 1024}, "width"),
        ({**TIER, "resolution": "8K", "quality": "low"}, "resolution"),
        ({**PIXEL, "transparent_background": False}, ""),
    ],
)
def test_era_august_rejects_more(body, path):
    assert path in paths(read_native(body, shipped(), OLD))
    if path not in ("resolution", ""):
        assert isinstance(read_native(body, shipped()), GenerateRequest)


def test_era_october_ignores_fields_of_other_models():
    ignored = read_native(
        {**RATIO, "width": 1001, "aspect_ratio": "nonsense", "resolution": "8K", "steps": 99}, shipped()
    )
    assert isinstance(ignored, GenerateRequest)
    assert (ignored.width, ignored.height, ignored.resolution) == (1024, 1024, "")
    odd = read_native({**PIXEL, "width": 1001, "aspect_ratio": "16:9"}, shipped())
    assert isinstance(odd, GenerateRequest)
    assert (odd.width, odd.height) == (1001, 1024)


@pytest.mark.parametrize(("settings", "seed", "kind"), [(SandboxSettings(), None, "jpeg"), (OLD, 5, "png")])
def test_some_models_ignore_the_seed_and_the_format(settings, seed, kind):
    request = read_native(
        {"model": "grok-imagine-image", "prompt": "p", "seed": 5, "format": "png"}, shipped(), settings
    )
    assert isinstance(request, GenerateRequest)
    assert (request.seed, request.format) == (seed, kind)


def test_a_transparent_background_is_read():
    request = read_native(CLEAR, shipped())
    assert isinstance(request, GenerateRequest)
    assert (request.transparent, request.format) == (True, "webp")


def test_a_retired_model_names_its_successor():
    refused = read_native(PIXEL, shipped(), SandboxSettings(retired={"venice-sd35": "chroma"}))
    assert isinstance(refused, ErrorAnswer)
    assert (refused.status, "chroma" in refused.message) == (404, True)


def test_all_issues_are_reported_at_once():
    found = paths(read_native({**PIXEL, "width": -1, "format": "gif", "seed": "x", "wdith": 3}, shipped()))
    assert found == {"width", "format", "seed", ""}


def test_unknown_fields_are_refused_by_name():
    result = read_native({**PIXEL, "n": 2}, shipped())
    assert isinstance(result, ErrorAnswer)
    assert result.native()["details"] == {"_errors": ["Unrecognized key(s) in object: 'n'"]}
    assert result.native()["issues"][0]["code"] == "unrecognized_keys"


def test_an_unknown_model_is_not_found():
    body = {"model": "nope", "prompt": "p"}
    assert read_native(body, shipped()) == ErrorAnswer(404, "Specified model not found")
    assert read_native(body, shipped(), OLD) == ErrorAnswer(400, "Specified model not found")
    assert read_native(body, shipped(), SandboxSettings(unknown_model_status="400")).status == 400


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_that_is_not_an_object_is_invalid(body):
    assert isinstance(read_native(body, shipped()), ErrorAnswer)


def test_the_issue_with_a_height_suggests_aspect_ratio():
    result = read_native({**RATIO, "height": 512}, shipped(), OLD)
    assert isinstance(result, ErrorAnswer)
    assert "aspect_ratio" in result.issues[0].message


@pytest.mark.parametrize("name", ["default", "fastest", "z-image-turbo"])
def test_traits_are_names_of_models(name):
    request = read_native({"model": name, "prompt": "p"}, shipped())
    assert isinstance(request, GenerateRequest)
    assert request.model.id == "z-image-turbo"


@pytest.mark.parametrize(
    ("model", "tier"), [("grok-imagine-image", "1K"), ("grok-imagine-image", "2k"), ("gpt-image-2", "4k")]
)
def test_tiers_are_compared_without_case(model, tier):
    request = read_native({"model": model, "prompt": "p", "resolution": tier}, shipped())
    assert isinstance(request, GenerateRequest)
    assert request.resolution == tier.upper()


def test_a_long_prompt_is_accepted_where_the_model_allows_it():
    assert isinstance(read_native({**RATIO, "prompt": "p" * 9000}, shipped()), GenerateRequest)


def test_every_field_of_a_request_is_read():
    request = read_native(
        {**PIXEL, "width": 512.0, "height": 256, "variants": 3, "seed": -4, "style_preset": "Anime", "inpaint": None,
         "safe_mode": False, "format": "png", "steps": 30, "cfg_scale": 7},
        shipped(),
    )  # fmt: skip
    assert isinstance(request, GenerateRequest)
    assert (request.width, request.height, request.variants, request.seed) == (512, 256, 3, -4)
    assert (request.style, request.safe_mode, request.format, request.delivery) == ("Anime", False, "png", "json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*NATIVE_FIELDS, "other"]), json_values), st.sampled_from([PIXEL, RATIO, TIER, {}])
)
def test_no_body_makes_validation_raise(changes, base):
    assert isinstance(read_native({**base, **changes}, shipped()), GenerateRequest | ErrorAnswer)
    assert isinstance(read_native({**base, **changes}, shipped(), OLD), GenerateRequest | ErrorAnswer)


def test_a_model_without_qualities_ignores_the_field():
    for settings in (SandboxSettings(), OLD):
        request = read_native({**PIXEL, "quality": "high"}, shipped(), settings)
        assert isinstance(request, GenerateRequest)
        assert request.price_micro_usd == read_native(PIXEL, shipped()).price_micro_usd


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
def test_openai_errors_name_the_field(change, field):
    result = read_openai({"prompt": "p", **change}, shipped())
    assert isinstance(result, ErrorAnswer)
    error = result.openai()["error"]
    assert (error["param"], error["type"]) == (field, "invalid_request_error")
    assert error["message"].startswith(field)


def test_a_model_is_required_since_october():
    assert read_openai({"prompt": "p"}, shipped()) == ErrorAnswer(400, "model is required")
    assert read_openai({"prompt": "p", "model": ""}, shipped()) == ErrorAnswer(400, "model is required")
    request = read_openai({"prompt": "p"}, shipped(), OLD)
    assert isinstance(request, GenerateRequest)
    assert request.model.id == "z-image-turbo"


@pytest.mark.parametrize(
    ("fields", "transparent"),
    [({}, True), ({"output_format": "webp"}, True), ({"output_format": "jpeg"}, None), ({"model": "chroma"}, None),
     ({"background": "opaque"}, False), ({"background": None}, False)],
)  # fmt: skip
def test_only_some_models_draw_on_a_transparent_background(fields, transparent):
    body = {"model": "gpt-image-1-5", "prompt": "p", "background": "transparent", **fields}
    result = read_openai(body, shipped())
    assert getattr(result, "transparent", None) is transparent
    if transparent is None:
        assert result.openai()["error"]["param"] == "background"
    assert not read_openai(body, shipped(), OLD).transparent


def test_a_retired_model_names_its_successor_and_nothing_falls_back():
    refused = read_openai(
        {"model": "chroma", "prompt": "p"}, shipped(), SandboxSettings(retired={"chroma": "flux-2-pro"})
    )
    assert (refused.status, "flux-2-pro" in refused.message) == (404, True)


def test_native_fields_are_refused():
    result = read_openai({"prompt": "p", "style_preset": "Anime"}, shipped())
    assert isinstance(result, ErrorAnswer)
    assert result.openai()["error"]["param"] is None


def test_an_openai_body_that_is_not_an_object_is_invalid():
    assert isinstance(read_openai([], shipped()), ErrorAnswer)


@pytest.mark.parametrize("model", [{"model": "gpt-image-1"}, {"model": "dall-e-3"}, {"model": "default"}])
def test_an_unknown_model_falls_back_to_the_default(model):
    request = read_openai({"prompt": "p", **model}, shipped())
    assert isinstance(request, GenerateRequest)
    assert request.model.id == "z-image-turbo"


@pytest.mark.parametrize("size", [{}, {"size": None}, {"size": "auto"}, {"size": "1024x1024"}])
def test_the_size_defaults_to_a_square(size):
    request = read_openai({"model": "chroma", "prompt": "p", **size}, shipped())
    assert isinstance(request, GenerateRequest)
    assert (request.width, request.height, request.format, request.delivery) == (1024, 1024, "png", "b64_json")


def test_nulls_mean_defaults_and_moderation_is_safe_mode():
    request = read_openai(
        {"model": "chroma", "prompt": "p", "n": None, "response_format": None, "moderation": "low"}, shipped()
    )
    assert isinstance(request, GenerateRequest)
    assert not request.safe_mode
    assert request.delivery == "b64_json"


def orders(name):
    for line in (JOBS / name).read_text(encoding="utf-8").splitlines():
        job = json.loads(line)
        if "body" in job:
            yield job["custom_id"], read_openai(job["body"], shipped())
            continue
        endpoint = job.pop("endpoint", "/image/generate")
        read = read_openai if endpoint == "/images/generations" else read_native
        job.pop("metadata", None)
        yield job.pop("id"), read(job, shipped())


@pytest.mark.parametrize("name", ["quickstart.jsonl", "four-seasons.jsonl"])
def test_every_shipped_job_is_accepted(name):
    found = list(orders(name))
    assert [(job, request) for job, request in found if not isinstance(request, GenerateRequest)] == []
    assert len({job for job, _ in found}) == len(found)
    assert max(Counter(request.model.id for _, request in found).values()) <= 10


def test_the_quickstart_shows_every_kind_of_request():
    found = [request for _, request in orders("quickstart.jsonl")]
    assert sum(request.resolution == "4K" for request in found) == 1
    assert {request.format for request in found} == {"webp", "png", "jpeg"}
    assert {request.delivery for request in found} == {"json", "binary", "b64_json", "url"}
    assert max(request.variants for request in found) >= 3


def test_the_seasons_have_no_duplicate_prompt():
    prompts = [request.prompt for _, request in orders("four-seasons.jsonl")]
    assert len(set(prompts)) == len(prompts) == 60
