"""What the package declares, and `.ci/run`, the one program that runs its checks."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STEPS = {"tests", "lint", "package"}


def ci(*args):
    return subprocess.run(["bash", ROOT / ".ci/run", *args], capture_output=True, text=True, check=False)


def test_an_unknown_step_is_refused_before_any_other_runs():
    done = ci("lint", "everything")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no step everything" in done.stderr


def test_github_runs_every_step_on_every_system_and_version():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    jobs = workflow["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands == {step: [f".ci/run {step}"] for step in STEPS}
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert matrix["python"][0] == PROJECT["requires-python"].removeprefix(">=")
    assert workflow["permissions"] == {"contents": "read"}
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_pre_commit_runs_steps_in_this_tree():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = config["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        assert hook["entry"] == f"bash .ci/run --here {hook['id']}"
        assert hook["id"] in STEPS
        assert hook["language"] == "system"
        assert not hook["pass_filenames"]
    assert set(config["default_install_hook_types"]) == {"pre-commit", "pre-push"}


def test_an_installation_is_enough_for_the_sandbox_and_the_gallery():
    names = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in PROJECT["dependencies"]}
    assert "pillow" in names
    assert set(PROJECT["optional-dependencies"]) == {"bucket", "parquet"}


def test_only_what_is_tested_is_declared():
    systems = [name for name in PROJECT["classifiers"] if name.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_no_page_installs_the_package_from_an_index(page):
    found = re.findall(r"(?:pip|pipx|uv|uvx)\b[^\n`]*", page.read_text())
    assert not [command for command in found if re.search(r"(?<![./])\bvenice-batch\b", command)]


@pytest.mark.cover_commands
def test_the_sandbox_does_without_brotli():
    code = "import sys; sys.modules['brotli'] = None\nfrom venice_batch.sandbox import renderer as r\n"
    code += "print(r.choose_encoding('br, gzip'), r.choose_encoding('br') == '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "gzip True\n"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_accepts_the_program_of_the_checks():
    subprocess.run(["shellcheck", ROOT / ".ci/run"], check=True)
