"""What is left of a lane's quota."""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum

from venice_batch.pacing.reset_time import Period, ResetTime, WindowKind

LATE_S = 0.3
"""A request may reach the server so much later than it was sent, on a busy machine or a slow network."""


class LimitSource(IntEnum):
    """Where a limit comes from; a later member overrules an earlier one."""

    NONE = 0
    ADVERTISED = 1  # by the rate-limit listing, or by the user
    LEARNED = 2  # from a refusal that named no limit
    HEADER = 3


class Window:
    """Counts images against "so many in `length_s` seconds", whichever way the server counts.

    A request takes as many images of the quota as it asks for images. One that needs more than is left waits, and so do
    all behind it.

    - While it is unknown how the server counts, or once it has shown to count gliding, no span of `length_s`
      holds more than the quota. This is safe for fixed and sliding windows and for token buckets, since each
      of them lets so many through in any such span.
    - Once resets have shown to give the whole quota back, it is used at once from each reset on. At the first
      reset, of which that is not known yet, one request goes ahead.
    - `remaining` headers correct the count both ways: what other programs took is subtracted; what the server
      did not count (requests refused as invalid), or has given back early (a token bucket), is added.

    A limit that had to be learnt from a refusal may be too low (another program may have used the rest), so
    it is tried again: one request beyond it, alone, after ever more windows as long as it is refused.

    Methods take the moment on the run's clock; they wait for nothing. `sent_s` names a request by the moment
    given to `sent`. Memory is bounded by the requests of one window.
    """

    MOST_WINDOWS_BETWEEN_TRIALS = 16
    """Windows between trials of one more than was learnt, at most."""
    CONCLUSIVE = 5
    """So many requests in part of a window are taken for its quota."""

    def __init__(self, length_s: float = 60.0, limit: int | None = None, cap: int | None = None) -> None:
        self._cap = cap
        self._limit = limit
        self._source = LimitSource.NONE if limit is None else LimitSource.ADVERTISED
        self._period = Period(length_s)
        self._used = 0
        self._log: deque[tuple[float, int]] = deque()
        self._logged = 0
        self._others = 0
        self._others_s = -math.inf
        self._sent = 0
        self._credit = -math.inf
        self._credit_s = -math.inf
        self._least_remaining = math.inf
        self._credit_helps = True
        self._trial_s: float | None = None
        self._trial_by = 0
        self._trial_wait_s = length_s
        self._trial_from_s = math.inf
        self._learned_s = -math.inf

    @property
    def length_s(self) -> float:
        """How long a window is, as far as known."""
        return self._period.length_s

    @property
    def limit(self) -> int | None:
        """Images a window as far as known."""
        if self._cap is None:
            return self._limit
        return self._cap if self._limit is None else min(self._cap, self._limit)

    @property
    def source(self) -> LimitSource:
        return self._source

    @property
    def kind(self) -> WindowKind:
        """How the server counts, as far as known."""
        return self._period.kind

    def left(self, now_s: float) -> float:
        """Images that may still be asked for in this window; infinity when no limit is known."""
        self._advance(now_s)
        own = math.inf if self._cap is None else self._cap - self._count
        if self._limit is None:
            return own
        return min(own, max(self._free(now_s), self._credit - self._sent if self._credit_helps else -math.inf))

    def wait_s(self, now_s: float, images: int = 1) -> float:
        """Seconds until a request for `images` images may be within the quota; 0 when it is now.

        One for more images than any window holds waits for a whole window, then is the server's to judge.
        """
        left, limit = self.left(now_s), self.limit
        needed = images if limit is None else min(images, limit)
        if left >= needed or self._may_probe() or self._may_try(now_s):
            return 0.0
        until_s = self._renews_s(now_s)
        if now_s < self._period.probe_until_s:
            until_s = min(until_s, self._period.probe_until_s)
        # Never 0 here: 0 is leave to send.
        return max(self.length_s / 60_000, (now_s + self.length_s if math.isinf(until_s) else until_s) - now_s)

    def renews_in_s(self, now_s: float) -> float:
        """Seconds until some or all of the quota comes back; infinity while nothing of it is used, as far as known."""
        self._advance(now_s)
        return self._renews_s(now_s) - now_s

    def sent(self, now_s: float, images: int = 1) -> None:
        """One request for `images` images goes out."""
        excess = images - self.left(now_s)
        if excess > 0 and not self._may_probe():
            self._trial_s, self._trial_by = now_s, math.ceil(excess)
        self._period.sent(now_s)
        self._used += images
        self._sent += images
        self._logged += images
        self._log.append((now_s, images))

    def accepted(self, sent_s: float) -> None:
        """The request sent at `sent_s` was within the quota."""
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
        """Take the headers of the answer to the request sent at `sent_s` into account.

        `maybe_uncounted`: how many images other requests of this lane ask for that the server may not have counted yet
        when it wrote `remaining`, because they were under way when this one was sent or have been sent since.
        `in_flight`: how many of them have no answer yet.
        """
        self._advance(now_s)
        if limit is not None and limit > 0:
            self._limit, self._source = limit, LimitSource.HEADER
        if sent_s < self._period.opened_s:
            return  # it speaks of a window that is over
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
        # An answer that teaches a shorter length shows no kind: a sliding window of that length would forget as much.
        if forgot and self.length_s > 0.9 * length_s and used < self._counted_if_sliding(sent_s):
            self._period.confirm_fixed()
        if used - self._count > self._others_now(now_s):
            self._others, self._others_s = used - self._count, now_s
        # Either this answer is the latest that the server has counted, but for the `maybe_uncounted`; or some other
        # of this period is, but for those still under way.
        self._least_remaining = min(self._least_remaining, remaining)
        credit = self._least_remaining - in_flight
        if sent_s >= self._credit_s:
            self._credit_s = sent_s
            credit = max(credit, remaining - maybe_uncounted)
        self._credit = self._sent + credit

    def refused(
        self, sent_s: float, now_s: float, *, retry_after_s: float | None, reset: ResetTime | None, images: int = 1
    ) -> None:
        """The request sent at `sent_s` was over the quota; call `observed` for its headers first."""
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
            # Nothing is left until the window ends. If others were quicker, headers may not have said so yet.
            if is_current and self._limit is not None:
                self._others, self._others_s = max(0, self._limit - self._count), now_s
            self._credit = -math.inf
            self._credit_helps = self._credit_helps and not over_count
            return
        if self._source is LimitSource.LEARNED and now_s >= self._learned_s + self.length_s / 2:
            # A trial has failed, or one was accepted by chance, which this refusal puts right.
            self._trial_wait_s = min(self.MOST_WINDOWS_BETWEEN_TRIALS * self.length_s, 2 * self._trial_wait_s)
        self._learned_s = now_s
        if not trial:
            # Fixed or sliding, the server's count goes back to one window before it has room again.
            # Its hint is rounded up, and what it counted first was sent a little before.
            since_s = -math.inf if retry_after_s is None else now_s + retry_after_s - self.length_s * 21 / 20
            counted = sum(images for sent, images in self._log if sent > since_s)
            again_s = retry_after_s if reset is None or retry_after_s is not None else reset.latest_s - now_s
            if self._is_inconclusive(counted, sent_s, now_s, again_s):
                return
            if self._limit is None or counted < self._limit:
                self._limit, self._source = max(1, counted), LimitSource.LEARNED
        # Half a window early, so that the trial falls into the window meant and not after it.
        self._trial_from_s = now_s + self._trial_wait_s - self.length_s / 2

    def _is_inconclusive(self, counted: int, sent_s: float, now_s: float, again_s: float | None) -> bool:
        """Whether a refusal that names `again_s` was of others' doing, or of a server that counts in shorter windows.

        Then a window's quota cannot be learnt from the few requests `counted`.
        """
        if again_s is None or (counted >= self.CONCLUSIVE and again_s > self.length_s / 60):
            return False
        first_s = self._log[0][0] if self._log else sent_s
        return first_s > now_s + again_s - self.length_s / 2  # in over half of that window none of ours was sent

    def uncounted(self, sent_s: float, images: int = 1) -> None:
        """The request sent at `sent_s` was refused for a reason that has nothing to do with this window."""
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
        """Requests may overtake each other on their way; only headers can correct a count that was too careful."""
        return self.length_s / (60 if self.kind is WindowKind.UNKNOWN else 120)

    @property
    def _count(self) -> int:
        """Own requests that the server still counts."""
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
        """Whether one request may go ahead to see if the reset has given all back, however many images it is for."""
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
        # They leave a gliding window at moments unknown, so evenly on average.
        return max(0, math.ceil(self._others * (1 - (now_s - self._others_s) / self.length_s)))

    def _counted_if_sliding(self, at_s: float) -> int:
        """Own images that a sliding window would count at `at_s`."""
        # Not those at its edges, which may have been overtaken or held up on their way.
        edge_s = max(self._slack_s, min(LATE_S, self.length_s / 16))
        first_s, last_s = at_s - self.length_s + edge_s, at_s - edge_s
        return sum(images for sent, images in self._log if first_s < sent < last_s)

    def _measure(self, reset: ResetTime, used: int | None, sent_s: float) -> None:
        """Learn how long a gliding window is at most from a reset, `used` images being counted at `sent_s`.

        A sliding window's reset lies a window after the oldest request that counts. A token bucket's lies `used` parts
        of `limit` of a window ahead, which scaling by `limit / used` makes up for; with both the length is never taken
        for too short. An empty bucket names its next token instead, so a reset beside nothing left tells nothing.
        """
        if self.kind is not WindowKind.SLIDING or self._limit is None or not used or not 0 < used < self._limit:
            return
        # Of those sent together with this one it is not known which came first: older ones are taken to count.
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
            and not (self._log and self._log[-1][0] == now_s)  # it is known by its moment, so that must be its own
        )

    def _advance(self, now_s: float) -> None:
        while self._log and self._log[0][0] + self.length_s + self._slack_s <= now_s:
            self._logged -= self._log.popleft()[1]
        if self._others and now_s >= self._others_s + self.length_s:
            self._others = 0
        if self._period.advance(now_s):
            # Reset times are rounded up to whole seconds: what was sent so short before may count after it.
            self._begin(self._period.opened_s - self.length_s / 60)

    def _begin(self, since_s: float) -> None:
        """A new period: only what was sent at or after `since_s` counts in it."""
        self._used = sum(images for sent, images in self._log if sent >= since_s)
        if self._period.first_s is None:
            self._period.first_s = next((sent for sent, _ in self._log if sent >= self._period.opened_s), None)
        self._others = 0
        self._credit, self._least_remaining = -math.inf, math.inf
