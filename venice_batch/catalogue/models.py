"""The models that make or change images, as `GET /models` lists them, and the lookup of their names.

Anything that the API leaves out, renames or gives another type is None or empty here. Listings change more often than
this package, and a job is never refused because of something that the listing does not say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from venice_batch.errors import one_line
from venice_batch.money import MICRO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ModelKind = Literal["image", "inpaint", "upscale"]
"""A model's purpose in the listing's words: it makes images, edits them or enlarges them."""

KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

DEFAULT = "default"
"""The trait of the model that the API uses when a request names none, or an unknown one."""

_DEFAULT_INPUTS = 3


class Pricing(msgspec.Struct, frozen=True):
    """Prices in millionths of a dollar: of any image, by tier, by tier and quality, by scale.

    Tiers are upper case (`1K`); the listing writes them in either case. An image's price covers `included` input
    images, perhaps none; each further one costs `input`, for models that list such a price.
    """

    image: int | None = None
    tiers: dict[str, int] = {}
    qualities: dict[tuple[str, str], int] = {}
    scales: dict[int, int] = {}
    included: int = 1
    input: int = 0


class Deprecation(msgspec.Struct, frozen=True):
    """A model's retirement: from `starts` on it is announced, at `ends` it takes effect.

    `remapped` means that the API sends its jobs to `replacement` afterwards.
    """

    starts: datetime | None = None
    ends: datetime | None = None
    replacement: str | None = None
    remapped: bool = False


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a listing; marks that are None are not in the listing.

    `constrained` means that the listing says what requests may hold, `venice` that Venice owns the model. It does not
    work in `regions`. An edit may combine `max_inputs` images; with `keeps_size`, editing one image keeps its size.
    """

    id: str
    kind: ModelKind = "image"
    name: str = ""
    constrained: bool = False
    venice: bool = False
    prompt_limit: int | None = None
    steps_max: int | None = None
    divisor: int | None = None
    ratios: tuple[str, ...] = ()
    default_ratio: str | None = None
    resolutions: tuple[str, ...] = ()
    default_resolution: str | None = None
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    traits: tuple[str, ...] = ()
    pricing: Pricing = Pricing()
    web_search: bool | None = None
    style_references: bool | None = None
    max_style_references: int | None = None
    style_reference_strength: bool | None = None
    prompt_thinking: bool | None = None
    transparent: bool | None = None
    max_inputs: int | None = None
    keeps_size: bool = False
    offline: bool = False
    beta: bool = False
    beta_users_only: bool = False
    regions: tuple[str, ...] = ()
    deprecation: Deprecation | None = None

    @property
    def by_ratio(self) -> bool:
        """Return whether the model is sized by `aspect_ratio`, not by `width` and `height`."""
        return bool(self.ratios)


class Catalogue:
    """All models of one listing. Dates in it are judged as of `now`.

    `listed` is when the API gave the listing; `current` says that this is recent enough to trust "offline". `former`
    maps names that an earlier listing had to the replacement that it gave, None where it gave none.
    """

    def __init__(
        self,
        models: Iterable[Model],
        *,
        listed: datetime,
        now: datetime,
        current: bool = True,
        former: Mapping[str, str | None] | None = None,
    ) -> None:
        self.models: dict[str, Model] = {}
        self._traits: dict[tuple[ModelKind, str], Model] = {}
        for model in models:
            self.models.setdefault(model.id, model)
            for trait in model.traits:
                self._traits.setdefault((model.kind, trait), model)
        self.listed = listed
        self.now = now
        self.current = current
        self.former = dict(former or {})

    def resolve(self, name: str, kind: ModelKind = "image") -> Model | None:
        """Return the model of this kind with this id or trait (`default`, `fastest`, …); None if no model has it."""
        model = self.models.get(name)
        return model if model is not None and model.kind == kind else self._traits.get((kind, name))

    def of_kind(self, kind: ModelKind) -> list[Model]:
        """Return all models of this kind, in the listing's order."""
        return [model for model in self.models.values() if model.kind == kind]

    def marked(self, mark: Literal["transparent", "style_references"], kind: ModelKind) -> list[str]:
        """Return the ids of the models of this kind with `mark`; if there are any, a model without it means no."""
        return [model.id for model in self.of_kind(kind) if getattr(model, mark) is True]

    def names(self, kind: ModelKind = "image") -> list[str]:
        """Return every name that a job may use for a model of this kind: ids and traits."""
        return [
            *(model.id for model in self.of_kind(kind)),
            *(trait for of, trait in self._traits if of == kind),
        ]


