"""The targets of pacing, on simulated servers with few jobs."""

from dataclasses import replace

import pytest

pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def run(simulation):
    def simulate(name, **changes):
        found = [scenario for scenario in simulation.scenarios(quick=True) if scenario.name == name]
        result = simulation.simulate(replace(found[-1], **changes))
        assert not result.observed.stuck
        assert result.observed.most_in_flight <= result.scenario.concurrency
        return result

    return simulate


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", ["fixed", "aligned"])
@pytest.mark.parametrize("listing", ["listing", "no listing", "listing twice"])
def test_fixed_windows_with_headers_are_used_up_without_a_refusal(run, window, listing, seed):
    result = run(f"{window}, headers, {listing}", jobs=790, seed=seed)
    assert result.quota_used >= (0.99 if listing != "no listing" else 0.97)  # the first window may end untold
    assert result.refused <= 2
    assert result.blocks == 0
    assert result.observed.ended == {"succeeded": 790}


@pytest.mark.parametrize("latency", ["0.2 s", "10 s", "30 s", "log-normal 8 s", "log-normal 30 s"])
def test_windows_are_used_up_at_any_latency(run, latency):
    result = run(f"fixed, headers, {latency}", jobs=390)
    assert result.quota_used >= 0.99
    assert result.refused == 0


@pytest.mark.parametrize("trouble", ["front ends' clocks ±0.3 s", "resets rounded down", "network 0.2-0.7 s"])
def test_resets_named_too_early_cost_a_few_refusals_in_all(run, trouble):
    result = run(f"fixed, headers, {trouble}", jobs=390)
    assert result.quota_used >= 0.98
    assert result.refused <= 4
    assert result.blocks == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("headers", ["retry-after", "none"])
@pytest.mark.parametrize("window", ["fixed", "aligned", "sliding"])
def test_without_headers_only_the_first_window_costs_more_than_two(run, window, headers, seed):
    result = run(f"{window}, {headers}, no listing", seed=seed)
    first, *later = [result.refused_by_minute()[minute] for minute in sorted(result.refused_by_minute())]
    assert first <= result.observed.first_refused_in_flight
    assert max(later, default=0) <= 3  # minutes, which do not begin where the windows do
    assert result.blocks == 0
    assert result.observed.ended == {"succeeded": result.scenario.jobs}


@pytest.mark.parametrize("window", ["sliding", "token-bucket"])
def test_sliding_windows_with_headers_are_hardly_ever_overrun(run, window):
    result = run(f"{window}, headers, listing", jobs=390)
    assert result.quota_used >= 0.95
    assert result.refused <= 4


def test_a_model_that_takes_four_at_a_time_is_given_four(run):
    adaptive, fixed = run("capacity 4, ceiling 32"), run("capacity 4, ceiling 4 (to compare)")
    assert adaptive.observed.makespan_s < fixed.observed.makespan_s / 0.9
    assert adaptive.tally.counts["at_capacity"] < 20
    assert adaptive.blocks == 0


@pytest.mark.parametrize(("name", "most_s"), [
    ("4 x 60 jobs, 30 s", 157), ("60 jobs, 30 s", 157), ("4 x 60 jobs, 15 s", 142), ("15 jobs of 4 images", 133),
    ("a minute of 6 s, 0.5 s", 20), ("a minute of 6 s, 4 lanes, 3 s", 26),
    ("160 of 240 are bad, 4 lanes", 100), ("160 of 240 are bad, 60 a minute", 100),
    ("160 of 240 are bad, no limit", 100),
])  # fmt: skip
def test_slow_models_lanes_variants_and_errors_take_hardly_longer_than_they_must(run, name, most_s):
    result = run(name)
    assert result.observed.makespan_s <= most_s
    assert (result.refused, result.blocks) == (0, 0)
    assert result.observed.ended.total() == result.scenario.jobs


@pytest.mark.parametrize("window", ["fixed", "aligned", "sliding", "token-bucket"])
@pytest.mark.parametrize("length_s", [6, 150])
def test_windows_of_another_length_than_a_minute_are_learnt_from_their_resets(run, length_s, window):
    result = run(f"a minute of {length_s} s, {window}")
    assert result.quota_used >= 0.9
    assert result.refused <= (20 if (length_s, window) == (150, "token-bucket") else 1)
    assert result.blocks == 0


@pytest.mark.parametrize("window", ["fixed", "aligned", "sliding", "token-bucket"])
def test_jobs_for_several_images_are_never_refused(run, window):
    result = run(f"{window}, 4 lanes, 3 images, 30 s")
    assert result.quota_used >= 0.97
    assert result.refused == 0


def test_an_older_server_is_kept_within_its_rules_too(run):
    assert run("older server, 80 jobs").observed.makespan_s <= 1.05 * run("older server, 80 jobs").optimum_s
    assert run("older server, 80 jobs").refused == 0


@pytest.mark.parametrize("name", [
    "300 of 500 are bad", "300 of 500 are bad, bad use quota", "older server, 300 of 500 are bad",
    "older server, 300 of 500 are bad, 60 a minute",
])  # fmt: skip
def test_a_file_of_bad_requests_is_never_blocked(run, name):
    result = run(name)
    assert result.blocks == 0
    assert result.observed.ended == {"succeeded": 200, "rejected": 300}


@pytest.mark.parametrize("window", ["fixed", "aligned", "sliding", "token-bucket"])
def test_another_programs_use_of_the_quota_causes_no_block(run, window):
    result = run(f"{window}, headers, others take 5")
    assert result.blocks == 0
    assert result.observed.ended == {"succeeded": result.scenario.jobs}


def test_lanes_use_their_quotas_side_by_side(run):
    assert run("4 lanes").quota_used >= 0.95


def test_prints_a_table(simulation, capsys):
    assert simulation.main(["--quick", "--only", "capacity"]) == 0
    assert capsys.readouterr().out.count("capacity 4") >= 3
