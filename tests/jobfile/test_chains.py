import json
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, Shard, open_source
from venice_batch.jobfile.chains import links, roots, with_pictures
from venice_batch.model import Endpoint

CAT = {"id": "cat", "model": "venice-sd35", "prompt": "a cat"}
DOG = {"id": "dog", "model": "venice-sd35", "prompt": "a dog"}


def upscaled(name, parent, **more):
    return {"id": name, "endpoint": "/image/upscale", "image": {"job": parent, **more}}


def combined(name, *parents):
    images = [{"job": parent} for parent in parents]
    return {"id": name, "endpoint": "/image/multi-edit", "images": images, "prompt": "together"}


@pytest.fixture
def index(tmp_path):
    with ExitStack() as stack:

        def build(*lines, **settings):
            path = tmp_path / "jobs.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            return JobIndex.build(stack.enter_context(open_source(path)), **settings)

        yield build


@pytest.fixture
def mistakes(index):
    def find(*lines, **settings):
        with pytest.raises(JobsFileError) as caught:
            index(*lines, **settings)
        return [str(problem).split("jobs.jsonl:")[1] for problem in caught.value.problems]

    return find


def test_a_file_without_links_has_no_chains(index):
    chains = index(CAT, DOG).chains
    assert not chains
    assert (chains.order, chains.ids) == ([], {})


def test_jobs_wait_for_jobs_before_and_behind_them_in_the_file(index):
    cut = {"id": "cut", "endpoint": "/image/background-remove", "image": {"job": "x4"}}
    chains = index(cut, upscaled("x4", "cat"), CAT, DOG).chains
    assert len(chains) == 2
    assert chains.order == [1, 0], "none before one that it waits for"
    assert chains.parents == {0: (1,), 1: (2,)}
    assert chains.children == {1: [0], 2: [1]}
    assert chains.ids == {0: "cut", 1: "x4", 2: "cat"}
    assert chains.lanes == {0: "bria-bg-remover", 1: "upscaler"}


def test_one_job_may_take_the_images_of_several(index):
    chains = index(CAT, DOG, combined("both", "cat", "dog", "cat")).chains
    assert chains.parents == {2: (0, 1, 0)}
    assert chains.children == {0: [2], 1: [2]}
    assert chains.order == [2]


def test_links_are_found_and_replaced_in_the_order_of_the_pictures():
    request = {"images": ["a.png", {"job": "cat", "variant": 2}, {"path": "b.png"}, {"job": "dog", "pick": True}]}
    found = links(Endpoint.MULTI_EDIT, request)
    assert [(link.field, link.job, link.variant, link.pick) for link in found] == [
        ("images[1]", "cat", 2, False),
        ("images[3]", "dog", None, True),
    ]
    pictures = [{"path": "1", "sha256": "a"}, {"path": "2", "sha256": "b"}]
    settled = with_pictures(Endpoint.MULTI_EDIT, request, pictures)
    assert settled["images"] == ["a.png", pictures[0], {"path": "b.png"}, pictures[1]]
    assert links(Endpoint.MULTI_EDIT, settled) == ()
    one = {"image": {"job": "cat"}, "scale": 4}
    assert with_pictures(Endpoint.UPSCALE, one, pictures) == {"image": pictures[0], "scale": 4}


