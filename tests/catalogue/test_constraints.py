"""Mistakes of a job for the model that it names."""

from datetime import UTC, datetime

import pytest
from catalogue.made import SHIPPED, STYLES, catalogue, complaints, entry, job
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.catalogue import corrected
from venice_batch.catalogue.capabilities import (
    MAX_SIDE_PX,
    ignored_fields,
    nearest_ratio,
    nearest_sides,
    pixels_of,
    uses_steps,
)
from venice_batch.model import Endpoint
from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.generate import read_native


def found_in(given_job, known=SHIPPED, **options):
    return [(found.field, found.what, found.is_error) for found in complaints(given_job, known, **options)]


def only(given_job, known=SHIPPED, **options):
    ((field, what, is_error),) = found_in(given_job, known, **options)
    return f"{'' if is_error else 'warning: '}{field}: {what}"


ONE_EACH = [
    ({"model": "venice-sd53"}, "model: no model 'venice-sd53' is listed (nearest: venice-sd35)"),
    ({"model": "VENICE-SD35"}, "model: no model 'VENICE-SD35' is listed (nearest: venice-sd35)"),
    ({"model": "xyzzy"}, "model: no model 'xyzzy' is listed; `venice-batch models` lists them"),
    ({"model": "old-model"}, "model: old-model is no longer listed; `venice-batch models` lists them"),
    ({"prompt": "x" * 1873}, "prompt: has 1,873 characters; venice-sd35 takes at most 1,500 (cut 373)"),
    ({"negative_prompt": "x" * 1501}, "negative_prompt: has 1,501 characters; venice-sd35 takes at most 1,500 (cut 1)"),
    ({"width": 1000}, "warning: width: 1000 is not a multiple of 16 for venice-sd35 (nearest: 992, 1008)"),
    ({"height": 5}, "warning: height: 5 is not a multiple of 16 for venice-sd35 (nearest: 16)"),
    ({"height": 1279}, "warning: height: 1279 is not a multiple of 16 for venice-sd35 (nearest: 1264, 1280)"),
    (
        {"aspect_ratio": "16:9"},
        "warning: aspect_ratio: venice-sd35 takes width and height instead (nearest to 16:9: width 1280, height 720)",
    ),
    ({"aspect_ratio": "auto"}, "warning: aspect_ratio: venice-sd35 takes width and height instead"),
    ({"resolution": "1K"}, "warning: resolution: venice-sd35 ignores the field"),
    ({"quality": "high"}, "warning: quality: venice-sd35 ignores the field"),
    ({"steps": 50}, "steps: 50 is above venice-sd35's limit of 30"),
    ({"style_preset": "film noire"}, "style_preset: no style 'film noire' (nearest: Film Noir)"),
    ({"style_preset": "xyzzy"}, "style_preset: no style 'xyzzy'; `venice-batch styles` lists them"),
    (
        {"model": "nano-banana-2", "height": 720, "width": 1280},
        None,
    ),
    (
        {"model": "nano-banana-2", "width": 700},
        "warning: width: nano-banana-2 takes aspect_ratio instead of pixels (nearest to 700x1024: 2:3)",
    ),
    (
        {"model": "gpt-image-1-5", "aspect_ratio": "16:10"},
        "warning: aspect_ratio: gpt-image-1-5 has no '16:10' (nearest: 3:2; it has 1:1, 3:2, 2:3)",
    ),
    (
        {"model": "gpt-image-1-5", "aspect_ratio": "wide"},
        "warning: aspect_ratio: gpt-image-1-5 has no 'wide' (it has 1:1, 3:2, 2:3)",
    ),
    (
        {"model": "krea-2-turbo", "resolution": "4K"},
        "resolution: krea-2-turbo has no '4K' (nearest: 2K; it has 1K, 2K)",
    ),
    ({"model": "krea-2-turbo", "resolution": "big"}, "resolution: krea-2-turbo has no 'big' (it has 1K, 2K)"),
    (
        {"model": "grok-imagine-image-2-0", "quality": "high"},
        "quality: grok-imagine-image-2-0 has no 'high' (nearest: medium; it has low, medium)",
    ),
    ({"enable_web_search": True}, "warning: enable_web_search: venice-sd35 does not search the web"),
    (
        {"style_references": [{"image": "https://example.com/a.png"}]},
        "style_references: venice-sd35 takes none; leave them out",
    ),
    (
        {"model": "krea-v2-large", "style_references": [{"image": "https://example.com/a.png"}]},
        "warning: style_references: krea-v2-large adds a surcharge for them that no list shows",
    ),
    ({"model": "qwen-image", "width": 512}, "width: qwen-image takes aspect_ratio instead of pixels"),
    (
        {"model": "qwen-image-3", "height": 512},
        "height: qwen-image-3 takes aspect_ratio instead of pixels (nearest to 1024x512: 16:9)",
    ),
    ({"model": "z-image-turbo", "steps": 99}, "warning: steps: z-image-turbo ignores the field"),
    ({"model": "gpt-image-2", "negative_prompt": "x"}, "warning: negative_prompt: gpt-image-2 ignores the field"),
    (
        {"model": "gpt-image-2", "seed": 7, "variants": 2},
        "warning: seed: gpt-image-2 ignores it; the image cannot be made again",
    ),
    (
        {"seed": 7, "variants": 2},
        "warning: seed: only the first of several variants is made by it; for a seed each give --seed-policy split",
    ),
    (
        {"model": "grok-imagine-image", "format": "png"},
        "warning: format: grok-imagine-image answers in its provider's format, whatever is asked for",
    ),
    (
        {"model": "seedream-v5-5", "resolution": "4K"},
        "resolution: seedream-v5-5 has no '4K' (nearest: 2K; it has 1K, 1.5K, 2K)",
    ),
    (
        {"model": "gpt-image-1-5", "transparent_background": True, "format": "jpeg"},
        "transparent_background: jpeg has no transparency; ask for png or webp",
    ),
    (
        {"model": "gpt-image-2", "transparent_background": True},
        "transparent_background: gpt-image-2 cannot make one; these can: gpt-image-1-5, gpt-image-2-5-flare, "
        "gpt-image-2-5-sunburst, mai-image-2-7, mai-image-2-7-flash",
    ),
]


