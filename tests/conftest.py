"""Fixtures for all tests, and a shim that lets aioresponses work with today's aiohttp."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
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


class _Homes:
    """Folders for a cache, settings and state, all empty; those that a test has left empty serve the next one too."""

    def __init__(self, root: Path) -> None:
        self._numbered = (root / str(number) for number in itertools.count())
        self._folders: list[Path] = []

    def empty(self) -> list[Path]:
        if not self._folders or not all(folder.is_dir() and not os.listdir(folder) for folder in self._folders):
            home = next(self._numbered)
            self._folders = [home / name for name in ("cache", "config", "state")]
            for folder in self._folders:
                folder.mkdir(parents=True)
        return self._folders


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> _Homes:
    return _Homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture(autouse=True)
def _a_cache_and_settings_of_its_own(monkeypatch: pytest.MonkeyPatch, _homes: _Homes) -> None:
    for folder in _homes.empty():
        monkeypatch.setenv(f"XDG_{folder.name.upper()}_HOME", str(folder))


@pytest.fixture(scope="session")
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the bytecode of all commands that the tests start, in all workers."""
    return tmp_path_factory.getbasetemp().parent / "bytecode"


@pytest.fixture(autouse=True)
def _commands_start_fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _bytecode: Path) -> None:
    """Commands need not compile all modules anew, and those of tests marked `no_cover` need not be measured."""

    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(_bytecode))
    if request.node.get_closest_marker("no_cover"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a key, options or a proxy in the environment, or be a pipeline."""

    for name in list(os.environ):
        if name.startswith(("VENICE_", "GITHUB_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
