"""The index of a jobs file: lanes, places, ids used twice, and files that change."""

import contextlib
import io
import os
import tracemalloc
from array import array
from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, Part, Shard, index, open_source, parse
from venice_batch.jobfile.index import Directory
from venice_batch.jobfile.reading import lines

# Hashes that share a bucket whatever the number of jobs, and some that are equal.
HASHES = st.sampled_from([number << 60 for number in range(-8, 8)]) | st.integers(-4, 4)


@given(st.lists(HASHES, max_size=40), HASHES)
def test_every_job_with_a_hash_is_found_and_repeats_are_known(hashes, other):
    directory = Directory(array("q", hashes))
    for hashed in {*hashes, other}:
        assert sorted(directory.places(hashed)) == [place for place, one in enumerate(hashes) if one == hashed]
    repeats = [place for place, hashed in enumerate(hashes) if hashed in hashes[:place]]
    assert list(directory.repeats) == repeats
    assert list(directory.originals) == [hashes.index(hashes[place]) for place in repeats]


LINES = [
    {"id": "a", "model": "one", "prompt": "p"},
    {"id": "b", "model": "two", "prompt": "p"},
    {"id": "c", "model": "one", "prompt": "p", "matrix": {"seed": [1, 2]}},
    {"id": "d", "prompt": "p", "matrix": {"model": ["two", "one", "three"]}},
]


def jsonl(records):
    return b"\n".join(orjson.dumps(record) for record in records) + b"\n"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Index a file of the given records; the sources are closed after the test."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def build(content, **options):
        content = content if isinstance(content, bytes) else jsonl(content)
        (tmp_path / "jobs.jsonl").write_bytes(content)
        opened.append(open_source("jobs.jsonl"))
        return JobIndex.build(opened[-1].__enter__(), **options)

    yield build
    for source in opened:
        source.__exit__(None, None, None)


def nothing(place):
    return False


def ids(jobs):
    return [job.id for job in jobs]


def errors(build, content, **options):
    with pytest.raises(JobsFileError) as caught:
        build(content, **options)
    return [str(problem) for problem in caught.value.problems], caught.value.total


def test_lanes_come_in_the_order_of_first_use(build):
    found = build(LINES)
    assert found.lanes == ("one", "two", "three")
    assert len(found) == 7
    assert [found.count(lane) for lane in range(3)] == [4, 2, 1]
    assert ids(found.pending(0, nothing)) == ["a", "c__seed-1", "c__seed-2", "d__model-one"]
    assert ids(found.pending(1, nothing)) == ["b", "d__model-two"]
    assert [job.index for job in found.jobs_in_order()] == list(range(7))
    assert [job.line for job in found.jobs_in_order()] == [1, 2, 3, 3, 4, 4, 4]


def test_settled_jobs_are_left_out(build):
    found = build(LINES)
    first, *others = found.places_of(0)
    assert ids(found.pending(0, others.__contains__)) == ["a"]
    assert ids(found.pending(0, lambda place: True)) == []
    assert next(found.jobs_in_order()).index == first


def test_the_whole_file_has_the_jobs_that_a_part_or_a_shard_leaves_out(build):
    lines = jsonl({"id": one, "model": "m", "prompt": one, "matrix": {"seed": [1, 2]}} for one in "abc")
    whole = ids(build(lines).whole_file())
    assert len(whole) == 6
    assert ids(build(lines, part=Part(limit=1)).whole_file()) == whole
    assert ids(build(lines, shard=Shard(2, 3)).whole_file()) == whole


def test_lines_that_were_added_are_no_part_of_the_whole_file(build):
    index = build([{"id": one, "model": "m", "prompt": one} for one in "ab"])
    with open("jobs.jsonl", "ab") as file:
        file.write(jsonl([{"id": "c", "model": "m", "prompt": "c"}]) + b'{"id": ')
    assert ids(index.whole_file()) == ["a", "b"]


@pytest.mark.parametrize(
    "first", [{"id": "a", "model": "m", "prompt": ""}, {"id": "a", "model": "m", "prompt": "other"}]
)
def test_a_file_whose_lines_have_changed_is_not_read_as_a_whole(build, first):
    lines = [{"id": one, "model": "m", "prompt": one} for one in "abc"]
    index = build(lines)
    with open("jobs.jsonl", "r+b") as file:
        file.write(jsonl([{**first, "metadata": {"note": "longer"}}, *lines[1:]]))
    with pytest.raises(JobsFileError, match="has changed since the check; run again"):
        list(index.whole_file())


def test_a_file_that_has_become_shorter_is_not_read_as_a_whole(build):
    index = build([{"id": one, "model": "m", "prompt": one} for one in "ab"])
    os.truncate("jobs.jsonl", 40)
    with pytest.raises(JobsFileError, match="has changed since the check; run again"):
        list(index.whole_file())


def test_a_job_is_found_by_its_id_and_checked_by_its_request(build):
    found = build(LINES)
    directory = found.directory()
    for job in found.jobs_in_order():
        assert directory.places(hash(job.id)) == [job.index]
        assert found.has_request(job.index, job.request_hash)
        assert not found.has_request(job.index, "0" * 32)
        assert not found.has_request(job.index, "no hash")
    assert directory.places(hash("nobody")) == []


