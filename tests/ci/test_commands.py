"""Commands to a pipeline in what others have written are broken up; what is meant passes."""

import io
import json
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.ci.commands import Guard, broken, broken_text, guarded, is_read, quoting, unguarded

ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
SPACES = ["", " ", "\t", "\xa0", "\u3000", "\u2003", "\ufeff", "\u200b"]

pieces = st.lists(st.sampled_from([*ENDS, *SPACES, "::", ":", "#", "##[", "##vso[task.x]y", "a", "é"]), max_size=12)


def obeyed(text):
    """Whether a pipeline would find a command: at a line's begin after any space, or anywhere."""
    lines = re.split("|".join(ENDS), text)
    begins = any(line.lstrip(" \t\xa0\u3000\u2003\ufeff\u200b\x1f").startswith("::") for line in lines)
    return begins or "##" in text


@pytest.mark.parametrize("end", ["", *ENDS])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("command", ["::stop-commands::x", "::set-output name=a::b", "::add-mask::y"])
def test_a_command_where_a_line_begins_is_broken_up(end, space, command):
    text = f"a{end}{space}{command}" if end else space + command
    assert broken_text(text) == text.replace("::", ": :", 1)


@pytest.mark.parametrize("command", ["##vso[task.setvariable variable=a]b", "##[add-mask]x", "##[group]", "##VSO[x]"])
@pytest.mark.parametrize("before", ["", "a", "server: no ", "\n", "#"])
def test_a_command_anywhere_in_a_line_is_broken_up(before, command):
    assert "##" not in broken_text(before + command)


@pytest.mark.parametrize("text", ["a::b", "a ::stop-commands::x", "# heading", "1:2", ": :", "", "é: ok"])
def test_all_else_stays_as_it_is(text):
    assert broken_text(text) == text


@given(pieces)
def test_whatever_is_written_no_command_is_left(parts):
    text = "".join(parts)
    made = broken_text(text)
    assert not obeyed(made)
    assert made.replace(" ", "") == text.replace(" ", "")


@given(pieces)
def test_commands_cut_between_writes_are_broken_up_as_whole_ones_are(parts):
    stream = io.BytesIO()
    guard = Guard(stream)
    for part in parts:
        guard.write(part.encode())
    assert not obeyed(stream.getvalue().decode())
    assert stream.getvalue() == broken("".join(parts).encode())


@given(st.lists(st.sampled_from(["#", "##", "a", '\\"', "::"])))
def test_json_stays_the_same_to_whoever_reads_it(parts):
    stream = io.BytesIO()
    line = quoting(Guard(stream))
    text = json.dumps("".join(parts))
    for char in text:
        line.write(char.encode())
    line.flush()
    assert b"##" not in stream.getvalue()
    assert json.loads(stream.getvalue()) == json.loads(text)


def test_a_stream_without_a_guard_is_given_json_as_it_is():
    stream = io.BytesIO()
    assert quoting(stream) is stream


@pytest.mark.parametrize(
    ("environment", "searched"),
    [
        ({}, False),
        ({"GITHUB_ACTIONS": "true"}, True),
        ({"GITHUB_ACTIONS": "false"}, False),
        ({"TF_BUILD": "True"}, True),
    ],
)
def test_output_is_guarded_where_a_pipeline_reads_it(environment, searched, capfdbinary):
    assert is_read(environment) is searched
    before = sys.stderr
    with guarded(environment):
        assert (sys.stderr is before) is not searched
        print("::stop-commands::x", file=sys.stderr)
        print("::error::meant", file=unguarded(sys.stderr), flush=True)
    assert sys.stderr is before
    lines = capfdbinary.readouterr().err.splitlines()
    assert lines == [b": :stop-commands::x" if searched else b"::stop-commands::x", b"::error::meant"]


def test_a_closed_stream_and_one_of_text_alone_are_left(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with guarded({"TF_BUILD": "True"}):
        print("##[group]", file=sys.stderr)
        assert sys.stdout is None
    assert sys.stderr.getvalue() == "##[group]\n"


def test_a_guard_is_as_much_of_a_terminal_as_what_is_behind_it(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        guard = Guard(file)
        assert (guard.fileno(), guard.isatty(), guard.writable()) == (file.fileno(), False, True)
