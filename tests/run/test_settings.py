"""Defaults of a run that depend on the machine and the address."""

import resource
import sys

import pytest

from venice_batch.pacing.limiter import MOST_IN_FLIGHT
from venice_batch.run.settings import error_rule, most_in_flight


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
