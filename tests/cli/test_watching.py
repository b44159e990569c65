"""Where the display can live, and where a log takes its place."""

import io
from types import SimpleNamespace

import pytest

from venice_batch.cli.console import JsonLog, TextLog
from venice_batch.cli.watching import is_live, watching

USUAL = {"quiet": False, "no_progress": False, "log_format": "text"}
TERMINAL = SimpleNamespace(isatty=lambda: True)
XTERM = {"TERM": "xterm-256color"}


def test_a_terminal_has_a_live_display():
    assert is_live(USUAL, TERMINAL, XTERM)


@pytest.mark.parametrize("change", [{"quiet": True}, {"no_progress": True}, {"log_format": "json"}])
def test_an_option_can_ask_for_none(change):
    assert not is_live({**USUAL, **change}, TERMINAL, XTERM)


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}])
def test_a_terminal_that_cannot_move_its_cursor_has_none(environ):
    assert not is_live(USUAL, TERMINAL, environ)


def test_a_file_is_no_terminal_whatever_is_said_of_colours():
    forced = {**XTERM, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    closed = io.StringIO()
    closed.close()
    assert not any(is_live(USUAL, stream, forced) for stream in (io.StringIO(), closed, None))


@pytest.mark.parametrize(("log_format", "kind"), [("text", TextLog), ("json", JsonLog)])
async def test_elsewhere_a_log_is_written(log_format, kind):
    async with watching({**USUAL, "log_format": log_format}, io.StringIO()) as observer:
        assert isinstance(observer, kind)
