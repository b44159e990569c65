import os
import sys

import pytest

from venice_batch.output import child


def started(*options, **arguments):
    process = child.start("timeit", options, files=(), **arguments)
    assert process is not None
    return process


def test_a_module_runs_with_its_options_between_pipes():
    with started("-n", 1, "print(1)", pipe_bytes=65536) as process:
        assert process.stdout.read().startswith(b"1")


def test_without_pipes_it_has_no_way_to_the_terminal():
    with started("-n", 1, "pass") as process:
        assert process.stdin is process.stdout is None
    assert process.returncode == 0


@pytest.mark.parametrize("interpreter", [None, "", "/no/such/python"])
def test_without_an_interpreter_there_is_no_process(monkeypatch, interpreter):
    monkeypatch.setattr(sys, "executable", interpreter)
    assert child.start("timeit", (), files=()) is None


def test_a_program_that_contains_its_interpreter_starts_nothing(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not child.is_possible()
    assert child.start("timeit", (), files=()) is None


def test_an_option_that_no_command_line_holds_starts_nothing():
    assert child.start("timeit", ("a\0b",), files=()) is None


def test_no_secret_is_inherited(monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    with started("-n", 1, "-s", "import os", "print(os.environ)", pipe_bytes=65536) as process:
        told = process.stdout.read()
    assert b"secret" not in told
    assert b"PYTHONPATH" in told


def test_no_module_of_the_current_folder_is_taken(monkeypatch, tmp_path):
    (tmp_path / "timeit.py").write_text("print('mine')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and os.path.abspath(path) != str(tmp_path)])
    with started("-n", 1, "print('theirs')", pipe_bytes=65536) as process:
        assert process.stdout.read().startswith(b"theirs")
