"""The package where POSIX is not, and the fallbacks one by one."""

import ast
import asyncio
import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import anyio
import pytest
from without_posix import POSIX_MODULES, POSIX_ONLY

import venice_batch
from venice_batch import portable

HERE = Path(__file__).parent
ROOT = Path(venice_batch.__file__).parent
MODULES = sorted(
    ".".join(("venice_batch", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)


def without_posix(folder, program, *args):
    """Run `program` (Python text) in a process that lacks POSIX; return its standard output."""
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, HERE / "without_posix.py", "program.py", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent), "COVERAGE_PROCESS_START": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_every_module_is_imported_without_posix(tmp_path):
    program = f"import importlib\nfor name in {MODULES}:\n    importlib.import_module(name)\nprint('all')\n"
    assert without_posix(tmp_path, program)[0] == "all\n"


def test_a_sandbox_run_without_posix_has_whole_images_and_a_whole_manifest(tmp_path):
    jobs = [{"id": f"j{n}", "model": "venice-sd35", "prompt": f"p {n}", "width": 64, "height": 64} for n in range(5)]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    program = "from venice_batch.__main__ import main\nmain()\n"
    command = ("run", "jobs.jsonl", "-o", "out", "--sandbox", "--sandbox-latency", "0", "--durable")
    told = without_posix(tmp_path, program, *command)[1]
    assert "has no locks" in told
    records = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert sorted(record["id"] for record in records) == [job["id"] for job in jobs]
    for record in records:
        (file,) = record["files"]
        data = (tmp_path / "out" / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "images", "manifest.jsonl", "summary.json"]
    without_posix(tmp_path, program, *command)
    assert len((tmp_path / "out/manifest.jsonl").read_text().splitlines()) == 5, "nothing is bought again"


def guarded_names(tree):
    """What the file asks for with `hasattr` before it uses it."""
    calls = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hasattr"
    )
    return {f"{ast.unparse(call.args[0])}.{call.args[1].value}" for call in calls if hasattr(call.args[1], "value")}


@pytest.mark.no_cover
def test_what_only_posix_has_stands_behind_a_question():
    only = {f"{module}.{name}" for module, names in POSIX_ONLY.items() for name in names}
    last_parts = {name.rpartition(".")[2] for name in only}
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        used = {
            ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in last_parts
        }
        guarded = guarded_names(tree)
        found = used & only - guarded
        # Whoever has pthread_sigmask or killpg has the names that are used with them.
        if "signal.pthread_sigmask" in guarded or "os.killpg" in guarded:
            found -= {"signal.SIG_BLOCK", "signal.SIG_UNBLOCK", "signal.SIGHUP", "signal.SIGKILL"}
        if "os.memfd_create" in guarded:
            found -= {"os.MFD_CLOEXEC"}
        assert not found, path
        imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        assert not imported & set(POSIX_MODULES), path
        taken = {
            f"{node.module}.{alias.name}"
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not taken & only, path


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    number = os.open(path, os.O_RDWR)
    yield number
    os.close(number)


def test_reading_at_a_position_leaves_the_files_own(file, monkeypatch):
    os.lseek(file, 3, os.SEEK_SET)
    assert portable.pread(file, 4, 5) == b"5678"
    monkeypatch.delattr(os, "pread")
    assert portable.pread(file, 4, 5) == b"5678"
    assert portable.pread(file, 4, 50) == b""
    assert os.read(file, 1) == b"3"


@pytest.mark.parametrize("has_flag", [True, False])
def test_a_link_is_opened_only_where_it_may_be_followed(tmp_path, monkeypatch, has_flag):
    if not has_flag:
        monkeypatch.setattr(portable, "_NO_FOLLOW", 0)
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match=r"links") as caught:
        portable.open_file(tmp_path / "link", os.O_RDONLY)
    assert caught.value.errno == errno.ELOOP
    for path, follow in (("link", True), ("file", False)):
        number = portable.open_file(tmp_path / path, os.O_RDONLY, follow=follow)
        assert os.read(number, 9) == b"text"
        assert not os.get_inheritable(number)
        os.close(number)


