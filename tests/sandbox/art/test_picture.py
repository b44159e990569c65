import io
import itertools
import random
from dataclasses import replace

import pytest
from PIL import Image

from venice_batch.sandbox.art import hints
from venice_batch.sandbox.art.picture import _SCENES, Sketch, draw
from venice_batch.sandbox.catalogue import STYLES

BASE = Sketch(model_id="m", prompt="a canal at night", seed=1, style="", width=160, height=128, format="png")
PROMPTS = {
    "hills": "mountains at dawn",
    "sea": "sea at dawn",
    "forest": "forest in winter",
    "fronds": "fern",
    "bloom": "rose at night",
    "city": "city at night",
    "canal": "gondola at night",
    "still": "vase",
    "bauhaus": "poster",
    "ribbons": "silk",
    "mosaic": "glass",
    "planet": "planet",
}


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("kind", ["webp", "png", "jpeg"])
@pytest.mark.parametrize("look", ["art", "plain"])
def test_size_and_format_are_exact(kind, look):
    image = opened(draw(replace(BASE, format=kind, draw=look, width=200, height=72)))
    assert (image.format, image.size) == (kind.upper(), (200, 72))


@pytest.mark.parametrize("size", [(1, 1), (8, 1280), (1280, 16)])
def test_extreme_sizes_can_be_drawn(size):
    image = opened(draw(replace(BASE, width=size[0], height=size[1], style="Lowpoly")))
    assert image.size == size


def test_large_images_have_the_exact_size():
    image = opened(draw(replace(BASE, width=2048, height=1152, format="jpeg", style="Line Art")))
    assert image.size == (2048, 1152)


@pytest.mark.parametrize("scene", sorted(_SCENES))
@pytest.mark.parametrize("seed", [1, 2])
def test_each_motif_is_suggested_by_a_word_and_drawn_the_same_each_time(scene, seed):

    assert hints.motif(PROMPTS[scene], random.Random(0)) == scene
    sketch = replace(BASE, prompt=PROMPTS[scene], seed=seed)
    first = draw(sketch)
    assert first == draw(sketch)
    assert len(opened(first).convert("RGB").getcolors(1 << 20)) > 200


def test_a_city_by_day_is_drawn():
    assert opened(draw(replace(BASE, prompt="city at noon"))).size == (160, 128)


@pytest.mark.parametrize("change", [{"seed": 2}, {"model_id": "n"}, {"prompt": "another canal at night"}])
def test_seed_model_and_prompt_change_the_image(change):
    assert draw(BASE) != draw(replace(BASE, **change))


def test_every_style_is_visible():
    plain = draw(replace(BASE, width=96, height=95))
    styled = {style: draw(replace(BASE, width=96, height=95, style=style)) for style in STYLES}
    assert plain not in styled.values()


def test_without_a_known_word_the_motif_is_random():

    found = {hints.motif("zzz", random.Random(seed)) for seed in range(60)}
    assert len(found) > 5


def test_blurred_images_have_little_detail():
    sharp, blurred = opened(draw(BASE)), opened(draw(replace(BASE, blurred=True)))

    def detail(image):
        row = [image.convert("L").getpixel((x, 60)) for x in range(160)]
        return sum(abs(a - b) for a, b in itertools.pairwise(row))

    assert detail(blurred) * 2 < detail(sharp)


@pytest.mark.parametrize("kind", ["webp", "png", "jpeg"])
def test_the_prompt_is_embedded_on_request(kind):
    with_exif = opened(draw(replace(BASE, format=kind, metadata=True))).getexif()
    assert with_exif[0x010E] == "a canal at night"
    assert not opened(draw(replace(BASE, format=kind))).getexif()


@pytest.mark.parametrize("prompt", ["x" * 5000, "雪の運河 \n\t\x00 🎭", " "])
def test_any_prompt_can_be_captioned(prompt):
    assert opened(draw(replace(BASE, prompt=prompt, metadata=True))).size == (160, 128)
