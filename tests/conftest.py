"""Fixtures for all tests, and a shim that lets aioresponses work with today's aiohttp."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
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


# A shell starts programs in the background with SIGINT ignored, and so would be every command that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: some tests wait for a terminal, a browser or a window of the rate limit."""
    return (os.cpu_count() or 1) + 1


class _MockedResponse(ClientResponse):
    # aiohttp 3.14 asks every response for the writer that sent its request; aioresponses 0.7.9 knows none.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


def _stream_reader_factory(loop: Any = None) -> StreamReader:
    # Bodies over some 200 KB make the reader pause its protocol, which the library's stand-in cannot do.
    protocol = Mock(spec_set=["pause_reading", "resume_reading", "_reading_paused"], _reading_paused=False)
    return StreamReader(protocol, limit=2**16, loop=loop)


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


@pytest.fixture(scope="session", autouse=True)
def _for_all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Patch aioresponses, forget the machine's settings, and let commands keep their bytecode."""

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(aioresponses.core, "ClientResponse", _MockedResponse)
        patched.setattr(aioresponses.core, "stream_reader_factory", _stream_reader_factory)
        # The environment may hold a key, options or a proxy, or be that of a pipeline.
        for name in list(os.environ):
            if name.startswith(("VENICE_", "GITHUB_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
                patched.delenv(name)
        # The commands of all workers share one folder: they need not compile all modules anew.
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patched.delenv("PYTHONDONTWRITEBYTECODE")
            patched.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp().parent / "bytecode"))
        yield


# One fixture for all that each test needs: with thousands of tests, each further one costs seconds.
@pytest.fixture(autouse=True)
def _for_each_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _homes: _Homes) -> None:
    """Give the test empty folders for cache and settings; measure its commands only if it is marked for that."""

    for folder in _homes.empty():
        monkeypatch.setenv(f"XDG_{folder.name.upper()}_HOME", str(folder))
    if not request.node.get_closest_marker("cover_commands"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
