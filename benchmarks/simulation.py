"""How near the pacing comes to the optimum, on simulated servers of many kinds (no network, no real waiting).

python benchmarks/simulation.py [--quick]
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for when it is loaded by path, as the tests do

from simulated_client import Network, Observed, SimulatedClient, SimulatedJob
from simulated_server import Latency, ServerRules, SimulatedServer, Tally

import venice_batch
from venice_batch.api.listings import Quota
from venice_batch.pacing.error_budget import ErrorRule
from venice_batch.pacing.limiter import MOST_IN_FLIGHT, RateLimiter, SendingRules

SLOW = Latency(30.0, sigma=0.2)
USUAL = Latency(4.0, 12.0)
SANDBOXS = Latency(1.4, 2.6)
"""As the sandbox has it by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. `listed` is the requests a minute that the listing names (None: forbidden); `others` the requests
    a minute that another program takes; `bad` how many of the jobs are invalid, spread evenly. Each job asks for
    `images`. `minute_s` is what the client takes a minute to be (None: the truth)."""

    name: str
    server: ServerRules = field(default_factory=ServerRules)
    jobs: int = 400
    lanes: int = 1
    bad: int = 0
    concurrency: int = MOST_IN_FLIGHT
    images: int = 1
    minute_s: float | None = None
    listed: int | None = 20
    others: int = 0
    network: Network = field(default_factory=Network)
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario.

    `quota_used` is the share of what the windows offered until the last request was let in. `optimum_s` is when a
    client could be done that knows all of the server's rules, and takes the resets it sends at their word: they
    are rounded up to whole seconds, so a client that knows better may be done a little sooner.
    """

    scenario: Scenario
    observed: Observed
    tally: Tally
    blocks: int
    optimum_s: float
    quota_used: float
    took_s: float

    @property
    def requests(self) -> int:
        return self.tally.counts["requests"]

    @property
    def refused(self) -> int:
        return self.tally.counts["refused"]

    def refused_by_minute(self) -> dict[int, int]:
        """Refused requests by minutes since the first of them."""
        found: dict[int, int] = {}
        for moment_s in self.tally.refused_at_s:
            minute = int((moment_s - self.tally.refused_at_s[0]) // self.scenario.server.minute_s)
            found[minute] = found.get(minute, 0) + 1
        return found


def simulate(scenario: Scenario) -> Result:
    """Run one scenario to its end, at most ten times the optimum."""
    rng = random.Random(scenario.seed)
    began_s = time.perf_counter()
    server = SimulatedServer(scenario.server, rng)
    names = [f"model-{number}" for number in range(scenario.lanes)]
    minute_s = scenario.server.minute_s
    taken_s = scenario.minute_s or minute_s
    limiter = RateLimiter(
        SendingRules(
            concurrency=scenario.concurrency,
            minute_s=taken_s,
            errors=ErrorRule(window_s=taken_s / 2, block_s=taken_s / 2),
        ),
        rng,
        quotas={} if scenario.listed is None else {name: Quota(rpm=scenario.listed) for name in names},
    )
    each = scenario.jobs // scenario.lanes
    bad_each = scenario.bad // scenario.lanes
    jobs = {
        name: iter(
            [
                SimulatedJob(
                    name, bad=(number + 1) * bad_each // each > number * bad_each // each, images=scenario.images
                )
                for number in range(each)
            ]
        )
        for name in names
    }
    client = SimulatedClient(limiter, server, jobs, rng, network=scenario.network, others=(scenario.others, minute_s))
    observed = client.run(10 * last_admission_s(scenario, server.epoch_s, 0) + 3600)
    best_s = last_admission_s(scenario, server.epoch_s, server.tally.counts["others"])
    return Result(
        scenario=scenario,
        observed=observed,
        tally=server.tally,
        blocks=server.tally.counts["blocks"],
        optimum_s=best_s + least_latency_s(scenario),
        quota_used=min(1.0, best_s / server.tally.last_admitted_s) if server.tally.last_admitted_s else 1.0,
        took_s=time.perf_counter() - began_s,
    )


def least_latency_s(scenario: Scenario) -> float:
    """From a request's admission to its answer, at best."""
    latency = scenario.server.latency
    return scenario.network.delay_s + (0.0 if latency.sigma else latency.low_s)


def last_admission_s(scenario: Scenario, epoch_s: float, others: int) -> float:
    """When the last request can be let in at the earliest: the lower bound of all that the rules impose.

    `others` is how many requests of another program were let in besides.
    """
    rules = scenario.server
    each = scenario.jobs // scenario.lanes
    good = each - scenario.bad // scenario.lanes
    counting = good if not rules.bad_uses_quota else each
    bounds = [_quota_s(counting + others // scenario.lanes, rules, scenario, epoch_s)]
    attempts = good * scenario.lanes / (1 - rules.fault_rate)
    places = min(scenario.concurrency, rules.capacity * scenario.lanes or scenario.concurrency)
    bounds.append(max(0.0, attempts - places) * rules.latency.mean_s * (1 - rules.fault_rate / 2) / places)
    if scenario.bad:
        most = 20 if rules.older else 50 * scenario.lanes
        bounds.append((scenario.bad - 1) // most * rules.minute_s / 2)
    return max(bounds)


def _quota_s(count: int, rules: ServerRules, scenario: Scenario, epoch_s: float) -> float:
    first_s = scenario.network.delay_s
    rate = rules.rpm // scenario.images  # requests a window
    if not rules.rpm or count <= rate:
        return first_s
    if rules.fault_rate:
        count = int(count / (1 - rules.fault_rate))
    if rules.window == "token-bucket":
        return first_s + (count - rate) * rules.minute_s / rate
    windows = math.ceil(count / rate) - 1
    if rules.window == "sliding":
        return first_s + windows * rules.minute_s
    begins_s = epoch_s + first_s
    for _ in range(windows):
        ends_s = begins_s + rules.minute_s
        if rules.window == "aligned":
            ends_s = (begins_s // rules.minute_s + 1) * rules.minute_s
        elif rules.older and rules.headers != "none" and rules.minute_s >= 60:
            ends_s = math.ceil(ends_s) + first_s
        begins_s = ends_s
    return begins_s - epoch_s


def scenarios(*, quick: bool) -> list[Scenario]:
    """All that the table shows."""
    n = 190 if quick else 1190  # the last window is not full, so that one request missed costs no window
    s = Scenario
    r = ServerRules
    found = [
        s(name="fixed, headers, listing", jobs=80),
        *(
            s(name=f"{window}, headers, {label}", jobs=n, listed=listed, server=r(window=window, latency=USUAL))
            for window in ("fixed", "aligned", "sliding", "token-bucket")
            for label, listed in (("listing", 20), ("no listing", None), ("listing twice", 40))
        ),
        *(
            s(
                name=f"{window}, {headers}, no listing",
                jobs=n,
                listed=None,
                server=r(window=window, headers=headers, latency=USUAL),
            )
            for headers in ("retry-after", "none")
            for window in ("fixed", "aligned", "sliding", "token-bucket")
        ),
        s(name="fixed, no hint, listing twice", jobs=n, listed=40, server=r(headers="none", latency=USUAL)),
        *(
            s(name=f"fixed, headers, {label}", jobs=n, server=r(latency=latency))
            for label, latency in (
                ("0.2 s", Latency(0.2)),
                ("10 s", Latency(10.0)),
                ("30 s", Latency(30.0)),
                ("log-normal 8 s", Latency(8.0, sigma=0.6)),
                ("log-normal 30 s", SLOW),
            )
        ),
        s(name="fixed, headers, front ends' clocks ±0.3 s", jobs=n, server=r(latency=USUAL, edges_apart_s=0.3)),
        s(name="fixed, headers, resets rounded down", jobs=n, server=r(latency=USUAL, resets_early_s=1.0)),
        s(name="fixed, headers, network 0.2-0.7 s", jobs=n, network=Network(0.2, 0.5)),
        s(name="fixed, headers, ceiling 8", jobs=n, concurrency=8, server=r(latency=USUAL)),
        s(name="fixed, headers, 5 % of 500s", jobs=n, server=r(latency=USUAL, fault_rate=0.05)),
        *(
            s(name=f"{window}, headers, others take 5", jobs=n, others=5, server=r(window=window, latency=USUAL))
            for window in ("fixed", "aligned", "sliding", "token-bucket")
        ),
        s(
            name="fixed, retry-after, others take 5",
            jobs=n,
            others=5,
            listed=None,
            server=r(headers="retry-after", latency=USUAL),
        ),
        s(
            name="capacity 4, ceiling 32",
            jobs=n,
            concurrency=32,
            server=r(rpm=0, capacity=4, latency=USUAL),
            listed=None,
        ),
        s(
            name="capacity 4, ceiling 4 (to compare)",
            jobs=n,
            concurrency=4,
            server=r(rpm=0, capacity=4, latency=USUAL),
            listed=None,
        ),
        s(
            name="capacity 4, ceiling 32, 60 a minute",
            jobs=n,
            concurrency=32,
            server=r(rpm=60, capacity=4, latency=USUAL),
            listed=60,
        ),
        s(name="no limit at all, ceiling 16", jobs=n, concurrency=16, server=r(rpm=0, latency=USUAL), listed=None),
        s(name="300 of 500 are bad", jobs=500, bad=300, server=r(latency=USUAL)),
        s(name="300 of 500 are bad, bad use quota", jobs=500, bad=300, server=r(latency=USUAL, bad_uses_quota=True)),
        s(name="4 lanes", jobs=4 * n, lanes=4, server=r(latency=USUAL)),
        s(name="4 lanes, 30 s", jobs=4 * n, lanes=4, server=r(latency=SLOW)),
        s(name="60 a minute, 30 s", jobs=3 * n, listed=60, server=r(rpm=60, latency=SLOW)),
        s(name="4 x 60 jobs, 30 s", jobs=240, lanes=4, server=r(latency=Latency(30.0))),
        s(name="60 jobs, 30 s", jobs=60, server=r(latency=Latency(30.0))),
        s(name="4 x 60 jobs, 15 s", jobs=240, lanes=4, server=r(latency=Latency(15.0))),
        s(name="8 lanes, 90 s", jobs=8 * n, lanes=8, server=r(latency=Latency(90.0))),
        s(name="a minute of 6 s, 0.5 s", jobs=80, minute_s=60.0, server=r(minute_s=6.0, latency=Latency(0.35, 0.65))),
        s(
            name="a minute of 6 s, 4 lanes, 3 s",
            jobs=320,
            lanes=4,
            minute_s=60.0,
            server=r(minute_s=6.0, latency=Latency(2.1, 3.9)),
        ),
        *(
            s(
                name=f"a minute of {length_s} s, {window}",
                jobs=n,
                minute_s=60.0,
                server=r(window=window, minute_s=float(length_s), latency=Latency(1.0, 3.0)),
            )
            for length_s in (6, 150)
            for window in ("fixed", "aligned", "sliding", "token-bucket")
        ),
        s(name="15 jobs of 4 images", jobs=15, images=4, server=r(latency=USUAL)),
        *(
            s(
                name=f"{window}, 4 lanes, 3 images, 30 s",
                jobs=4 * n,
                lanes=4,
                images=3,
                server=r(window=window, latency=SLOW),
            )
            for window in ("fixed", "aligned", "sliding", "token-bucket")
        ),
        s(name="160 of 240 are bad", jobs=240, bad=160, server=r(latency=USUAL)),
        s(name="160 of 240 are bad, 60 a minute", jobs=240, bad=160, listed=60, server=r(rpm=60, latency=SANDBOXS)),
        s(name="160 of 240 are bad, no limit", jobs=240, bad=160, listed=None, server=r(rpm=0, latency=SANDBOXS)),
        s(name="160 of 240 are bad, 4 lanes", jobs=240, lanes=4, bad=160, server=r(latency=USUAL)),
        s(name="older server, 80 jobs", jobs=80, server=r(older=True)),
        s(name="older server, 4 x 60 jobs, 30 s", jobs=240, lanes=4, server=r(older=True, latency=Latency(30.0))),
        s(name="older server, 300 of 500 are bad", jobs=500, bad=300, server=r(older=True, latency=USUAL)),
        s(
            name="older server, 300 of 500 are bad, 60 a minute",
            jobs=500,
            bad=300,
            listed=60,
            server=r(older=True, rpm=60, latency=USUAL, bad_uses_quota=True),
        ),
        s(name="60 a minute, 10 s", jobs=3 * n, listed=60, server=r(rpm=60, latency=Latency(10.0))),
    ]
    if not quick:
        found += [
            s(name="a day: 28,800 jobs, 1 lane", jobs=28_800, server=r(latency=USUAL)),
            s(name="a day: 100,000 jobs, 70 a minute", jobs=100_000, listed=70, server=r(rpm=70, latency=USUAL)),
            s(name="a day: 100,000 jobs, 4 lanes, no listing", jobs=100_000, lanes=4, listed=None,
              server=r(latency=USUAL)),
        ]  # fmt: skip
    return found


def row(result: Result) -> str:
    """One line of the table."""
    scenario, counts = result.scenario, result.tally.counts
    share = 100 * result.refused / max(1, result.requests)
    ended = result.observed.ended
    note = "" if sum(ended.values()) == scenario.jobs and not ended["failed"] else f"  {dict(ended)}"
    return (
        f"{scenario.name:44} {scenario.jobs:6} {result.requests:7} {result.refused:6} {share:6.2f} "
        f"{counts['at_capacity']:5} {result.blocks:3} {result.observed.makespan_s:9.1f} {result.optimum_s:9.1f} "
        f"{100 * result.optimum_s / max(1e-9, result.observed.makespan_s):6.1f} {100 * result.quota_used:6.1f} "
        f"{result.took_s:5.1f}{' STUCK' if result.observed.stuck else ''}{note}"
    )


HEAD = (
    f"{'scenario':44} {'jobs':>6} {'reqs':>7} {'429':>6} {'429 %':>6} {'503':>5} {'blk':>3} {'makespan':>9} "
    f"{'optimum':>9} {'opt %':>6} {'quota%':>6} {'cpu':>5}"
)


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, no day's run")
    parser.add_argument("--only", default="", help="scenarios whose name has this")
    given = parser.parse_args(argv)
    print(f"$ python {' '.join(['benchmarks/simulation.py', *(sys.argv[1:] if argv is None else argv)])}")
    print(f"{platform.platform()}, Python {platform.python_version()}, venice-batch {venice_batch.__version__}")
    print(HEAD)
    for scenario in scenarios(quick=given.quick):
        if given.only in scenario.name:
            print(row(simulate(scenario)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
