"""Real object stores as fixtures: tests that ask for one are skipped where its program is missing."""

import importlib.util
import itertools
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(name):
    """Return a module of the benchmarks, which are programs in a folder and no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


servers = benchmark("bucket_servers")
_prefixes = (f"p{number}" for number in itertools.count())


def _served(start):
    try:
        program = start()
        server = program.__enter__()
    except servers.MissingProgramError as error:
        pytest.skip(str(error))
    yield server
    program.__exit__(None, None, None)


@pytest.fixture(scope="session")
def seaweedfs():
    """A running SeaweedFS."""
    yield from _served(servers.seaweedfs)


@pytest.fixture(scope="session")
def azurite():
    """A running Azurite."""
    yield from _served(servers.azurite)


@pytest.fixture(scope="session")
def s3rver():
    """A running s3rver, which ignores conditions."""
    yield from _served(servers.s3rver)


@pytest.fixture(params=["seaweedfs", "azurite"])
def server(request):
    """Each server that keeps conditions, in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix():
    """A folder in the bucket that no other test uses."""
    return next(_prefixes)
