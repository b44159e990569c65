"""Plan a run: the jobs left to do, their price and their time."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from venice_batch.api.listings import CURRENCIES
from venice_batch.catalogue import Bill
from venice_batch.model import SUMMARY, Percentiles, Reason
from venice_batch.money import micro_usd, usd
from venice_batch.output.resume import Resume
from venice_batch.output.reuse import ReusableImages
from venice_batch.pacing.estimate import LATENCY_S, Load, Sizes, lane_s, windows_needed
from venice_batch.pacing.window import part_of
from venice_batch.run.chains import ChainedJobs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from venice_batch.api.listings import Quota
    from venice_batch.catalogue import Preflight
    from venice_batch.jobfile import JobIndex
    from venice_batch.jobfile.chains import Chains
    from venice_batch.output.manifest import FileView


DEFAULT_RPM = 20
"""Images a minute for an image model if the key's own limit is unknown (the API's documentation)."""

_DAY_S = 86_400.0


class LanePlan(msgspec.Struct):
    """One model's pending requests, their images and their price.

    `usd` is the most that they can cost; the `unpriced` requests, whose price is unknown, are not in it.
    `enhancement_usd` is the part of it that is charged only if prompts are rewritten. `rpm` is the limit that the plan
    assumes, in images a minute.
    """

    requests: int = 0
    images: int = 0
    usd: float = 0.0
    unpriced: int = 0
    enhancement_usd: float = 0.0
    rpm: int = DEFAULT_RPM


MOST_STEPS = 1000
"""Jobs in chains that a plan lists."""


class ChainStep(msgspec.Struct, frozen=True):
    """One job of a chain; `depth` counts the jobs that have to be done before it.

    `works_on` names the images that it takes, as `cat`, `cat, image 2` or `cat, once picked`; a chain's first job takes
    none. `usd` is the most that it can cost, None if that is not known.
    """

    id: str
    lane: str
    depth: int
    works_on: tuple[str, ...]
    usd: float | None
    done: bool


class ChainPlan(msgspec.Struct, frozen=True):
    """The jobs that work on other jobs' images: how many there are, and how many jobs the longest chain has.

    `listed` holds each chain from its first job on, up to a number of jobs. `waiting` says which of the pending jobs
    could not go on now, because no image is picked yet or because a job was rejected.
    """

    jobs: int
    steps: int
    listed: tuple[ChainStep, ...]
    waiting: tuple[Reason, ...]


class Plan(msgspec.Struct, frozen=True):
    """The jobs of a file: how many are done, how many were rejected before, and the rest by model and in total.

    `reused` jobs take images of other folders; they are neither done nor pending. `left_out` counts the jobs that are
    outside the part asked for, without those of other shards.
    Sums of money are exact to the last digit. `expected_s` is the time of the longest lane, with answers as slow as in
    the folder's last run. `balances` are those that pay for images, in the order in which the API uses them; `suffices`
    says whether each request can be paid from one of them. Both are None if unknown.
    `chains` is None for a file in which no job works on another's image.
    """

    jobs: int
    already_done: int
    already_rejected: int
    pending: int
    lanes: dict[str, LanePlan]
    images: int = 0
    usd: float = 0.0
    unpriced: int = 0
    enhancement_usd: float = 0.0
    expected_s: float = 0.0
    balances: dict[str, float] | None = None
    suffices: bool | None = None
    chains: ChainPlan | None = None
    reused: int = 0
    left_out: int = 0

    def exceeds(self, max_usd: Decimal | float) -> bool:
        """Return whether the known prices add up to more than `max_usd`."""
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
    share: int = 1,
    balances: Mapping[str, float] | None = None,
    access: bool = True,
    reuse: Sequence[str | os.PathLike[str]] = (),
    reused_kind: bool | None = None,
    notify: Callable[[str], None] = lambda text: None,
    whole: Callable[[Sequence[FileView]], bool] | None = None,
) -> Plan:
    """Compare `index` with the content of the folder `output`, without changing anything.

    Args:
        preflight: has examined every job of the index. Without it the jobs are read again, and no price is known.
        retry_rejected: jobs that were rejected before are to do again.
        sandbox: jobs done by a sandbox count as done; the run would ask a sandbox again.
        quotas: the key's limits, by model.
        rpm: an upper limit for the images a minute of each model.
        share: the run uses 1/`share` of every quota.
        balances: the key's balances, by currency.
        access: without it the key pays for nothing, whatever the balances.
        reuse: other output folders, whose images jobs take instead of buying them.
        reused_kind: take only images of a sandbox (True), only real ones (False), or either.
        notify: receives a sentence about images that cannot be reused.
        whole: says whether files are as recorded, if they are not in `output`.

    Raises:
        FolderError: there is a manifest and it cannot be read, or a folder to reuse has none.
    """
    known = Resume(index, output, sandbox=sandbox, whole=whole)
    done = known.done
    is_settled = known.is_done if retry_rejected else known.is_settled
    reused = 0
    if reuse:
        folders = [Path(folder) for folder in reuse]
        reusable = ReusableImages(index, known, output, folders, is_settled=is_settled, sandbox=reused_kind)
        for text in reusable.notices:
            notify(text)
        reusable.note_all()
        reused = len(reusable)
    untouched = not (done or known.rejected or reused)
    if preflight is None:
        bills = _unpriced(index, is_settled)
    else:
        bills = preflight.bills(None if untouched else (not is_settled(place) for place in range(len(index))))
    lanes: dict[str, LanePlan] = {}
    micro: defaultdict[str, int] = defaultdict(int)
    enhancement: defaultdict[str, int] = defaultdict(int)
    sizes: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for bill, count in bills:
        lane = lanes.setdefault(bill.lane, LanePlan(rpm=images_a_minute(bill, quotas, rpm, share)))
        lane.requests += count
        lane.images += count * bill.images
        if bill.micro_usd is None:
            lane.unpriced += count
        else:
            micro[bill.lane] += count * bill.micro_usd
            enhancement[bill.lane] += count * bill.enhancement_micro_usd
        # All names of a model share its limit.
        by_size = sizes[bill.model]
        by_size[bill.images] = by_size.get(bill.images, 0) + count
    for name, lane in lanes.items():
        lane.usd = float(usd(micro[name]))
        lane.enhancement_usd = float(usd(enhancement[name]))
    latencies = observed_latencies(output)
    pending = sum(lane.requests for lane in lanes.values())
    unpriced = sum(lane.unpriced for lane in lanes.values())
    if balances is not None:
        balances = {name: balances[name] for name in CURRENCIES if name in balances}
    return Plan(
        jobs=len(index),
        already_done=done,
        already_rejected=len(index) - done - reused - pending,
        pending=pending,
        lanes=lanes,
        images=sum(lane.images for lane in lanes.values()),
        usd=float(usd(sum(micro.values()))),
        unpriced=unpriced,
        enhancement_usd=float(usd(sum(enhancement.values()))),
        expected_s=max(
            (
                _expected_s(bill, tuple(sizes[bill.model].items()), quotas, rpm, latencies.get(bill.lane), share)
                for bill, _ in bills
            ),
            default=0.0,
        )
        + LATENCY_S * max(0, _steps(index.chains, is_settled) - 1),
        balances=balances,
        suffices=None if balances is None else access and suffices(bills, balances),
        chains=_chain_plan(index, known, is_settled, preflight) if index.chains else None,
        reused=reused,
        left_out=index.left_out,
    )


def images_a_minute(bill: Bill, quotas: Mapping[str, Quota] | None, rpm: int | None, share: int = 1) -> int:
    """Return the images a minute to plan with: 1/`share` of the key's limit or the documented one; at most `rpm`."""
    quota = _quota(bill, quotas)
    own = part_of((quota.rpm if quota else None) or DEFAULT_RPM, share)
    return own if rpm is None else min(own, rpm)


