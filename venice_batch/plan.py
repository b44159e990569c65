"""What a run would do, cost and take."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.listings import SPENDABLE
from venice_batch.catalogue import Bill, micro_usd, usd
from venice_batch.catalogue.prices import has_extras, images
from venice_batch.forecast import LATENCY_S, Load, lane_s
from venice_batch.output.resume import Resume
from venice_batch.summary import SUMMARY, Percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    from venice_batch.catalogue import Preflight
    from venice_batch.jobfile import JobIndex
    from venice_batch.pacing.lane import Quota

DEFAULT_RPM = 20
"""Requests a minute for an image model where the key's own figure is not known (the API's documentation)."""

_DAY_S = 86_400.0


class LanePlan(msgspec.Struct):
    """One model's pending requests, the images that they ask for, and what these cost.

    `usd` leaves out `unpriced` requests, whose price is not known; `extras` are requests with web search or prompt
    enhancement, which cost more than the listed price. `rpm` is the number of requests a minute gone by.
    """

    requests: int = 0
    images: int = 0
    usd: float = 0.0
    unpriced: int = 0
    extras: int = 0
    rpm: int = DEFAULT_RPM


class Plan(msgspec.Struct, frozen=True):
    """Jobs in the file, those done, those refused before, and what is left to do, by model and in all.

    Sums of money are exact to the last digit shown. `expected_s` is how long the longest lane takes, its last
    answer as late as in the folder's last run. `balance_usd` and `suffices` are None where they are not known.
    """

    jobs: int
    already_done: int
    already_rejected: int
    pending: int
    lanes: dict[str, LanePlan]
    images: int = 0
    usd: float = 0.0
    unpriced: int = 0
    extras: int = 0
    expected_s: float = 0.0
    balance_usd: float | None = None
    suffices: bool | None = None

    def exceeds(self, max_usd: Decimal | float) -> bool:
        """Whether the known prices come to more than `max_usd`."""
        return micro_usd(self.usd) > micro_usd(max_usd)


def plan(
    index: JobIndex,
    output: Path,
    *,
    preflight: Preflight | None = None,
    retry_rejected: bool = False,
    sandbox: bool = True,
    quotas: Mapping[str, Quota] | None = None,
    rpm: int | None = None,
    balances: Mapping[str, float] | None = None,
) -> Plan:
    """Compare `index` with what `output` holds; touches nothing.

    `preflight` has examined every job of the index (else they are read again, and no price is known). `quotas` and
    `balances` are the key's own; `rpm` caps the requests a minute of each model. `sandbox`: what a sandbox made counts
    as done, as the run would ask one again.

    Raises:
        FolderError: there is a manifest that cannot be read.
    """
    known = Resume(index, output, sandbox=sandbox)
    done = known.done
    is_settled = known.is_done if retry_rejected else known.is_settled
    untouched = not (done or known.rejected)
    if preflight is None:
        bills = _unpriced(index, is_settled)
    else:
        bills = preflight.bills(None if untouched else (not is_settled(place) for place in range(len(index))))
    return plan_of(bills, output, jobs=len(index), already_done=done, quotas=quotas, rpm=rpm, balances=balances)


def plan_of(
    bills: Sequence[tuple[Bill, int]],
    output: Path,
    *,
    jobs: int,
    already_done: int = 0,
    quotas: Mapping[str, Quota] | None = None,
    rpm: int | None = None,
    balances: Mapping[str, float] | None = None,
) -> Plan:
    """What `plan` returns where it is known that `bills`, each of so many jobs, are left to do of `jobs`.

    Of those that are neither done nor left it is taken that they were refused. `output` tells how long answers took.
    """
    lanes: dict[str, LanePlan] = {}
    micro: defaultdict[str, int] = defaultdict(int)
    models: defaultdict[str, int] = defaultdict(int)
    for bill, count in bills:
        lane = lanes.setdefault(bill.lane, LanePlan(rpm=requests_a_minute(bill, quotas, rpm)))
        lane.requests += count
        lane.images += count * bill.images
        lane.extras += count * bill.extras
        if bill.micro_usd is None:
            lane.unpriced += count
        else:
            micro[bill.lane] += count * bill.micro_usd
        models[bill.model] += count
    for name, lane in lanes.items():
        lane.usd = float(usd(micro[name]))
    latencies = observed_latencies(output)
    pending = sum(lane.requests for lane in lanes.values())
    cost = sum(micro.values())
    unpriced = sum(lane.unpriced for lane in lanes.values())
    balance = None if balances is None else sum(balances.get(name, 0.0) for name in SPENDABLE)
    return Plan(
        jobs=jobs,
        already_done=already_done,
        already_rejected=jobs - already_done - pending,
        pending=pending,
        lanes=lanes,
        images=sum(lane.images for lane in lanes.values()),
        usd=float(usd(cost)),
        unpriced=unpriced,
        extras=sum(lane.extras for lane in lanes.values()),
        expected_s=max(
            (_expected_s(bill, models[bill.model], quotas, rpm, latencies.get(bill.lane)) for bill, _ in bills),
            default=0.0,
        ),
        balance_usd=balance,
        suffices=_suffices(cost, unpriced, balance),
    )


def requests_a_minute(bill: Bill, quotas: Mapping[str, Quota] | None, rpm: int | None) -> int:
    """The requests a minute to reckon with: the key's own, else the documented ones, at most `rpm`."""
    quota = _quota(bill, quotas)
    own = (quota.rpm if quota else None) or DEFAULT_RPM
    return own if rpm is None else min(own, rpm)


