"""Jobs written as lines: the same jobs when they are read again."""

import tracemalloc

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jobfile.lines import any_line, as_file

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import MAX_LINE_BYTES, Defaults, JobIndex, SeedPolicy, native_line, open_source, oversize
from venice_batch.model import Endpoint


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("native") / "jobs.jsonl"


def expanded(path, defaults=None):
    with open_source(path) as source:
        return b"".join(map(native_line, JobIndex.build(source, defaults=defaults).jobs_in_order()))


def identities(path, defaults=None):
    with open_source(path) as source:
        index = JobIndex.build(source, defaults=defaults)
        return [(job.id, job.request_hash, job.endpoint, job.metadata) for job in index.jobs_in_order()]


@settings(max_examples=60)
@given(
    records=st.lists(any_line, min_size=1, max_size=4),
    values=st.fixed_dictionaries({}, optional={"seed": st.integers(1, 9), "safe_mode": st.booleans()}),
    seeds=st.sampled_from(SeedPolicy),
)
def test_the_lines_written_are_the_jobs_read(file, records, values, seeds):
    file.write_bytes(as_file(records))
    defaults = Defaults(values, seeds)
    try:
        before = identities(file, defaults)
    except JobsFileError:
        assume(False)  # two lines that are one job
    text = expanded(file, defaults)
    file.write_bytes(text)
    assert identities(file) == before
    assert identities(file, defaults) == before, "and the defaults add nothing to them"
    assert expanded(file) == text


@settings(max_examples=30)
@given(records=st.lists(any_line, min_size=1, max_size=4))
def test_seeds_are_the_same_whether_pinned_before_expansion_or_after(file, records):
    file.write_bytes(as_file(records))
    pin = Defaults(seeds=SeedPolicy.PIN)
    try:
        pinned = identities(file, pin)
    except JobsFileError:
        assume(False)
    file.write_bytes(expanded(file))
    assert identities(file, pin) == pinned


def test_the_default_endpoint_goes_without_saying(file):
    file.write_bytes(
        as_file(
            [
                {"id": "a", "prompt": "p", "model": "m"},
                {
                    "custom_id": "b",
                    "method": "POST",
                    "url": "/v1/images/generations",
                    "body": {"model": "m", "prompt": "p"},
                },
            ]
        )
    )
    first, second = map(orjson.loads, expanded(file).splitlines())
    assert first == {"id": "a", "prompt": "p", "model": "m"}
    assert second == {"id": "b", "endpoint": Endpoint.GENERATIONS, "model": "m", "prompt": "p"}


def test_a_job_that_no_line_could_hold_is_a_problem_of_the_line_it_comes_from(file):
    references = [{"image": "x" * (MAX_LINE_BYTES - 100)}]
    line = {"model": "m", "matrix": {"prompt": ["p" * 20, "q"], "style_references": [references]}}
    file.write_bytes(as_file([{"model": "m", "prompt": "p"}, line]))
    with open_source(file) as source, pytest.raises(JobsFileError) as caught:
        JobIndex.build(source, examine=oversize)
    assert [problem.line for problem in caught.value.problems] == [2]
    assert "by itself is a line of 1.00 MB; at most 1 MB" in str(caught.value)


def test_memory_does_not_grow_with_the_jobs_written(file):
    file.write_bytes(as_file({"model": "m", "prompt": "p" * 5_000, "seed": number} for number in range(3_000)))
    with open_source(file) as source:
        index = JobIndex.build(source)
        tracemalloc.start()
        written = sum(len(native_line(job)) for job in index.jobs_in_order())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert written > 15e6
    assert peak < 1e6