@pytest.mark.parametrize("how", ["itself", "through the link", "not at all"])
def test_a_second_name_is_given_in_the_way_that_the_system_has(tmp_path, monkeypatch, how):
    (tmp_path / "file").write_bytes(b"text")
    if how == "through the link":
        monkeypatch.setattr(os, "supports_follow_symlinks", set())
    if how == "not at all":
        monkeypatch.delattr(os, "link")
        with pytest.raises(OSError, match=r"supported"):
            portable.link(tmp_path / "file", tmp_path / "other")
        return
    portable.link(tmp_path / "file", tmp_path / "other")
    assert (tmp_path / "other").samefile(tmp_path / "file")
    with pytest.raises(FileExistsError):
        portable.link(tmp_path / "file", tmp_path / "other")


def test_a_lock_keeps_others_out_until_it_is_given_back(file):
    other = os.open(f"/proc/self/fd/{file}", os.O_RDWR)
    try:
        assert portable.lock(file)
        assert not portable.lock(other)
        portable.unlock(file)
        assert portable.lock(other, wait=True)
    finally:
        os.close(other)


def test_a_file_that_is_asked_about_stays_as_it_was(file):
    other = os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
    try:
        assert not portable.is_locked(other)
        assert portable.lock(file)
        assert portable.is_locked(other)
        portable.unlock(file)
        assert not portable.is_locked(other)
    finally:
        os.close(other)


class FakeMsvcrt(types.ModuleType):
    """Locks of Windows: a range of bytes from the file's position on."""

    LK_UNLCK, LK_NBLCK = 0, 2

    def __init__(self):
        super().__init__("msvcrt")
        self.locked = set()

    def locking(self, file, mode, size):
        place = (os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR), self.LK_NBLCK, size)
        if mode == self.LK_UNLCK:
            self.locked.remove(place)
            return
        if place in self.locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.locked.add(place)


def test_on_windows_a_byte_behind_the_end_is_locked(file, monkeypatch):
    windows = FakeMsvcrt()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    assert not portable.is_locked(file)
    assert portable.lock(file)
    assert portable.is_locked(file)
    assert not portable.lock(file)
    ((_, position, mode, size),) = windows.locked
    assert (position, mode, size) == (2**31 - 2, windows.LK_NBLCK, 1)
    assert os.read(file, 1) == b"0"
    assert os.fstat(file).st_size == 10
    portable.unlock(file)
    assert not windows.locked
    assert portable.lock(file)


def test_a_system_without_locks_says_so(file, monkeypatch):
    for name in ("fcntl", "msvcrt"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        portable.lock(file)


@pytest.mark.parametrize("takes_signals", [True, False])
async def test_signals_are_received_from_every_event_loop(monkeypatch, takes_signals):
    former = signal.getsignal(signal.SIGTERM)
    if not takes_signals:
        for name in ("add_signal_handler", "remove_signal_handler"):
            monkeypatch.setattr(type(asyncio.get_running_loop()), name, getattr(asyncio.AbstractEventLoop, name))
    with anyio.fail_after(10), portable.signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            assert await anext(signals) is number
    assert takes_signals or signal.getsignal(signal.SIGTERM) is former
    signal.signal(signal.SIGTERM, former)


def test_locks_are_those_of_flock(file):
    assert portable.lock(file)
    with open(f"/proc/self/fd/{file}", "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_process_that_has_ended_does_not_run_and_this_one_may(monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert portable.may_be_running(os.getpid())
    assert portable.may_be_running(1)
    assert not portable.may_be_running(ended.pid)
    assert not portable.may_be_running(2**70)
    monkeypatch.setattr(portable, "IS_WINDOWS", True)
    assert portable.may_be_running(ended.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_process_whose_end_nobody_asked_for_does_not_run():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays as it is
    assert not portable.may_be_running(ended.pid)
    assert ended.wait() == 0


def test_a_process_may_run_where_the_system_does_not_tell_its_state(monkeypatch):
    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(portable, "open", refuse, raising=False)
    assert portable.may_be_running(os.getpid())
