"""Jobs written as lines: the same jobs when they are read again."""

import random
import tracemalloc

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jobfile.lines import any_line, as_file

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, SeedPolicy, native_line, open_source, oversize
from venice_batch.jobfile.identity import request_hash
from venice_batch.jobfile.line import Parsed, parse
from venice_batch.jobfile.reading import MAX_LINE_BYTES
from venice_batch.model import Endpoint, Parent


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
    assert "as a line of its own has 1.00 MB; at most 1 MB" in str(caught.value)


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


NATIVE = {"id": "gondola-01", "model": "venice-sd35", "prompt": "a gondola", "seed": 7}


def read(record, *settings, number=3, first_index=5):
    line = record if isinstance(record, bytes) else orjson.dumps(record)
    defaults = Defaults.of(settings)
    return parse(line, number=number, first_index=first_index, defaults=defaults, source="jobs.jsonl")


def job(record, *settings):
    parsed = read(record, *settings)
    assert not parsed.problems, parsed.problems
    (one,) = parsed.jobs
    return one


def messages(record, *settings):
    parsed = read(record, *settings)
    assert parsed.jobs == ()
    return [str(problem) for problem in parsed.problems]


def test_a_native_line_is_a_job_with_its_place():
    one = job({**NATIVE, "metadata": {"k": 1}})
    assert (one.id, one.line, one.index, one.endpoint) == ("gondola-01", 3, 5, Endpoint.GENERATE)
    assert one.request == {"model": "venice-sd35", "prompt": "a gondola", "seed": 7}
    assert one.metadata == {"k": 1}
    assert one.model == "venice-sd35"
    assert len(one.request_hash) == 32


def test_a_native_line_may_name_the_other_endpoint():
    one = job({"endpoint": "/images/generations", "model": "m", "prompt": "p", "size": "auto"})
    assert (one.endpoint, one.model) == (Endpoint.GENERATIONS, "m")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("/v1/images/generations", Endpoint.GENERATIONS),
        ("/images/generations", Endpoint.GENERATIONS),
        ("/v1/image/generate", Endpoint.GENERATE),
        ("https://api.venice.ai/api/v1/image/generate", Endpoint.GENERATE),
        ("https://api.venice.ai/api/v1/images/generations", Endpoint.GENERATIONS),
    ],
)
def test_an_openai_batch_line_is_a_job(url, endpoint):
    one = job({"custom_id": "a", "method": "POST", "url": url, "body": {"model": "m", "prompt": "p"}})
    assert (one.id, one.endpoint, one.request) == ("a", endpoint, {"model": "m", "prompt": "p"})


def test_every_mistake_of_an_openai_batch_line_is_reported():
    found = messages({"custom_id": 1, "method": "GET", "url": "/v1/chat/completions", "body": [], "prompt": "p"})
    assert found == [
        'jobs.jsonl:3: custom_id: 1 is a number; an id is text: put it in quotes, "1"',
        "jobs.jsonl:3: method: 'GET' given; expected 'POST'",
        "jobs.jsonl:3: url: '/v1/chat/completions' given; expected '/v1/images/generations' or '/v1/image/generate'",
        "jobs.jsonl:3: body: [] given; expected the request as an object",
        "jobs.jsonl:3: prompt: unknown key (known: custom_id, method, url, body); fields of the request go into body",
        "jobs.jsonl:3: prompt: missing",
        "jobs.jsonl:3: model: missing",
    ]
    assert "method: missing; expected 'POST'" in messages({"custom_id": "a", "body": {"prompt": "p"}})[0]


def test_a_record_of_the_manifest_is_valid_input_again():
    before = job({**NATIVE, "metadata": {"k": 1}})
    record = {
        "schema": 1,
        "run_id": "r",
        "id": before.id,
        "request_hash": before.request_hash,
        "status": "failed",
        "endpoint": before.endpoint,
        "request": before.request,
        "metadata": before.metadata,
        "files": [],
        "attempts": [],
    }
    assert job(record) == before


def test_a_line_without_an_id_is_named_by_its_request():
    one = job({"model": "m", "prompt": "p"})
    assert one.id == one.request_hash[:16]
    assert one.request_hash == request_hash(Endpoint.GENERATE, {"prompt": "p", "model": "m"})


