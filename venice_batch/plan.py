"""What a run would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from venice_batch.output import manifest
from venice_batch.output.recall import recall

if TYPE_CHECKING:
    from pathlib import Path

    from venice_batch.jobfile import JobIndex


class LanePlan(msgspec.Struct):
    """One model's pending requests and the images that they ask for."""

    requests: int = 0
    images: int = 0


class Plan(msgspec.Struct, frozen=True):
    """Jobs in the file, those done, those refused before, and what is left to do, by model."""

    jobs: int
    already_done: int
    already_rejected: int
    pending: int
    lanes: dict[str, LanePlan]


def plan(index: JobIndex, output: Path, *, retry_rejected: bool = False) -> Plan:
    """Compare `index` with what `output` holds; touches nothing.

    Raises:
        FolderError: there is a manifest that cannot be read.
    """
    path = output / manifest.NAME
    known = recall(manifest.read(path), output, name=str(path))
    skipped = known.done if retry_rejected else known.done | known.rejected
    done = sum(map(known.done.__contains__, index.keys()))
    lanes: dict[str, LanePlan] = {}
    pending = 0
    for number, name in enumerate(index.lanes):
        for job in index.jobs(number, skipped.__contains__):
            lane = lanes.setdefault(name, LanePlan())
            lane.requests += 1
            lane.images += job.request.get("variants") or 1
            pending += 1
    return Plan(len(index), done, len(index) - done - pending, pending, lanes)
