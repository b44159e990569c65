"""Seeds for jobs that name none, so that what was made can be made again."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from venice_batch.jobfile.fields import FIELDS, MAX_SEED

if TYPE_CHECKING:
    from venice_batch.model import Endpoint


class SeedPolicy(StrEnum):
    """What becomes of a job without a seed: `keep` leaves the choice to the server, which does not tell it.

    `pin` gives the request one, which the manifest then records like any other field.
    """

    KEEP = "keep"
    PIN = "pin"


def lacks_seed(endpoint: Endpoint, request: dict[str, Any]) -> bool:
    """Tell whether the endpoint takes a seed that the request does not give; 0 is one, too."""
    return "seed" not in request and "seed" in FIELDS[endpoint]


def seed_of(job_id: str, request_hash: str) -> int:
    """Return the seed of a job: the same at every run, from 1 to MAX_SEED.

    It is drawn from the id and the request without a seed, so that a job that is run again is found done, and two ids
    with one prompt differ. Neither 0, which the API's description has as default, nor a negative number, which
    servers of this kind take for "any", is ever drawn.
    """
    digest = hashlib.blake2b(f"{job_id}\0{request_hash}".encode(), digest_size=8, person=b"seed").digest()
    return 1 + int.from_bytes(digest) % MAX_SEED
