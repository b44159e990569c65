"""Defaults of a run that depend on the machine and the address."""

import resource
import sys

import pytest

from venice_batch.catalogue import Preflight, snapshot
from venice_batch.errors import UsageError
from venice_batch.output.naming import Naming
from venice_batch.pacing.limiter import MOST_IN_FLIGHT, SendingRules
from venice_batch.run.settings import RunOptions, RunSettings, error_rule, most_in_flight


@pytest.mark.parametrize(
    ("files", "most"),
    [(1024, MOST_IN_FLIGHT), (256, 96), (65, 1), (10, 1), (resource.RLIM_INFINITY, MOST_IN_FLIGHT)],
)
def test_no_more_is_under_way_than_the_process_may_open_files_for(monkeypatch, files, most):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    assert most_in_flight() == most


def test_a_system_without_such_limits_has_the_ceiling(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert most_in_flight() == MOST_IN_FLIGHT


@pytest.mark.parametrize(
    ("base_url", "has_rule"),
    [
        ("https://api.venice.ai/api/v1", True),
        ("http://127.0.0.1:8642/api/v1", True),
        ("https://api.example.com/v1", False),
    ],
)
def test_an_error_budget_is_assumed_of_venice_and_of_servers_on_this_machine(base_url, has_rule):
    assert (error_rule(base_url) is not None) is has_rule


def made(tmp_path, **options):
    preflight = Preflight(snapshot())
    return RunSettings.of(
        RunOptions(**options), tmp_path, naming=Naming(has_ids=True), preflight=preflight, handle_signals=False
    )


def test_a_share_divides_the_ceiling_but_not_what_the_user_sets(monkeypatch, tmp_path):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 1024))
    assert made(tmp_path, share=3).sending.concurrency == MOST_IN_FLIGHT // 3
    assert made(tmp_path, share=1000).sending.concurrency == 1
    own = made(tmp_path, share=3, concurrency=30, rpm=7).sending
    assert (own.concurrency, own.rpm, own.share) == (30, 7, 3)


def test_a_share_is_at_least_one():
    with pytest.raises(UsageError, match="--share must be at least 1"):
        RunOptions(share=0)
    with pytest.raises(UsageError, match="--share must be at least 1"):
        SendingRules(share=0)
