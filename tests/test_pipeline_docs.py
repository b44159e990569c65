"""Run the pipelines, units and scripts of docs/ci.md and docs/cron.md as far as possible without their hosts."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
import yaml

from venice_batch.sandbox import SandboxSettings, serve

pytestmark = pytest.mark.no_cover

DOCS = Path(__file__).parent.parent / "docs"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
HOSTS = {"PATH": PATH, "CI": "true"}
FAST = {"VENICE_BATCH_SANDBOX_LATENCY": "0"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def write_jobs(folder):
    jobs = [
        {"id": f"j{number}", "model": "venice-sd35", "prompt": f"p {number}", "width": 64, "height": 64, "seed": number}
        for number in range(9)
    ]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))


def shell(script, folder, environment):
    """Run a step as the hosts do: with bash, until the first command fails."""
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **HOSTS, **FAST, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
async def api():
    async with serve(SandboxSettings(rpm=0, latency_s=0, draw="plain")) as sandbox:
        yield {"VENICE_API_KEY": "any", "VENICE_BATCH_BASE_URL": sandbox.base_url}


def ids(folder):
    return sorted(json.loads(line)["id"] for line in (folder / "manifest.jsonl").read_text().splitlines())


class GitHub:
    """Jobs of a workflow, each in a folder of its own, with artifacts between them."""

    def __init__(self, path, workflow, api):
        self.path = path
        self.workflow = workflow
        self.api = api
        self.annotated = ""

    def job(self, name, **matrix):
        folder = self.path / "-".join([name, *map(str, matrix.values())])
        folder.mkdir()
        for step in self.workflow["jobs"][name]["steps"]:
            given = {key: self.fill(value, matrix) for key, value in step.get("with", {}).items()}
            action = step.get("uses", "").partition("@")[0]
            if action == "actions/checkout":
                write_jobs(folder)
            elif action == "actions/upload-artifact":
                shutil.copytree(folder / given["path"], self.path / "artifacts" / given["name"])
            elif action == "actions/download-artifact":
                for artifact in (self.path / "artifacts").glob(given["pattern"]):
                    shutil.copytree(artifact, folder / given["path"] / artifact.name)
            elif "run" in step and not step["run"].startswith("pip install"):
                secret = self.api if "env" in step else {}
                summary = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
                shell(self.fill(step["run"], matrix), folder, {**secret, **summary})
            else:
                assert action.startswith(("actions/cache", "actions/setup-python")) or "run" in step
        return folder

    def fill(self, text, matrix):
        return re.sub(
            r"\$\{\{ (\S+) \}\}", lambda match: str({"matrix.shard": matrix.get("shard")}.get(match[1], "1")), text
        )


async def test_the_github_workflow_makes_every_picture_once(tmp_path, api):
    workflow = yaml.safe_load(blocks("ci.md", "yaml")[0])
    github = GitHub(tmp_path, workflow, api)
    jobs = workflow["jobs"]
    assert [jobs[name].get("needs") for name in ("check", "make", "merge")] == [None, "check", "make"]
    checked = await anyio.to_thread.run_sync(lambda: github.job("check"))
    assert ids(checked / "rehearsal") == [f"j{number}" for number in range(9)]
    for shard in jobs["make"]["strategy"]["matrix"]["shard"]:
        made = await anyio.to_thread.run_sync(lambda shard=shard: github.job("make", shard=shard))
        assert "### jobs.jsonl" in (made / "summary.md").read_text()
        assert (made / "junit.xml").exists()
    merged = await anyio.to_thread.run_sync(lambda: github.job("merge"))
    assert ids(merged / "pictures") == [f"j{number}" for number in range(9)]


async def test_the_gitlab_pipeline_makes_every_picture_once(tmp_path, api):
    pipeline = yaml.safe_load(blocks("ci.md", "yaml")[1])
    assert pipeline["stages"] == ["check", "make", "merge"]
    write_jobs(tmp_path)

    async def job(name, environment=None):
        for script in pipeline[name]["script"]:
            await anyio.to_thread.run_sync(shell, script, tmp_path, environment or {})

    await job("check")
    count = pipeline["make"]["parallel"]
    for number in range(1, count + 1):
        await job("make", {**api, "CI_NODE_INDEX": str(number), "CI_NODE_TOTAL": str(count)})
        assert (tmp_path / pipeline["make"]["artifacts"]["reports"]["junit"]).exists()
    await job("merge")
    assert ids(tmp_path / "pictures") == [f"j{number}" for number in range(9)]


async def test_the_shell_scripts_work(tmp_path, api):
    *_, shards, service = blocks("ci.md", "bash")
    write_jobs(tmp_path)
    await anyio.to_thread.run_sync(shell, shards, tmp_path, api)
    assert len(ids(tmp_path / "pictures")) == 9
    await anyio.to_thread.run_sync(shell, service, tmp_path, {})
    assert len(ids(tmp_path / "output/jobs")) == 9


async def test_an_approved_price_holds_until_it_rises(tmp_path, api):
    freeze, compare, *_ = blocks("ci.md", "bash")
    write_jobs(tmp_path)
    for script in (freeze, compare):
        await anyio.to_thread.run_sync(shell, script, tmp_path, api)
    assert len(ids(tmp_path / "output/jobs")) == 9
    approved = tmp_path / "approved.json"
    approved.write_text(approved.read_text().replace('"image": 0.01', '"image": 0.001'))
    for command in compare.splitlines():
        refused = f"{command} || test $? = 2"
        done = await anyio.to_thread.run_sync(shell, refused, tmp_path, api)
        assert "price of an image: 0.001 USD approved, 0.01 USD now" in done.stderr


def test_the_health_check_gets_the_exit_code_and_the_log_is_kept(tmp_path):
    script, log = blocks("cron.md", "bash")
    write_jobs(tmp_path)
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text('#!/bin/sh\nfor last; do :; done\necho "$last" >> pings\n')
    curl.chmod(0o755)
    environment = {"PATH": f"{curl.parent}:{PATH}", "CHECK_URL": "http://127.0.0.1/uuid", "VENICE_BATCH_SANDBOX": "1"}
    shell(script, tmp_path, environment)
    assert (tmp_path / "pings").read_text() == "http://127.0.0.1/uuid/0\n"
    for _ in range(2):
        shell(log, tmp_path, environment)
    events = [json.loads(line)["event"] for line in (tmp_path / "venice-batch.log").read_text().splitlines()]
    assert events == ["run_started", "run_ended"] * 2


def test_the_crontab_line_runs(tmp_path):
    (line,) = (block for block in blocks("cron.md", "text") if block.startswith("15 2 * * *"))
    command = re.sub(r"^(\S+ ){5} *", "", line.strip())
    assert "%" not in command  # cron reads it as a line feed
    write_jobs(tmp_path)
    (tmp_path / "key").write_text("any\n")
    for shown, here in (
        ("/srv/pictures", str(tmp_path)),
        (".venv/bin/", ""),
        ("/etc/venice-batch/key", str(tmp_path / "key")),
        ("/var/lib/node_exporter", str(tmp_path)),
    ):
        assert shown in command
        command = command.replace(shown, here)
    done = shell(command, tmp_path, {"VENICE_BATCH_SANDBOX": "1"})
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path):
    service, timer = blocks("cron.md", "ini")
    program = str(Path(sys.executable).parent / "venice-batch")
    assert "/srv/pictures/.venv/bin/venice-batch" in service
    service = service.replace("/srv/pictures/.venv/bin/venice-batch", program).replace("/srv/pictures", str(tmp_path))
    (tmp_path / "venice-batch.service").write_text(service)
    (tmp_path / "venice-batch.timer").write_text(timer)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "venice-batch.service", "venice-batch.timer"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "venice-batch" not in done.stderr, done.stderr