def duration_s(sizes: Sizes, rpm: int, rpd: int | None = None, *, latency_s: float = LATENCY_S) -> float:
    """Return how long requests of these sizes take, if each minute's quota is used at once.

    `rpm` and `rpd` are the images a minute and a day, `latency_s` is the time of one request.
    """
    requests = sum(count for _, count in sizes)
    if not requests:
        return 0.0
    days = 0
    if rpd is not None:
        days, today = windows_needed(sizes, rpd, rpd)
        sizes = _last_of(sizes, today if days else requests)
    requests = sum(count for _, count in sizes)
    load = Load(requests=requests, sizes=sizes, quota=rpm, left=rpm, latency_s=latency_s)
    return days * _DAY_S + lane_s(load)


def suffices(bills: Sequence[tuple[Bill, int]], balances: Mapping[str, float]) -> bool | None:
    """Return whether each request, at the most that it can cost, can be paid from one of `balances`.

    None if that is unknown: because a price is, or because it depends on the order of requests or on rewritten prompts.
    """
    most = [(bill.micro_usd, count) for bill, count in bills if bill.micro_usd is not None]
    least = [
        (bill.micro_usd - bill.enhancement_micro_usd, count) for bill, count in bills if bill.micro_usd is not None
    ]
    amounts = [max(0, micro_usd(balances.get(name, 0.0))) for name in CURRENCIES]
    if _pay(least, amounts) is False:
        return False
    is_priced = all(bill.micro_usd is not None for bill, _ in bills)
    return True if is_priced and _pay(most, amounts) else None


