"""Recipes: written into images and read back, with the pixels as they were."""

import hashlib
import xml.etree.ElementTree as ET
from io import BytesIO

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from records import IMAGE, outcome

from venice_batch.errors import EmbedError
from venice_batch.model import Endpoint, Parent
from venice_batch.report.export.image_text import Texts, read_texts, with_texts
from venice_batch.report.export.recipe import Embedder, Recipe, embedded, read
from venice_batch.report.jobs_from import ParentWords

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True, "icc_profile": PROFILE}),
    "webp": ("WEBP", {}),
    "lossless": ("WEBP", {"lossless": True}),
    "alpha": ("WEBP", {"lossless": True}),
}  # fmt: skip
FULL = Recipe(
    {
        "model": "venice-sd35",
        "prompt": 'a cat, "ünï" 猫 <b>&amp;\nNegative prompt: no\nSteps: 1, Seed: 2, Size: 3x4',
        "negative_prompt": "blurry\n",
        "seed": 42,
        "steps": 20,
        "cfg_scale": 7.0,
        "style_preset": "Anime",
    },
    "cat: 7, again",
    model="venice-sd35",
    size=(64, 48),
)
STYLES = ["a1111", "xmp"]


def image(name="png", size=(64, 48)):
    kind, options = FORMATS[name]
    data = BytesIO()
    noise = Image.effect_noise(size, 60)
    (Image.merge("RGBA", [noise] * 4) if name == "alpha" else noise.convert("RGB")).save(data, kind, **options)
    return data.getvalue()


def pixels(data):
    with Image.open(BytesIO(data)) as opened:
        return hashlib.sha256(opened.tobytes()).digest(), opened.size, opened.mode, opened.info.get("icc_profile")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_recipe_is_read_back_and_the_pixels_stay(name, style):
    before = image(name)
    after = embedded(before, FULL, style)
    assert read(after) == FULL
    assert pixels(after) == pixels(before)
    assert read(before) is None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_second_recipe_takes_the_place_of_the_first(name, style):
    other = Recipe({"prompt": "a dog"}, "dog")
    before = image(name)
    again = embedded(embedded(before, FULL, style), other, style)
    assert read(again) == other
    assert pixels(again) == pixels(before)


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=20), st.integers(0, 2**53), st.floats(-1e6, 1e6))
@example("\0", "\r\n", "\x0b", 0, 7.0)
@example("Negative prompt: a\nSteps: 1, Seed: 2, CFG scale: 3", "", "", 1, 0.5)
@example("", "Negative prompt:", '"', 1, 1e-5)
@example("]]>&#13;\ufffe", '\\"', "a:b", 1, 1e300)
def test_any_recipe_is_read_back(style, prompt, negative, name, seed, scale):
    fields = {"prompt": prompt, "negative_prompt": negative, "seed": seed, "cfg_scale": scale, "style_preset": name}
    recipe = Recipe(fields, name, Endpoint.GENERATE, model=name or "m", size=(1, 2))
    for made in (image("png", (4, 4)), image("jpeg", (8, 8)), image("webp", (4, 4))):
        assert read(embedded(made, recipe, style)) == recipe


def test_a1111_finds_its_parameters_where_it_looks_for_them():
    with Image.open(BytesIO(embedded(image("png"), FULL, "a1111"))) as opened:
        text = opened.text["parameters"]
    assert text.startswith('a cat, "ünï" 猫')
    last = text.split("\n")[-1]
    assert last.startswith(
        "Steps: 20, CFG scale: 7.0, Seed: 42, Size: 64x48, Model: venice-sd35, Version: venice-batch"
    )
    for name in ("jpeg", "webp"):
        with Image.open(BytesIO(embedded(image(name), FULL, "a1111"))) as opened:
            comment = opened.getexif().get_ifd(0x8769)[0x9286]
        assert comment[:8] == b"UNICODE\0"
        assert comment[8:].decode("utf-16-be") == text


def test_other_programs_can_show_the_xmp():
    for name in ("png", "jpeg", "webp"):
        with Image.open(BytesIO(embedded(image(name), Recipe({"prompt": "a < b"}, "c", model="m"), "xmp"))) as opened:
            packet = ET.fromstring(opened.info["xmp"])
        found = {each.tag.rpartition("}")[2]: "".join(each.itertext()) for each in packet.iter()}
        assert found["description"] == found["AIPromptInformation"] == "a < b"
        assert found["AISystemUsed"] == "m"
        assert found["CreatorTool"].startswith("venice-batch ")
        assert found["DigitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")


