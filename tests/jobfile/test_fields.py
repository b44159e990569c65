"""The rules of requests against a literal table of the API's description of 2026-08-21 and later publications."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobfile.lines import problems

from venice_batch.jobfile.fields import FIELDS, READ_HERE
from venice_batch.jobfile.request_check import faults
from venice_batch.model import Endpoint

GENERATE, GENERATIONS = Endpoint.GENERATE, Endpoint.GENERATIONS
UPSCALE, EDIT, MULTI_EDIT, REMOVE = Endpoint.UPSCALE, Endpoint.EDIT, Endpoint.MULTI_EDIT, Endpoint.BACKGROUND_REMOVE
MINIMAL = {
    GENERATE: {"model": "m", "prompt": "p"},
    GENERATIONS: {"model": "m", "prompt": "p"},
    UPSCALE: {"image": "a.png"},
    EDIT: {"image": "a.png", "prompt": "p"},
    MULTI_EDIT: {"images": ["a.png"], "prompt": "p"},
    REMOVE: {"image": "a.png"},
}

INTEGERS = [  # endpoint, field, lowest, highest, nullable
    (GENERATE, "width", 1, 1280, False),
    (GENERATE, "height", 1, 1280, False),
    (GENERATE, "lora_strength", 0, 100, False),
    (GENERATE, "variants", 1, 4, False),
    (GENERATE, "seed", -999_999_999, 999_999_999, False),
    (GENERATE, "steps", None, None, False),
    (GENERATIONS, "n", 1, 1, True),
    (GENERATIONS, "output_compression", 0, 100, True),
]
CHOICES = [  # endpoint, field, values, nullable
    (GENERATE, "format", "jpeg png webp", False),
    (GENERATE, "quality", "low medium high", False),
    (GENERATIONS, "background", "transparent opaque auto", True),
    (GENERATIONS, "moderation", "low auto", True),
    (GENERATIONS, "output_format", "jpeg png webp", False),
    (GENERATIONS, "quality", "auto high medium low hd standard", True),
    (GENERATIONS, "response_format", "b64_json url", True),
    (
        GENERATIONS,
        "size",
        "auto 256x256 512x512 1024x1024 1536x1024 1024x1536 1792x1024 1024x1792",
        True,
    ),
    (GENERATIONS, "style", "vivid natural", True),
    (EDIT, "aspect_ratio", "auto 1:1 3:2 16:9 21:9 9:16 2:3 3:4 4:3 4:5", False),
    (EDIT, "output_format", "jpeg jpg png webp", False),
    (MULTI_EDIT, "aspect_ratio", "auto 1:1 3:2 16:9 21:9 9:16 2:3 3:4 4:3 4:5", False),
    (MULTI_EDIT, "output_format", "jpeg jpg png webp", False),
    (MULTI_EDIT, "quality", "low medium high", False),
]
EDIT_BOOLEANS = ["safe_mode", "enhance_prompt", "disable_prompt_optimization_thinking", "transparent_background"]
BOOLEANS = [
    "embed_exif_metadata",
    "hide_watermark",
    "return_binary",
    "safe_mode",
    "enable_web_search",
    "disable_prompt_optimization_thinking",
    "enhance_prompt",
    "transparent_background",
]
TEXTS = [
    (GENERATE, "model", None),
    (GENERATE, "prompt", 32_768),
    (GENERATE, "negative_prompt", 32_768),
    (GENERATE, "style_preset", None),
    (GENERATE, "aspect_ratio", None),
    (GENERATE, "resolution", None),
    (GENERATIONS, "model", None),
    (GENERATIONS, "prompt", 1500),
    (GENERATIONS, "user", None),
    *((endpoint, "prompt", 32_768) for endpoint in (EDIT, MULTI_EDIT)),
    *((endpoint, "model", None) for endpoint in (EDIT, MULTI_EDIT)),
    *((endpoint, "resolution", 10) for endpoint in (EDIT, MULTI_EDIT)),
    (UPSCALE, "image", None),
    (EDIT, "image", None),
    (REMOVE, "image", None),
    *((endpoint, "anon_user_id", None) for endpoint in Endpoint if endpoint is not UPSCALE),
]


def fields_at_fault(endpoint, **fields):
    return [field for field, _ in problems(endpoint, {**MINIMAL[endpoint], **fields})]


def what(endpoint=GENERATE, **fields):
    found = problems(endpoint, {**MINIMAL[endpoint], **fields})
    assert len(found) == 1, found
    return found[0][1]


def test_every_field_of_the_description_is_known_and_no_other():
    named = {endpoint: set() for endpoint in Endpoint}
    for endpoint, field, *_ in (*INTEGERS, *CHOICES, *TEXTS):
        named[endpoint].add(field)
    named[GENERATE] |= {*BOOLEANS, "cfg_scale", "style_references"}
    named[UPSCALE] |= {"scale", "creativity"}
    named[EDIT] |= {*EDIT_BOOLEANS, "modelId"}
    named[MULTI_EDIT] |= {*EDIT_BOOLEANS, "modelId", "images"}
    named[REMOVE] |= {"image_url"}
    assert named == FIELDS


@pytest.mark.parametrize(("endpoint", "field", "low", "high", "nullable"), INTEGERS)
def test_integers_have_the_bounds_of_the_description(endpoint, field, low, high, nullable):
    edges = [0, 10**6] if low is None else [low, high]
    assert not any(fields_at_fault(endpoint, **{field: value}) for value in edges)
    wrong = ["5", True, 1.5, 1e20, [], *([] if low is None else [low - 1, high + 1])]
    assert all(fields_at_fault(endpoint, **{field: value}) == [field] for value in wrong)
    assert fields_at_fault(endpoint, **{field: None}) == ([] if nullable else [field])


@pytest.mark.parametrize(("endpoint", "field", "values", "nullable"), CHOICES)
def test_choices_are_those_of_the_description(endpoint, field, values, nullable):
    assert not any(fields_at_fault(endpoint, **{field: value}) for value in values.split())
    assert all(fields_at_fault(endpoint, **{field: value}) == [field] for value in ("nonsense", "", 1, True))
    assert fields_at_fault(endpoint, **{field: None}) == ([] if nullable else [field])


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        *((GENERATE, field) for field in BOOLEANS),
        *((endpoint, field) for endpoint in (EDIT, MULTI_EDIT) for field in EDIT_BOOLEANS),
    ],
)
def test_booleans_take_true_and_false_only(endpoint, field):
    assert not any(fields_at_fault(endpoint, **{field: value}) for value in (True, False))
    assert all(fields_at_fault(endpoint, **{field: value}) == [field] for value in (1, 0, "true", None))


def test_a_scale_is_any_number_from_2_to_4_and_creativity_any_number():
    assert not any(fields_at_fault(UPSCALE, scale=value) for value in (2, 2.5, 3, 4, 4.0))
    assert what(UPSCALE, scale=5) == "5 is out of range; expected a number from 2 to 4"
    assert all(fields_at_fault(UPSCALE, scale=value) == ["scale"] for value in (1, 1.99, True, "2", None, []))
    assert not any(fields_at_fault(UPSCALE, creativity=value) for value in (0, 0.02, 7, None))
    assert all(fields_at_fault(UPSCALE, creativity=value) == ["creativity"] for value in ("0", True, []))


@pytest.mark.parametrize(
    "picture", ["a.png", "https://example.com/a.png", {"path": "a"}, {"path": "a", "sha256": "0" * 64}]
)
def test_a_picture_is_text_or_a_path_with_its_content(picture):
    assert problems(UPSCALE, {"image": picture}) == []
    assert problems(MULTI_EDIT, {"images": [picture, "b.png"], "prompt": "p"}) == []


@pytest.mark.parametrize(
    ("picture", "field", "reason"),
    [
        ("", "image", "is empty"),
        (7, "image", "7 is a number; expected a string"),
        (None, "image", "null is not allowed here; leave the field out, or give a string"),
        (["a.png"], "image", "this is an array; expected a string"),
        ({}, "image.path", "missing"),
        ({"path": ""}, "image.path", "is empty"),
        ({"path": "a", "sha256": "0"}, "image.sha256", "has 1 characters; at least 64 here"),
        ({"path": "a", "sha256": "0" * 65}, "image.sha256", "has 65 characters; at most 64 here"),
        ({"path": "a", "sha1": "0"}, "image.sha1", "unknown field"),
    ],
)
def test_a_value_that_is_not_a_picture_is_explained(picture, field, reason):
    assert problems(UPSCALE, {"image": picture}) == [(field, reason)]


def test_a_list_of_pictures_holds_one_at_least():
    assert what(MULTI_EDIT, images=[]) == "is empty"
    assert fields_at_fault(MULTI_EDIT, images="a.png") == ["images"]
    assert fields_at_fault(MULTI_EDIT, images=["a.png", 7]) == ["images[1]"]


def test_two_names_of_one_thing_exclude_each_other():
    assert what(EDIT, model="m", modelId="m") == "means the same as model, which is there too; keep one of them"
    assert what(REMOVE, image_url="https://example.com/a.png").startswith("means the same as image,")
    assert problems(REMOVE, {"image_url": "https://example.com/a.png"}) == []


def test_a_field_of_other_endpoints_is_reported_with_their_names():
    assert what(GENERATE, scale=4) == "belongs to /image/upscale; this line goes to /image/generate"
    assert what(GENERATE, image="a.png") == (
        "belongs to /image/upscale, /image/edit, /image/background-remove; this line goes to /image/generate"
    )


@pytest.mark.parametrize(("endpoint", "field", "longest"), TEXTS)
def test_texts_are_strings_up_to_their_length(endpoint, field, longest):
    assert fields_at_fault(endpoint, **{field: "x" * (longest or 100_000)}) == []
    assert all(fields_at_fault(endpoint, **{field: value}) == [field] for value in (1, None, ["x"]))
    if longest:
        assert fields_at_fault(endpoint, **{field: "x" * (longest + 1)}) == [field]


def test_cfg_scale_lies_above_0_and_at_most_20():
    assert not any(fields_at_fault(GENERATE, cfg_scale=value) for value in (0.01, 7, 20))
    assert all(fields_at_fault(GENERATE, cfg_scale=value) for value in (0, 20.1, "7", True, None))


def test_required_fields_are_those_of_the_description():
    assert problems(GENERATE, {}) == [("model", "missing"), ("prompt", "missing")]
    assert problems(GENERATIONS, {}) == [("prompt", "missing"), ("model", "missing")]
    assert problems(UPSCALE, {}) == problems(REMOVE, {}) == [("image", "missing")]
    assert problems(EDIT, {}) == [("image", "missing"), ("prompt", "missing")]
    assert problems(MULTI_EDIT, {}) == [("images", "missing"), ("prompt", "missing")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": "1024"}, "'1024' is a string; expected an integer from 1 to 1280"),
        ({"width": 5000}, "5000 is out of range; expected an integer from 1 to 1280"),
        ({"width": True}, "true is a boolean; expected an integer from 1 to 1280"),
        ({"width": 1024.0}, "1024.0 is not written as an integer; expected an integer from 1 to 1280"),
        ({"seed": 1e20}, "1e+20 is out of range; expected an integer from -999999999 to 999999999"),
        ({"steps": []}, "[] is an array; expected an integer"),
        ({"steps": {"a": 1}}, "this is an object; expected an integer"),
        ({"cfg_scale": 0}, "0 is out of range; expected a number above 0 and at most 20"),
        ({"format": "gif"}, "'gif' is not one of jpeg, png, webp"),
        ({"format": 5}, "5 is a number; expected one of jpeg, png, webp"),
        ({"safe_mode": "no"}, "'no' is a string; expected true or false"),
        ({"safe_mode": None}, "null is not allowed here; leave the field out, or give true or false"),
        ({"style_preset": None}, "null is not allowed here; leave the field out, or give a string"),
        ({"style_references": 1}, "1 is a number; expected an array, each item an object with image, strength"),
        ({"prompt": ""}, "is empty"),
        ({"prompt": " \n\t"}, "is blank"),
        ({"prompt": "x" * 40_000}, "has 40,000 characters; at most 32,768 here"),
        ({"size": "auto"}, "belongs to /images/generations; this line goes to /image/generate"),
        ({"promtp": "x"}, "unknown field; did you mean 'prompt'?"),
        ({"zzz": "x"}, "unknown field"),
        ({"variants": 2, "return_binary": True}, "variants come as JSON only; remove return_binary"),
    ],
)
def test_a_message_names_a_value_that_works(fields, message):
    assert what(**fields) == message


def test_the_only_choice_of_a_number_is_called_so():
    assert what(GENERATIONS, n=2) == "2 is out of range; expected 1 only"


def test_a_native_field_on_the_openai_endpoint_is_sent_home():
    assert what(GENERATIONS, seed=1) == "belongs to /image/generate; this line goes to /images/generations"


def test_inpaint_is_refused_with_the_reason_even_as_null():
    assert "disabled by the API" in what(inpaint=None)
    assert "disabled by the API" in what(inpaint={"mask": "x"})


def test_variants_are_fine_without_binary():
    assert fields_at_fault(GENERATE, variants=2, return_binary=False) == []


def test_style_references_name_the_item_at_fault():
    references = [{"image": "x"}, {"imag": "x", "strength": 2}, "x"]
    found = problems(GENERATE, {**MINIMAL[GENERATE], "style_references": references})
    assert [field for field, _ in found] == [
        "style_references[1].imag",
        "style_references[1].strength",
        "style_references[1].image",
        "style_references[2]",
    ]


def test_all_errors_are_reported_at_once_in_the_order_of_the_request():
    request = {"width": "x", "promt": "p", "height": 0, "variants": 2, "return_binary": True}
    fields = [field for field, _ in problems(GENERATE, request)]
    assert fields == ["width", "promt", "height", "variants", "model", "prompt"]


def test_keys_beside_the_request_are_offered_as_corrections():
    request = {**MINIMAL[GENERATE], "ID": "x"}
    assert problems(GENERATE, request, beside=frozenset({"id"})) == [("ID", "unknown field; did you mean 'id'?")]


def test_lone_surrogates_and_control_characters_never_reach_the_terminal():
    for field, text in problems(GENERATE, {"\ud800\n": 1, "format": "\ud800\x1b", "model": "\udcff", "prompt": "p"}):
        assert f"{field}{text}".isprintable()


def test_long_values_are_cut_in_messages():
    assert len(what(format="x" * 5000)) < 120
    assert all(len(field) < 60 for field in fields_at_fault(GENERATE, **{"y" * 5000: 1}))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
valid_requests = st.fixed_dictionaries(
    {"model": texts, "prompt": texts.filter(lambda text: not text.isspace())},
    optional={
        "negative_prompt": texts,
        "width": st.integers(1, 1280),
        "height": st.integers(1, 1280),
        "seed": st.integers(-999_999_999, 999_999_999),
        "steps": st.integers(1, 50),
        "cfg_scale": st.floats(0.01, 20) | st.integers(1, 20),
        "lora_strength": st.integers(0, 100),
        "format": st.sampled_from(["jpeg", "png", "webp"]),
        "quality": st.sampled_from(["low", "medium", "high"]),
        "variants": st.integers(1, 4),
        "return_binary": st.just(False),
        "style_preset": texts,
        "style_references": st.lists(
            st.fixed_dictionaries({"image": texts}, optional={"strength": st.floats(0.1, 1)}), max_size=2
        ),
        **{field: st.booleans() for field in BOOLEANS if field != "return_binary"},
    },
)


@given(valid_requests)
def test_a_request_that_follows_the_description_is_accepted(request_):
    assert problems(GENERATE, request_) == []
    assert problems(GENERATE, orjson.loads(orjson.dumps(request_))) == []


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["image", "strength", "x"]), inner),
    max_leaves=4,
)


@given(st.sampled_from(list(Endpoint)), st.data())
def test_every_refusal_of_the_fast_check_is_explained(endpoint, data):
    keys = st.sampled_from(sorted(FIELDS[endpoint]))
    request = {**MINIMAL[endpoint], **data.draw(st.dictionaries(keys, anything, max_size=3))}
    # The checker's own words, told with no field, are the sign that no explanation was found.
    assert all(field for field, _ in problems(endpoint, request))


OPEN = [
    {"brand_new": [1, {"a": None}]},
    {"scale": 4},
    {"inpaint": {"mask": "x"}},
    {"format": "avif"},
    {"format": 5},
    {"quality": "ultra"},
    {"width": 1536},
    {"width": 1024.0},
    {"seed": 10**12},
    {"variants": 8},
    {"variants": 4, "return_binary": True},
    {"prompt": "x" * 40_000},
    {"prompt": " "},
    {"safe_mode": "no"},
    {"cfg_scale": 99},
    {"lora_strength": None},
    {"style_references": [{"image": "x", "strength": 2, "weight": 1}]},
]
CLOSED = [
    {"model": 3},
    {"model": ""},
    {"prompt": 3},
    {"prompt": None},
    {"width": "1024"},
    {"quality": 80},
    {"variants": 0},
    {"variants": -1},
    {"variants": 2.5},
    {"variants": True},
    {"style_references": "x"},
    {"style_references": ["x"]},
    {"seed": "7"},
]


@pytest.mark.parametrize("fields", OPEN, ids=str)
def test_a_fault_that_a_server_might_accept_is_open(fields):
    found = faults(GENERATE, {**MINIMAL[GENERATE], **fields})
    assert found
    assert all(fault.is_open for fault in found)


@pytest.mark.parametrize("fields", CLOSED, ids=str)
def test_a_fault_in_a_field_that_the_program_needs_is_not_open(fields):
    (fault,) = faults(GENERATE, {**MINIMAL[GENERATE], **fields})
    assert not fault.is_open


def test_pictures_and_names_of_models_have_to_be_as_known():
    for request in ({"image": {"path": "a", "sha1": "0"}}, {"image": 7}, {"image": ""}, {}):
        assert not any(fault.is_open for fault in faults(UPSCALE, request))
    both = {**MINIMAL[EDIT], "model": "m", "modelId": "m"}
    assert [fault.is_open for fault in faults(EDIT, both)] == [False]
    assert [fault.is_open for fault in faults(REMOVE, {})] == [False]
    assert [(fault.field, fault.is_open) for fault in faults(GENERATIONS, {})] == [("prompt", True), ("model", True)]


def test_every_field_that_the_program_reads_is_one_of_an_endpoint():
    assert set().union(*FIELDS.values()) >= READ_HERE
