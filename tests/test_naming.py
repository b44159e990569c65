import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import JobsFileError, UsageError
from venice_batch.model import Endpoint, Job
from venice_batch.naming import Naming


def job(id="a", index=0, *, metadata=None, **request):  # noqa: A002
    return Job(id, index + 1, index, Endpoint.GENERATE, {"model": "org/m", **request}, "abcdef0123456789", metadata)


def settled(template, *jobs, **options):
    naming = Naming(template, **options)
    complaints = [complaint for one in jobs for complaint in naming.examine(one)]
    assert complaints == []
    naming.settle(jobs, "jobs.jsonl")
    return naming


def test_an_image_is_named_after_its_job():
    assert settled("{id}", job("gondola-01")).stem(job("gondola-01")) == "gondola-01"


def test_a_template_may_use_every_field_and_make_folders():
    one = job("a", 4, seed=7, metadata={"set": {"name": "Blue Hour"}})
    naming = settled("{date}/{model}/{metadata.set.name}/{index:04}-{id}-{seed}-{hash}", one, date="2026-11-22")
    assert naming.stem(one).startswith("2026-11-22/org_m-")
    assert naming.stem(one).endswith("/Blue Hour/0005-a-7-abcdef01")
    assert len(naming.folders) == 1


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{prompt}", "none of"),
        ("{id", "expected '}'"),
        ("images", "one name"),
        ("{date}", "one name"),
        ("a//{id}", "empty part"),
        ("{metadata}", "none of"),
        ("{id:>100000000000}", "longer names"),
        ("{index:.99999}", "longer names"),
    ],
)
def test_a_template_that_cannot_work_is_refused(template, words):
    with pytest.raises(UsageError, match=words):
        Naming(template)


def test_a_job_without_a_value_that_the_name_needs_is_told():
    assert Naming("{id}-{seed}").examine(job()) == [("seed", "is missing, and --name needs it")]
    assert Naming("{metadata.a}").examine(job(metadata={"b": 1}))[0][0] == "metadata.a"
    assert "cannot be made" in Naming("{id:05d}").examine(job())[0][1]


def test_two_jobs_with_one_name_are_told_with_both_lines():
    naming = Naming("{model}")
    jobs = [job("a", 0), job("b", 1)]
    assert [naming.examine(one) for one in jobs] == [[], []]
    with pytest.raises(JobsFileError, match=r"jobs.jsonl:2: --name: .* line 1's image too"):
        naming.settle(jobs, "jobs.jsonl")


def test_ids_that_differ_only_in_case_get_different_names_everywhere():
    jobs = [job("Sea", 0), job("sea", 1), job("lake", 2)]
    naming = settled("{id}", *jobs)
    # "sea" needs no cleaning, so it keeps its name; the other one is told apart.
    stems = [naming.stem(one) for one in jobs]
    assert stems[2] == "lake"
    assert len({stem.casefold() for stem in stems}) == 3


@given(st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=8))
def test_no_two_ids_share_a_name_and_none_leaves_its_folder(ids):
    jobs = [job(one, number) for number, one in enumerate(ids)]
    naming = settled("x/{id}", *jobs)
    stems = [naming.stem(one) for one in jobs]
    assert len({stem.casefold() for stem in stems}) == len(stems)
    assert all(stem.startswith("x/") and stem.count("/") == 1 for stem in stems)


@pytest.mark.parametrize("name", ["con", "nul", "aux", "prn", "com1", "lpt9"])
def test_a_device_of_windows_is_no_name(name):
    naming = settled("{id}", job(name), job(f"{name}sole"))
    assert naming.stem(job(name)).startswith(f"_{name}-")
    assert naming.stem(job(f"{name}sole")) == f"{name}sole"
