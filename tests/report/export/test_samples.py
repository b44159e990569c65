"""Numbers of prompts and samples, from the records of real jobs files."""

import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import failed, outcome

from venice_batch.jobfile import Defaults, JobIndex, Part, open_source
from venice_batch.jobfile.defaults import SeedPolicy
from venice_batch.jobfile.line import parse
from venice_batch.report.export.samples import Configuration, Samples, line_id

SEEDS = {"seed": [11, 12, 13, 14]}
MODELS = {"model": ["venice-sd35", "flux-2-pro"]}


@pytest.fixture
def jobs(tmp_path):
    """Return the jobs of a file with these lines."""

    def read(*lines, suffix="jsonl", part=None, **defaults):
        path = tmp_path / f"jobs.{suffix}"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        defaults.setdefault("values", {"model": "venice-sd35"} if "model" not in defaults.get("matrix", {}) else {})
        with open_source(path) as source:
            index = JobIndex.build(source, defaults=Defaults(**defaults), **({} if part is None else {"part": part}))
            return list(index.jobs_in_order())

    return read


def record(job, files=1):
    if not files:
        made = failed(job.id)
    else:
        made = outcome(job.id)
        made = msgspec.structs.replace(made, files=made.files * files)
    return msgspec.structs.replace(
        made,
        index=job.index,
        request=job.request,
        request_hash=job.request_hash,
        metadata=job.metadata,
        lane=job.model,
    )


def numbered(found, files=1):
    """Return prompt and sample of every job, in the order of the file, and the configurations."""
    samples = Samples([record(job, files) for job in found])
    return [place[1:3] for place in samples.places], samples.configurations


def product(prompts, samples):
    return [(prompt, sample) for prompt in range(prompts) for sample in range(samples)]


def test_the_seeds_of_a_line_are_the_samples_of_its_prompt(jobs):
    found = jobs({"id": "a", "prompt": "x", "matrix": SEEDS}, {"id": "b", "prompt": "y", "matrix": SEEDS})
    assert numbered(found) == (product(2, 4), (Configuration("venice-sd35", 2, 4, 0),))


@pytest.mark.parametrize("same", [False, True])
def test_lines_without_ids_are_told_apart_even_if_they_are_equal(jobs, same):
    found = jobs("a cat", "a cat" if same else "a dog", "an elk", "a cat", suffix="txt", matrix=SEEDS)
    assert numbered(found)[0] == product(4, 4)


