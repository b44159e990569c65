"""Seeds for jobs that name none, so that what was made can be made again."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from venice_batch.jobfile.fields import FIELDS, MAX_SEED

if TYPE_CHECKING:
    from venice_batch.model import Endpoint


class SeedPolicy(StrEnum):
    """What becomes of a job without a seed: `keep` leaves the choice to the server, which does not report it.

    `pin` gives the request one, which the manifest then records like any other field. The API uses it for the first of
    several `variants` only. `split` pins, too, and makes each variant a job of its own with a seed of its own.
    """

    KEEP = "keep"
    PIN = "pin"
    SPLIT = "split"


MAX_SPLIT = 1000
"""How many jobs `split` makes of one at most."""


def lacks_seed(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Tell whether the endpoint takes a seed that the request does not give; 0 is one, too."""
    return "seed" not in request and "seed" in FIELDS[endpoint]


def has_variants(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Tell whether the request asks for several images, of an endpoint that takes a seed for them."""
    return request.get("variants", 1) > 1 and "seed" in FIELDS[endpoint]


def split_seeds(job_id: str, request_hash: str, request: dict[str, Any]) -> list[int]:
    """Return a seed for each variant of a request: its own first if it has one, the others drawn like `seed_of`."""
    first = request["seed"] if "seed" in request else seed_of(job_id, request_hash)
    others = [seed_of(f"{job_id}\0{number}", request_hash) for number in range(2, request["variants"] + 1)]
    return [first, *others]


def seed_of(job_id: str, request_hash: str) -> int:
    """Return the seed of a job: the same at every run, from 1 to MAX_SEED.

    It is drawn from the id and the request without a seed, so that a job that is run again is found done, and two ids
    with one prompt differ. Neither 0, which the API's description has as default, nor a negative number, which
    servers of this kind take for "any", is ever drawn.
    """
    digest = hashlib.blake2b(f"{job_id}\0{request_hash}".encode(), digest_size=8, person=b"seed").digest()
    return 1 + int.from_bytes(digest) % MAX_SEED
