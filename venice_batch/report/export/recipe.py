"""How an image was made, inside its file: written when exporting, read back by `jobs-from`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from venice_batch._version import __version__
from venice_batch.errors import EmbedError
from venice_batch.jobfile.fields import RESERVED
from venice_batch.jobfile.pictures import FIELD
from venice_batch.model import Endpoint
from venice_batch.report.export import a1111, exif, xmp
from venice_batch.report.export.image_text import Texts, read_texts, with_texts
from venice_batch.report.jobs_from import ParentWords, image_name, prompt_of
from venice_batch.text_format import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from venice_batch.model import ImageFile, Outcome

Style = Literal["a1111", "xmp"]

TOOL = f"venice-batch {__version__}"

_PRIVATE = frozenset({"image", "images", "image_url", "style_references", "anon_user_id", "user"})
"""Fields that name files of this machine or persons. They go into no file, and none is taken from a file."""

_TRAVEL = frozenset({"return_binary", "response_format", "n", "variants"})
"""Fields about the request as a whole or its answer; a recipe is about one image."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one image was made.

    `fields` are those of a request to `endpoint`, without pictures and names of persons. `id` names the image among
    those of its run. `others` holds what another program wrote and no request has a field for, such as `Sampler`;
    `is_ours` is true for a recipe of venice-batch. `source_type` is a term of IPTC's digital source types, `model`
    the model that made it, `size` the image's own, `words` describe the image if the request has no prompt. The last
    four are written, not read.
    """

    fields: Mapping[str, Any]
    id: str = ""
    endpoint: Endpoint = Endpoint.GENERATE
    others: Mapping[str, str] = field(default_factory=dict)
    is_ours: bool = True
    source_type: str = field(default="trainedAlgorithmicMedia", compare=False)
    model: str = field(default="", compare=False)
    size: tuple[int, int] | None = field(default=None, compare=False)
    words: str = field(default="", compare=False)

    @classmethod
    def of(cls, outcome: Outcome, image: ImageFile, number: int) -> Recipe:
        """Return the recipe of image `number`, from 1, of a record.

        Of several images of one request only the first was made with its seed.
        """
        name = outcome.id if len(outcome.files) == 1 else image_name(outcome, number)
        request = {key: value for key, value in outcome.request.items() if key not in _PRIVATE | _TRAVEL}
        if number > 1:
            request.pop("seed", None)
        size = (image.width, image.height) if image.width and image.height else None
        return cls(
            request,
            name,
            outcome.endpoint,
            source_type=_source_type(outcome),
            model=outcome.lane,
            size=size,
            words=prompt_of(outcome),
        )

    @property
    def has_picture(self) -> bool:
        """Return whether the image was made from another one, which the recipe does not hold."""
        return self.endpoint in FIELD


def embedded(data: bytes, recipe: Recipe, style: Style) -> bytes:
    """Return the image with its recipe; pixels and everything else stay byte for byte.

    `a1111` writes the text that Stable Diffusion programs read: into PNG's `parameters`, else into the user's comment
    of EXIF, and the digital source type as XMP. `xmp` writes everything as XMP.

    Raises:
        EmbedError: the format has no place for it, the text is too long, or the file is damaged.
    """
    before = read_texts(BytesIO(data))
    job = {"id": recipe.id, "endpoint": recipe.endpoint, **recipe.fields}
    if style == "xmp":
        prompt = recipe.fields.get("prompt", recipe.words)
        prompt = prompt if isinstance(prompt, str) else ""
        words = xmp.Words(recipe.source_type, TOOL, prompt, recipe.model, json.dumps(job))
        return with_texts(data, Texts(xmp=xmp.with_words(before.xmp, words)))
    shown = {"model": recipe.model, "prompt": recipe.words, **recipe.fields}
    text = a1111.text_of(shown, size=recipe.size, version=TOOL, job=job)
    packet = xmp.with_words(before.xmp, xmp.Words(recipe.source_type, TOOL))
    if data.startswith(b"\x89PNG"):
        return with_texts(data, Texts(parameters=text, xmp=packet))
    return with_texts(data, Texts(exif=exif.with_comment(before.exif, text), xmp=packet))


class Embedder:
    """Writes recipes into the images of an export, as a `Placer`'s `rewrite`; counts those that cannot hold one.

    `words` are those of the folder, for images that were made from others.
    """

    def __init__(self, style: Style, words: ParentWords | None = None) -> None:
        self._style = style
        self._words = words or ParentWords()
        self._without: dict[str, tuple[int, str]] = {}

    def __call__(self, data: bytes, outcome: Outcome, image: ImageFile, number: int) -> bytes:
        """Return the image with its recipe, or as it is if it cannot hold one."""
        try:
            return embedded(data, Recipe.of(self._words.added(outcome), image, number), self._style)
        except EmbedError as error:
            count, first = self._without.get(str(error), (0, outcome.id))
            self._without[str(error)] = (count + 1, first)
            return data

    def lines(self) -> list[str]:
        """Return a line for each reason why images have no recipe, with their count and the first one's name."""
        return [
            f"no recipe in {counted(count, 'image')}: {why} ({first}{', …' if count > 1 else ''})"
            for why, (count, first) in self._without.items()
        ]


def read(data: bytes) -> Recipe | None:
    """Return the recipe in an image; None if it holds none. See `read_file`."""
    return read_file(BytesIO(data))


def read_file(file: BinaryIO) -> Recipe | None:
    """Return the recipe in the image that `file` holds, of venice-batch or of A1111; None if it holds none.

    The file may come from anybody: fields that name files or persons are left out, and no value is checked.

    Raises:
        OSError: the file cannot be read.
    """
    texts = read_texts(file)
    if texts.xmp and (ours := _from_job(a1111.json_object(xmp.job_of(texts.xmp)))) is not None:
        return ours
    text = texts.parameters or (texts.exif and exif.comment(texts.exif)) or ""
    if not text:
        return None
    found = a1111.parse(text)
    ours = _from_job(a1111.job_of(found))
    if ours is not None or not found.fields:
        return ours
    return Recipe(found.fields, others=found.others, is_ours=False)


def _from_job(job: dict[str, Any] | None) -> Recipe | None:
    if job is None:
        return None
    try:
        endpoint = Endpoint(job.pop("endpoint", Endpoint.GENERATE))
    except ValueError:
        return None
    name = job.pop("id", "")
    fields = {key: value for key, value in job.items() if key not in _PRIVATE | _TRAVEL | RESERVED}
    return Recipe(fields, name if isinstance(name, str) else "", endpoint)


def _source_type(outcome: Outcome) -> str:
    """Return the IPTC term for how an image came about."""
    if outcome.sandbox:
        return "algorithmicMedia"  # drawn by rules, not by a model
    if outcome.endpoint not in FIELD or outcome.parent is not None:
        return "trainedAlgorithmicMedia"
    if outcome.endpoint in (Endpoint.UPSCALE, Endpoint.BACKGROUND_REMOVE):
        return "algorithmicallyEnhanced"
    return "compositeWithTrainedAlgorithmicMedia"
