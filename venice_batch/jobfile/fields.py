"""The request fields of the image endpoints, as this version knows them: types and limits, defaults, descriptions.

Sources: the API's OpenAPI description of 2026-08-21; for newer fields, Venice's published agent skills of 2026-10-02
and the guide on transparent backgrounds (docs.venice.ai, autumn 2026).

The structs only serve as rules. A request stays the dict that the line holds, so that nothing the user wrote is
rounded, reordered or filled in on its way to the API.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from venice_batch.model import UNNAMED, Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Note(NamedTuple):
    """A field's description, with example values where its type does not list any."""

    text: str
    examples: tuple[Any, ...] = ()


NOTES: Mapping[str, Note] = MappingProxyType(
    {
        "model": Note("The model, by its id or a trait; `venice-batch models` lists them.", ("venice-sd35",)),
        "modelId": Note("The old name of `model`."),
        "prompt": Note("What the image should show, or how it should be changed.", ("A gondola at blue hour",)),
        "negative_prompt": Note(
            "What the image should not show, for the few models that use it.", ("blurry, text, watermark",)
        ),
        "width": Note("Width in pixels, for models sized by pixels: a multiple of the model's divisor.", (1024,)),
        "height": Note("Height in pixels, for models sized by pixels: a multiple of the model's divisor.", (1024,)),
        "aspect_ratio": Note("Width to height, for models sized by ratio.", ("1:1", "16:9", "9:16")),
        "resolution": Note("Size tier, for models that have tiers.", ("1K", "2K", "4K")),
        "format": Note("Format of the image."),
        "quality": Note("Quality, for models that offer several; a higher one may cost more."),
        "variants": Note(
            "How many images to make of the request, each at the price of an image; not with `return_binary`.", (4,)
        ),
        "return_binary": Note("How the image travels; by default --response decides. Not part of the job's identity."),
        "seed": Note(
            "The same seed makes the same image again; with several `variants`, the first of them. See --seed-policy.",
            (42,),
        ),
        "steps": Note("Inference steps, for the few models that use them.", (20,)),
        "cfg_scale": Note("How closely to follow the prompt.", (7.5,)),
        "lora_strength": Note("Strength of the model's own LoRAs, in percent.", (50,)),
        "style_preset": Note("A style by its name; `venice-batch styles` lists them.", ("Anime", "Cinematic")),
        "style_references": Note("Images that guide the style, for models that take them."),
        "safe_mode": Note("Blur images that are classified as adult content."),
        "hide_watermark": Note("Leave the watermark out; the API may ignore it."),
        "embed_exif_metadata": Note("Write how the image was made into its EXIF data."),
        "enhance_prompt": Note("Have the prompt rewritten first; costs 0.04 USD if it is rewritten."),
        "enable_web_search": Note("Let the model look things up, if it can."),
        "disable_prompt_optimization_thinking": Note("Skip the model's thinking about the prompt; faster."),
        "transparent_background": Note("Make the background transparent, for models that can; png or webp only."),
        "anon_user_id": Note("An anonymous name for the person the request is made for."),
        "background": Note("`transparent` makes the background transparent, for models that can; png or webp only."),
        "moderation": Note("`auto` blurs images that are classified as adult content, `low` does not."),
        "n": Note("Number of images: always one."),
        "output_compression": Note("Accepted for OpenAI clients; not used."),
        "output_format": Note("Format of the image."),
        "response_format": Note("How the image travels; `url` is a data URL."),
        "size": Note("Width and height of the image."),
        "style": Note("Accepted for OpenAI clients; not used."),
        "user": Note("A name for the end user; the API's error budget counts by it."),
        "image": Note(
            "The picture to work on: a path, a URL, base64, or another job's image.", ("photos/harbour.jpg",)
        ),
        "images": Note(
            "The picture to edit, then the pictures to edit it with: paths, URLs, base64, or other jobs' images."
        ),
        "image_url": Note("The picture's address, instead of `image`.", ("https://example.com/harbour.jpg",)),
        "scale": Note(
            "How many times wider and higher, from 2 to 4; above 2 it is reduced to the largest possible size.",
            (2, 4),
        ),
        "creativity": Note("How much detail to add, from 0 to 0.02.", (0.01,)),
    }
)
"""A note on every field that some endpoint takes."""

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
"""The API's documented defaults, by endpoint and field."""


# The description says 7,500, but some models of the published list accept 32,768 (`promptCharacterLimit`). The
# catalogue checks the limit of a line's own model; longer prompts than this are accepted by no model.
MAX_PROMPT = 32_768
MAX_SEED = 999_999_999

Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT)]
# The description sets no minimum length, but no model is called "", and a lane needs a name.
Model = Annotated[str, Meta(min_length=1)]
Pixels = Annotated[int, Meta(gt=0, le=1280)]
ImageFormat = Literal["jpeg", "png", "webp"]
EditRatio = Literal["auto", "1:1", "3:2", "16:9", "21:9", "9:16", "2:3", "3:4", "4:3", "4:5"]
# The description's text accepts jpg, which its list of values lacks.
EditFormat = Literal["jpeg", "jpg", "png", "webp"]
Tier = Annotated[str, Meta(min_length=1, max_length=10)]
Size = Literal["auto", "256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792"]