def test_equal_prompts_of_two_lines_are_two_prompts(jobs):
    found = jobs({"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}, {"prompt": "x"})
    assert numbered(found)[0] == product(3, 1)


def test_equal_prompts_with_other_metadata_are_two_prompts(jobs):
    lines = [{"prompt": "x", "steps": steps, "metadata": {"tag": steps}} for steps in (8, 9)]
    found = jobs(*lines, matrix=SEEDS)
    assert numbered(found)[0] == product(2, 4)


def test_a_prompt_that_comes_again_later_is_another_one(jobs):
    found = jobs({"prompt": "x"}, {"prompt": "y"}, {"prompt": "x", "steps": 9})
    assert numbered(found)[0] == product(3, 1)


@pytest.mark.parametrize("policy", [SeedPolicy.KEEP, SeedPolicy.PIN, SeedPolicy.SPLIT])
@pytest.mark.parametrize("own", [{}, {"id": "a"}])
def test_variants_are_samples_as_one_job_or_as_several(jobs, policy, own):
    found = jobs({**own, "prompt": "x", "variants": 3}, {"prompt": "y", "variants": 3}, seeds=policy)
    places, (configuration,) = numbered(found, 1 if policy is SeedPolicy.SPLIT else 3)
    assert places == (product(2, 3) if policy is SeedPolicy.SPLIT else [(0, 0), (1, 0)])
    assert configuration[1:] == (2, 3, 0)


def test_each_value_of_a_variable_is_a_prompt(jobs):
    found = jobs({"id": "a", "prompt": "a {x}", "vars": {"x": ["cat", "dog"]}, "matrix": SEEDS})
    assert numbered(found)[0] == product(2, 4)


def test_each_prompt_of_a_matrix_is_a_prompt(jobs):
    found = jobs({"id": "a", "matrix": {"prompt": ["a cat", "a dog"], **SEEDS}})
    assert numbered(found)[0] == product(2, 4)


@pytest.mark.parametrize("order", [{**MODELS, **SEEDS}, {**SEEDS, **MODELS}])
@pytest.mark.parametrize("own", [{}, {"id": "a"}])
def test_each_model_of_a_line_counts_its_samples_from_0(jobs, order, own):
    found = jobs({**own, "prompt": "x"}, {"prompt": "y"}, matrix=order)
    samples = Samples(map(record, found))
    assert [one.name for one in samples.configurations] == ["venice-sd35", "flux-2-pro"]
    for number, one in enumerate(samples.configurations):
        assert one[1:] == (2, 4, 0)
        places = [place[1:3] for place in samples.places if place.configuration == number]
        assert places == product(2, 4)


def test_other_fields_that_vary_make_configurations_too(jobs):
    found = jobs(
        {"prompt": "x"},
        {"prompt": "y", "width": 512},
        matrix={"cfg_scale": [3, 7.5], "style_preset": ["Film Noir", "Anime"], **SEEDS},
    )
    _, configurations = numbered(found)
    assert [one.name for one in configurations] == [
        f"venice-sd35__cfg_scale-{scale}__style_preset-{style}"
        for scale in ("3", "7.5")
        for style in ("Film-Noir", "Anime")
    ]
    assert {one[1:] for one in configurations} == {(2, 4, 0)}


def test_a_field_that_lines_set_for_themselves_makes_none(jobs):
    found = jobs({"prompt": "x", "width": 512}, {"prompt": "y", "height": 768}, matrix=SEEDS)
    assert [one.name for one in numbered(found)[1]] == ["venice-sd35"]


def test_where_each_line_has_its_model_the_prompts_of_a_model_count_from_0(jobs):
    lines = [{"prompt": p, "model": m} for m in ("venice-sd35", "flux-2-pro") for p in "xyz"]
    places, configurations = numbered(jobs(*lines))
    assert places == product(3, 1) * 2
    assert [one.prompts for one in configurations] == [3, 3]


def test_failed_jobs_keep_their_place(jobs):
    found = jobs({"prompt": "x"}, {"prompt": "y"}, matrix=SEEDS)
    samples = Samples([record(job, files=0 if number in (0, 5) else 1) for number, job in enumerate(found)])
    assert [place[1:3] for place in samples.places] == product(2, 4)


def test_the_order_in_which_jobs_ended_does_not_matter(jobs):
    found = jobs(*"abcdefghij", suffix="txt", matrix={**SEEDS, **MODELS})
    straight = dict(zip([job.id for job in found], Samples(map(record, found)).places, strict=True))
    mixed = random.Random(1).sample(found, len(found))
    assert dict(zip([job.id for job in mixed], Samples(map(record, mixed)).places, strict=True)) == straight


def test_a_part_of_the_file_keeps_the_numbers_of_its_lines(jobs):
    lines = [f"prompt {number}" for number in range(100)]
    found = jobs(*lines, suffix="txt", part=Part(sample=20))
    places, _ = numbered(found)
    assert [prompt for prompt, _ in places] == [int(job.request["prompt"].split()[1]) for job in found]
    assert Samples(map(record, found)).unseen == max(job.index for job in found) + 1 - 20


def test_jobs_that_were_not_run_leave_gaps(jobs):
    found = jobs(*"abcdefghijkl", suffix="txt", matrix=SEEDS)
    left = [job for job in found if job.index not in range(4, 12)]
    places, _ = numbered(left)
    assert [prompt for prompt, _ in places[::4]] == [0, *range(3, 12)]


def test_lines_of_unlike_size_are_counted_through(jobs):
    found = jobs({"prompt": "x", "matrix": SEEDS}, {"prompt": "y"}, {"prompt": "z", "matrix": SEEDS})
    places, (configuration,) = numbered(found)
    assert places == [*product(1, 4), (1, 0), *((2, sample) for sample in range(4))]
    assert configuration[1:] == (3, 4, 1)


def test_two_files_in_one_folder_share_no_number(jobs):
    first = jobs({"id": "a", "prompt": "x", "matrix": SEEDS}, {"id": "b", "prompt": "y", "matrix": SEEDS})
    second = jobs({"id": "c", "prompt": "z", "matrix": SEEDS})
    samples = Samples(map(record, first + second))
    prompts = [{place.prompt for place in samples.places[start : start + 4]} for start in (0, 4, 8)]
    assert sorted(map(sorted, prompts)) == [[0], [1], [2]]
    assert samples.unseen == 0


def test_the_jobs_file_numbers_what_was_made_of_an_earlier_version(jobs):
    lines = [{"prompt": f"prompt {number}"} for number in range(10)]
    first = jobs(*lines, matrix={"seed": [11, 12]})
    whole = jobs(*lines, matrix=SEEDS)
    known = {job.id for job in first}
    records = [record(job) for job in (*first, *(job for job in whole if job.id not in known))]
    samples = Samples(records, whole)
    at = {job.id: place for job, place in zip(whole, product(10, 4), strict=True)}
    assert [place[1:3] for place in samples.places] == [at[one.id] for one in records]
    assert (samples.unseen, samples.strangers, samples.is_certain) == (0, 0, True)
    assert not Samples(records).is_certain


def test_records_of_no_job_have_no_place_and_are_counted_if_they_have_images(jobs):
    old = jobs("a", "b", "c", suffix="txt")
    samples = Samples([record(old[0]), record(old[1]), record(old[2], files=0)], jobs("b", "d", suffix="txt"))
    assert [place and place[1:3] for place in samples.places] == [None, (0, 0), None]
    assert (samples.unseen, samples.strangers) == (1, 1)


def test_the_jobs_file_numbers_jobs_without_a_prompt_as_nothing(jobs):
    found = jobs({"prompt": "x"}, {"prompt": "y"})
    blind = msgspec.structs.replace(found[0], request={"model": "m", "image": "x"})
    samples = Samples([record(found[1])], [blind, found[1]])
    assert samples.of_jobs[0] is None
    assert samples.places[0][1:3] == (0, 0)


@pytest.mark.parametrize("order", [{**MODELS, **SEEDS}, {**SEEDS, **MODELS}, SEEDS])
@given(chance=st.randoms(use_true_random=False))
def test_whatever_was_run_the_jobs_file_gives_each_image_its_place(order, chance):
    lines = [
        json.dumps({"prompt": chance.choice("xyz"), "matrix": order if chance.random() < 0.8 else {}})
        for _ in "1234567"
    ]
    found: list = []
    for number, line in enumerate(lines, 1):
        defaults = Defaults(values={"model": "venice-sd35"} if '"model"' not in line else {})
        parsed = parse(line.encode(), number=number, first_index=len(found), defaults=defaults, source="s")
        found += parsed.jobs
    found = list({job.id: job for job in found}.values())
    whole = dict(zip((job.id for job in found), Samples(map(record, found), found).places, strict=True))
    some = [msgspec.structs.replace(record(job), index=chance.randrange(99)) for job in found if chance.random() < 0.5]
    assert Samples(some, found).places == [whole[one.id] for one in some]


def test_a_part_whose_lines_are_unlike_is_not_certain_of_its_numbers(jobs):
    found = jobs(*"abcdefghijkl", suffix="txt", matrix=SEEDS)
    assert Samples(map(record, found)).is_certain
    assert Samples(map(record, found[8:])).is_certain
    assert not Samples(map(record, found[9:])).is_certain


def test_records_without_an_index_count_as_they_were_written(jobs):
    found = jobs({"prompt": "x"}, {"prompt": "y"}, matrix=SEEDS)
    samples = Samples(msgspec.structs.replace(record(job), index=None) for job in found)
    assert [place[1:3] for place in samples.places] == product(2, 4)


def test_a_job_without_a_prompt_has_no_place():
    samples = Samples([outcome("a", request={"image": "x"}), outcome("b", index=0)])
    assert samples.places[0] is None
    assert samples.places[1][:3] == (0, 0, 0)
    assert Samples([]).configurations == ()


@pytest.mark.parametrize("variants", ["many", -1, 10**9, True, None])
def test_an_absurd_number_of_variants_reserves_no_room(variants):
    (place,) = Samples([outcome("a", request={"prompt": "x", "variants": variants})]).places
    assert place.images == 1


def test_a_line_is_known_by_its_id_without_the_matrix(jobs):
    (first, *_) = jobs({"id": "a__b", "prompt": "x", "matrix": SEEDS})
    assert line_id(record(first)) == "a__b"
    found = jobs("x", "x", suffix="txt", seeds=SeedPolicy.PIN)
    assert [line_id(record(job)) for job in found] == [None, None]


def test_an_id_that_only_looks_like_a_hash_is_an_id():
    assert line_id(outcome("0123456789abcdef-2")) == "0123456789abcdef-2"


lines = st.fixed_dictionaries(
    {"prompt": st.sampled_from("xyz")},
    optional={"seeds": st.integers(1, 3), "steps": st.integers(1, 2), "models": st.booleans()},
)


@given(st.lists(lines, min_size=1, max_size=6), st.booleans(), st.randoms())
def test_no_two_samples_share_a_place(drawn, has_ids, rng):
    found, index = [], 0
    for number, line in enumerate(drawn):
        text = {
            "prompt": line["prompt"],
            "steps": line.get("steps", 1),
            "matrix": {"seed": list(range(line.get("seeds", 1)))},
        }
        text |= {"id": f"line-{number}"} if has_ids else {}
        text["matrix"] |= MODELS if line.get("models") else {"model": ["venice-sd35"]}
        copy = 1 + sum(other == line for other in drawn[:number])
        parsed = parse(
            msgspec.json.encode(text), number=number + 1, first_index=index, defaults=Defaults(), source="x", copy=copy
        )
        found += parsed.jobs
        index += len(parsed.jobs)
    rng.shuffle(found)
    samples = Samples(map(record, found))
    assert len({place[:3] for place in samples.places}) == len(found)
    for number, one in enumerate(samples.configurations):
        mine = [place for place in samples.places if place.configuration == number]
        assert all(place.sample + place.images <= one.samples for place in mine)
