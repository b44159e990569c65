import io
import os
import sys

import pytest
from command import run

from venice_batch.cli.env import Environment, environment
from venice_batch.cli.main import main


def env(**given):
    return Environment(**{"stdin": None, "stdout": None, "stderr": None, "environ": {}, **given})


def test_a_command_reads_and_writes_the_streams_that_it_is_given(capsys):
    job = '{"id": "a", "model": "venice-sd35", "prompt": "p"}\n'
    result = run("expand", "-", stdin=job)
    assert (result.code, '"prompt":"p"' in result.out, result.err) == (0, True, "")
    assert run("models", "x", "y").err.startswith("venice-batch: Got unexpected extra argument")
    assert capsys.readouterr() == ("", "")


def test_the_processs_streams_are_back_afterwards():
    before = sys.stdin, sys.stdout, sys.stderr
    run("schema")
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_options_read_the_variables_that_the_command_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("config", environ={"VENICE_BATCH_RPM": "3", "VENICE_BATCH_NAME": ""})
    rows = [line.split() for line in result.out.splitlines()]
    assert ["rpm", "3", "VENICE_BATCH_RPM"] in rows
    assert ["name", "-", "default"] in rows


def test_the_day_in_an_output_folder_is_that_of_the_commands_clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"model": "venice-sd35", "prompt": "p"}\n')
    result = run("check", "jobs.jsonl", "--sandbox", "-o", "out-{date}", now=lambda: 1_000_000_000.0)
    assert "into out-2001-09-09" in result.out


@pytest.mark.parametrize("is_connected", [True, False])
def test_streams_that_are_not_connected_have_no_bytes_and_cannot_ask(is_connected):
    stream = io.TextIOWrapper(io.BytesIO()) if is_connected else None
    found = env(stdin=stream, stdout=stream)
    assert found.stdin_bytes is (stream.buffer if is_connected else None)
    assert found.stdout_bytes is found.stdin_bytes
    assert not found.can_ask


def test_a_missing_stream_cannot_be_read():
    assert main(["schema"], env()) == 2


def test_outside_a_command_the_environment_is_the_processs():
    assert environment() == Environment(sys.stdin, sys.stdout, sys.stderr, os.environ)
