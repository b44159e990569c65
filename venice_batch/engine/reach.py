"""Whether it is the API that answers, and what to do when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from venice_batch.retry import Fault, Verdict

if TYPE_CHECKING:
    from venice_batch.retry import Answer

MOST_INTERCEPTED = 3
"""So many jobs in a row that somebody else than the API has answered mean that everything is refused on the way."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of failing to connect before the run stops.

    `first_s`, when it never connected: more likely a wrong address than an outage. `later_s`, after it had:
    long enough for a router or a gateway to restart.
    """

    first_s: float = 15.0
    later_s: float = 120.0


class Reach:
    """Watches connections come about or not, and who answers on them, over all lanes.

    `known`: the API has answered at this address before, in an earlier run or to a request for a listing.
    """

    def __init__(self, patience: Patience, *, known: bool = False) -> None:
        self._patience = patience
        self._ever = False
        self._lost_since_s: float | None = None
        self.known = known
        self._served = False
        self._doubted_s: float | None = None
        self._requests = 0
        self._under_way: set[int] = set()
        self._intercepted: set[str] = set()
        self._row_began = 0

    def note(self, now_s: float, *, reached: bool) -> str | None:
        """Take one attempt into account; returns what to tell the user once the API is to be given up.

        `now_s` is time in which the process ran (`Clock.running`): a laptop that slept has not tried to connect.
        """
        if reached:
            self._ever, self._lost_since_s = True, None
            return None
        if self._lost_since_s is None:
            self._lost_since_s = now_s
        limit_s = self._patience.later_s if self._ever else self._patience.first_s
        if now_s - self._lost_since_s < limit_s:
            return None
        return "run the same command again when it can" if self._ever else "is the address right?"

    def sent(self) -> int:
        """A request goes out; returns its number, for `ended`."""
        self._requests += 1
        self._under_way.add(self._requests)
        return self._requests

    def ended(self, number: int) -> None:
        """The request is over, however it ended; to be called before `judge`."""
        self._under_way.discard(number)

    def judge(self, answer: Answer, job: str) -> Verdict:
        """The verdict on the answer for the job with this id, in the light of those before.

        A page of a firewall, a proxy or a router (NOT_THE_API) is believed about the address only while the API has
        never answered there. After that only `job` is at fault, and is to be tried again (TRANSIENT). The address is
        doubted again once `MOST_INTERCEPTED` jobs in a row have got a page, with no answer of the API between, and
        nothing is under way that was sent before the first of them.

        A refused key is believed at once while nothing was served. A key that has worked is refused when a request
        that was sent after the first refusal is refused too: an authentication service that restarts also says 401.
        """
        verdict = answer.verdict
        if verdict is Verdict.WRONG_ADDRESS:
            return self._judge_intermediary(answer, job)
        if answer.status is None or answer.fault is not None or not answer.from_api:
            return verdict
        self.known = True
        self._intercepted.clear()
        if verdict is Verdict.KEY_REFUSED:
            if not self._served or (self._doubted_s is not None and answer.sent_s >= self._doubted_s):
                return verdict
            self._doubted_s = answer.received_s if self._doubted_s is None else self._doubted_s
            return Verdict.TRANSIENT
        if answer.status < 500:  # whoever fails may not have looked at the key
            self._served, self._doubted_s = True, None
        return verdict

    def _judge_intermediary(self, answer: Answer, job: str) -> Verdict:
        # An address that redirects may well have a listing all the same.
        redirected = answer.status is not None and answer.status < 400
        if not (self._served if redirected else self.known):
            return Verdict.KEY_REFUSED if answer.status in (401, 403) else Verdict.WRONG_ADDRESS
        if not self._intercepted:
            self._row_began = self._requests
        self._intercepted.add(job)
        # Pages come at once, images take their time: what was sent before the first page has yet to tell.
        if len(self._intercepted) < MOST_INTERCEPTED or any(number <= self._row_began for number in self._under_way):
            return Verdict.TRANSIENT
        return Verdict.WRONG_ADDRESS


def stop_reason(answer: Answer, *, known: bool) -> str:
    """Why the run stops at an answer that is none of the API's, or that refuses the key."""
    if answer.fault is not Fault.NOT_THE_API:
        return f"the API refused the key: {answer.message}"
    if known:
        return f"something on the way to the API refuses everything: {answer.message}; run the same command again later"
    hint = "" if "--base-url" in answer.message else "; is --base-url right?"
    if answer.status in (401, 403):
        return f"the key was refused, though not in the API's own words: {answer.message}{hint}"
    return f"this is not the API: {answer.message}{hint}"