@pytest.mark.parametrize("value", ["", "  ", "x" * 513, "a\nb", "a\x00", "\x85", 1, 1.5, True, None, [], {}])
def test_an_id_has_to_be_text_of_one_line(value):
    (message,) = messages({**NATIVE, "id": value})
    assert message.startswith("jobs.jsonl:3: id: ")
    assert message.isprintable()


@pytest.mark.parametrize("value", ["x" * 512, "\u00e9\u3000x", "../../etc/passwd", "a b", "\u200d"])
def test_an_id_may_be_any_text_of_one_line(value):
    assert job({**NATIVE, "id": value}).id == value


def test_metadata_is_an_object_or_null():
    assert job({**NATIVE, "metadata": None}).metadata is None
    assert messages({**NATIVE, "metadata": "x"}) == ["jobs.jsonl:3: metadata: 'x' is a string; expected an object"]


PARENT = {"id": "idea-7", "sha256": "0a" * 32, "variant": 2}


def test_a_line_may_name_the_image_that_it_was_derived_from():
    one = job({**NATIVE, "parent": PARENT})
    assert one.parent == Parent("idea-7", "0a" * 32, 2)
    assert one.request_hash == job(NATIVE).request_hash
    assert job(orjson.loads(native_line(one))) == one
    assert job({**NATIVE, "parent": None}).parent is None
    record = {"schema": 1, "id": "gondola-01", "request": one.request, "parent": PARENT}
    assert job(record).parent == one.parent


@pytest.mark.parametrize(
    "wrong",
    [
        "idea-7",
        {},
        {**PARENT, "more": 1},
        {**PARENT, "id": "\n"},
        {**PARENT, "sha256": "0a"},
        {**PARENT, "sha256": 7},
        {**PARENT, "variant": 0},
        {**PARENT, "variant": True},
    ],
)
def test_a_parent_that_names_no_image_is_refused(wrong):
    what = 'expected {"id": an id, "sha256": 64 hex digits, "variant": a number from 1}'
    assert messages({**NATIVE, "parent": wrong}) == [f"jobs.jsonl:3: parent: {what}"]


def test_metadata_that_no_record_could_hold_is_refused():
    deep = b'{"id":"a","model":"m","prompt":"p","metadata":{"x":' + b"[" * 260 + b"]" * 260 + b"}}"
    assert messages(deep) == ["jobs.jsonl:3: metadata: is nested too deeply; at most 250 levels"]
    # As deep as is allowed, the record around it can still be written.
    fine = deep.replace(b"[" * 260, b"[" * 245).replace(b"]" * 260, b"]" * 245)
    assert orjson.dumps({"metadata": job(fine).metadata})


def test_an_unknown_endpoint_is_reported():
    assert messages({**NATIVE, "endpoint": "image/generate"}) == [
        "jobs.jsonl:3: endpoint: 'image/generate' is not one of /image/generate, /images/generations, /image/upscale, "
        "/image/edit, /image/multi-edit, /image/background-remove"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a":}', "not valid JSON: unexpected character, expected a JSON value at column 6"),
        (b'{"a": NaN}', "not valid JSON: unexpected character, expected a JSON value at column 7"),
        (b"[1]", "the line is an array; expected an object"),
        (b'"x"', "the line is a string; expected an object"),
        (b"null", "the line is null; expected an object"),
        (b'{"prompt": "caf\xe9"}', "not valid UTF-8 at byte 16 (0xe9); save the file as UTF-8"),
        (b'{"a":' * 5000, "not valid JSON: "),
        (b'{"prompt": "\\ud800"}', "not valid JSON: "),
    ],
)
def test_a_line_that_is_not_an_object_is_reported_with_its_position(line, message):
    (found,) = messages(line)
    assert found.startswith(f"jobs.jsonl:3: {message}")


def test_all_mistakes_of_a_line_are_reported():
    found = messages({"id": 1, "promt": "x", "width": "9"})
    assert [message.split(": ")[1] for message in found] == ["id", "promt", "width", "model", "prompt"]


