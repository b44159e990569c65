"""Everything that decides what one picture looks like."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from venice_batch.sandbox import moderation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from venice_batch.sandbox.request import Format, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """Inputs of one picture: the same sketch gives the same bytes."""

    model_id: str
    prompt: str
    seed: int
    style: str
    width: int
    height: int
    format: Format
    blurred: bool = False
    metadata: bool = False
    transparent: bool = False
    draw: Literal["art", "plain"] = "art"

    def digest(self) -> int:
        """Return a hash of what the picture shows; style, size, format and blur do not change the motif."""
        text = "\x1f".join((self.model_id, self.prompt, str(self.seed)))
        return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def sketches(order: Order, seeds: Sequence[int], draw: Literal["art", "plain"], *, adult: bool) -> Iterator[Sketch]:
    """Yield one sketch for each image of an order, with these seeds."""
    for seed in seeds:
        yield Sketch(
            model_id=order.model.id,
            prompt=moderation.enhance(order.prompt) if order.enhance else order.prompt,
            seed=seed,
            style=order.style,
            width=order.width,
            height=order.height,
            format=order.format,
            blurred=adult and order.safe_mode,
            metadata=order.embed_exif,
            transparent=order.transparent,
            draw=draw,
        )