def test_lanes_may_be_read_in_turns(build):
    found = build([{"id": f"{number}", "model": f"m{number % 3}", "prompt": "x" * 3000} for number in range(300)])
    turns = zip(found.pending(0, nothing), found.pending(1, nothing), found.pending(2, nothing), strict=True)
    assert [job.id for turn in turns for job in turn] == [f"{number}" for number in range(300)]


def test_defaults_reach_the_jobs_that_are_read_again(build):
    found = build([{"id": "a", "prompt": "p"}], defaults=Defaults.of(["model=m", "seed=3"]))
    assert next(found.pending(0, nothing)).request == {"model": "m", "seed": 3, "prompt": "p"}


def test_all_problems_come_in_the_order_of_the_file(build):
    content = jsonl([LINES[0], {"id": "b"}, LINES[0]]) + b"{\n" + b"x" * (2 << 20)
    found, total = errors(build, content)
    assert found == [
        "jobs.jsonl:2: model: missing",
        "jobs.jsonl:2: prompt: missing",
        "jobs.jsonl:3: id: 'a' is used on line 1 already",
        "jobs.jsonl:4: not valid JSON: unexpected end of data at column 2",
        "jobs.jsonl:5: line is 2.0 MB; at most 1 MB; give style reference images as URLs",
    ]
    assert total == 5


def test_the_first_problems_are_kept_and_all_are_counted(build):
    found, total = errors(build, [{"id": str(number)} for number in range(500)], max_problems=10)
    assert total == 1000
    assert [problem.split(":")[1] for problem in found] == ["1", "1", "2", "2", "3", "3", "4", "4", "5", "5"]


def test_the_same_request_twice_without_an_id_is_a_duplicate(build):
    line = {"model": "m", "prompt": "p"}
    found, _ = errors(build, [line, line])
    assert found == ["jobs.jsonl:2: id: the request is that of line 1, where no id tells them apart; give each an id"]


def test_a_matrix_that_makes_one_request_twice_needs_an_id(build):
    line = {"model": "m", "prompt": "p", "matrix": {"resolution": ["1K", "1k"]}}
    found, _ = errors(build, [line])
    assert found == ["jobs.jsonl:1: id: the matrix makes the same request twice; give the line an id to have both"]
    assert len(build([{**line, "id": "a"}])) == 2


def test_an_id_that_a_matrix_makes_may_not_be_anothers(build):
    found, _ = errors(build, [LINES[2], {"id": "c__seed-2", "model": "m", "prompt": "p"}])
    assert found == ["jobs.jsonl:2: id: 'c__seed-2' is used on line 1 already"]


def test_ids_with_the_same_hash_are_still_different_ids(build, monkeypatch):
    monkeypatch.setattr(index, "hash", lambda _id: 42, raising=False)
    assert len(build(LINES)) == 7
    found, total = errors(build, [*LINES, LINES[1]])
    assert (found, total) == (["jobs.jsonl:5: id: 'b' is used on line 2 already"], 1)


def test_ids_used_twice_are_named_in_the_order_of_the_file(build):
    ids = [*range(100), *range(99, -1, -1)]
    found, total = errors(build, [{"id": f"job-{number}", "model": "m", "prompt": "p"} for number in ids])
    assert total == 100
    assert found == [
        f"jobs.jsonl:{line}: id: 'job-{200 - line}' is used on line {201 - line} already" for line in range(101, 201)
    ]


def test_of_very_many_duplicates_the_first_are_named_and_all_are_counted(build):
    lines = [{"id": f"job-{number % 3}", "model": "m", "prompt": "p"} for number in range(60)]
    found, total = errors(build, lines, max_problems=4)
    assert total == 57
    assert found == [
        "jobs.jsonl:4: id: 'job-0' is used on line 1 already",
        "jobs.jsonl:5: id: 'job-1' is used on line 2 already",
        "jobs.jsonl:6: id: 'job-2' is used on line 3 already",
        "jobs.jsonl:7: id: 'job-0' is used on line 1 already",
    ]


def test_a_duplicate_whose_line_changed_during_the_check_is_refused(build):
    def shorten(_):
        with open("jobs.jsonl", "wb") as file:
            file.write(b"\n")
        return ()

    with pytest.raises(JobsFileError, match="line 2 has changed since the check"):
        build([LINES[0], LINES[0]], examine=shorten)


def complain(job):
    return [("seed", "is not liked")] if job.request.get("seed") == 3 else []


drawn = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["p", "q", ""])},
    optional={
        "id": st.sampled_from("abc"),
        "matrix": st.sampled_from([{"seed": [1, 2]}, {"seed": [2, 3]}, {"resolution": ["1K", "1k"], "seed": [4, 3]}]),
    },
)