def test_defaults_fill_missing_fields_and_are_blamed_for_their_own_mistakes():
    assert job({"id": "a", "prompt": "p", "seed": 1}, "model=m", "seed=2", "size=auto").request == {
        "model": "m",
        "prompt": "p",
        "seed": 1,
    }
    assert messages(NATIVE, "quality=hd") == [
        "jobs.jsonl:3: quality: 'hd' is not one of high, low, medium (from --set)"
    ]


def test_a_default_is_part_of_the_effective_request():
    assert job(NATIVE, "steps=8").request_hash == job({**NATIVE, "steps": 8}).request_hash


def test_a_matrix_makes_its_product_in_the_order_of_the_line():
    matrix = {"seed": [1, -2], "style_preset": ["Anime", "3D Model"]}
    parsed = read({"id": "g", "model": "m", "prompt": "p", "matrix": matrix, "metadata": {"k": 1}})
    assert [one.id for one in parsed.jobs] == [
        "g__seed-1__style_preset-Anime",
        "g__seed-1__style_preset-3D-Model",
        "g__seed--2__style_preset-Anime",
        "g__seed--2__style_preset-3D-Model",
    ]
    assert [one.index for one in parsed.jobs] == [5, 6, 7, 8]
    assert parsed.jobs[2].request == {"model": "m", "prompt": "p", "seed": -2, "style_preset": "Anime"}
    assert {one.metadata["k"] for one in parsed.jobs} == {1}


def test_values_that_look_alike_in_an_id_get_a_hash_in_any_order():
    def ids(*values):
        parsed = read({"id": "g", "model": "m", "prompt": "p", "matrix": {"style_preset": list(values)}})
        return {one.request["style_preset"]: one.id for one in parsed.jobs}

    first = ids("3D Model", "3d-model", "Anime", "///", "")
    assert len({id_.casefold() for id_ in first.values()}) == 5
    assert first["Anime"] == "g__style_preset-Anime"
    assert ids("Other", "", "///", "3d-model", "3D Model").items() >= (first.items() - {("Anime", first["Anime"])})


def test_a_matrix_of_a_line_without_an_id_names_its_jobs_by_their_requests():
    parsed = read({"model": "m", "prompt": "p", "matrix": {"seed": [1, 2]}})
    assert [one.id for one in parsed.jobs] == [one.request_hash[:16] for one in parsed.jobs]


def test_a_matrix_of_objects_has_readable_ids():
    matrix = {"style_references": [[{"image": "https://a"}], []]}
    parsed = read({"id": "g", "model": "m", "prompt": "p", "matrix": matrix})
    assert parsed.jobs[0].id == "g__style_references-image-https-a"
    assert parsed.jobs[1].id.startswith("g__style_references-")


@pytest.mark.parametrize(
    ("matrix", "found"),
    [
        ({"seed": []}, "matrix.seed: expected an array of at least one value"),
        ({"seed": 5}, "matrix.seed: expected an array of at least one value"),
        ({"seed": [1, 1]}, "matrix.seed: lists 1 2 times"),
        ({"prompt": ["a"]}, "matrix.prompt: is in the line itself too; keep one of them"),
        ({}, 'matrix: expected an object of arrays, as in {"seed": [1, 2, 3]}'),
        (None, 'matrix: expected an object of arrays, as in {"seed": [1, 2, 3]}'),
        ({"seed": list(range(101)), "steps": list(range(100))}, "matrix: makes 10,100 jobs; at most 10,000 a line"),
        ({"seed": [1, "2", 3]}, "seed: '2' is a string; expected an integer from -999999999 to 999999999"),
        ({"sed": [1, 2]}, "sed: unknown field; did you mean 'seed'?"),
        ({"id": ["a", "b"]}, "id: unknown field"),
        ({"style_preset": ["x" * 40]}, "matrix: makes an id of 564 characters; at most 512"),
    ],
)
def test_a_mistake_of_a_matrix_is_reported_once(matrix, found):
    long_id = "x" * 509 if "style_preset" in (matrix or {}) else "g"
    assert messages({"id": long_id, "model": "m", "prompt": "p", "matrix": matrix}) == [f"jobs.jsonl:3: {found}"]


