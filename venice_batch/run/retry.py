"""Whether and when a job is tried again: decisions on its history and its last answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from venice_batch.api.answers import Fault, Verdict
from venice_batch.errors import UsageError
from venice_batch.pacing.backoff import Backoff

if TYPE_CHECKING:
    import random

    from venice_batch.api.answers import Answer
    from venice_batch.model import Attempt
    from venice_batch.run.history import JobHistory

RETRIED = frozenset({Verdict.LIMITED, Verdict.BLOCKED, Verdict.OVERLOADED, Verdict.TRANSIENT})
"""Verdicts after which the same request may well succeed."""

_MOST_DEFERRALS = 100
"""Server-requested waits that do not count as attempts; more means a broken server."""
_MOST_INTERCEPTED = 2
"""A page that comes back for the same job again is probably about that job."""
_LONGEST_HINT_S = 600.0
"""The longest wait that a server may ask of a single job, as some do with a 500."""


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """How often and how a job is tried.

    Parameters:
        max_attempts: tries that count; waits that the server asks for, and failures to connect, do not.
        max_paid_attempts: of these, tries that may have been charged without an image.
        backoff: the wait after a failure without a hint.
        prefer_json: ask for JSON even where binary would do.
    """

    max_attempts: int = 6
    max_paid_attempts: int = 2
    backoff: Backoff = field(default_factory=Backoff)
    prefer_json: bool = False

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise UsageError("--max-attempts must be at least 1")
        if self.max_paid_attempts < 1:
            raise UsageError("--max-paid-attempts must be at least 1")


def is_over(history: JobHistory, rules: AttemptRules) -> bool:
    """Return whether a job that has no image yet is not to be tried again."""
    return (
        history.attempts_used >= rules.max_attempts
        or history.maybe_billed >= rules.max_paid_attempts
        or history.intercepted >= _MOST_INTERCEPTED
        or history.deferrals >= _MOST_DEFERRALS
    )


def wait_s(history: JobHistory, answer: Answer, rules: AttemptRules, rng: random.Random) -> float:
    """Return the seconds to back off before the next attempt; 0 where the lane's gate holds the job anyway."""
    if answer.waits_at_gate:
        return 0.0
    failures = max(1, history.attempts_used + history.connect_failures)
    if answer.verdict in (Verdict.WRONG_ADDRESS, Verdict.KEY_REFUSED):
        failures += 2  # a firewall or an authentication service takes its time to recover, and no try is to be wasted
    return max(rules.backoff.wait_s(failures, rng), min(answer.hint_s or 0.0, _LONGEST_HINT_S))


def note(history: JobHistory, answer: Answer, attempt: Attempt) -> None:
    """Add an attempt to the history, counting it by what its answer means."""
    history.attempts.append(attempt)
    history.maybe_billed += answer.possibly_billed
    history.intercepted += answer.fault is Fault.NOT_THE_API
    # A job does not fail because the server asks it to come later, or because nothing can be reached.
    if answer.waits_at_gate:
        history.deferrals += 1
    elif answer.fault is Fault.CONNECT:
        history.connect_failures += 1
    else:
        history.attempts_used += 1
        history.connect_failures = 0


def remark(history: JobHistory, answer: Answer, rules: AttemptRules) -> str:
    """Return what to add to the message of a job's last answer; "" if nothing."""
    paid, most = history.maybe_billed, rules.max_paid_attempts
    if not answer.possibly_billed or paid < most or history.attempts_used >= rules.max_attempts:
        return ""
    attempts = "1 attempt" if paid == 1 else f"{paid} attempts"
    return f"; {attempts} may have been charged: to try again, run again or raise --max-paid-attempts"