@pytest.mark.parametrize(("fields", "message"), ONE_EACH, ids=str)
def test_every_mistake_is_reported_in_one_line_with_a_way_out(fields, message):
    found = found_in(job(**fields), styles=STYLES)
    assert all("\n" not in what for _, what, _ in found)
    if message is None:
        assert [field for field, _, _ in found] == ["width", "height"]
        assert {what for _, what, _ in found} == {
            "nano-banana-2 takes aspect_ratio instead of pixels (nearest to 1280x720: 16:9)"
        }
    else:
        assert only(job(**fields), styles=STYLES) == message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "fastest", "style_preset": "Anime", "width": 1280},
        {"steps": 30, "seed": 7, "negative_prompt": "blurry"},
        {"model": "gpt-image-2-5-flare", "transparent_background": True},
        {"model": "gpt-image-2", "transparent_background": False, "variants": 4},
        {"model": "qwen-image", "aspect_ratio": "16:9"},
        {"model": "mai-image-2-7", "aspect_ratio": "16:9", "resolution": "2k"},
        {"model": "grok-imagine-image", "resolution": "2K", "aspect_ratio": "19.5:9"},
        {"model": "gpt-image-2", "quality": "low", "resolution": "4k"},
        {"width": 1024.0, "steps": None, "style_references": []},
    ],
)
def test_a_valid_job_has_no_complaints(fields):
    assert found_in(job(**fields), styles=STYLES) == []


def test_styles_are_not_checked_without_a_list():
    assert found_in(job(style_preset="Whatever")) == []


def test_all_mistakes_of_a_job_are_reported():
    wrong = job(width=1001, height=1001, steps=99, prompt="x" * 2000, resolution="2K")
    assert {field for field, _, _ in found_in(wrong)} == {"width", "height", "steps", "prompt", "resolution"}


