"""Estimate how long requests take under a rate limit and a limit on requests in flight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import starmap
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


Sizes = tuple[tuple[int, int], ...]
"""Requests by size: images per request, and how many such requests."""

LATENCY_S = 10.0
"""Assumed time of a request while none has been timed; no listing says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The requests of one lane, and the limits on them.

    - `requests`: still to be sent. `sizes` groups them by their number of images, in sending order; without it each is
      for one image.
    - `latency_s`: from sending a request to its answer.
    - `under_way`: sent and not answered; at most `at_a_time` requests are under way together.
    - `quota`: images per window of `window_s` seconds (None: no limit). The present window takes `left` more; the next
      opens in `renews_in_s` (infinity: one window's length from now).
    - `opens_in_s`: until then nothing is sent.
    """

    requests: int
    sizes: Sizes = ()
    latency_s: float = LATENCY_S
    under_way: int = 0
    at_a_time: float = math.inf
    quota: int | None = None
    window_s: float = 60.0
    left: float = math.inf
    renews_in_s: float = math.inf
    opens_in_s: float = 0.0


def lane_s(load: Load) -> float:
    """Return the seconds until the last answer, assuming that each window is used up as soon as it opens.

    This is the longer of two times: under the windows alone, and under the limit on requests under way alone.
    """
    waiting = load.requests
    if not waiting:
        return load.latency_s if load.under_way else 0.0
    opens_s = load.opens_in_s
    by_number_s = opens_s + _rounds(waiting + load.under_way, load.at_a_time) * load.latency_s
    sizes = load.sizes or ((1, waiting),)
    if load.quota is None or sum(starmap(mul, sizes)) <= load.left:
        return by_number_s
    windows, last = windows_needed(sizes, load.quota, math.floor(load.left))
    if not windows:
        return by_number_s
    renews_s = load.window_s if math.isinf(load.renews_in_s) else load.renews_in_s
    last_opens_s = max(opens_s, renews_s) + (windows - 1) * load.window_s
    return max(by_number_s, last_opens_s + _rounds(last, load.at_a_time) * load.latency_s)


def windows_needed(sizes: Sizes, quota: int, left: int) -> tuple[int, int]:
    """Return how many windows must open after the present one, and how many requests are sent in the last of them.

    Windows count images: a request that does not fit into the rest of one waits for the next. The present window has
    room for `left` images, each later one for `quota`.
    """
    windows = sent = 0
    room = max(0, left)
    for images, requests in sizes:
        images = min(images, quota)
        now = min(requests, room // images)
        later = requests - now
        sent += now
        room -= now * images
        if later:
            a_window = quota // images
            more = math.ceil(later / a_window)
            windows += more
            sent = later - (more - 1) * a_window
            room = quota - sent * images
    return windows, sent


def run_s(loads: Sequence[Load], at_a_time: float) -> float:
    """Return the seconds until the last answer of all lanes, with at most `at_a_time` requests under way together."""
    work_s = sum((load.requests + load.under_way) * load.latency_s for load in loads)
    return max([work_s / at_a_time, *map(lane_s, loads)])


def _rounds(requests: int, at_a_time: float) -> int:
    return max(1, math.ceil(requests / at_a_time))
