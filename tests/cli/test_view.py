"""`venice-batch view`: one line with the address, the page behind it, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
from command import run
from gallery.made import record, write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "out", record(tmp_path / "out", "a"))


@contextmanager
def viewing(root, *arguments, environ=None):
    """Yield the command as a process and the address in its first line."""
    command = [sys.executable, "-m", "venice_batch", "view", str(root), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})}
    ) as process:
        try:
            line = process.stdout.readline()
            yield process, re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)[0]
        finally:
            process.kill()


def loaded(address):
    with urllib.request.urlopen(address) as answer:
        return answer.read().decode()


@pytest.mark.cover_commands
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_it_serves_the_page_until_a_signal_and_prints_one_line(root, number, code):
    with viewing(root) as (process, address):
        assert 'data-live="1"' in loaded(address)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "")


def test_it_ends_while_a_page_is_open(root):
    with viewing(root) as (process, address):
        loaded(address)
        with urllib.request.urlopen(f"{address}events") as answer:
            assert answer.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.cover_commands
def test_the_browser_gets_an_address_that_works_once(root, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    os.mkfifo(tmp_path / "opened")
    with viewing(root, "--open", environ={"BROWSER": f"{browser} %s"}) as (process, address):
        opened = (tmp_path / "opened").read_text().strip()
        assert address not in opened
        assert 'data-live="1"' in loaded(opened)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_without_a_browser_it_says_so_and_goes_on(root):
    with viewing(root, "--open", environ={"BROWSER": "/bin/false %s"}) as (process, address):
        assert process.stderr.readline() == "venice-batch: no browser was found; open the address yourself\n"
        assert 'data-live="1"' in loaded(address)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_a_port_that_is_taken_is_one_line(root):
    with viewing(root) as (_, address):
        port = address.split(":")[2].split("/")[0]
        assert run("view", str(root), "--port", port) == (
            2,
            "",
            f"venice-batch: port {port} is taken; give another one, or leave out --port\n",
        )


def test_a_port_that_is_not_allowed_is_one_line(root, monkeypatch):
    def refuse(*given, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("venice_batch.view.serve", refuse)
    result = run("view", str(root), "--port", "80")
    assert (result.code, result.err) == (2, "venice-batch: cannot serve on port 80: Permission denied\n")


def test_a_folder_without_a_manifest_is_one_line(tmp_path):
    result = run("view", str(tmp_path))
    assert (result.code, result.out) == (5, "")
    assert result.err == f"venice-batch: {tmp_path}: holds no manifest.jsonl; is it a run's output folder?\n"
