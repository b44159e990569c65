"""Read and validate requests to the four endpoints that change images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from venice_batch.sandbox.catalogue import image_micro_usd, micro_usd
from venice_batch.sandbox.errors import ErrorAnswer, Issue, invalid, retired
from venice_batch.sandbox.generate import NEW_FIELDS
from venice_batch.sandbox.request import EditRequest, closest_ratio, enhanced, pixels, upscaled
from venice_batch.sandbox.validation import Field, check, transparency_issues, type_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from PIL.Image import Image

    from venice_batch.sandbox.catalogue import EditCatalogue, EditModel
    from venice_batch.sandbox.request import Format, Operation
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.settings import SandboxSettings

    OpenImage = Callable[[object, bool], Awaitable[Image | str]]
    """Opens the image that a field gives, from a URL only if the flag allows it; returns a message if it cannot."""

FEWEST_PIXELS = 65_536
SHORTEST_SIDE_PX = 64
"""Since 2026-10 (source: Venice's agent skills, venice-image-edit, 2026-10-02)."""
REMOVER_ID = "bria-bg-remover"
_RATIOS = ("auto", "1:1", "3:2", "16:9", "21:9", "9:16", "2:3", "3:4", "4:5", "4:3")
_EDIT: Mapping[str, Field] = {
    "prompt": Field(type="string", required=True, min_length=1, max_length=32_768),
    "modelId": Field(type="string", min_length=1),
    "aspect_ratio": Field(type="string", choices=_RATIOS),
    "resolution": Field(type="string", min_length=1, max_length=10),
    # The description's text accepts jpg, which its list of values lacks.
    "output_format": Field(type="string", choices=("jpeg", "jpg", "png", "webp")),
    "safe_mode": Field(type="boolean"),
    "enhance_prompt": Field(type="boolean"),
    "disable_prompt_optimization_thinking": Field(type="boolean"),
    "transparent_background": Field(type="boolean"),
    "anon_user_id": Field(type="string"),
}
_EDIT_OLD: Mapping[str, Field] = {"aspect_ratio": Field(type="string", choices=_RATIOS[:-1])}
# Source: OpenAPI description, UpscaleImageRequest (which allows other fields), EditImageRequest,
# MultiEditImageRequest, BackgroundRemoveImageRequest.
FIELDS: Mapping[Operation, Mapping[str, Field]] = {
    "upscale": {
        "image": Field(type="any", required=True),
        "scale": Field(type="number", minimum=2, maximum=4),
        "creativity": Field(type="number", nullable=True),
    },
    "edit": {"image": Field(type="any", required=True), "model": Field(type="string", min_length=1), **_EDIT},
    "multi-edit": {
        "images": Field(type="any", required=True),
        "quality": Field(type="string", choices=("low", "medium", "high")),
        **_EDIT,
    },
    "background-remove": {
        "image": Field(type="any"),
        "image_url": Field(type="string"),
        "anon_user_id": Field(type="string"),
    },
}
_FIELDS_OLD: Mapping[Operation, Mapping[str, Field]] = {
    operation: {name: _EDIT_OLD.get(name, rule) for name, rule in table.items() if name not in NEW_FIELDS}
    for operation, table in FIELDS.items()
}


class EditReader:
    """Reads edit requests, using a list of models and a function that opens images."""

    def __init__(self, catalogue: EditCatalogue, settings: SandboxSettings, open_image: OpenImage) -> None:
        self._catalogue, self._settings, self._open = catalogue, settings, open_image

    async def read(self, operation: Operation, body: Body) -> EditRequest | ErrorAnswer:
        """Return the request in a body, or its 400 or 404. Never raises."""
        if not isinstance(body.value, dict):
            return invalid(Issue("invalid_type", (), f"Expected object, received {type_name(body.value)}"))
        table = (_FIELDS_OLD if self._settings.is_old else FIELDS)[operation]
        fields: dict[str, Any] = _typed(body.value, table) if body.is_form else body.value
        issues = check(fields, table, closed=operation != "upscale")
        if issues:
            return invalid(*issues)
        if operation == "upscale":
            return await self._upscale(fields)
        if operation == "background-remove":
            return await self._remove(fields)
        return await self._edit(operation, fields, is_form=body.is_form)

    async def _upscale(self, fields: Mapping[str, Any]) -> EditRequest | ErrorAnswer:
        scale, listed = fields.get("scale", 2), self._catalogue
        if self._settings.is_old and scale not in listed.upscale_usd:
            return invalid(Issue("custom", ("scale",), "Scale must be either 2 or 4"))
        given = fields["image"]
        if isinstance(given, str) and given.startswith("data:") and not self._settings.is_old:
            return invalid(Issue("custom", ("image",), "Invalid image: send base64 without a data URL"))
        image = await self._opened(given, ("image",), smallest=FEWEST_PIXELS)
        if isinstance(image, Issue):
            return invalid(image)
        size = upscaled(image.width, image.height, scale)
        if size is None:
            return invalid(Issue("custom", ("image",), "Final dimensions must not exceed 16777216 pixels"))
        return EditRequest(
            operation="upscale",
            model_id=listed.upscaler_id,
            model_name=listed.upscaler_name,
            images=(image,),
            width=size[0],
            height=size[1],
            price_micro_usd=micro_usd(listed.upscale_usd[2 if scale <= 2 else 4]),
        )

    async def _remove(self, fields: Mapping[str, Any]) -> EditRequest | ErrorAnswer:
        name = "image" if "image" in fields else "image_url"
        if name not in fields:
            return invalid(Issue("custom", ("image",), "Provide either image or image_url"))
        smallest = 1 if self._settings.is_old else FEWEST_PIXELS
        image = await self._opened(fields[name], (name,), urls=name == "image_url", smallest=smallest)
        if isinstance(image, Issue):
            return invalid(image)
        return EditRequest(
            operation="background-remove",
            model_id=REMOVER_ID,
            model_name="Background Remover",
            images=(image,),
            width=image.width,
            height=image.height,
            price_micro_usd=micro_usd(self._settings.background_remove_usd),
        )

    async def _edit(
        self, operation: Operation, fields: Mapping[str, Any], *, is_form: bool
    ) -> EditRequest | ErrorAnswer:
        model = self._catalogue.find(fields.get("model") or fields.get("modelId") or "default")
        if model is None:
            return ErrorAnswer(400, "Invalid model id")
        if model.id in self._settings.retired:
            return retired(model.id, self._settings.retired[model.id])
        named = [fields["image"]] if operation == "edit" else fields["images"]
        # A form with one file gives no list.
        sources = named if isinstance(named, list) else [named] if is_form else []
        by_model = (
            _model_issues_old(fields, model) if self._settings.is_old else _model_issues(operation, fields, model)
        )
        issues = [*by_model, *_source_issues(operation, sources, model, uploads_only=is_form)]
        if issues:
            return invalid(*issues)
        images: list[Image] = []
        for index, source in enumerate(sources):
            at = ("image",) if operation == "edit" else ("images", index)
            image = await self._opened(source, at, urls=not is_form or operation == "edit", smallest=FEWEST_PIXELS)
            if isinstance(image, Issue):
                return invalid(image)
            images.append(image)
        return _edit_request(operation, fields, model, tuple(images))

    async def _opened(
        self, source: object, at: tuple[str | int, ...], *, urls: bool = False, smallest: int = 1
    ) -> Image | Issue:
        image = await self._open(source, urls)
        if isinstance(image, str):
            return Issue("custom", at, image)
        if image.width * image.height < smallest:
            return Issue("custom", at, f"Image dimensions must be at least {smallest} pixels")
        if min(image.size) < SHORTEST_SIDE_PX and not self._settings.is_old:
            return Issue("custom", at, f"Image sides must be at least {SHORTEST_SIDE_PX} pixels")
        return image


def _edit_request(
    operation: Operation, fields: Mapping[str, Any], model: EditModel, images: tuple[Image, ...]
) -> EditRequest:
    first = images[0]
    resolution = fields.get("resolution", model.default_resolution).upper() if model.resolutions else ""
    if model.keeps_size and len(images) == 1:
        width, height = first.size
    else:
        ratio = fields.get("aspect_ratio", "auto")
        if ratio == "auto":
            ratio = closest_ratio(first.width, first.height, model.ratios)
        width, height = pixels(ratio, resolution)
    quality = fields.get("quality", model.default_quality)
    price = image_micro_usd(model.pricing, "inpaint", resolution, quality)
    return EditRequest(
        operation=operation,
        model_id=model.id,
        model_name=model.name,
        images=images,
        width=width,
        height=height,
        price_micro_usd=price + _inputs_micro_usd(model.pricing, len(images)),
        format=_format(fields, model),
        prompt=fields["prompt"],
        safe_mode=fields.get("safe_mode", True),
        enhanced_prompt=enhanced(fields["prompt"]) if fields.get("enhance_prompt", False) else "",
        transparent=fields.get("transparent_background", False),
    )


def _format(fields: Mapping[str, Any], model: EditModel) -> Format:
    """Return the requested format; by default jpeg for opaque images above 1K, else png."""
    tier = fields.get("resolution", model.default_resolution).upper() if model.resolutions else ""
    is_large = tier not in ("", "1K") and not fields.get("transparent_background", False)
    name = fields.get("output_format", "jpeg" if is_large else "png")
    return cast("Format", "jpeg" if name == "jpg" else name)


def _inputs_micro_usd(pricing: Mapping[str, Any], images: int) -> int:
    """Return the price of the input images that the model's price does not include."""
    rule = pricing.get("inputImages")
    return max(0, images - rule["included"]) * micro_usd(rule["additional"]["usd"]) if rule else 0


def _model_issues(operation: Operation, fields: Mapping[str, Any], model: EditModel) -> Iterator[Issue]:
    yield from _prompt_issues(fields, model)
    offered = {"aspect_ratio": model.ratios, "quality": model.qualities, "resolution": model.resolutions}
    for name, choices in offered.items():
        given = fields.get(name)
        if given is None or (given.upper() if name == "resolution" else given) in choices:
            continue
        if choices:
            yield Issue("custom", (name,), f"{model.id} offers {', '.join(choices)}, not '{given}'")
        elif name == "resolution" and operation == "edit":
            # On models without tiers, multi-edit ignores the resolution and edit rejects it.
            yield Issue("custom", (name,), f"{model.id} does not accept {name}")
    if fields.get("transparent_background", False):
        format_ = _format(fields, model)
        yield from transparency_issues("transparent_background", model.id, format_, supported=model.transparency)


def _prompt_issues(fields: Mapping[str, Any], model: EditModel) -> Iterator[Issue]:
    if len(fields["prompt"]) > model.prompt_limit:
        yield Issue("too_big", ("prompt",), f"String must contain at most {model.prompt_limit} character(s)")


def _model_issues_old(fields: Mapping[str, Any], model: EditModel) -> Iterator[Issue]:
    yield from _prompt_issues(fields, model)
    offered = {
        "aspect_ratio": (*model.ratios, "auto"),
        # 1K is the description's own default, so models without tiers accept it.
        "resolution": model.resolutions or ("1K",),
        # Models without qualities ignore the field.
        **({"quality": model.qualities} if model.qualities else {}),
    }
    for name, choices in offered.items():
        given = fields.get(name)
        if given is not None and (given.upper() if name == "resolution" else given) not in choices:
            yield Issue("custom", (name,), f"{model.id} offers {', '.join(choices)}, not '{given}'")


def _source_issues(
    operation: Operation, sources: list[object], model: EditModel, *, uploads_only: bool
) -> Iterator[Issue]:
    if operation == "edit":
        return
    if not sources:
        yield Issue("too_small", ("images",), "Array must contain at least 1 element(s)")
    if len(sources) > model.max_images:
        yield Issue("too_big", ("images",), f"Array must contain at most {model.max_images} element(s)")
    if uploads_only and any(isinstance(source, str) for source in sources):
        yield Issue("custom", ("images",), "Only file uploads are supported with multipart/form-data")


def _typed(form: Mapping[str, Any], table: Mapping[str, Field]) -> dict[str, Any]:
    return {name: _typed_value(value, table[name].type) if name in table else value for name, value in form.items()}


def _typed_value(value: object, type_: str) -> object:
    if not isinstance(value, str):
        return value
    if type_ == "boolean" and value in ("true", "false"):
        return value == "true"
    if type_ == "number":
        try:
            return float(value)
        except ValueError:
            return value
    return value
