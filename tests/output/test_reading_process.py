"""A process that may help, and can do no harm."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from functools import partial

import pytest

from venice_batch.output import child, reading_process
from venice_batch.output.extract import extract
from venice_batch.output.plain_files import have_sizes
from venice_batch.output.reader import GREETING
from venice_batch.output.reading_process import ReadingProcess
from venice_batch.output.stretches import opened

SIZE_BYTES = 256


@pytest.fixture
def stretches(tmp_path):
    """Some forty stretches of a manifest."""
    path = tmp_path / "manifest.jsonl"
    record = b'{"id":"job-%d","request_hash":"h","status":"failed"}\n'
    path.write_bytes(b"torn\n" + b"".join(record % number for number in range(200)))
    with opened(path, SIZE_BYTES) as stretches:
        yield stretches


@pytest.fixture
def patient(monkeypatch):
    """Has every call wait for what was asked for before, as if the other process were much the faster one."""
    monkeypatch.setattr(reading_process.os, "set_blocking", lambda file, blocking: None)


def reading(stretches):
    return ReadingProcess(stretches, verify=False, sandbox=True)


def extracted(process, stretches):
    """All extracts that came in time, by their stretches' numbers."""
    return dict(one for number in range(len(stretches)) for one in process.extracts(above=number))


def own(stretches, number):
    return extract(*stretches.lines(number), partial(have_sizes, f"{stretches.path.parent}/"), sandbox=True)


def program(tmp_path, text):
    """A program that stands in for the interpreter."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_its_extracts_are_those_of_this_process(stretches, patient):
    with reading(stretches) as process:
        found = extracted(process, stretches)
    assert len(found) > len(stretches) // 2
    assert found == {number: own(stretches, number) for number in found}


def test_the_last_stretches_are_asked_for_first_and_none_but_those_above(stretches, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    monkeypatch.setattr(sys, "executable", program(tmp_path, f"cat > {asked}"))
    with reading(stretches) as process:
        for number in range(len(stretches) - 3, len(stretches)):
            assert process.extracts(above=number) == []
        process._process.stdin.close()
        process._process.wait()
    assert asked.read_text().split() == [str(len(stretches) - 1), str(len(stretches) - 2)]


@pytest.mark.parametrize("executable", [None, "", "/nonexistent/python"])
def test_without_an_interpreter_there_is_none(stretches, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with reading(stretches) as process:
        assert extracted(process, stretches) == {}


def test_a_program_that_contains_its_interpreter_is_not_started_anew(stretches, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(child.subprocess, "Popen", None)
    with reading(stretches) as process:
        assert extracted(process, stretches) == {}


@pytest.mark.parametrize(
    "text",
    ["exit 2", "echo 'No such option: -P'; exec cat", f"printf '{GREETING.decode()[:9]}'", "exec cat", "exec yes"],
    ids=["ends", "talks", "begins alike", "echoes", "talks without end"],
)
def test_another_program_is_not_listened_to(stretches, patient, tmp_path, monkeypatch, text):
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    with reading(stretches) as process:
        assert extracted(process, stretches) == {}


def test_what_it_had_answered_counts_when_it_is_killed(stretches, patient):
    with reading(stretches) as process:
        assert process.extracts(above=0) == []
        found = dict(process.extracts(above=1))
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        found |= extracted(process, stretches)
    assert 8 <= len(found) <= 16
    assert found == {number: own(stretches, number) for number in found}


def test_one_that_stands_still_is_not_waited_for(stretches):
    with reading(stretches) as process:
        os.kill(process._process.pid, signal.SIGSTOP)
        assert extracted(process, stretches) == {}


def test_it_is_ended_and_waited_for(stretches):
    with reading(stretches) as process:
        started = process._process
        process.extracts(above=0)
    assert started.returncode == -signal.SIGKILL
    assert started.stdin.closed
    assert started.stdout.closed


def test_it_hears_no_signal_of_the_terminal(stretches):
    with reading(stretches) as process:
        assert os.getsid(process._process.pid) != os.getsid(0)


def test_it_gets_neither_key_nor_lock(stretches, tmp_path, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    told = tmp_path / "told"
    text = f"env > {told}.part; ls /dev/fd >> {told}.part; mv {told}.part {told}; exec cat > {tmp_path}/end"
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    lock = os.open(tmp_path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    os.set_inheritable(lock, True)
    try:
        with reading(stretches) as process:
            process._process.stdin.close()
            process._process.wait()
    finally:
        os.close(lock)
    lines = told.read_text().splitlines()
    assert not [line for line in lines if "secret" in line]
    assert any(line.startswith("PYTHONPATH=") for line in lines)
    assert str(stretches.file) in lines
    assert str(lock) not in lines


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no way to wait for the process of a process")
def test_it_ends_when_this_process_is_killed(stretches):
    program = f"""
import os, signal
from pathlib import Path
from venice_batch.output.reading_process import ReadingProcess
from venice_batch.output.stretches import opened
with opened(Path({str(stretches.path)!r}), 256) as stretches:
    reading = ReadingProcess(stretches, verify=False, sandbox=True)
    reading.extracts(above=0)
    print(reading._process.pid, flush=True)
    input()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.wait() == -signal.SIGKILL
    with contextlib.closing(os.fdopen(child)):
        assert select.select([child], [], [], 60)[0]
