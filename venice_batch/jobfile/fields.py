"""The request fields of the image endpoints, as this version knows them.

Sources: the API's OpenAPI description of 2026-08-21; for what came since, Venice's published agent skills of
2026-10-02 and the guide on transparent backgrounds (docs.venice.ai, autumn 2026).

The structs serve as rules only: a request stays the dict that the line holds, so that nothing the user
wrote is rounded, reordered or filled in on its way to the API.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from venice_batch.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# The description says 7,500, some models of the published list accept 32,768 (`promptCharacterLimit`).
# The limit of a line's own model is the catalogue's to check; here stands what no model accepts.
MAX_PROMPT = 32_768
MAX_SEED = 999_999_999

Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT)]
# An empty name is no lane. The description sets no minimum, yet no model is called "".
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


class LocalPicture(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A picture in a file; with `sha256` the file has to have that content. A record writes its pictures so."""

    path: Annotated[str, Meta(min_length=1)]
    sha256: Annotated[str, Meta(min_length=64, max_length=64)] | UnsetType = UNSET


# As text: a path, a file:// or http(s):// URL, a data URL, or base64; see `pictures`.
Picture = Annotated[str, Meta(min_length=1)] | LocalPicture


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

ALTERNATIVES = (("model", "modelId"), ("image", "image_url"))
"""Two names of one thing, of which a request has one at most."""

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
"""Fields that lanes, prices, checks and uploads are reckoned by: a value of another type than theirs is no job."""


class Fault(NamedTuple):
    """What is wrong with a field. `is_open`: the server could think otherwise, so that an option lets it pass."""

    field: str
    what: str
    is_open: bool


def problems(endpoint: Endpoint, request: dict[str, Any], *, beside: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return all that is wrong with a request as (field, what) pairs, in the request's order; [] if nothing.

    A field that is missing comes last. `beside` names the keys that may stand beside the request's
    fields where the user wrote it; they take part in "did you mean".
    """
    return [(fault.field, fault.what) for fault in faults(endpoint, request, beside=beside)]


def faults(endpoint: Endpoint, request: dict[str, Any], *, beside: Collection[str] = ()) -> list[Fault]:
    """Return what `problems` does, each with the word whether the server could think otherwise."""
    try:
        msgspec.convert(request, REQUESTS[endpoint])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        # Imported late: a file without mistakes never needs the words for them.
        from venice_batch.jobfile.explain import explain

        found = explain(endpoint, request, beside)
        # Should the two ever disagree, the checker's own words are better than a pass.
        return found or [Fault("", str(error), is_open=False)]
    found = cross_field(request)
    if endpoint is Endpoint.BACKGROUND_REMOVE and not request.keys() & {"image", "image_url"}:
        found.append(Fault("image", "missing", is_open=False))
    return found


def cross_field(request: Mapping[str, Any]) -> list[Fault]:
    """Return what the types cannot say: blank prompts, fields that exclude each other."""
    found = []
    prompt = request.get("prompt")
    if isinstance(prompt, str) and prompt.isspace():
        found.append(Fault("prompt", "is blank", is_open=True))
    # Published page: `variants` is only supported when `return_binary` is false.
    if "variants" in request and request.get("return_binary") is True:
        found.append(Fault("variants", "variants come as JSON only; remove return_binary", is_open=True))
    for name, other in ALTERNATIVES:
        if other in request and name in request:
            what = f"stands beside {name}, which says the same; keep one of them"
            found.append(Fault(other, what, is_open=False))
    return found