def test_every_complaint_is_a_warning_with_allow_unknown():
    assert only(job(model="brand-new"), allow_unknown=True).startswith("warning: model: no model 'brand-new' is listed")
    wild = job(model="gpt-image-2", resolution="8K", quality="ultra", transparent_background=True, prompt="x" * 9999)
    assert all(is_error for _, _, is_error in found_in(wild))
    found = found_in(wild, allow_unknown=True)
    assert {field for field, _, is_error in found if not is_error} == {
        "resolution", "quality", "transparent_background", "prompt",
    }  # fmt: skip


def test_an_alias_that_no_list_shows_is_warned_of():
    assert only(job(Endpoint.EDIT, model="qwen-edit", image="https://example.com/a.png")) == (
        "warning: model: qwen-edit is an alias that no list shows; its price is not known"
    )


def test_another_servers_models_of_the_same_name_are_not_of_the_family():
    known = catalogue(entry("gpt-image-2"), entry("qwen-image"))
    assert found_in(job(model="gpt-image-2", seed=1, negative_prompt="x", steps=5), known) == []
    assert found_in(job(model="qwen-image", width=512), known) == []


def test_ignored_fields_are_known_for_each_kind_of_model():
    models = SHIPPED.models
    assert ignored_fields(models["gpt-image-2"]) == [
        "width, height", "steps", "seed", "negative_prompt", "enable_web_search",
    ]  # fmt: skip
    assert ignored_fields(models["venice-sd35"]) == ["aspect_ratio", "resolution", "quality", "enable_web_search"]
    assert ignored_fields(models["grok-imagine-edit"]) == ["output_format"]
    assert ignored_fields(models["firered-image-edit"]) == ignored_fields(models["upscaler"]) == []


def test_transparency_follows_the_listings_marks():
    wanted = job(model="made", transparent_background=True)
    assert only(wanted, catalogue(entry())) == ("warning: transparent_background: made is not listed as making one")
    refused = entry(constraints={"supportsTransparentBackground": False})
    assert only(wanted, catalogue(refused)) == "transparent_background: made cannot make one"
    able = entry("able", constraints={"supportsTransparentBackground": True})
    assert only(wanted, catalogue(entry(), able)) == "transparent_background: made cannot make one; these can: able"
    assert found_in(job(model="able", transparent_background=True), catalogue(able)) == []


def test_the_openai_endpoint_asks_for_transparency_in_its_own_words():
    clear = {"model": "gpt-image-1-5", "background": "transparent"}
    assert found_in(job(Endpoint.GENERATIONS, **clear)) == []
    assert only(job(Endpoint.GENERATIONS, **clear, output_format="jpeg")).startswith("background: jpeg has no")
    assert only(job(Endpoint.GENERATIONS, background="transparent")).startswith(
        "background: venice-sd35 cannot make one"
    )
    assert found_in(job(Endpoint.GENERATIONS, background="transparent"), catalogue({"id": "venice-sd35"})) == []


def test_an_old_list_says_how_a_newer_model_can_be_used():
    known = catalogue(entry("made"), current=False)
    assert only(job(model="other"), known).endswith("for one newer than the list of 2026-11-01 give --allow-unknown")
    assert "--allow-unknown" not in only(job(model="other"), known, allow_unknown=True)


def test_a_model_that_is_gone_names_the_replacement_that_was_announced():
    known = catalogue(entry("made"), former={"old": "made", "older": "old"})
    assert only(job(model="old"), known) == "model: old is no longer listed (nearest: made)"
    assert only(job(model="older"), known).endswith("lists them")


def test_the_openai_endpoint_falls_back_to_the_default_model():
    found = only(job(Endpoint.GENERATIONS, model="dall-e-3"))
    assert found == (
        "warning: model: no model 'dall-e-3' is listed; "
        "/images/generations falls back to the default one, z-image-turbo"
    )
    assert only(job(Endpoint.GENERATIONS, model="dall-e-3"), catalogue(entry())).endswith("the default one")
    assert found_in(job(Endpoint.GENERATIONS, model=None, quality="auto", style=None)) == []


def test_fields_that_the_openai_endpoint_does_not_use_are_warned_of():
    wrong = job(Endpoint.GENERATIONS, quality="hd", background="opaque", output_compression=50, style="vivid")
    assert {field for field, _, is_error in found_in(wrong) if not is_error} == {
        "quality", "background", "output_compression", "style",
    }  # fmt: skip


