"""Choice of the fault that a request meets."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from venice_batch.sandbox.settings import SandboxSettings


class FaultPicker:
    """Deals out faults in the order of admitted requests: by schedule first, by chance for the others."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._random = random.Random(settings.fault_seed)
        self._seen = 0

    def next(self) -> str:
        """Return the fault for the next request, "" for none."""
        self._seen += 1
        # Drawn for scheduled requests too, so that a schedule does not shift the faults of all later ones.
        hit = self._random.random() < self._settings.fault_rate
        kind = self._random.choice(self._settings.fault_kinds) if hit else ""
        return self._settings.fault_schedule.get(self._seen, kind)
