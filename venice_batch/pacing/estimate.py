"""How long requests take within a rate limit and a number under way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import starmap
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


Sizes = tuple[tuple[int, int], ...]
"""Requests by size: images a request, and how many such requests."""

LATENCY_S = 10.0
"""How long a request is taken to need where none has been timed: an assumption, as no listing tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one lane has before it, and what holds it back.

    `requests` are still to be sent, `under_way` sent and unanswered, `at_a_time` of them together at most. A window of
    `window_s` seconds takes `quota` images (None: any number), the present one `left` more; the next one opens in
    `renews_in_s` (infinity: a window's length from now). Nothing goes out for `opens_in_s`. `sizes` are the requests by
    the number of their images, in the order in which they are sent; without them each asks for one image.
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
    """Seconds until the last answer, taking windows to be used up as soon as they open.

    The longer of what the windows and what the number under way alone would take.
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
    """Return how many windows have to open after the present one, and how many requests go out in the last of them.

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
    """Seconds until the last answer of all lanes, `at_a_time` of whose requests are under way together."""
    work_s = sum((load.requests + load.under_way) * load.latency_s for load in loads)
    return max([work_s / at_a_time, *map(lane_s, loads)])


def _rounds(requests: int, at_a_time: float) -> int:
    return max(1, math.ceil(requests / at_a_time))