def test_the_models_own_prompt_limit_holds_on_the_openai_endpoint_too():
    assert only(job(Endpoint.GENERATIONS, model="made", prompt="x" * 101), catalogue(entry())).startswith("prompt: has")


def test_a_model_without_constraints_is_not_checked():
    known = catalogue({"id": "bare", "model_spec": {}})
    wild = job(model="bare", width=999, aspect_ratio="9:1", resolution="9K", steps=99, prompt="x" * 9999)
    assert found_in(wild, known) == []


def test_fields_that_a_model_ignores_are_warned_of():
    known = catalogue(entry(constraints={"steps": {}}, supportsOptimizePromptThinking=False))
    assert only(job(model="made", steps=5), known) == "warning: steps: made ignores the field"
    ignored = job(model="made", disable_prompt_optimization_thinking=True)
    assert only(ignored, known).startswith("warning: disable_prompt_optimization_thinking: ")


def test_style_references_follow_the_models_limits():
    one = {"image": "https://example.com/a.png"}
    silent = catalogue(entry())
    assert only(job(model="made", style_references=[one]), silent) == (
        "warning: style_references: made is not listed as using them"
    )
    refused = catalogue(entry(supportsStyleReferences=False))
    assert only(job(model="made", style_references=[one]), refused).startswith("style_references: made takes none")
    takes_two = {"maxStyleReferences": 2, "supportsStyleReferenceStrength": False}
    known = catalogue(entry(constraints=takes_two, supportsStyleReferences=True))
    assert found_in(job(model="made", style_references=[one, one]), known) == []
    assert only(job(model="made", style_references=[one] * 3), known) == (
        "style_references: has 3 images; made takes at most 2"
    )
    strong = job(model="made", style_references=[{**one, "strength": 0.5}])
    assert only(strong, known) == "warning: style_references: made ignores their strength"


def test_an_offline_model_is_an_error_only_while_the_list_is_of_today():
    offline = entry(offline=True)
    assert only(job(model="made"), catalogue(offline)) == "model: made is offline at present; run later, or use another"
    assert only(job(model="made"), catalogue(offline, current=False)) == (
        "warning: model: made was offline on 2026-11-01; run later, or use another"
    )


@pytest.mark.parametrize(
    ("deprecation", "message"),
    [
        (
            {"removesAt": "2027-01-01T00:00:00Z", "replacementModelId": "next"},
            "warning: model: made is deprecated and will be retired on 2027-01-01; use next",
        ),
        ({}, "warning: model: made is deprecated and will be retired; `venice-batch models` lists others"),
        (
            {"date": "2026-10-01T00:00:00Z", "replacementModelId": "next"},
            "model: made was retired on 2026-10-01; use next",
        ),
        (
            {"date": "2026-10-01T00:00:00Z", "replacementModelId": "next", "autoRemap": True},
            "warning: model: made was retired on 2026-10-01; the API may use next in its place",
        ),
    ],
)
def test_deprecated_and_retired_models(deprecation, message):
    assert only(job(model="made"), catalogue(entry(deprecation=deprecation))) == message


def test_a_deprecation_that_has_not_begun_is_not_reported():
    later = {"startsAt": "2026-12-01T00:00:00Z", "removesAt": "2027-01-01T00:00:00Z"}
    known = catalogue(entry(deprecation=later))
    assert found_in(job(model="made"), known) == []
    begun = catalogue(entry(deprecation=later), now=datetime(2026, 12, 2, tzinfo=UTC))
    assert "2027-01-01" in only(job(model="made"), begun)


def test_tiers_are_sent_in_the_models_own_spelling():
    lower = job(model="grok-imagine-image", resolution="1K", aspect_ratio="AUTO")
    assert corrected(lower, SHIPPED) == {**lower.request, "resolution": "1k", "aspect_ratio": "auto"}
    assert lower.request["resolution"] == "1K"
    upper = job(model="gpt-image-2", resolution="1k")
    assert corrected(upper, SHIPPED)["resolution"] == "1K"