def test_the_digital_source_type_says_how_an_image_came_about():
    cases = {
        "trainedAlgorithmicMedia": outcome(),
        "algorithmicMedia": outcome(sandbox=True),
        "algorithmicallyEnhanced": outcome(endpoint=Endpoint.UPSCALE),
        "compositeWithTrainedAlgorithmicMedia": outcome(endpoint=Endpoint.EDIT),
    }
    for term, record in cases.items():
        recipe = Recipe.of(record, IMAGE, 1)
        assert recipe.source_type == term
        for style in STYLES:
            assert f"/digitalsourcetype/{term}<".encode() in embedded(image(), recipe, style)
    derived = outcome(endpoint=Endpoint.UPSCALE, parent=Parent("a", "0" * 64, 1))
    assert Recipe.of(derived, IMAGE, 1).source_type == "trainedAlgorithmicMedia"


def test_a_recipe_holds_no_files_and_no_persons():
    request = {
        "prompt": "p", "image": {"path": "/home/me/x.png"}, "anon_user_id": "me", "return_binary": True, "seed": 3,
        "variants": 2,
    }  # fmt: skip
    record = outcome("a", request=request, endpoint=Endpoint.EDIT, files=(IMAGE, IMAGE))
    first, second = (Recipe.of(record, IMAGE, number) for number in (1, 2))
    assert first.fields == {"prompt": "p", "seed": 3}
    assert second.fields == {"prompt": "p"}, "only the first image is made with the seed"
    assert first.has_picture
    assert Recipe.of(record, msgspec.structs.replace(IMAGE, width=None), 1).size is None
    for style in STYLES:
        assert b"/home/me" not in embedded(image(), first, style)


def test_a_file_that_names_files_of_this_machine_is_not_believed():
    hostile = Recipe({"prompt": "p", "image": {"path": "/etc/passwd"}, "matrix": {"seed": [1]}, "id": "x"}, "a")
    for style in STYLES:
        assert read(embedded(image(), hostile, style)) == Recipe({"prompt": "p"}, "x")


@pytest.mark.parametrize("job", ['{"endpoint": "/nowhere"}', "[1]", "nonsense", '{"id": 7}', "[" * 100_000])
def test_a_damaged_job_is_passed_over(job):
    packet = read_texts(BytesIO(embedded(image(), Recipe({}, "a"), "xmp"))).xmp
    begin, end = packet.index(b">", packet.index(b"<venice:job")) + 1, packet.index(b"</venice:job>")
    packet = packet[:begin] + job.encode() + packet[end:]
    recipe = read(with_texts(image(), Texts(xmp=packet)))
    assert recipe is None or recipe.id == ""


def test_a_format_without_a_place_for_texts_is_refused():
    data = BytesIO()
    Image.new("RGB", (8, 8)).save(data, "GIF")
    for style in STYLES:
        with pytest.raises(EmbedError, match="GIF has no place for a recipe"):
            embedded(data.getvalue(), FULL, style)
    with pytest.raises(EmbedError, match="UNKNOWN has no place"):
        embedded(b"hello", FULL, "xmp")
    assert read(data.getvalue()) is None


def test_a_prompt_too_long_for_jpeg_is_refused():
    long = Recipe({"prompt": "ab" * 30_000}, "a")
    for style in STYLES:
        with pytest.raises(EmbedError, match="too long for JPEG"):
            embedded(image("jpeg"), long, style)
        assert read(embedded(image("webp"), long, style)) == long


def test_an_image_made_from_another_carries_its_words():
    parent = outcome("cat", request={"prompt": "a cat"})
    child = outcome("big", request={"scale": 2}, endpoint=Endpoint.UPSCALE, parent=Parent("cat", "0" * 64, 1))
    made = Embedder("xmp", ParentWords([parent, child]))(image(), child, IMAGE, 1)
    assert b">a cat<" in made
    assert read(made) == Recipe({"scale": 2}, "big", Endpoint.UPSCALE)
    made = Embedder("a1111", ParentWords([parent, child]))(image(), child, IMAGE, 1)
    assert read_texts(BytesIO(made)).parameters.startswith("a cat\n")
    assert read(made) == Recipe({"scale": 2}, "big", Endpoint.UPSCALE)


def test_settings_without_a_prompt_are_a_recipe():
    text = "Steps: 1, Seed: 2, Sampler: x"
    assert read(with_texts(image(), Texts(parameters=text))) == Recipe(
        {"steps": 1, "seed": 2}, others={"Sampler": "x"}, is_ours=False
    )
    assert read(with_texts(image(), Texts(parameters=" "))) is None