class _Lane(msgspec.Struct):
    latency_s: Percentiles = Percentiles()


class _Before(msgspec.Struct):
    lanes: dict[str, _Lane] = {}


def observed_latencies(output: Path) -> dict[str, float]:
    """Return the time in seconds within which 95 % of each lane's requests were answered in the last run into `output`.

    Lanes without a figure, or all if the summary cannot be read, are left out.
    """
    try:
        before = msgspec.json.decode((output / SUMMARY).read_bytes(), type=_Before)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}  # no need to report it: an assumption takes its place
    return {name: lane.latency_s.p95 for name, lane in before.lanes.items() if lane.latency_s.p95}


def _expected_s(
    bill: Bill,
    sizes: Sizes,
    quotas: Mapping[str, Quota] | None,
    rpm: int | None,
    latency_s: float | None,
    share: int,
) -> float:
    """Return the time of all requests to the model of `bill`, under all names that jobs use for it."""
    quota = _quota(bill, quotas)
    rate = images_a_minute(bill, quotas, rpm, share)
    rpd = part_of(quota.rpd, share) if quota and quota.rpd else None
    return duration_s(sizes, rate, rpd, latency_s=LATENCY_S if latency_s is None else latency_s)


def _quota(bill: Bill, quotas: Mapping[str, Quota] | None) -> Quota | None:
    return (quotas or {}).get(bill.model)


def _last_of(sizes: Sizes, requests: int) -> Sizes:
    """Return the last `requests` requests of `sizes`."""
    found: list[tuple[int, int]] = []
    for images_each, count in reversed(sizes):
        taken = min(count, requests)
        requests -= taken
        if taken:
            found.insert(0, (images_each, taken))
    return tuple(found)


def _pay(prices: Sequence[tuple[int, int]], amounts: Sequence[int]) -> bool | None:
    """Return whether all can be paid, each from the first amount that covers it; None if their order decides."""
    orders = (prices, sorted(prices), sorted(prices, reverse=True))
    found = {_pays(order, amounts) for order in orders}
    return found.pop() if len(found) == 1 else None


def _pays(prices: Sequence[tuple[int, int]], amounts: Sequence[int]) -> bool:
    left = list(amounts)
    for price, count in prices:
        for place, amount in enumerate(left):
            paid = min(count, amount // price) if price else count
            left[place] -= paid * price
            count -= paid
        if count:
            return False
    return True


def _unpriced(index: JobIndex, is_settled: Callable[[int], bool]) -> list[tuple[Bill, int]]:
    counts: dict[Bill, int] = {}
    for number, name in enumerate(index.lanes):
        for job in index.pending(number, is_settled):
            bill = Bill(name, name, job.images, None)
            counts[bill] = counts.get(bill, 0) + 1
    return list(counts.items())


def _steps(chains: Chains, is_settled: Callable[[int], bool] = lambda place: False) -> int:
    """Return how many jobs have to be done one after the other in the longest chain; 0 without chains."""
    left: dict[int, int] = {}
    for place in chains.order:
        before = max(left.get(parent, int(not is_settled(parent))) for parent in chains.parents[place])
        left[place] = before + int(not is_settled(place))
    return max(left.values(), default=0)


def _chain_plan(
    index: JobIndex, known: Resume, is_settled: Callable[[int], bool], preflight: Preflight | None
) -> ChainPlan:
    chains = index.chains
    order = _from_the_first(chains)
    listed = []
    for place, depth in islice(order, MOST_STEPS):
        job = index.job(place)
        works_on = tuple(
            f"{link.job}, once picked"
            if link.pick
            else f"{link.job}, image {link.variant}"
            if link.variant
            else link.job
            for link in chains.links.get(place, ())
        )
        micro = None if preflight is None else preflight.bill(place).micro_usd
        cost = None if micro is None else float(usd(micro))
        listed.append(ChainStep(job.id, job.model, depth, works_on, cost, known.is_done(place)))
    waiting = ChainedJobs(index, known, is_settled)
    waiting.ready()
    return ChainPlan(len(chains), _steps(chains), tuple(listed), waiting.kept_back())


def _from_the_first(chains: Chains) -> Iterator[tuple[int, int]]:
    """Yield each job in a chain with its depth: chain by chain, a job behind the first of those that it waits for."""
    left = [(place, 0) for place in sorted(chains.ids.keys() - chains.links.keys(), reverse=True)]
    while left:
        place, depth = left.pop()
        yield place, depth
        below = (child for child in chains.children.get(place, ()) if chains.parents[child][0] == place)
        left += [(child, depth + 1) for child in sorted(below, reverse=True)]
