import subprocess
import sys

import pytest

from venice_batch.sandbox import SandboxSettings, serve


def test_the_defaults_are_the_documented_rules():
    settings = SandboxSettings()
    assert (settings.rpm, settings.failures_tolerated, settings.failure_window_s) == (20, 50, 30)
    assert (settings.reset_form, settings.status_of_unknown_models) == ("ms", 404)
    old = SandboxSettings(era="2026-08")
    assert (old.failures_tolerated, old.block_s, old.reset_form, old.status_of_unknown_models) == (
        20,
        30,
        "seconds",
        400,
    )
    given = SandboxSettings(failure_limit=7, rate_headers="iso", unknown_model_status="400", latency_by_model={"m": 9})
    assert (given.failures_tolerated, given.reset_form, given.status_of_unknown_models) == (7, "iso", 400)
    assert (given.latency_of("m"), given.latency_of("other")) == (9, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rpm": -1}, "rpm"),
        ({"speed": 0}, "speed"),
        ({"fault_rate": 1.5}, "fault_rate"),
        ({"window": "weekly"}, "window"),
        ({"fault_kinds": ("501",)}, "unknown fault '501'"),
        ({"fault_schedule": {1: "flood"}}, "unknown fault 'flood'"),
        ({"fault_rate": 0.5, "fault_kinds": ()}, "fault_kinds"),
        ({"rpm_by_model": {"m": -1}}, "rpm_by_model"),
        ({"latency_by_model": {"m": float("nan")}}, "latency_by_model"),
        ({"era": "2026-09"}, "era"),
        ({"key_limit_usd": -1}, "key_limit_usd"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SandboxSettings(**wrong)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_only_loopback_hosts_are_served(host):
    with pytest.raises(ValueError, match="loopback"):
        serve(SandboxSettings(), host=host)


def test_importing_the_package_imports_neither_aiohttp_nor_pillow():
    code = "import sys, venice_batch.sandbox; sys.exit(bool({'aiohttp', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
