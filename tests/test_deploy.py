"""What `deploy/` and `action.yml` hold: valid for their hosts, hardened, and their commands work on the sandbox."""

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest
import yaml
from click import Context
from test_pipeline_docs import ids, shell, write_jobs

from venice_batch.cli.commands import cli
from venice_batch.sandbox import SandboxSettings, serve

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parent.parent
KUBERNETES = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
PROGRAM = Path(sys.executable).parent / "venice-batch"
MOST_EXPOSURE = 3.0


@pytest.fixture
async def api():
    async with serve(SandboxSettings(rpm=0, latency_s=0, draw="plain")) as sandbox:
        yield {"VENICE_API_KEY": "any", "VENICE_BATCH_BASE_URL": sandbox.base_url}


def job_spec(path):
    """Return the spec of the Kubernetes job in `path`, which may be made by a CronJob."""
    spec = yaml.safe_load(path.read_text())["spec"]
    return spec.get("jobTemplate", {}).get("spec", spec)


def pod(path):
    return job_spec(path)["template"]["spec"]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.29", "1.31", "1.37"])
def test_kubernetes_accepts_the_manifests(path, version):
    validate = pytest.importorskip("kubernetes_validate").validate
    validate(yaml.safe_load(path.read_text()), version, strict=True)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_pods_run_as_an_ordinary_user_on_a_read_only_root(path):
    spec = pod(path)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 12345
    assert f"USER {12345}:" in (ROOT / "Dockerfile").read_text()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
    writable = [folder for folder, mount in mounts.items() if not mount.get("readOnly")]
    assert writable == ["/tmp"]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_a_stopped_pod_has_longer_than_the_requests_under_way(path):
    spec = pod(path)
    words = shlex.split(" ".join(spec["containers"][0]["args"]).replace("=", " "))
    grace = words[words.index("--grace") + 1]
    assert spec["terminationGracePeriodSeconds"] >= 60 * int(grace.removesuffix("m")) + 60


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_only_exit_codes_that_another_try_can_mend_are_tried_again(path):
    final, disruption = job_spec(path)["podFailurePolicy"]["rules"]
    assert final["onExitCodes"]["values"] == [1, 2, 3, 4]
    assert final["onExitCodes"]["containerName"] == pod(path)["containers"][0]["name"]
    assert final["action"] in ("FailJob", "FailIndex")
    assert (disruption["action"], disruption["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert pod(path)["restartPolicy"] == "Never"


def test_the_key_is_a_file_and_in_no_variable():
    for path in KUBERNETES:
        assert "VENICE_API_KEY" not in path.read_text()
        assert "--api-key-file" in path.read_text()


def here(text, folder):
    """Return a command of a manifest with this machine's paths instead of the container's."""
    for shown, path in (("/jobs/jobs.jsonl", "jobs.jsonl"), ("/secrets/venice/key", "key")):
        assert shown in text
        text = text.replace(shown, str(folder / path))
    return text


async def test_the_cron_jobs_command_makes_every_image(tmp_path, api):
    write_jobs(tmp_path)
    (tmp_path / "key").write_text("any\n")
    (container,) = pod(ROOT / "deploy/kubernetes/cronjob.yaml")["containers"]
    command = here(shlex.join(["venice-batch", *container["args"]]), tmp_path)
    assert "--output=s3://" in command
    command = re.sub(r"--output=s3://\S+", "--output=pictures", command)
    environment = {name: value for name, value in api.items() if name != "VENICE_API_KEY"}
    for _ in range(2):
        await anyio.to_thread.run_sync(shell, command, tmp_path, environment)
    assert ids(tmp_path / "pictures") == [f"j{number}" for number in range(9)]


async def test_the_indexed_jobs_pods_make_every_image_once(tmp_path, api):
    write_jobs(tmp_path)
    (tmp_path / "key").write_text("any\n")
    spec = job_spec(ROOT / "deploy/kubernetes/indexed-job.yaml")
    (container,) = pod(ROOT / "deploy/kubernetes/indexed-job.yaml")["containers"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    assert int(given["SHARDS"]) == spec["completions"] == spec["parallelism"]
    assert given["OUTPUT"].startswith("s3://")
    command = shlex.join([*container["command"], *(here(argument, tmp_path) for argument in container["args"])])
    environment = {name: value for name, value in api.items() if name != "VENICE_API_KEY"}
    environment |= given | {"OUTPUT": str(tmp_path / "out")}
    async with anyio.create_task_group() as pods:
        for index in range(spec["completions"]):
            pods.start_soon(
                anyio.to_thread.run_sync, shell, command, tmp_path, environment | {"JOB_COMPLETION_INDEX": str(index)}
            )
    shards = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert shards == [f"shard-{number}" for number in range(1, spec["completions"] + 1)]
    made = [ids(tmp_path / "out" / shard) for shard in shards if (tmp_path / "out" / shard / "manifest.jsonl").exists()]
    assert sorted(itertools.chain(*made)) == [f"j{number}" for number in range(9)]
    await anyio.to_thread.run_sync(shell, "venice-batch merge out/* -o all && venice-batch report all", tmp_path, {})
    assert len(ids(tmp_path / "all")) == 9


@contextmanager
def store_served():
    """Yield a running SeaweedFS; skip where there is none, or no support for buckets."""
    pytest.importorskip("obstore")
    path = ROOT / "benchmarks/bucket_servers.py"
    if not path.exists():
        pytest.skip("no program starts object stores here")
    spec = importlib.util.spec_from_file_location("bucket_servers", path)
    servers = sys.modules.setdefault("bucket_servers", importlib.util.module_from_spec(spec))
    if not hasattr(servers, "seaweedfs"):
        spec.loader.exec_module(servers)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(servers.seaweedfs())
        except servers.MissingProgramError as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture
def object_store():
    with store_served() as server:
        yield server


async def test_pods_share_a_bucket_and_one_report_shows_all(tmp_path, api, object_store):
    write_jobs(tmp_path)
    (tmp_path / "key").write_text("any\n")
    (container,) = pod(ROOT / "deploy/kubernetes/indexed-job.yaml")["containers"]
    command = shlex.join([*container["command"], *(here(argument, tmp_path) for argument in container["args"])])
    address = object_store.address("pictures")
    environment = {"VENICE_BATCH_BASE_URL": api["VENICE_BATCH_BASE_URL"], **object_store.environ}
    shards = {"SHARDS": "3", "OUTPUT": address}
    for _ in range(2):  # the second time nothing is left to do
        async with anyio.create_task_group() as pods:
            for index in range(3):
                given = environment | shards | {"JOB_COMPLETION_INDEX": str(index)}
                pods.start_soon(anyio.to_thread.run_sync, shell, command, tmp_path, given)
    merge = f"venice-batch merge {address}/shard-1 {address}/shard-2 {address}/shard-3 -o all"
    done = await anyio.to_thread.run_sync(shell, f"{merge} && venice-batch report all", tmp_path, environment)
    assert ids(tmp_path / "all") == [f"j{number}" for number in range(9)]
    assert "9 jobs in all" in done.stdout
    assert (tmp_path / "all/gallery.html").exists()


async def test_the_cron_job_continues_in_a_bucket(tmp_path, api, object_store):
    write_jobs(tmp_path)
    (tmp_path / "key").write_text("any\n")
    (container,) = pod(ROOT / "deploy/kubernetes/cronjob.yaml")["containers"]
    command = here(shlex.join(["venice-batch", *container["args"]]), tmp_path)
    command = command.replace("s3://my-bucket/", object_store.address(""))
    environment = {"VENICE_BATCH_BASE_URL": api["VENICE_BATCH_BASE_URL"], **object_store.environ}
    first, second = [await anyio.to_thread.run_sync(shell, command, tmp_path, environment) for _ in range(2)]
    made = [json.loads(done.stderr.splitlines()[-1]) for done in (first, second)]
    assert [event["event"] for event in made] == ["run_ended", "run_ended"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl", "key"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_the_service_well_protected(tmp_path):
    units = ROOT / "deploy/systemd"
    text = (units / "venice-batch.service").read_text()
    assert "/srv/pictures/.venv/bin/venice-batch" in text
    (tmp_path / "venice-batch.service").write_text(text.replace("/srv/pictures/.venv/bin/venice-batch", str(PROGRAM)))
    shutil.copy(units / "venice-batch.timer", tmp_path)
    names = ["venice-batch.service", "venice-batch.timer"]
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "venice-batch" not in checked.stderr, checked.stderr
    limit = f"--threshold={round(10 * MOST_EXPOSURE)}"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", limit, "venice-batch.service"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "--offline" in done.stderr:
        pytest.skip("this systemd is too old")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(found[1]) <= MOST_EXPOSURE, done.stdout
    assert done.returncode == 0


def test_the_services_command_has_only_options_that_exist():
    text = (ROOT / "deploy/systemd/venice-batch.service").read_text()
    command = re.search(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)[1]
    known = set(itertools.chain(*(option.opts for option in cli.get_command(Context(cli), "run").params)))
    assert set(re.findall(r"--[\w-]+", command)) <= known


def schema_accepts(name, path):
    """Return whether check-jsonschema accepts `path` by the schema of that name that it brings along."""
    pytest.importorskip("check_jsonschema")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0 or pytest.fail(done.stdout + done.stderr)


ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


def test_github_accepts_the_action():
    assert schema_accepts("github-actions", ROOT / "action.yml")


def test_no_step_of_the_action_puts_an_input_into_its_script():
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == ("shell" in step)


class Action:
    """The action's step that runs venice-batch, with inputs as a workflow gives them."""

    def __init__(self, folder, api):
        self.folder = folder
        self.api = api
        (folder / "venice-batch/bin").mkdir(parents=True)
        (folder / "venice-batch/bin/venice-batch").symlink_to(PROGRAM)

    def run(self, **inputs):
        """Return the step's exit code, its outputs and its messages."""
        (step,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "run")
        values = {name: about.get("default", "") for name, about in ACTION["inputs"].items()} | inputs
        given = {
            name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: values[found[1]], text)
            for name, text in step["env"].items()
        }
        outputs = self.folder / "outputs"
        outputs.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env={
                **os.environ, "VENICE_BATCH_BASE_URL": self.api["VENICE_BATCH_BASE_URL"], **given,
                "RUNNER_TEMP": str(self.folder), "GITHUB_OUTPUT": str(outputs), "GITHUB_ACTIONS": "true",
            },
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, outputs.read_text(), done.stderr


@pytest.fixture
def action(tmp_path, api):
    write_jobs(tmp_path)
    made = Action(tmp_path, api)

    async def run(**inputs):
        return await anyio.to_thread.run_sync(lambda: made.run(jobs="jobs.jsonl", **{"api-key": "any"} | inputs))

    return run


async def test_the_action_makes_every_image(action, tmp_path):
    assert (await action())[:2] == (0, "exit-code=0\n")
    assert len(ids(tmp_path / "pictures")) == 9


async def test_the_action_makes_a_shard_with_its_share(action, tmp_path):
    given = {"shard": "1/3", "share": "3", "output": "shard-1", "options": "--max-cost=5\n\n--junit\njunit xml.xml\n"}
    code, _, messages = await action(**given)
    assert code == 0, messages
    assert 0 < len(ids(tmp_path / "shard-1")) < 9
    assert (tmp_path / "junit xml.xml").exists()


async def test_the_action_runs_nothing_that_an_input_says(action, tmp_path):
    code, *_ = await action(options='--name=$(touch taken)\n"; touch taken; "\n`touch taken`')
    assert code == 2
    assert not (tmp_path / "taken").exists()


async def test_the_action_passes_exit_codes_on_and_75_if_asked(action, tmp_path):
    limit = "--max-failures=1\n--set=steps=1\n--max-attempts=1\n--max-time=0.000001"
    code, outputs, messages = await action(options=limit)
    assert (code, outputs) == (75, "exit-code=75\n"), messages
    code, outputs, _ = await action(options=limit, pending="ok")
    assert (code, outputs) == (0, "exit-code=75\n")


COMPONENT = ROOT / "deploy/gitlab/venice-batch.yml"


def component(**given):
    """Return the component's pipeline with these inputs, as GitLab fills them in."""
    header, text = COMPONENT.read_text().split("\n---\n")
    inputs = yaml.safe_load(header)["spec"]["inputs"]
    values = {name: about.get("default") for name, about in inputs.items()} | given
    assert set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", text)) == set(inputs)
    return re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda found: values[found[1]], text)


def test_gitlab_accepts_the_component(tmp_path):
    path = tmp_path / ".gitlab-ci.yml"
    path.write_text(component(jobs="jobs.jsonl", options="--max-cost 5"))
    assert schema_accepts("gitlab-ci", path)


async def test_the_components_job_makes_every_image(tmp_path, api):
    write_jobs(tmp_path)
    job = yaml.safe_load(component(jobs="jobs.jsonl", options="--max-cost 5"))["pictures"]
    script = "\n".join(job["script"])
    await anyio.to_thread.run_sync(shell, script, tmp_path, api | job["variables"])
    assert len(ids(tmp_path / job["cache"]["paths"][0])) == 9
    assert (tmp_path / job["artifacts"]["reports"]["junit"]).exists()
    assert json.loads((tmp_path / "pictures/summary.json").read_text())["exit_code"] == 0