class StyleReference(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One image of `style_references`: base64, a data URI or a URL."""

    image: Annotated[str, Meta(min_length=1)]
    strength: Annotated[float, Meta(ge=0.1, le=1)] | UnsetType = UNSET


class NamedPicture(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A picture in a file, as records write it, or the image of another `job` in the same jobs file.

    With `sha256` the file has to have that content. `variant` counts the job's images from 1; `pick` waits until one of
    them is marked as picked.
    """

    path: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    sha256: Annotated[str, Meta(min_length=64, max_length=64)] | UnsetType = UNSET
    job: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    variant: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    pick: bool | UnsetType = UNSET


# As text: a path, a file:// or http(s):// URL, a data URL, or base64; see `pictures`.
Picture = Annotated[str, Meta(min_length=1)] | NamedPicture


class GenerateRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`GenerateImageRequest`, the body of `/image/generate`; `inpaint`, disabled since 2025, is left out."""

    model: Model
    prompt: Prompt
    negative_prompt: Annotated[str, Meta(max_length=MAX_PROMPT)] | UnsetType = UNSET
    width: Pixels | UnsetType = UNSET
    height: Pixels | UnsetType = UNSET
    aspect_ratio: str | UnsetType = UNSET
    resolution: str | UnsetType = UNSET
    format: ImageFormat | UnsetType = UNSET
    quality: Literal["low", "medium", "high"] | UnsetType = UNSET
    variants: Annotated[int, Meta(ge=1, le=4)] | UnsetType = UNSET
    return_binary: bool | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=-MAX_SEED, le=MAX_SEED)] | UnsetType = UNSET
    steps: int | UnsetType = UNSET
    cfg_scale: Annotated[float, Meta(gt=0, le=20)] | UnsetType = UNSET
    lora_strength: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    style_preset: str | UnsetType = UNSET
    style_references: list[StyleReference] | UnsetType = UNSET
    safe_mode: bool | UnsetType = UNSET
    hide_watermark: bool | UnsetType = UNSET
    embed_exif_metadata: bool | UnsetType = UNSET
    enhance_prompt: bool | UnsetType = UNSET
    enable_web_search: bool | UnsetType = UNSET
    disable_prompt_optimization_thinking: bool | UnsetType = UNSET
    transparent_background: bool | UnsetType = UNSET
    anon_user_id: str | UnsetType = UNSET


class GenerationsRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`SimpleGenerateImageRequest`, the body of the OpenAI-compatible `/images/generations`."""

    prompt: Annotated[str, Meta(min_length=1, max_length=1500)]
    model: Model
    background: Literal["transparent", "opaque", "auto"] | UnsetType | None = UNSET
    moderation: Literal["low", "auto"] | UnsetType | None = UNSET
    n: Annotated[int, Meta(ge=1, le=1)] | UnsetType | None = UNSET
    output_compression: Annotated[int, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    output_format: ImageFormat | UnsetType = UNSET
    quality: Literal["auto", "high", "medium", "low", "hd", "standard"] | UnsetType | None = UNSET
    response_format: Literal["b64_json", "url"] | UnsetType | None = UNSET
    size: Size | UnsetType | None = UNSET
    style: Literal["vivid", "natural"] | UnsetType | None = UNSET
    user: str | UnsetType = UNSET
    anon_user_id: str | UnsetType = UNSET


class UpscaleRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`UpscaleImageRequest`, the body of `/image/upscale`, which ignores any other field."""

    image: Picture
    scale: Annotated[float, Meta(ge=2, le=4)] | UnsetType = UNSET
    creativity: float | UnsetType | None = UNSET


class EditRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`EditImageRequest`, the body of `/image/edit`; `modelId` is the old name of `model`."""

    image: Picture
    prompt: Prompt
    model: Model | UnsetType = UNSET
    modelId: Model | UnsetType = UNSET  # noqa: N815 - the API's own name
    aspect_ratio: EditRatio | UnsetType = UNSET
    resolution: Tier | UnsetType = UNSET
    output_format: EditFormat | UnsetType = UNSET
    safe_mode: bool | UnsetType = UNSET
    enhance_prompt: bool | UnsetType = UNSET
    disable_prompt_optimization_thinking: bool | UnsetType = UNSET
    transparent_background: bool | UnsetType = UNSET
    anon_user_id: str | UnsetType = UNSET


class MultiEditRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`MultiEditImageRequest`, the body of `/image/multi-edit`; a `model` travels there as `modelId`."""

    images: Annotated[list[Picture], Meta(min_length=1)]
    prompt: Prompt
    model: Model | UnsetType = UNSET
    modelId: Model | UnsetType = UNSET  # noqa: N815 - the API's own name
    aspect_ratio: EditRatio | UnsetType = UNSET
    resolution: Tier | UnsetType = UNSET
    quality: Literal["low", "medium", "high"] | UnsetType = UNSET
    output_format: EditFormat | UnsetType = UNSET
    safe_mode: bool | UnsetType = UNSET
    enhance_prompt: bool | UnsetType = UNSET
    disable_prompt_optimization_thinking: bool | UnsetType = UNSET
    transparent_background: bool | UnsetType = UNSET
    anon_user_id: str | UnsetType = UNSET


class BackgroundRemoveRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """`BackgroundRemoveImageRequest`, the body of `/image/background-remove`: one of the two fields."""

    image: Picture | UnsetType = UNSET
    image_url: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    anon_user_id: str | UnsetType = UNSET


REQUESTS: Mapping[Endpoint, type[msgspec.Struct]] = MappingProxyType(
    {
        Endpoint.GENERATE: GenerateRequest,
        Endpoint.GENERATIONS: GenerationsRequest,
        Endpoint.UPSCALE: UpscaleRequest,
        Endpoint.EDIT: EditRequest,
        Endpoint.MULTI_EDIT: MultiEditRequest,
        Endpoint.BACKGROUND_REMOVE: BackgroundRemoveRequest,
    }
)
"""The rules of each endpoint's body."""

FIELDS: Mapping[Endpoint, frozenset[str]] = MappingProxyType(
    {endpoint: frozenset(rules.__struct_fields__) for endpoint, rules in REQUESTS.items()}
)
"""The fields that each endpoint takes."""

RESERVED = frozenset({"id", "endpoint", "metadata", "matrix", "vars", "parent"})
"""Keys of a native line that are not fields of the request."""

ALTERNATIVES = (("model", "modelId"), ("image", "image_url"))
"""Pairs of names for one thing; a request has at most one of them."""

READ_HERE = frozenset(
    {
        "model",
        "modelId",
        "prompt",
        "negative_prompt",
        "width",
        "height",
        "aspect_ratio",
        "resolution",
        "quality",
        "variants",
        "return_binary",
        "seed",
        "steps",
        "style_preset",
        "style_references",
        "enhance_prompt",
        "image",
        "images",
        "image_url",
        "scale",
        "creativity",
    }
)
"""Fields that lanes, prices, checks and uploads depend on: a value of the wrong type is never let through."""


class Fault(NamedTuple):
    """One thing wrong with a field. `is_open`: a server might accept it, so --allow-unknown lets it pass."""

    field: str
    what: str
    is_open: bool


def cross_field(request: Mapping[str, Any]) -> list[Fault]:
    """Return the faults that types cannot express: blank prompts, fields that exclude each other."""
    found = []
    prompt = request.get("prompt")
    if isinstance(prompt, str) and prompt.isspace():
        found.append(Fault("prompt", "is blank", is_open=True))
    # Published page: `variants` is only supported when `return_binary` is false.
    if "variants" in request and request.get("return_binary") is True:
        found.append(Fault("variants", "variants come as JSON only; remove return_binary", is_open=True))
    for name, other in ALTERNATIVES:
        if other in request and name in request:
            what = f"means the same as {name}, which is there too; keep one of them"
            found.append(Fault(other, what, is_open=False))
    if "image" in request or "images" in request:
        found += _named_pictures(request)
    return found


def _named_pictures(request: Mapping[str, Any]) -> Iterator[Fault]:
    pictures = request.get("images")
    named = [("image", request.get("image"))]
    named += [(f"images[{number}]", one) for number, one in enumerate(pictures if isinstance(pictures, list) else ())]
    for field, picture in named:
        if isinstance(picture, dict):
            yield from _named_picture(field, picture)


def _named_picture(field: str, picture: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of an object that names a picture: it has a `path` or a `job`, and what belongs to that."""
    if "job" not in picture:
        others = [name for name in ("variant", "pick") if name in picture]
        found = [] if "path" in picture or others else [(f"{field}.path", "missing")]
        found += [(f"{field}.{name}", "belongs to a job, which is missing") for name in others]
    else:
        found = [
            (f"{field}.{name}", "belongs to a file; a job's image has none of it; keep one of them")
            for name in ("path", "sha256")
            if name in picture
        ]
        if picture.get("pick") is True and "variant" in picture:
            found.append((f"{field}.variant", "pick decides which image it is; keep one of them"))
    return [Fault(name, what, is_open=False) for name, what in found]
