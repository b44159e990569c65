"""Defaults from settings, and seeds for jobs without one: which jobs get one, and always the same."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobfile.lines import problems

from venice_batch.errors import JobsFileError, UsageError
from venice_batch.jobfile import Defaults, JobIndex, SeedPolicy, open_source, parse_setting
from venice_batch.jobfile.defaults import seed_of
from venice_batch.jobfile.line import parse
from venice_batch.model import Endpoint

LINE = {"id": "a", "model": "m", "prompt": "p"}


def jobs(record, seeds=SeedPolicy.PIN, **values):
    parsed = parse(orjson.dumps(record), number=1, first_index=0, defaults=Defaults(values, seeds), source="jobs.jsonl")
    assert not parsed.problems
    return parsed.jobs


def job(record, seeds=SeedPolicy.PIN, **values):
    (one,) = jobs(record, seeds, **values)
    return one


def test_a_job_without_a_seed_gets_one_that_the_request_holds():
    kept, pinned = job(LINE, SeedPolicy.KEEP), job(LINE)
    assert "seed" not in kept.request
    assert pinned.request == {**kept.request, "seed": pinned.request["seed"]}
    assert pinned.request_hash != kept.request_hash
    assert pinned.request_hash == job({**LINE, "seed": pinned.request["seed"]}).request_hash


def test_the_seed_is_the_same_at_every_run_and_on_every_machine():
    assert job(LINE).request["seed"] == 236867097


@given(st.text(), st.text())
def test_every_seed_is_one_that_the_api_takes(job_id, digest):
    seed = seed_of(job_id.encode("utf-8", "replace").decode(), digest.encode("utf-8", "replace").decode())
    assert 1 <= seed <= 999_999_999
    assert not problems(Endpoint.GENERATE, {"model": "m", "prompt": "p", "seed": seed})


@pytest.mark.parametrize("seed", [0, 7, -7])
def test_a_seed_that_is_given_stays(seed):
    assert job({**LINE, "seed": seed}).request["seed"] == seed
    assert job(LINE, seed=seed).request["seed"] == seed, "by --set too"
    assert [one.request["seed"] for one in jobs({**LINE, "matrix": {"seed": [seed, 1]}})] == [seed, 1]


def test_jobs_of_an_endpoint_that_takes_no_seed_are_left_alone():
    assert "seed" not in job({"endpoint": "/images/generations", "model": "m", "prompt": "p"}).request


def test_jobs_that_differ_get_seeds_that_differ():
    one, other = jobs({**LINE, "matrix": {"width": [256, 512]}})
    seeds = {one.request["seed"], other.request["seed"]}
    seeds |= {job({**LINE, "id": "b"}).request["seed"], job(LINE).request["seed"]}
    assert len(seeds) == 4


def test_variants_share_the_seed_of_their_request():
    assert isinstance(job({**LINE, "variants": 4}).request["seed"], int)


def test_how_the_image_travels_changes_no_seed():
    seed = job(LINE).request["seed"]
    assert job({**LINE, "return_binary": True}).request["seed"] == seed
    assert job({**LINE, "variants": 1}).request["seed"] == seed


def test_no_seed_policy_changes_a_jobs_id():
    nameless = {"model": "m", "prompt": "p"}
    assert job(nameless).id == job(nameless, SeedPolicy.KEEP).id


def test_two_jobs_without_id_and_with_one_request_are_duplicates(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"model":"m","prompt":"p"}\n' * 2)
    with open_source(tmp_path / "jobs.jsonl") as source, pytest.raises(JobsFileError, match="give each an id"):
        JobIndex.build(source, defaults=Defaults(seeds=SeedPolicy.PIN))


SPLIT = SeedPolicy.SPLIT


def test_split_makes_each_variant_a_job_with_a_seed_of_its_own():
    made = jobs({**LINE, "variants": 4}, SPLIT)
    seeds = [one.request["seed"] for one in made]
    assert len(set(seeds)) == 4
    assert seeds[0] == job({**LINE, "variants": 4}).request["seed"], "the first is the one that pin gives"
    assert [one.id for one in made] == [f"a__seed-{seed}" for seed in seeds]
    assert [one.index for one in made] == [0, 1, 2, 3]
    assert all("variants" not in one.request for one in made)
    assert made == jobs({**LINE, "variants": 4}, SPLIT)


def test_split_keeps_a_seed_that_is_given_for_the_first_image():
    first, second = jobs({**LINE, "variants": 2, "seed": 7}, SPLIT)
    assert (first.id, first.request["seed"]) == ("a__seed-7", 7)
    assert second.request["seed"] != 7


def test_split_is_pin_for_a_job_of_one_image():
    assert job(LINE, SPLIT) == job(LINE)
    assert job({**LINE, "variants": 1}, SPLIT) == job({**LINE, "variants": 1})


def test_split_names_jobs_without_ids_by_their_requests():
    made = jobs({"model": "m", "prompt": "p", "variants": 2}, SPLIT)
    assert [one.id for one in made] == [one.request_hash[:16] for one in made]


def test_split_goes_over_every_combination_of_a_matrix():
    made = jobs({**LINE, "variants": 2, "matrix": {"width": [256, 512]}}, SPLIT)
    assert len({one.id for one in made}) == len({one.request["seed"] for one in made}) == 4
    assert made[3].id.startswith("a__width-512__seed-")
    assert [one.index for one in made] == [0, 1, 2, 3]


def complaint(record):
    defaults = Defaults({}, SPLIT, allow_unknown=True)
    parsed = parse(orjson.dumps(record), number=1, first_index=0, defaults=defaults, source="jobs.jsonl")
    return [f"{problem.field}: {problem.what}" for problem in parsed.problems]


def test_split_has_its_limits():
    assert complaint({**LINE, "variants": 1001}) == ["variants: --seed-policy split makes at most 1,000 jobs of one"]
    long = complaint({**LINE, "id": "x" * 510, "variants": 2})
    assert long[0].startswith("id: makes an id of 5")
    many = complaint({**LINE, "variants": 1000, "matrix": {"width": list(range(8, 128, 8))}})
    assert many == ["matrix: makes more than 10,000 jobs with each image a job of its own"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("width=512", ("width", 512)),
        ("seed=5", ("seed", 5)),
        ("prompt=123", ("prompt", "123")),
        ("prompt=a=b", ("prompt", "a=b")),
        ("resolution=1K", ("resolution", "1K")),
        ("aspect_ratio=1:1", ("aspect_ratio", "1:1")),
        ("safe_mode=false", ("safe_mode", False)),
        ("cfg_scale=7.5", ("cfg_scale", 7.5)),
        ("quality=hd", ("quality", "hd")),
        ("n=null", ("n", None)),
        ('style_references=[{"image": "https://x/y.png"}]', ("style_references", [{"image": "https://x/y.png"}])),
    ],
)
def test_a_value_has_the_type_that_its_field_asks_for(setting, value):
    assert parse_setting(setting) == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("width", "--set width: expected FIELD=VALUE, as in --set width=512"),
        ("widht=5", "--set widht: no endpoint has this field; did you mean 'width'?"),
        ("width=abc", "--set width: 'abc' is a string; expected an integer from 1 to 1280"),
        ("width=5000", "--set width: 5000 is out of range; expected an integer from 1 to 1280"),
        ("format=gif", "--set format: 'gif' is not one of jpeg, png, webp"),
        ("format=5", "--set format: '5' is not one of jpeg, png, webp"),
        ("prompt= ", "--set prompt: is blank"),
        ("prompt=\udcff", "--set prompt: the value is not valid UTF-8"),
    ],
)
def test_a_setting_that_can_never_do_is_a_usage_error_of_one_line(setting, message):
    with pytest.raises(UsageError) as caught:
        parse_setting(setting)
    assert str(caught.value) == message


def test_the_last_setting_of_a_field_wins():
    assert Defaults.of(["seed=1", "seed=2"]).values == {"seed": 2}


def test_a_line_gets_only_defaults_that_its_endpoint_takes_and_keeps_its_own_values():
    defaults = Defaults.of(["seed=1", "size=auto", "model=m"])
    assert defaults.apply(Endpoint.GENERATE, {"seed": 7}) == {"seed": 7, "model": "m"}
    assert defaults.apply(Endpoint.GENERATIONS, {}) == {"size": "auto", "model": "m"}


def test_a_field_that_no_endpoint_is_known_to_take_goes_to_all_where_that_is_allowed():
    defaults = Defaults.of(["brand_new=[1]", "format=avif", "width=1536", "text=soon"], allow_unknown=True)
    assert defaults.values == {"brand_new": [1], "format": "avif", "width": 1536, "text": "soon"}
    assert defaults.apply(Endpoint.GENERATIONS, {}) == {"brand_new": [1], "text": "soon"}
    assert defaults.apply(Endpoint.GENERATE, {})["width"] == 1536


@pytest.mark.parametrize("setting", ["width=abc", "id=a", "=5", "metadata={}", "variants=0"])
def test_a_setting_that_makes_no_sense_is_refused_even_with_allow_unknown(setting):
    with pytest.raises(UsageError):
        parse_setting(setting, allow_unknown=True)