@pytest.mark.parametrize(
    "right",
    [
        job(),
        job(model="gpt-image-2", resolution="1K"),
        job(model="gpt-image-2", resolution="9K"),
        job(model="nobody", resolution="1k"),
        job(Endpoint.GENERATIONS),
    ],
)
def test_a_request_that_needs_no_correction_is_returned_itself(right):
    assert corrected(right, SHIPPED) is right.request


# Requests by what models take, with a mistake now and then.
MODELS = st.sampled_from(sorted(model.id for model in SHIPPED.of_kind("image")))


@st.composite
def requests(draw):
    model = SHIPPED.models[draw(MODELS)]
    request = {"model": model.id, "prompt": "x" * draw(st.integers(1, 2000))}

    def maybe(field, values):
        if draw(st.booleans()):
            request[field] = draw(values)

    tiers = ["1K", "1k", "2K", "2k", "4K", "8K", *model.resolutions]
    maybe("width", st.integers(1, 160).map(lambda n: n * 8) | st.integers(1, 1280))
    maybe("height", st.integers(1, 80).map(lambda n: n * 16))
    maybe("aspect_ratio", st.sampled_from(["1:1", "16:9", "17:9", "auto", *model.ratios]))
    maybe("resolution", st.sampled_from(tiers))
    maybe("quality", st.sampled_from(["low", "medium", "high"]))
    maybe("steps", st.integers(1, 60))
    maybe("style_preset", st.sampled_from([*STYLES, "anime"]))
    maybe("variants", st.integers(1, 4))
    return request


@given(requests())
def test_the_check_and_the_sandbox_accept_the_same_jobs(request_body):
    given_job = job(**request_body)
    sent = corrected(given_job, SHIPPED)
    wrong = {field for field, _, is_error in found_in(given_job, styles=STYLES) if is_error}
    answer = read_native(sent, shipped())
    refused = {issue.path[0] for issue in answer.issues} if isinstance(answer, ErrorAnswer) else set()
    # What the API only drops or does not check is a warning here; see the tables above.
    model = SHIPPED.models[given_job.model]
    judged = {"prompt", "quality", "style_preset"}
    judged |= {"resolution"} if model.resolutions else set()
    judged |= {"steps"} if uses_steps(model) else set()
    assert wrong & judged == refused & judged


@given(requests())
def test_a_corrected_request_stays_corrected_and_has_no_other_mistakes(request_body):
    before = job(**request_body)
    after = job(**corrected(before, SHIPPED))
    assert corrected(after, SHIPPED) is after.request
    assert found_in(after, styles=STYLES) == found_in(before, styles=STYLES)


@given(st.integers(1, MAX_SIDE_PX), st.sampled_from([1, 8, 16, 64]))
def test_the_nearest_sizes_are_valid_and_nothing_valid_is_nearer(pixels, divisor):
    found = nearest_sides(pixels, divisor)
    valid = range(divisor, MAX_SIDE_PX + 1, divisor)
    assert found
    assert set(found) <= set(valid)
    assert min(valid, key=lambda side: abs(side - pixels)) in found


def test_a_divisor_beyond_all_sizes_has_no_nearest():
    assert nearest_sides(1000, 5000) == []
    assert pixels_of("1:1", 5000) is None
    known = catalogue(entry(constraints={"widthHeightDivisor": 5000}))
    assert only(job(model="made", width=64), known).endswith("(nearest: none)")


@given(st.integers(1, 160), st.integers(1, 160), st.sampled_from([1, 8, 16]))
def test_pixels_for_a_ratio_are_valid(across, down, divisor):
    found = pixels_of(f"{across}:{down}", divisor)
    if found is None:
        assert max(across / down, down / across) > 16
        return
    for side in found:
        assert 0 < side <= MAX_SIDE_PX
        assert side % divisor == 0


@pytest.mark.parametrize("ratio", ["auto", "1:0", "0:1", "a:b", ":", "", "nan:1", "inf:1", "-1:1"])
def test_a_ratio_without_a_shape_has_no_pixels(ratio):
    assert pixels_of(ratio, 8) is None
    assert nearest_ratio(100, 100, [ratio]) is None
