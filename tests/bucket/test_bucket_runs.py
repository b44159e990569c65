"""Whole runs with a bucket of a real object store as their output folder; skipped where no store is installed."""

import signal

import pytest
from bucket.servers import benchmark
from command import run, served

pytestmark = pytest.mark.no_cover
buckets, costs = benchmark("buckets"), benchmark("bucket_costs")


def test_a_killed_run_is_taken_up_where_it_was(server, tmp_path):
    found = buckets.kill(server, tmp_path, jobs=120, kills=2, concurrency=8, seed=3, shares={})
    assert found.is_sound, found
    assert found.kills >= 1


def test_a_run_through_faults_buys_every_image_once(server, tmp_path):
    shares = {"lost": 0.06, "503": 0.03, "409": 0.03, "cut": 0.03}
    found = buckets.kill(server, tmp_path, jobs=120, kills=0, concurrency=8, seed=3, shares=shares)
    assert found.is_sound, found
    assert found.bought_twice == 0


def test_a_displaced_run_stops_and_its_records_stay(server, tmp_path):
    found = buckets.displace(server, tmp_path, jobs=40, ttl_s=4.0)
    assert found.is_sound, found
    assert len(found.message.splitlines()) == 1


def test_of_those_who_want_the_lock_one_has_it(server):
    assert buckets.contend(server, contenders=6, rounds=6) == [1] * 6


def test_runs_end_without_a_crash(seaweedfs, tmp_path):
    crashes = {134, 139, -signal.SIGABRT, -signal.SIGSEGV}
    assert not crashes & costs.ends(seaweedfs, count=12).keys()
    assert not crashes & costs.run_ends(seaweedfs, tmp_path, count=6).keys()


def test_nothing_is_sent_with_a_store_that_ignores_conditions(s3rver, prefix, tmp_path, monkeypatch):
    buckets.write_jobs(tmp_path / "jobs.jsonl", 2)
    for name, value in {**s3rver.environ, "VENICE_API_KEY": "k"}.items():
        monkeypatch.setenv(name, value)
    with served(rpm=0, latency_s=0) as base_url:
        options = [str(tmp_path / "jobs.jsonl"), "-q", "--base-url", base_url, "-o", s3rver.address(prefix)]
        refused = run(*options)
        assert refused.code == 5
        assert "--bucket-without-lock" in refused.err
        assert len(refused.err.strip().splitlines()) == 1
        assert buckets.stats(base_url)["requests"] == 0
        assert run(*options, "--bucket-without-lock").code == 0
        assert buckets.stats(base_url)["images"] == 2
