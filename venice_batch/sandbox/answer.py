"""Good answers, as a 200 carries them."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from venice_batch.sandbox import moderation
from venice_batch.sandbox.retouch import Retouch

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from venice_batch.sandbox.admission import Ticket
    from venice_batch.sandbox.request import Format, Order


def native_json(order: Order, images: Sequence[bytes], timing: Mapping[str, int], rng: random.Random) -> bytes:
    """Return the JSON of POST /image/generate with the images in base64; `timing` is in milliseconds."""
    # Joined once from its parts: base64 needs no escaping, and a 4K PNG is not worth copying through an
    # encoder.
    parts = [b'{"id":"generate-image-%d","images":["' % rng.randrange(10**9, 10**10)]
    parts.append(b'","'.join(binascii.b2a_base64(image, newline=False) for image in images))
    parts += [b'"],"request":', orjson.dumps(order.received), b',"timing":', orjson.dumps(timing), b"}"]
    return b"".join(parts)


def openai_json(order: Order, images: Sequence[bytes], created: int, format_: Format) -> bytes:
    """Return the JSON of POST /images/generations, with base64 or data URLs as the order asks."""
    before = b'"b64_json":"' if order.delivery == "b64_json" else b'"url":"data:image/%s;base64,' % format_.encode()
    parts = [b'{"created":%d,"data":[{' % created, before]
    parts.append(b'"},{'.join(binascii.b2a_base64(image, newline=False) for image in images))
    parts.append(b'"}]}')
    return b"".join(parts)


def timing_ms(queue_s: float, preparation_s: float, inference_s: float) -> dict[str, int]:
    """Return the timing object of an answer, whole milliseconds from seconds."""
    parts = [round(span * 1000) for span in (inference_s, preparation_s, queue_s)]
    names = ("inferenceDuration", "inferencePreprocessingTime", "inferenceQueueTime")
    return {**dict(zip(names, parts, strict=True)), "total": sum(parts)}


def headers(ticket: Ticket) -> dict[str, str]:
    """Return the x-venice-* headers of a good answer; the balance is the one before the request."""
    order = ticket.order
    fields = {
        "x-venice-is-blurred": _flag(ticket.adult and order.safe_mode),
        "x-venice-is-content-violation": _flag(ticket.violation),
        "x-venice-is-adult-model-content-violation": "false",
    }
    if isinstance(order, Retouch):
        fields["x-venice-model-name"] = order.model_name
    if order.enhance:
        fields["x-venice-enhanced-prompt"] = quote(moderation.enhance(order.prompt), safe="")
    return fields


def _flag(value: bool) -> str:
    return "true" if value else "false"
