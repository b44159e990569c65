"""Validation of the endpoints that change pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from venice_batch.sandbox import moderation
from venice_batch.sandbox.errors import Issue, Refusal, invalid, retired
from venice_batch.sandbox.fields import Field, check, transparency_issues, type_name
from venice_batch.sandbox.generate import NEW_FIELDS
from venice_batch.sandbox.prices import micro_usd, picture_micro_usd
from venice_batch.sandbox.retouch import Retouch
from venice_batch.sandbox.retouch_sizes import closest_ratio, upscaled
from venice_batch.sandbox.sizes import pixels

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from PIL.Image import Image

    from venice_batch.sandbox.request import Format
    from venice_batch.sandbox.request_body import Body
    from venice_batch.sandbox.retouch import Kind
    from venice_batch.sandbox.retouch_catalogue import Editor, RetouchCatalogue
    from venice_batch.sandbox.settings import SandboxSettings

    Open = Callable[[object, bool], Awaitable[Image | str]]
    "Opens what a request names as an image, URLs only if told so; a text says what is wrong with it."


FEWEST_PIXELS = 65_536
SHORTEST_SIDE_PX = 64
"""Since 2026-10 (source: Venice's agent skills, venice-image-edit, 2026-10-02)."""
MOST_PIXELS = 33_177_600
REMOVER_ID = "bria-bg-remover"
_RATIOS = ("auto", "1:1", "3:2", "16:9", "21:9", "9:16", "2:3", "3:4", "4:5", "4:3")
_EDIT: Mapping[str, Field] = {
    "prompt": Field(kind="string", required=True, min_length=1, max_length=32_768),
    "modelId": Field(kind="string", min_length=1),
    "aspect_ratio": Field(kind="string", choices=_RATIOS),
    "resolution": Field(kind="string", min_length=1, max_length=10),
    # The description's text accepts jpg, which its list of values lacks.
    "output_format": Field(kind="string", choices=("jpeg", "jpg", "png", "webp")),
    "safe_mode": Field(kind="boolean"),
    "enhance_prompt": Field(kind="boolean"),
    "disable_prompt_optimization_thinking": Field(kind="boolean"),
    "transparent_background": Field(kind="boolean"),
    "anon_user_id": Field(kind="string"),
}
_EDIT_OLD: Mapping[str, Field] = {"aspect_ratio": Field(kind="string", choices=_RATIOS[:-1])}
# Source: OpenAPI description, UpscaleImageRequest (which allows other fields), EditImageRequest,
# MultiEditImageRequest, BackgroundRemoveImageRequest.
TABLES: Mapping[Kind, Mapping[str, Field]] = {
    "upscale": {
        "image": Field(kind="any", required=True),
        "scale": Field(kind="number", minimum=2, maximum=4),
        "creativity": Field(kind="number", nullable=True),
    },
    "edit": {"image": Field(kind="any", required=True), "model": Field(kind="string", min_length=1), **_EDIT},
    "multi-edit": {
        "images": Field(kind="any", required=True),
        "quality": Field(kind="string", choices=("low", "medium", "high")),
        **_EDIT,
    },
    "background-remove": {
        "image": Field(kind="any"),
        "image_url": Field(kind="string"),
        "anon_user_id": Field(kind="string"),
    },
}
_TABLES_OLD: Mapping[Kind, Mapping[str, Field]] = {
    kind: {name: _EDIT_OLD.get(name, rule) for name, rule in table.items() if name not in NEW_FIELDS}
    for kind, table in TABLES.items()
}


class RetouchReader:
    """Turns bodies into retouches, with a price list and a way to open images."""

    def __init__(self, catalogue: RetouchCatalogue, settings: SandboxSettings, open_image: Open) -> None:
        self._catalogue, self._settings, self._open = catalogue, settings, open_image

    async def read(self, kind: Kind, body: Body) -> Retouch | Refusal:
        """Return what a body asks for, or the 400 or 404 that it is answered with. Never raises."""
        if not isinstance(body.value, dict):
            return invalid(Issue("invalid_type", (), f"Expected object, received {type_name(body.value)}"))
        table = (_TABLES_OLD if self._settings.is_old else TABLES)[kind]
        fields: dict[str, Any] = _typed(body.value, table) if body.is_form else body.value
        issues = check(fields, table, closed=kind != "upscale")
        if issues:
            return invalid(*issues)
        if kind == "upscale":
            return await self._upscale(fields)
        if kind == "background-remove":
            return await self._remove(fields)
        return await self._edit(kind, fields, is_form=body.is_form)

    async def _upscale(self, fields: Mapping[str, Any]) -> Retouch | Refusal:
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
        return Retouch(
            kind="upscale",
            model_id=listed.upscaler_id,
            model_name=listed.upscaler_name,
            images=(image,),
            width=size[0],
            height=size[1],
            price_micro_usd=micro_usd(listed.upscale_usd[2 if scale <= 2 else 4]),
        )

    async def _remove(self, fields: Mapping[str, Any]) -> Retouch | Refusal:
        name = "image" if "image" in fields else "image_url"
        if name not in fields:
            return invalid(Issue("custom", ("image",), "Provide either image or image_url"))
        smallest = 1 if self._settings.is_old else FEWEST_PIXELS
        image = await self._opened(fields[name], (name,), urls=name == "image_url", smallest=smallest)
        if isinstance(image, Issue):
            return invalid(image)
        return Retouch(
            kind="background-remove",
            model_id=REMOVER_ID,
            model_name="Background Remover",
            images=(image,),
            width=image.width,
            height=image.height,
            price_micro_usd=micro_usd(self._settings.background_remove_usd),
        )

    async def _edit(self, kind: Kind, fields: Mapping[str, Any], *, is_form: bool) -> Retouch | Refusal:
        editor = self._catalogue.find(fields.get("model") or fields.get("modelId") or "default")
        if editor is None:
            return Refusal(400, "Invalid model id")
        if editor.id in self._settings.retired:
            return retired(editor.id, self._settings.retired[editor.id])
        named = [fields["image"]] if kind == "edit" else fields["images"]
        # A form with one file has no list to show for it.
        sources = named if isinstance(named, list) else [named] if is_form else []
        judged = _editor_issues_old(fields, editor) if self._settings.is_old else _editor_issues(kind, fields, editor)
        issues = [*judged, *_source_issues(sources, editor, uploads_only=is_form, kind=kind)]
        if issues:
            return invalid(*issues)
        images: list[Image] = []
        for index, source in enumerate(sources):
            at = ("image",) if kind == "edit" else ("images", index)
            image = await self._opened(source, at, urls=not is_form or kind == "edit", smallest=FEWEST_PIXELS)
            if isinstance(image, Issue):
                return invalid(image)
            images.append(image)
        return _retouch(kind, fields, editor, tuple(images))

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


def _retouch(kind: Kind, fields: Mapping[str, Any], editor: Editor, images: tuple[Image, ...]) -> Retouch:
    first = images[0]
    resolution = fields.get("resolution", editor.default_resolution).upper() if editor.resolutions else ""
    if editor.keeps_size and len(images) == 1:
        width, height = first.size
    else:
        ratio = fields.get("aspect_ratio", "auto")
        if ratio == "auto":
            ratio = closest_ratio(first.width, first.height, editor.ratios)
        width, height = pixels(ratio, resolution)
    quality = fields.get("quality", editor.default_quality)
    price = picture_micro_usd(editor.pricing, "inpaint", resolution, quality)
    return Retouch(
        kind=kind,
        model_id=editor.id,
        model_name=editor.name,
        images=images,
        width=width,
        height=height,
        price_micro_usd=price + _inputs_micro_usd(editor.pricing, len(images)),
        format=_format(fields, editor),
        prompt=fields["prompt"],
        safe_mode=fields.get("safe_mode", True),
        enhance=fields.get("enhance_prompt", False) and moderation.may_enhance(fields["prompt"]),
        transparent=fields.get("transparent_background", False),
    )


def _format(fields: Mapping[str, Any], editor: Editor) -> Format:
    """Return the format asked for, else png; jpeg for opaque pictures above 1K."""
    tier = fields.get("resolution", editor.default_resolution).upper() if editor.resolutions else ""
    is_large = tier not in ("", "1K") and not fields.get("transparent_background", False)
    name = fields.get("output_format", "jpeg" if is_large else "png")
    return cast("Format", "jpeg" if name == "jpg" else name)


def _inputs_micro_usd(pricing: Mapping[str, Any], images: int) -> int:
    """Return what the input images cost beyond those that the price includes."""
    rule = pricing.get("inputImages")
    return max(0, images - rule["included"]) * micro_usd(rule["additional"]["usd"]) if rule else 0


def _editor_issues(kind: Kind, fields: Mapping[str, Any], editor: Editor) -> Iterator[Issue]:
    yield from _prompt_issues(fields, editor)
    offered = {"aspect_ratio": editor.ratios, "quality": editor.qualities, "resolution": editor.resolutions}
    for name, choices in offered.items():
        given = fields.get(name)
        if given is None or (given.upper() if name == "resolution" else given) in choices:
            continue
        if choices:
            yield Issue("custom", (name,), f"{editor.id} offers {', '.join(choices)}, not '{given}'")
        elif name == "resolution" and kind == "edit":
            # Several images pass over what the model has no choice of; one image does not.
            yield Issue("custom", (name,), f"{editor.id} does not accept {name}")
    if fields.get("transparent_background", False):
        format_ = _format(fields, editor)
        yield from transparency_issues("transparent_background", editor.id, format_, supported=editor.transparency)


def _prompt_issues(fields: Mapping[str, Any], editor: Editor) -> Iterator[Issue]:
    if len(fields["prompt"]) > editor.prompt_limit:
        yield Issue("too_big", ("prompt",), f"String must contain at most {editor.prompt_limit} character(s)")


def _editor_issues_old(fields: Mapping[str, Any], editor: Editor) -> Iterator[Issue]:
    yield from _prompt_issues(fields, editor)
    offered = {
        "aspect_ratio": (*editor.ratios, "auto"),
        # 1K is the description's own default, so it goes where there are no tiers at all.
        "resolution": editor.resolutions or ("1K",),
        # Models without a choice of it pass over the field.
        **({"quality": editor.qualities} if editor.qualities else {}),
    }
    for name, choices in offered.items():
        given = fields.get(name)
        if given is not None and (given.upper() if name == "resolution" else given) not in choices:
            yield Issue("custom", (name,), f"{editor.id} offers {', '.join(choices)}, not '{given}'")


def _source_issues(sources: list[object], editor: Editor, *, uploads_only: bool, kind: Kind) -> Iterator[Issue]:
    if kind == "edit":
        return
    if not sources:
        yield Issue("too_small", ("images",), "Array must contain at least 1 element(s)")
    if len(sources) > editor.max_images:
        yield Issue("too_big", ("images",), f"Array must contain at most {editor.max_images} element(s)")
    if uploads_only and any(isinstance(source, str) for source in sources):
        yield Issue("custom", ("images",), "Only file uploads are supported with multipart/form-data")


def _typed(form: Mapping[str, Any], table: Mapping[str, Field]) -> dict[str, Any]:
    return {name: _typed_value(value, table[name].kind) if name in table else value for name, value in form.items()}


def _typed_value(value: object, kind: str) -> object:
    if not isinstance(value, str):
        return value
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind == "number":
        try:
            return float(value)
        except ValueError:
            return value
    return value