def test_a_link_from_the_defaults_counts(index):
    own = {"id": "x", "endpoint": "/image/upscale"}
    defaults = Defaults({"image": {"job": "cat"}})
    assert index(CAT, own, defaults=defaults).chains.parents == {1: (0,)}
    shares = [index(CAT, own, defaults=defaults, shard=Shard(number, 2)) for number in (1, 2)]
    assert sorted(map(len, shares)) == [0, 2]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([CAT, upscaled("a", "zebra")], ["2: image: no job 'zebra' is in this file"]),
        ([CAT, upscaled("a", "catt")], ["2: image: no job 'catt' is in this file; did you mean 'cat' (line 1)?"]),
        (
            [{**CAT, "matrix": {"seed": [1, 2]}}, upscaled("a", "cat")],
            [
                "2: image: no job 'cat' is in this file; line 1 makes 'cat__seed-1', 'cat__seed-2': "
                "name one of these"
            ],
        ),
        ([upscaled("a", "a")], ["1: image: waits for its own image"]),
        (
            [CAT, upscaled("a", "b"), upscaled("b", "c"), upscaled("c", "a"), upscaled("behind", "a")],
            [
                "2: image: waits for 'b' (line 3), which waits for 'c' (line 4), which waits for this job: a circle"
            ],
        ),
        (
            [CAT, combined("a", "cat", "b"), upscaled("b", "a"), upscaled("c", "d"), upscaled("d", "c")],
            [
                "2: images[1]: waits for 'b' (line 3), which waits for this job: a circle",
                "4: image: waits for 'd' (line 5), which waits for this job: a circle",
            ],
        ),
        (
            [{**CAT, "variants": 4}, upscaled("a", "cat")],
            ["2: image: 'cat' (line 1) makes 4 images; add \"variant\": 1 to 4, or \"pick\": true"],
        ),
        (
            [{**CAT, "variants": 4}, upscaled("a", "cat", variant=5)],
            ["2: image: there is no variant 5: 'cat' (line 1) makes 4 images"],
        ),
        ([CAT, upscaled("a", "cat", variant=2)], ["2: image: there is no variant 2: 'cat' (line 1) makes one image"]),
        ([CAT, upscaled("a", "cat", variant=0)], ["2: image.variant: 0 is out of range; expected an integer from 1"]),
        (
            [CAT, upscaled("a", "cat", variant=1, pick=True)],
            ["2: image.variant: pick decides which image it is; keep one of them"],
        ),
        (
            [CAT, upscaled("a", "cat", path="a.png")],
            ["2: image.path: belongs to a file; a job's image has none of it; keep one of them"],
        ),
        (
            [CAT, {"id": "a", "endpoint": "/image/upscale", "image": {"pick": True}}],
            ["2: image.pick: belongs to a job, which is missing"],
        ),
        (
            [CAT, {**combined("a"), "images": [{"job": "cat"}, {}]}],
            ["2: images[1].path: missing"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_both_lines(mistakes, lines, expected):
    assert [found[: len(text)] for found, text in zip(mistakes(*lines), expected, strict=True)] == expected


def test_a_long_circle_is_shortened(mistakes):
    ring = [upscaled(f"j{number}", f"j{(number + 1) % 9}") for number in range(9)]
    (found,) = mistakes(CAT, *ring)
    assert found == (
        "2: image: waits for 'j1' (line 3), which waits for 'j2' (line 4), which waits for 'j3' (line 5), which waits "
        "for 'j4' (line 6), which waits for …, which waits for 'j8' (line 10), which waits for this job: a circle"
    )


def test_a_job_whose_line_is_wrong_is_not_missing_too(mistakes):
    assert mistakes({**CAT, "width": -1}, upscaled("a", "cat")) == [
        "1: width: -1 is out of range; expected an integer from 1 to 1280"
    ]


def test_a_combination_of_a_matrix_is_named_by_its_whole_id(index):
    lines = [{**CAT, "matrix": {"seed": [1, 2]}}, upscaled("a", "cat__seed-2")]
    chains = index(*lines).chains
    assert chains.parents == {2: (1,)}
    both = {"id": "x", "endpoint": "/image/upscale", "matrix": {"image": [{"job": "cat"}, {"job": "dog"}]}}
    chains = index(CAT, DOG, both).chains
    assert chains.ids == {2: "x__image-job-cat", 3: "x__image-job-dog", 0: "cat", 1: "dog"}


def test_picks_and_single_images_need_no_variant(index):
    lines = [{**CAT, "variants": 4}, DOG, upscaled("a", "cat", pick=True), upscaled("b", "cat", variant=4)]
    assert index(*lines, upscaled("c", "dog", variant=1), upscaled("d", "dog", pick=False)).chains.order == [2, 3, 4, 5]


def test_a_job_of_an_unnamed_line_can_be_waited_for_by_its_hash(index):
    unnamed = {"model": "venice-sd35", "prompt": "a cat"}
    name = index(unnamed).job(0).id
    assert index(unnamed, upscaled("x", name)).chains.parents == {1: (0,)}


def test_shares_keep_chains_together_in_the_share_of_their_root(index):
    lines = []
    for number in range(20):
        lines += [
            upscaled(f"x{number}", f"j{number}"),
            {**CAT, "id": f"j{number}"},
            upscaled(f"y{number}", f"x{number}"),
        ]
    shares = [[job.id for job in index(*lines, shard=Shard(number, 3)).jobs_in_order()] for number in (1, 2, 3)]
    assert sum(map(len, shares)) == 60
    for number in range(20):
        (own,) = [share for share in shares if f"j{number}" in share]
        assert {f"x{number}", f"y{number}"} <= {*own}
        assert Shard(shares.index(own) + 1, 3).holds(f"j{number}"), "where it would be without the chain"


def test_chains_that_meet_are_in_one_share(index):
    lines = [CAT, DOG, combined("both", "dog", "cat"), upscaled("x", "dog")]
    shares = [{job.id for job in index(*lines, shard=Shard(number, 7)).jobs_in_order()} for number in range(1, 8)]
    assert sorted(map(len, shares)) == [0, 0, 0, 0, 0, 0, 4]
    assert roots({"both": ["dog", "cat"], "x": ["dog"]}) == {"dog": "cat", "both": "cat", "x": "cat"}
    assert roots({"a": ["b"], "b": ["a"]}) == {"b": "a"}, "a circle has one as well"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_whatever_waits_for_one_another_has_one_root(pairs):
    waiting = {}
    for child, parent in pairs:
        waiting.setdefault(f"{child:02}", []).append(f"{parent:02}")
    found = roots(waiting)
    for child, parents in waiting.items():
        assert {found.get(child, child)} == {found.get(parent, parent) for parent in parents}
