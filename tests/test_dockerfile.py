"""The steps of the Dockerfile in a root of their own, and the image's program in it: uid 12345, read-only, process 1.

No daemon and no registry is needed: each stage is an overlay over this machine's root, in a mount namespace of its own.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from command import served
from test_deploy import store_served

ROOT = Path(__file__).parent.parent
UID = 12345
TOOLS = ("unshare", "nsenter", "chroot", "mount")
PYTHON = Path(sys.base_prefix)
FAST = {"latency_s": 0, "rpm": 0, "draw": "plain", "failure_limit": 0}

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
        reason="needs root on Linux, and util-linux",
    ),
]


def instructions(text):
    """Yield the keyword and the rest of each instruction, continued lines joined."""
    for line in re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword, rest.strip()


class Stage:
    """One stage of the image: its root, and what its instructions have set so far."""

    def __init__(self, root):
        self.root = root
        self.folder = "/"
        self.user = "0:0"
        self.entrypoint = self.command = ()
        # The base image has python3 in its path.
        self.env = {"PATH": f"{PYTHON}/bin:/usr/bin:/bin", "HOME": "/root"}

    def set_env(self, rest):
        path = self.env["PATH"]
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.env[name] = value.replace("$PATH", path)


class Image:
    """The last stage of the Dockerfile, built; `start` runs its program as a container would."""

    def __init__(self, base):
        self.base = base
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 600"],
            stdout=subprocess.PIPE,
        )
        self.holder.stdout.readline()
        self.stages = {}
        self.last = None

    def inside(self, *command):
        """Return `command` so that it runs in the image's mount namespace."""
        return ["nsenter", "--target", str(self.holder.pid), "--mount", *command]

    def do(self, *command):
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def build(self, text):
        self.do("mount", "-t", "tmpfs", "tmpfs", str(self.base))
        arguments = {}
        for keyword, rest in instructions(text):
            rest = re.sub(r"\$\{(PYTHON|EXTRAS)\}", lambda found: arguments[found[1]], rest)
            if keyword == "ARG":
                name, _, value = rest.partition("=")
                arguments[name] = value
            elif keyword == "FROM":
                assert re.fullmatch(r"python:[\d.]+-slim( AS \w+)?", rest)
                self.last = self.stages[rest.split()[-1]] = self.begin(f"stage{len(self.stages)}")
            else:
                self.take(self.last, keyword, rest)

    def begin(self, name):
        top = self.base / name
        root = top / "root"
        self.do("mkdir", "-p", str(top / "upper"), str(top / "work"), str(root))
        layers = f"lowerdir=/,upperdir={top}/upper,workdir={top}/work"
        self.do("mount", "-t", "overlay", "overlay", "-o", layers, str(root))
        self.do("mount", "--rbind", "/dev", f"{root}/dev")
        self.do("mount", "-t", "proc", "proc", f"{root}/proc")
        self.do("mount", "-t", "tmpfs", "tmpfs", f"{root}/tmp")
        # The interpreter of the tests may be below a folder that only root may enter.
        for parent in (PYTHON, *PYTHON.parents):
            self.do("chmod", "o+x", f"{root}{parent}")
        self.do("rm", "-rf", f"{root}/src", f"{root}/work", f"{root}/opt/venice-batch")
        return Stage(root)

    def take(self, stage, keyword, rest):
        match keyword:
            case "WORKDIR":
                stage.folder = rest
                self.do("mkdir", "-p", f"{stage.root}{rest}")
            case "COPY":
                *sources, target = rest.split()
                tree = ROOT
                if sources[0].startswith("--from="):
                    tree = self.stages[sources.pop(0).removeprefix("--from=")].root
                place = f"{stage.root}{os.path.join(stage.folder, target)}"
                for source in sources:
                    self.copy(f"{tree}/{source.lstrip('/')}", place, into=target.endswith("/"))
            case "RUN":
                assert stage.user == "0:0"
                script = f"cd {stage.folder} && {rest}"
                pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http"))}
                env = [f"{name}={value}" for name, value in {**stage.env, **pip}.items()]
                self.do("chroot", str(stage.root), "env", "-i", *env, "sh", "-c", script)
            case "ENV":
                stage.set_env(rest)
            case "USER":
                stage.user = rest
            case "ENTRYPOINT":
                stage.entrypoint = json.loads(rest)
            case "CMD":
                stage.command = json.loads(rest)
            case _:
                raise AssertionError(keyword)

    def copy(self, source, place, *, into):
        self.do("mkdir", "-p", place if into or os.path.isdir(source) else os.path.dirname(place))
        self.do("cp", "-a", "--no-preserve=ownership", f"{source}/." if os.path.isdir(source) else source, place)

    def start(self, *arguments, volume=None, env=None):
        """Start the program with `arguments` as process 1, on a read-only root, with `volume` at /work."""
        stage = self.last
        uid, gid = stage.user.split(":")
        root = shlex.quote(str(stage.root))
        script = [f"mount -t tmpfs -o size=64m,mode=1777 tmpfs {root}/tmp"]
        if volume is not None:
            os.chown(volume, int(uid), int(gid))
            script.append(f"mount --bind {shlex.quote(str(volume))} {root}/work")
        script.append(f"mount -o remount,ro {root}")
        values = [f"{name}={value}" for name, value in {**stage.env, **(env or {})}.items()]
        program = shlex.join(
            ["chroot", f"--userspec={uid}:{gid}", "--groups=", str(stage.root), "env", "-i", *values,
             "sh", "-c", f'cd {stage.folder} && exec "$@"', "sh", *stage.entrypoint, *(arguments or stage.command)]
        )  # fmt: skip
        script.append(f"exec unshare --pid --fork --kill-child --mount-proc={root}/proc {program}")
        command = self.inside("unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(script))
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments, **options):
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    made = Image(tmp_path_factory.mktemp("image"))
    try:
        try:
            made.build((ROOT / "Dockerfile").read_text())
        except RuntimeError as error:
            if re.search(r"NewConnectionError|No matching distribution|Operation not permitted|mount:", str(error)):
                pytest.skip(f"no image can be built here: {str(error)[-300:]}")
            raise
        yield made
    finally:
        made.holder.kill()
        made.holder.communicate()


