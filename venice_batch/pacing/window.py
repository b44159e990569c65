"""Count a lane's images against its quota per window."""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum

from venice_batch.pacing.reset_time import Period, ResetTime, WindowKind

LATE_S = 0.3
"""A request may reach the server this much later than it was sent, on a busy machine or a slow network."""


class LimitSource(IntEnum):
    """Where a limit comes from; a higher value overrules a lower one."""

    NONE = 0
    ADVERTISED = 1  # the rate-limit listing, or the user
    LEARNED = 2  # a refusal that named no limit
    HEADER = 3  # an answer's headers


def part_of(quota: int, share: int) -> int:
    """Return the part of `quota` that each of `share` runs may use: rounded down, but at least 1."""
    return max(1, quota // share)


class Window:
    """A lane's quota: at most `limit` images in each window of `length_s` seconds, however the server counts them.

    A request uses as much of the quota as it asks for images. If it needs more than is left, it waits, and so do all
    requests behind it.

    The count depends on what is known of the server (`WindowKind`):

    - While that is unknown, and once the server has shown that its window slides, no span of `length_s` gets more
      images than the limit. This is safe with fixed windows, sliding windows and token buckets: each of them allows
      that many in any such span.
    - Once a reset has shown to give back the whole quota, the quota is used at once after each reset. At the first
      reset, before that is known, a single request probes.
    - `remaining` headers correct the count both ways. Images that other programs took are subtracted. Images that the
      server did not count (requests refused as invalid) or gave back early (a token bucket) are added.

    A limit learnt from a refusal may be too low, because another program may have used the rest of the quota. So it is
    tried again: a single request goes beyond it. Each time that request is refused, the wait before the next trial
    doubles, up to `MOST_WINDOWS_BETWEEN_TRIALS`.

    All methods take moments on the run's clock and never wait. `sent_s` identifies a request by the moment that was
    passed to `sent`. Memory is bounded by the requests of one window.

    `limit` is the advertised limit (None: unknown); `cap` is a limit that the user sets, which nothing raises. Of a
    limit that the server states, the window uses 1/`share`, rounded down, but at least one image: then as many runs fit
    into it that do not see each other. A limit learnt from a refusal is this run's own already.
    """

    MOST_WINDOWS_BETWEEN_TRIALS = 16
    """Most windows between two trials of a learnt limit."""
    CONCLUSIVE = 5
    """A refusal after this many requests shows the quota, even if they were all sent in part of a window."""

    def __init__(
        self, length_s: float = 60.0, limit: int | None = None, cap: int | None = None, *, share: int = 1
    ) -> None:
        self._own_cap = cap
        self._share = share
        self._stated = limit  # by the listing, then by headers
        self._limit = limit
        self._source = LimitSource.NONE if limit is None else LimitSource.ADVERTISED
        self._period = Period(length_s)
        # Own images: since the last reset, and in the last `length_s` as moments and images.
        self._used = 0
        self._log: deque[tuple[float, int]] = deque()
        self._logged = 0
        # Images of other programs, as of `_others_s`.
        self._others = 0
        self._others_s = -math.inf
        # `remaining` allows sending until `_sent` reaches `_credit`; `_credit_s` is when the request was sent whose
        # answer said so.
        self._sent = 0
        self._credit = -math.inf
        self._credit_s = -math.inf
        self._least_remaining = math.inf
        self._credit_helps = True
        # The request that goes beyond a learnt limit, by how many images, and when the next one may.
        self._trial_s: float | None = None
        self._trial_by = 0
        self._trial_wait_s = length_s
        self._trial_from_s = math.inf
        self._learned_s = -math.inf

    @property
    def length_s(self) -> float:
        """The window's length, as far as known."""
        return self._period.length_s

    @property
    def limit(self) -> int | None:
        """Images per window, as far as known; None if unlimited."""
        if self._cap is None:
            return self._limit
        return self._cap if self._limit is None else min(self._cap, self._limit)

    @property
    def _cap(self) -> int | None:
        """Most images that this run may use of a window, however many the server allows (None: no such cap)."""
        if self._share == 1 or self._stated is None:
            return self._own_cap
        part = part_of(self._stated, self._share)
        return part if self._own_cap is None else min(part, self._own_cap)

    @property
    def source(self) -> LimitSource:
        return self._source

    @property
    def kind(self) -> WindowKind:
        """How the server counts, as far as its answers have shown."""
        return self._period.kind

    def left(self, now_s: float) -> float:
        """Return how many images may still be requested in this window; infinity if no limit is known."""
        self._advance(now_s)
        own = math.inf if self._cap is None else self._cap - self._count
        if self._limit is None:
            return own
        return min(own, max(self._free(now_s), self._credit - self._sent if self._credit_helps else -math.inf))

    def wait_s(self, now_s: float, images: int = 1) -> float:
        """Return the seconds until a request for `images` images may be sent; 0 if it may be sent now.

        A request for more images than the limit waits for a whole window. Then the server decides.
        """
        left, limit = self.left(now_s), self.limit
        needed = images if limit is None else min(images, limit)
        if left >= needed or self._may_probe() or self._may_try(now_s):
            return 0.0
        until_s = self._renews_s(now_s)
        if now_s < self._period.probe_until_s:
            until_s = min(until_s, self._period.probe_until_s)
        # Never 0 here: 0 permits sending.
        return max(self.length_s / 60_000, (now_s + self.length_s if math.isinf(until_s) else until_s) - now_s)

    def renews_in_s(self, now_s: float) -> float:
        """Return the seconds until some or all of the quota comes back; infinity if none of it is used."""
        self._advance(now_s)
        return self._renews_s(now_s) - now_s

    def sent(self, now_s: float, images: int = 1) -> None:
        """Count a request for `images` images that is sent now."""
        excess = images - self.left(now_s)
        if excess > 0 and not self._may_probe():
            self._trial_s, self._trial_by = now_s, math.ceil(excess)
        self._period.sent(now_s)
        self._used += images
        self._sent += images
        self._logged += images
        self._log.append((now_s, images))

    def accepted(self, sent_s: float) -> None:
        """Learn that the request sent at `sent_s` was within the quota."""
        if sent_s == self._trial_s and self._limit is not None:
            self._trial_s = None
            self._trial_from_s = sent_s + max(self.length_s, self._trial_wait_s / 2)
            self._limit += self._trial_by

    def observed(
        self,
        limit: int | None,
        remaining: int | None,
        reset: ResetTime | None,
        sent_s: float,
        now_s: float,
        *,
        maybe_uncounted: int,
        in_flight: int,
    ) -> None:
        """Learn from the headers of the answer to the request sent at `sent_s`.

        `maybe_uncounted` counts images of this lane's other requests that the server may not have counted yet when it
        wrote `remaining`: those requests were in flight when this one was sent, or were sent later. `in_flight` counts
        the images among them that have no answer yet.
        """
        self._advance(now_s)
        if limit is not None and limit > 0:
            self._limit = self._stated = limit
            self._source = LimitSource.HEADER
        if sent_s < self._period.opened_s:
            return  # the answer is about a window that is over
        used = None if remaining is None or self._limit is None else self._limit - remaining
        forgot = used is not None and self.kind is not WindowKind.FIXED and used < self._counted_if_sliding(sent_s)
        if reset is not None and reset.latest_s <= now_s:
            self._period.observe_past_end(reset, sent_s, now_s=now_s, forgot=forgot)
            self._advance(now_s)
            return
        length_s = self.length_s
        if reset is not None:
            if self._period.observe(reset, sent_s, now_s=now_s, forgot=forgot):
                self._begin(self._period.opened_s)
            self._measure(reset, used, sent_s)
        if remaining is None or self._limit is None or used is None:
            return
        # An answer that shortens the window confirms nothing: a sliding window of that length would forget as much.
        if forgot and self.length_s > 0.9 * length_s and used < self._counted_if_sliding(sent_s):
            self._period.confirm_fixed()
        if used - self._count > self._others_now(now_s):
            self._others, self._others_s = used - self._count, now_s
        # Either this answer is the last that the server has counted, except for the `maybe_uncounted` images. Or
        # another of this period is, except for the images in flight.
        self._least_remaining = min(self._least_remaining, remaining)
        credit = self._least_remaining - in_flight
        if sent_s >= self._credit_s:
            self._credit_s = sent_s
            credit = max(credit, remaining - maybe_uncounted)
        self._credit = self._sent + credit

    def refused(
        self, sent_s: float, now_s: float, *, retry_after_s: float | None, reset: ResetTime | None, images: int = 1
    ) -> None:
        """Learn that the request sent at `sent_s` was over the quota; call `observed` with its headers first."""
        if reset is not None and reset.latest_s <= now_s:
            self._period.observe_past_end(reset, sent_s, now_s=now_s)
        self._advance(now_s)
        trial = sent_s == self._trial_s
        over_count = self._free(now_s) < 0 and not trial
        self.uncounted(sent_s, images)
        is_current = sent_s >= self._period.opened_s
        if self._source is LimitSource.HEADER:
            if reset is not None and is_current:
                self._period.observe_early_end(reset, now_s)
            # Nothing is left until the window ends: other programs were quicker, and no header may have shown it yet.
            if is_current and self._limit is not None:
                self._others, self._others_s = max(0, self._limit - self._count), now_s
            self._credit = -math.inf
            self._credit_helps = self._credit_helps and not over_count
            return
        if self._source is LimitSource.LEARNED and now_s >= self._learned_s + self.length_s / 2:
            # A trial has failed; or an earlier one was accepted by chance, which this refusal corrects.
            self._trial_wait_s = min(self.MOST_WINDOWS_BETWEEN_TRIALS * self.length_s, 2 * self._trial_wait_s)
        self._learned_s = now_s
        if not trial:
            # In a fixed and in a sliding window, the server counts from one window before it has room again. Its hint
            # is rounded up, and the first request that it counted was sent a little earlier.
            since_s = -math.inf if retry_after_s is None else now_s + retry_after_s - self.length_s * 21 / 20
            counted = sum(images for sent, images in self._log if sent > since_s)
            again_s = retry_after_s if reset is None or retry_after_s is not None else reset.latest_s - now_s
            if self._is_inconclusive(counted, sent_s, now_s, again_s):
                return
            if self._limit is None or counted < self._limit:
                self._limit, self._source = max(1, counted), LimitSource.LEARNED
        # Half a window early, so that the trial falls into the intended window and not after it.
        self._trial_from_s = now_s + self._trial_wait_s - self.length_s / 2

    def _is_inconclusive(self, counted: int, sent_s: float, now_s: float, again_s: float | None) -> bool:
        """Return whether a refusal says nothing about the quota of a window of this length.

        `again_s` is the wait that it names. After few `counted` requests, all of them recent, other programs may have
        used the quota, or the server may count in shorter windows.
        """
        if again_s is None or (counted >= self.CONCLUSIVE and again_s > self.length_s / 60):
            return False
        first_s = self._log[0][0] if self._log else sent_s
        return first_s > now_s + again_s - self.length_s / 2  # for over half of that window nothing was sent

    def uncounted(self, sent_s: float, images: int = 1) -> None:
        """Take back the request sent at `sent_s`: the server did not count it in this window."""
        if sent_s == self._trial_s:
            self._trial_s = None
        if (sent_s, images) in self._log:
            self._log.remove((sent_s, images))
            self._logged -= images
        if sent_s >= self._period.opened_s:
            self._used = max(0, self._used - images)

    def _renews_s(self, now_s: float) -> float:
        moments = []
        ends_s = self._period.ends_s
        if ends_s is not None:
            moments.append(ends_s)
        if self._log and self.kind is not WindowKind.FIXED:
            moments.append(self._log[0][0] + self.length_s + self._slack_s)
        others = self._others_now(now_s)
        if others and self.kind is not WindowKind.FIXED:
            moments.append(self._others_s + self.length_s * (1 - (others - 1) / self._others))
        return min(moments, default=math.inf)

    @property
    def _slack_s(self) -> float:
        """A margin for requests that overtake each other; only headers can correct a count that was too cautious."""
        return self.length_s / (60 if self.kind is WindowKind.UNKNOWN else 120)

    @property
    def _count(self) -> int:
        """Own images that the server still counts."""
        if self.kind is WindowKind.FIXED:
            return self._used
        return self._logged if self.kind is not WindowKind.UNCONFIRMED else max(self._used, self._logged)

    def _free(self, now_s: float) -> int:
        if self._limit is None:
            return 1
        if now_s < self._period.probe_until_s:
            return 0
        return self._limit - self._count - self._others_now(now_s)

    def _may_probe(self) -> bool:
        """Return whether one request, of any size, may test if the reset gave back the whole quota."""
        within_cap = self._cap is None or self._count < self._cap
        return (
            self._limit is not None
            and self.kind is WindowKind.UNCONFIRMED
            and self._period.awaits_first_request
            and within_cap
        )

    def _others_now(self, now_s: float) -> int:
        if not self._others or self.kind is WindowKind.FIXED:
            return self._others
        # They leave a sliding window at unknown moments, so evenly on average.
        return max(0, math.ceil(self._others * (1 - (now_s - self._others_s) / self.length_s)))

    def _counted_if_sliding(self, at_s: float) -> int:
        """Return how many own images a sliding window would certainly count at `at_s`."""
        # Not those at its edges, which may have been overtaken or delayed on their way.
        edge_s = max(self._slack_s, min(LATE_S, self.length_s / 16))
        first_s, last_s = at_s - self.length_s + edge_s, at_s - edge_s
        return sum(images for sent, images in self._log if first_s < sent < last_s)

    def _measure(self, reset: ResetTime, used: int | None, sent_s: float) -> None:
        """Learn the greatest possible length of a sliding window from a reset while `used` images counted at `sent_s`.

        In a sliding window the reset comes one window after the oldest request that counts. In a token bucket it comes
        after `used / limit` of a window, so the time is scaled by `limit / used`. In either case the result is never
        too short. An empty bucket names its next token instead, so a reset with nothing left shows nothing.
        """
        if self.kind is not WindowKind.SLIDING or self._limit is None or not used or not 0 < used < self._limit:
            return
        # Which of the requests sent together came first is unknown: assume that the older ones count.
        counted, oldest_s = 0, sent_s
        for sent, images in reversed(self._log):
            if sent < sent_s:
                counted, oldest_s = counted + images, sent
                if counted >= used - 1:
                    break
        self._period.limit_length((reset.latest_s - oldest_s) * self._limit / used)

    def _may_try(self, now_s: float) -> bool:
        return (
            self._source is LimitSource.LEARNED
            and (self._cap is None or self._count < self._cap)
            and self._trial_s is None
            and now_s >= self._trial_from_s
            and not (self._log and self._log[-1][0] == now_s)  # its moment identifies it, so it must be unique
        )

    def _advance(self, now_s: float) -> None:
        while self._log and self._log[0][0] + self.length_s + self._slack_s <= now_s:
            self._logged -= self._log.popleft()[1]
        if self._others and now_s >= self._others_s + self.length_s:
            self._others = 0
        if self._period.advance(now_s):
            # Reset times are rounded up to whole seconds: a request sent just before one may count after it.
            self._begin(self._period.opened_s - self.length_s / 60)

    def _begin(self, since_s: float) -> None:
        """Begin a new period, in which only requests sent at or after `since_s` count."""
        self._used = sum(images for sent, images in self._log if sent >= since_s)
        if self._period.first_s is None:
            self._period.first_s = next((sent for sent, _ in self._log if sent >= self._period.opened_s), None)
        self._others = 0
        self._credit, self._least_remaining = -math.inf, math.inf
