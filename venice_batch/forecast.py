"""How long requests take within a rate limit and a number under way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LATENCY_S = 10.0
"""How long a request is taken to need where none has been timed: an assumption, as no listing tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one lane has before it, and what holds it back.

    `requests` are still to be sent, `under_way` sent and unanswered, `at_a_time` of them together at most. A window of
    `window_s` seconds takes `quota` of them (None: any number), the present one `left` more; the next one opens in
    `renews_in_s` (infinity: a window's length from now). Nothing goes out for `opens_in_s`.
    """

    requests: int
    latency_s: float = LATENCY_S
    under_way: int = 0
    at_a_time: float = math.inf
    quota: int | None = None
    window_s: float = 60.0
    left: float = math.inf
    renews_in_s: float = math.inf
    opens_in_s: float = 0.0


def lane_s(load: Load) -> float:
    """Seconds until the last answer, taking windows to be used up as soon as they open.

    The longer of what the windows and what the number under way alone would take.
    """
    waiting = load.requests
    if not waiting:
        return load.latency_s if load.under_way else 0.0
    opens_s = load.opens_in_s
    by_number_s = opens_s + _rounds(waiting + load.under_way, load.at_a_time) * load.latency_s
    if load.quota is None or waiting <= load.left:
        return by_number_s
    later = waiting - max(0, math.floor(load.left))
    windows = math.ceil(later / load.quota)
    renews_s = load.window_s if math.isinf(load.renews_in_s) else load.renews_in_s
    last_opens_s = max(opens_s, renews_s) + (windows - 1) * load.window_s
    last = later - (windows - 1) * load.quota
    return max(by_number_s, last_opens_s + _rounds(last, load.at_a_time) * load.latency_s)


def run_s(loads: Sequence[Load], at_a_time: float) -> float:
    """Seconds until the last answer of all lanes, `at_a_time` of whose requests are under way together."""
    work_s = sum((load.requests + load.under_way) * load.latency_s for load in loads)
    return max([work_s / at_a_time, *map(lane_s, loads)])


def _rounds(requests: int, at_a_time: float) -> int:
    return max(1, math.ceil(requests / at_a_time))