def parse(entry: Mapping[str, Any]) -> Model | None:
    """Return the model of one listing entry; None if it neither makes nor changes images. Never raises."""
    kind = entry.get("type", "image")
    if not isinstance(entry.get("id"), str) or kind not in KINDS:
        return None
    spec = _object(entry.get("model_spec"))
    limits = _object(spec.get("constraints"))
    pricing = parse_pricing(_object(spec.get("pricing")))
    return Model(
        id=one_line(entry["id"]),
        kind=kind,
        name=_text(spec.get("name")) or "",
        constrained=bool(limits),
        venice=entry.get("owned_by") == "venice.ai",
        prompt_limit=_positive(limits.get("promptCharacterLimit")),
        steps_max=_positive(_object(limits.get("steps")).get("max")),
        divisor=_positive(limits.get("widthHeightDivisor")),
        ratios=_texts(limits.get("aspectRatios")),
        default_ratio=_text(limits.get("defaultAspectRatio")),
        # A price list names tiers and qualities too.
        resolutions=_texts(limits.get("resolutions")) or tuple(pricing.tiers),
        default_resolution=_text(limits.get("defaultResolution")),
        qualities=_texts(limits.get("qualities")) or tuple(dict.fromkeys(name for _, name in pricing.qualities)),
        default_quality=_text(limits.get("defaultQuality")),
        traits=_texts(spec.get("traits")),
        pricing=pricing,
        web_search=_mark(spec.get("supportsWebSearch")),
        style_references=_mark(spec.get("supportsStyleReferences")),
        max_style_references=_positive(limits.get("maxStyleReferences")),
        style_reference_strength=_mark(limits.get("supportsStyleReferenceStrength")),
        prompt_thinking=_mark(spec.get("supportsOptimizePromptThinking")),
        transparent=_mark(limits.get("supportsTransparentBackground")),
        max_inputs=_max_inputs(limits) if kind == "inpaint" else None,
        keeps_size=limits.get("singleImageAspectRatio") is False,
        offline=spec.get("offline") is True,
        beta=spec.get("betaModel") is True,
        beta_users_only=spec.get("beta") is True,
        regions=_texts(spec.get("regionRestrictions")),
        deprecation=_deprecation(spec.get("deprecation")),
    )


def parse_pricing(pricing: Mapping[str, Any]) -> Pricing:
    """Return the prices of `model_spec.pricing`, leaving out anything that is not an amount."""
    tiers = {
        one_line(tier).upper(): micro
        for tier, price in _object(pricing.get("resolutions")).items()
        if (micro := _micro_usd(price)) is not None
    }
    qualities = {
        (one_line(tier).upper(), one_line(quality)): micro
        for tier, prices in _object(pricing.get("quality")).items()
        for quality, price in _object(prices).items()
        if (micro := _micro_usd(price)) is not None
    }
    scales = {
        int(scale[:-1]): micro
        for scale, price in _object(pricing.get("upscale")).items()
        if scale in ("2x", "4x") and (micro := _micro_usd(price)) is not None
    }
    inputs = _object(pricing.get("inputImages"))
    included = _not_negative(inputs.get("included"))
    return Pricing(
        _micro_usd(pricing.get("generation") or pricing.get("inpaint")),
        tiers,
        qualities,
        scales,
        1 if included is None else included,
        _micro_usd(inputs.get("additional")) or 0,
    )


def moment(value: object) -> datetime | None:
    """Return an ISO 8601 instant, in UTC if it names no zone; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _max_inputs(limits: Mapping[str, Any]) -> int | None:
    """Return how many images an edit may combine; None where the listing does not say (OpenAPI description)."""
    combines = _mark(limits.get("combineImages"))
    if not combines:
        return None if combines is None else 1
    return _positive(limits.get("maxInputImages")) or _DEFAULT_INPUTS


def _deprecation(value: object) -> Deprecation | None:
    if not isinstance(value, dict):
        return None
    return Deprecation(
        starts=moment(value.get("startsAt")),
        ends=moment(value.get("removesAt")) or moment(value.get("date")),
        replacement=_text(value.get("replacementModelId")),
        remapped=value.get("autoRemap") is True,
    )


def _micro_usd(price: object) -> int | None:
    usd = _object(price).get("usd")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < 1e6:
        return None
    return round(usd * MICRO_PER_USD)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return one_line(value) if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one_line(item) for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _positive(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**53:
        return None
    return int(value)


def _not_negative(value: object) -> int | None:
    return 0 if value == 0 and not isinstance(value, bool) else _positive(value)


def _mark(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
