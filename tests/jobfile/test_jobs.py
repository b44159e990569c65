"""Shares of a file's jobs."""

import io
import json
import random
import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobfile.lines import any_line

from venice_batch.errors import JobsFileError, UsageError
from venice_batch.jobfile import Defaults, JobIndex, Shard, open_source


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1.5/3", "1 / 3", "٣/٣"])
def test_an_invalid_share_is_refused(text):
    with pytest.raises(UsageError, match="I/N with I from 1 to N"):
        Shard.of(text)


@given(st.text(), st.integers(1, 50))
def test_every_job_is_in_exactly_one_share(job_id, count):
    assert sum(Shard.of(f"{number}/{count}").holds(job_id) for number in range(1, count + 1)) == 1


def test_shares_are_about_equal():
    sizes = [sum(Shard(number, 4).holds(f"job-{n}") for n in range(4000)) for number in (1, 2, 3, 4)]
    assert all(900 < size < 1100 for size in sizes)


def test_a_jobs_share_is_the_same_in_every_process_and_version():
    script = "from venice_batch.jobfile import Shard; print([Shard(1, 3).holds(x) for x in ('a', 'b', 'é', 'gondola')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[False, False, True, False]\n"


def test_a_share_does_not_change_with_order_or_neighbours(tmp_path):
    lines = [{"id": f"j{n}", "model": "m", "prompt": "p"} for n in range(30)]
    lines.append({"id": "grid", "model": "m", "prompt": "p", "matrix": {"seed": [1, 2, 3, 4, 5, 6]}})

    def ids(lines, shard):
        (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with open_source(tmp_path / "jobs.jsonl") as source:
            return {job.id for job in JobIndex.build(source, shard=shard).jobs_in_order()}

    shares = [ids(lines, Shard(number, 3)) for number in (1, 2, 3)]
    assert sum(map(len, shares)) == 36
    assert len(set.union(*shares)) == 36
    random.Random(1).shuffle(lines)
    added = [{"id": "new", "model": "m", "prompt": "p"}]
    assert [ids([*added, *lines], Shard(number, 3)) - {"new"} for number in (1, 2, 3)] == shares


def test_a_job_knows_its_place_in_the_whole_file(tmp_path):
    (tmp_path / "jobs.jsonl").write_text(
        "".join(json.dumps({"id": f"j{n}", "model": "m", "prompt": "p"}) + "\n" for n in range(20))
    )
    with open_source(tmp_path / "jobs.jsonl") as source:
        found = JobIndex.build(source, shard=Shard(2, 3))
        assert len(found) == found.count(0) < 20
        assert all(job.id == f"j{job.index}" == f"j{job.line - 1}" for job in found.jobs_in_order())


def test_only_the_shares_jobs_are_examined_but_every_line_is_read(tmp_path):
    (tmp_path / "jobs.jsonl").write_text(
        "".join(json.dumps({"id": f"j{n}", "model": "m", "prompt": "p"}) + "\n" for n in range(20)) + "{\n"
    )
    seen = []
    with open_source(tmp_path / "jobs.jsonl") as source:
        with pytest.raises(Exception, match=r"jobs\.jsonl:21: not valid JSON"):
            JobIndex.build(source, shard=Shard(2, 3), examine=lambda job: seen.append(job.id) or [])
        assert seen
        assert all(Shard(2, 3).holds(job_id) for job_id in seen)


def test_a_share_may_be_empty(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "m", "prompt": "p"}\n')
    with open_source(tmp_path / "jobs.jsonl") as source:
        sizes = [len(JobIndex.build(source, shard=Shard(number, 50))) for number in range(1, 51)]
    assert sorted(sizes) == [0] * 49 + [1]


settings_of_jobs = st.builds(
    Defaults.of,
    st.lists(st.sampled_from(["width=512", "steps=9", "enhance_prompt=true", "resolution=2k"]), max_size=2),
    st.sampled_from(["keep", "pin", "split"]),
    allow_unknown=st.booleans(),
)


@given(st.lists(any_line, min_size=1, max_size=5), settings_of_jobs, st.booleans())
def test_a_job_that_is_read_again_is_the_job_that_was_checked(records, defaults, has_unknown):
    if has_unknown and defaults.allow_unknown:
        records = [record | {"colour": "blue"} for record in records if "body" not in record]
    checked = []
    content = b"\n".join(map(orjson.dumps, records)) + b"\n" + orjson.dumps({"model": "m", "prompt": "last"})
    with open_source("-", io.BytesIO(content)) as source:
        try:
            index = JobIndex.build(source, defaults=defaults, examine=lambda job: checked.append(job) or ())
        except JobsFileError:
            return  # two lines share an id
        assert list(index.jobs_in_order()) == checked
