"""What each field is for, in a sentence; sources as in `fields`."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from venice_batch.model import UNNAMED, Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping


class Note(NamedTuple):
    """A field in words, with values that serve as examples where its type lists none."""

    text: str
    examples: tuple[Any, ...] = ()


NOTES: Mapping[str, Note] = MappingProxyType(
    {
        "model": Note("The model, by its id or a trait; `venice-batch models` lists them.", ("venice-sd35",)),
        "modelId": Note("The old name of `model`."),
        "prompt": Note("What the image is to show, or how it is to be changed.", ("A gondola at blue hour",)),
        "negative_prompt": Note(
            "What the image is not to show, for the few models that use it.", ("blurry, text, watermark",)
        ),
        "width": Note("Width in pixels, for models sized by pixels: a multiple of the model's divisor.", (1024,)),
        "height": Note("Height in pixels, for models sized by pixels: a multiple of the model's divisor.", (1024,)),
        "aspect_ratio": Note("Width to height, for models sized by ratio.", ("1:1", "16:9", "9:16")),
        "resolution": Note("Size tier, for models that have tiers.", ("1K", "2K", "4K")),
        "format": Note("Format of the image."),
        "quality": Note("Effort, for models that have qualities; a higher one may cost more."),
        "variants": Note(
            "How many images to make of the request, each at the image's price; not beside `return_binary`.", (4,)
        ),
        "return_binary": Note("How the image travels; left out, --response decides. Part of no job's identity."),
        "seed": Note(
            "The same seed makes the same image again; of several `variants` the first. See --seed-policy.",
            (42,),
        ),
        "steps": Note("Inference steps, for the few models that use them.", (20,)),
        "cfg_scale": Note("How closely to follow the prompt.", (7.5,)),
        "lora_strength": Note("Strength of the model's own LoRAs, in percent.", (50,)),
        "style_preset": Note("A style by its name; `venice-batch styles` lists them.", ("Anime", "Cinematic")),
        "style_references": Note("Images that guide the style, for models that take them."),
        "safe_mode": Note("Blur what is taken for adult content."),
        "hide_watermark": Note("Leave the watermark out; the API may ignore it."),
        "embed_exif_metadata": Note("Write how the image was made into its EXIF data."),
        "enhance_prompt": Note("Have the prompt rewritten first, for 0.04 USD where it is."),
        "enable_web_search": Note("Let the model look things up, if it can."),
        "disable_prompt_optimization_thinking": Note("Skip the model's thinking about the prompt, which is faster."),
        "transparent_background": Note("Make the background transparent, for models that can; png or webp only."),
        "anon_user_id": Note("An anonymous name for the person on whose behalf the request is made."),
        "background": Note("`transparent` makes the background transparent, for models that can; png or webp only."),
        "moderation": Note("`auto` blurs what is taken for adult content, `low` does not."),
        "n": Note("Number of images: one."),
        "output_compression": Note("Taken for the sake of OpenAI clients; not used."),
        "output_format": Note("Format of the image."),
        "response_format": Note("How the image travels; `url` is a data URL."),
        "size": Note("Width and height of the image."),
        "style": Note("Taken for the sake of OpenAI clients; not used."),
        "user": Note("A name for the end user; the API's error budget counts by it."),
        "image": Note("The picture to work on: a path, a URL, or base64.", ("photos/harbour.jpg",)),
        "images": Note("The picture to edit, then those to edit it with: paths, URLs, or base64."),
        "image_url": Note("The picture's address, in place of `image`.", ("https://example.com/harbour.jpg",)),
        "scale": Note(
            "How many times wider and higher, from 2 to 4; above 2 it gives way to the largest size there is.",
            (2, 4),
        ),
        "creativity": Note("How much detail to add, from 0 to 0.02.", (0.01,)),
    }
)
"""Of every field that some endpoint takes."""

DEFAULTS: Mapping[Endpoint, Mapping[str, Any]] = MappingProxyType(
    {
        Endpoint.GENERATE: {
            "width": 1024,
            "height": 1024,
            "format": "webp",
            "variants": 1,
            "safe_mode": True,
            "hide_watermark": False,
            "embed_exif_metadata": False,
            "enhance_prompt": False,
        },
        Endpoint.GENERATIONS: {
            "background": "auto",
            "moderation": "auto",
            "n": 1,
            "output_compression": 100,
            "output_format": "png",
            "quality": "auto",
            "response_format": "b64_json",
            "size": "auto",
            "style": "natural",
        },
        Endpoint.UPSCALE: {"scale": 2, "creativity": 0.01},
        Endpoint.EDIT: {
            "model": UNNAMED[Endpoint.EDIT],
            "resolution": "1K",
            "safe_mode": True,
            "enhance_prompt": False,
        },
        Endpoint.MULTI_EDIT: {
            "model": UNNAMED[Endpoint.MULTI_EDIT],
            "resolution": "1K",
            "safe_mode": True,
            "enhance_prompt": False,
        },
    }
)
"""What the API documents as its own choice where a request to the endpoint lacks the field."""
