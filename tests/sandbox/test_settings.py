import subprocess
import sys

import pytest

from venice_batch.sandbox import SandboxSettings, serve


def test_the_defaults_are_the_documented_rules():
    settings = SandboxSettings()
    assert (settings.rpm, settings.failure_limit, settings.failure_window_s, settings.block_s) == (20, 20, 30, 30)


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
