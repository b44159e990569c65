"""Parts of a file: by pattern, by chance, the first few."""

import pytest

from venice_batch.errors import JobsFileError, UsageError
from venice_batch.jobfile import Defaults, JobIndex, Part, Shard, open_source


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="jobs.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


def line(number):
    return f'{{"id":"sea-{number}","model":"m","prompt":"p"}}'


def taken(path, **options):
    """Return the ids of the jobs that the part takes, and the number of the others."""
    names = {key: options.pop(key) for key in ("shard", "name_of", "examine", "defaults") if key in options}
    with open_source(path) as source:
        index = JobIndex.build(source, part=Part(**options), **names)
        return [job.id for job in index.jobs_in_order()], index.left_out


def test_a_limit_takes_the_first_jobs_of_the_file(write):
    path = write(*map(line, range(5)))
    assert taken(path, limit=2) == (["sea-0", "sea-1"], 3)
    assert taken(path, limit=9) == ([f"sea-{number}" for number in range(5)], 0)


def test_patterns_take_ids_and_names(write):
    path = write(*map(line, range(12)))
    assert taken(path, ids=("sea-1*",)) == (["sea-1", "sea-10", "sea-11"], 9)
    assert taken(path, ids=("sea-[23]", "sea-5")) == (["sea-2", "sea-3", "sea-5"], 9)
    assert taken(path, ids=("0003-*",), name_of=lambda job: f"{job.line:04}-p") == (["sea-2"], 11)


def test_an_id_with_the_characters_of_a_pattern_is_found_as_written(write):
    path = write('{"id":"a[1]","model":"m","prompt":"p"}', '{"id":"a1","model":"m","prompt":"q"}')
    assert taken(path, ids=("a[1]",))[0] == ["a[1]", "a1"]


def test_a_pattern_that_no_job_matches_is_refused(write):
    with pytest.raises(UsageError, match=r"--id lake\*: no job of .*jobs.jsonl has such an id or name"):
        taken(write(line(1)), ids=("sea-*", "lake*"))


def test_a_sample_does_not_change_with_order_and_grows_with_its_size(write):
    lines = [*map(line, range(50))]
    ten, left = taken(write(*lines), sample=10)
    assert (len(ten), left) == (10, 40)
    assert set(taken(write(*reversed(lines)), sample=10)[0]) == set(ten)
    assert set(ten) < set(taken(write(*lines), sample=20)[0])
    assert set(ten) != set(taken(write(*lines), sample=10, seed=1)[0])
    assert len(taken(write(*lines), sample=99)[0]) == 50


def test_all_conditions_hold_at_once(write):
    path = write(*map(line, range(60)))
    shard = Shard(1, 2)
    ids, _ = taken(path, ids=("sea-1*",), shard=shard)
    drawn, _ = taken(path, ids=("sea-1*",), sample=3, shard=shard)
    assert set(drawn) < set(ids)
    assert len(drawn) == 3
    assert taken(path, ids=("sea-1*",), sample=3, limit=2, shard=shard)[0] == drawn[:2]


def test_a_sample_comes_from_all_combinations_of_a_line(write):
    path = write('{"id":"a","model":"m","prompt":"{x}{y}{z}"}')
    values = [str(number) for number in range(40)]
    defaults = Defaults(variables={"x": values, "y": values, "z": values}, draw=0)
    ids, left = taken(path, sample=5, defaults=defaults)
    assert (len(ids), left) == (5, 9_995)


def test_every_line_is_checked_but_only_the_parts_jobs_are_examined(write):
    seen = []
    taken(write(*map(line, range(5))), limit=2, examine=lambda job: seen.append(job.id) or [])
    assert seen == ["sea-0", "sea-1"]
    with pytest.raises(JobsFileError, match=r"jobs.jsonl:2: "):
        taken(write(line(0), "{}"), limit=1)
    with pytest.raises(JobsFileError, match=r"jobs.jsonl:2: "):
        taken(write(line(0), "{}"), sample=1)


def test_a_part_is_written_as_on_the_command_line():
    assert not Part()
    assert Part(("a*", "b"), 5, 2, 1).text == "--id a* --id b --sample 5 --seed 2 --limit 1"
    assert Part(sample=5).text == "--sample 5"


def test_a_part_takes_the_jobs_whose_images_it_needs_too(write):
    path = write(
        '{"id": "fox-x4", "endpoint": "/image/upscale", "image": {"job": "fox-x2"}}',
        '{"id": "cat", "model": "m", "prompt": "a cat"}',
        '{"id": "fox", "model": "m", "prompt": "a fox"}',
        '{"id": "fox-x2", "endpoint": "/image/upscale", "image": {"job": "fox"}}',
    )
    assert taken(path, ids=("*-x4",)) == taken(path, limit=1) == (["fox-x4", "fox", "fox-x2"], 1)