def test_a_broken_matrix_hides_no_mistake_of_the_line():
    found = messages({"id": 1, "model": "m", "width": 0, "matrix": {"prompt": []}})
    assert [message.split(": ")[1] for message in found] == ["id", "matrix.prompt", "width"]


def test_the_mistakes_of_a_matrix_are_bounded():
    values = [f"bad-{number}" for number in range(5000)]
    assert len(messages({"id": "g", "model": "m", "prompt": "p", "matrix": {"format": values}})) == 100


def test_values_nested_beyond_writing_are_a_problem_not_a_crash():
    line = b'{"id":"a","model":"m","prompt":"p","matrix":{"seed":[' + b"[" * 300 + b"]" * 300 + b"]}}"
    assert messages(line) == ["jobs.jsonl:3: matrix.seed: is nested too deeply"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(
    [
        *("id", "endpoint", "metadata", "matrix", "custom_id", "method", "url", "body", "schema", "request"),
        *("model", "prompt", "seed", "width", "n", "size"),
    ]
)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_make_it_raise(line):
    parsed = read(line)
    assert isinstance(parsed, Parsed)
    assert bool(parsed.jobs) != bool(parsed.problems)


@given(st.dictionaries(known, json_values, max_size=8))
def test_no_object_makes_it_raise_or_speak_in_several_lines(record):
    parsed = read(record)
    assert bool(parsed.jobs) != bool(parsed.problems)
    assert all(len(str(problem).splitlines()) == 1 for problem in parsed.problems)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=6), st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_order_of_keys(request_, chance: random.Random):
    items = list(request_.items())
    chance.shuffle(items)
    assert request_hash(Endpoint.GENERATE, request_) == request_hash(Endpoint.GENERATE, dict(items))
    assert request_hash(Endpoint.GENERATE, request_) != request_hash(Endpoint.GENERATIONS, request_)


def test_white_space_of_the_line_plays_no_part():
    spaced = b' { "seed" : 7,\t"prompt":"a gondola" , "model": "venice-sd35", "id": "gondola-01" } '
    assert job(spaced) == job(NATIVE)


def test_the_way_an_image_travels_does_not_change_the_hash():
    plain = {"model": "m", "prompt": "p"}
    for travelling in ({"return_binary": True}, {"return_binary": False}, {"variants": 1}):
        assert request_hash(Endpoint.GENERATE, {**plain, **travelling}) == request_hash(Endpoint.GENERATE, plain)
    assert request_hash(Endpoint.GENERATE, {**plain, "variants": 2}) != request_hash(Endpoint.GENERATE, plain)


def allowed(record, *settings):
    defaults = Defaults.of(settings, allow_unknown=True)
    return parse(orjson.dumps(record), number=3, first_index=0, defaults=defaults, source="jobs.jsonl")


def test_unknown_fields_pass_as_written_with_doubts_if_allowed():
    line = {"id": "a", "model": "m", "prompt": "p", "width": 1536, "brand_new": {"deep": [1.5, None]}}
    (one,) = allowed(line, "later=5").jobs
    assert one.request == {"model": "m", "prompt": "p", "width": 1536, "brand_new": {"deep": [1.5, None]}, "later": 5}
    assert one.doubts == (
        ("later", "unknown field (from --set)"),
        ("width", "1536 is out of range; expected an integer from 1 to 1280"),
        ("brand_new", "unknown field"),
    )
    assert job({"id": "a", "model": "m", "prompt": "p"}).doubts == ()


def test_each_combination_of_a_matrix_has_its_own_doubts():
    parsed = allowed({"id": "a", "model": "m", "prompt": "p", "matrix": {"width": [512, 1536]}})
    assert [len(one.doubts) for one in parsed.jobs] == [0, 1]


def test_a_request_nested_too_deeply_to_write_is_refused_even_with_allow_unknown():
    line = b'{"model":"m","prompt":"p","brand_new":' + b"[" * 300 + b"]" * 300 + b"}"
    defaults = Defaults(allow_unknown=True)
    (problem,) = parse(line, number=3, first_index=0, defaults=defaults, source="jobs.jsonl").problems
    assert problem.what == "is nested too deeply; at most 250 levels"
    (problem,) = allowed({"model": 3, "prompt": "p", "brand_new": 1}).problems
    assert problem.field == "model"
