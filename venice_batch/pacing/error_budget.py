"""Keep a run's client errors below the number at which the API refuses everything in a bucket."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from venice_batch.api.answers import Fault, Verdict
from venice_batch.pacing.reset_time import ResetTime

if TYPE_CHECKING:
    from venice_batch.api.answers import Answer


SAMPLE = 200
"""Recent answers from which the share of failing requests is estimated. Older ones would hide a bad part of a file."""

FIRST_ANSWERS = 5
"""After this many answers a run's share of errors is known well enough, where an older server may count everything."""

_Z = 3.0
"""Standard deviations of the upper bound, which is exceeded once in 740 times."""

_SAME_S = 0.001
"""Reset times are in whole milliseconds; two that differ by no more are the same."""

_LIMIT = re.compile(r">\s*(\d+)")


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """The API's rule: more than `limit` errors within `window_s` seconds close a bucket.

    It stays closed for `block_s`, unless the server says how long. Client errors count (4xx except 429), in one bucket
    for each model. On an older server (`older`) every request without a success counts, in one bucket for all models.
    `margin` errors are left to other programs with the same key, and of the rest a run causes 1/`share` at most.

    Sources: Venice's published agent skills of 2026-10-02 (50, client errors); its rate-limit page of 2026-08 (20,
    every failure).
    """

    limit: int = 50
    window_s: float = 30.0
    block_s: float = 30.0
    older: bool = False
    margin: int = 2
    share: int = 1

    @property
    def affordable(self) -> int:
        """Errors that a run may cause in one window; at least 1, as otherwise it could send nothing."""
        return self.part_of(self.limit)

    def part_of(self, limit: int) -> int:
        """Return this run's part of a budget of `limit` errors."""
        return max(1, (limit - self.margin) // self.share)

    def counts(self, answer: Answer) -> bool:
        """Return whether the server counts this answer as an error."""
        if answer.verdict is Verdict.BLOCKED:
            return False
        if self.older:
            return answer.fault is not Fault.CONNECT and (answer.status is None or answer.status >= 300)
        return answer.status is not None and 400 <= answer.status < 500 and answer.status != 429

    def is_sample(self, answer: Answer) -> bool:
        """Return whether this answer counts when the share of errors is estimated."""
        return self.counts(answer) or answer.status == 200


OLDER_LIMIT = 20
"""An older server's limit, by which it is recognised."""


def likely_errors(requests: int, answers: int, errors: int) -> float:
    """Return an upper bound for how many of `requests` will fail, given that `errors` of `answers` were errors.

    Without an error so far it is 0, so a healthy lane never waits. Otherwise two steps follow, each with z = 3. The
    share of errors is the upper end of Wilson's score interval for `errors` of `answers`. The number of errors is z
    standard deviations above the mean for that share.

    Source: for the interval, E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927); for the number, the normal approximation of the binomial
    distribution.
    """
    if not errors:
        return 0.0
    share, z2 = errors / answers, _Z * _Z
    spread = _Z * math.sqrt(share * (1 - share) / answers + z2 / (4 * answers * answers))
    upper = min(1.0, (share + z2 / (2 * answers) + spread) / (1 + z2 / answers))
    return min(float(requests), requests * upper + _Z * math.sqrt(requests * upper * (1 - upper)))


class _Bucket:
    """The errors of one bucket: this run's own count, and the server's figure of how many are left.

    The server's figure goes before the count. It may come late, so within one window the lowest figure counts. A run
    with a share of the budget keeps to both: what is left may be what the other runs are about to use.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.blocked_until_s = -math.inf
        self._errors: deque[float] = deque()
        self._sample: deque[bool] = deque()
        self._sampled_errors = 0
        self._left: int | None = None
        self._left_until_s = math.inf
        self._reset: ResetTime | None = None
        self._most_left = 0

    def wait_s(self, rule: ErrorRule, now_s: float, *, cautious: bool) -> float:
        """Return the seconds until one more request may be sent; infinity until an answer arrives.

        A request may be sent if the errors to expect from all in flight fit into the budget. With `cautious`, and
        before `FIRST_ANSWERS`, all of them are expected to fail.
        """
        if now_s < self.blocked_until_s:
            return self.blocked_until_s - now_s
        answers = len(self._sample)
        if cautious and answers < FIRST_ANSWERS:
            likely = float(self.in_flight + 1)
        else:
            likely = likely_errors(self.in_flight + 1, answers, self._sampled_errors)
        self._expire(rule, now_s)
        by_server_s = 0.0 if self._left is None else self._left_wait_s(rule, likely, now_s, self._left)
        if self._left is not None and rule.share == 1:
            return by_server_s
        return max(by_server_s, self._own_wait_s(rule, likely, now_s))

    def _left_wait_s(self, rule: ErrorRule, likely: float, now_s: float, left: int) -> float:
        """Return the wait until `likely` errors fit into what the server says is left."""
        if likely <= max(0, left - rule.margin):
            return 0.0
        can_grow = self._whole(rule) >= likely
        return max(0.0, self._left_until_s - now_s) if can_grow or not self.in_flight else math.inf

    def _own_wait_s(self, rule: ErrorRule, likely: float, now_s: float) -> float:
        """Return the wait until `likely` errors fit beside this run's own of the last window."""
        excess = math.ceil(likely + len(self._errors) - rule.part_of(max(rule.limit, self._most_left)))
        if excess <= 0:
            return 0.0
        can_grow = excess <= len(self._errors)
        renews_s = self._errors[excess - 1] + rule.window_s if can_grow else math.inf
        return max(0.0, renews_s - now_s) if can_grow or not self.in_flight else math.inf

    def answered(self, rule: ErrorRule, answer: Answer, reset: ResetTime | None) -> None:
        """Learn from an answer; `reset` is when it says that the bucket is full again."""
        now_s = answer.received_s
        left = answer.headers.errors_left
        is_error = rule.counts(answer)
        if is_error and left is None:
            self.failed(now_s)
        elif is_error:
            self._errors.append(now_s)
        if rule.is_sample(answer):
            self._sample.append(is_error)
            self._sampled_errors += is_error
            if len(self._sample) > SAMPLE:
                self._sampled_errors -= self._sample.popleft()
        if left is not None:
            self._most_left = max(self._most_left, left)
            self._take_header(left, reset or ResetTime(answer.sent_s + rule.window_s, now_s + rule.window_s), now_s)

    def _take_header(self, left: int, reset: ResetTime, now_s: float) -> None:
        """Take a header's figure for the window that ends at `reset`.

        A server may write the header when the request comes in, so a slow answer brings old news. Within one window the
        lowest figure is the newest.
        """
        if reset.latest_s <= now_s:
            return
        step_s = math.inf if self._reset is None else reset.after(self._reset)
        if step_s < -_SAME_S:
            return
        if self._left is None or step_s > _SAME_S:
            self._left, self._left_until_s, self._reset = left, reset.latest_s, reset
        else:
            self._left = min(self._left, left)
            self._left_until_s = reset.latest_s

    def failed(self, now_s: float) -> None:
        """Count one error that is not in the server's figure yet."""
        self._errors.append(now_s)
        if self._left is not None:
            self._left = max(0, self._left - 1)

    def _whole(self, rule: ErrorRule) -> int:
        """Return how many errors the full bucket allows after its reset."""
        return max(1, (self._most_left or rule.limit) - rule.margin)

    def _expire(self, rule: ErrorRule, now_s: float) -> None:
        # "<" and not "<=": an error exactly one window old may still count at the server.
        while self._errors and self._errors[0] + rule.window_s < now_s:
            self._errors.popleft()
        if self._left is not None and self._left_until_s <= now_s:
            self._left, self._left_until_s = self._whole(rule) + rule.margin, math.inf


class ErrorBudgets:
    """The error buckets of one run. A request may be sent only if its bucket has room for the errors to expect.

    The server may be an older one until an answer has the error budget's headers. So until then the stricter of both
    rules applies, and the first few requests count as errors until they are answered. A message that names the limit
    decides the matter. With `rule` None the server is not known to have such a rule: nothing is held back until it
    shows one. Of every rule the run uses 1/`share`.

    Call `sent`, then `answered` or `given_up`, each with the same bucket.
    """

    def __init__(self, rule: ErrorRule | None, *, share: int = 1) -> None:
        self._assumed = rule is not None
        self._set_rule(replace(rule or ErrorRule(), share=share))
        self._has_headers = False
        self._is_older = False
        self._all = _Bucket()
        self._buckets: dict[str, _Bucket] = {}
        self.blocks = 0

    @property
    def is_shared(self) -> bool:
        """Whether one bucket holds the errors of all models, as far as known."""
        return self._is_older or not self._has_headers

    def wait_s(self, bucket: str, now_s: float) -> float:
        """Return the seconds until one more request of `bucket` may be sent; infinity until an answer arrives."""
        if self._is_older:
            return self._all.wait_s(self._older_rule, now_s, cautious=False)
        own = self._bucket(bucket)
        if self._has_headers:
            return own.wait_s(self._rule, now_s, cautious=False)
        wait_s = max(0.0, own.blocked_until_s - now_s)
        if not self._assumed:
            return wait_s
        return max(wait_s, self._all.wait_s(self._older_rule, now_s, cautious=True))

    def held_s(self, now_s: float) -> float:
        """Return the seconds that all models wait together; 0 if each has its own bucket."""
        return self.wait_s("", now_s) if self.is_shared else 0.0

    def sent(self, bucket: str) -> None:
        """Count one request as in flight."""
        self._all.in_flight += 1
        self._bucket(bucket).in_flight += 1

    def answered(self, bucket: str, answer: Answer, *, sent_s: float, reset: ResetTime | None) -> None:
        """Learn from the answer to the request sent at `sent_s`; `reset` is the bucket's, on the run's clock."""
        self._has_headers = self._has_headers or answer.headers.errors_left is not None
        own = self._bucket(bucket)
        self._all.in_flight -= 1
        own.in_flight -= 1
        self._all.answered(self._older_rule, answer, None)
        own.answered(self._rule, answer, reset)
        if answer.verdict is Verdict.BLOCKED:
            self._block(own, answer, sent_s, reset)

    def listed(self) -> None:
        """Learn that a listing came with the error budget's headers."""
        self._has_headers = True

    def given_up(self, bucket: str, now_s: float) -> None:
        """Note that one request was cancelled before its answer; an older server may count it as failed."""
        self._all.in_flight -= 1
        self._all.failed(now_s)
        self._bucket(bucket).in_flight -= 1

    def _block(self, own: _Bucket, answer: Answer, sent_s: float, reset: ResetTime | None) -> None:
        found = _LIMIT.search(answer.message)
        limit = int(found[1]) if found else None
        if limit == OLDER_LIMIT and not self._has_headers:
            self._is_older = True
        elif limit:
            self._set_rule(replace(self._rule, limit=limit))
        bucket = self._all if self._is_older else own
        is_news = sent_s >= bucket.blocked_until_s
        self.blocks += is_news
        if is_news or answer.hint_s is not None:
            until_s = answer.received_s + self._rule.block_s
            if answer.hint_s is not None:
                until_s = answer.received_s + answer.hint_s
            elif reset is not None:
                until_s = reset.latest_s
            bucket.blocked_until_s = max(bucket.blocked_until_s, until_s)

    def _set_rule(self, rule: ErrorRule) -> None:
        self._rule = rule
        self._older_rule = replace(rule, limit=min(OLDER_LIMIT, rule.limit), older=True)

    def _bucket(self, name: str) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket()
        return bucket
