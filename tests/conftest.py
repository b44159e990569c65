"""Fixtures for all tests, and a shim that lets aioresponses work with today's aiohttp."""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import Mock

import aioresponses.core
import pytest
from aiohttp import ClientResponse, StreamReader
from hypothesis import HealthCheck, settings

# How fast an example is made or judged says something of the machine's other work, nothing of the code.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
settings.register_profile("thorough", settings.get_profile("any_machine"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "any_machine"))


class _MockedResponse(ClientResponse):
    # aiohttp 3.14 asks every response for the writer that sent its request; aioresponses 0.7.9 knows none.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


def _stream_reader_factory(loop: Any = None) -> StreamReader:
    # Bodies over some 200 KB make the reader pause its protocol, which the library's stand-in cannot do.
    protocol = Mock(spec_set=["pause_reading", "resume_reading", "_reading_paused"], _reading_paused=False)
    return StreamReader(protocol, limit=2**16, loop=loop)


@pytest.fixture(autouse=True)
def _aioresponses_with_current_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioresponses.core, "ClientResponse", _MockedResponse)
    monkeypatch.setattr(aioresponses.core, "stream_reader_factory", _stream_reader_factory)


@pytest.fixture(autouse=True)
def _a_cache_and_settings_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a key, options or a proxy in the environment, or be a pipeline."""

    for name in list(os.environ):
        if name.startswith(("VENICE_", "GITHUB_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