def duration_s(requests: int, rpm: int, rpd: int | None = None, *, latency_s: float = LATENCY_S) -> float:
    """How long `requests` take: a window's at once, the next window a minute later; `rpd` of them a day."""
    if not requests:
        return 0.0
    days = 0 if rpd is None else (requests - 1) // rpd
    today = requests - days * (rpd or 0)
    return days * _DAY_S + lane_s(Load(requests=today, quota=rpm, left=rpm, latency_s=latency_s))


class _Lane(msgspec.Struct):
    latency_s: Percentiles = Percentiles()


class _Before(msgspec.Struct):
    lanes: dict[str, _Lane] = {}


def observed_latencies(output: Path) -> dict[str, float]:
    """Seconds within which 95 % of a lane's requests were answered in the last run into `output`, where it has told."""
    try:
        before = msgspec.json.decode((output / SUMMARY).read_bytes(), type=_Before)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}  # nothing worth a word: an assumption takes its place
    return {name: lane.latency_s.p95 for name, lane in before.lanes.items() if lane.latency_s.p95}


def _expected_s(
    bill: Bill, requests: int, quotas: Mapping[str, Quota] | None, rpm: int | None, latency_s: float | None
) -> float:
    """The time of a model's requests, under whatever names the jobs have it: they share its limit."""
    quota = _quota(bill, quotas)
    rate, rpd = requests_a_minute(bill, quotas, rpm), quota.rpd if quota else None
    return duration_s(requests, rate, rpd, latency_s=LATENCY_S if latency_s is None else latency_s)


def _quota(bill: Bill, quotas: Mapping[str, Quota] | None) -> Quota | None:
    return (quotas or {}).get(bill.model)


def _suffices(cost_micro_usd: int, unpriced: int, balance_usd: float | None) -> bool | None:
    if balance_usd is None:
        return None
    if cost_micro_usd > micro_usd(balance_usd):
        return False
    return None if unpriced else True


def _unpriced(index: JobIndex, is_settled: Callable[[int], bool]) -> list[tuple[Bill, int]]:
    counts: dict[Bill, int] = {}
    for number, name in enumerate(index.lanes):
        for job in index.pending(number, is_settled):
            bill = Bill(name, name, images(job.request), None, has_extras(job.request))
            counts[bill] = counts.get(bill, 0) + 1
    return list(counts.items())