@pytest.fixture
def volume(tmp_path):
    jobs = [
        {"id": f"j{number}", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64} for number in range(9)
    ]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    return tmp_path


def process_1(process):
    """Return the number of the container's process 1, seen from here."""
    ends_s = time.monotonic() + 30
    while time.monotonic() < ends_s:
        family = {process.pid}
        for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            with suppress(OSError):
                status = (path / "status").read_text()
                if int(re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)[1]) in family:
                    family.add(int(path.name))
                    if re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE):
                        return int(path.name)
        time.sleep(0.02)
    raise AssertionError("the program did not begin")


def records(volume):
    manifest = volume / "out" / "manifest.jsonl"
    return [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []


def test_without_arguments_it_shows_its_help(image):
    code, out, _ = image.run()
    assert code == 0
    assert out.startswith("Usage: venice-batch")


def test_the_image_holds_neither_pip_nor_the_sources(image):
    held = os.listdir(f"/proc/{image.holder.pid}/root{image.last.root}/opt/venice-batch/bin")
    assert "venice-batch" in held
    assert not [name for name in held if name.startswith("pip")]
    assert not Path(f"/proc/{image.holder.pid}/root{image.last.root}/src").exists()


def test_a_run_works_as_another_user_on_a_read_only_root(image, volume):
    with served(**FAST) as base_url:
        env = {"VENICE_API_KEY": "any", "VENICE_BATCH_BASE_URL": base_url}
        code, _, err = image.run("jobs.jsonl", "-o", "out", volume=volume, env=env)
    assert (code, err.count("Traceback")) == (0, 0), err
    assert len(records(volume)) == 9
    assert {path.stat().st_uid for path in (volume / "out").rglob("*")} == {UID}


def test_a_run_into_a_bucket_needs_no_folder_but_tmp(image, volume):
    with store_served() as store, served(**FAST) as base_url:
        env = {"VENICE_API_KEY": "any", "VENICE_BATCH_BASE_URL": base_url, **store.environ}
        found = []
        for _ in range(2):
            code, out, err = image.run("jobs.jsonl", "-o", store.address("image"), "--json", volume=volume, env=env)
            assert code == 0, err
            found.append(json.loads(out))
    assert [(summary["succeeded"], summary["already_done"]) for summary in found] == [(9, 0), (0, 9)]
    assert [path.name for path in volume.iterdir()] == ["jobs.jsonl"]


def test_the_root_is_read_only_and_the_user_is_not_root(image, volume):
    code, _, err = image.run("jobs.jsonl", "--sandbox", "-o", "/opt/out", volume=volume)
    assert code == 5
    assert "/opt/out" in err
    assert "Traceback" not in err


def test_process_1_lets_paid_requests_finish_at_sigterm(image, volume):
    with served(**{**FAST, "latency_s": 1.0}) as base_url:
        env = {"VENICE_API_KEY": "any", "VENICE_BATCH_BASE_URL": base_url}
        with image.start(
            "jobs.jsonl", "-o", "out", "-c", "2", "--log-format", "json", volume=volume, env=env
        ) as process:
            for line in process.stderr:
                if json.loads(line)["event"] == "run_started":
                    break
            ends_s = time.monotonic() + 30
            while not records(volume) and time.monotonic() < ends_s:
                time.sleep(0.02)
            pid = process_1(process)
            assert Path(f"/proc/{pid}").stat().st_uid == UID
            os.kill(pid, signal.SIGTERM)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    made = records(volume)
    assert 1 <= len(made) < 9
    assert all(record["status"] == "succeeded" for record in made)
    assert not list((volume / "out" / "images").glob("*.part"))