@given(st.lists(drawn, min_size=1, max_size=20), st.sampled_from([1, 3, 1000]), st.sampled_from([None, Shard(1, 2)]))
def test_every_second_use_of_an_id_is_a_problem_and_no_other(records, most, shard):
    with open_source("-", io.BytesIO(jsonl(records))) as source:
        expected, first, count = [], {}, 0
        for number, _, line in lines(source.file):
            one = parse(line, number=number, first_index=count, defaults=Defaults.of(["model=d"]), source="<stdin>")
            count += len(one.jobs)
            expected += [(number, problem.field) for problem in one.problems]
            for job in one.jobs:
                if shard is None or shard.holds(job.id):
                    expected += [(number, field) for field, _ in complain(job)]
                    if job.id in first:
                        expected.append((number, "id"))
                    first.setdefault(job.id, number)
        raised = pytest.raises(JobsFileError) if expected else contextlib.nullcontext()
        with raised as caught:
            JobIndex.build(source, defaults=Defaults.of(["model=d"]), max_problems=most, examine=complain, shard=shard)
    if caught is not None:
        assert caught.value.total == len(expected)
        found = [(problem.line, problem.field) for problem in caught.value.problems]
        assert len(found) == min(most, len(expected))
        assert [line for line, _ in found] == sorted(line for line, _ in expected)[: len(found)]
        assert not Counter(found) - Counter(expected)


def test_a_file_without_jobs_is_an_error(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    with open_source(path) as source:
        path.write_bytes(b"\n")
        with pytest.raises(JobsFileError, match="holds no jobs"):
            JobIndex.build(source)


@pytest.mark.parametrize(
    "content",
    [jsonl(LINES[:1]), jsonl([{**line, "prompt": "q"} for line in LINES])],
    ids=["shorter", "same size"],
)
def test_a_file_that_has_changed_is_reported_and_not_run(build, content):
    found = build(LINES)
    jobs = found.jobs_in_order()
    next(jobs)
    with open("jobs.jsonl", "r+b") as file:
        file.write(content)
        file.truncate()
    with pytest.raises(JobsFileError, match=r"^jobs\.jsonl: line 2 has changed since the check; run again$"):
        list(jobs)


def test_lines_added_meanwhile_belong_to_no_job_of_this_index(build):
    found = build(LINES)
    jobs = found.jobs_in_order()
    before = [next(jobs)]
    with open("jobs.jsonl", "ab") as file:
        file.write(jsonl([{"id": "new", "model": "m", "prompt": "p"}]))
    assert len([*before, *jobs]) == len(found)


def test_lines_put_before_the_others_are_a_change(build):
    found = build(LINES)
    with open("jobs.jsonl", "wb") as file:
        file.write(jsonl([{"id": "new", "model": "m", "prompt": "p"}, *LINES]))
    with pytest.raises(JobsFileError, match="line 1 has changed"):
        next(found.jobs_in_order())


def test_a_change_that_hides_from_size_and_time_is_seen_in_the_job(build):
    found = build(LINES)
    before = os.stat("jobs.jsonl")
    with open("jobs.jsonl", "r+b") as file:
        file.write(jsonl([{**line, "prompt": "q"} for line in LINES]))
    os.utime("jobs.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(JobsFileError, match="line 1 has changed"):
        next(found.pending(0, nothing))
    with open("jobs.jsonl", "r+b") as file:
        file.write(b" " * before.st_size)
    os.utime("jobs.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(JobsFileError, match="line 1 has changed"):
        next(found.pending(0, nothing))


records = st.fixed_dictionaries(
    {"prompt": st.text(st.characters(exclude_categories=["Cs"]), max_size=20)},
    optional={"model": st.sampled_from("abc"), "matrix": st.just({"seed": [1, 2]}), "metadata": st.none()},
)


@given(st.lists(records, min_size=1, max_size=8))
def test_the_index_gives_exactly_the_jobs_of_the_lines(found):
    content = b"\xef\xbb\xbf" + b"\r\n\n".join(
        orjson.dumps({**record, "id": f"{number}"}) for number, record in enumerate(found)
    )
    with open_source("-", io.BytesIO(content)) as source:
        jobs, problems = [], []
        for number, _, line in lines(source.file):
            one = parse(line, number=number, first_index=len(jobs), defaults=Defaults(), source="<stdin>")
            jobs += one.jobs
            problems += one.problems
        if problems:
            with pytest.raises(JobsFileError) as caught:
                JobIndex.build(source)
            assert list(caught.value.problems) == problems
            return
        built = JobIndex.build(source)
        assert list(built.jobs_in_order()) == jobs
        by_lane = [list(built.pending(lane, nothing)) for lane in range(len(built.lanes))]
        assert [{job.model for job in lane} for lane in by_lane] == [{name} for name in built.lanes]
        assert sorted((job for lane in by_lane for job in lane), key=lambda job: job.index) == jobs


def test_an_index_is_compact(build):
    content = [{"id": f"job-{number}", "model": "m", "prompt": "p"} for number in range(5000)]
    tracemalloc.start()
    try:
        found = build(content)
        del content
        size = sum(
            trace.size
            for trace in tracemalloc.take_snapshot()
            .filter_traces([tracemalloc.Filter(True, index.__file__)])
            .statistics("filename")
        )
    finally:
        tracemalloc.stop()
    assert size / len(found) < 60
